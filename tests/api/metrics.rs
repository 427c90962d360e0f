//! `GET /metrics`: what is counted, and what is never shown there.
//!
//! | file | what lives there |
//! |---|---|
//! | `requests` | requests by route, method and status |
//! | `cache` | answers, computations, writes, and the pool they wait for |
//! | `privacy` | nothing of what clients send, and no more series for it |
//! | `deploy` | the dashboard and the alerts ask for what is there |

mod cache;
mod deploy;
mod privacy;
mod requests;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use harness::{Builder, Exposition, FakeClock, NOW, TestServer};

/// A service whose entries do not expire during the test. It has one worker, which leaves nothing
/// undone of what it was sent before.
fn service() -> Builder {
    TestServer::builder()
        .clock(Arc::new(FakeClock::at(NOW)))
        .settings(|settings| {
            settings.server.workers = 1;
            settings.cache.ttl = Duration::from_secs(3600);
        })
}

async fn scrape(server: &TestServer) -> Exposition {
    Exposition::of(server.url()).await
}

/// Asserts that of the counters whose names start with `prefix` these have moved, by so much, and
/// no others.
fn assert_moved(before: &Exposition, after: &Exposition, prefix: &str, expected: &[(&str, f64)]) {
    let moved: BTreeMap<_, _> = after
        .since(before)
        .into_iter()
        .filter(|(series, _)| {
            let name = series.split('{').next().unwrap();
            name.starts_with(prefix) && (name.ends_with("_total") || name.ends_with("_count"))
        })
        .collect();
    assert_eq!(moved, expected.iter().copied().collect());
}

#[tokio::test]
async fn the_metrics_have_help_and_names_by_convention() {
    let server = service().start();
    server.mega_stats("clinic").await;
    scrape(&server).await;
    let metrics = scrape(&server).await;
    let ours = metrics.families.iter();
    let ours: Vec<_> = ours
        .filter(|(name, _)| name.starts_with("megastats_"))
        .collect();
    assert!(ours.len() > 10, "{ours:?}");
    for (name, family) in ours {
        assert!(
            family.help.len() > 10 && family.help.ends_with('.'),
            "{name}"
        );
        assert_eq!(family.kind == "counter", name.ends_with("_total"), "{name}");
        let is_time = family.kind == "histogram";
        assert_eq!(is_time, name.ends_with("_seconds"), "{name}");
    }
    let version = concat!(
        "megastats_build_info{version=\"",
        env!("CARGO_PKG_VERSION"),
        "\"}"
    );
    assert_eq!(metrics.samples[version].to_string(), "1");
    assert!(metrics.value("process_resident_memory_bytes") > 0.0);
}
