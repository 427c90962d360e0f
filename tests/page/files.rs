//! What is served to browsers and to other clients, without a browser.

use harness::{PREFIX, Reply, TestServer};
use reqwest::{Method, StatusCode};

async fn get(server: &TestServer, path: &str, headers: &[(&str, &str)]) -> Reply {
    let mut request = server.client().get(format!("{}{path}", server.url()));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Reply::to(request).await
}

const BROWSER: (&str, &str) = ("accept", "text/html,application/xhtml+xml,*/*;q=0.8");

#[tokio::test]
async fn a_browser_gets_the_page_and_everybody_else_a_pointer_to_the_api() {
    let server = TestServer::start();
    let page = get(&server, "/", &[BROWSER]).await;
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    assert!(page.body.starts_with("<!doctype html>"), "{page:?}");
    let vary = page.header("vary");
    assert!(vary.starts_with("Accept, Accept-Encoding"), "{vary}");
    for accept in ["*/*", "application/json", ""] {
        let pointer = get(&server, "/", &[("accept", accept)]).await;
        assert_eq!(pointer.status, StatusCode::OK);
        let pointer = pointer.json();
        assert_eq!(pointer["appointments"], PREFIX);
        for name in ["docs", "openapi"] {
            let path = pointer[name].as_str().unwrap();
            assert_eq!(
                get(&server, path, &[]).await.status,
                StatusCode::OK,
                "{path}"
            );
        }
    }
    let outer = get(&server, "/", &[("x-forwarded-prefix", "/stats")]).await;
    assert_eq!(outer.json()["docs"], "/stats/docs/");
    let unknown = get(&server, "/nothing", &[("x-forwarded-prefix", "/stats")]).await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);
    let detail = unknown.json()["detail"].to_string();
    for path in [
        "/stats/docs/",
        "/stats/openapi.json",
        "/stats/api/v1/appointments",
    ] {
        assert!(detail.contains(path), "{detail}");
    }
}

#[tokio::test]
async fn the_page_loads_only_its_own_files_which_browsers_keep() {
    let server = TestServer::start();
    let page = get(&server, "/", &[BROWSER]).await;
    let mut files = vec!["/".to_owned()];
    for attribute in ["src=\"", "href=\""] {
        for rest in page.body.split(attribute).skip(1) {
            let file = rest.split('"').next().unwrap();
            if file.starts_with("dashboard/") {
                files.push(format!("/{file}"));
            } else {
                assert!(["docs/", "#agenda"].contains(&file), "{file}");
            }
        }
    }
    assert!(files.len() > 15, "{files:?}");
    for file in &files {
        let plain = get(&server, file, &[BROWSER]).await;
        assert_eq!(plain.status, StatusCode::OK, "{file}");
        let policy = plain.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self'"));
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(plain.header("x-content-type-options"), "nosniff");
        let tag = plain.header("etag").to_owned();
        let known = get(&server, file, &[BROWSER, ("if-none-match", &tag)]).await;
        assert_eq!(known.status, StatusCode::NOT_MODIFIED, "{file}");
    }
    for file in [
        "nothing.js",
        "../mod.rs",
        "%2e%2e/mod.rs",
        "mod.rs",
        "%2Fetc%2Fmtab",
        "%2Fproc%2Fself%2Fexe",
    ] {
        let reply = server
            .send(Method::GET, &format!("/dashboard/{file}"))
            .await;
        assert_eq!(reply.status, StatusCode::NOT_FOUND, "{file}");
    }
}
