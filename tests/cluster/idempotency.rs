//! A create whose instance is killed between its commit and its answer, and that is sent again to
//! another one.

use harness::{PREFIX, Raw, Reply, within};
use reqwest::StatusCode;
use serde_json::json;

use crate::{calendar::Calendar, cluster::Cluster, database::Locked};

const TENANT: &str = "sent-again";

fn request(body: &str) -> String {
    format!(
        "POST {PREFIX} HTTP/1.1\r\nHost: localhost\r\nIdempotency-Key: \"once\"\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// How many appointments `instance` counts today.
async fn counted(instance: &str, zone: &str) -> i64 {
    let url = format!("{instance}{PREFIX}/mega-stats?tenantId={TENANT}&tz={zone}");
    Reply::to(reqwest::Client::new().get(url)).await.today().1
}

#[tokio::test(flavor = "multi_thread")]
async fn a_create_whose_instance_died_before_its_answer_is_answered_by_another_and_counted() {
    // Long enough for all that happens while Redis is held.
    let cluster = Cluster::start(&[
        ("MEGASTATS__CACHE__REDIS__INVALIDATION_WAIT_MS", "10000"),
        ("MEGASTATS__CACHE__REDIS__FENCE_SECONDS", "60"),
    ]);
    let instances = cluster.instances();
    let calendar = Calendar::now();
    let zone = calendar.zones[0].as_str();
    for instance in &instances {
        assert_eq!(counted(instance, zone).await, 0);
    }
    let database = cluster.url("postgres");
    let locked = Locked::table(database).await;
    let body = json!({
        "tenantId": TENANT, "patientId": 1, "startsAt": calendar.today, "durationMin": 30,
    });
    let body = body.to_string();
    let mut first = Raw::connect(&instances[0]);
    first.write(request(&body));
    locked.until_writers_wait(1).await;
    // Redis accepts no new generation, so a writer that commits is not answered.
    cluster.run("kill redis STOP");
    locked.release().await;
    Locked::until_nobody_writes(database).await;
    assert!(!first.is_answered());
    cluster.run("kill instance-1");
    cluster.run("kill redis CONT");

    let mut answers = Vec::new();
    for instance in &instances[1..] {
        let mut again = Raw::connect(instance);
        again.write(request(&body));
        let reply = tokio::task::spawn_blocking(move || again.reply());
        let reply = within("an answer", reply).await.unwrap();
        assert_eq!(reply.status, StatusCode::CREATED, "{reply:?}");
        assert_eq!(reply.header("idempotency-replayed"), "true", "{reply:?}");
        answers.push((reply.header("location").to_owned(), reply.body));
        for instance in &instances[1..] {
            assert_eq!(counted(instance, zone).await, 1);
        }
    }
    assert_eq!(answers[0], answers[1]);
    cluster.run("start instance-1");
    assert_eq!(counted(&instances[0], zone).await, 1);
}
