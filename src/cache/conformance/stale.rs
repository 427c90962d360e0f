//! Entries past their time to live: when they are offered, and when they are not.

use std::time::Duration;

use bytes::Bytes;

use super::handles::{Handles, STALE, TTL, entry, fill, hit, is_bypass, key, tenant, write};
use crate::cache::{Entry, Lookup, StatsCache, StatsKey};

/// What is offered for want of anything newer.
pub(super) async fn expired(cache: &dyn StatsCache, key: &StatsKey) -> Option<Entry> {
    match cache.look_up(key).await.unwrap() {
        Lookup::Expired(_, entry) => Some(entry),
        Lookup::Hit(..) | Lookup::Miss(_) | Lookup::Bypass(_) => None,
    }
}

/// An entry past its time to live.
pub(super) fn old(body: &'static str) -> Entry {
    Entry {
        age: TTL + Duration::from_secs(1),
        ..entry(body)
    }
}

/// An entry past its time to live is offered as expired while nobody writes to its tenant.
pub async fn an_expired_entry_is_offered_while_its_generation_holds(
    Handles { a, b, .. }: Handles<impl StatsCache>,
) {
    fill(&*a, &key("clinic"), old("old")).await;
    write(&*b, "other").await;
    for cache in [&a, &b] {
        let offered = expired(&**cache, &key("clinic")).await.expect("an offer");
        assert_eq!(offered.body, "old");
        assert!(offered.age > TTL && offered.age < TTL + STALE);
    }
}

/// An entry past its time to live is not offered once a write to its tenant has begun.
pub async fn an_expired_entry_is_not_offered_from_a_fence_on(
    Handles { a, b, .. }: Handles<impl StatsCache>,
) {
    let key = key("clinic");
    fill(&*a, &key, old("old")).await;
    let fence = b.fence(&tenant("clinic")).await.unwrap();
    for cache in [&a, &b] {
        assert!(is_bypass(&cache.look_up(&key).await.unwrap()));
    }
    b.release(fence).await.unwrap();
    for cache in [&a, &b] {
        let found = cache.look_up(&key).await.unwrap();
        assert!(matches!(found, Lookup::Miss(_)), "{found:?}");
    }
}

/// An expired entry is gone when its whole lifetime has passed.
pub async fn an_entry_is_offered_for_its_lifetime_and_no_longer(
    Handles { a, b, .. }: Handles<impl StatsCache>,
) {
    let at_the_end = Entry {
        age: (TTL + STALE).saturating_sub(Duration::from_secs(1)),
        ..entry("old")
    };
    fill(&*a, &key("at-the-end"), at_the_end).await;
    let stored = std::time::Instant::now();
    while expired(&*b, &key("at-the-end")).await.is_some() {
        assert_eq!(hit(&*b, &key("at-the-end")).await, None);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(stored.elapsed() < STALE / 2, "it was offered for ever");
    let too_late = Entry {
        age: TTL + STALE,
        ..entry("too late")
    };
    fill(&*a, &key("too-late"), too_late).await;
    let found = b.look_up(&key("too-late")).await.unwrap();
    assert!(matches!(found, Lookup::Miss(_)), "{found:?}");
}

/// The permit that comes with a hit or an expired entry stores a newer one.
pub async fn what_has_expired_is_replaced_under_the_same_generation(
    Handles { a, b, .. }: Handles<impl StatsCache>,
) {
    let key = key("clinic");
    fill(&*a, &key, old("old")).await;
    for (cache, other, body) in [(&b, &a, "new"), (&a, &b, "newer")] {
        // Also while it still hits: what is polled is computed before it expires.
        let seen = match cache.look_up(&key).await.unwrap() {
            Lookup::Expired(seen, _) | Lookup::Hit(seen, _) => seen,
            found => panic!("{found:?}"),
        };
        cache.store(&key, &seen, entry(body)).await.unwrap();
        assert_eq!(
            hit(&**other, &key).await,
            Some(Bytes::from_static(body.as_bytes()))
        );
    }
}
