//! A Redis that dies, hangs, loses its keys or is full: no answer is older than an acknowledged
//! write, and every request is answered.

use std::time::Duration;

use harness::{PREFIX, eventually};
use redis::FromRedisValue;

use crate::{
    checker::Checker,
    cluster::{Cluster, INSTANCES},
    instances::{
        cluster_with_long_writes, cluster_with_short_fences, commit_and_die, hold_writers,
    },
};

/// Hits of each tenant before and after a fault.
const HITS: usize = 40;

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_is_stale_after_redis_was_killed() {
    let cluster = Cluster::start(&[]);
    let checker = Checker::begin(&cluster).await;
    for _ in 0..2 {
        checker.hits(HITS).await;
        cluster.run("kill redis");
        checker.writes(12).await;
        cluster.run("start redis");
    }
    checker.hits(HITS).await;
    checker.end(2).await.assert_all_answered();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_is_stale_after_writes_went_on_without_redis() {
    let cluster = Cluster::start(&[]);
    let checker = Checker::begin(&cluster).await;
    for _ in 0..3 {
        checker.hits(HITS).await;
        cluster.run("kill redis STOP");
        // Writes go on without Redis once they have given it up.
        checker.writes(12).await;
        cluster.run("kill redis CONT");
    }
    checker.hits(HITS).await;
    checker.end(2).await.assert_all_answered();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_is_stale_after_redis_hung_and_all_instances_were_killed() {
    let cluster = cluster_with_short_fences();
    let checker = Checker::begin(&cluster).await;
    checker.hits(HITS).await;
    cluster.run("kill redis STOP");
    checker.writes(12).await;
    let instances = (1..=INSTANCES).map(|number| format!("instance-{number}"));
    let instances: Vec<_> = instances.collect();
    for instance in &instances {
        cluster.run(&format!("kill {instance}"));
    }
    cluster.run("kill redis CONT");
    for instance in &instances {
        cluster.run(&format!("start {instance}"));
    }
    checker.hits(HITS).await;
    checker.end(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_is_stale_however_long_redis_hangs() {
    let cluster = Cluster::start(&[]);
    let checker = Checker::begin(&cluster).await;
    for milliseconds in [100, 300, 600, 850, 950, 1050, 1200] {
        checker.hits(HITS / 2).await;
        cluster.run("kill redis STOP");
        // The length of the silence is what is tested.
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
        cluster.run("kill redis CONT");
    }
    checker.hits(HITS).await;
    checker.end(2).await.assert_all_answered();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_is_stale_after_redis_lost_the_fence_of_a_writer_that_died() {
    let cluster = cluster_with_long_writes();
    let checker = Checker::begin(&cluster).await;
    checker.hits(HITS).await;
    let locked = hold_writers(&cluster, &checker).await;
    // All fences are lost.
    cluster.run("kill redis");
    cluster.run("start redis");
    for url in cluster.instances() {
        trusts_redis(&url).await;
    }
    checker.reads(60).await;
    commit_and_die(&cluster, &checker, locked).await;
    checker.hits(HITS).await;
    checker.end(10).await;
}

/// Waits until an instance answers from Redis.
async fn trusts_redis(instance: &str) {
    let tenant = format!("probe-{:016x}", rand::random::<u64>());
    let url = format!("{instance}{PREFIX}/mega-stats?tenantId={tenant}");
    eventually("an instance trusts Redis", async || {
        let answer = reqwest::get(&url).await.unwrap();
        // The writers may hold all connections for a moment: 503.
        let cache = answer.headers().get("x-cache");
        cache.is_some_and(|outcome| outcome == "HIT")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_is_stale_after_redis_lost_all_keys() {
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
async fn no_answer_is_stale_while_redis_evicts_keys() {
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

/// Runs a command of Redis.
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
