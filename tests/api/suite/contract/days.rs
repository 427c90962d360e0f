//! `GET /days`.

use harness::TODAY;
use serde_json::{Value, json};

use super::server_and_clock;

async fn days(server: &harness::TestServer, zone: &str) -> (String, Value) {
    let reply = server
        .get(&format!("/days?tenantId=clinic&tz={zone}"))
        .await;
    assert_eq!(reply.status, 200, "{reply:?}");
    (reply.header("x-cache").to_owned(), reply.json())
}

#[tokio::test]
async fn each_day_of_the_month_is_counted_between_its_local_midnights() {
    let (server, _clock) = server_and_clock();
    for (starts_at, status) in [
        ("2025-09-30T23:59:59-03:00", "pending"),
        ("2025-10-01T00:00:00-03:00", "pending"),
        ("2025-10-01T23:59:59-03:00", "confirmed"),
        (TODAY, "confirmed"),
        (TODAY, "cancelled"),
        ("2025-10-31T23:59:59-03:00", "pending"),
        ("2025-11-01T00:00:00-03:00", "pending"),
    ] {
        server.book("clinic", starts_at, status).await;
    }
    server.book("other", TODAY, "pending").await;
    let (_, month) = days(&server, "America/Recife").await;
    assert_eq!(month["today"], "2025-10-31");
    let counted = month["days"].as_array().unwrap();
    let dates: Vec<String> = (1..=31).map(|day| format!("2025-10-{day:02}")).collect();
    let of = |day: &Value| day["date"].as_str().unwrap().to_owned();
    assert_eq!(counted.iter().map(of).collect::<Vec<_>>(), dates);
    for (day, at) in counted.iter().zip(1..) {
        let expected = match at {
            1 | 31 => (1, 1),
            _ => (0, 0),
        };
        assert_eq!(
            (&day["confirmed"], &day["pending"]),
            (&json!(expected.0), &json!(expected.1))
        );
    }
    let (_, east) = days(&server, "Pacific/Auckland").await;
    assert_eq!(east["today"], "2025-11-01");
    assert_eq!(east["days"].as_array().unwrap().len(), 30);
}

#[tokio::test]
async fn it_is_cached_until_a_write_or_the_next_day() {
    let (server, clock) = server_and_clock();
    let zone = "America/Recife";
    assert_eq!(days(&server, zone).await.0, "MISS");
    assert_eq!(days(&server, zone).await.0, "HIT");
    server.book("clinic", TODAY, "pending").await;
    let (cache, month) = days(&server, zone).await;
    assert_eq!(
        (cache.as_str(), &month["days"][30]["pending"]),
        ("MISS", &json!(1))
    );
    clock.set("2025-11-01T03:00:00Z");
    let (cache, month) = days(&server, zone).await;
    assert_eq!(
        (cache.as_str(), &month["today"]),
        ("MISS", &json!("2025-11-01"))
    );
}
