//! Requests that a client sends before it has the answer to an earlier one.

use std::sync::Arc;

use harness::{FakeClock, Gate, NOW, PREFIX, Raw, Step, TODAY, TestServer};
use reqwest::StatusCode;
use serde_json::json;

fn get(tenant: &str) -> String {
    format!("GET {PREFIX}/mega-stats?tenantId={tenant} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

fn post(body: &str) -> String {
    format!(
        "POST {PREFIX} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len(),
    )
}

/// A service whose day is [`TODAY`].
fn server() -> TestServer {
    let builder = TestServer::builder().clock(Arc::new(FakeClock::at(NOW)));
    builder.start_at_once()
}

#[tokio::test]
async fn all_of_them_are_answered_in_their_order() {
    let server = server();
    let mut client = Raw::connect(server.url());
    // Empty lines within a body are no ends of heads.
    let body = format!(
        "{{\r\n\r\n\"tenantId\": \"clinic\",\n\n\"patientId\": 1, \"startsAt\": \"{TODAY}\",\r\n\r\n\
         \"durationMin\": 30}}"
    );
    let chunked = format!(
        "POST {PREFIX} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
        body.len(),
    );
    let round = [post(&body), get("clinic"), chunked, get("clinic"), get("")].concat();
    for _ in 0..50 {
        client.write(&round);
    }
    for number in 0..50 {
        assert_eq!(client.reply().status, StatusCode::CREATED);
        assert_eq!(client.reply().today().1, 2 * number + 1);
        assert_eq!(client.reply().status, StatusCode::CREATED);
        assert_eq!(client.reply().today().1, 2 * number + 2);
        assert_eq!(client.reply().status, StatusCode::UNPROCESSABLE_ENTITY);
    }
}

#[tokio::test]
async fn none_is_begun_before_the_one_ahead_of_it_is_answered() {
    let (service, gate) = Gate::before(TestServer::builder());
    let server = service.start();
    gate.hold(Step::LookUp);
    let mut client = Raw::connect(server.url());
    client.write(get("a").repeat(20));
    gate.reached(Step::LookUp, 1).await;
    // Another client's turn comes after all that the first one could have had.
    let mut other = Raw::connect(server.url());
    other.get("/healthz");
    assert_eq!(other.reply().status, StatusCode::OK);
    let during = server.send(reqwest::Method::GET, "/metrics").await.body;
    assert!(
        during.contains("megastats_http_requests_in_flight 2"),
        "{during}"
    );
    gate.open(Step::LookUp);
    for _ in 0..20 {
        assert_eq!(client.reply().status, StatusCode::OK);
    }
}

#[tokio::test]
async fn nothing_is_answered_behind_an_answer_that_closes() {
    let server = server();
    let ahead = get("clinic");
    let create = post(
        &json!({
            "tenantId": "clinic", "patientId": 1, "startsAt": TODAY, "durationMin": 30,
        })
        .to_string(),
    );
    for closing in [
        ahead.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n"),
        ahead.replace("\r\n\r\n", "\r\nConnection: keep-alive, Close\r\n\r\n"),
        ahead.replace(
            "\r\n\r\n",
            "\r\nUpgrade: h2c\r\nConnection: Upgrade, close\r\n\r\n",
        ),
        ahead.replace("HTTP/1.1", "HTTP/1.0"),
        // Answered without its body, the rest of which can be told from no request.
        "POST /nowhere HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n".to_owned(),
        // Not understood.
        "GET / HTTP/9.9\r\n\r\n".to_owned(),
    ] {
        let mut client = Raw::connect(server.url());
        client.write(format!("{ahead}{closing}{create}{ahead}"));
        assert_eq!(client.reply().status, StatusCode::OK);
        client.reply();
        client.closed();
    }
    assert_eq!(server.mega_stats("clinic").await.today().1, 0);
}

#[tokio::test]
async fn an_old_client_that_asks_to_stay_stays() {
    let server = server();
    let mut client = Raw::connect(server.url());
    let request = get("clinic").replace("HTTP/1.1", "HTTP/1.0");
    let request = request.replace("\r\n\r\n", "\r\nConnection: keep-alive\r\n\r\n");
    client.write(request.repeat(2));
    for _ in 0..2 {
        let reply = client.reply();
        assert_eq!(reply.status, StatusCode::OK);
        assert_eq!(reply.header("connection"), "keep-alive");
    }
}

#[tokio::test]
async fn offers_to_speak_another_protocol_are_ignored() {
    let server = server();
    let create = post(
        &json!({
            "tenantId": "clinic", "patientId": 1, "startsAt": TODAY, "durationMin": 30,
        })
        .to_string(),
    );
    for offer in [
        // Java's HttpClient
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAAB",
        // Apache's HttpClient
        "Upgrade: TLS/1.2\r\nConnection: Upgrade",
        // A proxy's lines for WebSocket, which it sends with each request
        "Upgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Version: 13",
        "connection: keep-alive\r\nCONNECTION: UPGRADE\r\nupgrade: WebSocket, h2c",
        "Upgrade: h2c",
        "Connection: Upgrade",
    ] {
        let mut client = Raw::connect(server.url());
        for (request, status) in [
            (&get("clinic"), StatusCode::OK),
            (&create, StatusCode::CREATED),
            (&get("clinic"), StatusCode::OK),
        ] {
            let request = request.replacen("\r\n", &format!("\r\n{offer}\r\n"), 1);
            // In two packets, cut within the offer.
            let (first, rest) = request.split_at(request.find("pgrade").unwrap());
            client.write(first);
            client.write(rest);
            let reply = client.reply();
            assert_eq!(reply.status, status, "{offer}");
            assert_eq!(reply.header("upgrade"), "", "{offer}");
            assert_eq!(reply.header("connection"), "", "{offer}");
        }
    }
}

#[tokio::test]
async fn an_offer_that_cannot_be_ignored_ends_the_connection_in_an_orderly_way() {
    let server = server();
    let mut client = Raw::connect(server.url());
    let long = format!("\r\nConnection: {}upgrade\r\n", "x, ".repeat(6_000));
    client.write(get("clinic").replacen("\r\n", &long, 1));
    let reply = client.reply();
    assert_eq!(reply.status, StatusCode::OK);
    assert_eq!(reply.header("connection"), "close");
    client.closed();
}
