//! Many who view one tenant's counts, while it is written to.

use std::time::{Duration, Instant};

use harness::{EventStream, Exposition, Folder, PREFIX, Process, Raw, Reply, within};
use megastats::clock::{Clock, SystemClock};
use reqwest::StatusCode;
use serde_json::json;

const VIEWERS: usize = 1_000;
const WRITES: i64 = 30;
const BETWEEN_WRITES: Duration = Duration::from_millis(100);

/// What a viewer may take, in KiB.
const KIB_EACH: usize = 48;

/// Reads until `count` appointments wait for the patient's word; returns when that was.
async fn told(mut viewer: EventStream, count: i64) -> (EventStream, Instant) {
    while viewer.next().await.unwrap().json()["month"]["pending"] != count {}
    (viewer, Instant::now())
}

async fn computations(process: &Process) -> f64 {
    let text = Reply::to(reqwest::Client::new().get(format!("{}/metrics", process.url()))).await;
    let metrics = Exposition::parse(&text.body);
    ["miss", "bypass"]
        .map(|outcome| {
            let of_memory = r#"backend="memory""#;
            metrics.value(&format!(
                r#"megastats_cache_requests_total{{{of_memory},outcome="{outcome}"}}"#
            ))
        })
        .iter()
        .sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_viewers_cost_no_more_computations_than_writes_and_all_see_the_last() {
    let folder = Folder::new();
    let process = Process::start(
        folder.path(),
        &[
            ("MEGASTATS__CACHE__TTL_SECONDS", "3600"),
            ("MEGASTATS__LOG__REQUESTS", "false"),
        ],
    );
    let route = format!("{PREFIX}/mega-stats/events?tenantId=clinic&tz=UTC");
    let url = format!("{}{route}", process.url());
    let client = reqwest::Client::new();
    let mut silent = Raw::connect(process.url());
    silent.get(&route);
    let before = process.resident_kib();
    let mut viewers = Vec::new();
    for _ in 0..VIEWERS {
        viewers.push(EventStream::open(client.get(&url)).await);
    }
    let computed = computations(&process).await;
    let appointment = json!({
        "tenantId": "clinic", "patientId": 1, "durationMin": 30,
        "startsAt": SystemClock.now().to_string(),
    });
    let reading: Vec<_> = viewers
        .into_iter()
        .map(|viewer| tokio::spawn(told(viewer, WRITES)))
        .collect();
    let mut pace = tokio::time::interval(BETWEEN_WRITES);
    let mut written = Instant::now();
    for _ in 0..WRITES {
        pace.tick().await;
        let create = client.post(format!("{}{PREFIX}/", process.url()));
        let created = Reply::to(create.json(&appointment)).await;
        assert_eq!(created.status, StatusCode::CREATED);
        written = Instant::now();
    }
    let (mut viewers, mut latest) = (Vec::new(), Duration::ZERO);
    for viewer in reading {
        let (viewer, at) = viewer.await.unwrap();
        latest = latest.max(at.saturating_duration_since(written));
        viewers.push(viewer);
    }
    let computed = computations(&process).await - computed;
    let grown = process.resident_kib().saturating_sub(before);
    println!("{computed} computations, {grown} KiB, {latest:?} after the last write");
    // A look may fall between a write's fence and its release, and the next one computes again.
    #[expect(clippy::cast_precision_loss, reason = "a small number")]
    let most = 2.0 * WRITES as f64 + 2.0;
    assert!(
        computed <= most,
        "{computed} computations for {WRITES} writes"
    );
    assert!(
        grown <= VIEWERS * KIB_EACH,
        "{VIEWERS} viewers take {grown} KiB"
    );

    process.signal("TERM");
    for mut viewer in viewers {
        within("the stream ends", async {
            while viewer.next().await.is_some() {}
        })
        .await;
    }
    // Also the one that has not read.
    let (status, log) = process.wait();
    assert_eq!(status.code(), Some(0), "{log}");
}
