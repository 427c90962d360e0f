//! The listener for administrators: what whoever reaches it may do, and that nobody is taken for
//! having reached it.

use harness::{PREFIX, Reply, TestServer};
use reqwest::{Method, RequestBuilder, StatusCode};

use super::{FRONT_END, OURS, guarded_by, tokens::Issuer};

fn server(issuer: &Issuer) -> TestServer {
    let listen = Some(([127, 0, 0, 1], 0).into());
    guarded_by(issuer)
        .settings(|settings| settings.auth.admin_listen = listen)
        .start()
}

fn ask(server: &TestServer, base: &str, path: &str) -> RequestBuilder {
    server
        .client()
        .request(Method::GET, format!("{base}{PREFIX}{path}"))
}

#[tokio::test]
async fn who_reaches_it_is_an_administrator_of_no_tenant() {
    let issuer = Issuer::with_secret();
    let server = server(&issuer);
    let token = issuer.token_for(&[OURS]);
    for (path, status, with_token) in [
        ("/cache-metrics", 200, 200),
        ("/mega-stats?tenantId=ours", 403, 200),
        ("/mega-stats?tenantId=theirs", 403, 403),
        ("/1", 404, 404),
    ] {
        let reply = Reply::to(ask(&server, server.admin_url(), path)).await;
        assert_eq!(reply.status, status, "{path}");
        let reply = Reply::to(ask(&server, server.admin_url(), path).bearer_auth(&token)).await;
        assert_eq!(reply.status, with_token, "{path}");
    }
    let bad = ask(&server, server.admin_url(), "/cache-metrics").bearer_auth("x.y.z");
    assert_eq!(Reply::to(bad).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn the_other_listener_is_as_closed_as_without_it() {
    let issuer = Issuer::with_secret();
    let server = server(&issuer);
    let admin = server.admin_url().strip_prefix("http://").unwrap();
    for (name, value) in [
        ("x-y", "z"),
        ("host", admin),
        ("x-forwarded-host", admin),
        ("forwarded", "for=127.0.0.1"),
    ] {
        let asked = ask(&server, server.url(), "/cache-metrics").header(name, value);
        assert_eq!(
            Reply::to(asked).await.status,
            StatusCode::UNAUTHORIZED,
            "{name}"
        );
    }
}

#[tokio::test]
async fn a_page_whose_name_was_turned_to_this_machine_is_no_administrator() {
    let issuer = Issuer::with_secret();
    let server = server(&issuer);
    for host in [
        "evil.example",
        "evil.example:9000",
        "localhost.evil.example",
    ] {
        let asked = ask(&server, server.admin_url(), "/cache-metrics").header("host", host);
        assert_eq!(
            Reply::to(asked).await.status,
            StatusCode::UNAUTHORIZED,
            "{host}"
        );
    }
    let asked = ask(&server, server.admin_url(), "/cache-metrics").header("host", "localhost:9000");
    assert_eq!(Reply::to(asked).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_page_of_another_origin_writes_nothing_by_it() {
    let issuer = Issuer::with_secret();
    let server = server(&issuer);
    for (origin, status) in [
        (None, 204),
        (Some(FRONT_END), 204),
        (Some("http://evil.example"), 401),
    ] {
        let mut purge = server
            .client()
            .delete(format!("{}{PREFIX}/cache", server.admin_url()));
        if let Some(origin) = origin {
            purge = purge.header("origin", origin);
        }
        assert_eq!(Reply::to(purge).await.status, status, "{origin:?}");
    }
}
