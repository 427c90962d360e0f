//! An hour's life in minutes: dashboards that poll, writes, entries that expire or are kept warm,
//! and one fault of each kind after the other, for as long as `SOAK_MINUTES` says.

use std::{
    env,
    time::{Duration, Instant},
};

use crate::{
    checker::{Checker, WRITERS},
    cluster::Cluster,
    database::Locked,
    instances::cluster_with_long_locks,
    redis::ask,
    stale::all_answer,
};

/// A tenth of what it is in life.
const TTL: Duration = Duration::from_secs(3);

/// Hits of each tenant, and acknowledged writes, between two faults.
const HITS: usize = 20;
const WRITES: usize = 12;

/// Rounds at least: memory is compared between the first one's end and the last one's.
const ROUNDS: usize = 2;

/// What a process may hold more by then, in KiB.
const MAX_GROWTH: usize = 16 * 1024;

const WARMED: &str = "megastats_warming_refreshes_total{result=\"computed\"}";

/// What happens in a round.
#[derive(Debug, Clone, Copy)]
enum Fault {
    InstanceKilled,
    InstanceRestarted,
    RedisKilled,
    RedisPaused,
    RedisEmptied,
    RedisFull,
    DatabaseRestarted,
    DatabaseAway,
    DatabaseSlow,
    ClientsGone,
}

use Fault::{
    ClientsGone, DatabaseAway, DatabaseRestarted, DatabaseSlow, InstanceKilled, InstanceRestarted,
    RedisEmptied, RedisFull, RedisKilled, RedisPaused,
};
use harness::{Exposition, within};

const FAULTS: [Fault; 10] = [
    InstanceKilled,
    RedisKilled,
    DatabaseSlow,
    RedisPaused,
    DatabaseAway,
    ClientsGone,
    RedisFull,
    DatabaseRestarted,
    RedisEmptied,
    InstanceRestarted,
];

impl Fault {
    /// Whether somebody may go without an answer: who asked what was killed, stopped or away.
    fn may_cost_answers(self) -> bool {
        matches!(
            self,
            InstanceKilled | InstanceRestarted | DatabaseRestarted | DatabaseAway
        )
    }

    async fn happen(self, cluster: &Cluster, checker: &Checker) {
        match self {
            InstanceKilled | InstanceRestarted => {
                let how = if matches!(self, InstanceKilled) {
                    "kill"
                } else {
                    "stop"
                };
                cluster.run(&format!("{how} instance-1"));
                checker.writes(WRITES).await;
                cluster.run("start instance-1");
            }
            RedisKilled => {
                cluster.run("kill redis");
                checker.writes(WRITES).await;
                cluster.run("start redis");
            }
            RedisPaused => {
                cluster.run("kill redis STOP");
                checker.writes(WRITES).await;
                cluster.run("kill redis CONT");
            }
            RedisEmptied => ask(cluster, "FLUSHALL", &[]).await,
            RedisFull => {
                set(cluster, "maxmemory-policy", "volatile-lru").await;
                // Less than the server needs for itself.
                set(cluster, "maxmemory", "1mb").await;
                checker.writes(WRITES).await;
                set(cluster, "maxmemory", "0").await;
            }
            DatabaseRestarted => {
                cluster.run("stop postgres");
                cluster.run("start postgres");
            }
            DatabaseAway => {
                let expire = expire(cluster, checker.quiet());
                within("what has expired is answered", expire).await;
                cluster.run("start postgres");
            }
            DatabaseSlow => {
                let locked = Locked::table(cluster.url("postgres")).await;
                locked.until_writers_wait(WRITERS).await;
                locked.release().await;
            }
            ClientsGone => {
                for instance in 0..WRITES {
                    tokio::task::block_in_place(|| checker.book_and_leave(instance));
                }
            }
        }
        checker.writes(WRITES).await;
        checker.hits(HITS).await;
    }
}

/// Changes a setting of the running Redis.
async fn set(cluster: &Cluster, setting: &str, value: &str) {
    ask(cluster, "CONFIG", &["SET", setting, value]).await;
}

/// Stops PostgreSQL for so long that every instance answers what has expired of `tenant`, to whom
/// nobody writes.
async fn expire(cluster: &Cluster, tenant: &str) {
    let instances = cluster.instances();
    loop {
        all_answer(&instances[..1], tenant, "HIT").await;
        cluster.run("stop postgres");
        let stale = all_answer(&instances, tenant, "STALE");
        if tokio::time::timeout(3 * TTL, stale).await.is_ok() {
            return;
        }
        // An instance that was stalled trusts no entry from before, and nobody can compute others.
        cluster.run("start postgres");
    }
}

/// Of the instances that no fault restarts.
fn memory(cluster: &Cluster) -> [usize; 2] {
    ["instance-2", "instance-3"].map(|instance| cluster.memory(instance))
}

/// How long a long run lasts; no time in a short one.
pub fn soaking() -> Duration {
    let minutes = env::var("SOAK_MINUTES").unwrap_or_else(|_| "0".into());
    let minutes: u64 = minutes.parse().expect("SOAK_MINUTES is a number");
    Duration::from_secs(60 * minutes)
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_one_after_another_cause_no_stale_answer_no_unexplained_error_and_no_leak() {
    let ttl = TTL.as_secs().to_string();
    let cluster = cluster_with_long_locks(&[
        ("MEGASTATS__CACHE__TTL_SECONDS", &ttl),
        ("MEGASTATS__DATABASE__POOL_WAIT_MS", "1000"),
        ("MEGASTATS__CACHE__WARMING__ENABLED", "true"),
    ]);
    let checker = Checker::begin(&cluster).await;
    checker.hits(HITS).await;
    let (began, soaking) = (Instant::now(), soaking());
    let mut first = None;
    for round in 1.. {
        for fault in FAULTS {
            let before = checker.tally().unanswered();
            fault.happen(&cluster, &checker).await;
            let unanswered = checker.tally().unanswered() - before;
            assert!(
                unanswered == 0 || fault.may_cost_answers(),
                "{fault:?} cost {unanswered} answers"
            );
        }
        first.get_or_insert_with(|| memory(&cluster));
        if round >= ROUNDS && began.elapsed() >= soaking {
            break;
        }
    }
    let (first, last) = (first.unwrap(), memory(&cluster));
    for (first, last) in first.into_iter().zip(last) {
        assert!(last <= first + MAX_GROWTH, "{first} KiB grew to {last}");
    }
    let metrics = Exposition::of(cluster.url("instance-2")).await;
    assert!(metrics.value(WARMED) > 0.0, "nothing was kept warm");
    let tally = checker.end(5).await;
    println!(
        "{:?}: {tally:?}, {first:?} to {last:?} KiB",
        began.elapsed()
    );
}
