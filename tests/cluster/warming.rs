//! Instances that keep warm what is polled of them, over one Redis.

use harness::{PREFIX, all_hit, stay_hits_until};

use crate::{calendar::Calendar, cluster::Cluster, database};

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
        stay_hits_until(&client, &urls, round).await;
    }
}
