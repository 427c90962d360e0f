//! Every connection of the database is taken. On PostgreSQL, where readers can be held as well:
//! `tests/postgres`.

use harness::{Database, Folder, MAX_WAIT, PREFIX, Process, Raw, Reply, TODAY, eventually};
use reqwest::StatusCode;
use serde_json::{Value, json};

const TENANT: &str = "clinic";

/// Writes that may wait while one has its turn.
const QUEUE: usize = 2;

/// Writes that come at once.
const WRITES: usize = 50;

fn appointment() -> Value {
    json!({ "tenantId": TENANT, "patientId": 1, "startsAt": TODAY, "durationMin": 30 })
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_beyond_the_queue_are_sent_away_at_once_and_told_of_in_one_line() {
    let folder = Folder::new();
    let process = Process::start(
        folder.path(),
        &[
            ("MEGASTATS__DATABASE__POOL_QUEUE", &QUEUE.to_string()),
            ("MEGASTATS__DATABASE__POOL_WAIT_MS", "60000"),
            ("MEGASTATS__DATABASE__BUSY_TIMEOUT_MS", "60000"),
        ],
    );
    let stats = format!("{}{PREFIX}/mega-stats?tenantId=", process.url());
    let client = reqwest::Client::new();
    let ask = |tenant: String| Reply::to(client.get(format!("{stats}{tenant}")));
    assert_eq!(ask("other".into()).await.header("x-cache"), "MISS");

    let lock = Database::lock(folder.path());
    let mut writers: Vec<_> = (0..WRITES).map(|_| Raw::connect(process.url())).collect();
    for writer in &mut writers {
        writer.post(&appointment());
    }
    // Whoever is not sent away has its turn, or a place.
    eventually("the others are answered", async || {
        writers.iter().filter(|one| one.is_answered()).count() == WRITES - QUEUE - 1
    })
    .await;
    let (answered, waiting): (Vec<_>, Vec<_>) = writers.into_iter().partition(Raw::is_answered);
    for mut writer in answered {
        let reply = writer.reply();
        assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE, "{reply:?}");
        assert_eq!(reply.header("retry-after"), "1");
    }
    // Readers have connections of their own.
    assert_eq!(ask("other".into()).await.header("x-cache"), "HIT");
    assert_eq!(ask("unknown".into()).await.header("x-cache"), "MISS");

    drop(lock);
    for mut writer in waiting {
        assert_eq!(writer.reply().status, StatusCode::CREATED);
    }
    let counted = ask(TENANT.into()).await.json();
    let total = Database::of(folder.path()).appointments(TENANT);
    assert_eq!(total, i64::try_from(QUEUE).unwrap() + 1, "{counted}");

    process.signal("TERM");
    let (_, log) = tokio::time::timeout(MAX_WAIT, async { process.wait() })
        .await
        .unwrap();
    let told = log.lines().filter(|line| line.contains("database busy"));
    assert_eq!(told.count(), 1, "{log}");
    let refused = log.lines().filter(|line| line.contains("status=503"));
    assert_eq!(refused.count(), WRITES - QUEUE - 1, "{log}");
}
