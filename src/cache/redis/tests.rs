//! The backend against a real Redis, which each test has for itself. In this file: two instances over one
//! Redis, held to what every backend must do.

use std::sync::Mutex;

use futures_util::FutureExt;
use harness::redis::Server;
use tokio::runtime::Handle;

use super::{
    heartbeat::{Epoch, HEARTBEAT_PERIOD},
    *,
};
use crate::{
    cache::{
        Reader, Refreshed,
        conformance::{self, Handles, is_bypass},
    },
    clock::SystemClock,
    metrics::Metrics,
    settings::{CacheBackend, RedisUrl, Settings},
};

mod access;
mod cluster;
mod damage;
mod failures;
mod leases;
mod mirrored;
mod refusals;
mod round_trips;
mod slow;
mod unusable;

/// Longer than anything here takes on a busy machine.
const FOREVER: Duration = Duration::from_secs(60);

trait Configured {
    fn settings(&self) -> RedisSettings;
}

impl Configured for Server {
    fn settings(&self) -> RedisSettings {
        settings(&self.url())
    }
}

/// The defaults, but patient: the machine may be busy with other tests.
fn settings(url: &str) -> RedisSettings {
    let mut settings = Settings::default().cache.redis;
    settings.url = RedisUrl::parse(url).expect("a Redis URL");
    settings.response_timeout = Duration::from_secs(2);
    settings
}

fn open(settings: &RedisSettings) -> RedisCache {
    let tasks = Tasks::new(Handle::current());
    RedisCache::new(settings, conformance::LIFE, Arc::new(SystemClock), &tasks).unwrap()
}

fn tenant() -> TenantId {
    TenantId::parse("clinic").unwrap()
}

fn key() -> StatsKey {
    StatsKey::new("mega_stats", &tenant(), &[])
}

fn entry(body: &'static str) -> Entry {
    Entry {
        body: body.into(),
        age: Duration::ZERO,
    }
}

/// Waits until `condition` holds.
async fn until(condition: impl AsyncFn() -> bool) {
    let wait = async {
        while !condition().await {
            tokio::time::sleep(HEARTBEAT_PERIOD / 10).await;
        }
    };
    tokio::time::timeout(FOREVER, wait).await.expect("in time");
}

fn trusted(cache: &RedisCache) -> Option<Epoch> {
    cache.link.heartbeat.trusted_epoch(Instant::now())
}

/// Waits until `cache` trusts Redis.
async fn trusts(cache: &RedisCache) {
    let wait = async {
        while trusted(cache).is_none() {
            tokio::time::sleep(HEARTBEAT_PERIOD / 10).await;
        }
    };
    tokio::time::timeout(FOREVER, wait).await.expect("in time");
}

/// Waits until `a` and `b` trust Redis, and each what the other has set.
async fn trust_each_other(a: &RedisCache, b: &RedisCache) {
    until(async || {
        let known = |one: &RedisCache, other: &RedisCache| {
            let era = other.link.eras.current();
            trusted(one).is_some() && one.link.eras.is_trusted(era)
        };
        known(a, b) && known(b, a)
    })
    .await;
}

async fn open_two(server: &Server) -> (RedisCache, RedisCache) {
    let (a, b) = (open(&server.settings()), open(&server.settings()));
    trust_each_other(&a, &b).await;
    (a, b)
}

/// What a lookup says once `cache` trusts Redis, and no longer says so for lack of trust only.
async fn found(cache: &RedisCache, key: &StatsKey) -> Lookup {
    let search = async {
        loop {
            trusts(cache).await;
            match cache.look_up(key).await {
                Ok(Lookup::Bypass(_)) if !is_fenced(cache, key.tenant()).await => {}
                Ok(found) => return found,
                Err(error) => log::warn!("{error}"),
            }
        }
    };
    tokio::time::timeout(FOREVER, search)
        .await
        .expect("in time")
}

/// Whether a fence stands, or an invalidation of `tenant` is pending.
async fn is_fenced(cache: &RedisCache, tenant: &TenantId) -> bool {
    let fence = cache
        .link
        .commands
        .look_up([&StatsKey::new("", tenant, &[])]);
    let found: Result<[Option<Vec<u8>>; 3], _> = cache.link.send(&fence, FOREVER).await;
    found.is_ok_and(|[_, fence, _]| fence.is_some())
        || cache.link.pending.must_bypass(tenant, Instant::now())
}

async fn seen(cache: &RedisCache, key: &StatsKey) -> Permit {
    match found(cache, key).await {
        Lookup::Miss(permit) => permit,
        other => panic!("not a miss: {other:?}"),
    }
}

/// Stores `body` so that `cache` hits it.
async fn fill(cache: &RedisCache, body: &'static str) {
    until(async || {
        if let Lookup::Miss(seen) = found(cache, &key()).await {
            cache.store(&key(), &seen, entry(body)).await.unwrap();
        }
        is_hit(cache, body).await
    })
    .await;
}

async fn is_hit(cache: &RedisCache, body: &'static str) -> bool {
    matches!(found(cache, &key()).await, Lookup::Hit(_, entry) if entry.body == body)
}

async fn write(cache: &RedisCache) {
    let fence = cache.fence(&tenant()).await.unwrap();
    cache.release(fence).await.unwrap();
}

/// An instance that is asked again as long as nothing but a busy machine keeps it from Redis.
struct Instance {
    cache: RedisCache,
    /// Lives as long as its instances do.
    _server: Arc<dyn Send + Sync>,
}

/// Two instances, and the Redis that lives as long as they do.
fn two(a: RedisCache, b: RedisCache, server: &Arc<dyn Send + Sync>) -> Handles<Instance> {
    let links = [Arc::clone(&a.link), Arc::clone(&b.link)];
    let began = links
        .clone()
        .map(|link| link.heartbeat.trusted_epoch(Instant::now()));
    let began = Mutex::new(began);
    let disturbed = Arc::new(move || {
        let now = links
            .clone()
            .map(|link| link.heartbeat.trusted_epoch(Instant::now()));
        *began.lock().unwrap() != now
    });
    let instance = |cache| Instance {
        cache,
        _server: Arc::clone(server),
    };
    Handles {
        a: Arc::new(instance(a)),
        b: Arc::new(instance(b)),
        disturbed,
    }
}

async fn handles() -> Handles<Instance> {
    let server = Server::start();
    let (a, b) = open_two(&server).await;
    let server: Arc<dyn Send + Sync> = Arc::new(server);
    two(a, b, &server)
}

#[async_trait]
impl StatsCache for Instance {
    async fn look_up(&self, key: &StatsKey) -> Result<Lookup, CacheError> {
        Ok(found(&self.cache, key).await)
    }
    async fn store(&self, key: &StatsKey, permit: &Permit, entry: Entry) -> Result<(), CacheError> {
        trusts(&self.cache).await;
        self.cache.store(key, permit, entry).await
    }
    async fn fence(&self, tenant: &TenantId) -> Result<Fence, CacheError> {
        self.cache.fence(tenant).await
    }
    async fn release(&self, fence: Fence) -> Result<Released, CacheError> {
        self.cache.release(fence).await
    }
    async fn purge(&self) -> Result<(), CacheError> {
        self.cache.purge().await
    }
}

#[async_trait]
impl ListKeys for Instance {
    async fn keys(&self, after: Option<&str>, limit: usize) -> Result<KeyPage, CacheError> {
        trusts(&self.cache).await;
        self.cache.keys(after, limit).await
    }
}

conformance::safety!(handles());
conformance::caching!(handles());
conformance::listing!(handles());

#[tokio::test(flavor = "multi_thread")]
async fn a_fence_whose_writer_died_ends_by_itself_and_leaves_no_entry_from_before() {
    let server = Server::start();
    let mut settings = server.settings();
    settings.fence_life = Duration::from_secs(3);
    let (a, b) = (open(&settings), open(&settings));
    trust_each_other(&a, &b).await;
    fill(&b, "before").await;
    let _died = a.fence(&tenant()).await.unwrap();
    assert!(is_bypass(&found(&b, &key()).await));
    until(async || !is_bypass(&found(&b, &key()).await)).await;
    seen(&b, &key()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_forgets_a_tenant_soon_after_its_entries_have_expired() {
    let server = Server::start();
    let cache = open(&server.settings());
    let forgets_in = || {
        let left: u64 = server.run(&["PTTL", "megastats:{clinic}:generation"]);
        Duration::from_millis(left)
    };
    let longest = conformance::LIFE.whole() + Duration::from_secs(90);
    seen(&cache, &key()).await;
    assert!(forgets_in() <= longest);
    fill(&cache, "x").await;
    assert!(forgets_in() > conformance::LIFE.whole());
    write(&cache).await;
    assert!(forgets_in() <= longest);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_instances_that_start_or_see_redis_return_one_renews_a_tenant() {
    let server = Server::start();
    let (a, b) = open_two(&server).await;
    fill(&a, "shared").await;
    assert!(
        is_hit(&b, "shared").await,
        "nothing was forgotten for the other"
    );
    let newcomer = open(&server.settings());
    trust_each_other(&a, &newcomer).await;
    let renewed = seen(&newcomer, &key()).await.generation;
    assert_eq!(seen(&a, &key()).await.generation, renewed);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_instances_that_refresh_one_computes() {
    conformance::undisturbed(handles, one_computes).await;
}

async fn one_computes(Handles { a, b, .. }: Handles<Instance>) {
    let found = a.look_up(&key()).await.unwrap();
    let Lookup::Miss(seen) = found else {
        panic!("not a miss: {found:?}");
    };
    a.store(&key(), &seen, entry("old")).await.unwrap();
    let (a, b) = (reader(a), Arc::new(reader(b)));
    let other = Arc::clone(&b);
    let compute = async move {
        // The other finds the old entry, and that somebody is at it.
        let not_run = async { unreachable!("it is computed once") };
        let meanwhile = other.refresh(&key(), Duration::ZERO, not_run.boxed()).await;
        assert_eq!(meanwhile.unwrap(), Refreshed::Later);
        Ok("new".into())
    };
    let refreshed = a.refresh(&key(), Duration::ZERO, compute.boxed()).await;
    assert_eq!(refreshed.unwrap(), Refreshed::Computed);
    let not_run = async { unreachable!("it is young") };
    let young = Duration::from_secs(25);
    let later = b.refresh(&key(), young, not_run.boxed()).await;
    assert!(matches!(later, Ok(Refreshed::Young { .. })), "{later:?}");
    let not_run = || async { unreachable!("it is hit") }.boxed();
    assert_eq!(b.read(&key(), not_run).await.unwrap().body, "new");
}

fn reader(cache: Arc<dyn StatsCache>) -> Reader {
    let counters = Metrics::new(CacheBackend::Redis).cache;
    Reader::new(cache, counters, Tasks::new(Handle::current()))
}

#[tokio::test(flavor = "multi_thread")]
async fn one_lease_is_granted_and_a_dead_holders_ends_and_nobody_ends_anothers() {
    let server = Server::start();
    let mut settings = server.settings();
    settings.lease = Duration::from_secs(1);
    let (a, b) = (open(&settings), open(&settings));
    trust_each_other(&a, &b).await;
    let generation = seen(&a, &key()).await.generation;
    let permits = [a.permit(generation), b.permit(generation)];
    let claims = async |permit: &Permit| permit.claim_lease(&key()).await.unwrap();
    let [of_a, of_b] = &permits;
    assert!(claims(of_a).await);
    assert!(!claims(of_b).await);
    until(async || claims(of_b).await).await;
    // Slow rather than dead: what has ended is no longer its own to give back.
    of_a.give_lease_back(&key()).await.unwrap();
    assert!(!claims(of_a).await);
    of_b.give_lease_back(&key()).await.unwrap();
    assert!(claims(of_a).await);
    server.run::<()>(&["FLUSHALL"]);
    assert!(claims(of_a).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_for_what_is_not_kept_since_redis_is_not_trusted_just_then() {
    let server = Server::start();
    let (a, b) = open_two(&server).await;
    let permit = seen(&a, &key()).await;
    assert!(permit.claim_lease(&key()).await.unwrap());
    let now = Instant::now();
    let _ = a
        .link
        .heartbeat
        .heartbeat_failed(now, now, LinkProblem::NoAnswer);
    a.store(&key(), &permit, entry("unkept")).await.unwrap();
    let of_b = b.permit(permit.generation);
    assert!(of_b.claim_lease(&key()).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn listed_keys_are_looked_up_many_at_a_time() {
    let server = Server::start();
    let (a, b) = open_two(&server).await;
    let mut keys = Vec::new();
    for tenant in 0..=LOOKUP_BATCH / 10 {
        let tenant = TenantId::parse(&format!("clinic-{tenant}")).unwrap();
        for zone in 0..10 {
            let key = StatsKey::new("mega_stats", &tenant, &[&zone]);
            let seen = seen(&a, &key).await;
            a.store(&key, &seen, entry("x")).await.unwrap();
            keys.push(key.as_str().to_owned());
        }
    }
    keys.sort_unstable();
    server.run::<()>(&["CONFIG", "RESETSTAT"]);
    let page = b.keys(None, keys.len()).await.unwrap();
    assert_eq!(page.keys, keys);
    let asked: String = server.run(&["INFO", "commandstats"]);
    assert!(asked.contains("cmdstat_mget:calls=2,"), "{asked}");
}
