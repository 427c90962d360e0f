//! Clients that send a little now and then, or do not read: none keeps its connection for ever.

use std::time::Duration;

use harness::{Builder, PREFIX, Raw, TODAY, TestServer, eventually, poll};
use reqwest::StatusCode;
use serde_json::json;

/// How long a slow client waits before its next byte.
const PAUSE: Duration = Duration::from_millis(50);

/// A service whose patience a test can wait for.
fn impatient() -> Builder {
    TestServer::builder()
        .settings(|settings| settings.server.request_timeout = Duration::from_secs(1))
}

/// Writes `bytes` again and again, slowly, until the service has had enough.
fn write_slowly_until_cut_off(client: &mut Raw, bytes: &[u8]) {
    poll("the slow client is cut off", || {
        std::thread::sleep(PAUSE);
        client.write_some(bytes).is_err().then_some(())
    });
}

fn connected(server: &TestServer) -> Raw {
    let mut client = Raw::connect(server.url());
    client.mega_stats("clinic");
    assert_eq!(client.reply().status, StatusCode::OK);
    client
}

#[tokio::test]
async fn a_head_that_never_ends_is_given_up() {
    let server = impatient().start();
    let mut silent = Raw::connect(server.url());
    silent.write("GET / HT");
    let mut new = Raw::connect(server.url());
    new.write("GET / HTTP/1.1\r\nX: ");
    let mut kept = connected(&server);
    kept.write("GET / HTTP/1.1\r\nX: ");
    let mut behind = Raw::connect(server.url());
    behind.write("GET / HTTP/1.1\r\nHost: localhost\r\n\r\nGET / HTTP/1.1\r\nX: ");
    for client in [&mut new, &mut kept, &mut behind] {
        write_slowly_until_cut_off(client, b"x");
    }
    assert_eq!(silent.reply().status, StatusCode::REQUEST_TIMEOUT);
    silent.closed();
    let mut half = connected(&server);
    half.write("GET / HT");
    half.closed();
}

#[tokio::test]
async fn a_client_that_is_silent_between_its_requests_keeps_its_connection() {
    let server = impatient().start();
    let mut client = connected(&server);
    // Longer than a request may take, and than actix by itself would keep the connection.
    tokio::time::sleep(Duration::from_secs(6)).await;
    client.mega_stats("clinic");
    assert_eq!(client.reply().status, StatusCode::OK);
}

#[tokio::test]
async fn a_body_that_nobody_reads_is_not_waited_for() {
    let server = impatient().start();
    for length in ["Transfer-Encoding: chunked", "Content-Length: 60000"] {
        let mut client = Raw::connect(server.url());
        client.write(format!(
            "GET {PREFIX}/mega-stats?tenantId=clinic HTTP/1.1\r\nHost: localhost\r\n{length}\r\n\r\n"
        ));
        assert_eq!(client.reply().status, StatusCode::OK);
        write_slowly_until_cut_off(&mut client, b"1\r\nx\r\n");
    }
}

#[tokio::test]
async fn a_client_that_takes_no_answers_is_cut_off() {
    let server = impatient().start();
    for _ in 0..20 {
        server.book("clinic", TODAY, "pending").await;
    }
    let mut client = Raw::connect(server.url());
    let request = format!("GET {PREFIX}?tenantId=clinic HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let mut rest = request.as_bytes();
    poll("the client is cut off", || {
        loop {
            let written = match client.write_some(rest) {
                Ok(0) => return None,
                Ok(written) => written,
                Err(_gone) => return Some(()),
            };
            rest = &rest[written..];
            if rest.is_empty() {
                rest = request.as_bytes();
            }
        }
    });
    assert_eq!(server.mega_stats("clinic").await.status, StatusCode::OK);
}

#[tokio::test]
async fn slow_clients_in_all_places_keep_others_out_for_no_longer_than_they_may_take() {
    const PLACES: usize = 20;
    let server = impatient()
        .settings(|settings| settings.server.max_connections = PLACES)
        .start();
    let mut slow: Vec<_> = (0..PLACES).map(|_| connected(&server)).collect();
    for (number, client) in slow.iter_mut().enumerate() {
        match number % 2 {
            0 => client.write("GET /api/v1/appoint"),
            _ => client.write(format!(
                "POST {PREFIX} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\
                 Content-Type: application/json\r\n\r\n{{"
            )),
        }
    }
    let writing = std::thread::spawn(move || {
        for client in &mut slow {
            write_slowly_until_cut_off(client, b"x");
        }
    });
    let reply = server.mega_stats("clinic").await;
    assert_eq!(reply.today().1, 0);
    eventually("all of them are cut off", async || writing.is_finished()).await;
    writing.join().unwrap();
}

#[tokio::test]
async fn a_request_that_takes_long_here_is_not_the_clients_fault() {
    use harness::{Gate, Step};
    let (service, gate) = Gate::before(impatient());
    let server = service.start();
    gate.hold(Step::Fence);
    let mut client = connected(&server);
    client.post(&json!({
        "tenantId": "clinic", "patientId": 1, "startsAt": TODAY, "durationMin": 30,
    }));
    gate.reached(Step::Fence, 1).await;
    // Longer than its head, and longer than its body, may take.
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    gate.open(Step::Fence);
    assert_eq!(client.reply().status, StatusCode::CREATED);
    client.mega_stats("clinic");
    assert_eq!(client.reply().status, StatusCode::OK);
}
