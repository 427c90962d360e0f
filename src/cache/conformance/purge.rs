//! Forgetting everything: what was there before is not found after it, on any instance.

use bytes::Bytes;

use super::{Handles, entry, fill, hit, key, seen};
use crate::cache::Lookup;

pub(crate) async fn what_was_computed_before_everything_was_forgotten_is_never_found_after_it(
    Handles { a, b, .. }: Handles,
) {
    let key = key("clinic");
    let before = seen(&*a, &key).await;
    if let Some(before) = before {
        a.store(&key, before, entry("before")).await.unwrap();
    }
    b.forget_all().await.unwrap();
    for cache in [&a, &b] {
        let found = cache.lookup(&key).await.unwrap();
        assert!(
            matches!(found, Lookup::Miss(_) | Lookup::Fenced),
            "{found:?}"
        );
    }
    // A computation that had begun may store late.
    let Some(before) = before else { return };
    a.store(&key, before, entry("before")).await.unwrap();
    for cache in [&a, &b] {
        let found = cache.lookup(&key).await.unwrap();
        assert!(
            !matches!(found, Lookup::Hit(..) | Lookup::Expired(..)),
            "{found:?}"
        );
        assert_ne!(found, Lookup::Miss(before));
    }
}

pub(crate) async fn fences_stand_while_everything_is_forgotten(Handles { a, b, .. }: Handles) {
    let key = key("clinic");
    let fence = a.fence(key.tenant()).await.unwrap();
    b.forget_all().await.unwrap();
    for cache in [&a, &b] {
        assert_eq!(cache.lookup(&key).await.unwrap(), Lookup::Fenced);
    }
    a.release(fence).await.unwrap();
}

pub(crate) async fn everything_is_forgotten_on_every_instance_and_filled_again(
    Handles { a, b, .. }: Handles,
) {
    let keys: Vec<_> = (0..20).map(|n| key(&format!("clinic-{n}"))).collect();
    for round in 0..2 {
        for key in &keys {
            fill(&*a, key, entry("before")).await;
        }
        b.forget_all().await.unwrap();
        for cache in [&a, &b] {
            assert_eq!(cache.keys(None, 1).await.unwrap().total, 0, "{round}");
        }
    }
    for key in &keys {
        fill(&*b, key, entry("after")).await;
        assert_eq!(hit(&*a, key).await, Some(Bytes::from_static(b"after")));
    }
}
