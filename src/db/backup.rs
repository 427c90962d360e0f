//! A backup of a SQLite database, made beside a service that uses it.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use diesel::{
    ConnectionError, QueryDsl, QueryableByName, RunQueryDsl, SqliteConnection,
    result::Error as DieselError, sql_query, sql_types::Text,
};
use thiserror::Error;

use super::{error::ConnectError, schema::appointments, sqlite};
use crate::settings::{DatabaseSettings, DatabaseUrl};

/// A backup was not made. `Display` is one line.
#[derive(Debug, Error)]
pub enum BackupError {
    /// The database cannot be opened.
    #[error("database.url: {url}: {source}")]
    Connect {
        /// The database, without secrets.
        url: String,
        /// Why not.
        source: ConnectError,
    },
    /// There is nothing to back up.
    #[error("database.url: {0}: there is no database of megastats")]
    Missing(String),
    /// The database is no file.
    #[error("database.url: {0}: PostgreSQL is backed up with its own pg_dump")]
    Postgres(String),
    /// The backup could not be written.
    #[error("cannot back up to {}: {reason}", path.display())]
    Copy {
        /// The backup.
        path: PathBuf,
        /// Why not.
        reason: CopyError,
    },
}

/// The backup could not be written.
#[derive(Debug, Error)]
pub enum CopyError {
    /// Something has that name.
    #[error("it is there already, and a backup replaces nothing")]
    Exists,
    /// The folder is missing.
    #[error("there is no folder {}", .0.display())]
    NoFolder(PathBuf),
    /// The system says why.
    #[error(transparent)]
    System(#[from] io::Error),
    /// SQLite could not write the copy, or read the database.
    #[error(transparent)]
    Statement(#[from] DieselError),
    /// The copy cannot be opened.
    #[error("the copy cannot be opened: {0}")]
    Open(#[from] ConnectionError),
    /// The copy is damaged.
    #[error("the copy is damaged: {0}")]
    Damaged(String),
}

/// Writes a copy of the configured database to `target`, which must not exist yet; returns how many
/// appointments it has. Every write that was acknowledged before is among them. Blocks.
///
/// The copy gets its name when it is complete, checked and on the disk.
pub fn backup(settings: &DatabaseSettings, target: &Path) -> Result<i64, BackupError> {
    let url = settings.url.to_string();
    let DatabaseUrl::Sqlite(path) = &settings.url else {
        return Err(BackupError::Postgres(url));
    };
    match sqlite::connect_as_is(path, settings.busy_timeout) {
        Ok(Some(mut conn)) => copy(&mut conn, target).map_err(|reason| BackupError::Copy {
            path: target.to_owned(),
            reason,
        }),
        Ok(None) => Err(BackupError::Missing(url)),
        Err(source) => Err(BackupError::Connect { url, source }),
    }
}

fn copy(conn: &mut SqliteConnection, target: &Path) -> Result<i64, CopyError> {
    if target.symlink_metadata().is_ok() {
        return Err(CopyError::Exists);
    }
    let folder = match target.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    if !folder.is_dir() {
        return Err(CopyError::NoFolder(folder.to_owned()));
    }
    // It is removed unless it gets its name.
    let unfinished = tempfile::Builder::new()
        .prefix(target.file_name().unwrap_or_default())
        .suffix(".part")
        .tempfile_in(folder)?;
    // In one read transaction, which keeps nobody from writing.
    sql_query("VACUUM INTO ?")
        .bind::<Text, _>(sqlite::url(unfinished.path(), "")?.as_str())
        .execute(conn)?;
    let appointments = check(unfinished.path())?;
    unfinished.as_file().sync_all()?;
    unfinished
        .persist_noclobber(target)
        .map_err(|failed| match failed.error {
            error if error.kind() == io::ErrorKind::AlreadyExists => CopyError::Exists,
            error => error.into(),
        })?;
    // Only then does the name survive a power cut.
    File::open(folder)?.sync_all()?;
    Ok(appointments)
}

/// Checks the copy as a whole; returns how many appointments it has.
fn check(copy: &Path) -> Result<i64, CopyError> {
    #[derive(QueryableByName)]
    struct Finding {
        #[diesel(sql_type = Text)]
        integrity_check: String,
    }
    let mut conn = sqlite::establish(copy, "mode=ro&immutable=1", Duration::ZERO)?;
    let Finding { integrity_check } =
        sql_query("PRAGMA integrity_check(1)").get_result(&mut conn)?;
    if integrity_check != "ok" {
        return Err(CopyError::Damaged(integrity_check));
    }
    Ok(appointments::table.count().get_result(&mut conn)?)
}
