//! Instances that are killed, also within a write, that change their backend, and whose clients go.

use std::time::Duration;

use harness::eventually;

use crate::{
    checker::{Checker, WRITERS},
    cluster::{Cluster, INSTANCES},
    cut::Way,
    database::Locked,
    redis::is_there,
};

/// Hits of each tenant before and after a fault.
const HITS: usize = 40;

/// A cluster in which the fence of a writer that died ends while a test waits. It must outlast the
/// longest write, so that is short as well.
pub fn cluster() -> Cluster {
    Cluster::start(&[
        ("MEGASTATS__DATABASE__POOL_WAIT_MS", "500"),
        ("MEGASTATS__DATABASE__STATEMENT_TIMEOUT_MS", "4000"),
        ("MEGASTATS__DATABASE__BUSY_TIMEOUT_MS", "500"),
        ("MEGASTATS__CACHE__REDIS__FENCE_SECONDS", "14"),
    ])
}

/// As [`cluster`], with more time to hold writers in: whoever is given up before all of them are
/// there may not come again.
pub fn patient_cluster() -> Cluster {
    Cluster::start(&[
        ("MEGASTATS__DATABASE__POOL_WAIT_MS", "500"),
        ("MEGASTATS__DATABASE__STATEMENT_TIMEOUT_MS", "12000"),
        ("MEGASTATS__DATABASE__BUSY_TIMEOUT_MS", "500"),
        ("MEGASTATS__CACHE__REDIS__INVALIDATION_WAIT_MS", "3000"),
        ("MEGASTATS__CACHE__REDIS__FENCE_SECONDS", "34"),
    ])
}

/// A cluster in which a lock on the appointments may last and costs nobody an answer.
pub fn unhurried_cluster(settings: &[(&str, &str)]) -> Cluster {
    let unhurried = [
        ("MEGASTATS__DATABASE__STATEMENT_TIMEOUT_MS", "15000"),
        ("MEGASTATS__CACHE__REDIS__FENCE_SECONDS", "45"),
    ];
    Cluster::start(&[&unhurried, settings].concat())
}

/// Holds everybody's writes between fence and commit, one of instance 1 among them.
pub async fn hold_writers(cluster: &Cluster, checker: &Checker) -> Locked {
    let locked = Locked::table(cluster.url("postgres")).await;
    tokio::task::block_in_place(|| checker.book_and_leave(0));
    locked.until_writers_wait(WRITERS + 1).await;
    locked
}

/// Lets those commit who are held, and kills instance 1 before it can tell Redis of it.
pub async fn commit_and_die(cluster: &Cluster, checker: &Checker, locked: Locked) {
    // Redis takes no new generation, but is back before anybody takes it for gone.
    cluster.tell("kill redis STOP");
    locked.release().await;
    Locked::until_nobody_writes(cluster.url("postgres")).await;
    // What these say, from the database, nobody may take back.
    checker.reads(60).await;
    cluster.tell("kill instance-1");
    cluster.tell("kill redis CONT");
    cluster.tell("start instance-1");
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
async fn an_instance_is_killed_and_started_again_and_again() {
    let cluster = cluster();
    let checker = Checker::begin(&cluster).await;
    for round in 0..4 {
        checker.hits(HITS).await;
        let name = format!("instance-{}", round % INSTANCES + 1);
        cluster.tell(&format!("kill {name}"));
        checker.writes(4).await;
        cluster.tell(&format!("start {name}"));
    }
    checker.hits(HITS).await;
    checker.end(20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_is_killed_after_its_fence_and_before_its_commit() {
    let cluster = patient_cluster();
    let checker = Checker::begin(&cluster).await;
    checker.hits(HITS).await;
    let locked = hold_writers(&cluster, &checker).await;
    cluster.tell("kill instance-1");
    locked.release().await;
    cluster.tell("start instance-1");
    checker.hits(HITS).await;
    checker.end(20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_is_killed_after_its_commit_and_before_its_answer() {
    let cluster = patient_cluster();
    let checker = Checker::begin(&cluster).await;
    checker.hits(HITS).await;
    let locked = hold_writers(&cluster, &checker).await;
    commit_and_die(&cluster, &checker, locked).await;
    checker.hits(HITS).await;
    checker.end(20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_is_killed_after_its_release_and_before_its_answer() {
    let cluster = patient_cluster();
    let way = Way::to(cluster.url("redis")).await;
    cluster.tell("stop instance-1");
    cluster.tell(&format!(
        "start instance-1 MEGASTATS__CACHE__REDIS__URL={}",
        way.url()
    ));
    let checker = Checker::begin(&cluster).await;
    checker.hits(HITS).await;
    let locked = hold_writers(&cluster, &checker).await;
    let fence = format!("megastats:{{{}}}:fence", checker.quiet());
    assert!(is_there(&cluster, &fence).await, "it writes");
    // Redis does what it is told, and the instance does not hear so, and waits.
    way.mute();
    locked.release().await;
    eventually("the release", async || !is_there(&cluster, &fence).await).await;
    // What these say, from a cache that is open again, nobody may take back.
    checker.reads(60).await;
    cluster.tell("kill instance-1");
    cluster.tell("start instance-1");
    checker.hits(HITS).await;
    checker.end(20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_go_away_in_the_middle_of_writes() {
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
async fn backends_are_switched_one_instance_after_another() {
    let cluster = Cluster::start(&[]);
    let checker = Checker::begin(&cluster).await;
    for backend in ["none", "redis", "none"] {
        for number in 1..=INSTANCES {
            checker.writes(6).await;
            cluster.tell(&format!("stop instance-{number}"));
            cluster.tell(&format!(
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
async fn memory_with_postgresql_starts_with_a_warning_and_is_stale_for_no_longer_than_the_ttl() {
    let cluster = Cluster::start(&[
        ("MEGASTATS__CACHE__BACKEND", "memory"),
        ("MEGASTATS__CACHE__TTL_SECONDS", "1"),
    ]);
    for number in 1..=INSTANCES {
        let log = cluster.log(&format!("instance-{number}"));
        assert!(
            log.contains("cache.backend: memory with a PostgreSQL database"),
            "{log}"
        );
    }
    // A second more for what is on its way.
    let lag = Duration::from_secs(2);
    let checker = Checker::begin_without_faults(&cluster, cluster.instances(), lag).await;
    checker.hits(5 * HITS).await;
    checker.end(30).await.assert_all_answered();
}
