//! What every backend must do: one function per property, run over each backend by name.
//!
//! `safety!` holds for all of them; `caching!` for those that keep anything.

mod history;
mod keys;
mod purge;
mod stale;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::join_all;

use super::{Entry, Lifetime, Lookup, Permit, StatsCache, StatsKey};
use crate::tenant::TenantId;

/// The time to live that backends under test are made with: long enough for any property but the
/// ones about its end.
pub(crate) const TTL: Duration = Duration::from_secs(30);

/// How long after it entries are kept.
pub(crate) const STALE: Duration = Duration::from_secs(60);

/// Both.
pub(crate) const LIFE: Lifetime = Lifetime {
    fresh: TTL,
    stale: STALE,
};

/// Two ways into one backend, as two instances of the service have.
pub(crate) struct Handles<C> {
    pub(crate) a: Arc<C>,
    pub(crate) b: Arc<C>,
    /// Whether the backend was disturbed meanwhile, so that it was right to forget something.
    pub(crate) disturbed: Arc<dyn Fn() -> bool + Send + Sync>,
}

impl<C: StatsCache> Handles<C> {
    /// For a backend that lives in this process: both are the same.
    pub(crate) fn one(cache: C) -> Self {
        let a = Arc::new(cache);
        Self {
            b: Arc::clone(&a),
            a,
            disturbed: Arc::new(|| false),
        }
    }
}

/// Runs `property` until it holds, or has failed over a backend that was not disturbed meanwhile.
pub(crate) async fn undisturbed<C, F: Future<Output = ()> + Send + 'static>(
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

/// Makes a test of each property named, over the handles that `$backend`, a future, gives. Where a
/// property needs something to be kept, a run in which the backend was disturbed shows nothing.
macro_rules! conformance_tests {
    ($backend:expr => always $($property:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $property() {
                $crate::cache::conformance::$property($backend.await).await;
            }
        )*
    };
    ($backend:expr => undisturbed $($property:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $property() {
                let property = $crate::cache::conformance::$property;
                $crate::cache::conformance::undisturbed(async || $backend.await, property).await;
            }
        )*
    };
}

/// Properties of every backend, also of one that keeps nothing.
macro_rules! safety {
    ($backend:expr) => {
        $crate::cache::conformance::conformance_tests! { $backend => always
            lookups_are_fenced_from_fence_to_release
            what_was_computed_before_a_write_is_never_hit_after_it
            a_store_while_the_fence_stands_is_never_hit
            the_older_of_two_computations_may_store_last_but_is_not_hit
            no_read_is_older_than_the_last_acknowledged_write
            what_was_computed_before_everything_was_forgotten_is_never_found_after_it
            fences_stand_while_everything_is_forgotten
        }
    };
}

/// Properties of the backends that keep something.
macro_rules! caching {
    ($backend:expr) => {
        $crate::cache::conformance::conformance_tests! { $backend => undisturbed
            what_is_stored_is_hit_byte_for_byte
            the_last_of_several_fences_opens_the_cache_again
            a_release_opens_the_cache_under_a_new_generation
            an_older_computation_that_stores_last_displaces_nothing
            tenants_do_not_fence_or_invalidate_each_other
            kinds_and_segments_are_kept_apart
            the_time_to_live_runs_from_the_start_of_the_computation
            a_hit_does_not_extend_the_time_to_live
            the_age_of_a_hit_grows
            an_expired_entry_is_offered_while_its_generation_holds
            an_expired_entry_is_not_offered_from_a_fence_on
            an_entry_is_offered_for_its_lifetime_and_no_longer
            what_has_expired_is_replaced_under_the_same_generation
            everything_is_forgotten_on_every_instance_and_filled_again
        }
    };
}

/// Properties of the backends that list their keys.
macro_rules! listing {
    ($backend:expr) => {
        $crate::cache::conformance::conformance_tests! { $backend => undisturbed
            keys_are_listed_in_order_page_by_page
            keys_that_would_not_be_hit_are_not_listed
        }
    };
}

pub(crate) use history::*;
pub(crate) use keys::*;
pub(crate) use purge::*;
pub(crate) use stale::*;
pub(crate) use {caching, conformance_tests, listing, safety};

fn tenant(name: &str) -> TenantId {
    TenantId::parse(name).unwrap()
}

fn key(name: &str) -> StatsKey {
    StatsKey::new(
        "mega_stats",
        &tenant(name),
        &[&"America/Recife", &"2025-10-31"],
    )
}

fn entry(body: &'static str) -> Entry {
    Entry {
        body: Bytes::from_static(body.as_bytes()),
        age: Duration::ZERO,
    }
}

/// Whether a lookup said [`Lookup::Bypass`].
pub(crate) fn is_bypass(lookup: &Lookup) -> bool {
    matches!(lookup, Lookup::Bypass(_))
}

/// The permit that a lookup hands out, if it misses.
async fn seen(cache: &dyn StatsCache, key: &StatsKey) -> Option<Permit> {
    match cache.look_up(key).await.unwrap() {
        Lookup::Miss(permit) => Some(permit),
        Lookup::Hit(..) | Lookup::Expired(..) | Lookup::Bypass(_) => None,
    }
}

async fn fill(cache: &dyn StatsCache, key: &StatsKey, entry: Entry) {
    let seen = seen(cache, key)
        .await
        .expect("a miss before the first store");
    cache.store(key, &seen, entry).await.unwrap();
}

async fn hit(cache: &dyn StatsCache, key: &StatsKey) -> Option<Bytes> {
    match cache.look_up(key).await.unwrap() {
        Lookup::Hit(_, entry) => Some(entry.body),
        Lookup::Expired(..) | Lookup::Miss(_) | Lookup::Bypass(_) => None,
    }
}

async fn write(cache: &dyn StatsCache, name: &str) {
    let fence = cache.fence(&tenant(name)).await.unwrap();
    cache.release(fence).await.unwrap();
}

pub(crate) async fn lookups_are_fenced_from_fence_to_release(
    Handles { a, b, .. }: Handles<impl StatsCache>,
) {
    let key = key("clinic");
    if let Some(seen) = seen(&*a, &key).await {
        a.store(&key, &seen, entry("before")).await.unwrap();
    }
    let fence = a.fence(key.tenant()).await.unwrap();
    assert!(is_bypass(&a.look_up(&key).await.unwrap()));
    assert!(is_bypass(&b.look_up(&key).await.unwrap()));
    a.release(fence).await.unwrap();
    assert_eq!(hit(&*a, &key).await, None, "what stood before the write");
    assert_eq!(hit(&*b, &key).await, None, "what stood before the write");
}

pub(crate) async fn what_was_computed_before_a_write_is_never_hit_after_it(
    Handles { a, b, .. }: Handles<impl StatsCache>,
) {
    let key = key("clinic");
    let Some(before) = seen(&*a, &key).await else {
        return;
    };
    write(&*b, "clinic").await;
    a.store(&key, &before, entry("before")).await.unwrap();
    assert_eq!(hit(&*a, &key).await, None);
    assert_eq!(hit(&*b, &key).await, None);
}

pub(crate) async fn a_store_while_the_fence_stands_is_never_hit(
    Handles { a, b, .. }: Handles<impl StatsCache>,
) {
    let key = key("clinic");
    let Some(before) = seen(&*a, &key).await else {
        return;
    };
    let fence = b.fence(key.tenant()).await.unwrap();
    a.store(&key, &before, entry("before")).await.unwrap();
    assert!(is_bypass(&a.look_up(&key).await.unwrap()));
    b.release(fence).await.unwrap();
    assert_eq!(hit(&*a, &key).await, None);
    assert_eq!(hit(&*b, &key).await, None);
}

pub(crate) async fn the_older_of_two_computations_may_store_last_but_is_not_hit(
    Handles { a, b, .. }: Handles<impl StatsCache>,
) {
    let key = key("clinic");
    let Some(older) = seen(&*a, &key).await else {
        return;
    };
    write(&*b, "clinic").await;
    let newer = seen(&*b, &key).await.expect("a new generation");
    b.store(&key, &newer, entry("newer")).await.unwrap();
    a.store(&key, &older, entry("older")).await.unwrap();
    for cache in [&a, &b] {
        assert_ne!(
            hit(&**cache, &key).await,
            Some(Bytes::from_static(b"older"))
        );
    }
}

pub(crate) async fn what_is_stored_is_hit_byte_for_byte(
    Handles { a, b, .. }: Handles<impl StatsCache>,
) {
    for (name, body) in [
        ("zeros", r#"{"today":{"confirmed":0}}"#),
        ("empty", ""),
        ("odd", "\0\n\"é"),
    ] {
        let key = key(name);
        fill(&*a, &key, entry(body)).await;
        assert_eq!(
            hit(&*a, &key).await,
            Some(Bytes::from_static(body.as_bytes()))
        );
        assert_eq!(
            hit(&*b, &key).await,
            Some(Bytes::from_static(body.as_bytes()))
        );
    }
}

pub(crate) async fn the_last_of_several_fences_opens_the_cache_again(
    Handles { a, b, .. }: Handles<impl StatsCache>,
) {
    let key = key("clinic");
    let first = a.fence(key.tenant()).await.unwrap();
    let second = b.fence(key.tenant()).await.unwrap();
    a.release(first).await.unwrap();
    assert!(
        is_bypass(&a.look_up(&key).await.unwrap()),
        "the second still writes"
    );
    b.release(second).await.unwrap();
    assert!(seen(&*a, &key).await.is_some());
    assert!(seen(&*b, &key).await.is_some());
}

pub(crate) async fn a_release_opens_the_cache_under_a_new_generation(
    Handles { a, b, .. }: Handles<impl StatsCache>,
) {
    let key = key("clinic");
    let before = seen(&*a, &key).await.expect("a miss");
    assert_eq!(
        seen(&*b, &key).await.as_ref(),
        Some(&before),
        "nothing was written"
    );
    write(&*b, "clinic").await;
    let after = seen(&*a, &key).await.expect("a miss");
    assert_ne!(before, after);
    a.store(&key, &after, entry("after")).await.unwrap();
    assert_eq!(hit(&*b, &key).await, Some(Bytes::from_static(b"after")));
}

pub(crate) async fn an_older_computation_that_stores_last_displaces_nothing(
    Handles { a, b, .. }: Handles<impl StatsCache>,
) {
    let key = key("clinic");
    let older = seen(&*a, &key).await.expect("a miss");
    write(&*b, "clinic").await;
    fill(&*b, &key, entry("newer")).await;
    a.store(&key, &older, entry("older")).await.unwrap();
    assert_eq!(hit(&*a, &key).await, Some(Bytes::from_static(b"newer")));
}

pub(crate) async fn tenants_do_not_fence_or_invalidate_each_other(
    Handles { a, b, .. }: Handles<impl StatsCache>,
) {
    let others: Vec<_> = (0..8).map(|n| key(&format!("other-{n}"))).collect();
    for other in &others {
        fill(&*a, other, entry("other")).await;
    }
    let fence = b.fence(&tenant("clinic")).await.unwrap();
    let untouched = |hits: Vec<Option<Bytes>>| hits.into_iter().flatten().count();
    // A bounded table of generations lets two tenants meet once in a long while.
    let during = join_all(others.iter().map(|other| hit(&*a, other))).await;
    assert!(untouched(during) >= 7);
    b.release(fence).await.unwrap();
    let after = join_all(others.iter().map(|other| hit(&*a, other))).await;
    assert!(untouched(after) >= 7);
}

pub(crate) async fn kinds_and_segments_are_kept_apart(Handles { a, .. }: Handles<impl StatsCache>) {
    let tenant = tenant("clinic");
    let recife: &dyn std::fmt::Display = &"America/Recife";
    let keys = [
        StatsKey::new("mega_stats", &tenant, &[recife, &"2025-10-31"]),
        StatsKey::new("mega_stats", &tenant, &[recife, &"2025-11-01"]),
        StatsKey::new("mega_stats", &tenant, &[&"America/Bahia", &"2025-10-31"]),
        StatsKey::new("summary", &tenant, &[recife, &"2025-10-31"]),
    ];
    for (key, body) in keys.iter().zip(["1", "2", "3", "4"]) {
        fill(&*a, key, entry(body)).await;
    }
    for (key, body) in keys.iter().zip(["1", "2", "3", "4"]) {
        assert_eq!(
            hit(&*a, key).await,
            Some(Bytes::from_static(body.as_bytes()))
        );
    }
}

/// Polls until `key` is no longer hit.
async fn gone(cache: &dyn StatsCache, key: &StatsKey) {
    while hit(cache, key).await.is_some() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) async fn the_time_to_live_runs_from_the_start_of_the_computation(
    Handles { a, b, .. }: Handles<impl StatsCache>,
) {
    let nearly_over = Entry {
        age: TTL.saturating_sub(Duration::from_secs(1)),
        ..entry("slow")
    };
    fill(&*a, &key("slow"), nearly_over).await;
    let stored = std::time::Instant::now();
    gone(&*b, &key("slow")).await;
    assert!(
        stored.elapsed() < TTL / 2,
        "the entry lived on for a time to live of its own"
    );
    fill(
        &*a,
        &key("too-slow"),
        Entry {
            age: TTL,
            ..entry("too slow")
        },
    )
    .await;
    assert_eq!(hit(&*a, &key("too-slow")).await, None);
}

pub(crate) async fn a_hit_does_not_extend_the_time_to_live(
    Handles { a, .. }: Handles<impl StatsCache>,
) {
    let nearly_over = Entry {
        age: TTL.saturating_sub(Duration::from_secs(1)),
        ..entry("polled")
    };
    fill(&*a, &key("polled"), nearly_over).await;
    assert!(hit(&*a, &key("polled")).await.is_some());
    let polled = std::time::Instant::now();
    gone(&*a, &key("polled")).await;
    assert!(polled.elapsed() < TTL / 2, "polling kept the entry alive");
}

pub(crate) async fn the_age_of_a_hit_grows(Handles { a, b, .. }: Handles<impl StatsCache>) {
    let began = Duration::from_secs(5);
    fill(
        &*a,
        &key("clinic"),
        Entry {
            age: began,
            ..entry("old")
        },
    )
    .await;
    let Lookup::Hit(_, entry) = b.look_up(&key("clinic")).await.unwrap() else {
        panic!("no hit")
    };
    assert!(entry.age >= began && entry.age < TTL, "{:?}", entry.age);
}
