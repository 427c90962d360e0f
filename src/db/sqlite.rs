//! An SQLite file. Lives here: opening it. Not here: keeping connections (`pool`), and statements.

use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

use diesel::{Connection, QueryResult, SqliteConnection, connection::SimpleConnection};

use super::error::{ConnectError, is_locked};

/// How long to leave another connection alone that is in the way of the switch to WAL.
const BETWEEN_SWITCHES: Duration = Duration::from_millis(5);

/// Makes the file's folder; returns its path, whatever the working directory becomes.
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
    // The time-out comes before the switch to WAL, which itself waits for a lock when several
    // connections open at once. FULL: an acknowledged write survives a power cut, too.
    conn.batch_execute(&format!(
        "PRAGMA busy_timeout = {};",
        busy_timeout.as_millis()
    ))?;
    switch_to_wal(&mut conn, busy_timeout)?;
    conn.batch_execute("PRAGMA synchronous = FULL;")?;
    Ok(conn)
}

/// A new file is switched by a read that goes on to write, and a reader that meets a writer there
/// is refused at once, whatever the time-out: two of them would wait for each other.
fn switch_to_wal(conn: &mut SqliteConnection, busy_timeout: Duration) -> QueryResult<()> {
    let began = Instant::now();
    loop {
        match conn.batch_execute("PRAGMA journal_mode = WAL;") {
            Err(error) if is_locked(&error) && began.elapsed() < busy_timeout => {
                thread::sleep(BETWEEN_SWITCHES);
            }
            done => return done,
        }
    }
}
