//! Streams of events of one instance, and writes to another.

use harness::{EventStream, PREFIX, Reply};
use reqwest::StatusCode;
use serde_json::json;

use crate::{calendar::Calendar, cluster::Cluster};

#[tokio::test(flavor = "multi_thread")]
async fn whichever_instance_is_written_to_the_viewers_of_each_are_told() {
    let cluster = Cluster::start(&[]);
    let (client, calendar) = (reqwest::Client::new(), Calendar::now());
    let zone = &calendar.zones[0];
    let mut viewers = Vec::new();
    for instance in cluster.instances() {
        let url = format!("{instance}{PREFIX}/mega-stats/events?tenantId=clinic&tz={zone}");
        viewers.push(EventStream::open(client.get(url)).await);
    }
    let appointment = json!({
        "tenantId": "clinic", "patientId": 1, "startsAt": calendar.today, "durationMin": 30,
    });
    for (count, instance) in (1..).zip(cluster.instances()) {
        let create = client
            .post(format!("{instance}{PREFIX}/"))
            .json(&appointment);
        assert_eq!(Reply::to(create).await.status, StatusCode::CREATED);
        for viewer in &mut viewers {
            while viewer.next().await.unwrap().json()["today"]["pending"] != count {}
        }
    }
}
