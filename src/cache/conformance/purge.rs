//! Purging everything: what was there before is not found after it, on any instance.

use bytes::Bytes;

use super::handles::{Handles, entry, fill, hit, is_bypass, key, seen};
use crate::cache::{Lookup, StatsCache};

/// After [`StatsCache::purge`] nothing from before is found, even if it is stored late.
pub async fn what_was_computed_before_a_purge_is_never_found_after_it(
    Handles { a, b, .. }: Handles<impl StatsCache>,
) {
    let key = key("clinic");
    let before = seen(&*a, &key).await;
    if let Some(before) = &before {
        a.store(&key, before, entry("before")).await.unwrap();
    }
    b.purge().await.unwrap();
    for cache in [&a, &b] {
        let found = cache.look_up(&key).await.unwrap();
        assert!(
            matches!(found, Lookup::Miss(_) | Lookup::Bypass(_)),
            "{found:?}"
        );
    }
    // A computation that had begun may store late.
    let Some(before) = before else { return };
    a.store(&key, &before, entry("before")).await.unwrap();
    for cache in [&a, &b] {
        let found = cache.look_up(&key).await.unwrap();
        assert!(
            !matches!(found, Lookup::Hit(..) | Lookup::Expired(..)),
            "{found:?}"
        );
        assert!(!matches!(found, Lookup::Miss(permit) if permit.generation == before.generation));
    }
}

/// [`StatsCache::purge`] takes no fence down.
pub async fn fences_stand_while_everything_is_purged(
    Handles { a, b, .. }: Handles<impl StatsCache>,
) {
    let key = key("clinic");
    let fence = a.fence(key.tenant()).await.unwrap();
    b.purge().await.unwrap();
    for cache in [&a, &b] {
        assert!(is_bypass(&cache.look_up(&key).await.unwrap()));
    }
    a.release(fence).await.unwrap();
}

/// [`StatsCache::purge`] empties every instance, which can be filled again.
pub async fn everything_is_purged_on_every_instance_and_filled_again(
    Handles { a, b, .. }: Handles<impl StatsCache>,
) {
    let keys: Vec<_> = (0..20).map(|n| key(&format!("clinic-{n}"))).collect();
    for _ in 0..2 {
        for key in &keys {
            fill(&*a, key, entry("before")).await;
        }
        b.purge().await.unwrap();
        for cache in [&a, &b] {
            for key in &keys {
                assert_eq!(hit(&**cache, key).await, None);
            }
        }
    }
    for key in &keys {
        fill(&*b, key, entry("after")).await;
        assert_eq!(hit(&*a, key).await, Some(Bytes::from_static(b"after")));
    }
}
