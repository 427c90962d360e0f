//! The list of keys: in order, page by page, and only of what would be hit.

use std::time::Duration;

use super::{
    handles::{Handles, TTL, entry, fill, gone, key, write},
    stale::{expired, old},
};
use crate::cache::{Entry, ListKeys, StatsCache, StatsKey};

/// Pages of keys are in order, without gaps or repeats, and the last one says that it is.
pub async fn keys_are_listed_in_order_page_by_page(
    Handles { a, b, .. }: Handles<impl StatsCache + ListKeys>,
) {
    let mut all: Vec<_> = (0..5).map(|n| key(&format!("clinic-{n}"))).collect();
    for key in &all {
        fill(&*a, key, entry("{}")).await;
    }
    all.sort_by(|a, b| a.as_str().cmp(b.as_str()));
    let (mut listed, mut after) = (Vec::new(), None);
    loop {
        let page = b.keys(after.as_deref(), 2).await.unwrap();
        assert_eq!(page.total, 5);
        assert!(page.keys.len() <= 2);
        after = page.keys.last().cloned();
        listed.extend(page.keys);
        if !page.more {
            break;
        }
    }
    assert_eq!(listed, all.iter().map(StatsKey::as_str).collect::<Vec<_>>());
    let past_the_end = b.keys(listed.last().map(String::as_str), 2).await.unwrap();
    assert!(past_the_end.keys.is_empty() && !past_the_end.more);
}

/// Outdated, fenced and expired keys are not listed, and listing forgets nothing.
pub async fn keys_that_would_not_be_hit_are_not_listed(
    Handles { a, b, .. }: Handles<impl StatsCache + ListKeys>,
) {
    fill(&*a, &key("written"), entry("{}")).await;
    fill(
        &*a,
        &key("over"),
        Entry {
            age: TTL.saturating_sub(Duration::from_millis(300)),
            ..entry("{}")
        },
    )
    .await;
    fill(&*a, &key("kept"), entry("{}")).await;
    fill(&*a, &key("expired"), old("{}")).await;
    write(&*b, "written").await;
    fill(&*a, &key("fenced"), entry("{}")).await;
    let fence = b.fence(key("fenced").tenant()).await.unwrap();
    gone(&*a, &key("over")).await;
    let page = b.keys(None, 10).await.unwrap();
    assert_eq!(
        (page.total, page.keys),
        (1, vec![key("kept").as_str().to_owned()])
    );
    assert!(
        expired(&*a, &key("expired")).await.is_some(),
        "listing forgets nothing"
    );
    b.release(fence).await.unwrap();
}
