//! What Redis costs, over loopback and with servers of the bench's own: a hit beside a bare `GET`
//! through the same client, and a write's two round trips beside the number of its tenant's keys.
//!
//! What is compared is asked in turns, so that the ratios hold on any machine.

#![expect(clippy::print_stdout, reason = "what is measured is printed")]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use harness::redis::Server;
use megastats::{
    cache::{Entry, Lifetime, Lookup, RedisCache, StatsCache, StatsKey},
    clock::SystemClock,
    settings::{RedisUrl, Settings},
    tasks::Tasks,
    tenant::TenantId,
};
use redis::{
    Client, IntoConnectionInfo,
    aio::{ConnectionManager, ConnectionManagerConfig},
    io::tcp::TcpSettings,
};
use tokio::runtime::Handle;

const BODY: &[u8] = br#"{"today":{"confirmed":3,"pending":2},"week":{"confirmed":15,"pending":8}}"#;

const LIFE: Lifetime = Lifetime {
    fresh: Duration::from_secs(3600),
    stale: Duration::ZERO,
};

const ROUNDS: usize = 21;
const HITS: u32 = 2_000;
const WRITES: u32 = 500;

/// Keys of the tenant that is written to.
const KEYS: [usize; 3] = [10, 10_000, 1_000_000];

/// Keys that are set in one round trip.
const AT_ONCE: usize = 10_000;

#[tokio::main(flavor = "multi_thread", worker_threads = 1)]
async fn main() {
    hits().await;
    writes().await;
}

async fn hits() {
    let server = Server::start();
    let (cache, key) = (cache(&server), key());
    fill(&cache, &key).await;
    let mut client = client(&server).await;
    let set: Result<(), _> = redis::cmd("SET")
        .arg("bare")
        .arg(BODY)
        .query_async(&mut client)
        .await;
    set.expect("room");
    let mut times = [const { Vec::new() }; 2];
    for _ in 0..ROUNDS {
        let began = Instant::now();
        for _ in 0..HITS {
            let mut get = redis::cmd("GET");
            let got: Result<Vec<u8>, _> = get.arg("bare").query_async(&mut client).await;
            assert_eq!(got.expect("an answer"), BODY);
        }
        times[0].push(each(began, HITS));
        let began = Instant::now();
        for _ in 0..HITS {
            let found = cache.look_up(&key).await.expect("an answer");
            assert!(matches!(found, Lookup::Hit(..)));
        }
        times[1].push(each(began, HITS));
    }
    println!("hit:");
    print(["bare GET", "HIT"], times);
}

async fn writes() {
    let servers = KEYS.map(|_| Server::start());
    let caches = servers.each_ref().map(cache);
    for ((server, cache), keys) in servers.iter().zip(&caches).zip(KEYS) {
        fill(cache, &key()).await;
        set_keys(&mut client(server).await, keys).await;
    }
    let tenant = tenant();
    let mut times = [const { Vec::new() }; 3];
    for _ in 0..ROUNDS {
        for (cache, times) in caches.iter().zip(&mut times) {
            let began = Instant::now();
            for _ in 0..WRITES {
                let fence = cache.fence(&tenant).await.expect("an answer");
                cache.release(fence).await.expect("an answer");
            }
            times.push(each(began, WRITES));
        }
    }
    println!("fence and release:");
    let names = KEYS.map(|keys| format!("{keys} keys"));
    print(names.each_ref().map(String::as_str), times);
}

/// Gives the tenant as many further keys.
async fn set_keys(client: &mut ConnectionManager, keys: usize) {
    for first in (0..keys).step_by(AT_ONCE) {
        let mut pipe = redis::pipe();
        for n in first..keys.min(first + AT_ONCE) {
            let key = format!("megastats:{{{}}}:mega_stats:{n}", tenant().as_str());
            pipe.set(key, "x").ignore();
        }
        let set: Result<(), _> = pipe.query_async(client).await;
        set.expect("room");
    }
}

/// The seconds that each of `times` took since `began`.
fn each(began: Instant, times: u32) -> f64 {
    began.elapsed().as_secs_f64() / f64::from(times)
}

/// Prints medians, and what they are as multiples of the first.
fn print<const N: usize>(names: [&str; N], times: [Vec<f64>; N]) {
    let medians = times.map(median);
    for (name, median) in names.into_iter().zip(medians) {
        let ratio = median / medians[0];
        println!("  {name:<14} {ratio:.2}  ({:.1} µs)", median * 1e6);
    }
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn cache(server: &Server) -> RedisCache {
    let mut settings = Settings::default().cache.redis;
    settings.url = RedisUrl::parse(&server.url()).expect("a Redis URL");
    settings.response_timeout = Duration::from_secs(5);
    let tasks = Tasks::new(Handle::current());
    RedisCache::new(&settings, LIFE, Arc::new(SystemClock), &tasks).expect("settings that fit")
}

/// The client beneath the cache, set up as there.
async fn client(server: &Server) -> ConnectionManager {
    let info = server.url().as_str().into_connection_info().expect("a URL");
    let tcp = TcpSettings::default().set_nodelay(true);
    let client = Client::open(info.set_tcp_settings(tcp)).expect("a client");
    let config = ConnectionManagerConfig::new()
        .set_number_of_retries(0)
        // A pipeline takes longer than the client's own default.
        .set_response_timeout(Some(Duration::from_secs(60)));
    ConnectionManager::new_with_config(client, config)
        .await
        .expect("redis-server answers")
}

fn tenant() -> TenantId {
    TenantId::parse("default-tenant").expect("a tenant")
}

fn key() -> StatsKey {
    StatsKey::new("mega_stats", &tenant(), &[&"America/Recife", &"2026-11-23"])
}

/// Stores an entry under `key` as soon as the cache lets it.
async fn fill(cache: &RedisCache, key: &StatsKey) {
    loop {
        match cache.look_up(key).await {
            Ok(Lookup::Hit(..)) => return,
            Ok(Lookup::Miss(permit)) => {
                let entry = Entry {
                    body: Bytes::from_static(BODY),
                    age: Duration::ZERO,
                };
                cache.store(key, &permit, entry).await.expect("room");
            }
            Ok(Lookup::Expired(..) | Lookup::Bypass(_)) | Err(_) => {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
}
