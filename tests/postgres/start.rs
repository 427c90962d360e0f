//! The first start, alone and with others, and what a start that fails says.

use std::{net::TcpListener, time::Instant};

use harness::{PREFIX, Process, Raw, TODAY, command, poll, run, signal};
use reqwest::StatusCode;
use serde_json::json;

use crate::{
    database::{open, settings, text},
    server::Postgres,
};

#[tokio::test(flavor = "multi_thread")]
async fn three_that_open_an_empty_database_at_once_migrate_it_once() {
    let server = Postgres::shared();
    for _ in 0..5 {
        let url = server.database();
        let settings = settings(&url);
        let (a, b, c) = tokio::join!(open(&settings), open(&settings), open(&settings));
        for opened in [a, b, c] {
            let db = opened.unwrap();
            let count = "SELECT count(*)::text AS value FROM appointments";
            let count = db.read(None, move |conn| text(conn, count)).await;
            assert_eq!(count.unwrap(), "0");
        }
        let ran = "SELECT count(*) - count(DISTINCT version) FROM __diesel_schema_migrations";
        assert_eq!(server.query(&url, ran), "0");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_cannot_keep_every_name_is_refused() {
    let server = Postgres::shared();
    for encoding in ["LATIN1", "SQL_ASCII"] {
        let name = encoding.to_lowercase();
        let make = format!("CREATE DATABASE {name} ENCODING '{encoding}' TEMPLATE template0");
        server.query("postgres", &make);
        let refusal = open(&settings(&server.url(&name))).await.unwrap_err();
        let expected = format!("its encoding is {encoding}, and must be UTF8");
        assert!(refusal.to_string().starts_with(&expected), "{refusal}");
    }
}

#[test]
fn a_start_that_waits_for_anothers_migration_ends_when_it_is_told_to() {
    let server = Postgres::builder().start();
    let (url, folder) = (server.database(), tempfile::tempdir().unwrap());
    // As the service has it: "megastat" in ASCII.
    let key = i64::from_be_bytes(*b"megastat");
    let lock = format!("DO $$ BEGIN PERFORM pg_advisory_lock({key}); END $$");
    let _other = server.hold(&url, &lock);
    let mut waiting = command(folder.path());
    waiting.env("MEGASTATS__DATABASE__URL", &url);
    let mut waiting = waiting.spawn().unwrap();
    let waits = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";
    poll("it waits", || {
        (server.query(&url, waits) == "1").then_some(())
    });
    signal(waiting.id(), "TERM");
    let ended = poll("it ends", || waiting.try_wait().unwrap());
    assert!(ended.success(), "{ended:?}");
}

#[test]
fn three_services_start_at_once_on_an_empty_database_and_share_it() {
    let server = Postgres::shared();
    let url = server.database();
    let folder = tempfile::tempdir().unwrap();
    let start = || {
        let environment = [
            ("MEGASTATS__DATABASE__URL", url.as_str()),
            ("MEGASTATS__CACHE__BACKEND", "none"),
        ];
        Process::start(folder.path(), &environment)
    };
    let services: Vec<_> = std::thread::scope(|scope| {
        let starts: Vec<_> = (0..3).map(|_| scope.spawn(start)).collect();
        starts
            .into_iter()
            .map(|start| start.join().unwrap())
            .collect()
    });
    let mut clients: Vec<_> = services.iter().map(|one| Raw::connect(one.url())).collect();
    for (before, client) in clients.iter_mut().enumerate() {
        client.post(&json!({
            "tenantId": "clinic", "patientId": "ana", "durationMin": 30,
            "startsAt": "2026-11-23T14:00:00-03:00",
        }));
        let reply = client.reply();
        assert_eq!(reply.json()["id"], before + 1, "{reply:?}");
    }
    for client in &mut clients {
        client.get(&format!("{PREFIX}/?tenantId=clinic"));
        assert_eq!(client.reply().json()["total"], 3);
    }
    assert_eq!(
        server.query(
            "postgres",
            "SELECT count(DISTINCT application_name) FROM pg_stat_activity \
             WHERE application_name = 'megastats'",
        ),
        "1"
    );
}

/// Has the program start on `url`, which must stop it with one line; returns the line.
fn refusal(url: &str) -> String {
    refusal_within("10000", url)
}

/// As [`refusal`], for a server that has so many milliseconds to answer.
fn refusal_within(milliseconds: &str, url: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let output = run(command(folder.path()).envs([
        ("MEGASTATS__DATABASE__URL", url),
        ("MEGASTATS__DATABASE__CONNECT_TIMEOUT_MS", milliseconds),
        ("MEGASTATS__SERVER__PORT", "0"),
    ]));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(stderr.starts_with("megastats: database.url: "), "{stderr}");
    assert!(!stderr.contains("hunter2"), "{stderr}");
    stderr
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_must_keep_sessions() {
    let server = Postgres::shared();
    let url = server.database();
    let sessions = server.pooler("session");
    open(&settings(&sessions.url(&url))).await.unwrap();
    let options = format!("{}?options=-c%20search_path%3Dx", sessions.url(&url));
    let refused = refusal(&options);
    assert!(refused.contains("startup parameter: options"), "{refused}");
    for mode in ["transaction", "statement"] {
        let refused = refusal(&server.pooler(mode).url(&url));
        assert!(refused.contains("pool_mode = session"), "{refused}");
    }
}

#[test]
fn a_server_that_refuses_or_says_nothing_stops_the_start_in_time() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let began = Instant::now();
    let url = format!("postgres://ana:hunter2@127.0.0.1:{port}/clinic");
    let line = refusal_within("300", &url);
    assert!(line.contains("no answer within 300ms"), "{line}");
    assert!(began.elapsed().as_secs() < 5);

    drop(silent);
    let line = refusal(&url);
    assert!(line.contains("refused"), "{line}");

    let server = Postgres::shared();
    let line = refusal(&server.url("nowhere"));
    assert!(line.contains("\"nowhere\" does not exist"), "{line}");
}

#[test]
fn a_database_with_other_appointments_stops_the_start_and_keeps_them() {
    let server = Postgres::shared();
    let url = server.database();
    server.query(
        &url,
        "CREATE TABLE appointments (name TEXT); INSERT INTO appointments VALUES ('ana')",
    );
    let line = refusal(&url);
    assert!(line.contains("\"appointments\" already exists"), "{line}");
    assert_eq!(server.query(&url, "SELECT name FROM appointments"), "ana");
}

#[test]
fn neither_the_password_nor_what_statements_carry_is_logged_at_any_level() {
    let server = Postgres::builder()
        .password("s3cret-password")
        .access("host all all 127.0.0.1/32 scram-sha-256")
        .start();
    let url = format!(
        "postgres://postgres:s3cret-password@127.0.0.1:{}/postgres",
        server.port()
    );
    let folder = tempfile::tempdir().unwrap();
    let environment = [
        ("MEGASTATS__DATABASE__URL", url.as_str()),
        ("MEGASTATS__LOG__FILTER", "trace,tokio_postgres=trace"),
    ];
    let process = Process::start(folder.path(), &environment);
    let mut client = Raw::connect(process.url());
    client.post(&json!({
        "tenantId": "s3cret-tenant", "patientId": "s3cret-patient", "startsAt": TODAY,
        "durationMin": 30,
    }));
    assert_eq!(client.reply().status, StatusCode::CREATED);
    client.mega_stats("s3cret-tenant");
    assert_eq!(client.reply().status, StatusCode::OK);
    server.stop();
    client.get(&format!("{PREFIX}?tenantId=s3cret-tenant"));
    assert_eq!(client.reply().status, StatusCode::SERVICE_UNAVAILABLE);
    process.signal("TERM");
    let (_, log) = process.wait();
    assert!(
        log.contains("status=503") && log.contains("cause="),
        "{log}"
    );
    // Also as a list of bytes.
    for secret in ["s3cret", "115, 51, 99, 114", "7333637265"] {
        assert!(!log.contains(secret), "{log}");
    }
}
