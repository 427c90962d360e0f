//! What clients see of a cluster: one address.

use std::time::Duration;

use futures_util::future::join_all;
use reqwest::StatusCode;

use crate::{
    checker::Checker,
    cluster::{Cluster, INSTANCES},
    harness::{PREFIX, Reply},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_requests_at_once_cost_one_computation_on_all_instances_together() {
    let cluster = Cluster::start(&[]);
    let checker =
        Checker::begin_with(&cluster, vec![cluster.url("lb").to_owned()], Duration::ZERO).await;
    checker.hits(20).await;
    checker.end(20).await.assert_all_answered();

    let (http, urls) = (reqwest::Client::new(), cluster.instances());
    let requests = (0..100).map(|n| {
        let url = format!("{}{PREFIX}/mega-stats?tenantId=crowd", urls[n % INSTANCES]);
        Reply::to(http.get(url))
    });
    let replies = join_all(requests).await;
    let mut computed = 0;
    for reply in &replies {
        assert_eq!(reply.status, StatusCode::OK, "{reply:?}");
        computed += usize::from(reply.header("x-cache") == "MISS");
    }
    assert_eq!(computed, 1);
}
