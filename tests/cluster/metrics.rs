//! What the metrics and the log of each instance say of a Redis that hangs or dies.

use harness::{Exposition, PREFIX, Reply, TODAY, eventually};
use reqwest::{Client, StatusCode};
use serde_json::json;

use crate::cluster::Cluster;

const BREAKER: &str = "megastats_redis_breaker_open";
const UNDELIVERED: &str = "megastats_redis_undelivered_generations";
const OPENED: &str = "megastats_redis_breaker_changes_total{to=\"open\"}";
const HITS: &str = "megastats_cache_requests_total{backend=\"redis\",outcome=\"hit\"}";
const COMMITTED: &str = "megastats_writes_total{result=\"committed\"}";

/// What is logged when the breaker opens.
const LOST: &str = "redis: not used, statistics are read from the database";
const NOT_DELIVERED: &str =
    "redis: invalidations could not be delivered; their tenants are read from the database";
const DELIVERED: &str =
    "redis: every pending invalidation was delivered, or its entries have expired";

/// How often each of `lines` was logged by a part.
fn logged<const N: usize>(cluster: &Cluster, part: &str, lines: [&str; N]) -> [usize; N] {
    let log = cluster.log(part);
    lines.map(|line| log.matches(line).count())
}

/// The values of some series at an instance.
async fn values<const N: usize>(instance: &str, series: [&str; N]) -> [String; N] {
    let metrics = Exposition::of(instance).await;
    series.map(|series| metrics.samples[series].to_string())
}

async fn write(instance: &str) {
    let appointment =
        json!({ "tenantId": "clinic", "patientId": 1, "startsAt": TODAY, "durationMin": 30 });
    let client = Client::new();
    let reply = Reply::to(
        client
            .post(format!("{instance}{PREFIX}"))
            .json(&appointment),
    )
    .await;
    assert_eq!(reply.status, StatusCode::CREATED, "{reply:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_fails_and_what_it_has_missed_are_shown_until_it_is_back() {
    // Long enough that what is pending is delivered, and not forgotten.
    let cluster = Cluster::start(&[("MEGASTATS__CACHE__TTL_SECONDS", "3600")]);
    let (writer, other) = (cluster.url("instance-1"), cluster.url("instance-2"));
    for (outage, (stop, go_on)) in [
        ("kill redis STOP", "kill redis CONT"),
        ("kill redis", "start redis"),
    ]
    .into_iter()
    .enumerate()
    {
        eventually("Redis is used and hit", async || {
            let url = format!("{writer}{PREFIX}/mega-stats?tenantId=clinic");
            Reply::to(Client::new().get(url)).await.header("x-cache") == "HIT"
        })
        .await;
        let before = Exposition::of(writer).await;
        assert!(before.value(HITS) > 0.0);
        eventually("nothing is amiss", async || {
            values(writer, [BREAKER, UNDELIVERED]).await == ["0", "0"]
        })
        .await;

        cluster.run(stop);
        write(writer).await;
        write(writer).await;
        for (instance, undelivered) in [(writer, "1"), (other, "0")] {
            eventually(
                "the breaker is open, and one tenant undelivered",
                async || values(instance, [BREAKER, UNDELIVERED]).await == ["1", undelivered],
            )
            .await;
        }

        let told = || logged(&cluster, "instance-1", [NOT_DELIVERED, DELIVERED]);
        eventually("it is said that one is undelivered", async || {
            told() == [outage + 1, outage]
        })
        .await;

        cluster.run(go_on);
        for instance in [writer, other] {
            eventually("all is delivered", async || {
                values(instance, [BREAKER, UNDELIVERED]).await == ["0", "0"]
            })
            .await;
        }
        let after = Exposition::of(writer).await;
        let by = after.since(&before);
        assert!(by[OPENED] >= 1.0, "{by:?}");
        assert_eq!(by[COMMITTED].to_string(), "2");
        eventually("it is said that none are", async || {
            told() == [outage + 1; 2]
        })
        .await;
    }
    for (instance, url) in [("instance-1", writer), ("instance-2", other)] {
        eventually("each change of the breaker is said once", async || {
            let [opened] = values(url, [OPENED]).await;
            logged(&cluster, instance, [LOST])[0].to_string() == opened
        })
        .await;
    }
    assert_eq!(
        logged(&cluster, "instance-1", [NOT_DELIVERED, DELIVERED]),
        [2, 2]
    );
    assert_eq!(
        logged(&cluster, "instance-2", [NOT_DELIVERED, DELIVERED]),
        [0, 0]
    );
}
