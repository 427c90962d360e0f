//! Creates that are sent again to another instance, also while the first one's is at work.

use harness::{PREFIX, Reply, TODAY, TestServer, eventually};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio_postgres::NoTls;

use crate::server::Postgres;
use megastats::settings::{CacheBackend, DatabaseUrl};

const REPLAYED: &str = "Idempotency-Replayed";

fn service(url: &str) -> TestServer {
    TestServer::builder()
        .settings(|settings| {
            settings.database.url = DatabaseUrl::parse(url).unwrap();
            settings.cache.backend = CacheBackend::None;
        })
        .start()
}

fn body() -> Value {
    json!({ "tenantId": "clinic", "patientId": 1, "startsAt": TODAY, "durationMin": 30 })
}

async fn post(url: String, key: &'static str) -> Reply {
    let request = reqwest::Client::new().post(format!("{url}{PREFIX}"));
    Reply::to(request.header("Idempotency-Key", key).json(&body())).await
}

#[tokio::test(flavor = "multi_thread")]
async fn another_instance_gives_the_same_answer() {
    let server = Postgres::shared();
    let url = server.database();
    let (one, other) = (service(&url), service(&url));
    let first = post(one.url().to_owned(), "a").await;
    assert_eq!(first.status, StatusCode::CREATED, "{first:?}");
    drop(one);
    let again = post(other.url().to_owned(), "a").await;
    assert_eq!((again.status, &again.body), (first.status, &first.body));
    assert_eq!(again.header("location"), first.header("location"));
    assert_eq!(again.header(REPLAYED), "true");
    assert_eq!(other.get("/?tenantId=clinic").await.json()["total"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_instances_that_are_asked_at_once_one_makes_it_and_the_others_wait_for_its_answer() {
    let server = Postgres::shared();
    let url = server.database();
    let services = [service(&url), service(&url)];
    let (session, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
    tokio::spawn(connection);
    for (round, key) in ["a", "b", "c", "d", "e"].into_iter().enumerate() {
        // All of them have found no such key and have made the appointment when they meet this lock.
        session
            .batch_execute("BEGIN; LOCK TABLE idempotency_keys IN EXCLUSIVE MODE")
            .await
            .unwrap();
        let asked = services
            .iter()
            .cycle()
            .take(4)
            .map(|service| tokio::spawn(post(service.url().to_owned(), key)));
        let asked: Vec<_> = asked.collect();
        let waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted \
                       AND relation = 'idempotency_keys'::regclass";
        eventually("all of them wait", async || {
            let waiting: i64 = session.query_one(waiting, &[]).await.unwrap().get(0);
            waiting == 4
        })
        .await;
        session.batch_execute("COMMIT").await.unwrap();
        let mut replies = Vec::new();
        for reply in asked {
            replies.push(reply.await.unwrap());
        }
        let first: Vec<_> = replies
            .iter()
            .filter(|r| r.header(REPLAYED).is_empty())
            .collect();
        assert_eq!(first.len(), 1, "{replies:?}");
        for reply in &replies {
            assert_eq!(reply.status, StatusCode::CREATED, "{reply:?}");
            assert_eq!(reply.body, first[0].body);
        }
        let total = services[0].get("/?tenantId=clinic").await.json()["total"].clone();
        assert_eq!(total, round + 1);
    }
}
