//! What is polled is computed anew before it expires; what is not is left alone.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use harness::{
    Builder, FakeClock, Gate, NOW, PREFIX, Raw, Step, TestServer, all_hit, eventually, is_refused,
    stay_hits_until,
};
use serde_json::Value;

use super::freshness::appointment;

fn service(ttl_seconds: u64, window_seconds: u64) -> Builder {
    TestServer::builder()
        .clock(Arc::new(FakeClock::running_from(NOW)))
        .settings(|settings| {
            settings.cache.ttl = Duration::from_secs(ttl_seconds);
            settings.cache.warming.enabled = true;
            settings.cache.warming.window = Duration::from_secs(window_seconds);
        })
}

/// Books an appointment of today behind the service's back: only a computation finds it.
fn book_unnoticed(server: &TestServer) {
    server.database().execute_unannounced(
        "INSERT INTO appointments (tenant_id, patient_id, starts_at, duration_min, status,
                                   created_at, updated_at)
         VALUES ('clinic', '1', '2025-10-31 18:00:00.000000', 30, 'pending',
                 '2025-10-31 12:00:00.000000', '2025-10-31 12:00:00.000000')",
    );
}

async fn keys(server: &TestServer) -> Vec<Value> {
    let metrics = server.get("/cache-metrics").await.json();
    metrics["cache_keys"].as_array().unwrap().clone()
}

async fn expired(server: &TestServer) {
    eventually("the entry expires", async || keys(server).await.is_empty()).await;
}

#[tokio::test]
async fn under_steady_polling_every_answer_is_a_hit() {
    let server = service(12, 60).start();
    let polls = ["/mega-stats?tenantId=clinic", "/summary?tenantId=clinic"];
    let urls = polls.map(|path| format!("{}{PREFIX}{path}", server.url()));
    all_hit(server.client(), &urls, 0).await;
    for computed in 1..=2 {
        book_unnoticed(&server);
        stay_hits_until(server.client(), &urls, computed).await;
    }
}

#[tokio::test]
async fn what_was_last_read_longer_ago_than_the_window_is_left_to_expire() {
    let (service, gate) = Gate::before(service(2, 1));
    let server = service.start();
    server.mega_stats("clinic").await;
    expired(&server).await;
    assert_eq!(gate.arrivals(Step::Store), 1);
    assert_eq!(server.mega_stats("clinic").await.today(), ("MISS", 0));
}

#[tokio::test]
async fn what_is_computed_anew_does_not_count_as_read() {
    let (service, gate) = Gate::before(service(1, 3));
    let server = service.start();
    server.mega_stats("clinic").await;
    gate.reached(Step::Store, 2).await;
    // Before that an entry may expire for a moment, if what is computed anew is late.
    let over = Instant::now() + Duration::from_secs(4);
    eventually("the window is over", async || Instant::now() > over).await;
    expired(&server).await;
    assert_eq!(server.mega_stats("clinic").await.today(), ("MISS", 0));
}

#[tokio::test]
async fn it_is_off_unless_asked_for() {
    let service =
        TestServer::builder().settings(|settings| settings.cache.ttl = Duration::from_secs(1));
    let (service, gate) = Gate::before(service);
    let server = service.start();
    server.mega_stats("clinic").await;
    expired(&server).await;
    assert_eq!(gate.arrivals(Step::Store), 1);
}

#[tokio::test]
async fn it_waits_for_requests_that_are_computed_for() {
    let (service, gate) = Gate::before(service(1, 60));
    let server = service.start();
    server.mega_stats("clinic").await;
    gate.hold_nth(Step::Store, 1);
    let mut slow = Raw::connect(server.url());
    slow.mega_stats("slow");
    gate.reached(Step::Store, 2).await;
    expired(&server).await;
    assert_eq!(gate.arrivals(Step::Store), 2, "nothing else was computed");
    gate.open(Step::Store);
    assert_eq!(slow.reply().today(), ("MISS", 0));
    gate.reached(Step::Store, 4).await;
}

#[tokio::test]
async fn it_stands_back_while_the_tenant_is_written_to_and_counts_the_write_afterwards() {
    let (service, gate) = Gate::before(service(1, 60));
    let server = service.start();
    server.mega_stats("clinic").await;
    gate.hold(Step::Release);
    let mut writer = Raw::connect(server.url());
    writer.post(&appointment("clinic"));
    gate.reached(Step::Release, 1).await;
    let (stored, looked) = (gate.arrivals(Step::Store), gate.arrivals(Step::LookUp));
    gate.reached(Step::LookUp, looked + 3).await;
    assert_eq!(gate.arrivals(Step::Store), stored, "it was fenced");
    gate.open(Step::Release);
    writer.reply();
    gate.reached(Step::Store, stored + 1).await;
    eventually("the write is counted", async || {
        server.mega_stats("clinic").await.today() == ("HIT", 1)
    })
    .await;
}

#[tokio::test]
async fn the_first_poll_of_a_day_is_a_hit() {
    let clock = Arc::new(FakeClock::at("2025-11-01T02:59:59.500Z"));
    let server = service(3600, 3600).clock(clock.clone()).start();
    assert_eq!(server.mega_stats("clinic").await.today(), ("MISS", 0));
    clock.set("2025-11-01T03:00:00Z");
    eventually("the new day is computed", async || {
        let today = "mega_stats:clinic:America/Recife:2025-11-01";
        keys(&server).await.contains(&today.into())
    })
    .await;
    assert_eq!(server.mega_stats("clinic").await.today(), ("HIT", 0));
}

#[tokio::test]
async fn a_service_that_stops_computes_nothing_anew() {
    let (service, gate) = Gate::before(service(1, 60));
    let mut server = service.start();
    server.mega_stats("clinic").await;
    gate.reached(Step::Store, 2).await;
    gate.hold(Step::Release);
    let mut writer = Raw::connect(server.url());
    writer.post(&appointment("other"));
    gate.reached(Step::Release, 1).await;
    server.begin_stop();
    eventually("nobody is let in", async || is_refused(server.url())).await;
    // It goes on for as long as the writer does.
    let looked = gate.arrivals(Step::LookUp);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(gate.arrivals(Step::LookUp), looked);
    gate.open(Step::Release);
    writer.reply();
    eventually("the service stops", async || server.has_stopped()).await;
}
