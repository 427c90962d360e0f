//! Clients that send all they can and read nothing: how much each of them can make the service hold.

use harness::{Folder, PREFIX, Process, Raw, Reply, eventually};
use serde_json::json;

/// Clients at once.
const CLIENTS: usize = 40;

/// What a client can make the service hold at most, in KiB, as docs/OPERATIONS.md says.
const KIB_EACH: usize = 200;

/// What a client that does nothing leaves behind at most, in KiB.
const KIB_IDLE: usize = 64;

/// How many bytes each of them would like to send.
const EAGERNESS: usize = 130_000;

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

fn post(tenant: &str, length: usize) -> String {
    let body = json!({
        "tenantId": tenant, "patientId": "p".repeat(64), "startsAt": "2025-11-03T12:00:00Z",
        "durationMin": 30,
    });
    let body = body.to_string();
    let padding = " ".repeat(length.saturating_sub(body.len()));
    format!(
        "POST {PREFIX} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{padding}{body}",
        padding.len() + body.len(),
    )
}

/// A service whose clients may take as long as the test.
fn patient(folder: &Folder) -> Process {
    Process::start(
        folder.path(),
        &[
            ("MEGASTATS__SERVER__REQUEST_TIMEOUT_SECONDS", "300"),
            ("MEGASTATS__CACHE__TTL_SECONDS", "3600"),
        ],
    )
}

async fn ask(process: &Process, path: &str) -> Reply {
    Reply::to(reqwest::Client::new().get(format!("{}{path}", process.url()))).await
}

/// Makes lists, metrics and pages of keys as long as they get.
fn fill(process: &Process) {
    let tenant = "t".repeat(128);
    let mut client = Raw::connect(process.url());
    for _ in 0..100 {
        client.write(post(&tenant, 0));
        assert_eq!(client.reply().status, 201);
    }
    for number in 0..1_000 {
        client.mega_stats(&format!("{number}{}", "%C3%A3".repeat(124)));
        assert_eq!(client.reply().status, 200);
    }
}

/// What is resident once that has come to rest.
async fn settled(process: &Process) -> usize {
    let mut last = 0;
    eventually("memory stays as it is", async || {
        let now = process.resident_kib();
        let is_settled = now.abs_diff(last) < 64;
        last = now;
        is_settled
    })
    .await;
    last
}

/// As often as a client would like to send it.
fn again_and_again(requests: &str) -> String {
    requests.repeat(EAGERNESS.div_ceil(requests.len()))
}

/// Has clients send all of `requests`, or as much as is taken, and read nothing.
async fn assert_bounded(process: &Process, requests: &str) {
    // Once, so that what is made only once is there.
    let mut client = Raw::connect(process.url());
    client.write_some(requests.as_bytes()).unwrap();
    let before = settled(process).await;
    let mut clients: Vec<_> = (0..CLIENTS)
        .map(|_| (Raw::connect(process.url()), requests.as_bytes()))
        .collect();
    loop {
        let mut written = 0;
        for (client, rest) in &mut clients {
            let count = client.write_some(rest).unwrap();
            *rest = &rest[count..];
            written += count;
        }
        settled(process).await;
        if written == 0 {
            break;
        }
    }
    // What the service is to do for them it has done when it answers somebody else.
    assert_eq!(ask(process, "/healthz").await.status, 200);
    let grown = settled(process).await.saturating_sub(before);
    let what = requests.lines().next().unwrap();
    assert!(grown <= CLIENTS * KIB_EACH, "{what}: {grown} KiB");
}

#[tokio::test]
async fn clients_that_never_read_hold_no_more_than_their_share() {
    let folder = Folder::new();
    let process = patient(&folder);
    fill(&process);
    let bundle = get("/docs/swagger-ui-bundle.js");
    let list = get(&format!(
        "{PREFIX}?tenantId={}&page_size=100",
        "t".repeat(128)
    ));
    for requests in [
        get("/"),
        get("/docs"),
        format!("{}{}", bundle.repeat(4), get("/").repeat(4_400)),
        bundle.replace("\r\n\r\n", "\r\nAccept-Encoding: gzip\r\n\r\n"),
        get("/openapi.json"),
        get("/metrics"),
        get(&format!("{PREFIX}/cache-metrics?limit=1000")),
        list,
        post("clinic", 0),
    ] {
        assert_bounded(&process, &again_and_again(&requests)).await;
    }
    // As large as they may be, and not at their end.
    let head = format!(
        "GET / HTTP/1.1\r\nHost: localhost\r\nX: {}",
        "x".repeat(EAGERNESS)
    );
    assert_bounded(&process, &head).await;
    let create = post("clinic", 65_536);
    assert_bounded(&process, &create[..create.len() - 1]).await;
}

#[tokio::test]
async fn clients_that_have_read_the_longest_answer_leave_no_buffers_behind() {
    let folder = Folder::new();
    let process = patient(&folder);
    fill(&process);
    for path in [
        "/docs/swagger-ui-bundle.js",
        "/openapi.json",
        &format!("{PREFIX}/cache-metrics?limit=1000"),
    ] {
        let path = path.to_owned();
        // Once, so that what is made only once is there.
        ask(&process, &path).await;
        let before = settled(&process).await;
        let mut clients = Vec::new();
        for _ in 0..CLIENTS {
            let client = reqwest::Client::new();
            let reply = Reply::to(client.get(format!("{}{path}", process.url()))).await;
            assert_eq!(reply.status, 200);
            clients.push(client);
        }
        let grown = settled(&process).await.saturating_sub(before);
        assert!(grown <= CLIENTS * KIB_IDLE, "{path}: {grown} KiB");
    }
}
