//! Requests nobody thought of, made of pieces that somebody would.

use harness::{PREFIX, Reply, TestServer};
use proptest::{
    prelude::*,
    sample::select,
    test_runner::{Config, TestRunner},
};
use reqwest::{Method, StatusCode};
use serde_json::Value;

use super::assert_error;

const CASES: u32 = 1000;

/// A request: method and path, query, content type, body.
type Sent = ((&'static str, String), String, &'static str, String);

/// A method and a path, which mostly go together.
fn route() -> impl Strategy<Value = (&'static str, String)> {
    let fitting = select(vec![
        ("GET", ""),
        ("GET", "/"),
        ("GET", "/mega-stats"),
        ("GET", "/summary"),
        ("GET", "/1"),
        ("GET", "/cache-metrics"),
        ("HEAD", "/summary/"),
        ("POST", ""),
        ("POST", "/"),
        ("POST", ""),
        ("PATCH", "/1"),
        ("PATCH", "/2/"),
        ("PATCH", "/1"),
    ]);
    let method = select(vec![
        "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS",
    ]);
    let odd = select(vec![
        "/0",
        "/x",
        "/1/2",
        "//",
        "/%FF",
        "/mega-stats/x",
        "/%2F",
        "/+1",
        "/mega-stats",
        "",
    ]);
    let any_path = prop_oneof![
        3 => odd.prop_map(|path| format!("{PREFIX}{path}")),
        1 => "/[a-z%/.]{0,9}"
    ];
    prop_oneof![
        5 => fitting.prop_map(|(method, path)| (method, format!("{PREFIX}{path}"))),
        1 => (method, any_path)
    ]
}

/// A value as it stands in a query.
fn query_value() -> impl Strategy<Value = String> {
    let plausible = select(vec![
        "t",
        "1",
        "2",
        "50",
        "100",
        "1000",
        "UTC",
        "America/Recife",
        "Africa/Cairo",
        "2025-10-31T00:00:00Z",
        "2025-11-01T12:00:00-03:00",
        "2199-12-31T23:59:59.999999999Z",
        "1970-01-01T00:00:00Z",
        "mega_stats:t:UTC:2025-10-31",
    ]);
    let odd = select(vec![
        "",
        "+",
        "0",
        "-1",
        "1.5",
        "9007199254740991",
        "99999999999999999999",
        "%00",
        "%FF",
        "%",
        "a:b",
        "%7B%7D",
        "%F0%9F%A6%B7",
        "../x",
        "2025-02-30T00:00:00Z",
        "2025-10-31",
        "2200-01-01T00:00:00Z",
        "'",
        "--",
        "America/../UTC",
    ]);
    prop_oneof![12 => plausible.prop_map(str::to_owned), 2 => odd.prop_map(str::to_owned),
                1 => "[!-~]{0,12}"]
}

fn query() -> impl Strategy<Value = String> {
    let name = select(vec![
        "tz",
        "from",
        "to",
        "page",
        "page_size",
        "limit",
        "after",
        "x",
        "",
    ]);
    let pair = (name, query_value()).prop_map(|(name, value)| format!("{name}={value}"));
    let tenant = query_value().prop_map(|value| format!("tenantId={value}"));
    (
        prop::option::weighted(0.9, tenant),
        prop::collection::vec(pair, 0..4),
    )
        .prop_map(|(tenant, others)| {
            tenant
                .into_iter()
                .chain(others)
                .collect::<Vec<_>>()
                .join("&")
        })
}

/// A value as it stands in JSON.
fn json_value() -> impl Strategy<Value = String> {
    let plausible = select(vec![
        "\"t\"",
        "1",
        "15",
        "30",
        "480",
        "\"7\"",
        "\"pending\"",
        "\"confirmed\"",
        "\"cancelled\"",
        "\"2025-11-03T12:00:00Z\"",
        "\"2025-10-31T09:00:00-03:00\"",
        "null",
    ]);
    let odd = select(vec![
        "\"\"",
        "\"\\u0000\"",
        "\"\\ud800\"",
        "0",
        "-1",
        "1.5",
        "30.0",
        "1e300",
        "1e999",
        "-0",
        "9007199254740992",
        "99999999999999999999",
        "true",
        "[]",
        "{}",
        "[[[[]]]]",
        "{\"a\":{}}",
        "",
        "\"",
        "\u{1F9B7}",
        "\"2025-02-30T00:00:00Z\"",
        "\"Pending\"",
    ]);
    let text = any::<String>().prop_map(|text| Value::from(text).to_string());
    prop_oneof![8 => plausible.prop_map(str::to_owned), 3 => odd.prop_map(str::to_owned), 1 => text]
}

fn body() -> impl Strategy<Value = String> {
    let fields = [
        "tenantId",
        "patientId",
        "startsAt",
        "durationMin",
        "status",
        "consultorioId",
        "x",
    ];
    let field = |name: &'static str| {
        let likely = match name {
            "tenantId" | "patientId" => "\"t\"",
            "startsAt" => "\"2025-11-03T12:00:00Z\"",
            "durationMin" => "30",
            _ => "null",
        };
        let value = prop_oneof![9 => Just(likely.to_owned()), 1 => json_value()];
        value.prop_map(move |value| format!("\"{name}\":{value}"))
    };
    let object = prop::sample::subsequence(fields.to_vec(), 3..=7)
        .prop_flat_map(move |names| names.into_iter().map(field).collect::<Vec<_>>())
        .prop_map(|fields| format!("{{{}}}", fields.join(",")));
    let with_another = (object.clone(), select(fields.to_vec()), json_value()).prop_map(
        |(object, name, value)| object.replacen('{', &format!("{{\"{name}\":{value},"), 1),
    );
    prop_oneof![6 => object, 2 => with_another, 1 => json_value(), 1 => any::<String>()]
}

fn request() -> impl Strategy<Value = Sent> {
    let json = Just("application/json");
    let content_type = prop_oneof![9 => json, 1 => select(vec!["text/plain", "", "application/"])];
    (route(), query(), content_type, body())
}

async fn send(server: &TestServer, ((method, path), query, content_type, body): Sent) -> Reply {
    let url = format!("{}{path}?{query}", server.url());
    let method: Method = method.parse().unwrap();
    let is_read = matches!(method, Method::GET | Method::HEAD);
    let mut request = server.client().request(method, url);
    if !is_read {
        request = request.header("content-type", content_type).body(body);
    }
    server.request(request).await
}

/// An answer of whatever kind, but never a failure of the service.
fn assert_sound(is_head: bool, reply: &Reply) {
    let status = reply.status;
    assert!(status.is_success() || status.is_client_error(), "{reply:?}");
    if is_head {
        assert_eq!(reply.body, "");
    } else if status.is_success() {
        assert!(reply.json().is_object(), "{reply:?}");
    } else {
        assert_error(reply, status.as_u16());
    }
}

#[test]
fn no_request_makes_the_service_fail() {
    let server = TestServer::start();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let config = Config {
        cases: CASES,
        failure_persistence: None,
        ..Config::default()
    };
    let outcome = TestRunner::new(config).run(&request(), |sent| {
        runtime.block_on(async {
            let is_head = sent.0.0 == "HEAD";
            assert_sound(is_head, &send(&server, sent).await);
            assert_eq!(server.get("/cache-metrics").await.status, StatusCode::OK);
        });
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
}
