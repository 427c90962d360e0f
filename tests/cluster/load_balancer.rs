//! What clients see of a cluster: one address.

use std::{collections::BTreeMap, time::Duration};

use futures_util::future::join_all;
use harness::{PREFIX, Reply, eventually};
use reqwest::StatusCode;

use crate::{
    checker::Checker,
    cluster::{Cluster, INSTANCES},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_requests_at_once_cost_one_computation_on_all_instances_together() {
    // Else a busy machine may take Redis for silent.
    let cluster = Cluster::start(&[("MEGASTATS__CACHE__REDIS__RESPONSE_TIMEOUT_MS", "2000")]);
    let checker =
        Checker::begin_without_faults(&cluster, vec![cluster.url("lb").to_owned()], Duration::ZERO)
            .await;
    checker.hits(20).await;
    checker.end(20).await.assert_all_answered();

    let (http, urls) = (reqwest::Client::new(), cluster.instances());
    let mut crowds = 0..;
    eventually("a crowd whose instances all trust Redis", async || {
        let tenant = format!("crowd-{}", crowds.next().unwrap());
        let requests = (0..100).map(|n| {
            let url = format!(
                "{}{PREFIX}/mega-stats?tenantId={tenant}",
                urls[n % INSTANCES]
            );
            Reply::to(http.get(url))
        });
        let replies = join_all(requests).await;
        let mut outcomes = BTreeMap::new();
        for reply in &replies {
            assert_eq!(reply.status, StatusCode::OK, "{reply:?}");
            *outcomes.entry(reply.header("x-cache")).or_insert(0) += 1;
        }
        if outcomes.contains_key("BYPASS") {
            return false;
        }
        assert_eq!(outcomes, BTreeMap::from([("HIT", 99), ("MISS", 1)]));
        true
    })
    .await;
}
