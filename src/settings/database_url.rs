//! Which database a URL means: the file of `SQLite`, or a `PostgreSQL` server (`postgres_url`).

use std::{fmt, path::PathBuf};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

use super::{
    postgres_url::{InvalidPostgresUrl, PostgresUrl},
    value,
};

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
    pub fn parse(raw: &str) -> Result<Self, InvalidDatabaseUrl> {
        let (scheme, rest) = raw.split_once("://").ok_or(InvalidDatabaseUrl::NoScheme)?;
        match scheme {
            "sqlite" => sqlite_path(rest).map(Self::Sqlite),
            "postgres" | "postgresql" => Ok(Self::Postgres(Box::new(raw.parse()?))),
            other if is_scheme(other) => Err(InvalidDatabaseUrl::Scheme(other.into())),
            _ => Err(InvalidDatabaseUrl::NoScheme),
        }
    }
}

fn sqlite_path(path: &str) -> Result<PathBuf, InvalidDatabaseUrl> {
    if path.is_empty() {
        Err(InvalidDatabaseUrl::Empty)
    } else if path.trim_start_matches('/').starts_with(":memory:") {
        Err(InvalidDatabaseUrl::InMemory)
    } else if path.ends_with('/') {
        Err(InvalidDatabaseUrl::Directory)
    } else if path.contains(['?', '#']) || path.contains("://") || path.starts_with("file:") {
        Err(InvalidDatabaseUrl::Options)
    } else if path.chars().any(char::is_control) {
        Err(InvalidDatabaseUrl::ControlCharacter)
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

/// Not a database URL. Shows no more of what was given than its scheme.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidDatabaseUrl {
    /// It does not begin with `scheme://`.
    #[error("given something without a scheme, {ALLOWED} or {ALLOWED_SERVER}")]
    NoScheme,
    /// It is for a database that is not supported.
    #[error("given the scheme \"{0}\", {ALLOWED} or {ALLOWED_SERVER}")]
    Scheme(String),
    /// It names no file.
    #[error("given no path, {ALLOWED}")]
    Empty,
    /// It asks for a database in memory.
    #[error(
        "given :memory:, {ALLOWED}: each connection would see a database of its own, and \
         appointments would be lost with the process"
    )]
    InMemory,
    /// It ends with a slash.
    #[error("given a path that ends with a slash, {ALLOWED}")]
    Directory,
    /// It has a query, a fragment or a second scheme, which `SQLite` could take for options.
    #[error("given a path with options (\"?\", \"#\", \"file:\" or \"://\"), {ALLOWED}")]
    Options,
    /// It has a character that cannot be seen.
    #[error("given a path with a control character, {ALLOWED}")]
    ControlCharacter,
    /// It is no URL of a `PostgreSQL` database.
    #[error(transparent)]
    Postgres(#[from] InvalidPostgresUrl),
}

const ALLOWED: &str = "allowed is sqlite://relative/path.db or sqlite:///absolute/path.db";
const ALLOWED_SERVER: &str = "postgres://user:password@host:port/database";

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
            assert_eq!(server.config().get_password(), Some("hunter2".as_bytes()));
            assert_eq!(url.to_string(), format!("{scheme}://ana:***@db/clinic"));
            assert!(!format!("{url:?}").contains("hunter2"));
        }
    }

    #[test]
    fn what_sqlite_would_not_keep_in_that_one_file_is_refused() {
        use InvalidDatabaseUrl as E;
        for (raw, error) in [
            ("", E::NoScheme),
            ("data/megastats.db", E::NoScheme),
            ("sqlite:data/megastats.db", E::NoScheme),
            ("sqlite://", E::Empty),
            ("sqlite://:memory:", E::InMemory),
            ("sqlite:///:memory:", E::InMemory),
            ("sqlite://data/", E::Directory),
            ("sqlite:///", E::Directory),
            ("sqlite://m.db?mode=ro", E::Options),
            ("sqlite://m.db#x", E::Options),
            ("sqlite://file:m.db", E::Options),
            ("sqlite://sqlite://m.db", E::Options),
            ("sqlite://a\nb", E::ControlCharacter),
            ("SQLITE://m.db", E::Scheme("SQLITE".into())),
            ("mysql://h/d", E::Scheme("mysql".into())),
        ] {
            assert_eq!(DatabaseUrl::parse(raw), Err(error), "{raw:?}");
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
