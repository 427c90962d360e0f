//! How Redis is reached, and how long it is waited for.

use std::{fmt, path::PathBuf, time::Duration};

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo, parse_redis_url};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use url::Url;

use super::{
    error::SettingsError,
    url_parts::parameter,
    value::{self, Millis, Seconds},
};
use crate::text::{breaks_line, is_percent_encoded};

/// How long a write whose fence Redis does not take from this instance waits for another one to raise
/// it. An instance that cannot do so in this time while Redis answers it must have been stopped itself, so
/// that it trusts nothing from before, or its session has ended unnoticed, which takes less time to notice.
pub const RELAY_WAIT: Duration = Duration::from_secs(3);

/// The Redis that instances share. It is told of every write as soon as `url` is set, whatever
/// backend answers reads: so instances can change over one by one.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedisSettings {
    /// Where it is; if empty, there is no Redis.
    pub url: RedisUrl,
    /// Whether `url` is a node of a Redis Cluster.
    #[serde(deserialize_with = "value::boolean")]
    pub cluster: bool,
    /// A PEM file with the authorities that vouch for a `rediss://` server, instead of the
    /// machine's.
    #[serde(deserialize_with = "value::path")]
    pub tls_ca: PathBuf,
    /// What every key begins with, at most 64 visible ASCII characters without any of `{}@?/`.
    #[serde(deserialize_with = "value::key_prefix")]
    pub key_prefix: String,
    /// How long an attempt to connect may take.
    #[serde(rename = "connect_timeout_ms", with = "Millis::<10, 10_000>")]
    pub connect_timeout: Duration,
    /// How long a read waits for Redis before it asks the database.
    #[serde(rename = "response_timeout_ms", with = "Millis::<5, 10_000>")]
    pub response_timeout: Duration,
    /// How long a write waits for a Redis that does not take its invalidation. Every instance notices
    /// a silence of one second.
    #[serde(rename = "invalidation_wait_ms", with = "Millis::<1_000, 10_000>")]
    pub invalidation_wait: Duration,
    /// How long the fence of a writer that died stays raised. It must outlast the longest write.
    #[serde(rename = "fence_seconds", with = "Seconds::<1, 600>")]
    pub fence_life: Duration,
    /// How long an instance that computes keeps others from computing the same. Those wait for its
    /// result, for several holders in turn up to 5 seconds.
    #[serde(rename = "lease_ms", with = "Millis::<50, 5_000>")]
    pub lease: Duration,
}

impl RedisSettings {
    /// Whether there is a Redis.
    pub fn is_set(&self) -> bool {
        self.url.info.is_some()
    }

    /// Refuses what is fine each by itself, but not together.
    pub(super) fn check(&self) -> Result<(), SettingsError> {
        let fits_cluster = |info: &ConnectionInfo| {
            info.redis_settings().db() == 0 && !matches!(info.addr(), ConnectionAddr::Unix(_))
        };
        if self.cluster && !self.url.info.as_ref().is_none_or(fits_cluster) {
            return Err(SettingsError(
                "cache.redis.url: with cache.redis.cluster it cannot be a Unix socket or have a \
                 database number: a Redis Cluster has only the number 0"
                    .to_owned(),
            ));
        }
        Ok(())
    }
}

/// Where Redis is. `Display`, `Debug` and `Serialize` show neither user nor password.
#[derive(Clone)]
pub struct RedisUrl {
    /// How to connect, with the password; `None` where there is no Redis.
    pub info: Option<ConnectionInfo>,
    shown: String,
}

impl RedisUrl {
    /// Reads nothing, or what the `redis` crate reads:
    /// `redis://[user:password@]host[:port][/number][?protocol=resp3]`, `rediss://` for TLS, or
    /// `redis+unix:///path[?db=number][&user=…][&pass=…]` for a Unix socket; `valkey` does for
    /// `redis`, and `unix` for `redis+unix`.
    ///
    /// # Errors
    /// For everything else, and for a parameter or a fragment that would be ignored, such as one that
    /// was to switch the check of certificates off.
    pub fn parse(raw: &str) -> Result<Self, SettingsError> {
        let refused = |what: &str| SettingsError(format!("{what}, {ALLOWED}"));
        if raw.is_empty() {
            return Ok(Self {
                info: None,
                shown: String::new(),
            });
        }
        let is_shown_as_read =
            is_percent_encoded(raw) && !raw.contains(|c| breaks_line(c) || c == ' ');
        let url = parse_redis_url(raw).filter(|_| is_shown_as_read);
        let url = url.ok_or_else(|| refused("given something else"))?;
        let parameters: &[_] = match url.scheme() {
            "redis" | "rediss" | "valkey" | "valkeys" => &["protocol"],
            _ => &["db", "user", "pass", "protocol"],
        };
        let is_unknown = |name: &str| !parameters.contains(&name);
        if let Some((name, _)) = url.query_pairs().find(|(name, _)| is_unknown(name)) {
            return Err(SettingsError(format!(
                "given {} that is not known, allowed are {}",
                parameter(&name),
                parameters.join(", ")
            )));
        }
        if url.fragment().is_some() {
            return Err(refused("given a \"#\", which must be percent-encoded"));
        }
        let shown = shown(url.clone());
        let info = url.into_connection_info();
        Ok(Self {
            info: Some(info.map_err(|error| refused(&error.to_string()))?),
            shown,
        })
    }
}

/// `url` without what may be a secret.
fn shown(mut url: Url) -> String {
    if !url.username().is_empty() || url.password().is_some() {
        // These fail for a URL without a host only, which has no user either.
        let _ = url.set_password(None);
        let _ = url.set_username(value::MASK);
    }
    let is_secret = |name: &str| ["user", "pass"].contains(&name);
    let mut pairs: Vec<_> = url.query_pairs().into_owned().collect();
    if pairs.iter().any(|(name, _)| is_secret(name)) {
        for (_, secret) in pairs.iter_mut().filter(|(name, _)| is_secret(name)) {
            value::MASK.clone_into(secret);
        }
        url.query_pairs_mut().clear().extend_pairs(pairs);
    }
    url.into()
}

impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.shown)
    }
}

impl<'de> Deserialize<'de> for RedisUrl {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        value::secret(from, Self::parse)
    }
}

impl Serialize for RedisUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

const ALLOWED: &str = "allowed is redis://[user:password@]host[:port][/number], rediss:// for TLS, \
                       redis+unix:///path, or nothing";

#[cfg(test)]
mod tests {
    use redis::ProtocolVersion;

    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        for (raw, shown) in [
            ("redis://ana:hun@ter2@h:6379/1", "redis://***@h:6379/1"),
            ("rediss://:hunter2@h", "rediss://***@h"),
            ("redis://hunter2@h", "redis://***@h"),
            (
                "redis://ana:hun%74er2@h?protocol=resp3",
                "redis://***@h?protocol=resp3",
            ),
            (
                "unix:///run/redis.sock?db=1&user=ana&pass=hun%74er2",
                "unix:///run/redis.sock?db=1&user=***&pass=***",
            ),
        ] {
            let url = RedisUrl::parse(raw).unwrap();
            assert_eq!(url.to_string(), shown);
            assert_eq!(format!("{url:?}"), format!("{shown:?}"));
            let info = url.info.as_ref().unwrap();
            assert!(info.redis_settings().username().is_some() || raw.contains("/:"));
            assert!(!format!("{info:?}").contains("hunter2") || raw == "redis://hunter2@h");
        }
    }

    #[test]
    fn whatever_the_client_understands_is_read() {
        for (raw, number, protocol) in [
            ("redis://h:6379", 0, ProtocolVersion::RESP2),
            ("rediss://cache.clinic.example/3", 3, ProtocolVersion::RESP2),
            (
                "valkey://127.0.0.1/2?protocol=resp3",
                2,
                ProtocolVersion::RESP3,
            ),
            ("valkeys://[::1]:6379/0", 0, ProtocolVersion::RESP2),
            (
                "redis+unix:///run/redis.sock?db=4",
                4,
                ProtocolVersion::RESP2,
            ),
            (
                "unix:///run/redis.sock?protocol=3",
                0,
                ProtocolVersion::RESP3,
            ),
        ] {
            let url = RedisUrl::parse(raw).unwrap();
            assert_eq!(url.to_string(), raw);
            let info = url.info.as_ref().unwrap();
            assert_eq!(info.redis_settings().db(), number, "{raw}");
            assert_eq!(info.redis_settings().protocol(), protocol, "{raw}");
            let is_socket = matches!(info.addr(), ConnectionAddr::Unix(_));
            assert_eq!(is_socket, raw.contains("unix"), "{raw}");
        }
        assert!(RedisUrl::parse("").unwrap().info.is_none());
    }

    #[test]
    fn only_redis_is_redis() {
        for (raw, wrong) in [
            ("http://h", "something else, "),
            ("h:6379", "something else, "),
            ("redis://h\n", "something else, "),
            (" redis://h", "something else, "),
            ("redis://ana:hunter2", "something else, "),
            ("redis://:a/b@h", "something else, "),
            ("redis://:a?b@h", "something else, "),
            ("redis://:100%@h", "something else, "),
            (
                "redis://h/1?password=x",
                "the parameter \"password\" that is not known, allowed are protocol",
            ),
            (
                "redis://h?db=1",
                "the parameter \"db\" that is not known, allowed are protocol",
            ),
            (
                "unix:///s?number=1",
                "the parameter \"number\" that is not known, allowed are db, user, pass, protocol",
            ),
            ("redis://h#insecure", "a \"#\", "),
            ("rediss://h#insecure", "a \"#\", "),
        ] {
            let message = RedisUrl::parse(raw).unwrap_err().to_string();
            let start = format!("given {wrong}");
            assert!(message.starts_with(&start), "{raw:?}: {message}");
        }
        for raw in [
            "redis://",
            "redis:/h",
            "redis://h/x",
            "redis://ana@",
            "redis://h?protocol=4",
        ] {
            assert!(RedisUrl::parse(raw).is_err(), "{raw:?}");
        }
    }
}
