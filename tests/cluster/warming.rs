//! Instances that keep warm what is polled of them, over one Redis.

use crate::{
    calendar::Calendar,
    cluster::Cluster,
    database,
    harness::{PREFIX, Reply, eventually},
};

#[tokio::test(flavor = "multi_thread")]
async fn whichever_instance_is_polled_every_answer_is_a_hit() {
    let cluster = Cluster::start(&[
        ("MEGASTATS__CACHE__TTL_SECONDS", "6"),
        ("MEGASTATS__CACHE__WARMING__ENABLED", "true"),
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
    let first = Reply::to(client.get(&urls[0])).await;
    assert_eq!(first.today(), ("MISS", 0));
    for round in 1..=2 {
        // Behind the service's back: only a computation finds it.
        database::insert(cluster.url("postgres"), "clinic", &calendar.today, 1).await;
        eventually("it is computed anew", async || {
            let mut counts = Vec::new();
            for url in &urls {
                let reply = Reply::to(client.get(url)).await;
                let (outcome, count) = reply.today();
                assert_eq!(outcome, "HIT", "{round}");
                counts.push(count);
            }
            counts.iter().all(|count| *count == round)
        })
        .await;
    }
}
