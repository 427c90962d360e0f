//! Opening a SQLite file.

use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

use diesel::{Connection, QueryResult, SqliteConnection, connection::SimpleConnection};

use super::error::{ConnectError, is_locked};

/// How long to wait before trying again to switch to WAL while another connection prevents it.
const WAL_RETRY_PAUSE: Duration = Duration::from_millis(5);

/// Makes the file's folder; returns the file's absolute path, so that the working directory may change.
pub(super) fn prepare(path: &Path) -> Result<String, ConnectError> {
    let path = std::path::absolute(path).map_err(|source| ConnectError::Folder {
        folder: path.to_owned(),
        source,
    })?;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|source| ConnectError::Folder {
            folder: folder.to_owned(),
            source,
        })?;
    }
    path.into_os_string()
        .into_string()
        .map_err(|raw| ConnectError::Path(raw.into()))
}

/// A new connection to the file, which is made if it is missing.
pub(super) fn connect(
    path: &str,
    busy_timeout: Duration,
) -> Result<SqliteConnection, ConnectError> {
    let mut conn = SqliteConnection::establish(path)?;
    // The time-out is set before the switch to WAL, since that waits for a lock when several connections
    // open at once. With FULL an acknowledged write also survives a power cut.
    conn.batch_execute(&format!(
        "PRAGMA busy_timeout = {};",
        busy_timeout.as_millis()
    ))?;
    switch_to_wal(&mut conn, busy_timeout)?;
    conn.batch_execute("PRAGMA synchronous = FULL;")?;
    Ok(conn)
}

/// Switching a new file to WAL is a read that then writes. SQLite refuses such a read at once when it meets
/// another writer, whatever the time-out, because the two would wait for each other. So it is repeated
/// here.
fn switch_to_wal(conn: &mut SqliteConnection, busy_timeout: Duration) -> QueryResult<()> {
    let began = Instant::now();
    loop {
        match conn.batch_execute("PRAGMA journal_mode = WAL;") {
            Err(error) if is_locked(&error) && began.elapsed() < busy_timeout => {
                thread::sleep(WAL_RETRY_PAUSE);
            }
            done => return done,
        }
    }
}
