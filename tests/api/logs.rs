//! What the program logs, and what it never does: with the program itself.

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader, Read},
    process::{Child, ChildStderr, Stdio},
    sync::mpsc,
};

use harness::{
    Database, Exposition, Folder, PREFIX, Process, Raw, Reply, TODAY, TestServer, command, poll,
    signal,
};
use reqwest::{Method, StatusCode, header::CONTENT_TYPE};
use serde_json::{Value, json};

const JSON: (&str, &str) = ("MEGASTATS__LOG__FORMAT", "json");

fn lines(log: &str) -> Vec<Value> {
    let parse = |line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"));
    log.lines().map(parse).collect()
}

/// The lines of requests.
fn requests(log: &str) -> Vec<Value> {
    let mut lines = lines(log);
    lines.retain(|line| line["target"] == "megastats::access");
    lines
}

/// Sends a request with an id of the test's own.
async fn send(process: &Process, method: Method, path: &str, id: &str) -> Reply {
    let url = format!("{}{path}", process.url());
    let request = reqwest::Client::new().request(method, url);
    Reply::to(request.header("X-Request-Id", id)).await
}

fn ended(process: Process) -> String {
    process.signal("TERM");
    let (status, log) = process.wait();
    assert_eq!(status.code(), Some(0), "{log}");
    log
}

#[tokio::test]
async fn a_start_and_a_stop_and_each_request_have_a_line() {
    let folder = Folder::new();
    drop(ended(Process::start(folder.path(), &[])));
    let process = Process::start(folder.path(), &[JSON]);
    let stats = format!("{PREFIX}/mega-stats?tenantId=clinic");
    for (method, path, id) in [
        (Method::GET, stats.as_str(), "one"),
        (Method::GET, &stats, "two"),
        (Method::GET, &format!("{PREFIX}/77"), "three"),
        (Method::DELETE, &format!("{PREFIX}/77"), "four"),
        (Method::GET, "/no/such/route?x=1", "five"),
        (Method::HEAD, "/healthz", "six"),
    ] {
        let reply = send(&process, method, path, id).await;
        assert_eq!(reply.header("x-request-id"), id, "{reply:?}");
    }
    let log = ended(process);
    let all = lines(&log);
    let messages: Vec<_> = all
        .iter()
        .map(|line| line["message"].as_str().unwrap())
        .collect();
    assert!(messages[0].starts_with("listening on http://"), "{log}");
    assert_eq!(
        messages[messages.len() - 2..],
        ["SIGTERM: stopping", "stopped"]
    );
    assert_eq!(messages.len(), 3 + 5, "{log}");
    for line in &all {
        let time = line["timestamp"].as_str().unwrap();
        assert!(time.ends_with('Z') && time.len() == "2025-10-31T12:00:00.000Z".len());
        time.parse::<jiff::Timestamp>().unwrap();
        assert_eq!(line["level"], "INFO");
    }
    let id = format!("{PREFIX}/{{id}}");
    let stats = format!("{PREFIX}/mega-stats");
    let expected = [
        ("GET", stats.as_str(), 200, json!("MISS"), "one"),
        ("GET", &stats, 200, json!("HIT"), "two"),
        ("GET", &id, 404, Value::Null, "three"),
        ("DELETE", &id, 405, Value::Null, "four"),
        ("GET", "unknown", 404, Value::Null, "five"),
    ];
    for (line, (method, route, status, cache, id)) in requests(&log).iter().zip(expected) {
        assert_eq!(line["method"], method, "{line}");
        assert_eq!(line["route"], route, "{line}");
        assert_eq!(line["status"], status, "{line}");
        assert_eq!(line["cache"], cache, "{line}");
        assert_eq!(line["request_id"], id, "{line}");
        assert!(line["duration_ms"].as_f64().unwrap() > 0.0, "{line}");
        assert_eq!(line["cause"], Value::Null, "{line}");
    }
}

#[tokio::test]
async fn a_line_of_text_has_the_same() {
    let folder = Folder::new();
    let process = Process::start(folder.path(), &[]);
    send(&process, Method::GET, "/x", "an-id").await;
    let log = ended(process);
    let line = log
        .lines()
        .find(|line| line.contains("megastats::access"))
        .unwrap();
    for part in [
        " INFO  megastats::access] request method=GET route=unknown status=404 duration_ms=",
        " request_id=an-id",
    ] {
        assert!(line.contains(part), "{line}");
    }
}

#[tokio::test]
async fn every_answer_has_an_id_and_one_that_is_not_fit_for_a_log_is_replaced() {
    let server = TestServer::start();
    let url = |path: &str| format!("{}{path}", server.url());
    let client = server.client();
    let large = vec![b'x'; 100_000];
    let json = |request: reqwest::RequestBuilder| request.header(CONTENT_TYPE, "application/json");
    let origin =
        |request: reqwest::RequestBuilder| request.header("Origin", "https://evil.example");
    let list = url(PREFIX);
    for (status, request) in [
        (200, client.get(url("/healthz"))),
        (400, json(client.post(&list)).body("{")),
        (400, client.get(format!("{list}?tenantId=%zz"))),
        (
            400,
            origin(client.request(Method::OPTIONS, &list))
                .header("Access-Control-Request-Method", "GET"),
        ),
        (404, client.get(url("/x"))),
        (405, client.delete(url("/healthz"))),
        (413, json(client.post(&list)).body(large)),
        (415, client.post(&list).body("x")),
        (422, client.get(&list)),
    ] {
        let kept = request.try_clone().unwrap();
        let made = server.request(request).await;
        assert_eq!(made.status, status, "{made:?}");
        let id = made.header("x-request-id");
        assert!(
            id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()),
            "{made:?}"
        );
        let reply = server
            .request(kept.header("X-Request-Id", "Root=1-ab.c:d_e/f+g"))
            .await;
        assert_eq!(reply.header("x-request-id"), "Root=1-ab.c:d_e/f+g");
    }
    let mut made = BTreeSet::new();
    for given in [
        "",
        "a b",
        "a\tb",
        "a\"b",
        "a,b",
        "{}",
        "\u{e9}",
        &"x".repeat(129),
    ] {
        let reply = server
            .request(client.get(url("/healthz")).header("X-Request-Id", given))
            .await;
        let id = reply.header("x-request-id").to_owned();
        assert!(id.len() == 32 && id != given, "{given:?}: {id}");
        assert!(made.insert(id));
    }
}

#[tokio::test]
async fn what_failed_is_logged_with_its_cause_and_the_client_is_not_told() {
    for requests_too in ["true", "false"] {
        let folder = Folder::new();
        let environment = [
            JSON,
            ("MEGASTATS__LOG__REQUESTS", requests_too),
            ("MEGASTATS__DATABASE__BUSY_TIMEOUT_MS", "1"),
        ];
        let process = Process::start(folder.path(), &environment);
        let lock = Database::lock(folder.path());
        let busy = Raw::connect(process.url());
        let busy = {
            let mut busy = busy;
            busy.post(&json!({
                "tenantId": "t", "patientId": 1, "startsAt": TODAY, "durationMin": 30,
            }));
            busy.reply()
        };
        assert_eq!(busy.status, StatusCode::SERVICE_UNAVAILABLE);
        drop(lock);
        Database::of(folder.path()).hide_appointments();
        let stats = format!("{PREFIX}/mega-stats?tenantId=t");
        let broken = send(&process, Method::GET, &stats, "broken").await;
        assert_eq!(broken.status, StatusCode::INTERNAL_SERVER_ERROR);
        assert!(!broken.body.contains("table"), "{broken:?}");
        send(&process, Method::GET, "/x", "fine").await;
        let log = ended(process);
        let lines = requests(&log);
        let failed = |line: &&Value| line["cause"].is_string();
        let failures: Vec<_> = lines.iter().filter(failed).collect();
        assert_eq!(failures.len(), 2, "{log}");
        assert_eq!(
            (&failures[0]["level"], &failures[0]["status"]),
            (&json!("WARN"), &json!(503))
        );
        assert_eq!(failures[0]["request_id"], busy.header("x-request-id"));
        assert_eq!(
            (&failures[1]["level"], &failures[1]["status"]),
            (&json!("ERROR"), &json!(500))
        );
        assert_eq!(failures[1]["request_id"], "broken");
        let cause = failures[1]["cause"].as_str().unwrap();
        assert!(
            cause.contains("no such table: appointment_counts"),
            "{cause}"
        );
        assert_eq!(
            lines.len(),
            if requests_too == "true" { 3 } else { 2 },
            "{log}"
        );
    }
}

#[tokio::test]
async fn neither_patients_nor_secrets_nor_tenants_are_logged_at_any_level() {
    for (filter, format) in [
        ("debug", "text"),
        ("trace", "json"),
        ("trace,actix_http=trace", "text"),
    ] {
        let folder = Folder::new();
        let environment = [
            ("MEGASTATS__LOG__FILTER", filter),
            ("MEGASTATS__LOG__FORMAT", format),
            (
                "MEGASTATS__CACHE__REDIS__URL",
                "redis://:s3cret-redis@127.0.0.1:1",
            ),
        ];
        let process = Process::start(folder.path(), &environment);
        let client = reqwest::Client::new();
        let list = format!("{}{PREFIX}", process.url());
        let body = json!({
            "tenantId": "s3cret-tenant", "patientId": "s3cret-patient", "startsAt": TODAY,
            "durationMin": 30, "consultorioId": 424_242,
        });
        for request in [
            client.post(&list).json(&body),
            client.post(&list).body(body.to_string()),
            client
                .post(&list)
                .header(CONTENT_TYPE, "application/json")
                .body("{s3cret-body"),
            client.get(format!("{list}?tenantId=s3cret-tenant&token=s3cret-query")),
            client.get(format!("{list}/mega-stats?tenantId=s3cret-tenant")),
            client.get(format!("{list}/424242")),
            client.get(format!("{list}/s3cret-path/more")),
            client.request(Method::from_bytes(b"S3CRET-METHOD").unwrap(), &list),
        ] {
            let request = request
                .header("Authorization", "Bearer s3cret-token")
                .header("Cookie", "access_token=s3cret-cookie")
                .header("X-Other", "s3cret-header");
            Reply::to(request).await;
        }
        let mut raw = Raw::connect(process.url());
        raw.write("S3CRET s3cret-line\r\n\r\n");
        raw.end();
        let log = ended(process);
        let lower = log.to_lowercase();
        assert!(
            !lower.contains("s3cret") && !log.contains("424242"),
            "{log}"
        );
        assert!(log.contains("megastats::access"), "{log}");
    }
}

#[tokio::test]
async fn a_client_cannot_forge_a_line() {
    for format in ["text", "json"] {
        let folder = Folder::new();
        let process = Process::start(folder.path(), &[("MEGASTATS__LOG__FORMAT", format)]);
        for path in [
            "/%0A%0Dforged",
            "/\u{85}forged",
            "/forged%1b[2K",
            "/%22forged",
        ] {
            let mut client = Raw::connect(process.url());
            client.get(path);
            client.reply();
        }
        for id in [
            "forged status=200",
            "\"forged\"",
            "\u{1b}[2Kforged",
            "a\u{b}forged",
        ] {
            let mut client = Raw::connect(process.url());
            client.write(format!(
                "GET /x HTTP/1.1\r\nHost: x\r\nX-Request-Id: {id}\r\n\r\n"
            ));
            client.end();
            client.reply();
        }
        let log = ended(process);
        assert!(!log.contains("forged"), "{log}");
    }
}

#[tokio::test]
async fn who_leaves_before_the_answer_has_a_line() {
    let folder = Folder::new();
    let process = Process::start(folder.path(), &[JSON]);
    let lock = Database::lock(folder.path());
    let mut client = Raw::leaving(process.url(), harness::Leave::Reset);
    client.post(&json!({ "tenantId": "t", "patientId": 1, "startsAt": TODAY, "durationMin": 30 }));
    // Whoever is answered on another connection came later.
    for _ in 0..5 {
        Raw::connect(process.url()).close();
    }
    drop(client);
    for _ in 0..5 {
        Raw::connect(process.url()).close();
    }
    drop(lock);
    let log = ended(process);
    let left = requests(&log);
    let left: Vec<_> = left
        .iter()
        .filter(|line| line["status"].is_null())
        .collect();
    assert_eq!(left.len(), 1, "{log}");
    assert_eq!(left[0]["method"], "POST");
    assert_eq!(left[0]["request_id"].as_str().unwrap().len(), 32);
}

/// Ends a process that a failed test has left behind.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A service whose log has been read up to where it listens: its process, the log, and its URL.
struct Unread {
    process: Killed,
    log: Option<ChildStderr>,
    url: String,
    _folder: Folder,
}

impl Unread {
    fn start() -> Self {
        let folder = Folder::new();
        let mut command = command(folder.path());
        command.envs([("MEGASTATS__SERVER__PORT", "0"), JSON]);
        let mut process = Killed(command.stderr(Stdio::piped()).spawn().unwrap());
        let mut log = process.0.stderr.take().unwrap();
        let mut seen = String::new();
        let url = loop {
            let mut byte = [0];
            log.read_exact(&mut byte).unwrap();
            seen.push(byte[0].into());
            if let Some((_, url)) = seen.split_once("listening on ")
                && let Some((url, rest)) = url.split_once(' ')
                && rest.ends_with('\n')
            {
                break url.to_owned();
            }
        };
        Self {
            url,
            process,
            log: Some(log),
            _folder: folder,
        }
    }

    /// Stops the service, which must end with 0.
    fn stop(&mut self) {
        let process = &mut self.process.0;
        signal(process.id(), "TERM");
        let status = poll("it ends", || process.try_wait().unwrap());
        assert_eq!(status.code(), Some(0));
    }
}

/// Sends `requests` of the same, many at a time, all of which must be answered.
fn ask(url: &str, requests: usize) {
    const AT_ONCE: usize = 100;
    let mut client = Raw::connect(url);
    for _ in 0..requests / AT_ONCE {
        for _ in 0..AT_ONCE {
            client.get("/no/such/route");
        }
        for _ in 0..AT_ONCE {
            assert_eq!(client.reply().status, StatusCode::NOT_FOUND);
        }
    }
}

/// More lines than may wait to be written, with those in the pipe.
const MANY: usize = 10_000;

#[test]
fn a_reader_of_the_log_that_hangs_or_is_gone_stops_nobody() {
    for is_gone in [false, true] {
        let mut service = Unread::start();
        if is_gone {
            service.log = None;
        }
        ask(&service.url, MANY);
        service.stop();
    }
}

#[tokio::test]
async fn a_reader_that_is_too_slow_gets_whole_lines_and_learns_how_many_were_dropped() {
    let mut service = Unread::start();
    ask(&service.url, MANY);
    let metrics = Exposition::of(&service.url).await;
    assert!(metrics.value("megastats_log_dropped_lines_total") > 0.0);
    let (told, telling) = mpsc::channel();
    let mut log = BufReader::new(service.log.take().unwrap());
    let read = std::thread::spawn(move || {
        let mut all = String::new();
        while log.read_line(&mut all).unwrap() > 0 {
            if all.ends_with('\n') && all.contains("log lines were dropped") {
                let _ = told.send(());
            }
        }
        all
    });
    telling.recv().unwrap();
    service.stop();
    let log = read.join().unwrap();
    let all = lines(&log);
    let dropped: usize = all
        .iter()
        .filter_map(|line| {
            line["message"]
                .as_str()
                .unwrap()
                .split_once(" log lines were dropped")
        })
        .map(|(count, _)| count.parse::<usize>().unwrap())
        .sum();
    // The request for the metrics has a line, too.
    assert_eq!(requests(&log).len() + dropped, MANY + 1);
}
