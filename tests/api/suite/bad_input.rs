//! A client that gets something wrong is told what is wrong and what is allowed; it writes nothing,
//! and nobody else notices.

mod bodies;
mod documents;
mod queries;
mod random;
mod routes;
mod sockets;

use harness::{PREFIX, Reply, TestServer};
use reqwest::StatusCode;
use serde_json::{Value, json};

/// Asserts that `reply` is an error of `status` in the documented shape; returns its detail.
#[track_caller]
fn assert_error(reply: &Reply, status: u16) -> String {
    assert_eq!(reply.status.as_u16(), status, "{reply:?}");
    assert_eq!(
        reply.header("content-type"),
        "application/json",
        "{reply:?}"
    );
    assert_eq!(reply.header("cache-control"), "no-store", "{reply:?}");
    let error = reply.json();
    assert_eq!(error["type"], "about:blank");
    assert_eq!(error["title"], reply.status.canonical_reason().unwrap());
    assert_eq!(error["status"], status);
    let detail = error["detail"].as_str().unwrap();
    assert!(!detail.is_empty(), "{reply:?}");
    detail.to_owned()
}

/// Asserts that `reply` says of `field`, and of no other, that it must be `allowed`.
#[track_caller]
fn assert_refused(reply: &Reply, field: &str, allowed: &str) {
    let detail = assert_error(reply, 422);
    assert!(detail.starts_with(&format!("{field}: ")), "{detail}");
    assert!(detail.contains(allowed), "{allowed}? {detail}");
    let errors = reply.json()["errors"].take();
    let message = errors[0]["message"].as_str().unwrap_or_default();
    assert!(message.contains(allowed), "{allowed}? {message}");
    assert_eq!(errors, json!([{ "field": field, "message": message }]));
}

/// The head of a create; `length` is the header that says how long the body is.
fn create_head(length: &str) -> String {
    format!(
        "POST {PREFIX} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         {length}\r\n\r\n"
    )
}

/// The fields that `reply` refuses.
fn refused(reply: &Reply) -> Vec<String> {
    assert_error(reply, 422);
    let errors = reply.json()["errors"].take();
    let field = |error: &Value| error["field"].as_str().unwrap().to_owned();
    errors.as_array().unwrap().iter().map(field).collect()
}

/// Asserts that the service answers as ever, and that nothing was written.
async fn assert_unharmed(server: &TestServer) {
    assert_eq!(
        server.mega_stats("somebody-else").await.status,
        StatusCode::OK
    );
    let rows = server
        .database()
        .number("SELECT count(*) FROM appointments");
    assert_eq!(rows, 0);
}
