//! The database of a folder's services: reading it, changing it and locking it beside them.

use std::{fs, path::Path, sync::Arc};

use super::{
    Sqlite,
    folder::{SQLITE_FILE, Shared, name},
    postgres::Postgres,
};

/// A connection of the test's own, or a way to get one.
pub enum Database {
    /// A `SQLite` file.
    Sqlite(Sqlite),
    /// A server, and the name of the database on it.
    Postgres(Arc<Postgres>, String),
}

/// While this lives, the services can read and not write.
pub struct Lock {
    _held: Box<dyn Send>,
}

impl Database {
    /// That of the services in `folder`.
    pub fn of(folder: &Path) -> Self {
        match Shared::of_this_binary() {
            None => Self::Sqlite(Sqlite::open(&folder.join(SQLITE_FILE))),
            Some(shared) => Self::Postgres(shared.postgres, name(folder).to_owned()),
        }
    }

    /// Whether a service in `folder`, or an import, has made its tables.
    pub fn is_made(folder: &Path) -> bool {
        Shared::of_this_binary().map_or_else(
            || folder.join(SQLITE_FILE).exists(),
            |_| Self::has_appointments(folder),
        )
    }

    /// Whether there is a table of appointments, if an empty one.
    pub fn has_appointments(folder: &Path) -> bool {
        let path = folder.join(SQLITE_FILE);
        match Shared::of_this_binary() {
            None => {
                let tables = "SELECT count(*) FROM sqlite_master WHERE name = 'appointments'";
                path.exists() && Sqlite::open(&path).number(tables) == 1
            }
            Some(shared) => {
                let tables = "SELECT count(*) FROM pg_tables WHERE tablename = 'appointments'";
                shared.postgres.query(name(folder), tables) == "1"
            }
        }
    }

    /// Locks the database: the services can read and not write until the lock is dropped.
    pub fn lock(folder: &Path) -> Lock {
        let lock = "LOCK TABLE appointments IN EXCLUSIVE MODE";
        let held: Box<dyn Send> = match Shared::of_this_binary() {
            None => Box::new(Sqlite::lock(&folder.join(SQLITE_FILE))),
            Some(shared) => Box::new(shared.postgres.hold(name(folder), lock)),
        };
        Lock { _held: held }
    }

    /// Has the services' reads of appointments and of their counts go on until the service ends or, on
    /// PostgreSQL, the lock is dropped. `SQLite` has no lock that keeps readers out: theirs find
    /// rows without end.
    pub fn hold_reads(folder: &Path) -> Lock {
        let held: Box<dyn Send> = match Shared::of_this_binary() {
            None => {
                let mut sqlite = Sqlite::open(&folder.join(SQLITE_FILE));
                sqlite.execute(
                    "ALTER TABLE appointments RENAME TO hidden;
                     CREATE VIEW appointments (id, tenant_id, patient_id, consultorio_id,
                         starts_at, duration_min, status, created_at, updated_at) AS
                     WITH RECURSIVE rows(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM rows)
                     SELECT n, n, n, n, n, n, n, n, n FROM rows;
                     ALTER TABLE appointment_counts RENAME TO hidden_counts;
                     CREATE VIEW appointment_counts (tenant_id, minutes, day, starts_at, confirmed,
                         pending, cancelled) AS
                     SELECT id, -id, -id, -id, id, id, id FROM appointments",
                );
                Box::new(sqlite)
            }
            Some(shared) => {
                let lock = "LOCK TABLE appointments, appointment_counts IN ACCESS EXCLUSIVE MODE";
                Box::new(shared.postgres.hold(name(folder), lock))
            }
        };
        Lock { _held: held }
    }

    /// Runs statements, which both databases must know.
    pub fn execute(&mut self, statements: &str) {
        match self {
            Self::Sqlite(sqlite) => sqlite.execute(statements),
            Self::Postgres(server, name) => drop(server.query(name, statements)),
        }
    }

    /// As [`Database::execute`], but PostgreSQL does not announce what is changed.
    pub fn execute_unannounced(&mut self, statements: &str) {
        let silence = match self {
            Self::Sqlite(_) => "",
            Self::Postgres(..) => "SET megastats.announce = off; ",
        };
        self.execute(&format!("{silence}{statements}"));
    }

    /// The one number that `query` selects.
    pub fn number(&mut self, query: &str) -> i64 {
        match self {
            Self::Sqlite(sqlite) => sqlite.number(query),
            Self::Postgres(server, name) => server.query(name, query).parse().unwrap(),
        }
    }

    /// How many appointments `tenant` has.
    pub fn appointments(&mut self, tenant: &str) -> i64 {
        self.number(&format!(
            "SELECT count(*) FROM appointments WHERE tenant_id = '{tenant}'"
        ))
    }

    /// All appointments by their ids, each as `id|tenant_id|…`, with times as `SQLite` has them.
    pub fn rows(&mut self) -> Vec<String> {
        match self {
            Self::Sqlite(sqlite) => sqlite.texts(
                "SELECT concat_ws('|', id, tenant_id, patient_id, ifnull(consultorio_id, 'NULL'),
                     starts_at, duration_min, status, created_at, updated_at)
                 FROM appointments ORDER BY id",
            ),
            Self::Postgres(server, name) => {
                let time =
                    |of| format!("to_char({of} AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US')");
                let query = format!(
                    "SELECT id, tenant_id, patient_id, coalesce(consultorio_id::text, 'NULL'), {},
                         duration_min, status, {}, {}
                     FROM appointments ORDER BY id",
                    time("starts_at"),
                    time("created_at"),
                    time("updated_at")
                );
                server
                    .query(name, &query)
                    .lines()
                    .map(str::to_owned)
                    .collect()
            }
        }
    }

    /// All that is stored for the services in `folder`, to be compared: also a write that changes
    /// nothing shows.
    pub fn state(folder: &Path) -> Vec<u8> {
        let rows = "SELECT xmin, ctid, * FROM appointments ORDER BY id; \
                    SELECT * FROM appointments_id_seq";
        Shared::of_this_binary().map_or_else(
            || fs::read(folder.join(SQLITE_FILE)).unwrap(),
            |shared| shared.postgres.query(name(folder), rows).into_bytes(),
        )
    }

    /// Takes the appointments and their counts away: whatever reads or writes them fails.
    pub fn hide_appointments(&mut self) {
        self.execute(
            "ALTER TABLE appointments RENAME TO hidden;
             ALTER TABLE appointment_counts RENAME TO hidden_counts",
        );
    }

    /// Brings them back.
    pub fn show_appointments(&mut self) {
        self.execute(
            "ALTER TABLE hidden RENAME TO appointments;
             ALTER TABLE hidden_counts RENAME TO appointment_counts",
        );
    }
}
