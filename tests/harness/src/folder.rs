//! Where the services of a test keep their data: in a `SQLite` file and in their own memory or, in
//! the test binary `api_shared`, on PostgreSQL and Redis.

use std::{fs, path::Path, sync::Arc, time::Duration};

use megastats::settings::{CacheBackend, DatabaseUrl, RedisUrl, Settings};
use tempfile::TempDir;

use super::{postgres::Postgres, redis};

/// The program's database, within its folder, with the default settings.
pub const SQLITE_FILE: &str = "data/megastats.db";

/// How long a read waits for Redis, in milliseconds: the machine may be busy with other tests.
const RESPONSE_TIMEOUT_MS: u64 = 2_000;

/// Longer than any write of a test may wait.
const FENCE_SECONDS: u64 = 600;

/// A folder of a test's own. Services that are started in it share a database and a cache, which are
/// removed with it.
pub struct Folder {
    folder: TempDir,
    shared: Option<Shared>,
}

/// The servers that the tests of `api_shared` share. Each folder has a database there, and a prefix
/// of its keys, both named as the folder.
pub(crate) struct Shared {
    pub(crate) postgres: Arc<Postgres>,
    redis: Arc<redis::Server>,
}

/// Whether this is the binary whose services use PostgreSQL and Redis.
fn is_shared() -> bool {
    let binary = std::env::current_exe().unwrap();
    let name = binary.file_name().unwrap().to_string_lossy();
    name.starts_with("api_shared-")
}

impl Shared {
    pub(crate) fn of_this_binary() -> Option<Self> {
        is_shared().then(|| Self {
            postgres: Postgres::shared(),
            redis: redis::Server::shared(),
        })
    }
}

impl Folder {
    /// An empty folder, and an empty database.
    pub fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("api").tempdir().unwrap();
        let shared = Shared::of_this_binary();
        if let Some(shared) = &shared {
            shared.postgres.create(name(folder.path()));
        }
        Self { folder, shared }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A second panic would abort, and hide the first.
        if let Some(shared) = &self.shared
            && !std::thread::panicking()
        {
            shared.postgres.remove(name(self.path()));
        }
    }
}

/// The name of the folder's database, and the prefix of its keys.
pub(crate) fn name(folder: &Path) -> &str {
    folder.file_name().unwrap().to_str().unwrap()
}

/// The settings of a service in `folder`, in which the folder of its database is made.
pub(crate) fn settings(folder: &Path) -> Settings {
    let mut settings = Settings::default();
    let Some(Shared { postgres, redis }) = Shared::of_this_binary() else {
        let file = folder.join(SQLITE_FILE);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        settings.database.url = DatabaseUrl::Sqlite(file);
        return settings;
    };
    settings.database.url = DatabaseUrl::parse(&postgres.url(name(folder))).unwrap();
    settings.cache.backend = CacheBackend::Redis;
    settings.cache.redis.url = RedisUrl::parse(&redis.url()).unwrap();
    settings.cache.redis.key_prefix = format!("{}:", name(folder));
    settings.cache.redis.response_timeout = Duration::from_millis(RESPONSE_TIMEOUT_MS);
    settings.cache.redis.fence_life = Duration::from_secs(FENCE_SECONDS);
    settings
}

/// The database of the services in `folder`.
pub fn database_url(folder: &Path) -> DatabaseUrl {
    settings(folder).database.url
}

/// The environment of a service in `folder`, where it is not the default.
pub(crate) fn environment(folder: &Path) -> Vec<(&'static str, String)> {
    let Some(Shared { postgres, redis }) = Shared::of_this_binary() else {
        return Vec::new();
    };
    vec![
        ("MEGASTATS__DATABASE__URL", postgres.url(name(folder))),
        ("MEGASTATS__CACHE__BACKEND", "redis".to_owned()),
        ("MEGASTATS__CACHE__REDIS__URL", redis.url()),
        (
            "MEGASTATS__CACHE__REDIS__KEY_PREFIX",
            format!("{}:", name(folder)),
        ),
        (
            "MEGASTATS__CACHE__REDIS__RESPONSE_TIMEOUT_MS",
            RESPONSE_TIMEOUT_MS.to_string(),
        ),
        (
            "MEGASTATS__CACHE__REDIS__FENCE_SECONDS",
            FENCE_SECONDS.to_string(),
        ),
    ]
}
