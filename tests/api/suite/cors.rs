//! Browsers: which front ends may call, and that they can read every answer. Requests are those of
//! `AlignWork`'s React client: with credentials, `Content-Type: application/json` and
//! `Cache-Control: no-cache`.

use std::time::Duration;

use harness::{Builder, PREFIX, Reply, TestServer};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};

/// `AlignWork`'s development front end.
const FRONT_END: &str = "http://localhost:8080";

/// What the client sends and with which method.
const CALLS: [(&str, &str); 7] = [
    ("GET", "/mega-stats?tenantId=t"),
    ("GET", "/summary?tenantId=t"),
    ("GET", "/?tenantId=t"),
    ("GET", "/1"),
    ("POST", "/"),
    ("PATCH", "/1"),
    ("DELETE", "/cache?tenantId=t"),
];

/// The origins that are not on the list, however near they come.
const STRANGERS: [&str; 9] = [
    "http://evil.example",
    "https://localhost:8080",
    "http://localhost:8081",
    "http://localhost",
    "http://localhost:80",
    "http://localhost:8080.evil.example",
    "http://evil.example:8080",
    "http://xlocalhost:8080",
    "null",
];

/// A service that lets these origins in.
fn letting_in(origins: &[&str]) -> Builder {
    let origins = origins.iter().map(|origin| (*origin).to_owned()).collect();
    TestServer::builder().settings(|settings| settings.cors.allowed_origins = origins)
}

/// A request of the client's, on a page of `origin`.
fn call(server: &TestServer, origin: &str, method: &str, path: &str) -> RequestBuilder {
    let method: Method = method.parse().unwrap();
    let request = server
        .client()
        .request(method, format!("{}{PREFIX}{path}", server.url()));
    request
        .header("origin", origin)
        .header("content-type", "application/json")
        .header("cache-control", "no-cache")
}

fn appointment() -> Value {
    json!({ "tenantId": "t", "patientId": 1, "startsAt": "2025-11-03T12:00:00Z", "durationMin": 30 })
}

/// What a browser asks first, since the headers are not simple ones.
async fn preflight(server: &TestServer, origin: &str, method: &str, path: &str) -> Reply {
    let path = path.split('?').next().unwrap();
    let url = format!("{}{PREFIX}{path}", server.url());
    let request = server
        .client()
        .request(Method::OPTIONS, url)
        .header("origin", origin)
        .header("access-control-request-method", method)
        .header(
            "access-control-request-headers",
            "cache-control,content-type,idempotency-key",
        );
    server.request(request).await
}

/// The entries of a header that is a list, in lower case.
fn entries(reply: &Reply, header: &str) -> Vec<String> {
    reply
        .header(header)
        .split(',')
        .map(|entry| entry.trim().to_lowercase())
        .collect()
}

/// Asserts what a browser checks before it shows an answer to a page of `origin`.
#[track_caller]
fn assert_readable(reply: &Reply, origin: &str) {
    assert_eq!(
        reply.header("access-control-allow-origin"),
        origin,
        "{reply:?}"
    );
    assert_eq!(
        reply.header("access-control-allow-credentials"),
        "true",
        "{reply:?}"
    );
    assert!(
        entries(reply, "vary").contains(&"origin".to_owned()),
        "{reply:?}"
    );
}

#[track_caller]
fn assert_not_readable(reply: &Reply) {
    assert_eq!(reply.header("access-control-allow-origin"), "", "{reply:?}");
}

#[tokio::test]
async fn a_preflight_allows_the_methods_and_headers_of_the_client() {
    let server = TestServer::start();
    for (method, path) in CALLS {
        let reply = preflight(&server, FRONT_END, method, path).await;
        assert!(reply.status.is_success(), "{reply:?}");
        assert_readable(&reply, FRONT_END);
        let methods = entries(&reply, "access-control-allow-methods");
        assert!(methods.contains(&method.to_lowercase()), "{reply:?}");
        for header in ["cache-control", "content-type", "idempotency-key"] {
            let headers = entries(&reply, "access-control-allow-headers");
            assert!(headers.contains(&header.to_owned()), "{reply:?}");
        }
        // With credentials, * stands for nothing.
        assert!(
            reply.headers.values().all(|value| value != "*"),
            "{reply:?}"
        );
    }
}

#[tokio::test]
async fn the_default_front_ends_are_those_of_development() {
    let server = TestServer::start();
    for origin in [
        "http://localhost:8080",
        "http://127.0.0.1:8080",
        "http://localhost:5173",
        "http://127.0.0.1:5173",
    ] {
        assert_readable(
            &preflight(&server, origin, "GET", "/mega-stats").await,
            origin,
        );
        assert_readable(
            &server.request(call(&server, origin, "GET", "/1")).await,
            origin,
        );
    }
}

#[tokio::test]
async fn the_front_end_can_read_answers_and_where_they_came_from() {
    let server = TestServer::start();
    let created = server
        .request(call(&server, FRONT_END, "POST", "/").json(&appointment()))
        .await;
    assert_eq!(created.status, StatusCode::CREATED);
    assert_readable(&created, FRONT_END);
    let changes = json!({ "status": "confirmed" });
    let updated = server
        .request(call(&server, FRONT_END, "PATCH", "/1").json(&changes))
        .await;
    assert_eq!(updated.status, StatusCode::OK);
    assert_readable(&updated, FRONT_END);
    for (method, path) in CALLS.into_iter().filter(|(method, _)| *method == "GET") {
        let reply = server.request(call(&server, FRONT_END, method, path)).await;
        assert_eq!(reply.status, StatusCode::OK);
        assert_readable(&reply, FRONT_END);
        let exposed = entries(&reply, "access-control-expose-headers");
        for header in [
            "x-cache",
            "cache-status",
            "location",
            "retry-after",
            "idempotency-replayed",
        ] {
            assert!(exposed.contains(&header.to_owned()), "{header}: {reply:?}");
        }
        assert!(
            reply.headers.values().all(|value| value != "*"),
            "{reply:?}"
        );
    }
}

#[tokio::test]
async fn the_front_end_can_read_what_it_did_wrong() {
    let server = TestServer::start();
    let oversize = " ".repeat(100_000);
    for (method, path, body, status) in [
        ("GET", "/77", "", 404),
        ("GET", "/1/2", "", 404),
        ("GET", "/mega-stats", "", 422),
        ("GET", "/mega-stats?tenantId=%FF", "", 400),
        ("POST", "/", "{}", 422),
        ("POST", "/", "{", 400),
        ("POST", "/", &oversize, 413),
        ("DELETE", "/1", "", 405),
    ] {
        let request = call(&server, FRONT_END, method, path).body(body.to_owned());
        let reply = server.request(request).await;
        assert_eq!(reply.status, status, "{reply:?}");
        assert_readable(&reply, FRONT_END);
        assert!(reply.json()["detail"].is_string());
    }
    let no_type = server
        .client()
        .post(format!("{}{PREFIX}", server.url()))
        .body("{}");
    let reply = server.request(no_type.header("origin", FRONT_END)).await;
    assert_eq!(reply.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert_readable(&reply, FRONT_END);
}

#[tokio::test]
async fn the_front_end_can_read_that_the_service_is_busy_or_broken() {
    let server = TestServer::builder()
        .settings(|settings| {
            settings.database.busy_timeout = Duration::from_millis(1);
            settings.database.statement_timeout = Duration::from_millis(200);
        })
        .start();
    let lock = server.lock_database();
    let busy = server
        .request(call(&server, FRONT_END, "POST", "/").json(&appointment()))
        .await;
    assert_eq!(busy.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(busy.header("retry-after"), "1");
    drop(lock);
    server.database().hide_appointments();
    let broken = server
        .request(call(&server, FRONT_END, "GET", "/mega-stats?tenantId=t"))
        .await;
    assert_eq!(broken.status, StatusCode::INTERNAL_SERVER_ERROR);
    for reply in [busy, broken] {
        assert_readable(&reply, FRONT_END);
        assert!(reply.json()["detail"].is_string());
    }
}

#[tokio::test]
async fn a_page_of_another_origin_may_neither_ask_nor_read() {
    let server = TestServer::start();
    for origin in STRANGERS {
        for (method, path) in CALLS {
            let asked = preflight(&server, origin, method, path).await;
            assert!(asked.status.is_client_error(), "{asked:?}");
            assert_not_readable(&asked);
        }
        for path in ["/mega-stats?tenantId=t", "/mega-stats", "/77", "/1/2"] {
            let reply = server.request(call(&server, origin, "GET", path)).await;
            assert_not_readable(&reply);
            assert!(
                entries(&reply, "vary").contains(&"origin".to_owned()),
                "{reply:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_preflight_for_another_method_is_refused() {
    let server = TestServer::start();
    for method in ["PUT", "OPTIONS", "TRACE", "patch"] {
        let reply = preflight(&server, FRONT_END, method, "/1").await;
        assert!(reply.status.is_client_error(), "{reply:?}");
    }
}

#[tokio::test]
async fn the_list_is_what_ops_set_and_nothing_else() {
    let ours = "https://agenda.example.com.br";
    let server = letting_in(&[ours]).start();
    assert_readable(&preflight(&server, ours, "GET", "/mega-stats").await, ours);
    assert_readable(
        &server.request(call(&server, ours, "GET", "/1")).await,
        ours,
    );
    let near = [
        "https://agenda.example.com.br.evil.example",
        "http://agenda.example.com.br",
    ];
    for stranger in STRANGERS.into_iter().chain(near).chain([FRONT_END]) {
        assert_not_readable(&preflight(&server, stranger, "GET", "/mega-stats").await);
        assert_not_readable(&server.request(call(&server, stranger, "GET", "/1")).await);
    }
}

#[tokio::test]
async fn an_empty_list_lets_nobody_in() {
    let server = letting_in(&[]).start();
    for origin in STRANGERS.into_iter().chain([FRONT_END]) {
        let asked = preflight(&server, origin, "GET", "/mega-stats").await;
        assert!(asked.status.is_client_error(), "{asked:?}");
        assert_not_readable(&asked);
        let path = "/mega-stats?tenantId=t";
        assert_not_readable(&server.request(call(&server, origin, "GET", path)).await);
    }
}

#[tokio::test]
async fn who_is_no_browser_needs_no_origin() {
    for server in [TestServer::start(), letting_in(&[]).start()] {
        let reply = server.mega_stats("t").await;
        assert_eq!(reply.status, StatusCode::OK);
        assert_not_readable(&reply);
    }
}

#[tokio::test]
async fn a_client_that_wants_nothing_cached_is_answered_from_the_cache() {
    let server = TestServer::builder().start();
    for path in ["/mega-stats?tenantId=t", "/summary?tenantId=t"] {
        for x_cache in ["MISS", "HIT", "HIT"] {
            let reply = server.request(call(&server, FRONT_END, "GET", path)).await;
            assert_eq!(reply.header("x-cache"), x_cache);
        }
        for (header, value) in [
            ("cache-control", "no-store"),
            ("cache-control", "max-age=0"),
            ("pragma", "no-cache"),
        ] {
            let url = format!("{}{PREFIX}{path}", server.url());
            let reply = server
                .request(server.client().get(url).header(header, value))
                .await;
            assert_eq!(reply.header("x-cache"), "HIT", "{header}: {value}");
        }
    }
}
