//! Instances that keep warm what is polled of them, over one Redis.

use crate::{
    calendar::Calendar,
    cluster::Cluster,
    database,
    harness::{PREFIX, Reply, eventually},
};

/// What each of `urls` answers: where it came from, and what is counted.
async fn poll(client: &reqwest::Client, urls: &[String]) -> Vec<(String, i64)> {
    let mut answers = Vec::new();
    for url in urls {
        let reply = Reply::to(client.get(url)).await;
        let (outcome, count) = reply.today();
        answers.push((outcome.to_owned(), count));
    }
    answers
}

/// Waits until everybody is answered `count` from the cache.
async fn all_hit(client: &reqwest::Client, urls: &[String], count: i64) {
    eventually("all are hits", async || {
        let answers = poll(client, urls).await;
        answers
            .iter()
            .all(|(outcome, said)| outcome == "HIT" && *said == count)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whichever_instance_is_polled_every_answer_is_a_hit() {
    let cluster = Cluster::start(&[
        ("MEGASTATS__CACHE__TTL_SECONDS", "12"),
        ("MEGASTATS__CACHE__WARMING__ENABLED", "true"),
        ("MEGASTATS__CACHE__REDIS__RESPONSE_TIMEOUT_MS", "2000"),
    ]);
    let (client, calendar) = (reqwest::Client::new(), Calendar::now());
    let urls: Vec<_> = cluster
        .instances()
        .iter()
        .map(|instance| {
            let zone = &calendar.zones[0];
            format!("{instance}{PREFIX}/mega-stats?tenantId=clinic&tz={zone}")
        })
        .collect();
    all_hit(&client, &urls, 0).await;
    for round in 1..=2 {
        // Behind the service's back: only a computation finds it.
        database::insert(cluster.url("postgres"), "clinic", &calendar.today, 1).await;
        eventually("it is computed anew", async || {
            let answers = poll(&client, &urls).await;
            if answers.iter().any(|(outcome, _)| outcome == "BYPASS") {
                // Whoever did not trust Redis for a moment may then renew what was kept.
                all_hit(&client, &urls, round).await;
                return true;
            }
            let missed = answers.iter().any(|(outcome, _)| outcome != "HIT");
            assert!(!missed, "{round}: {answers:?}");
            answers.iter().all(|(_, count)| *count == round)
        })
        .await;
    }
}
