//! A PostgreSQL that restarts, dies or is slow, and locks by which a test holds up writers.

use harness::eventually;
use tokio_postgres::{Client, NoTls};

use crate::{
    checker::{Checker, WRITERS},
    cluster::Cluster,
    instances::cluster_with_long_locks,
};

/// Hits of each tenant before and after a fault.
const HITS: usize = 40;

/// Sessions that wait for a lock on the appointments, or write to them.
const WAITING: &str = "SELECT count(*) FROM pg_locks WHERE NOT granted \
                       AND relation = 'appointments'::regclass";
const WRITING: &str = "SELECT count(*) FROM pg_locks WHERE mode = 'RowExclusiveLock' \
                       AND relation = 'appointments'::regclass";

/// Keeps writers out, and lets readers in, until it is released.
pub struct Locked(Client);

impl Locked {
    /// Locks the appointments of the database at `url`.
    pub async fn table(url: &str) -> Self {
        let session = connect(url).await;
        let lock = "BEGIN; LOCK TABLE appointments IN EXCLUSIVE MODE";
        session.batch_execute(lock).await.unwrap();
        Self(session)
    }

    /// Waits until at least so many writers stand before their commit.
    pub async fn until_writers_wait(&self, writers: usize) {
        eventually("writers wait", async || {
            count(&self.0, WAITING).await >= i64::try_from(writers).unwrap()
        })
        .await;
    }

    /// Lets everybody in.
    pub async fn release(self) {
        self.0.batch_execute("COMMIT").await.unwrap();
    }

    /// Waits until whoever wrote has committed.
    pub async fn until_nobody_writes(url: &str) {
        let session = connect(url).await;
        eventually("commits", async || count(&session, WRITING).await == 0).await;
    }
}

/// Gives `tenant` so many confirmed appointments that start at `starts_at`, without an announcement.
pub async fn insert(url: &str, tenant: &str, starts_at: &str, appointments: usize) {
    let sql = format!(
        "SET megastats.announce = off;
         INSERT INTO appointments (tenant_id, patient_id, starts_at, duration_min, status,
                                   created_at, updated_at)
         SELECT '{tenant}', n, '{starts_at}', 30, 'confirmed', now(), now()
         FROM generate_series(1, {appointments}) n"
    );
    execute(url, &sql).await;
    execute(url, "VACUUM ANALYZE appointments").await;
}

/// Runs statements as somebody else would.
pub async fn execute(url: &str, sql: &str) {
    connect(url).await.batch_execute(sql).await.unwrap();
}

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

async fn count(session: &Client, sql: &str) -> i64 {
    session.query_one(sql, &[]).await.unwrap().get(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_is_stale_while_the_database_restarts() {
    let cluster = Cluster::start(&[]);
    let checker = Checker::begin(&cluster).await;
    for _ in 0..2 {
        checker.hits(HITS).await;
        cluster.run("stop postgres");
        cluster.run("start postgres");
        checker.writes(12).await;
    }
    checker.hits(HITS).await;
    checker.end(20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_is_stale_after_the_database_was_killed() {
    let cluster = Cluster::start(&[]);
    let checker = Checker::begin(&cluster).await;
    checker.hits(HITS).await;
    cluster.run("kill postgres");
    cluster.run("start postgres");
    checker.writes(12).await;
    checker.hits(HITS).await;
    checker.end(20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_is_stale_while_writers_wait_for_a_lock() {
    let cluster = cluster_with_long_locks(&[]);
    let checker = Checker::begin(&cluster).await;
    for _ in 0..6 {
        checker.hits(HITS / 2).await;
        let locked = Locked::table(cluster.url("postgres")).await;
        // No writer is acknowledged, and no read counts its write.
        locked.until_writers_wait(WRITERS).await;
        locked.release().await;
    }
    checker.hits(HITS).await;
    checker.end(20).await.assert_all_answered();
}
