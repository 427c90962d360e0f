//! The lock of a SQLite file that is served. A cache in one process does not notice what another process
//! writes, so a process with such a cache serves its file alone.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::PathBuf,
};

use thiserror::Error;

use crate::settings::DatabaseUrl;

/// Is held while the file is served. The operating system releases it when the process ends.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "held, not used")] File);

/// The file cannot be served.
#[derive(Debug, Error)]
pub enum LockError {
    /// Another process serves it.
    #[error(
        "another process serves this file: stop it, or set cache.backend to \"none\" in both, since \
         the cache of one does not notice what the other writes"
    )]
    Taken,
    /// The lock file cannot be made or locked.
    #[error("cannot lock {}: {source}", path.display())]
    Failed {
        /// The file that stands for the lock.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl Lock {
    /// Takes the lock for this process `alone`, or shares it with others that do not need it alone.
    /// `None` for PostgreSQL, whose instances share a cache.
    ///
    /// The lock is on a file beside the database: SQLite locks the database file itself, and the system
    /// drops such locks when anything in the process closes that file.
    pub fn take(url: &DatabaseUrl, alone: bool) -> Result<Option<Self>, LockError> {
        let DatabaseUrl::Sqlite(path) = url else {
            return Ok(None);
        };
        let mut path = path.clone().into_os_string();
        path.push("-serving");
        let path = PathBuf::from(path);
        let failed = |source| LockError::Failed {
            path: path.clone(),
            source,
        };
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(failed)?;
        }
        let file = File::create(&path).map_err(failed)?;
        let taken = if alone {
            file.try_lock()
        } else {
            file.try_lock_shared()
        };
        match taken {
            Ok(()) => Ok(Some(Self(file))),
            Err(TryLockError::WouldBlock) => Err(LockError::Taken),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }
}
