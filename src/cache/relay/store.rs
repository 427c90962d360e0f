//! The statements about pending invalidations. Only PostgreSQL runs them.

use std::time::Duration;

use diesel::{
    QueryResult, QueryableByName, RunQueryDsl,
    dsl::sql,
    sql_query,
    sql_types::{BigInt, Bool, Double, Text},
};

use crate::{
    db::{AnyConn, on_db},
    tenant::TenantId,
};

/// Where changes of appointments are announced, by the name of their tenant, or by nothing if all
/// tenants have changed.
pub(super) const CHANGES: &str = "megastats_changes";

/// Where it is announced that there is something new about pending invalidations.
pub(super) const PENDING: &str = "megastats_pending";

/// The key of the advisory lock that every instance shares which Redis answers: so PostgreSQL knows
/// whether there is one, and forgets it together with its session.
const REACHES_REDIS: i64 = i64::from_be_bytes(*b"ms_relay");

/// An invalidation whose writer does not reach Redis.
#[derive(Debug, QueryableByName)]
pub(super) struct PendingRow {
    #[diesel(sql_type = BigInt)]
    pub(super) id: i64,
    #[diesel(sql_type = Text)]
    pub(super) tenant_id: String,
    /// Whether an instance has raised a fence in Redis for it.
    #[diesel(sql_type = Bool)]
    pub(super) is_raised: bool,
}

/// How long rows are kept that no writer removes.
#[derive(Debug, Clone, Copy)]
pub(super) struct RowLives {
    /// Those whose fence was raised: as long as a writer may rely on the fence.
    pub(super) raised: Duration,
    /// The others: until every entry from before has expired.
    pub(super) unraised: Duration,
}

#[derive(QueryableByName)]
struct RowId {
    #[diesel(sql_type = BigInt)]
    id: i64,
}

/// Adds a row for `tenant` and announces it; returns its id.
pub(super) fn add(conn: &mut AnyConn, tenant: &TenantId) -> QueryResult<i64> {
    let add = sql_query(
        "WITH added AS (INSERT INTO pending_invalidations (tenant_id) VALUES ($1) RETURNING id) \
         SELECT id, pg_notify($2, '') FROM added",
    )
    .bind::<Text, _>(tenant.as_str())
    .bind::<Text, _>(PENDING);
    let RowId { id } = on_db!(conn, |c| add.get_result(c))?;
    Ok(id)
}

/// Notes that a fence was raised for the row with that id, and announces it.
pub(super) fn set_raised(conn: &mut AnyConn, id: i64) -> QueryResult<()> {
    change(
        conn,
        id,
        "UPDATE pending_invalidations SET is_raised = TRUE",
    )
}

/// Removes the row with that id, and announces it.
pub(super) fn remove(conn: &mut AnyConn, id: i64) -> QueryResult<()> {
    change(conn, id, "DELETE FROM pending_invalidations")
}

/// Changes the row with that id by the statement `change`, and announces it if there is such a row.
fn change(conn: &mut AnyConn, id: i64, change: &str) -> QueryResult<()> {
    let changed = sql_query(format!(
        "WITH changed AS ({change} WHERE id = $1 RETURNING id) \
         SELECT pg_notify($2, '') FROM changed"
    ))
    .bind::<BigInt, _>(id)
    .bind::<Text, _>(PENDING);
    on_db!(conn, |c| changed.execute(c)).map(drop)
}

/// All rows, oldest first, without those whose life is over: these are removed.
pub(super) fn read(conn: &mut AnyConn, lives: RowLives) -> QueryResult<Vec<PendingRow>> {
    let read = sql_query(
        "WITH removed AS (DELETE FROM pending_invalidations \
                          WHERE created_at < now() - make_interval( \
                              secs => CASE WHEN is_raised THEN $1 ELSE $2 END) \
                          RETURNING id) \
         SELECT id, tenant_id, is_raised FROM pending_invalidations \
         WHERE id NOT IN (SELECT id FROM removed) ORDER BY id",
    )
    .bind::<Double, _>(lives.raised.as_secs_f64())
    .bind::<Double, _>(lives.unraised.as_secs_f64());
    on_db!(conn, |c| read.load(c))
}

/// Whether Redis answers any instance.
pub(super) fn is_redis_reached(conn: &mut AnyConn) -> QueryResult<bool> {
    let is_reached = sql::<Bool>(
        "SELECT EXISTS (SELECT FROM pg_locks \
                        WHERE locktype = 'advisory' AND objsubid = 1 AND database = \
                            (SELECT oid FROM pg_database WHERE datname = current_database()) \
                        AND classid::bigint << 32 | objid::bigint = ",
    )
    .bind::<BigInt, _>(REACHES_REDIS)
    .sql(")");
    on_db!(conn, |c| is_reached.get_result(c))
}

/// Tells PostgreSQL whether Redis answers this instance, and announces it.
pub(super) fn set_reaches_redis(conn: &mut AnyConn, reaches: bool) -> QueryResult<()> {
    let set = sql_query(if reaches {
        "SELECT pg_advisory_lock_shared($1), pg_notify($2, '')"
    } else {
        "SELECT pg_advisory_unlock_shared($1), pg_notify($2, '')"
    })
    .bind::<BigInt, _>(REACHES_REDIS)
    .bind::<Text, _>(PENDING);
    on_db!(conn, |c| set.execute(c)).map(drop)
}
