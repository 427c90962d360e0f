//! `SQLite` files, opened while a service may use them.

use std::{path::Path, time::Duration};

use diesel::{
    Connection, RunQueryDsl, SqliteConnection,
    connection::SimpleConnection,
    dsl::sql,
    sql_types::{BigInt, Text},
};

/// How long a statement of a test waits for the service's.
const WAIT: Duration = Duration::from_secs(20);

/// A connection of the test's own.
pub struct Sqlite(SqliteConnection);

impl Sqlite {
    /// Opens the file at `path`; creates it if there is none.
    pub fn open(path: &Path) -> Self {
        let mut conn = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
        conn.batch_execute(&format!("PRAGMA busy_timeout = {}", WAIT.as_millis()))
            .unwrap();
        Self(conn)
    }

    /// Opens the file at `path` and holds its write lock until the connection is dropped.
    pub fn lock(path: &Path) -> Self {
        let mut conn = Self::open(path);
        conn.execute("BEGIN IMMEDIATE");
        conn
    }

    /// Runs statements.
    pub fn execute(&mut self, statements: &str) {
        self.0.batch_execute(statements).unwrap();
    }

    /// The one number that `query` selects.
    pub fn number(&mut self, query: &str) -> i64 {
        sql::<BigInt>(query).get_result(&mut self.0).unwrap()
    }

    /// The texts that `query` selects.
    pub fn texts(&mut self, query: &str) -> Vec<String> {
        sql::<Text>(query).load(&mut self.0).unwrap()
    }
}
