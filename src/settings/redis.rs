//! How Redis is reached, and how long it is waited for.

use std::{fmt, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize, Serializer};

use super::value;

/// The Redis that instances share. It is told of every write as soon as `url` is set, whatever
/// backend answers reads: so instances can change over one by one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedisSettings {
    /// `redis://` or `rediss://` (TLS) with user, password and database number; empty by default:
    /// there is no Redis.
    #[serde(deserialize_with = "value::redis_url")]
    pub url: RedisUrl,
    /// Whether `url` is a node of a Redis Cluster; false by default.
    #[serde(deserialize_with = "value::boolean")]
    pub cluster: bool,
    /// A PEM file with the authorities that vouch for a `rediss://` server, instead of the
    /// machine's; empty by default.
    #[serde(deserialize_with = "value::path")]
    pub tls_ca: PathBuf,
    /// What every key begins with, at most 64 visible ASCII characters without any of `{}@?/`;
    /// `megastats:` by default.
    #[serde(deserialize_with = "value::key_prefix")]
    pub key_prefix: String,
    /// How long a connection may take, in milliseconds, 10 to 10000; 200 by default.
    #[serde(deserialize_with = "value::integer::<_, _, 10, 10_000>")]
    pub connect_timeout_ms: u64,
    /// How long a read waits for Redis before it asks the database, in milliseconds, 5 to 10000;
    /// 50 by default.
    #[serde(deserialize_with = "value::integer::<_, _, 5, 10_000>")]
    pub response_timeout_ms: u64,
    /// How long a write waits for a silent Redis to take its invalidation, in milliseconds, 1000 to
    /// 10000; 1000 by default. Every instance notices a silence of 1000.
    #[serde(deserialize_with = "value::integer::<_, _, 1_000, 10_000>")]
    pub invalidation_wait_ms: u64,
    /// How long the fence of a writer that died stands, in seconds, 1 to 600; 30 by default. It must
    /// outlast the longest write.
    #[serde(deserialize_with = "value::integer::<_, _, 1, 600>")]
    pub fence_seconds: u64,
    /// How long an instance that computes keeps others from computing the same, in milliseconds, 50
    /// to 5000; 2000 by default. Those wait for its result, for several holders in turn up to 5
    /// seconds.
    #[serde(deserialize_with = "value::integer::<_, _, 50, 5_000>")]
    pub lease_ms: u64,
}

impl RedisSettings {
    /// Whether there is a Redis.
    #[must_use]
    pub fn is_set(&self) -> bool {
        !self.url.0.is_empty()
    }

    /// How long a connection may take.
    #[must_use]
    pub fn connect_timeout(&self) -> Duration {
        Duration::from_millis(self.connect_timeout_ms)
    }

    /// How long a read waits for Redis.
    #[must_use]
    pub fn response_timeout(&self) -> Duration {
        Duration::from_millis(self.response_timeout_ms)
    }

    /// How long a write waits for a silent Redis.
    #[must_use]
    pub fn invalidation_wait(&self) -> Duration {
        Duration::from_millis(self.invalidation_wait_ms)
    }

    /// How long the fence of a writer that died stands.
    #[must_use]
    pub fn fence_life(&self) -> Duration {
        Duration::from_secs(self.fence_seconds)
    }

    /// How long an instance waits for another that computes the same.
    #[must_use]
    pub fn lease(&self) -> Duration {
        Duration::from_millis(self.lease_ms)
    }
}

/// Where Redis is. `Display`, `Debug` and `Serialize` show no password.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrl(String);

impl RedisUrl {
    /// Takes `redis[s]://[user:password@]host[:port][/number]` or nothing. Whatever else could
    /// hold a password, such as a query, is refused: it would be shown.
    #[must_use]
    pub fn parse(raw: &str) -> Option<Self> {
        let fits = raw.is_empty()
            || ["redis://", "rediss://"]
                .iter()
                .find_map(|scheme| raw.strip_prefix(scheme))
                .is_some_and(is_address);
        fits.then(|| Self(raw.to_owned()))
    }

    /// With the password.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The last @: a password may hold one.
        match (self.0.split_once("://"), self.0.rsplit_once('@')) {
            (Some((scheme, _)), Some((_, host))) => write!(f, "{scheme}://***@{host}"),
            _ => f.write_str(&self.0),
        }
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string())
    }
}

impl Serialize for RedisUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What comes after the scheme.
fn is_address(text: &str) -> bool {
    let (user, place) = text.rsplit_once('@').unwrap_or(("", text));
    let (authority, number) = place.split_once('/').unwrap_or((place, ""));
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let ends = |c: char| c.is_control() || c == ' ' || "/?#".contains(c);
    let is_host = |c: char| c.is_ascii_alphanumeric() || "-_.:[]".contains(c);
    !user.contains(ends)
        && !host.is_empty()
        && host.chars().all(is_host)
        && port.is_none_or(|port| port.parse::<u16>().is_ok())
        && number.chars().all(|c| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        for raw in [
            "redis://ana:hun@ter2@h:6379/1",
            "rediss://:hunter2@h",
            "redis://hunter2@h",
        ] {
            let url = RedisUrl::parse(raw).unwrap();
            for shown in [url.to_string(), format!("{url:?}")] {
                assert!(!shown.contains("hun") && !shown.contains("ter2"), "{shown}");
                assert!(shown.contains("@h"), "{shown}");
            }
            assert_eq!(url.reveal(), raw);
        }
    }

    #[test]
    fn only_redis_is_redis() {
        for raw in [
            "redis://",
            "http://h",
            "h:6379",
            "redis:/h",
            "redis://h\n",
            " redis://h",
            "redis://h/x",
            "redis://h/1?password=x",
            "redis://h#insecure",
            "redis://ana:hunter2",
            "redis://:a/b@h",
            "redis://:a?b@h",
            "redis://ana@",
        ] {
            assert_eq!(RedisUrl::parse(raw), None, "{raw:?}");
        }
        for raw in [
            "",
            "redis://h:6379",
            "rediss://cache.clinic.example/3",
            "redis://127.0.0.1",
            "redis://[::1]",
            "redis://[::1]:6379/0",
        ] {
            assert_eq!(RedisUrl::parse(raw).unwrap().to_string(), raw);
        }
    }
}
