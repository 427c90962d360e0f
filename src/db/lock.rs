//! The lock of a SQLite file that is served. A cache in one process does not notice what another process
//! writes, so a process with such a cache serves its file alone.

use std::{
    fs::{File, TryLockError},
    io,
    path::{Path, PathBuf},
};

use thiserror::Error;

use super::file::with_suffix;

/// Whether other services may serve the same SQLite file. `PostgreSQL` has no such lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockMode {
    /// None may.
    Exclusive,
    /// Those may that lock it as shared, too.
    Shared,
}

/// Is held while the file is served. The operating system releases it when the process ends.
#[derive(Debug)]
pub(super) struct Lock(#[expect(dead_code, reason = "held, not used")] Vec<File>);

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
    /// Locks the database at `path`, the one that [`super::file::locate`] found.
    ///
    /// Two files are locked: one beside the database, which stands for its name, and the database
    /// itself, which may be renamed while it is served. These locks are `flock`'s, which on Linux do not
    /// meet those that SQLite takes itself (`fcntl`'s). Elsewhere they do, so there is only the first.
    pub(super) fn take(path: &Path, mode: LockMode) -> Result<Self, LockError> {
        let mut files = vec![lock(with_suffix(path, "-serving"), mode)?];
        if cfg!(target_os = "linux") {
            files.push(lock(path.to_owned(), mode)?);
        }
        Ok(Self(files))
    }
}

fn lock(path: PathBuf, mode: LockMode) -> Result<File, LockError> {
    let open = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path);
    let locked = open.map_err(TryLockError::Error).and_then(|file| {
        match mode {
            LockMode::Exclusive => file.try_lock(),
            LockMode::Shared => file.try_lock_shared(),
        }
        .map(|()| file)
    });
    locked.map_err(|error| match error {
        TryLockError::WouldBlock => LockError::Taken,
        TryLockError::Error(source) => LockError::Failed { path, source },
    })
}
