//! Instances that are killed, also in the middle of a write, or that change their backend, and
//! clients that leave.

use std::time::Duration;

use harness::{eventually, within};

use crate::{
    checker::{Checker, WRITERS},
    cluster::{Cluster, INSTANCES},
    database::Locked,
    proxy::{Proxy, ProxyState},
    redis::is_there,
};

/// Hits of each tenant before and after a fault.
const HITS: usize = 40;

/// After so long a write that does not wait for a lock yet was probably sent away, by an instance on a busy
/// machine.
const UNTIL_SENT_AWAY: Duration = Duration::from_secs(5);

/// A cluster in which the fence of a writer that died expires soon. A fence must outlast the longest
/// write, so that is short as well.
pub fn cluster_with_short_fences() -> Cluster {
    Cluster::start(&[
        ("MEGASTATS__DATABASE__POOL_WAIT_MS", "500"),
        ("MEGASTATS__DATABASE__STATEMENT_TIMEOUT_MS", "4000"),
        ("MEGASTATS__DATABASE__BUSY_TIMEOUT_MS", "500"),
        ("MEGASTATS__CACHE__REDIS__FENCE_SECONDS", "17"),
    ])
}

/// A cluster in which writers can be held up for longer: a writer whose statement times out before
/// all of them are held may not come again.
pub fn cluster_with_long_writes() -> Cluster {
    Cluster::start(&[
        ("MEGASTATS__DATABASE__POOL_WAIT_MS", "500"),
        ("MEGASTATS__DATABASE__STATEMENT_TIMEOUT_MS", "12000"),
        ("MEGASTATS__DATABASE__BUSY_TIMEOUT_MS", "500"),
        ("MEGASTATS__CACHE__REDIS__INVALIDATION_WAIT_MS", "3000"),
        ("MEGASTATS__CACHE__REDIS__FENCE_SECONDS", "37"),
    ])
}

/// A cluster in which a lock on the appointments may last and costs nobody an answer.
pub fn cluster_with_long_locks(settings: &[(&str, &str)]) -> Cluster {
    let unhurried = [
        ("MEGASTATS__DATABASE__STATEMENT_TIMEOUT_MS", "15000"),
        ("MEGASTATS__CACHE__REDIS__FENCE_SECONDS", "48"),
    ];
    Cluster::start(&[&unhurried, settings].concat())
}

/// Holds the writes of all writers between fence and commit, and one more at instance 1.
pub async fn hold_writers(cluster: &Cluster, checker: &Checker) -> Locked {
    let locked = Locked::table(cluster.url("postgres")).await;
    let are_held = async {
        loop {
            tokio::task::block_in_place(|| checker.book_and_leave(0));
            let wait = locked.until_writers_wait(WRITERS + 1);
            if tokio::time::timeout(UNTIL_SENT_AWAY, wait).await.is_ok() {
                return;
            }
        }
    };
    within("writers are held", are_held).await;
    locked
}

/// Lets the held writers commit, and kills instance 1 before it can release its fence.
pub async fn commit_and_die(cluster: &Cluster, checker: &Checker, locked: Locked) {
    // Redis accepts no new generation, and goes on before an instance notices its silence.
    cluster.run("kill redis STOP");
    locked.release().await;
    Locked::until_nobody_writes(cluster.url("postgres")).await;
    // No later answer may count less than these, which come from the database.
    checker.reads(60).await;
    cluster.run("kill instance-1");
    cluster.run("kill redis CONT");
    cluster.run("start instance-1");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_fault_everybody_is_answered_and_mostly_by_the_cache() {
    let cluster = Cluster::start(&[]);
    let checker =
        Checker::begin_without_faults(&cluster, cluster.instances(), Duration::ZERO).await;
    checker.hits(5 * HITS).await;
    checker.end(50).await.assert_all_answered();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_is_stale_while_instances_are_killed_and_started_again() {
    let cluster = cluster_with_short_fences();
    let checker = Checker::begin(&cluster).await;
    for round in 0..4 {
        checker.hits(HITS).await;
        let name = format!("instance-{}", round % INSTANCES + 1);
        cluster.run(&format!("kill {name}"));
        checker.writes(4).await;
        cluster.run(&format!("start {name}"));
    }
    checker.hits(HITS).await;
    checker.end(20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_is_stale_after_an_instance_was_killed_between_fence_and_commit() {
    let cluster = cluster_with_long_writes();
    let checker = Checker::begin(&cluster).await;
    checker.hits(HITS).await;
    let locked = hold_writers(&cluster, &checker).await;
    cluster.run("kill instance-1");
    locked.release().await;
    cluster.run("start instance-1");
    checker.hits(HITS).await;
    checker.end(20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_is_stale_after_an_instance_was_killed_between_commit_and_answer() {
    let cluster = cluster_with_long_writes();
    let checker = Checker::begin(&cluster).await;
    checker.hits(HITS).await;
    let locked = hold_writers(&cluster, &checker).await;
    commit_and_die(&cluster, &checker, locked).await;
    checker.hits(HITS).await;
    checker.end(20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_is_stale_after_an_instance_was_killed_between_release_and_answer() {
    let cluster = cluster_with_long_writes();
    let proxy = Proxy::before(cluster.url("redis"));
    cluster.run("stop instance-1");
    cluster.run(&format!(
        "start instance-1 MEGASTATS__CACHE__REDIS__URL={}",
        proxy.url()
    ));
    let checker = Checker::begin(&cluster).await;
    checker.hits(HITS).await;
    let locked = hold_writers(&cluster, &checker).await;
    let fence = format!("megastats:{{{}}}:fence", checker.quiet());
    assert!(is_there(&cluster, &fence).await, "it writes");
    // Redis releases the fence, and the instance waits for its answer.
    proxy.set(ProxyState {
        holds_answers: true,
        ..ProxyState::WHOLE
    });
    locked.release().await;
    eventually("the release", async || !is_there(&cluster, &fence).await).await;
    // No later answer may count less than these, which come from a cache that is open again.
    checker.reads(60).await;
    cluster.run("kill instance-1");
    cluster.run("start instance-1");
    checker.hits(HITS).await;
    checker.end(20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_is_stale_when_clients_leave_before_their_writes_are_answered() {
    let cluster = Cluster::start(&[]);
    let checker =
        Checker::begin_without_faults(&cluster, cluster.instances(), Duration::ZERO).await;
    for round in 0..60 {
        checker.hits(3).await;
        tokio::task::block_in_place(|| checker.book_and_leave(round));
    }
    checker.hits(HITS).await;
    checker.end(30).await.assert_all_answered();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_is_stale_while_instances_change_their_backend_one_by_one() {
    let cluster = Cluster::start(&[]);
    let checker = Checker::begin(&cluster).await;
    for backend in ["none", "redis", "none"] {
        for number in 1..=INSTANCES {
            checker.writes(6).await;
            cluster.run(&format!("stop instance-{number}"));
            cluster.run(&format!(
                "start instance-{number} MEGASTATS__CACHE__BACKEND={backend}"
            ));
        }
        if backend == "redis" {
            checker.hits(HITS).await;
        }
    }
    checker.end(5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_with_postgresql_starts_with_a_warning_and_hears_of_writes_of_other_instances() {
    let cluster = Cluster::start(&[
        ("MEGASTATS__CACHE__BACKEND", "memory"),
        ("MEGASTATS__CACHE__TTL_SECONDS", "3600"),
    ]);
    for number in 1..=INSTANCES {
        let log = cluster.log(&format!("instance-{number}"));
        assert!(
            log.contains("cache.backend: memory with a PostgreSQL database"),
            "{log}"
        );
    }
    // However busy the machine, but far less than the time to live.
    let lag = Duration::from_secs(10);
    let checker = Checker::begin_without_faults(&cluster, cluster.instances(), lag).await;
    checker.hits(HITS).await;
    checker.end(10).await.assert_all_answered();
}
