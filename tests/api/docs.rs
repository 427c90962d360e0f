//! The description of the API, and the page that shows it.

pub mod browser;
mod examples;

use harness::{Reply, TestServer};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

/// What asks nobody else.
const NEVER_FAILS: [&str; 2] = ["/health", "/healthz"];

async fn get(server: &TestServer, path: &str) -> Reply {
    let reply = server.send(Method::GET, path).await;
    assert_eq!(reply.status, StatusCode::OK, "{path}");
    reply
}

async fn description(server: &TestServer) -> Value {
    let reply = get(server, "/openapi.json").await;
    assert_eq!(reply.header("content-type"), "application/json");
    reply.json()
}

#[tokio::test]
async fn the_description_is_openapi_3_1_and_refers_only_to_what_it_has() {
    let server = TestServer::start();
    let description = description(&server).await;
    assert_eq!(description["openapi"], "3.1.0");
    let text = description.to_string();
    let references: Vec<&str> = text
        .split(r#""$ref":"#)
        .skip(1)
        .map(|rest| rest.split('"').nth(1).unwrap())
        .collect();
    assert!(!references.is_empty());
    for reference in references {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(description.pointer(pointer).is_some(), "{reference}");
    }
}

#[tokio::test]
async fn every_operation_says_what_it_is_for_and_what_each_parameter_is() {
    let server = TestServer::start();
    let description = description(&server).await;
    for (path, operations) in description["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let name = format!("{method} {path}");
            assert!(operation["summary"].is_string(), "{name}");
            assert!(operation["operationId"].is_string(), "{name}");
            assert_eq!(operation["tags"].as_array().unwrap().len(), 1, "{name}");
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                assert!(parameter["description"].is_string(), "{name}: {parameter}");
            }
            let responses = operation["responses"].as_object().unwrap();
            assert_eq!(
                responses.len() > 1,
                !NEVER_FAILS.contains(&path.as_str()),
                "{name}"
            );
            for response in responses.values() {
                let response = match response["$ref"].as_str() {
                    Some(shared) => description.pointer(&shared[1..]).unwrap(),
                    None => response,
                };
                assert!(response["headers"]["X-Request-Id"].is_object(), "{name}");
            }
        }
    }
}

#[tokio::test]
async fn errors_are_described_as_they_are_sent() {
    let server = TestServer::start();
    let description = description(&server).await;
    let missing = server.get("/mega-stats").await;
    let example = "/components/responses/UnprocessableEntity/content/application~1json/example";
    assert_eq!(description.pointer(example), Some(&missing.json()));
    let too_large = server.post(&json!({"patientId": "a".repeat(65_536)})).await;
    let responses = description["components"]["responses"].to_string();
    let detail = too_large.json()["detail"].to_string();
    assert!(responses.contains(&detail), "{detail}");
    let unavailable = &description["components"]["responses"]["ServiceUnavailable"];
    assert!(unavailable["headers"]["Retry-After"].is_object());
}

#[tokio::test]
async fn ranges_are_described_as_they_are_refused() {
    let server = TestServer::start();
    let description = description(&server).await;
    let parameter = |path: &str, name: &str| {
        let parameters = description["paths"][path]["get"]["parameters"]
            .as_array()
            .unwrap();
        let found = parameters
            .iter()
            .find(|parameter| parameter["name"] == name);
        found.unwrap()["schema"].clone()
    };
    for (path, name) in [
        ("/api/v1/appointments/", "page_size"),
        ("/api/v1/appointments/cache-metrics", "limit"),
    ] {
        let schema = parameter(path, name);
        let reply = server
            .send(Method::GET, &format!("{path}?{name}=0&tenantId=t"))
            .await;
        let allowed = format!("from {} to {}", schema["minimum"], schema["maximum"]);
        let message = reply.json()["errors"][0]["message"].to_string();
        assert!(message.contains(&allowed), "{message}: {schema}");
    }
    let refused = server
        .post(&json!({"tenantId": "t", "durationMin": 0}))
        .await;
    let schemas = description["components"]["schemas"].as_object().unwrap();
    let durations = schemas
        .values()
        .filter_map(|schema| schema.pointer("/properties/durationMin"));
    let mut described = 0;
    for schema in durations {
        let allowed = format!("from {} to {}", schema["minimum"], schema["maximum"]);
        let text = refused.json()["errors"].to_string();
        assert!(text.contains(&allowed), "{text}: {schema}");
        described += 1;
    }
    assert_eq!(described, 2);
    let page_size = parameter("/api/v1/appointments/", "page_size");
    let list = get(&server, "/api/v1/appointments/?tenantId=t")
        .await
        .json();
    assert_eq!(list["page_size"], page_size["default"]);
}

#[tokio::test]
async fn the_page_loads_nothing_from_elsewhere() {
    let server = TestServer::start();
    let moved = server.client().get(format!("{}/docs", server.url()));
    let page = server.request(moved).await;
    assert_eq!(page.status, StatusCode::OK, "it is redirected to");
    assert_eq!(page.header("content-type"), "text/html");
    let mut files = vec!["index.html"];
    for attribute in ["src=\"", "href=\""] {
        for rest in page.body.split(attribute).skip(1) {
            files.push(rest.split('"').next().unwrap());
        }
    }
    assert!(files.len() > 4, "{files:?}");
    for file in files {
        let file = file.trim_start_matches("./");
        assert!(!file.contains("//"), "{file} is elsewhere");
        let reply = get(&server, &format!("/docs/{file}")).await;
        assert_eq!(
            reply.header("content-security-policy"),
            "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; \
             object-src 'none'; base-uri 'none'; frame-ancestors 'none'"
        );
    }
    let start = get(&server, "/docs/swagger-initializer.js").await.body;
    assert!(start.contains(r#""url": "../openapi.json""#), "{start}");
    assert!(start.contains(r#""validatorUrl": "none""#), "{start}");
    assert!(!start.contains("//petstore"), "{start}");
}

#[tokio::test]
async fn a_browser_keeps_the_files_and_asks_whether_they_are_still_right() {
    let server = TestServer::start();
    for path in [
        "/docs/swagger-ui-bundle.js",
        "/docs/",
        "/docs/swagger-initializer.js",
        "/openapi.json",
    ] {
        let url = format!("{}{path}", server.url());
        let ask =
            |name: &str, value: &str| server.request(server.client().get(&url).header(name, value));
        let plain = ask("accept-encoding", "identity").await;
        assert_eq!(plain.status, StatusCode::OK, "{path}");
        assert_eq!(plain.header("cache-control"), "no-cache", "{path}");
        assert_eq!(plain.header("content-encoding"), "", "{path}");
        let tag = plain.header("etag").to_owned();
        for known in [tag.as_str(), &format!("\"other\", {tag}"), "*"] {
            let kept = ask("if-none-match", known).await;
            assert_eq!(kept.status, StatusCode::NOT_MODIFIED, "{path}: {known}");
            assert_eq!(
                (kept.body.as_str(), kept.header("etag")),
                ("", tag.as_str()),
                "{path}"
            );
            assert_eq!(kept.header("cache-control"), "no-cache", "{path}");
        }
        let changed = ask("if-none-match", "W/\"other\"").await;
        assert_eq!(changed.status, StatusCode::OK, "{path}");
        assert_eq!(changed.body, plain.body, "{path}");
    }
}

#[tokio::test]
async fn the_page_is_sent_packed_to_whoever_can_unpack_it() {
    let server = TestServer::start();
    let url = format!("{}/docs/swagger-ui-bundle.js", server.url());
    for (accepted, encoding) in [
        ("gzip, deflate, br", "gzip"),
        ("br;q=1.0, gzip;q=0.5", "gzip"),
        ("gzip;q=0", ""),
        ("br", ""),
        ("", ""),
    ] {
        let request = server
            .client()
            .get(&url)
            .header("accept-encoding", accepted);
        let response = request.send().await.unwrap();
        let header = |name| match response.headers().get(name) {
            Some(value) => value.to_str().unwrap(),
            None => "",
        };
        assert_eq!(header("content-encoding"), encoding, "{accepted}");
        assert_eq!(header("content-type"), "text/javascript", "{accepted}");
        assert!(
            header("vary").to_lowercase().contains("accept-encoding"),
            "{accepted}"
        );
        let is_packed = encoding == "gzip";
        let bytes = response.bytes().await.unwrap();
        assert_eq!(bytes.starts_with(&[0x1f, 0x8b]), is_packed, "{accepted}");
        assert_eq!(
            bytes.len() > 1_000_000,
            !is_packed,
            "{accepted}: {}",
            bytes.len()
        );
    }
}

#[tokio::test]
async fn the_page_has_no_other_files() {
    let server = TestServer::start();
    for file in [
        "nothing.js",
        "../Cargo.toml",
        "%2e%2e/Cargo.toml",
        "/etc/passwd",
    ] {
        let reply = server.send(Method::GET, &format!("/docs/{file}")).await;
        assert_eq!(reply.status, StatusCode::NOT_FOUND, "{file}");
        assert_eq!(reply.json()["status"], json!(404), "{file}");
    }
}
