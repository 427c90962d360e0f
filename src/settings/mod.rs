//! What ops configure: every setting, and how the effective settings are shown. `load` says where
//! values come from, `value` how one value is checked.
//!
//! The range of a number stands in its field's attribute, its default in `config/default.toml`. That
//! file is the reference for ops; tests hold it to the keys and the ranges here.

mod auth;
mod database_url;
mod error;
mod load;
mod postgres_url;
mod redis;
mod url_parts;
mod value;

use std::{num::NonZeroUsize, thread, time::Duration};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use self::value::{Millis, Seconds};
pub use self::{
    auth::{AuthMode, AuthSettings, Secret},
    database_url::DatabaseUrl,
    error::SettingsError,
    postgres_url::{PostgresUrl, SslMode},
    redis::{RELAY_WAIT, RedisSettings, RedisUrl},
};

/// The effective settings: `config/default.toml`, then the file given, then the environment.
///
/// `Debug` and [`Settings::to_toml`] show no secret.
#[derive(Debug, Clone, Serialize, Deserialize)]
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
    /// Which appointments may be made.
    pub appointments: AppointmentsSettings,
    /// Who may ask, and what for.
    pub auth: AuthSettings,
    /// Which web pages of other origins may call the service.
    pub cors: CorsSettings,
    /// What is logged.
    pub log: LogSettings,
}

/// Where and how the service listens.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerSettings {
    /// The address or host name to listen on, without a port; `127.0.0.1` by default.
    #[serde(deserialize_with = "value::host")]
    pub host: String,
    /// The TCP port, where 0 takes any free one.
    #[serde(deserialize_with = "value::number::<0, 65_535, _, _>")]
    pub port: u16,
    /// Threads that serve requests, where 0 is one per core. See [`ServerSettings::worker_count`].
    #[serde(deserialize_with = "value::number::<0, 256, _, _>")]
    pub workers: usize,
    /// The largest request body accepted, in bytes.
    #[serde(deserialize_with = "value::number::<1_024, 1_048_576, _, _>")]
    pub max_body_bytes: usize,
    /// The most connections open at once. Further ones wait to be accepted.
    #[serde(deserialize_with = "value::number::<1, 1_000_000, _, _>")]
    pub max_connections: usize,
    /// How long a client may take to send a request's head, and again its body.
    #[serde(rename = "request_timeout_seconds", with = "Seconds::<1, 300>")]
    pub request_timeout: Duration,
    /// How long accepted requests may take to finish once the service is told to stop.
    #[serde(rename = "shutdown_timeout_seconds", with = "Seconds::<1, 3_600>")]
    pub shutdown_timeout: Duration,
    /// How long the service goes on as before once it is told to stop, but says that it is not
    /// ready.
    #[serde(rename = "drain_delay_seconds", with = "Seconds::<0, 300>")]
    pub drain_delay: Duration,
}

impl ServerSettings {
    /// How many streams of events may be open at once, at least 1: half of the connections, so that
    /// the others are left to requests.
    pub fn max_streams(&self) -> usize {
        self.max_connections.div_ceil(2)
    }

    /// How many threads serve requests, at least 1: `workers`, or one per core where that is 0.
    pub fn worker_count(&self) -> usize {
        match self.workers {
            0 => thread::available_parallelism().map_or(1, NonZeroUsize::get),
            workers => workers,
        }
    }
}

/// Where the appointments are kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatabaseSettings {
    /// The database; `sqlite://data/megastats.db` by default.
    pub url: DatabaseUrl,
    /// Connections kept open; on `SQLite` there is one more, for the writer.
    #[serde(deserialize_with = "value::number::<1, 256, _, _>")]
    pub pool_size: u32,
    /// How long a request waits for a connection.
    #[serde(rename = "pool_wait_ms", with = "Millis::<1, 60_000>")]
    pub pool_wait: Duration,
    /// How many requests may wait for a connection, and on `SQLite` how many more for their turn to
    /// write. Of further ones, those of the tenant that has the most are refused at once.
    #[serde(deserialize_with = "value::number::<0, 100_000, _, _>")]
    pub pool_queue: usize,
    /// How long `SQLite` waits for another writer's lock.
    #[serde(rename = "busy_timeout_ms", with = "Millis::<1, 60_000>")]
    pub busy_timeout: Duration,
    /// How long `PostgreSQL` works on one statement before it gives it up.
    #[serde(rename = "statement_timeout_ms", with = "Millis::<1, 60_000>")]
    pub statement_timeout: Duration,
    /// How long a new connection to `PostgreSQL` may take until it can be used.
    #[serde(rename = "connect_timeout_ms", with = "Millis::<1, 60_000>")]
    pub connect_timeout: Duration,
}

impl DatabaseSettings {
    /// How long a write may take from its first statement to the end of its commit, each of which
    /// may wait for a lock or be given up a second after it has had its time.
    pub fn longest_transaction(&self) -> Duration {
        let statement = self.busy_timeout.max(self.statement_timeout);
        2 * (statement + Duration::from_secs(1))
    }
}

/// Where computed statistics are kept, and for how long.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CacheSettings {
    /// What keeps the entries.
    #[serde(deserialize_with = "value::choice")]
    pub backend: CacheBackend,
    /// How long an entry lives. A hit does not extend it.
    #[serde(rename = "ttl_seconds", with = "Seconds::<1, 3_600>")]
    pub ttl: Duration,
    /// How long after that an entry may still be answered while the database cannot, where 0 is
    /// never.
    #[serde(rename = "stale_if_error_seconds", with = "Seconds::<0, 86_400>")]
    pub stale_if_error: Duration,
    /// The most entries kept in memory, and the most polls kept warm.
    #[serde(deserialize_with = "value::number::<1, 10_000_000, _, _>")]
    pub max_entries: usize,
    /// Computing what is polled before it expires.
    pub warming: WarmingSettings,
    /// The Redis that instances share.
    pub redis: RedisSettings,
}

/// Computing what is polled before it expires.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WarmingSettings {
    /// Whether it is done.
    #[serde(deserialize_with = "value::boolean")]
    pub enabled: bool,
    /// How long after its last read an entry is kept warm. Shorter than the time between two polls
    /// it does nothing.
    #[serde(rename = "window_seconds", with = "Seconds::<1, 86_400>")]
    pub window: Duration,
}

/// What keeps the cache's entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ValueEnum)]
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
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Redis => "redis",
            Self::None => "none",
        }
    }
}

/// How the statistics are computed.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatsSettings {
    /// Whose time zone rules say when a day begins.
    #[serde(deserialize_with = "value::choice")]
    pub tzdb: Tzdb,
}

/// Which appointments may be made.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AppointmentsSettings {
    /// Whether an appointment may be made, or moved, to start before now.
    #[serde(deserialize_with = "value::boolean")]
    pub allow_past_starts: bool,
}

/// Whose time zone rules say when a day begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Tzdb {
    /// Those built into this program.
    Bundled,
    /// The machine's, which follow a change of law without a new build.
    System,
}

/// Which web pages of other origins may call the service.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CorsSettings {
    /// Each `scheme://host[:port]` as a browser sends it; with none, no other origin may call. The
    /// default is `AlignWork`'s development front ends.
    #[serde(deserialize_with = "value::origins")]
    pub allowed_origins: Vec<String>,
}

/// What is logged.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogSettings {
    /// Comma-separated `LEVEL` or `TARGET=LEVEL`, where a level is off, error, warn, info, debug or
    /// trace. It is `env_logger`'s syntax without what that takes for a filter by mistake: a lone
    /// target, which may be a misspelt level, and a `/` with a pattern. Of other crates nothing
    /// below a warning is logged in any case.
    #[serde(deserialize_with = "value::log_filter")]
    pub filter: String,
    /// How a line is written.
    #[serde(deserialize_with = "value::choice")]
    pub format: LogFormat,
    /// Whether each request has its line, rather than only those that the service failed.
    #[serde(deserialize_with = "value::boolean")]
    pub requests: bool,
}

/// How a line of the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For eyes: `[time LEVEL target] message key=value`.
    Text,
    /// For programs: one JSON object.
    Json,
}

impl Settings {
    /// Refuses settings that are fine each by itself, but not together.
    fn check(self) -> Result<Self, SettingsError> {
        let redis = &self.cache.redis;
        if self.cache.backend == CacheBackend::Redis && !redis.is_set() {
            return Err(SettingsError(
                "cache.redis.url: the backend \"redis\" needs the URL of a Redis".to_owned(),
            ));
        }
        let database = &self.database;
        let longest_write = 2 * (database.pool_wait + redis.invalidation_wait)
            + database.longest_transaction()
            + RELAY_WAIT;
        if redis.is_set() && redis.fence_life <= longest_write {
            return Err(SettingsError(format!(
                "cache.redis.fence_seconds: a fence must outlast the longest write, which may take \
                 {} ms by 2 x (database.pool_wait_ms + cache.redis.invalidation_wait_ms + 1000 + \
                 the larger of database.busy_timeout_ms and database.statement_timeout_ms) + {}",
                longest_write.as_millis(),
                RELAY_WAIT.as_millis()
            )));
        }
        redis.check()?;
        self.auth.check()?;
        Ok(self)
    }

    /// Whether another instance on the same database would be answered from counts that this one
    /// has outdated.
    pub fn is_fresh_to_itself_only(&self) -> bool {
        let shared = matches!(self.database.url, DatabaseUrl::Postgres(_));
        shared && self.cache.backend == CacheBackend::Memory
    }

    /// The effective settings as a config file. It can be loaded again, unless it hides a secret.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("strings, integers and lists are TOML")
    }
}

#[cfg(test)]
mod tests;
