//! What ops configure. Lives here: every setting with its unit and range, and how the effective
//! settings are shown. `load` says where values come from, `value` how one value is checked. Not
//! here: what a setting does, which is for the module that takes it.

mod auth;
mod database_url;
mod error;
mod load;
mod postgres_url;
mod redis;
mod url_parts;
mod value;

use std::{num::NonZeroUsize, thread, time::Duration};

use serde::{Deserialize, Serialize};

pub use self::{
    auth::{AuthMode, AuthSettings, InvalidSecret, Secret},
    database_url::{DatabaseUrl, InvalidDatabaseUrl},
    error::SettingsError,
    postgres_url::{InvalidPostgresUrl, PostgresUrl, SslMode},
    redis::{InvalidRedisUrl, RedisSettings, RedisUrl},
};

/// The effective settings: `config/default.toml`, then the file given, then the environment.
///
/// `Debug` and [`Settings::to_toml`] show no secret.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where and how the service listens.
    pub server: ServerSettings,
    /// Where the appointments are kept.
    pub database: DatabaseSettings,
    /// Where computed statistics are kept, and for how long.
    pub cache: CacheSettings,
    /// How the statistics are computed.
    pub stats: StatsSettings,
    /// Who may ask, and what for.
    pub auth: AuthSettings,
    /// Which web pages of other origins may call the service.
    pub cors: CorsSettings,
    /// What is logged.
    pub log: LogSettings,
}

/// Where and how the service listens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerSettings {
    /// The address or host name to listen on, without a port; `127.0.0.1` by default.
    #[serde(deserialize_with = "value::host")]
    pub host: String,
    /// The TCP port, 0 to 65535, where 0 takes any free one; 8000 by default.
    #[serde(deserialize_with = "value::integer::<_, _, 0, 65_535>")]
    pub port: u16,
    /// Threads that serve requests, 0 to 256, where 0 is one per core; 0 by default. See
    /// [`ServerSettings::worker_count`].
    #[serde(deserialize_with = "value::integer::<_, _, 0, 256>")]
    pub workers: usize,
    /// The largest request body accepted, in bytes, 1024 to 1048576; 65536 by default.
    #[serde(deserialize_with = "value::integer::<_, _, 1_024, 1_048_576>")]
    pub max_body_bytes: usize,
    /// The most connections open at once, 1 to 1000000; 10000 by default. Further ones wait to be
    /// accepted.
    #[serde(deserialize_with = "value::integer::<_, _, 1, 1_000_000>")]
    pub max_connections: usize,
    /// How long a client may take to send a request's head, and again its body, in seconds, 1 to
    /// 300; 10 by default.
    #[serde(deserialize_with = "value::integer::<_, _, 1, 300>")]
    pub request_timeout_seconds: u64,
    /// How long accepted requests may take to finish once the service is told to stop, in seconds,
    /// 1 to 3600; 30 by default.
    #[serde(deserialize_with = "value::integer::<_, _, 1, 3_600>")]
    pub shutdown_timeout_seconds: u64,
    /// How long the service goes on as before once it is told to stop, but says that it is not
    /// ready, in seconds, 0 to 300; 0 by default.
    #[serde(deserialize_with = "value::integer::<_, _, 0, 300>")]
    pub drain_delay_seconds: u64,
}

impl ServerSettings {
    /// How many threads serve requests, at least 1: `workers`, or one per core where that is 0.
    #[must_use]
    pub fn worker_count(&self) -> usize {
        match self.workers {
            0 => thread::available_parallelism().map_or(1, NonZeroUsize::get),
            workers => workers,
        }
    }

    /// How long a client may take to send a request's head, and again its body.
    #[must_use]
    pub fn request_timeout(&self) -> Duration {
        Duration::from_secs(self.request_timeout_seconds)
    }

    /// How long accepted requests may take to finish once the service is told to stop.
    #[must_use]
    pub fn shutdown_timeout(&self) -> Duration {
        Duration::from_secs(self.shutdown_timeout_seconds)
    }

    /// How long the service goes on as before once it is told to stop, but says that it is not
    /// ready.
    #[must_use]
    pub fn drain_delay(&self) -> Duration {
        Duration::from_secs(self.drain_delay_seconds)
    }
}

/// Where the appointments are kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatabaseSettings {
    /// The database; `sqlite://data/megastats.db` by default.
    #[serde(deserialize_with = "value::database_url")]
    pub url: DatabaseUrl,
    /// Connections kept open, 1 to 256; 4 by default.
    #[serde(deserialize_with = "value::integer::<_, _, 1, 256>")]
    pub pool_size: u32,
    /// How long a request waits for a connection, in milliseconds, 1 to 60000; 5000 by default.
    #[serde(deserialize_with = "value::integer::<_, _, 1, 60_000>")]
    pub pool_wait_ms: u64,
    /// How many requests may wait for a connection, and on `SQLite` how many more for their turn to
    /// write, 0 to 100000; 500 by default. Further ones are refused at once.
    #[serde(deserialize_with = "value::integer::<_, _, 0, 100_000>")]
    pub pool_queue: usize,
    /// How long `SQLite` waits for another writer's lock, in milliseconds, 1 to 60000; 5000 by
    /// default.
    #[serde(deserialize_with = "value::integer::<_, _, 1, 60_000>")]
    pub busy_timeout_ms: u64,
    /// How long `PostgreSQL` works on one statement before it gives it up, in milliseconds, 1 to
    /// 60000; 5000 by default.
    #[serde(deserialize_with = "value::integer::<_, _, 1, 60_000>")]
    pub statement_timeout_ms: u64,
    /// How long a new connection to `PostgreSQL` may take until it can be used, in milliseconds, 1
    /// to 60000; 3000 by default.
    #[serde(deserialize_with = "value::integer::<_, _, 1, 60_000>")]
    pub connect_timeout_ms: u64,
}

impl DatabaseSettings {
    /// How long a request waits for a connection.
    #[must_use]
    pub fn pool_wait(&self) -> Duration {
        Duration::from_millis(self.pool_wait_ms)
    }

    /// How long `SQLite` waits for another writer's lock.
    #[must_use]
    pub fn busy_timeout(&self) -> Duration {
        Duration::from_millis(self.busy_timeout_ms)
    }

    /// How long `PostgreSQL` works on one statement before it gives it up. A write's fence must
    /// stand for longer.
    #[must_use]
    pub fn statement_timeout(&self) -> Duration {
        Duration::from_millis(self.statement_timeout_ms)
    }

    /// How long a write may take from its first statement to the end of its commit, each of which
    /// may wait for a lock or be given up a second after it has had its time.
    #[must_use]
    pub fn longest_transaction(&self) -> Duration {
        let statement = self.busy_timeout().max(self.statement_timeout());
        2 * (statement + Duration::from_secs(1))
    }

    /// How long a new connection to `PostgreSQL` may take until it can be used.
    #[must_use]
    pub fn connect_timeout(&self) -> Duration {
        Duration::from_millis(self.connect_timeout_ms)
    }
}

/// Where computed statistics are kept, and for how long.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CacheSettings {
    /// What keeps the entries; memory by default.
    #[serde(deserialize_with = "value::choice")]
    pub backend: CacheBackend,
    /// How long an entry lives, in seconds, 1 to 3600; 30 by default. A hit does not extend it.
    #[serde(deserialize_with = "value::integer::<_, _, 1, 3_600>")]
    pub ttl_seconds: u64,
    /// How long after that an entry may still be answered while the database cannot, in seconds, 0
    /// to 86400, where 0 is never; 300 by default.
    #[serde(deserialize_with = "value::integer::<_, _, 0, 86_400>")]
    pub stale_if_error_seconds: u64,
    /// The most entries kept in memory, and the most polls kept warm, 1 to 10000000; 10000 by
    /// default.
    #[serde(deserialize_with = "value::integer::<_, _, 1, 10_000_000>")]
    pub max_entries: usize,
    /// Computing what is polled before it expires.
    pub warming: WarmingSettings,
    /// The Redis that instances share.
    pub redis: RedisSettings,
}

impl CacheSettings {
    /// How long an entry lives.
    #[must_use]
    pub fn ttl(&self) -> Duration {
        Duration::from_secs(self.ttl_seconds)
    }

    /// How long after that an entry may still be answered while the database cannot.
    #[must_use]
    pub fn stale_if_error(&self) -> Duration {
        Duration::from_secs(self.stale_if_error_seconds)
    }
}

/// Computing what is polled before it expires.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WarmingSettings {
    /// Whether it is done; false by default.
    #[serde(deserialize_with = "value::boolean")]
    pub enabled: bool,
    /// How long after its last read an entry is kept warm, in seconds, 1 to 86400; 90 by default.
    /// Shorter than the time between two polls it does nothing.
    #[serde(deserialize_with = "value::integer::<_, _, 1, 86_400>")]
    pub window_seconds: u64,
}

impl WarmingSettings {
    /// How long after its last read an entry is kept warm.
    #[must_use]
    pub fn window(&self) -> Duration {
        Duration::from_secs(self.window_seconds)
    }
}

/// What keeps the cache's entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CacheBackend {
    /// This process, for itself alone.
    Memory,
    /// Redis, for all instances.
    Redis,
    /// Nothing: every request reads the database.
    None,
}

impl CacheBackend {
    /// As it is written in the settings.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Redis => "redis",
            Self::None => "none",
        }
    }
}

impl value::Choice for CacheBackend {
    const ALL: &'static [(&'static str, Self)] = &[
        ("memory", Self::Memory),
        ("redis", Self::Redis),
        ("none", Self::None),
    ];
}

/// How the statistics are computed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatsSettings {
    /// Whose time zone rules say when a day begins; bundled by default.
    #[serde(deserialize_with = "value::choice")]
    pub tzdb: Tzdb,
}

/// Whose time zone rules say when a day begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Tzdb {
    /// Those built into this program.
    Bundled,
    /// The machine's, which follow a change of law without a new build.
    System,
}

impl value::Choice for Tzdb {
    const ALL: &'static [(&'static str, Self)] =
        &[("bundled", Self::Bundled), ("system", Self::System)];
}

/// Which web pages of other origins may call the service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CorsSettings {
    /// Each `scheme://host[:port]` as a browser sends it; with none, no other origin may call. The
    /// default is `AlignWork`'s development front ends.
    #[serde(deserialize_with = "value::origins")]
    pub allowed_origins: Vec<String>,
}

/// What is logged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogSettings {
    /// Comma-separated `LEVEL` or `TARGET=LEVEL`, where a level is off, error, warn, info, debug or
    /// trace; `info` by default. It is `env_logger`'s syntax without what that takes for a filter
    /// by mistake: a lone target, which may be a misspelt level, and a `/` with a pattern.
    /// Of other crates nothing below a warning is logged in any case.
    #[serde(deserialize_with = "value::log_filter")]
    pub filter: String,
    /// How a line is written; text by default.
    #[serde(deserialize_with = "value::choice")]
    pub format: LogFormat,
    /// Whether each request has its line, rather than only those that the service failed; true by
    /// default.
    #[serde(deserialize_with = "value::boolean")]
    pub requests: bool,
}

/// How a line of the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For eyes: `[time LEVEL target] message key=value`.
    Text,
    /// For programs: one JSON object.
    Json,
}

impl value::Choice for LogFormat {
    const ALL: &'static [(&'static str, Self)] = &[("text", Self::Text), ("json", Self::Json)];
}

impl Settings {
    /// Refuses settings that are fine each by itself, but not together.
    fn check(self) -> Result<Self, SettingsError> {
        let refuse = |keys, problem: String| Err(SettingsError::Together { keys, problem });
        let redis = &self.cache.redis;
        if self.cache.backend == CacheBackend::Redis && !redis.is_set() {
            let problem = "the backend \"redis\" needs a redis:// or rediss:// URL".to_owned();
            return refuse("cache.redis.url", problem);
        }
        let database = &self.database;
        let longest_write =
            2 * (database.pool_wait() + redis.invalidation_wait()) + database.longest_transaction();
        if redis.is_set() && redis.fence_life() <= longest_write {
            let problem = format!(
                "a fence must outlast the longest write, which may take {} ms by \
                 2 x (database.pool_wait_ms + cache.redis.invalidation_wait_ms + 1000 + the larger of \
                 database.busy_timeout_ms and database.statement_timeout_ms)",
                longest_write.as_millis()
            );
            return refuse("cache.redis.fence_seconds", problem);
        }
        self.auth.check()?;
        Ok(self)
    }

    /// Whether another instance on the same database would be answered from counts that this one
    /// has outdated.
    #[must_use]
    pub fn is_fresh_to_itself_only(&self) -> bool {
        let shared = matches!(self.database.url, DatabaseUrl::Postgres(_));
        shared && self.cache.backend == CacheBackend::Memory
    }

    /// The effective settings as a config file. It can be loaded again, unless it hides a secret.
    #[must_use]
    #[expect(
        clippy::missing_panics_doc,
        reason = "no setting is of a kind that TOML lacks"
    )]
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("strings, integers and lists are TOML")
    }
}

#[cfg(test)]
mod tests;
