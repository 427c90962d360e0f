//! Fences, generations and times to live: what keeps answers fresh, one step at a time.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;

use super::handles::{Handles, TTL, entry, fill, gone, hit, is_bypass, key, seen, tenant, write};
use crate::cache::{
    key::StatsKey,
    stats_cache::{Entry, Lookup, StatsCache},
};

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

/// What is stored while a fence is raised is not hit, then or later.
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
        seen(&*b, &key).await.map(|permit| permit.generation),
        Some(before.generation),
        "nothing was written"
    );
    write(&*b, "clinic").await;
    let after = seen(&*a, &key).await.expect("a miss");
    assert_ne!(before.generation, after.generation);
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
