//! Bodies that cannot be read at all.

use harness::{PREFIX, Raw, Reply, TestServer};
use reqwest::Method;

use super::{assert_error, assert_unharmed, create_head, refused};

/// The largest body that is read, unless the settings say otherwise.
const LIMIT: usize = 65_536;

/// What a create must say.
const FIELDS: [&str; 4] = ["tenantId", "patientId", "startsAt", "durationMin"];

/// Both routes that take a body.
fn writes() -> [(Method, String); 2] {
    [
        (Method::POST, PREFIX.to_owned()),
        (Method::PATCH, format!("{PREFIX}/1")),
    ]
}

async fn send(
    server: &TestServer,
    (method, path): (Method, String),
    content_type: Option<&str>,
    body: impl Into<Vec<u8>>,
) -> Reply {
    let mut request = server
        .client()
        .request(method, format!("{}{path}", server.url()));
    if let Some(content_type) = content_type {
        request = request.header("content-type", content_type);
    }
    server.request(request.body(body.into())).await
}

async fn send_json(
    server: &TestServer,
    write: (Method, String),
    body: impl Into<Vec<u8>>,
) -> Reply {
    send(server, write, Some("application/json"), body).await
}

/// An array in an array and an object in an object, both 10,000 deep.
fn deep() -> [String; 2] {
    let nested = |open: &str, inmost: &str, close: &str| {
        format!("{}{inmost}{}", open.repeat(10_000), close.repeat(10_000))
    };
    [nested("[", "", "]"), nested("{\"a\":", "1", "}")]
}

#[tokio::test]
async fn a_body_that_is_not_declared_json_is_refused() {
    let server = TestServer::start();
    for write in writes() {
        for content_type in [
            None,
            Some("text/plain"),
            Some("application/x-www-form-urlencoded"),
            Some("multipart/form-data; boundary=x"),
            Some("application/jsonx"),
            Some("json"),
            Some("*/*"),
            Some("application/json; charset=latin1"),
            Some("application/json; charset=utf-16"),
        ] {
            let reply = send(&server, write.clone(), content_type, "{}").await;
            let detail = assert_error(&reply, 415);
            assert!(detail.contains("must be application/json"), "{detail}");
        }
    }
    assert_unharmed(&server).await;
}

#[tokio::test]
async fn json_may_be_declared_in_more_than_one_way() {
    let server = TestServer::start();
    for write in writes() {
        for content_type in [
            "application/json",
            "Application/JSON",
            "application/json; charset=utf-8",
            "application/json;charset=UTF-8",
            "application/json; charset=\"utf-8\"",
        ] {
            let reply = send(&server, write.clone(), Some(content_type), "{}").await;
            refused(&reply);
        }
    }
    assert_unharmed(&server).await;
}

#[tokio::test]
async fn a_compressed_body_is_refused() {
    let server = TestServer::start();
    for (method, path) in writes() {
        let request = server
            .client()
            .request(method, format!("{}{path}", server.url()))
            .header("content-type", "application/json")
            .header("content-encoding", "gzip");
        let reply = server.request(request.body("{}")).await;
        let detail = assert_error(&reply, 415);
        assert!(detail.contains("no Content-Encoding"), "{detail}");
    }
    assert_unharmed(&server).await;
}

#[tokio::test]
async fn a_body_that_is_no_json_is_refused() {
    let server = TestServer::start();
    for write in writes() {
        for body in [
            "",
            " ",
            "{",
            "}",
            "{\"status\":",
            "{\"status\":\"x",
            "{\"status\"}",
            "{'status':'x'}",
            "{status:1}",
            "{\"status\":1,}",
            "{} {}",
            "{}x",
            "nul",
            "undefined",
            "NaN",
            "{\"durationMin\":NaN}",
            "{\"durationMin\":015}",
            "{\"status\":\"\\ud800\"}",
            "{\"status\":\"\\x\"}",
            "{\"status\":\"a\nb\"}",
            "\u{feff}\u{feff}{}",
            "a=b",
            "\0",
        ] {
            let detail = assert_error(&send_json(&server, write.clone(), body).await, 400);
            assert!(
                detail.starts_with("The body is not a valid request: "),
                "{detail}"
            );
            assert!(detail.contains("line"), "it says where: {detail}");
        }
    }
    assert_unharmed(&server).await;
}

#[tokio::test]
async fn a_body_that_is_no_object_is_refused() {
    let server = TestServer::start();
    for write in writes() {
        for body in [
            "[]",
            "[[]]",
            "\"x\"",
            "null",
            "42",
            "-1.5",
            "true",
            // Every field in its order.
            r#"["t",1,"2025-11-03T12:00:00Z",30,"pending",1]"#,
            r#"["pending","2025-11-03T12:00:00Z",30]"#,
            r#"[{"status":"pending"}]"#,
        ] {
            let detail = assert_error(&send_json(&server, write.clone(), body).await, 400);
            assert!(detail.contains("expected a JSON object"), "{detail}");
        }
    }
    assert_unharmed(&server).await;
}

#[tokio::test]
async fn a_field_given_twice_is_refused() {
    let server = TestServer::start();
    for (write, body) in writes().into_iter().zip([
        r#"{"tenantId":"t","patientId":1,"startsAt":"2025-11-03T12:00:00Z","durationMin":30,"tenantId":"u"}"#,
        r#"{"status":"pending","status":"pending"}"#,
    ]) {
        let detail = assert_error(&send_json(&server, write, body).await, 400);
        assert!(detail.contains("duplicate field `"), "{detail}");
    }
    assert_unharmed(&server).await;
}

#[tokio::test]
async fn a_body_that_is_not_utf_8_is_refused() {
    let server = TestServer::start();
    for write in writes() {
        for body in [
            &b"{\"status\":\"\xff\"}"[..],
            b"{\"status\":\"\xc3\"}",
            b"\xff\xfe{\0}\0",
        ] {
            assert_error(&send_json(&server, write.clone(), body).await, 400);
        }
    }
    assert_unharmed(&server).await;
}

#[tokio::test]
async fn ten_thousand_brackets_in_a_known_field_are_refused() {
    let server = TestServer::start();
    for write in writes() {
        for nested in deep() {
            let body = format!("{{\"status\":{nested}}}");
            let detail = assert_error(&send_json(&server, write.clone(), body).await, 400);
            assert!(detail.contains("recursion limit exceeded"), "{detail}");
        }
    }
    assert_unharmed(&server).await;
}

#[tokio::test]
async fn ten_thousand_brackets_in_an_unknown_field_are_passed_over() {
    let server = TestServer::start();
    let [create, update] = writes();
    for nested in deep() {
        let body = format!("{{\"unknown\":{nested}}}");
        let reply = send_json(&server, create.clone(), body.clone()).await;
        assert_eq!(refused(&reply), FIELDS);
        assert_eq!(
            refused(&send_json(&server, update.clone(), body).await),
            ["body"]
        );
    }
    assert_unharmed(&server).await;
}

#[tokio::test]
async fn a_body_above_the_limit_is_refused_and_one_at_the_limit_is_read() {
    let server = TestServer::start();
    for write in writes() {
        for size in [LIMIT + 1, 10 * LIMIT, 100 * LIMIT] {
            let reply = send_json(&server, write.clone(), " ".repeat(size)).await;
            assert_eq!(
                assert_error(&reply, 413),
                "The body must be at most 65536 bytes."
            );
        }
        let padded = format!("{{}}{}", " ".repeat(LIMIT - 2));
        refused(&send_json(&server, write, padded).await);
    }
    assert_unharmed(&server).await;
}

#[tokio::test]
async fn a_body_in_chunks_above_the_limit_is_refused_and_one_at_the_limit_is_read() {
    let server = TestServer::start();
    for (size, status) in [(LIMIT + 1, 413), (LIMIT, 422)] {
        let mut client = Raw::connect(server.url());
        let head = create_head("Transfer-Encoding: chunked");
        let padding = " ".repeat(size - 2);
        let chunks = format!("2\r\n{{}}\r\n{:x}\r\n{padding}\r\n0\r\n\r\n", size - 2);
        client.write(head + &chunks);
        assert_error(&client.reply(), status);
    }
    assert_unharmed(&server).await;
}

#[tokio::test]
async fn a_body_that_promises_to_be_huge_is_refused_before_it_arrives() {
    let server = TestServer::start();
    let mut client = Raw::connect(server.url());
    client.write(create_head("Content-Length: 1000000000000") + "{");
    assert_error(&client.reply(), 413);
    assert_unharmed(&server).await;
}
