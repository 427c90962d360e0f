//! What Redis costs, over loopback and a `redis-server` of its own: a hit beside a bare `GET`
//! through the same client, and a write's two round trips whatever the number of keys.

use std::{
    hint::black_box,
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
    time::Duration,
};

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
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
use tokio::runtime::{Builder, Runtime};

const BODY: &[u8] = br#"{"today":{"confirmed":3,"pending":2},"week":{"confirmed":15,"pending":8}}"#;

const LIFE: Lifetime = Lifetime {
    fresh: Duration::from_secs(3600),
    stale: Duration::ZERO,
};

/// A throwaway `redis-server`, killed when it is dropped.
struct Server {
    process: Child,
    url: String,
}

impl Server {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        drop(listener);
        let process = Command::new("redis-server")
            .args(["--port", &address.port().to_string()])
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed");
        while TcpStream::connect(address).is_err() {
            thread::sleep(Duration::from_millis(5));
        }
        let url = format!("redis://{address}");
        Self { process, url }
    }

    fn cache(&self, runtime: &Runtime) -> RedisCache {
        let mut settings = Settings::default().cache.redis;
        settings.url = RedisUrl::parse(&self.url).expect("a Redis URL");
        settings.response_timeout_ms = 5_000;
        let tasks = Tasks::new(runtime.handle().clone());
        RedisCache::new(&settings, LIFE, Arc::new(SystemClock), &tasks).expect("settings that fit")
    }

    /// The client beneath the cache, set up as there.
    async fn client(&self) -> ConnectionManager {
        let info = self.url.as_str().into_connection_info().expect("a URL");
        let tcp = TcpSettings::default().set_nodelay(true);
        let client = Client::open(info.set_tcp_settings(tcp)).expect("a client");
        let config = ConnectionManagerConfig::new().set_number_of_retries(0);
        ConnectionManager::new_with_config(client, config)
            .await
            .expect("redis-server answers")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn runtime() -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime")
}

fn key(tenant: &str) -> StatsKey {
    let tenant = TenantId::parse(tenant).expect("a tenant");
    StatsKey::new("mega_stats", &tenant, &[&"America/Recife", &"2026-11-23"])
}

/// Stores an entry under `key` as soon as the cache lets it.
async fn fill(cache: &RedisCache, key: &StatsKey) {
    loop {
        match cache.lookup(key).await {
            Ok(Lookup::Hit(..)) => return,
            Ok(Lookup::Expired(seen, _) | Lookup::Miss(seen)) => {
                let entry = Entry {
                    body: Bytes::from_static(BODY),
                    age: Duration::ZERO,
                };
                cache.store(key, seen, entry).await.expect("room");
            }
            Ok(Lookup::Fenced) | Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

fn hit(c: &mut Criterion) {
    let (runtime, server) = (runtime(), Server::start());
    let (cache, key) = (server.cache(&runtime), key("default-tenant"));
    let mut client = runtime.block_on(async {
        fill(&cache, &key).await;
        let mut client = server.client().await;
        let set: Result<(), _> = redis::cmd("SET")
            .arg("bare")
            .arg(BODY)
            .query_async(&mut client)
            .await;
        set.expect("room");
        client
    });
    let mut group = c.benchmark_group("redis");
    group.bench_function("bare GET", |b| {
        b.iter(|| {
            runtime.block_on(async {
                let mut get = redis::cmd("GET");
                let got: Result<Option<Vec<u8>>, _> =
                    get.arg("bare").query_async(&mut client).await;
                black_box(got.expect("an answer"))
            })
        });
    });
    group.bench_function("hit", |b| {
        b.iter(|| {
            let found = runtime.block_on(cache.lookup(&key)).expect("an answer");
            assert!(matches!(found, Lookup::Hit(..)));
            found
        });
    });
    group.finish();
}

fn write(c: &mut Criterion) {
    let (runtime, server) = (runtime(), Server::start());
    let cache = server.cache(&runtime);
    let tenant = TenantId::parse("default-tenant").expect("a tenant");
    let mut group = c.benchmark_group("redis/fence and release");
    let mut filled = 0;
    for keys in [10, 10_000, 100_000] {
        runtime.block_on(async {
            fill(&cache, &key("first")).await;
            let mut client = server.client().await;
            let mut pipe = redis::pipe();
            for n in filled..keys {
                pipe.set(format!("megastats:{{{n}}}:mega_stats:{n}"), BODY)
                    .ignore();
                pipe.set(format!("megastats:{{{n}}}:generation"), "0")
                    .ignore();
            }
            let set: Result<(), _> = pipe.query_async(&mut client).await;
            set.expect("room");
        });
        filled = keys;
        group.bench_function(format!("{keys} keys"), |b| {
            b.iter(|| {
                runtime.block_on(async {
                    let fence = cache.fence(&tenant).await.expect("an answer");
                    cache.release(fence).await.expect("an answer");
                });
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = shared;
    config = Criterion::default()
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(4));
    targets = hit, write
}
criterion_main!(shared);
