//! The URL of a `PostgreSQL` database, as libpq documents it. `tokio_postgres` reads it, except for
//! the parameters that it does not read as libpq does, which are taken out first.

use std::{collections::BTreeMap, error::Error, fmt, path::PathBuf, str::FromStr, time::Duration};

use percent_encoding::percent_decode_str;
use tokio_postgres::{
    Config,
    config::{Host, SslNegotiation, TargetSessionAttrs},
};

use super::{
    error::SettingsError,
    url_parts::{is_host, parameter},
};
use crate::text::{breaks_line, is_percent_encoded};

/// What is asked for unless the URL says otherwise. The first is the name in `pg_stat_activity`. The
/// others are how many seconds TCP leaves an idle connection alone before it asks whether the server
/// is still there, which is less than firewalls take to forget it, and then waits to ask again.
const DEFAULTS: [&str; 3] = [
    "application_name=megastats",
    "keepalives_idle=15",
    "keepalives_interval=5",
];

/// How long TCP sends without an answer before the connection is lost, unless the URL says otherwise.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(15);

/// The parameters of libpq that are understood.
const PARAMETERS: &str = "application_name, channel_binding, connect_timeout, dbname, host, hostaddr, \
                          keepalives, keepalives_count, keepalives_idle, keepalives_interval, \
                          load_balance_hosts, options, password, port, sslmode, sslnegotiation, \
                          sslrootcert, target_session_attrs, tcp_user_timeout, user";

/// A database of a `PostgreSQL` server, and how to reach it. `Display` and `Debug` show no password.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresUrl {
    /// How to connect, in all but TLS: its `ssl_mode` is not set.
    pub config: Config,
    /// What TLS is asked for; [`SslMode::Prefer`] by default, [`SslMode::Disable`] if all hosts are
    /// Unix sockets.
    pub ssl_mode: SslMode,
    /// The PEM file of the only authorities that may vouch for the server; without one, those that
    /// the machine trusts. Only with [`SslMode::VerifyCa`] and [`SslMode::VerifyFull`].
    pub ssl_root_cert: Option<PathBuf>,
    shown: String,
}

/// What TLS is asked for, by libpq's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SslMode {
    /// Never TLS.
    Disable,
    /// TLS if the server offers it, with whatever certificate: an attacker on the way can switch it
    /// off. libpq's `allow`, which begins without TLS, is read as this.
    Prefer,
    /// TLS, with whatever certificate: safe from eavesdroppers only.
    Require,
    /// TLS, with a certificate of a trusted authority, whatever host it names.
    VerifyCa,
    /// TLS, with a certificate of a trusted authority that names the host.
    VerifyFull,
}

impl FromStr for PostgresUrl {
    type Err = SettingsError;

    /// Reads `postgres://[user[:password]@]host[:port][,host[:port]…]/database[?parameters]`, or
    /// `postgresql://`.
    fn from_str(raw: &str) -> Result<Self, SettingsError> {
        if !is_percent_encoded(raw) || raw.contains("%00") || raw.contains(breaks_line) {
            return Err(given(
                "a control character, or a \"%\" that begins no escape of UTF-8 text",
            ));
        }
        let (scheme, rest) = raw.split_once("://").unwrap_or(("postgres", raw));
        let (credentials, at, place) = match rest.split_once('@') {
            Some((credentials, place)) => (credentials, "@", place),
            None => ("", "", rest),
        };
        let (user, password) = match credentials.split_once(':') {
            Some((user, _)) => (user, ":***"),
            None => (credentials, ""),
        };
        let (place, query) = place.split_once('?').unwrap_or((place, ""));
        let has_one_path = place.matches('/').count() <= 1;
        if user.contains(['/', '?']) || !has_one_path || place.contains('#') || query.contains('#')
        {
            return Err(given(
                "a \"#\", \"?\" or \"/\" where it must be percent-encoded",
            ));
        }

        let mut parameters = BTreeMap::new();
        let mut kept = Vec::from(DEFAULTS.map(str::to_owned));
        let mut shown = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            if !PARAMETERS.split(", ").any(|known| known == name) {
                return Err(SettingsError(format!(
                    "given {} that is not known, allowed are {PARAMETERS}",
                    parameter(name)
                )));
            }
            let decoded = percent_decode_str(value).decode_utf8_lossy();
            if parameters.insert(name, decoded).is_some() {
                return Err(SettingsError(format!("given {name} twice")));
            }
            match name {
                "password" => shown.push("password=***"),
                _ => shown.push(pair),
            }
            match name {
                // These are read below.
                "sslmode" | "sslrootcert" | "target_session_attrs" | "tcp_user_timeout" => {}
                "host" => kept.extend(value.split(',').map(|host| format!("host={host}"))),
                "keepalives_count" => kept.push(format!("keepalives_retries={value}")),
                _ => kept.push(format!("{name}={value}")),
            }
        }
        if !password.is_empty() && parameters.contains_key("password") {
            return Err(SettingsError("given password twice".to_owned()));
        }

        let url = format!("postgres://{credentials}{at}{place}?{}", kept.join("&"));
        let mut config: Config = url.parse().map_err(|error: tokio_postgres::Error| {
            // The cause is what names the parameter; it shows nothing of its value.
            let cause = error.source().map(ToString::to_string);
            let cause = cause.unwrap_or_else(|| error.to_string());
            SettingsError(format!("{cause}, {ALLOWED}"))
        })?;
        let uses_tcp = check(&config)?;
        let text = |name| parameters.get(name).map(AsRef::as_ref);
        match text("tcp_user_timeout").map(str::parse) {
            None => drop(config.tcp_user_timeout(TCP_USER_TIMEOUT)),
            Some(Ok(0)) => {}
            Some(Ok(time)) => drop(config.tcp_user_timeout(Duration::from_millis(time))),
            Some(Err(_)) => {
                return Err(SettingsError(
                    "given a tcp_user_timeout that is not a number of milliseconds".to_owned(),
                ));
            }
        }
        // After a failover the old primary, or a name that still leads to it, is no use.
        match text("target_session_attrs") {
            None | Some("any" | "read-write" | "primary") => {
                config.target_session_attrs(TargetSessionAttrs::ReadWrite);
            }
            Some(_) => {
                return Err(SettingsError(
                    "given another target_session_attrs than any, read-write and primary: only a \
                     server that accepts writes is of use, and each of these means that"
                        .to_owned(),
                ));
            }
        }
        let (ssl_mode, ssl_root_cert) = ssl(text("sslmode"), text("sslrootcert"), uses_tcp)?;
        let is_weak = matches!(ssl_mode, SslMode::Disable | SslMode::Prefer);
        if config.get_ssl_negotiation() == SslNegotiation::Direct && is_weak {
            return Err(SettingsError(format!(
                "given sslnegotiation=direct without {STRICT_MODES}"
            )));
        }

        let question = if shown.is_empty() { "" } else { "?" };
        let shown = shown.join("&");
        Ok(Self {
            config,
            ssl_mode,
            ssl_root_cert,
            shown: format!("{scheme}://{user}{password}{at}{place}{question}{shown}"),
        })
    }
}

/// Refuses what libpq would read otherwise than ops may expect; returns whether TCP is used.
fn check(config: &Config) -> Result<bool, SettingsError> {
    let (hosts, addresses) = (config.get_hosts(), config.get_hostaddrs());
    let is_fit = |host: &Host| !matches!(host, Host::Tcp(name) if !is_host(name));
    if (hosts.is_empty() && addresses.is_empty()) || !hosts.iter().all(is_fit) {
        return Err(given(
            "no host name, address or percent-encoded path of a socket",
        ));
    }
    if config.get_ports().contains(&0) {
        return Err(given("the port 0"));
    }
    let servers = hosts.len().max(addresses.len());
    let differs = |count: usize| count != 0 && count != servers;
    let ports = config.get_ports().len();
    // One port is that of every host.
    if differs(hosts.len()) || differs(addresses.len()) || (ports != 1 && differs(ports)) {
        return Err(given("different numbers of hosts, addresses and ports"));
    }
    if config.get_dbname().is_none_or(str::is_empty) {
        return Err(given("no database"));
    }
    // On a socket the server knows who runs this program.
    let is_tcp = |host: &Host| matches!(host, Host::Tcp(_));
    let uses_tcp = !addresses.is_empty() || hosts.iter().any(is_tcp);
    let user = config.get_user();
    if user.is_some_and(str::is_empty) || (user.is_none() && uses_tcp) {
        return Err(given("no user"));
    }
    Ok(uses_tcp)
}

/// What `sslmode` and `sslrootcert` mean together.
fn ssl(
    mode: Option<&str>,
    roots: Option<&str>,
    uses_tcp: bool,
) -> Result<(SslMode, Option<PathBuf>), SettingsError> {
    let refuse = |why: &str| Err(SettingsError(format!("given {why}")));
    let mode = match mode {
        None => None,
        Some("disable") => Some(SslMode::Disable),
        Some("allow" | "prefer") => Some(SslMode::Prefer),
        Some("require") => Some(SslMode::Require),
        Some("verify-ca") => Some(SslMode::VerifyCa),
        Some("verify-full") => Some(SslMode::VerifyFull),
        Some(_) => {
            return refuse(
                "an unknown sslmode, allowed is disable, allow, prefer, require, verify-ca or \
                 verify-full",
            );
        }
    };
    let file = roots.map(PathBuf::from);
    match (mode, roots) {
        (_, Some("")) => {
            refuse("an empty sslrootcert, allowed is the path of a PEM file or system")
        }
        (None | Some(SslMode::VerifyFull), Some("system")) => Ok((SslMode::VerifyFull, None)),
        // The authorities that everybody trusts vouch for any host.
        (_, Some("system")) => refuse("sslrootcert=system with another sslmode than verify-full"),
        (Some(SslMode::VerifyFull), _) => Ok((SslMode::VerifyFull, file)),
        (Some(SslMode::VerifyCa), _) | (Some(SslMode::Require), Some(_)) => {
            Ok((SslMode::VerifyCa, file))
        }
        (_, Some(_)) => refuse(&format!("an sslrootcert without {STRICT_MODES}")),
        _ if !uses_tcp => Ok((SslMode::Disable, None)),
        (mode, None) => Ok((mode.unwrap_or(SslMode::Prefer), None)),
    }
}

fn given(what: &str) -> SettingsError {
    SettingsError(format!("given {what}, {ALLOWED}"))
}

impl fmt::Display for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.shown)
    }
}

/// With which TLS cannot be left to the server.
const STRICT_MODES: &str = "sslmode=require, sslmode=verify-ca or sslmode=verify-full";

const ALLOWED: &str = "allowed is postgres://user:password@host:port/database?sslmode=verify-full";

#[cfg(test)]
mod tests;
