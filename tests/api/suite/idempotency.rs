//! Creates that are sent again with the key of the first: each takes place once, and whoever is
//! told of it sees it counted.

use std::sync::Arc;

use futures_util::future::join_all;
use harness::{
    Database, FakeClock, Folder, Gate, NOW, PREFIX, Process, Raw, Reply, Step, TODAY, TestServer,
    poll, within,
};
use reqwest::{StatusCode, header::HeaderValue};
use serde_json::{Value, json};

const HEADER: &str = "Idempotency-Key";
const REPLAYED: &str = "Idempotency-Replayed";

fn appointment(tenant: &str) -> Value {
    json!({ "tenantId": tenant, "patientId": 1, "startsAt": TODAY, "durationMin": 30 })
}

/// A service on a morning, at which [`TODAY`] is today.
fn start() -> (TestServer, Arc<FakeClock>) {
    let clock = Arc::new(FakeClock::at(NOW));
    let server = TestServer::builder().clock(clock.clone()).start();
    (server, clock)
}

/// Sends a create to the service at `url`.
async fn post(url: &str, key: &str, body: &Value) -> Reply {
    let request = reqwest::Client::new().post(format!("{url}{PREFIX}"));
    Reply::to(request.header(HEADER, key).json(body)).await
}

#[tokio::test]
async fn a_create_is_replayed_though_its_start_has_passed_where_such_starts_are_refused() {
    let clock = Arc::new(FakeClock::at(NOW));
    let server = TestServer::builder()
        .clock(clock.clone())
        .settings(|settings| settings.appointments.allow_past_starts = false)
        .start_at_once();
    let first = post(server.url(), "a", &appointment("clinic")).await;
    assert_made(&first);
    clock.set("2025-10-31T23:00:00Z");
    let again = post(server.url(), "a", &appointment("clinic")).await;
    assert_replayed(&again, &first);

    let refused = post(server.url(), "b", &appointment("clinic")).await;
    assert_eq!(
        refused.status,
        StatusCode::UNPROCESSABLE_ENTITY,
        "{refused:?}"
    );
    assert!(refused.body.contains("cannot be scheduled in the past"));
    // The key is free for the start that the user chooses now.
    let mut later = appointment("clinic");
    later["startsAt"] = json!("2025-11-01T12:00:00Z");
    assert_made(&post(server.url(), "b", &later).await);
}

/// Sends a create whose answer is read later, or never.
fn write(client: &mut Raw, key: &str, body: &Value) {
    let body = body.to_string();
    client.write(format!(
        "POST {PREFIX} HTTP/1.1\r\nHost: localhost\r\n{HEADER}: {key}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ));
}

#[track_caller]
fn assert_made(reply: &Reply) {
    assert_eq!(reply.status, StatusCode::CREATED, "{reply:?}");
    assert_eq!(reply.header(REPLAYED), "", "{reply:?}");
}

/// Asserts that `reply` is `first` once more.
#[track_caller]
fn assert_replayed(reply: &Reply, first: &Reply) {
    assert_eq!(reply.header(REPLAYED), "true", "{reply:?}");
    assert_eq!((reply.status, &reply.body), (first.status, &first.body));
    for header in ["location", "content-type", "cache-control"] {
        assert!(!first.header(header).is_empty(), "{first:?}");
        assert_eq!(reply.header(header), first.header(header), "{header}");
    }
}

fn appointments(server: &TestServer, tenant: &str) -> i64 {
    server.database().appointments(tenant)
}

#[tokio::test]
async fn the_same_create_is_answered_as_the_first_time_whatever_has_changed_since() {
    let (server, _) = start();
    let first = post(server.url(), "a", &appointment("clinic")).await;
    assert_made(&first);
    let plain = server.post(&appointment("other")).await;
    let headers = |reply: &Reply| {
        let mut names: Vec<_> = reply.headers.keys().map(ToString::to_string).collect();
        names.sort_unstable();
        names
    };
    assert_eq!(headers(&first), headers(&plain));

    let id = first.json()["id"].as_i64().unwrap();
    let changed = server.patch(id, &json!({ "status": "confirmed" })).await;
    assert_eq!(changed.status, StatusCode::OK);
    // As it is understood, and not as it is written.
    let same = json!({
        "durationMin": 30, "startsAt": "2025-10-31T18:00:00.0000001Z", "status": "pending",
        "patientId": "1", "tenantId": "clinic", "consultorioId": null, "unknown": true,
    });
    for (key, body) in [
        ("a", &appointment("clinic")),
        ("\"a\"", &same),
        ("a", &same),
    ] {
        assert_replayed(&post(server.url(), key, body).await, &first);
    }
    assert_eq!(
        server.get(&format!("/{id}")).await.json()["status"],
        "confirmed"
    );
    assert_eq!(appointments(&server, "clinic"), 1);
}

#[tokio::test]
async fn a_key_that_was_for_another_create_is_refused() {
    let (server, _) = start();
    let first = post(server.url(), "a", &appointment("clinic")).await;
    for (field, value) in [
        ("patientId", json!(2)),
        ("startsAt", json!("2025-10-31T15:00:01-03:00")),
        ("durationMin", json!(31)),
        ("status", json!("confirmed")),
        ("consultorioId", json!(1)),
    ] {
        let mut other = appointment("clinic");
        other[field] = value;
        let reply = post(server.url(), "a", &other).await;
        assert_eq!(reply.status, StatusCode::UNPROCESSABLE_ENTITY, "{field}");
        assert_eq!(reply.json()["errors"][0]["field"], HEADER);
        let detail = reply.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains("another appointment"), "{detail}");
    }
    assert_eq!(appointments(&server, "clinic"), 1);
    assert_replayed(
        &post(server.url(), "a", &appointment("clinic")).await,
        &first,
    );
}

#[tokio::test]
async fn tenants_have_keys_of_their_own() {
    let (server, _) = start();
    let mine = post(server.url(), "a", &appointment("clinic")).await;
    let theirs = post(server.url(), "a", &appointment("other")).await;
    assert_made(&theirs);
    assert_ne!(mine.json()["id"], theirs.json()["id"]);
    assert_replayed(
        &post(server.url(), "a", &appointment("other")).await,
        &theirs,
    );
}

#[tokio::test]
async fn what_is_no_key_is_refused_and_nothing_is_made() {
    let (server, _) = start();
    let url = format!("{}{PREFIX}", server.url());
    let request = || server.client().post(&url).json(&appointment("clinic"));
    let long = "k".repeat(256);
    let mut replies = Vec::new();
    for key in [
        &b""[..],
        b"a b",
        b"\"a",
        b"a\"b",
        b"\"\"",
        b"\xff",
        long.as_bytes(),
    ] {
        let key = HeaderValue::from_bytes(key).unwrap();
        replies.push(server.request(request().header(HEADER, key)).await);
    }
    let two = request().header(HEADER, "a").header(HEADER, "b");
    replies.push(server.request(two).await);
    for reply in replies {
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{reply:?}");
        let detail = reply.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.starts_with("Idempotency-Key: must be "), "{detail}");
    }
    assert_eq!(appointments(&server, "clinic"), 0);
    for key in [
        "8e03978e-40d5-43e8-bc93-6894a57f9324",
        &"k".repeat(255),
        "!~",
    ] {
        assert_made(&server.request(request().header(HEADER, key)).await);
    }
}

#[tokio::test]
async fn what_was_refused_may_be_sent_again_in_a_better_form_with_its_key() {
    let (server, _) = start();
    let mut wrong = appointment("clinic");
    wrong["durationMin"] = json!(1);
    let refused = post(server.url(), "a", &wrong).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_made(&post(server.url(), "a", &appointment("clinic")).await);
}

#[tokio::test]
async fn of_many_at_once_one_takes_place_and_all_are_answered_alike() {
    let (server, _) = start();
    for round in 0..50 {
        let key = format!("round-{round}");
        let body = appointment("clinic");
        let replies = join_all((0..3).map(|_| post(server.url(), &key, &body))).await;
        let (first, again): (Vec<_>, Vec<_>) = replies
            .iter()
            .partition(|reply| reply.header(REPLAYED).is_empty());
        assert_eq!(first.len(), 1, "{replies:?}");
        assert_made(first[0]);
        for reply in again {
            assert_replayed(reply, first[0]);
        }
    }
    assert_eq!(appointments(&server, "clinic"), 50);
    assert_eq!(server.mega_stats("clinic").await.today().1, 50);
}

#[tokio::test]
async fn a_key_is_forgotten_after_a_day() {
    let (server, clock) = start();
    let first = post(server.url(), "a", &appointment("clinic")).await;
    clock.set("2025-11-01T11:59:59Z");
    assert_replayed(
        &post(server.url(), "a", &appointment("clinic")).await,
        &first,
    );
    clock.set("2025-11-01T12:00:00Z");
    let second = post(server.url(), "a", &appointment("clinic")).await;
    assert_made(&second);
    assert_replayed(
        &post(server.url(), "a", &appointment("clinic")).await,
        &second,
    );
}

#[tokio::test]
async fn who_is_told_again_sees_it_counted_though_the_first_writer_has_not_told_the_cache() {
    let clock = Arc::new(FakeClock::at(NOW));
    let (service, gate) = Gate::before(TestServer::builder().clock(clock));
    let server = service.start();
    assert_eq!(server.mega_stats("clinic").await.today(), ("MISS", 0));
    assert_eq!(server.mega_stats("clinic").await.today(), ("HIT", 0));

    gate.hold_nth(Step::Release, 1);
    let mut first = Raw::connect(server.url());
    write(&mut first, "a", &appointment("clinic"));
    gate.reached(Step::Release, 1).await;
    assert_eq!(appointments(&server, "clinic"), 1, "committed");
    assert!(!first.is_answered());

    let body = appointment("clinic");
    let again = within("the answer", post(server.url(), "a", &body)).await;
    assert_eq!(again.header(REPLAYED), "true", "{again:?}");
    assert_eq!(server.mega_stats("clinic").await.today().1, 1);
    gate.open(Step::Release);
    assert_eq!(first.reply().body, again.body);
    assert_eq!(server.mega_stats("clinic").await.today().1, 1);
}

#[tokio::test]
async fn a_replay_is_told_to_the_cache_before_its_client() {
    let clock = Arc::new(FakeClock::at(NOW));
    let (service, gate) = Gate::before(TestServer::builder().clock(clock));
    let server = service.start();
    let first = post(server.url(), "a", &appointment("clinic")).await;
    gate.hold(Step::Release);
    let (url, body) = (server.url().to_owned(), appointment("clinic"));
    let again = tokio::spawn(async move { post(&url, "a", &body).await });
    gate.reached(Step::Release, 2).await;
    assert!(!again.is_finished());
    gate.open(Step::Release);
    assert_replayed(&again.await.unwrap(), &first);
}

#[tokio::test]
async fn a_create_whose_service_is_killed_before_its_answer_is_read_is_not_made_twice() {
    let folder = Folder::new();
    let body = appointment("clinic");
    for round in 1..=5 {
        let process = Process::start(folder.path(), &[]);
        let key = format!("round-{round}");
        let mut file = Database::of(folder.path());
        write(&mut Raw::connect(process.url()), &key, &body);
        poll("the commit", || {
            (file.appointments("clinic") == round).then_some(())
        });
        process.kill();

        let process = Process::start(folder.path(), &[]);
        let again = post(process.url(), &key, &body).await;
        assert_eq!(again.header(REPLAYED), "true", "{again:?}");
        let url = format!("{}{}", process.url(), again.header("location"));
        let stored = Reply::to(reqwest::Client::new().get(url)).await;
        assert_eq!(stored.body, again.body);
        assert_eq!(file.appointments("clinic"), round);
    }
}
