//! The stream of events: what a viewer is told, when, and when it ends.

use std::sync::Arc;

use harness::{
    Event, EventStream, FakeClock, Folder, Gate, NOW, PREFIX, Process, Reply, Step, TODAY,
    TestServer, eventually,
};
use reqwest::{Method, RequestBuilder, StatusCode};

const CLINIC: &str = "/mega-stats/events?tenantId=clinic";

fn request(server: &TestServer, path: &str) -> RequestBuilder {
    server
        .client()
        .get(format!("{}{PREFIX}{path}", server.url()))
}

async fn view(server: &TestServer) -> EventStream {
    EventStream::open(request(server, CLINIC)).await
}

async fn next(stream: &mut EventStream) -> Event {
    stream.next().await.expect("the stream goes on")
}

fn server_and_clock() -> (TestServer, Arc<FakeClock>) {
    let clock = Arc::new(FakeClock::at(NOW));
    (TestServer::builder().clock(clock.clone()).start(), clock)
}

fn today(event: &Event) -> i64 {
    assert_eq!(event.name, "message", "{event:?}");
    let today = &event.json()["today"];
    today["confirmed"].as_i64().unwrap() + today["pending"].as_i64().unwrap()
}

async fn open_streams(server: &TestServer) -> String {
    let metrics = server.send(Method::GET, "/metrics").await.body;
    let mut lines = metrics.lines();
    let streams = lines.find_map(|line| line.strip_prefix("megastats_event_streams "));
    streams.unwrap().to_owned()
}

#[tokio::test]
async fn a_viewer_is_told_at_once_and_after_each_write_what_mega_stats_answers() {
    let (server, _clock) = server_and_clock();
    let mut viewer = view(&server).await;
    let first = next(&mut viewer).await;
    assert_eq!(first.data, server.mega_stats("clinic").await.body);
    assert!(
        ["MISS", "HIT", "BYPASS"].contains(&first.x_cache.as_str()),
        "{first:?}"
    );

    let id = server.book("clinic", TODAY, "pending").await;
    viewer.until(&server.mega_stats("clinic").await.body).await;
    server
        .patch(id, &serde_json::json!({ "status": "confirmed" }))
        .await;
    let told = viewer.until(&server.mega_stats("clinic").await.body).await;
    assert_eq!(told.json()["today"]["confirmed"], 1);
}

#[tokio::test]
async fn a_viewer_is_not_told_what_has_not_changed_nor_what_others_write() {
    let (service, gate) = Gate::before(TestServer::builder().clock(Arc::new(FakeClock::at(NOW))));
    let server = service.start();
    let mut viewer = view(&server).await;
    assert_eq!(today(&next(&mut viewer).await), 0);
    server.book("other", TODAY, "pending").await;
    server.book("clinic", TODAY, "cancelled").await;
    // Two looks later, had there been news, they would have been told.
    gate.reached(Step::LookUp, gate.arrivals(Step::LookUp) + 3)
        .await;
    server.book("clinic", TODAY, "pending").await;
    assert_eq!(today(&next(&mut viewer).await), 1);
}

#[tokio::test]
async fn a_new_viewer_is_told_nothing_older_than_its_request() {
    let server = TestServer::builder()
        .clock(Arc::new(FakeClock::at(NOW)))
        .start();
    let mut first = view(&server).await;
    next(&mut first).await;
    for count in 1..=20 {
        server.book("clinic", TODAY, "pending").await;
        let mut later = view(&server).await;
        assert_eq!(today(&next(&mut later).await), count);
    }
}

#[tokio::test]
async fn midnight_is_told() {
    let (server, clock) = server_and_clock();
    server.book("clinic", TODAY, "pending").await;
    let mut viewer = view(&server).await;
    assert_eq!(today(&next(&mut viewer).await), 1);
    clock.set("2025-11-01T03:00:00Z");
    assert_eq!(today(&next(&mut viewer).await), 0);
}

#[tokio::test]
async fn a_failure_is_told_and_so_is_its_end() {
    let (server, _clock) = server_and_clock();
    let mut viewer = view(&server).await;
    assert_eq!(today(&next(&mut viewer).await), 0);
    let mut database = server.database();
    database.hide_appointments();
    // Without an entry the counts cannot be had.
    let purge = server
        .send(Method::DELETE, &format!("{PREFIX}/cache"))
        .await;
    assert_eq!(purge.status, StatusCode::NO_CONTENT);
    let told = next(&mut viewer).await;
    assert_eq!(
        (told.name.as_str(), &told.json()["status"]),
        ("problem", &500.into())
    );
    let refused = server.get(CLINIC).await;
    assert_eq!(
        refused.status,
        StatusCode::INTERNAL_SERVER_ERROR,
        "{refused:?}"
    );
    database.show_appointments();
    assert_eq!(today(&next(&mut viewer).await), 0);
}

#[tokio::test]
async fn a_request_is_checked_as_that_of_mega_stats() {
    let (server, _clock) = server_and_clock();
    for query in [
        "",
        "?tenantId=",
        "?tenantId=t&tz=Mars/Olympus",
        "?tenantId=%FF",
    ] {
        let plain = server.get(&format!("/mega-stats{query}")).await;
        let stream = server.get(&format!("/mega-stats/events{query}")).await;
        assert_eq!(
            (stream.status, stream.body),
            (plain.status, plain.body),
            "{query}"
        );
    }
    for method in [Method::GET, Method::HEAD] {
        let reply = server
            .send(method.clone(), &format!("{PREFIX}{CLINIC}"))
            .await;
        assert_eq!(reply.status, StatusCode::OK);
        assert_eq!(reply.header("content-type"), "text/event-stream");
        assert_eq!(reply.header("cache-control"), "no-store");
        assert_eq!(reply.header("x-accel-buffering"), "no");
        assert_eq!(reply.body.is_empty(), method == Method::HEAD, "{reply:?}");
    }
}

#[tokio::test]
async fn whoever_leaves_makes_room_and_too_many_are_told_to_come_back() {
    let server = TestServer::builder()
        .settings(|settings| settings.server.max_connections = 8)
        .start_at_once();
    let mut viewers = Vec::new();
    for _ in 0..4 {
        viewers.push(view(&server).await);
    }
    assert_eq!(open_streams(&server).await, "4");
    let refused = server.get(CLINIC).await;
    assert_eq!(
        refused.status,
        StatusCode::SERVICE_UNAVAILABLE,
        "{refused:?}"
    );
    assert_eq!(refused.header("retry-after"), "1");
    assert_eq!(server.mega_stats("clinic").await.status, StatusCode::OK);
    viewers.pop();
    // It is noticed when the next event is written.
    eventually("there is room", async || {
        server.book("clinic", TODAY, "pending").await;
        server.get(CLINIC).await.status == StatusCode::OK
    })
    .await;
}

#[tokio::test]
async fn streams_end_as_soon_as_the_service_begins_to_drain() {
    let folder = Folder::new();
    let process = Process::start(
        folder.path(),
        &[("MEGASTATS__SERVER__DRAIN_DELAY_SECONDS", "300")],
    );
    let client = reqwest::Client::new();
    let get = |path: &str| client.get(format!("{}{PREFIX}{path}", process.url()));
    let mut viewer = EventStream::open(get(CLINIC)).await;
    next(&mut viewer).await;
    process.signal("TERM");
    while viewer.next().await.is_some() {}
    let refused = Reply::to(get(CLINIC)).await;
    assert_eq!(
        refused.status,
        StatusCode::SERVICE_UNAVAILABLE,
        "{refused:?}"
    );
    let polled = Reply::to(get("/mega-stats?tenantId=clinic")).await;
    assert_eq!(polled.status, StatusCode::OK, "{polled:?}");
    process.signal("TERM");
    let (status, log) = process.wait();
    assert_eq!(status.code(), Some(0), "{log}");
}
