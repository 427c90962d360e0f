//! A SQLite file: whose it is, found out before anything in it is changed, and opening connections to it.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use diesel::{
    Connection, ConnectionError, QueryResult, QueryableByName, RunQueryDsl, SqliteConnection,
    connection::SimpleConnection,
    sql_query,
    sql_types::{Bool, Text},
};
use parking_lot::Mutex;
use url::Url;

use super::{
    error::{ConnectError, OpenError, is_locked},
    file::{self, FileError, FileWatch},
    lock::{Lock, LockMode},
};

/// How long to wait before trying again to switch to WAL while another connection prevents it.
const WAL_RETRY_PAUSE: Duration = Duration::from_millis(5);

/// The first migration. A database in which it has run is ours.
pub(super) const FIRST_MIGRATION: &str = "20261123000000";

/// A file that is in use: it is ours, and still there.
pub(super) struct SqliteFile {
    path: PathBuf,
    busy_timeout: Duration,
    watch: FileWatch,
    /// When the last connection is closed SQLite removes the file with recent changes (`-wal`). While this
    /// one is open that is never so, and a file that is missing has been removed by somebody else.
    kept_open: Mutex<SqliteConnection>,
    _lock: Option<Lock>,
}

impl fmt::Debug for SqliteFile {
    /// Diesel's connections have none.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteFile")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl SqliteFile {
    /// Opens the file at `path`, which is made if it is missing, and locks it if `lock` says how.
    pub(super) fn open(
        path: &Path,
        busy_timeout: Duration,
        lock: Option<LockMode>,
    ) -> Result<Self, OpenError> {
        file::create_if_missing(path)?;
        let configured = std::path::absolute(path).map_err(FileError::from)?;
        let path = file::locate(path)?;
        refuse_foreign(&path)?;
        let lock = lock.map(|mode| Lock::take(&path, mode)).transpose()?;
        let mut kept_open = connect(&path, busy_timeout)?;
        // The first read in WAL mode makes the files that are watched.
        is_ours(&mut kept_open)?;
        let shared_memory = file::with_suffix(&path, "-shm");
        let watch = FileWatch::new([configured, path.clone(), file::wal(&path), shared_memory])
            .map_err(FileError::from)?;
        Ok(Self {
            path,
            busy_timeout,
            watch,
            kept_open: Mutex::new(kept_open),
            _lock: lock,
        })
    }

    /// Whether the file that was opened is still there.
    pub(super) fn check(&self) -> Result<(), FileError> {
        self.watch.check(|| {
            // The file with the latest changes may be the one that was removed. It is still open here, and the
            // database may be there.
            let mut conn = self.kept_open.lock();
            if let Err(error) = conn.batch_execute("PRAGMA wal_checkpoint(FULL)") {
                log::error!("database: the latest changes are not in the database itself: {error}");
            }
        })
    }

    /// Another connection to the file.
    pub(super) fn connect(&self) -> Result<SqliteConnection, ConnectError> {
        self.check()?;
        connect(&self.path, self.busy_timeout)
    }
}

/// A connection to a file of ours as it is: it is not made, not migrated and not switched to WAL. `None` if
/// it is missing or empty.
pub(super) fn connect_as_is(
    path: &Path,
    busy_timeout: Duration,
) -> Result<Option<SqliteConnection>, ConnectError> {
    if !path.exists() {
        return Ok(None);
    }
    let path = file::locate(path)?;
    refuse_foreign(&path)?;
    // Opened read-only, SQLite would leave its shared memory file behind.
    let mut conn = establish(&path, "mode=rw", busy_timeout)?;
    Ok(is_ours(&mut conn)?.then_some(conn))
}

/// How SQLite takes any path, with options such as `mode=rw`: a path can hold what is no UTF-8.
pub(super) fn url(path: &Path, options: &str) -> io::Result<Url> {
    let mut url =
        Url::from_file_path(std::path::absolute(path)?).expect("an absolute path has a URL");
    url.set_query(Some(options));
    Ok(url)
}

/// Opens the file at `path`, which must exist, with SQLite's `options` in a URL.
pub(crate) fn establish(
    path: &Path,
    options: &str,
    busy_timeout: Duration,
) -> Result<SqliteConnection, ConnectionError> {
    let url =
        url(path, options).map_err(|error| ConnectionError::BadConnection(error.to_string()))?;
    let mut conn = SqliteConnection::establish(url.as_str())?;
    let busy_timeout = busy_timeout.as_millis();
    conn.batch_execute(&format!("PRAGMA busy_timeout = {busy_timeout}"))
        .map_err(ConnectionError::CouldntSetupConfiguration)?;
    Ok(conn)
}

fn connect(path: &Path, busy_timeout: Duration) -> Result<SqliteConnection, ConnectError> {
    let mut conn = establish(path, "mode=rw", busy_timeout)?;
    is_ours(&mut conn)?;
    switch_to_wal(&mut conn, busy_timeout)?;
    // An acknowledged write also survives a power cut.
    conn.batch_execute("PRAGMA synchronous = FULL")?;
    Ok(conn)
}

/// Refuses the file of another program without taking a lock or repairing it, as opening it would.
fn refuse_foreign(path: &Path) -> Result<(), ConnectError> {
    let mut conn = establish(path, "mode=ro&immutable=1", Duration::ZERO)?;
    match is_ours(&mut conn) {
        Err(ConnectError::Foreign) => Err(ConnectError::Foreign),
        // Whatever else is wrong is met again when the file is opened. It may also be that another process
        // is just writing to it.
        _ => Ok(()),
    }
}

/// Whether a database is ours. An empty one is not yet; that of another program is an error.
fn is_ours(conn: &mut SqliteConnection) -> Result<bool, ConnectError> {
    #[derive(QueryableByName)]
    struct Table {
        #[diesel(sql_type = Text)]
        name: String,
    }
    #[derive(QueryableByName)]
    struct Found {
        #[diesel(sql_type = Bool)]
        found: bool,
    }
    const MIGRATIONS: &str = "__diesel_schema_migrations";
    let tables: Vec<Table> =
        sql_query("SELECT DISTINCT tbl_name AS name FROM sqlite_schema").load(conn)?;
    if tables.iter().any(|table| table.name == MIGRATIONS) {
        let query =
            "SELECT EXISTS (SELECT 1 FROM __diesel_schema_migrations WHERE version = ?) AS found";
        let Found { found } = sql_query(query)
            .bind::<Text, _>(FIRST_MIGRATION)
            .get_result(conn)?;
        if found {
            return Ok(true);
        }
    }
    // Taking back all migrations leaves their own table.
    if tables.iter().all(|table| table.name == MIGRATIONS) {
        Ok(false)
    } else {
        Err(ConnectError::Foreign)
    }
}

/// Switching a new file to WAL is a read that then writes. SQLite refuses such a read at once when it meets
/// another writer, whatever the time-out, because the two would wait for each other. So it is repeated
/// here.
fn switch_to_wal(conn: &mut SqliteConnection, busy_timeout: Duration) -> QueryResult<()> {
    let began = Instant::now();
    loop {
        match conn.batch_execute("PRAGMA journal_mode = WAL") {
            Err(error) if is_locked(&error) && began.elapsed() < busy_timeout => {
                thread::sleep(WAL_RETRY_PAUSE);
            }
            done => return done,
        }
    }
}
