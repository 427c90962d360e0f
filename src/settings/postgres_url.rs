//! A `PostgreSQL` server as a URL names it. Lives here: the grammar, what TLS is asked for, and how
//! the URL is shown without its password. Not here: connecting (`db::postgres`).

use std::{fmt, path::PathBuf, str::FromStr};

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use thiserror::Error;

use super::value::is_host;

/// The port where a URL gives none.
const DEFAULT_PORT: u16 = 5432;

/// What must be escaped to be read again as it was.
const RESERVED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'&')
    .add(b'+')
    .add(b'/')
    .add(b':')
    .add(b'=')
    .add(b'?')
    .add(b'@');

/// A database of a `PostgreSQL` server, and how to reach it. `Display` and `Debug` show no password.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresUrl {
    /// An IP address, without brackets, or a host name.
    pub host: String,
    /// The TCP port, 1 to 65535; 5432 by default.
    pub port: u16,
    /// Whom to log in as.
    pub user: String,
    /// The password, where the server asks for one.
    pub password: Option<String>,
    /// The database's name.
    pub database: String,
    /// What TLS is asked for; [`SslMode::Prefer`] by default.
    pub ssl_mode: SslMode,
    /// The PEM file of the only authorities that may vouch for the server; without one, those that
    /// the machine trusts. Only with [`SslMode::VerifyCa`] and [`SslMode::VerifyFull`].
    pub ssl_root_cert: Option<PathBuf>,
}

/// What TLS is asked for, by libpq's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SslMode {
    /// Never TLS.
    Disable,
    /// TLS if the server offers it, with whatever certificate: safe from nobody who is active.
    Prefer,
    /// TLS, with whatever certificate: safe from eavesdroppers only.
    Require,
    /// TLS, with a certificate of a trusted authority, whatever host it names.
    VerifyCa,
    /// TLS, with a certificate of a trusted authority that names the host.
    VerifyFull,
}

impl SslMode {
    const ALL: [Self; 5] = [
        Self::Disable,
        Self::Prefer,
        Self::Require,
        Self::VerifyCa,
        Self::VerifyFull,
    ];

    /// As it is written in a URL.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::Prefer => "prefer",
            Self::Require => "require",
            Self::VerifyCa => "verify-ca",
            Self::VerifyFull => "verify-full",
        }
    }

    /// Whether the server's certificate must come from a trusted authority.
    #[must_use]
    pub fn verifies(self) -> bool {
        matches!(self, Self::VerifyCa | Self::VerifyFull)
    }
}

impl FromStr for PostgresUrl {
    type Err = InvalidPostgresUrl;

    /// Reads what follows `postgres://`: `user[:password]@host[:port]/database[?parameters]`.
    fn from_str(rest: &str) -> Result<Self, InvalidPostgresUrl> {
        if rest.contains('#') {
            return Err(InvalidPostgresUrl::Reserved);
        }
        let (authority, rest) = rest.split_once('/').ok_or(InvalidPostgresUrl::NoDatabase)?;
        if authority.contains('?') {
            return Err(InvalidPostgresUrl::Reserved);
        }
        let (credentials, address) = authority
            .rsplit_once('@')
            .ok_or(InvalidPostgresUrl::NoUser)?;
        let (user, password) = match credentials.split_once(':') {
            Some((user, password)) => (user, Some(decoded(password)?)),
            None => (credentials, None),
        };
        let user = decoded(user)?;
        if user.is_empty() {
            return Err(InvalidPostgresUrl::NoUser);
        }
        let (host, port) = address_of(address)?;
        let (database, parameters) = rest.split_once('?').unwrap_or((rest, ""));
        let database = match decoded(database)? {
            empty if empty.is_empty() => return Err(InvalidPostgresUrl::NoDatabase),
            // A second path segment is a mistake rather than a part of the name.
            _ if database.contains('/') => return Err(InvalidPostgresUrl::Reserved),
            name => name,
        };
        let (ssl_mode, ssl_root_cert) = parameters_of(parameters)?;
        Ok(Self {
            host,
            port,
            user,
            password,
            database,
            ssl_mode,
            ssl_root_cert,
        })
    }
}

fn address_of(address: &str) -> Result<(String, u16), InvalidPostgresUrl> {
    let (host, port) = match address.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or(InvalidPostgresUrl::Host)?;
            if !host.contains(':') {
                return Err(InvalidPostgresUrl::Host);
            }
            let port = match port.strip_prefix(':') {
                None if !port.is_empty() => return Err(InvalidPostgresUrl::Host),
                port => port,
            };
            (host, port)
        }
        None => match address.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (address, None),
        },
    };
    if !is_host(host) {
        return Err(InvalidPostgresUrl::Host);
    }
    let port = match port {
        None => DEFAULT_PORT,
        Some(port) => port
            .parse()
            .ok()
            .filter(|number: &u16| *number > 0 && number.to_string() == port)
            .ok_or(InvalidPostgresUrl::Port)?,
    };
    Ok((host.into(), port))
}

fn parameters_of(text: &str) -> Result<(SslMode, Option<PathBuf>), InvalidPostgresUrl> {
    let (mut mode, mut roots) = (None, None);
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let slot = match name {
            "sslmode" => &mut mode,
            "sslrootcert" => &mut roots,
            _ => return Err(InvalidPostgresUrl::Unknown(shown_name(name))),
        };
        if slot.replace(decoded(value)?).is_some() {
            return Err(InvalidPostgresUrl::Twice(name.into()));
        }
    }
    let mode = match mode {
        None => SslMode::Prefer,
        Some(word) => SslMode::ALL
            .into_iter()
            .find(|mode| mode.as_str() == word)
            .ok_or(InvalidPostgresUrl::SslMode)?,
    };
    if roots.is_some() && !mode.verifies() {
        return Err(InvalidPostgresUrl::RootsUnused);
    }
    if roots.as_ref().is_some_and(String::is_empty) {
        return Err(InvalidPostgresUrl::NoRoots);
    }
    Ok((mode, roots.map(PathBuf::from)))
}

/// A name that cannot be a piece of a password whose `?` or `&` was not escaped.
fn shown_name(name: &str) -> String {
    let is_name = name.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    if is_name && (1..=32).contains(&name.len()) {
        format!("the parameter \"{name}\"")
    } else {
        "a parameter".into()
    }
}

fn decoded(text: &str) -> Result<String, InvalidPostgresUrl> {
    let is_escape = |rest: &[u8]| rest.len() >= 2 && rest[..2].iter().all(u8::is_ascii_hexdigit);
    if !text
        .split('%')
        .skip(1)
        .all(|rest| is_escape(rest.as_bytes()))
    {
        return Err(InvalidPostgresUrl::Escape);
    }
    match percent_decode_str(text).decode_utf8() {
        // The protocol ends its texts with a NUL.
        Ok(text) if !text.contains('\0') => Ok(text.into_owned()),
        _ => Err(InvalidPostgresUrl::Escape),
    }
}

impl fmt::Display for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let escaped = |text| utf8_percent_encode(text, RESERVED);
        write!(f, "postgres://{}", escaped(&self.user))?;
        if self.password.is_some() {
            f.write_str(":***")?;
        }
        if self.host.contains(':') {
            write!(f, "@[{}]", self.host)?;
        } else {
            write!(f, "@{}", self.host)?;
        }
        let (port, mode) = (self.port, self.ssl_mode.as_str());
        write!(f, ":{port}/{}?sslmode={mode}", escaped(&self.database))?;
        match &self.ssl_root_cert {
            Some(path) => write!(f, "&sslrootcert={}", escaped(&path.to_string_lossy())),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string())
    }
}

/// Not the URL of a `PostgreSQL` database. Shows nothing of what was given but a parameter's name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidPostgresUrl {
    /// It names no user.
    #[error("given no user, {ALLOWED}")]
    NoUser,
    /// It names no database.
    #[error("given no database, {ALLOWED}")]
    NoDatabase,
    /// Its host is none.
    #[error("given no single host name or address, {ALLOWED}")]
    Host,
    /// Its port is none.
    #[error("given a port that is not a number from 1 to 65535, {ALLOWED}")]
    Port,
    /// It has a character that means something else.
    #[error("given a \"#\", \"?\" or \"/\" where it must be percent-encoded, {ALLOWED}")]
    Reserved,
    /// It has an escape that is none, or that stands for no text.
    #[error("given a \"%\" that begins no escape of UTF-8 text, {ALLOWED}")]
    Escape,
    /// It has a parameter that is not known.
    #[error("given {0} that is not known, allowed are sslmode and sslrootcert")]
    Unknown(String),
    /// It has a parameter twice.
    #[error("given {0} twice")]
    Twice(String),
    /// Its sslmode is none.
    #[error(
        "given an unknown sslmode, allowed is disable, prefer, require, verify-ca or verify-full"
    )]
    SslMode,
    /// Its sslrootcert would do nothing.
    #[error("given an sslrootcert without sslmode=verify-ca or sslmode=verify-full")]
    RootsUnused,
    /// Its sslrootcert names no file.
    #[error("given an empty sslrootcert, allowed is the path of a PEM file")]
    NoRoots,
}

const ALLOWED: &str = "allowed is postgres://user:password@host:port/database?sslmode=verify-full";

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(rest: &str) -> Result<PostgresUrl, InvalidPostgresUrl> {
        rest.parse()
    }

    #[test]
    fn every_part_is_read_and_shown_again() {
        let url = parse("an%61:p%40%2F%3A%20s@db.clinic.example:6543/clinic%20a").unwrap();
        assert_eq!((url.user.as_str(), url.port), ("ana", 6543));
        assert_eq!(url.password.as_deref(), Some("p@/: s"));
        assert_eq!(url.host, "db.clinic.example");
        assert_eq!(url.database, "clinic a");
        assert_eq!(url.ssl_mode, SslMode::Prefer);
        assert_eq!(
            url.to_string(),
            "postgres://ana:***@db.clinic.example:6543/clinic%20a?sslmode=prefer"
        );
        assert_eq!(format!("{url:?}"), format!("{:?}", url.to_string()));

        for shown in [
            "ana@[::1]:5432/d?sslmode=disable",
            "a%40b@10.0.0.1:1/d%2Fe?sslmode=require",
            "ana@h:5432/d?sslmode=verify-ca&sslrootcert=%2Fetc%2Fa%20%26%2Bb.pem",
            "ana@h:5432/d?sslmode=verify-full",
        ] {
            assert_eq!(
                parse(shown).unwrap().to_string(),
                format!("postgres://{shown}")
            );
        }
        let url = parse("ana@[2001:db8::1]/d?sslrootcert=ca.pem&sslmode=verify-full").unwrap();
        assert_eq!((url.host.as_str(), url.port), ("2001:db8::1", 5432));
        assert_eq!(url.ssl_root_cert, Some("ca.pem".into()));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        use InvalidPostgresUrl as E;
        for (rest, error) in [
            ("", E::NoDatabase),
            ("ana@h", E::NoDatabase),
            ("ana@h/", E::NoDatabase),
            ("ana@h/?sslmode=require", E::NoDatabase),
            ("h/d", E::NoUser),
            ("@h/d", E::NoUser),
            (":p@h/d", E::NoUser),
            ("ana@/d", E::Host),
            ("ana@a,b/d", E::Host),
            ("ana@::1/d", E::Host),
            ("ana@[::1/d", E::Host),
            ("ana@[h]/d", E::Host),
            ("ana@[::1]5432/d", E::Host),
            ("ana@h:/d", E::Port),
            ("ana@h:0/d", E::Port),
            ("ana@h:65536/d", E::Port),
            ("ana@h:+1/d", E::Port),
            ("ana@h/d/e", E::Reserved),
            ("ana@h/d#x", E::Reserved),
            ("ana:a?b@h/d", E::Reserved),
            ("ana:100%@h/d", E::Escape),
            ("ana:%ff@h/d", E::Escape),
            ("ana:%00@h/d", E::Escape),
            (
                "ana@h/d?options=-c",
                E::Unknown("the parameter \"options\"".into()),
            ),
            ("ana@h/d?SSLMODE=require", E::Unknown("a parameter".into())),
            (
                "ana@h/d?sslmode=require&sslmode=require",
                E::Twice("sslmode".into()),
            ),
            ("ana@h/d?sslmode", E::SslMode),
            ("ana@h/d?sslmode=allow", E::SslMode),
            ("ana@h/d?sslrootcert=a.pem", E::RootsUnused),
            ("ana@h/d?sslmode=require&sslrootcert=a.pem", E::RootsUnused),
            ("ana@h/d?sslmode=verify-ca&sslrootcert=", E::NoRoots),
        ] {
            assert_eq!(parse(rest), Err(error), "{rest:?}");
        }
    }

    #[test]
    fn no_refusal_shows_a_password_whose_escapes_were_forgotten() {
        for rest in [
            "ana:hunter2",
            "ana:hunter2@",
            "ana:?hunter2@h/d",
            "ana:x/?hunter2@h/d",
            "ana:x@y/z?hunter2@h/d",
            "ana:x@y/z?hunter2=1@h/d",
            "ana:x@y/z?sslmode=hunter2@h/d",
            "ana:x@y:hunter2@z:1/d",
            "ana:#hunter2@h/d",
            "ana:%hunter2@h/d",
            "ana@h:hunter2/d",
        ] {
            if let Err(error) = parse(rest) {
                assert!(!error.to_string().contains("hunter2"), "{error}");
            }
        }
    }
}
