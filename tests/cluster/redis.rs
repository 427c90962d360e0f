//! A Redis that dies, hangs, forgets or is full: nobody is answered from before an acknowledged
//! write, and nobody goes without an answer.

use std::time::Duration;

use harness::{PREFIX, eventually};
use redis::FromRedisValue;

use crate::{
    checker::Checker,
    cluster::{Cluster, INSTANCES},
    instances::{cluster, commit_and_die, hold_writers, patient_cluster},
};

/// Hits of each tenant before and after a fault.
const HITS: usize = 40;

#[tokio::test(flavor = "multi_thread")]
async fn redis_is_killed_and_started_again() {
    let cluster = Cluster::start(&[]);
    let checker = Checker::begin(&cluster).await;
    for _ in 0..2 {
        checker.hits(HITS).await;
        cluster.tell("kill redis");
        checker.writes(12).await;
        cluster.tell("start redis");
    }
    checker.hits(HITS).await;
    checker.end(2).await.assert_all_answered();
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_hangs_for_longer_than_a_write_waits_and_goes_on() {
    let cluster = Cluster::start(&[]);
    let checker = Checker::begin(&cluster).await;
    for _ in 0..3 {
        checker.hits(HITS).await;
        cluster.tell("kill redis STOP");
        // Writes go on once they have given it up.
        checker.writes(12).await;
        cluster.tell("kill redis CONT");
    }
    checker.hits(HITS).await;
    checker.end(2).await.assert_all_answered();
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_hangs_and_all_who_know_what_it_has_missed_die() {
    let cluster = cluster();
    let checker = Checker::begin(&cluster).await;
    checker.hits(HITS).await;
    cluster.tell("kill redis STOP");
    checker.writes(12).await;
    let instances = (1..=INSTANCES).map(|number| format!("instance-{number}"));
    let instances: Vec<_> = instances.collect();
    for instance in &instances {
        cluster.tell(&format!("kill {instance}"));
    }
    cluster.tell("kill redis CONT");
    for instance in &instances {
        cluster.tell(&format!("start {instance}"));
    }
    checker.hits(HITS).await;
    checker.end(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_hangs_for_as_long_as_it_takes_to_be_noticed_or_not() {
    let cluster = Cluster::start(&[]);
    let checker = Checker::begin(&cluster).await;
    for milliseconds in [100, 300, 600, 850, 950, 1050, 1200] {
        checker.hits(HITS / 2).await;
        cluster.tell("kill redis STOP");
        // The length of the silence is what is tested.
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
        cluster.tell("kill redis CONT");
    }
    checker.hits(HITS).await;
    checker.end(2).await.assert_all_answered();
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_restarts_during_writes_of_which_one_is_not_told_of_ever() {
    let cluster = patient_cluster();
    let checker = Checker::begin(&cluster).await;
    checker.hits(HITS).await;
    let locked = hold_writers(&cluster, &checker).await;
    // All fences are gone.
    cluster.tell("kill redis");
    cluster.tell("start redis");
    for url in cluster.instances() {
        believes(&url).await;
    }
    checker.reads(60).await;
    commit_and_die(&cluster, &checker, locked).await;
    checker.hits(HITS).await;
    checker.end(10).await;
}

/// Waits until an instance answers from Redis.
async fn believes(instance: &str) {
    let tenant = format!("probe-{:016x}", rand::random::<u64>());
    let url = format!("{instance}{PREFIX}/mega-stats?tenantId={tenant}");
    eventually("an instance believes Redis", async || {
        let answer = reqwest::get(&url).await.unwrap();
        answer.headers()["x-cache"] == "HIT"
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_forgets_everything() {
    let cluster = Cluster::start(&[]);
    let checker = Checker::begin(&cluster).await;
    for _ in 0..30 {
        checker.hits(4).await;
        ask(&cluster, "FLUSHALL", &[]).await;
    }
    checker.hits(HITS).await;
    checker.end(20).await.assert_all_answered();
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_evicts_what_it_has_no_room_for() {
    let cluster = Cluster::start(&[]);
    let checker = Checker::begin(&cluster).await;
    checker.hits(HITS).await;
    for policy in [
        "allkeys-random",
        "allkeys-lru",
        "volatile-lru",
        "volatile-ttl",
        "noeviction",
    ] {
        ask(&cluster, "CONFIG", &["SET", "maxmemory-policy", policy]).await;
        // Less than the server needs for itself.
        ask(&cluster, "CONFIG", &["SET", "maxmemory", "1mb"]).await;
        checker.writes(12).await;
        ask(&cluster, "CONFIG", &["SET", "maxmemory", "0"]).await;
        checker.hits(HITS / 2).await;
    }
    checker.end(2).await;
}

/// Runs a command as an operator would.
pub async fn ask(cluster: &Cluster, command: &str, arguments: &[&str]) {
    answer::<()>(cluster, command, arguments).await;
}

/// Whether Redis has `key`.
pub async fn is_there(cluster: &Cluster, key: &str) -> bool {
    answer(cluster, "EXISTS", &[key]).await
}

async fn answer<T: FromRedisValue>(cluster: &Cluster, command: &str, arguments: &[&str]) -> T {
    let client = redis::Client::open(cluster.url("redis")).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let mut command = redis::cmd(command);
    command.arg(arguments);
    command.query_async(&mut connection).await.unwrap()
}
