//! The statements about pending invalidations. Only PostgreSQL runs them.

use std::time::Duration;

use diesel::{
    OptionalExtension, QueryResult, QueryableByName, RunQueryDsl, sql_query,
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
struct Reached {
    #[diesel(sql_type = Bool)]
    is_reached: bool,
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
    let set = sql_query(
        "WITH changed AS (UPDATE pending_invalidations SET is_raised = TRUE WHERE id = $1 \
                          RETURNING id) \
         SELECT id, pg_notify($2, '') FROM changed",
    )
    .bind::<BigInt, _>(id)
    .bind::<Text, _>(PENDING);
    on_db!(conn, |c| set.get_result::<RowId>(c).optional()).map(drop)
}

/// Removes the row with that id, and announces it.
pub(super) fn remove(conn: &mut AnyConn, id: i64) -> QueryResult<()> {
    let remove = sql_query(
        "WITH removed AS (DELETE FROM pending_invalidations WHERE id = $1 RETURNING id) \
         SELECT id, pg_notify($2, '') FROM removed",
    )
    .bind::<BigInt, _>(id)
    .bind::<Text, _>(PENDING);
    on_db!(conn, |c| remove.get_result::<RowId>(c).optional()).map(drop)
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
    let ask = sql_query(
        "SELECT EXISTS (SELECT FROM pg_locks \
                        WHERE locktype = 'advisory' AND objsubid = 1 \
                        AND classid::bigint << 32 | objid::bigint = $1 AND database = \
                            (SELECT oid FROM pg_database WHERE datname = current_database())) \
                    AS is_reached",
    )
    .bind::<BigInt, _>(REACHES_REDIS);
    let Reached { is_reached } = on_db!(conn, |c| ask.get_result(c))?;
    Ok(is_reached)
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
