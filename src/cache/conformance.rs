//! What every backend must do: one async function per property, which panics if the property does not
//! hold. Whoever writes a backend can run them: they are there with the Cargo feature `conformance`.
//!
//! [`safety!`] makes a test of each property that every backend must have, [`caching!`] of those of
//! backends that keep anything, and [`listing!`] of those of backends that list their keys.
//!
//! ```
//! use megastats::cache::{
//!     MemoryCache,
//!     conformance::{self, Handles, LIFE},
//! };
//!
//! /// A backend to test, as two instances of the service see it.
//! async fn handles() -> Handles<MemoryCache> {
//!     Handles::one(MemoryCache::new(LIFE, 1000))
//! }
//!
//! // In a module of tests: one test per property, on tokio.
//! # #[cfg(test)]
//! mod tests {
//! #   use super::*;
//!     conformance::safety!(handles());
//!     conformance::caching!(handles());
//!     conformance::listing!(handles());
//! }
//!
//! // Or one property by itself.
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! conformance::lookups_bypass_from_fence_to_release(handles().await).await;
//! # }
//! ```

#![expect(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a property that does not hold panics"
)]

mod history;
mod keys;
mod purge;
mod stale;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::join_all;

use super::{Entry, Lifetime, Lookup, Permit, StatsCache, StatsKey};
use crate::tenant::TenantId;

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
#[expect(missing_debug_implementations, reason = "backends have none")]
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

/// Makes a test of each property named, over the handles that `$backend`, a future, gives. Where a
/// property needs something to be kept, it is run again if something disturbed the backend.
#[doc(hidden)]
#[macro_export]
macro_rules! cache_conformance_tests {
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

/// Makes a test of each property that every backend must have, also one that keeps nothing.
#[doc(hidden)]
#[macro_export]
macro_rules! cache_safety_tests {
    ($backend:expr) => {
        $crate::cache_conformance_tests! { $backend => always
            lookups_bypass_from_fence_to_release
            what_was_computed_before_a_write_is_never_hit_after_it
            a_store_while_the_fence_stands_is_never_hit
            the_older_of_two_computations_may_store_last_but_is_not_hit
            no_read_is_older_than_the_last_acknowledged_write
            what_was_computed_before_everything_was_forgotten_is_never_found_after_it
            fences_stand_while_everything_is_forgotten
        }
    };
}

/// Makes a test of each property of backends that keep something.
#[doc(hidden)]
#[macro_export]
macro_rules! cache_caching_tests {
    ($backend:expr) => {
        $crate::cache_conformance_tests! { $backend => undisturbed
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

/// Makes a test of each property of backends that list their keys.
#[doc(hidden)]
#[macro_export]
macro_rules! cache_listing_tests {
    ($backend:expr) => {
        $crate::cache_conformance_tests! { $backend => undisturbed
            keys_are_listed_in_order_page_by_page
            keys_that_would_not_be_hit_are_not_listed
        }
    };
}

pub use self::{history::*, keys::*, purge::*, stale::*};
#[doc(inline)]
pub use crate::{
    cache_caching_tests as caching, cache_listing_tests as listing, cache_safety_tests as safety,
};

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
pub fn is_bypass(lookup: &Lookup) -> bool {
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

/// From fence to release every lookup of the tenant says bypass, on every instance, and what was stored
/// before is gone afterwards.
pub async fn lookups_bypass_from_fence_to_release(Handles { a, b, .. }: Handles<impl StatsCache>) {
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

/// A permit from before a write stores nothing that is hit after it.
pub async fn what_was_computed_before_a_write_is_never_hit_after_it(
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

/// What is stored while a fence stands is not hit, then or later.
pub async fn a_store_while_the_fence_stands_is_never_hit(
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

/// Of two computations the one from before a write may store last, and is not hit.
pub async fn the_older_of_two_computations_may_store_last_but_is_not_hit(
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

/// Whatever bytes are stored, every instance hits the same.
pub async fn what_is_stored_is_hit_byte_for_byte(Handles { a, b, .. }: Handles<impl StatsCache>) {
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

/// While several writes are under way, the cache opens when the last fence is released.
pub async fn the_last_of_several_fences_opens_the_cache_again(
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

/// After a release the next lookup misses under a new generation, and what is stored by it is hit.
pub async fn a_release_opens_the_cache_under_a_new_generation(
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

/// A store by a permit from before a write does not displace what was stored after the write.
pub async fn an_older_computation_that_stores_last_displaces_nothing(
    Handles { a, b, .. }: Handles<impl StatsCache>,
) {
    let key = key("clinic");
    let older = seen(&*a, &key).await.expect("a miss");
    write(&*b, "clinic").await;
    fill(&*b, &key, entry("newer")).await;
    a.store(&key, &older, entry("older")).await.unwrap();
    assert_eq!(hit(&*a, &key).await, Some(Bytes::from_static(b"newer")));
}

/// A write to one tenant leaves other tenants' entries to be hit.
pub async fn tenants_do_not_fence_or_invalidate_each_other(
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

/// Keys that differ in any part are different keys.
pub async fn kinds_and_segments_are_kept_apart(Handles { a, .. }: Handles<impl StatsCache>) {
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

/// An entry that took long to compute is hit for what is left of its time to live.
pub async fn the_time_to_live_runs_from_the_start_of_the_computation(
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

/// An entry that is hit again and again expires all the same.
pub async fn a_hit_does_not_extend_the_time_to_live(Handles { a, .. }: Handles<impl StatsCache>) {
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

/// A hit tells how old its entry is, on every instance.
pub async fn the_age_of_a_hit_grows(Handles { a, b, .. }: Handles<impl StatsCache>) {
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
