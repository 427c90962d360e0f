//! PostgreSQL away for longer than the time to live: which tenants are still answered, by any
//! instance, and for how long.

use harness::{PREFIX, Reply, TODAY, eventually};
use reqwest::StatusCode;
use serde_json::json;

use crate::{checker::Checker, cluster::Cluster};

/// Hits of each tenant before and after a fault.
const HITS: usize = 20;

fn cluster(stale_seconds: &str) -> Cluster {
    Cluster::start(&[
        ("MEGASTATS__CACHE__TTL_SECONDS", "1"),
        ("MEGASTATS__CACHE__STALE_IF_ERROR_SECONDS", stale_seconds),
        ("MEGASTATS__DATABASE__POOL_WAIT_MS", "300"),
        // Else a busy machine may take Redis for silent, and nothing is left to answer from.
        ("MEGASTATS__CACHE__REDIS__RESPONSE_TIMEOUT_MS", "2000"),
    ])
}

async fn read(instance: &str, tenant: &str) -> Reply {
    let url = format!("{instance}{PREFIX}/mega-stats?tenantId={tenant}");
    Reply::to(reqwest::Client::new().get(url)).await
}

async fn book(instance: &str, tenant: &str) -> StatusCode {
    let body = json!({
        "tenantId": tenant, "patientId": 1, "startsAt": TODAY, "durationMin": 30,
    });
    let url = format!("{instance}{PREFIX}/");
    Reply::to(reqwest::Client::new().post(url).json(&body))
        .await
        .status
}

/// Whether every instance's answer about `tenant`, one after the other, is `like` that.
async fn all(instances: &[String], tenant: &str, like: impl Fn(&Reply) -> bool) -> bool {
    for instance in instances {
        if !like(&read(instance, tenant).await) {
            return false;
        }
    }
    true
}

/// Waits until `tenant` has an entry that every instance trusts: an instance that begins to
/// trust Redis may replace what others have stored.
async fn is_kept(instances: &[String], tenant: &str) {
    let is_hit = |reply: &Reply| reply.header("x-cache") == "HIT";
    eventually("an entry is kept", async || {
        all(instances, tenant, is_hit).await
    })
    .await;
}

/// Waits until each of `instances`, one after the other, answers `tenant` with that `X-Cache`.
pub async fn all_answer(instances: &[String], tenant: &str, outcome: &str) {
    for instance in instances {
        eventually("an answer of that kind", async || {
            read(instance, tenant).await.header("x-cache") == outcome
        })
        .await;
    }
}

/// Waits until every instance answers `tenant` from an expired entry.
async fn all_are_stale(instances: &[String], tenant: &str) {
    all_answer(instances, tenant, "STALE").await;
}

async fn all_are_503(instances: &[String], tenant: &str) {
    for instance in instances {
        let reply = read(instance, tenant).await;
        assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE, "{reply:?}");
        assert_eq!(reply.header("retry-after"), "1");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_instance_answers_what_has_expired_but_no_tenant_that_was_written_to() {
    let cluster = cluster("300");
    let instances = cluster.instances();
    for tenant in ["untouched", "written", "unknown"] {
        is_kept(&instances, tenant).await;
    }
    assert_eq!(book(&instances[1], "written").await, StatusCode::CREATED);
    cluster.run("stop postgres");
    all_are_stale(&instances, "untouched").await;
    all_are_503(&instances, "written").await;
    // Whether this one took place nobody can tell.
    all_are_stale(&instances, "unknown").await;
    let unknown = book(&instances[2], "unknown").await;
    assert_eq!(unknown, StatusCode::SERVICE_UNAVAILABLE);
    all_are_503(&instances, "unknown").await;
    all_are_stale(&instances, "untouched").await;

    cluster.run("start postgres");
    for instance in &instances {
        for tenant in ["untouched", "written", "unknown"] {
            eventually("the database is used again", async || {
                ["MISS", "HIT"].contains(&read(instance, tenant).await.header("x-cache"))
            })
            .await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn past_the_window_the_answer_is_503_until_the_database_is_back() {
    let cluster = cluster("15");
    let instances = cluster.instances();
    is_kept(&instances, "clinic").await;
    cluster.run("stop postgres");
    all_are_stale(&instances[..1], "clinic").await;
    eventually("the window passes", async || {
        let is_503 = |reply: &Reply| reply.status == StatusCode::SERVICE_UNAVAILABLE;
        all(&instances, "clinic", is_503).await
    })
    .await;
    cluster.run("start postgres");
    for instance in &instances {
        eventually("the database is used again", async || {
            read(instance, "clinic").await.status == StatusCode::OK
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_is_stale_while_entries_expire_and_the_database_restarts() {
    let cluster = cluster("300");
    let checker = Checker::begin(&cluster).await;
    for _ in 0..3 {
        checker.hits(HITS).await;
        cluster.run("kill postgres");
        cluster.run("start postgres");
        checker.writes(12).await;
    }
    checker.hits(HITS).await;
    checker.end(5).await;
}
