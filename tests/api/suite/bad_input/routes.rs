//! Ids, methods and paths.

use harness::{PREFIX, Raw, TestServer};
use reqwest::Method;
use serde_json::json;

use super::{assert_error, assert_refused, assert_unharmed};

const MAX_ID: i64 = 9_007_199_254_740_991;

#[tokio::test]
async fn an_id_that_is_none_is_refused() {
    let server = TestServer::start();
    for id in [
        "0",
        "-1",
        "abc",
        "1.5",
        "1e3",
        "+1",
        "%2B1",
        "%20",
        "1%20",
        "0x1",
        "%D9%A1",
        "null",
        "9007199254740992",
        "9223372036854775808",
        "99999999999999999999",
        "%00",
        "1%00",
        "%",
        "%zz",
        "%FF",
        "1%2F2",
        "1;2",
        "1,2",
        "mega-stats%00",
        "MEGA-STATS",
        "*",
    ] {
        let allowed = "a whole number from 1 to 9007199254740991";
        assert_refused(&server.get(&format!("/{id}")).await, "id", allowed);
        let url = format!("{}{PREFIX}/{id}", server.url());
        let update = server
            .client()
            .patch(url)
            .json(&json!({ "status": "confirmed" }));
        assert_refused(&server.request(update).await, "id", allowed);
    }
    assert_unharmed(&server).await;
}

#[tokio::test]
async fn an_id_that_nobody_has_is_not_found() {
    let server = TestServer::start();
    for id in [1, 2, MAX_ID] {
        let expected = format!("There is no appointment {id}.");
        assert_eq!(
            assert_error(&server.get(&format!("/{id}")).await, 404),
            expected
        );
        let update = server.patch(id, &json!({ "status": "confirmed" })).await;
        assert_eq!(assert_error(&update, 404), expected);
    }
    assert_unharmed(&server).await;
}

#[tokio::test]
async fn a_method_that_a_route_has_not_is_refused_with_those_it_has() {
    let server = TestServer::start();
    let methods = [
        "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW",
    ];
    for (path, allow) in [
        ("", "GET, HEAD, POST"),
        ("/", "GET, HEAD, POST"),
        ("/1", "GET, HEAD, PATCH"),
        ("/1/", "GET, HEAD, PATCH"),
        ("/mega-stats", "GET, HEAD"),
        ("/mega-stats/", "GET, HEAD"),
        ("/summary", "GET, HEAD"),
        ("/cache-metrics", "GET, HEAD"),
    ] {
        for method in methods.iter().filter(|method| !allow.contains(*method)) {
            let method: Method = method.parse().unwrap();
            let reply = server.send(method, &format!("{PREFIX}{path}")).await;
            let detail = assert_error(&reply, 405);
            assert!(detail.contains(allow), "{detail}");
            let mut allowed: Vec<_> = reply.header("allow").split(", ").collect();
            allowed.sort_unstable();
            assert_eq!(allowed.join(", "), allow, "{path}");
        }
    }
    assert_unharmed(&server).await;
}

#[tokio::test]
async fn a_route_that_there_is_not_is_not_found_by_any_method() {
    let server = TestServer::start();
    for path in [
        "//",
        "///",
        "/api",
        "/api/v1",
        "/api/v1/",
        "/api/v2/appointments",
        "/api/v1/appointment",
        "/api/v1/appointmentsx",
        "/API/v1/appointments",
        "/v1/appointments",
        "/api/v1/appointments/1/2",
        "/api/v1/appointments/1/2/",
        "/api/v1/appointments/mega-stats/1",
        "/api/v1/appointments%2Fmega-stats",
        "/api/v1/appointments/mega-stats/../mega-stats",
        "/api/v1/appointments/../appointments",
        "/api/v1/appointments/%2e%2e/%2e%2e",
        "//api/v1/appointments",
        "/api/v1/appointments//",
        "/api/v1/appointments/mega-stats//",
        "/%FF",
        "/%",
        "/..",
        "/../../etc/passwd",
        "/.env",
        "/favicon.ico",
        "api",
    ] {
        for method in ["GET", "POST", "PATCH", "DELETE", "OPTIONS"] {
            // A client of its own, since others tidy paths up.
            let mut client = Raw::connect(server.url());
            client.write(format!(
                "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"
            ));
            let detail = assert_error(&client.reply(), 404);
            assert!(detail.starts_with("There is no such route. "), "{detail}");
        }
    }
    assert_unharmed(&server).await;
}
