//! Polling statistics that are kept warm.

use reqwest::Client;

use super::{Reply, eventually};

/// What each of `urls` answers: where it came from, and what is counted.
async fn poll(client: &Client, urls: &[String]) -> Vec<(String, i64)> {
    let mut answers = Vec::new();
    for url in urls {
        let reply = Reply::to(client.get(url)).await;
        let (outcome, count) = reply.today();
        answers.push((outcome.to_owned(), count));
    }
    answers
}

/// Waits until all of `urls` are answered `count` from the cache.
pub async fn all_hit(client: &Client, urls: &[String], count: i64) {
    eventually("all are hits", async || {
        let answers = poll(client, urls).await;
        answers
            .iter()
            .all(|(outcome, said)| outcome == "HIT" && *said == count)
    })
    .await;
}

/// Polls `urls`, which all are hits, until all are answered `count`; asserts that they stay hits.
pub async fn stay_hits_until(client: &Client, urls: &[String], count: i64) {
    eventually("the entries are computed anew", async || {
        let answers = poll(client, urls).await;
        if answers.iter().any(|(outcome, _)| outcome == "BYPASS") {
            // An instance that did not trust Redis for a moment computes its entries anew.
            all_hit(client, urls, count).await;
            return true;
        }
        let missed = answers.iter().any(|(outcome, _)| outcome != "HIT");
        assert!(!missed, "{count}: {answers:?}");
        answers.iter().all(|(_, said)| *said == count)
    })
    .await;
}
