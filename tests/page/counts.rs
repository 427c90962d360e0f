//! The figures, which follow every write, whoever writes and wherever.

use std::sync::Arc;

use harness::{
    FakeClock, Folder, NOW, Process, Reply, SQLITE_FILE, TODAY, TestServer, postgres::Postgres,
    redis,
};
use megastats::clock::{Clock, SystemClock};
use reqwest::StatusCode;
use serde_json::json;

use crate::browser::{Browser, DESKTOP};

const PAGE: &str = "/?tenantId=clinic&tz=America/Recife";

#[tokio::test(flavor = "multi_thread")]
async fn the_figures_and_the_days_follow_what_another_client_writes_without_a_reload() {
    let clock = Arc::new(FakeClock::at(NOW));
    let server = TestServer::builder().clock(clock).start();
    let id = server.book("clinic", TODAY, "pending").await;
    server
        .book("clinic", "2025-10-27T15:00:00-03:00", "confirmed")
        .await;
    server
        .book("clinic", "2025-11-05T15:00:00-03:00", "confirmed")
        .await;
    let browser = Browser::open(DESKTOP, server.url(), PAGE).await;
    browser.sees_totals([1, 2, 2, 1]).await;
    browser.sees("#status-text", "Live").await;
    browser.run("globalThis.isSameDocument = true").await;

    server.book("clinic", TODAY, "confirmed").await;
    browser.sees_totals([2, 3, 3, 1]).await;
    server.patch(id, &json!({ "status": "cancelled" })).await;
    browser.sees_totals([1, 2, 2, 1]).await;
    browser
        .sees(".today .parts", "1 confirmed\n0 pending")
        .await;
    let today = ".days [aria-current='date']";
    browser
        .sees_text(today, "today is marked", |text| text == "31")
        .await;
    browser
        .sees_text("#source", "where it came from", |text| {
            text.starts_with("X-Cache ") && text.ends_with(" ago")
        })
        .await;
    let script = format!("return document.querySelector({today:?}).ariaLabel");
    harness::eventually("the day's counts", async || {
        browser.run(&script).await == "Friday, October 31: 1 confirmed, 0 pending"
    })
    .await;
    assert_eq!(browser.run("return globalThis.isSameDocument").await, true);
    browser.is_accessible().await;
    browser.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_figures_follow_what_is_written_to_another_instance() {
    let folder = Folder::new();
    assert!(!folder.path().join(SQLITE_FILE).exists());
    let (postgres, redis) = (Postgres::shared(), redis::Server::shared());
    let settings = [
        ("MEGASTATS__DATABASE__URL", postgres.database()),
        ("MEGASTATS__CACHE__BACKEND", "redis".to_owned()),
        ("MEGASTATS__CACHE__REDIS__URL", redis.url()),
    ];
    let settings = settings
        .each_ref()
        .map(|(name, value)| (*name, value.as_str()));
    let [seen, written] = [(); 2].map(|()| Process::start(folder.path(), &settings));
    let browser = Browser::open(DESKTOP, seen.url(), "/?tenantId=clinic&tz=UTC").await;
    browser.sees("#status-text", "Live").await;
    for count in 1..=3 {
        let appointment = json!({
            "tenantId": "clinic", "patientId": 1, "durationMin": 30,
            "startsAt": SystemClock.now().to_string(),
        });
        let create = reqwest::Client::new().post(format!("{}{}/", written.url(), harness::PREFIX));
        assert_eq!(
            Reply::to(create.json(&appointment)).await.status,
            StatusCode::CREATED
        );
        browser.sees(".month .number", &count.to_string()).await;
    }
    browser.end().await;
}
