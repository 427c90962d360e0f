//! What is no HTTP, or only half of it.

use std::time::Duration;

use harness::{PREFIX, Raw, TestServer};

use super::{assert_error, assert_unharmed, create_head};

/// The header that announces the body of a create.
const HUNDRED_BYTES: &str = "Content-Length: 100";

/// Sends `bytes` on a connection of its own and asserts the status, and that nothing else is told, as
/// of what has not become a request; asserts that the connection is closed afterwards, and that
/// another one that was open all the time still works.
async fn assert_turned_away(server: &TestServer, bytes: impl AsRef<[u8]>, status: u16) {
    let mut bystander = Raw::connect(server.url());
    bystander.mega_stats("bystander");
    assert_eq!(bystander.reply().status, 200);

    let mut client = Raw::connect(server.url());
    client.write(bytes);
    let reply = client.reply();
    assert_eq!(reply.status, status, "{reply:?}");
    assert_eq!(reply.body, "");
    assert!(!reply.headers.contains_key("x-request-id"), "{reply:?}");
    client.closed();

    bystander.mega_stats("bystander");
    assert_eq!(bystander.reply().status, 200);
    assert_unharmed(server).await;
}

#[tokio::test]
async fn a_request_line_that_is_none_is_turned_away() {
    let server = TestServer::start();
    for request in [
        &b"garbage\r\n\r\n"[..],
        b"\x16\x03\x01\x02\x00\x01\r\n\r\n", // TLS
        b"PRI * HTTP/2.0\r\n\r\n",
        b"\0\0\0\0\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / 1 HTTP/1.1\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"G{T / HTTP/1.1\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\n\r\n",
        b"GET /\xc3\xa3 HTTP/1.1\r\n\r\n",
    ] {
        assert_turned_away(&server, request, 400).await;
    }
}

#[tokio::test]
async fn headers_that_are_none_are_turned_away() {
    let server = TestServer::start();
    for header in [
        "no colon",
        ": no name",
        "a b: c",
        "x: a\0b",
        "Content-Length: abc",
        "Content-Length: -1",
        "Content-Length: 99999999999999999999",
        "Content-Length: 2\r\nContent-Length: 3",
        // The head gives two lengths of one body: a proxy in front might read the other one.
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: gzip",
    ] {
        let request = format!("POST {PREFIX} HTTP/1.1\r\nHost: localhost\r\n{header}\r\n\r\n");
        assert_turned_away(&server, request, 400).await;
    }
}

#[tokio::test]
async fn a_head_that_is_too_large_is_turned_away() {
    let server = TestServer::start();
    let long = format!("X: {}\r\n", "x".repeat(200_000));
    let many = "X: x\r\n".repeat(500);
    for headers in [long, many] {
        let request = format!("GET / HTTP/1.1\r\n{headers}\r\n");
        assert_turned_away(&server, request, 431).await;
    }
    let long_query = format!("GET /?{} HTTP/1.1\r\n\r\n", "x".repeat(70_000));
    assert_turned_away(&server, long_query, 400).await;
}

#[tokio::test]
async fn a_chunk_that_is_none_is_refused() {
    let server = TestServer::start();
    let mut client = Raw::connect(server.url());
    client.write(create_head("Transfer-Encoding: chunked"));
    client.write("zz\r\n{}\r\n0\r\n\r\n");
    assert_eq!(
        assert_error(&client.reply(), 400),
        "The body could not be read."
    );
    assert_unharmed(&server).await;
}

#[tokio::test]
async fn a_body_that_ends_early_writes_nothing() {
    let server = TestServer::start();
    let whole =
        r#"{"tenantId":"t","patientId":1,"startsAt":"2025-11-03T12:00:00Z","durationMin":30}"#;
    for body in ["", "{\"tenantId\":", whole] {
        let mut client = Raw::connect(server.url());
        client.write(create_head(HUNDRED_BYTES));
        client.write(body);
        client.end();
        // `whole` is shorter than what was announced, too.
        assert_eq!(
            assert_error(&client.reply(), 400),
            "The body could not be read."
        );
    }
    for _ in 0..20 {
        let mut client = Raw::connect(server.url());
        client.write(create_head(HUNDRED_BYTES));
        client.write(whole);
    }
    assert_unharmed(&server).await;
}

#[tokio::test]
async fn a_body_that_takes_too_long_is_given_up() {
    let server = TestServer::builder()
        .settings(|settings| settings.server.request_timeout = Duration::from_secs(1))
        .start();
    for length in ["Transfer-Encoding: chunked", HUNDRED_BYTES] {
        let mut client = Raw::connect(server.url());
        client.write(create_head(length));
        let reply = client.reply();
        let detail = assert_error(&reply, 408);
        assert_eq!(detail, "The body must arrive within 1 seconds.");
        assert_eq!(reply.header("connection"), "close");
    }
    assert_unharmed(&server).await;
}

#[tokio::test]
async fn clients_that_say_nothing_keep_nobody_else_waiting() {
    let server = TestServer::start();
    let mut silent: Vec<_> = (0..100).map(|_| Raw::connect(server.url())).collect();
    for (number, client) in silent.iter_mut().enumerate() {
        match number % 3 {
            0 => {}
            1 => client.write("GET /api/v1/appoint"),
            _ => client.write(create_head(HUNDRED_BYTES)),
        }
    }
    assert_unharmed(&server).await;
}

#[tokio::test]
async fn what_comes_before_garbage_on_a_connection_is_answered() {
    let server = TestServer::start();
    let mut client = Raw::connect(server.url());
    client.mega_stats("t");
    client.write("garbage\r\n\r\n");
    assert_eq!(client.reply().status, 200);
    assert_eq!(client.reply().status, 400);
    client.closed();
    assert_unharmed(&server).await;
}
