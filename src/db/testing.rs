//! Empty databases of both kinds, for the unit tests of statements.

use std::sync::Arc;

use harness::postgres::Postgres;
use tokio::runtime::Runtime;

use super::{
    connection::{AnyConn, Manager},
    migrations,
};
use crate::settings::{DatabaseSettings, DatabaseUrl, Settings};

/// A database of its own for one test, migrated and empty.
pub(crate) struct TestDb {
    conn: AnyConn,
    manager: Manager,
    runtime: Runtime,
    _home: Home,
}

/// What is removed together with the database.
enum Home {
    Folder(#[expect(dead_code, reason = "removed when dropped")] tempfile::TempDir),
    Server(#[expect(dead_code, reason = "stopped when dropped")] Arc<Postgres>),
}

impl TestDb {
    /// One on SQLite, and one on PostgreSQL.
    pub(crate) fn both() -> [Self; 2] {
        [Self::sqlite(), Self::postgres()]
    }

    /// One on SQLite.
    pub(crate) fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = DatabaseUrl::Sqlite(folder.path().join("test.db"));
        Self::open(url, Home::Folder(folder))
    }

    /// One on PostgreSQL.
    pub(crate) fn postgres() -> Self {
        let server = Postgres::shared();
        let url = DatabaseUrl::parse(&server.database()).unwrap();
        Self::open(url, Home::Server(server))
    }

    fn open(url: DatabaseUrl, home: Home) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let context = runtime.enter();
        let manager = Manager::new(&settings(url), None).unwrap();
        migrations::migrate(&manager).unwrap();
        let conn = manager.open().unwrap().conn;
        drop(context);
        Self {
            conn,
            manager,
            runtime,
            _home: home,
        }
    }

    /// Another connection to it.
    pub(crate) fn another(&self) -> AnyConn {
        self.manager.open().unwrap().conn
    }

    /// Runs `work` as the service would.
    pub(crate) fn run<T>(&mut self, work: impl FnOnce(&mut AnyConn) -> T) -> T {
        let _context = self.runtime.enter();
        work(&mut self.conn)
    }
}

fn settings(url: DatabaseUrl) -> DatabaseSettings {
    let mut settings = Settings::default().database;
    settings.url = url;
    settings
}
