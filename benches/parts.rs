//! The parts that every cached answer goes through, each by itself: finding the day and the
//! windows, writing the key, looking it up on one core and on all.

use std::{
    hint::black_box,
    num::NonZeroUsize,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use jiff::Timestamp;
use megastats::{
    cache::{Entry, Lifetime, Lookup, MemoryCache, StatsCache, StatsKey},
    stats::{
        windows::{local_date, windows},
        zones::Zones,
    },
    tenant::TenantId,
};

const BODY: &[u8] = br#"{"today":{"confirmed":3,"pending":2},"week":{"confirmed":15,"pending":8}}"#;

fn now() -> Timestamp {
    "2026-11-23T14:00:00Z".parse().expect("an instant")
}

fn key(tenant: &str) -> StatsKey {
    let tenant = TenantId::parse(tenant).expect("a tenant");
    StatsKey::new("mega_stats", &tenant, &[&"America/Recife", &"2026-11-23"])
}

fn calendar(c: &mut Criterion) {
    let zones = Zones::bundled();
    let now = now();
    for name in ["America/Recife", "America/New_York"] {
        let zone = zones.get(name).expect("a zone");
        c.bench_function(&format!("windows/{name}"), |b| {
            b.iter(|| windows(black_box(now), zone.rules()));
        });
    }
    c.bench_function("zone by name", |b| {
        b.iter(|| zones.get(black_box("America/Recife")));
    });
    let zone = zones.get("America/Recife").expect("a zone");
    let tenant = TenantId::parse("default-tenant").expect("a tenant");
    c.bench_function("key of today", |b| {
        b.iter(|| {
            let date = local_date(black_box(now), zone.rules());
            StatsKey::new("mega_stats", &tenant, &[&zone.name(), &date])
        });
    });
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime")
}

/// A cache that holds an entry under each of `keys`.
fn filled(keys: &[StatsKey]) -> Arc<MemoryCache> {
    let cache = Arc::new(MemoryCache::new(
        Lifetime {
            fresh: Duration::from_secs(3600),
            stale: Duration::ZERO,
        },
        2 * keys.len() + 100,
    ));
    runtime().block_on(async {
        for key in keys {
            let Ok(Lookup::Miss(permit)) = cache.look_up(key).await else {
                panic!("not a miss")
            };
            let entry = Entry {
                body: Bytes::from_static(BODY),
                age: Duration::ZERO,
            };
            cache
                .store(key, &permit, entry)
                .await
                .expect("memory does not fail");
        }
    });
    cache
}

/// The time that `lookups` of `keys` take on each of `threads` at once.
fn on_threads(
    cache: &Arc<MemoryCache>,
    keys: &[StatsKey],
    threads: usize,
    lookups: u64,
) -> Duration {
    let began = Instant::now();
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                runtime().block_on(async {
                    let mut keys = keys.iter().cycle();
                    for _ in 0..lookups {
                        let key = keys.next().expect("a cycle does not end");
                        black_box(cache.look_up(key).await.expect("memory does not fail"));
                    }
                });
            });
        }
    });
    began.elapsed()
}

fn lookup(c: &mut Criterion) {
    let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let hot = [key("default-tenant")];
    let many: Vec<_> = (0..10_000).map(|n| key(&format!("tenant-{n}"))).collect();
    for (name, keys) in [("one hot key", &hot[..]), ("10,000 keys", &many[..])] {
        let cache = filled(keys);
        for threads in [1, cores] {
            c.bench_function(&format!("lookup/{name}/{threads} threads"), |b| {
                b.iter_custom(|lookups| on_threads(&cache, keys, threads, lookups));
            });
        }
    }
}

criterion_group! {
    name = parts;
    config = Criterion::default()
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3));
    targets = calendar, lookup
}
criterion_main!(parts);
