//! What is asked of a token in a cookie, which a browser sends along with whatever any page makes
//! it send.

use harness::{NOW, Reply, TestServer};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};

use super::{FRONT_END, OURS, book, guarded_by, request, tokens::Issuer};

fn appointment() -> Value {
    json!({ "tenantId": OURS, "patientId": 1, "startsAt": NOW, "durationMin": 30 })
}

/// Every request that writes, with its body.
fn writes(server: &TestServer) -> [RequestBuilder; 3] {
    [
        request(server, &Method::POST, "/").json(&appointment()),
        request(server, &Method::PATCH, "/1").json(&json!({ "durationMin": 45 })),
        request(server, &Method::DELETE, "/cache"),
    ]
}

fn cookie(token: &str) -> String {
    format!("access_token={token}")
}

#[tokio::test]
async fn only_pages_of_an_allowed_origin_write_with_the_cookie() {
    let issuer = Issuer::with_secret();
    let server = guarded_by(&issuer).start();
    let token = issuer.sign(&json!({ "role": "admin" }));
    book(&server, &token, OURS).await;
    let own = server.url();
    let https = own.replace("http://", "https://");
    for (origin, allowed) in [
        (Some(FRONT_END), true),
        (Some(own), true),
        (Some(&https), true),
        (None, false),
        (Some("null"), false),
        (Some(""), false),
        (Some("http://evil.example"), false),
        (Some("http://localhost:8080.evil.example"), false),
        (Some("http://localhost"), false),
        (Some("http://127.0.0.1"), false),
        (Some("http://localhost:8080, http://evil.example"), false),
    ] {
        for write in writes(&server) {
            let mut write = write.header("cookie", cookie(&token));
            if let Some(origin) = origin {
                write = write.header("origin", origin);
            }
            let reply = Reply::to(write).await;
            assert_eq!(reply.status.is_success(), allowed, "{origin:?} {reply:?}");
            assert!(
                allowed || reply.status == StatusCode::FORBIDDEN,
                "{reply:?}"
            );
        }
    }
    for write in writes(&server) {
        let twice = write
            .header("cookie", cookie(&token))
            .header("origin", FRONT_END)
            .header("origin", "http://evil.example");
        assert_eq!(Reply::to(twice).await.status, StatusCode::FORBIDDEN);
    }
}

#[tokio::test]
async fn a_forged_host_of_a_proxy_is_not_trusted() {
    let issuer = Issuer::with_secret();
    let server = guarded_by(&issuer).start();
    let token = issuer.token_for(&[OURS]);
    for (name, value) in [
        ("x-forwarded-host", "evil.example"),
        ("forwarded", "host=evil.example"),
    ] {
        let write = request(&server, &Method::POST, "/")
            .json(&appointment())
            .header("cookie", cookie(&token))
            .header("origin", "http://evil.example")
            .header(name, value);
        assert_eq!(Reply::to(write).await.status, StatusCode::FORBIDDEN);
    }
}

#[tokio::test]
async fn who_sends_the_token_in_a_header_needs_no_origin() {
    let issuer = Issuer::with_secret();
    let server = guarded_by(&issuer).start();
    let token = issuer.sign(&json!({ "role": "admin" }));
    for origin in [None, Some("http://evil.example")] {
        for write in writes(&server) {
            let mut write = write.bearer_auth(&token);
            if let Some(origin) = origin {
                write = write.header("origin", origin);
            }
            assert!(Reply::to(write).await.status.is_success());
        }
    }
}

#[tokio::test]
async fn reading_with_the_cookie_needs_no_origin() {
    let issuer = Issuer::with_secret();
    let server = guarded_by(&issuer).start();
    let token = issuer.token_for(&[OURS]);
    for method in [Method::GET, Method::HEAD] {
        let read = request(&server, &method, "/mega-stats?tenantId=ours");
        let reply = Reply::to(read.header("cookie", cookie(&token))).await;
        assert_eq!(reply.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn the_header_counts_beside_a_cookie() {
    let issuer = Issuer::with_secret();
    let server = guarded_by(&issuer).start();
    let (good, bad) = (issuer.token_for(&[OURS]), issuer.sign(&json!({ "exp": 1 })));
    for (header, in_cookie, status) in [(&good, &bad, 200), (&bad, &good, 401)] {
        let read = request(&server, &Method::GET, "/mega-stats?tenantId=ours")
            .bearer_auth(header)
            .header("cookie", cookie(in_cookie));
        assert_eq!(Reply::to(read).await.status, status);
    }
    // A proxy's own log-in is none of ours.
    let read = request(&server, &Method::GET, "/mega-stats?tenantId=ours")
        .basic_auth("ana", Some("hunter2"))
        .header("cookie", cookie(&good));
    assert_eq!(Reply::to(read).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_token_is_found_however_it_is_spelt_and_two_are_none() {
    let issuer = Issuer::with_secret();
    let server = guarded_by(&issuer).start();
    let token = issuer.token_for(&[OURS]);
    let ask = |headers: &[(&str, String)]| {
        let mut asked = request(&server, &Method::GET, "/mega-stats?tenantId=ours");
        for (name, value) in headers {
            asked = asked.header(*name, value);
        }
        Reply::to(asked)
    };
    let bearer = |scheme: &str| ("authorization", format!("{scheme} {token}"));
    let cookies = |value: String| ("cookie", value);
    for (headers, status) in [
        (vec![bearer("Bearer")], 200),
        (vec![bearer("bearer")], 200),
        (vec![bearer("Bearer ")], 200),
        (vec![bearer("Token")], 401),
        (vec![("authorization", token.clone())], 401),
        (vec![("authorization", "Bearer".to_owned())], 401),
        (vec![bearer("Bearer"), bearer("Bearer")], 401),
        (vec![cookies(format!("access_token={token}"))], 200),
        (vec![cookies(format!("a=b;access_token={token};c=d"))], 200),
        (
            vec![cookies(format!("clinica=São João; access_token={token}"))],
            200,
        ),
        (vec![cookies(format!("Access_Token={token}"))], 401),
        (vec![cookies(format!("xaccess_token={token}"))], 401),
        (vec![cookies(format!("refresh_token={token}"))], 401),
        (vec![cookies("access_token=".to_owned())], 401),
        (
            vec![cookies(format!(
                "access_token={token}; access_token={token}"
            ))],
            401,
        ),
    ] {
        let reply = ask(&headers).await;
        assert_eq!(reply.status, status, "{headers:?} {reply:?}");
    }
}

#[tokio::test]
async fn the_front_end_can_read_that_it_must_sign_in() {
    let issuer = Issuer::with_secret();
    let server = guarded_by(&issuer).start();
    let read = request(&server, &Method::GET, "/mega-stats?tenantId=ours");
    let reply = Reply::to(read.header("origin", FRONT_END)).await;
    assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
    assert_eq!(reply.header("access-control-allow-origin"), FRONT_END);
    assert!(
        reply
            .header("access-control-expose-headers")
            .to_lowercase()
            .contains("www-authenticate")
    );
    let preflight = request(&server, &Method::OPTIONS, "/mega-stats")
        .header("origin", FRONT_END)
        .header("access-control-request-method", "GET")
        .header("access-control-request-headers", "authorization");
    let reply = Reply::to(preflight).await;
    assert_eq!(reply.status, StatusCode::OK, "{reply:?}");
    assert!(
        reply
            .header("access-control-allow-headers")
            .contains("authorization")
    );
}
