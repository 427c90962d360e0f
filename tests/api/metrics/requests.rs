//! Requests by route, method and status.

use harness::{Gate, Leave, PREFIX, Raw, Step, TODAY, eventually};
use reqwest::{Method, StatusCode};

use super::{assert_moved, scrape, service};

const PREFIX_LABEL: &str = "/api/v1/appointments";

/// The series of requests of one kind; `path` comes after the prefix.
fn series(path: &str, method: &str, status: u16) -> String {
    let route = format!("{PREFIX_LABEL}{path}");
    format!(
        "megastats_http_requests_total{{method=\"{method}\",route=\"{route}\",status=\"{status}\"}}"
    )
}

fn durations(path: &str, method: &str) -> String {
    let route = format!("{PREFIX_LABEL}{path}");
    format!(
        "megastats_http_request_duration_seconds_count{{method=\"{method}\",route=\"{route}\"}}"
    )
}

#[tokio::test]
async fn each_request_is_counted_once_under_its_route_method_and_status() {
    let server = service().start();
    let before = scrape(&server).await;
    for slash in ["", "/", ""] {
        server.get(&format!("/mega-stats{slash}?tenantId=a")).await;
    }
    let path = format!("{PREFIX}/mega-stats?tenantId=a");
    server.send(Method::HEAD, &path).await;
    server.get("/mega-stats").await;
    let id = server.book("a", TODAY, "pending").await;
    server.get(&format!("/{id}")).await;
    server.get("/77").await;
    server.get("/78/").await;
    let path = format!("{PREFIX}/summary");
    assert_eq!(
        server.send(Method::PUT, &path).await.status,
        StatusCode::METHOD_NOT_ALLOWED
    );
    server.send(Method::GET, "/nowhere").await;
    server.get("/1/2").await;
    let odd = Method::from_bytes(b"BREW").unwrap();
    server.send(odd, "/tea").await;
    let after = scrape(&server).await;
    let unknown = |method: &str| {
        format!(
            "megastats_http_requests_total{{method=\"{method}\",route=\"unknown\",status=\"404\"}}"
        )
    };
    let expected = [
        (series("/mega-stats", "GET", 200), 3.0),
        (series("/mega-stats", "HEAD", 200), 1.0),
        (series("/mega-stats", "GET", 422), 1.0),
        (series("", "POST", 201), 1.0),
        (series("/{id}", "GET", 200), 1.0),
        (series("/{id}", "GET", 404), 2.0),
        (series("/summary", "PUT", 405), 1.0),
        (unknown("GET"), 2.0),
        (unknown("other"), 1.0),
        (
            series("", "GET", 200).replace(PREFIX_LABEL, "/metrics"),
            1.0,
        ),
    ];
    let expected: Vec<_> = expected.iter().map(|(s, by)| (s.as_str(), *by)).collect();
    assert_moved(&before, &after, "megastats_http_requests", &expected);

    let by_route = after.since(&before);
    assert_eq!(
        by_route[durations("/mega-stats", "GET").as_str()].to_string(),
        "4"
    );
    assert_eq!(
        by_route[durations("/{id}", "GET").as_str()].to_string(),
        "3"
    );
    // The scrape itself.
    assert_eq!(
        after.value("megastats_http_requests_in_flight").to_string(),
        "1"
    );
}

#[tokio::test]
async fn a_request_whose_client_leaves_is_counted_and_no_longer_in_flight() {
    let (builder, gate) = Gate::before(service());
    let server = builder.start();
    gate.hold(Step::LookUp);
    let mut reader = Raw::leaving(server.url(), Leave::Reset);
    reader.mega_stats("a");
    gate.reached(Step::LookUp, 1).await;
    let during = scrape(&server).await;
    assert_eq!(
        during
            .value("megastats_http_requests_in_flight")
            .to_string(),
        "2"
    );
    drop(reader);
    eventually("it is counted", async || {
        let now = scrape(&server).await;
        now.value(&series("/mega-stats", "GET", 499)) > 0.0
            && now.value("megastats_http_requests_in_flight") < 2.0
    })
    .await;
    gate.open(Step::LookUp);
}

#[tokio::test]
async fn connections_are_shown_for_as_long_as_they_are_open() {
    let server = service().start();
    let shown = async |connections: &str| {
        eventually("the open connections and the one for this", async || {
            let metrics = scrape(&server).await;
            metrics.samples["megastats_http_connections"].to_string() == connections
        })
        .await;
    };
    shown("1").await;
    let mut clients: Vec<_> = (0..3).map(|_| Raw::connect(server.url())).collect();
    shown("4").await;
    clients[0].mega_stats("a");
    clients[0].reply();
    shown("4").await;
    clients.truncate(1);
    shown("2").await;
    // The service's own reasons to close count as well.
    clients[0].write("no request\r\n\r\n");
    shown("1").await;
}
