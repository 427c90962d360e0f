//! The database alone, as the service opens it.

use std::time::Duration;

use diesel::{
    QueryResult, QueryableByName, RunQueryDsl, sql_query,
    sql_types::{BigInt, Text},
};
use megastats::{
    db::{Announce, AnyConn, Db, OpenError, PgConn},
    settings::{DatabaseSettings, DatabaseUrl, Settings},
};
use tokio::task::spawn_blocking;

/// The settings of a database by its URL, with time-outs that a test can wait for.
pub fn settings(url: &str) -> DatabaseSettings {
    let mut settings = Settings::default().database;
    settings.url = DatabaseUrl::parse(url).unwrap();
    settings.pool_wait = Duration::from_secs(2);
    settings.statement_timeout = Duration::from_millis(500);
    settings
}

/// Opens a database as the service does.
pub async fn open(settings: &DatabaseSettings) -> Result<Db, OpenError> {
    let settings = settings.clone();
    spawn_blocking(move || Db::open(&settings, None, Announce::Changes))
        .await
        .unwrap()
}

/// The PostgreSQL connection inside.
pub fn pg(conn: &mut AnyConn) -> &mut PgConn {
    match conn {
        AnyConn::Pg(conn) => conn,
        AnyConn::Sqlite(_) => panic!("not PostgreSQL"),
    }
}

/// What `sql`, which names it `value`, answers.
pub fn text(conn: &mut AnyConn, sql: &str) -> QueryResult<String> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Text)]
        value: String,
    }
    let row: Row = sql_query(sql).get_result(pg(conn))?;
    Ok(row.value)
}

/// Has the server work for `time` on a statement, in a way that is not a table's.
pub fn sleep(conn: &mut AnyConn, time: Duration) -> QueryResult<()> {
    let milliseconds = i64::try_from(time.as_millis()).unwrap();
    sql_query("SELECT pg_sleep($1 / 1000.0)")
        .bind::<BigInt, _>(milliseconds)
        .execute(pg(conn))?;
    Ok(())
}
