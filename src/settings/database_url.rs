//! Which database a URL means: the file of `SQLite`, or a `PostgreSQL` server (`postgres_url`).

use std::{fmt, path::PathBuf};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{error::SettingsError, postgres_url::PostgresUrl, value};

const ALLOWED: &str = "allowed is sqlite://relative/path.db or sqlite:///absolute/path.db";

/// The database the appointments are kept in. `Display` and `Debug` show no password.
#[derive(Clone, PartialEq, Eq)]
pub enum DatabaseUrl {
    /// An `SQLite` file; a relative path starts at the working directory.
    Sqlite(PathBuf),
    /// A database of a `PostgreSQL` server.
    Postgres(Box<PostgresUrl>),
}

impl DatabaseUrl {
    /// Reads `sqlite://relative/path`, `sqlite:///absolute/path`, or
    /// what [`PostgresUrl`] reads.
    ///
    /// A path of `SQLite` is taken as it is: nothing in it is decoded.
    pub fn parse(raw: &str) -> Result<Self, SettingsError> {
        let (scheme, rest) = raw.split_once("://").unwrap_or_default();
        let what = match scheme {
            "sqlite" => return sqlite_path(rest).map(Self::Sqlite),
            "postgres" | "postgresql" => return Ok(Self::Postgres(Box::new(raw.parse()?))),
            other if is_scheme(other) => format!("the scheme \"{other}\""),
            _ => "something without a scheme".to_owned(),
        };
        Err(SettingsError(format!(
            "given {what}, {ALLOWED} or postgres://user:password@host:port/database"
        )))
    }
}

fn sqlite_path(path: &str) -> Result<PathBuf, SettingsError> {
    let refuse = |what, why| Err(SettingsError(format!("given {what}, {ALLOWED}{why}")));
    if path.is_empty() {
        refuse("no path", "")
    } else if path.trim_start_matches('/').starts_with(":memory:") {
        refuse(
            ":memory:",
            ": each connection would see a database of its own, and appointments would be lost with \
             the process",
        )
    } else if path.ends_with('/') {
        refuse("a path that ends with a slash", "")
    } else if path.contains(['?', '#']) || path.contains("://") || path.starts_with("file:") {
        // SQLite could take these for options.
        refuse(
            "a path with options (\"?\", \"#\", \"file:\" or \"://\")",
            "",
        )
    } else if path.chars().any(char::is_control) {
        refuse("a path with a control character", "")
    } else {
        Ok(path.into())
    }
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite://{}", path.display()),
            Self::Postgres(url) => url.fmt(f),
        }
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string())
    }
}

impl<'de> Deserialize<'de> for DatabaseUrl {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        value::secret(from, Self::parse)
    }
}

impl Serialize for DatabaseUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_and_absolute_paths_are_told_apart() {
        for (raw, path) in [
            ("sqlite://data/megastats.db", "data/megastats.db"),
            ("sqlite://megastats.db", "megastats.db"),
            ("sqlite://./m.db", "./m.db"),
            ("sqlite:///var/lib/m.db", "/var/lib/m.db"),
            ("sqlite://a%20b/ç d.db", "a%20b/ç d.db"),
        ] {
            let url = DatabaseUrl::parse(raw).unwrap();
            assert_eq!(url, DatabaseUrl::Sqlite(path.into()));
            assert_eq!(url.to_string(), raw);
        }
    }

    #[test]
    fn both_schemes_of_postgresql_are_understood() {
        for scheme in ["postgres", "postgresql"] {
            let url = DatabaseUrl::parse(&format!("{scheme}://ana:hunter2@db/clinic")).unwrap();
            let DatabaseUrl::Postgres(server) = &url else {
                panic!("{url}")
            };
            assert_eq!(server.config.get_password(), Some("hunter2".as_bytes()));
            assert_eq!(url.to_string(), format!("{scheme}://ana:***@db/clinic"));
            assert!(!format!("{url:?}").contains("hunter2"));
        }
    }

    #[test]
    fn what_sqlite_would_not_keep_in_that_one_file_is_refused() {
        for (raw, wrong) in [
            ("", "something without a scheme"),
            ("data/megastats.db", "something without a scheme"),
            ("sqlite:data/megastats.db", "something without a scheme"),
            ("sqlite://", "no path"),
            ("sqlite://:memory:", ":memory:"),
            ("sqlite:///:memory:", ":memory:"),
            ("sqlite://data/", "a path that ends with a slash"),
            ("sqlite:///", "a path that ends with a slash"),
            ("sqlite://m.db?mode=ro", "a path with options"),
            ("sqlite://m.db#x", "a path with options"),
            ("sqlite://file:m.db", "a path with options"),
            ("sqlite://sqlite://m.db", "a path with options"),
            ("sqlite://a\nb", "a path with a control character"),
            ("SQLITE://m.db", "the scheme \"SQLITE\""),
            ("mysql://h/d", "the scheme \"mysql\""),
        ] {
            let message = DatabaseUrl::parse(raw).unwrap_err().to_string();
            let start = format!("given {wrong}");
            assert!(message.starts_with(&start), "{raw:?}: {message}");
        }
    }

    #[test]
    fn a_refusal_shows_the_scheme_and_no_credentials() {
        for (raw, scheme) in [
            ("postgres://ana:hunter2@db/clinic?password=hunter2", None),
            ("mysql://ana:hunter2@db/clinic", Some("mysql")),
            ("hunter2@db://", None),
            ("ana:hunter2://x", None),
            ("hunter2", None),
        ] {
            let shown = DatabaseUrl::parse(raw).unwrap_err().to_string();
            assert!(
                !shown.contains("hunter2") && !shown.contains("ana"),
                "{shown}"
            );
            assert!(
                scheme.is_none_or(|scheme| shown.contains(scheme)),
                "{shown}"
            );
        }
    }
}
