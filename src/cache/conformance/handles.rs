//! What the properties stand on: backends to test, and steps that many of them take.

use std::{future::Future, sync::Arc, time::Duration};

use bytes::Bytes;

use crate::{
    cache::{
        key::StatsKey,
        stats_cache::{Entry, Lifetime, Lookup, Permit, StatsCache},
    },
    tenant::TenantId,
};

/// The time to live that backends must be made with to be tested: long enough for every property that
/// is not about its end.
pub const TTL: Duration = Duration::from_secs(30);

/// The time for which entries are kept after [`TTL`].
pub const STALE: Duration = Duration::from_secs(60);

/// [`TTL`] and [`STALE`]: what backends must be made with to be tested.
pub const LIFE: Lifetime = Lifetime {
    fresh: TTL,
    stale: STALE,
};

/// Two instances over one backend.
pub struct Handles<C> {
    /// One instance.
    pub a: Arc<C>,
    /// The other; the same where one instance has the backend to itself.
    pub b: Arc<C>,
    /// Whether something has disturbed the backend meanwhile, so that it was right to forget entries.
    pub disturbed: Arc<dyn Fn() -> bool + Send + Sync>,
}

impl<C: StatsCache> Handles<C> {
    /// For a backend that lives in this process: both are the same.
    pub fn one(cache: C) -> Self {
        let a = Arc::new(cache);
        Self {
            b: Arc::clone(&a),
            a,
            disturbed: Arc::new(|| false),
        }
    }
}

/// Runs `property` until it holds, or has failed although nothing disturbed the backend meanwhile.
pub async fn undisturbed<C, F: Future<Output = ()> + Send + 'static>(
    backend: impl AsyncFn() -> Handles<C>,
    property: impl Fn(Handles<C>) -> F,
) {
    loop {
        let handles = backend().await;
        let disturbed = Arc::clone(&handles.disturbed);
        match tokio::spawn(property(handles)).await {
            Ok(()) => return,
            Err(_) if disturbed() => {}
            Err(failed) => std::panic::resume_unwind(failed.into_panic()),
        }
    }
}

pub(super) fn tenant(name: &str) -> TenantId {
    TenantId::parse(name).unwrap()
}

pub(super) fn key(name: &str) -> StatsKey {
    StatsKey::new(
        "mega_stats",
        &tenant(name),
        &[&"America/Recife", &"2025-10-31"],
    )
}

pub(super) fn entry(body: &'static str) -> Entry {
    Entry {
        body: Bytes::from_static(body.as_bytes()),
        age: Duration::ZERO,
    }
}

/// Whether a lookup said [`Lookup::Bypass`].
pub fn is_bypass(lookup: &Lookup) -> bool {
    matches!(lookup, Lookup::Bypass(_))
}

/// The permit that a lookup hands out, if it misses.
pub(super) async fn seen(cache: &dyn StatsCache, key: &StatsKey) -> Option<Permit> {
    match cache.look_up(key).await.unwrap() {
        Lookup::Miss(permit) => Some(permit),
        Lookup::Hit(..) | Lookup::Expired(..) | Lookup::Bypass(_) => None,
    }
}

pub(super) async fn fill(cache: &dyn StatsCache, key: &StatsKey, entry: Entry) {
    let seen = seen(cache, key)
        .await
        .expect("a miss before the first store");
    cache.store(key, &seen, entry).await.unwrap();
}

pub(super) async fn hit(cache: &dyn StatsCache, key: &StatsKey) -> Option<Bytes> {
    match cache.look_up(key).await.unwrap() {
        Lookup::Hit(_, entry) => Some(entry.body),
        Lookup::Expired(..) | Lookup::Miss(_) | Lookup::Bypass(_) => None,
    }
}

pub(super) async fn write(cache: &dyn StatsCache, name: &str) {
    let fence = cache.fence(&tenant(name)).await.unwrap();
    cache.release(fence).await.unwrap();
}

/// Polls until `key` is no longer hit.
pub(super) async fn gone(cache: &dyn StatsCache, key: &StatsKey) {
    while hit(cache, key).await.is_some() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
