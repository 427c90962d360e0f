//! Thousands of connections that say nothing, and thousands of tenants that nobody has heard of:
//! others are answered, and memory has a bound.

use harness::{Folder, PREFIX, Process, Raw, Reply};
use reqwest::StatusCode;

/// Connections that are kept open, if the machine allows as many descriptors.
const CONNECTIONS: usize = 10_000;

/// Fewer prove nothing.
const FEWEST: usize = 1_000;

/// Descriptors that this process needs besides, for the tests that run at the same time.
const OTHERS: usize = 2_000;

/// What an idle connection may take, in KiB: its buffers are there, whether used or not.
const KIB_EACH: usize = 24;

const TENANTS: usize = 30_000;
const ENTRIES: usize = 1_000;
const AT_ONCE: usize = 8;

async fn stats(process: &Process, tenant: &str) -> Reply {
    let url = format!("{}{PREFIX}/mega-stats?tenantId={tenant}", process.url());
    Reply::to(reqwest::Client::new().get(url)).await
}

#[tokio::test]
async fn thousands_of_idle_connections_cost_little_and_keep_nobody_waiting() {
    let allowed = rlimit::increase_nofile_limit(u64::MAX).unwrap();
    let allowed = usize::try_from(allowed).unwrap_or(usize::MAX);
    let count = CONNECTIONS.min(allowed.saturating_sub(OTHERS));
    assert!(count >= FEWEST, "the machine allows {allowed} descriptors");

    let folder = Folder::new();
    let process = Process::start(
        folder.path(),
        &[
            (
                "MEGASTATS__SERVER__MAX_CONNECTIONS",
                &(count + 100).to_string(),
            ),
            // Longer than the 75 s for which any connection may say nothing; a new one gets no longer than
            // this.
            ("MEGASTATS__SERVER__REQUEST_TIMEOUT_SECONDS", "300"),
            ("MEGASTATS__CACHE__TTL_SECONDS", "3600"),
        ],
    );
    assert_eq!(stats(&process, "clinic").await.header("x-cache"), "MISS");
    let before = process.resident_kib();
    let mut idle: Vec<_> = (0..count).map(|_| Raw::connect(process.url())).collect();
    for client in idle.iter_mut().step_by(2) {
        client.mega_stats("clinic");
        let reply = client.reply();
        assert_eq!(reply.header("x-cache"), "HIT", "{reply:?}");
    }
    let grown = process.resident_kib().saturating_sub(before);
    assert!(
        grown <= count * KIB_EACH,
        "{count} connections take {grown} KiB"
    );

    assert_eq!(stats(&process, "clinic").await.header("x-cache"), "HIT");
    assert_eq!(stats(&process, "other").await.header("x-cache"), "MISS");
    // Those who have said nothing so far, and those who have.
    for client in idle.iter_mut().step_by(499) {
        client.mega_stats("clinic");
        assert_eq!(client.reply().header("x-cache"), "HIT");
    }
}

/// Asks for tenants of these numbers, several at a time.
fn flood(process: &Process, numbers: std::ops::Range<usize>) {
    let mut client = Raw::connect(process.url());
    let numbers: Vec<_> = numbers.collect();
    for batch in numbers.chunks(AT_ONCE) {
        for number in batch {
            client.mega_stats(&format!("unheard-of-{number}"));
        }
        for _ in batch {
            assert_eq!(client.reply().status, StatusCode::OK);
        }
    }
}

#[tokio::test]
async fn a_flood_of_tenants_fills_no_more_than_its_share_of_memory() {
    let folder = Folder::new();
    let process = Process::start(
        folder.path(),
        &[
            ("MEGASTATS__CACHE__MAX_ENTRIES", &ENTRIES.to_string()),
            ("MEGASTATS__CACHE__TTL_SECONDS", "3600"),
        ],
    );
    let third = TENANTS / 3;
    flood(&process, 0..third);
    let before = process.resident_kib();
    std::thread::scope(|scope| {
        for half in [third..2 * third, 2 * third..TENANTS] {
            scope.spawn(|| flood(&process, half));
        }
    });
    let grown = process.resident_kib().saturating_sub(before);
    // 2 x 10,000 tenants that were kept would take more.
    assert!(grown <= 4_096, "{grown} KiB");
    let url = format!("{}{PREFIX}/cache-metrics", process.url());
    let metrics = Reply::to(reqwest::Client::new().get(url)).await.json();
    let entries = usize::try_from(metrics["cache_size"].as_u64().unwrap()).unwrap();
    // The last of them, with some more for what is kept in parts.
    assert!(
        (ENTRIES / 2..=ENTRIES * 3 / 2).contains(&entries),
        "{metrics}"
    );
}
