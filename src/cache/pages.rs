//! The keys that a backend holds, page by page: what `/cache-metrics` lists.

use std::collections::BinaryHeap;

use async_trait::async_trait;

use super::stats_cache::CacheError;

/// Lists the keys that would be hit. Backends have this beside [`StatsCache`](super::StatsCache).
#[async_trait]
pub trait ListKeys: Send + Sync + 'static {
    /// The keys that would be hit now and sort after `after`, at most `limit` of them, in order.
    async fn keys(&self, after: Option<&str>, limit: usize) -> Result<KeyPage, CacheError>;
}

/// One page of [`ListKeys::keys`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyPage {
    /// How many keys would be hit now, on all pages.
    pub total: usize,
    /// The keys of this page.
    pub keys: Vec<String>,
    /// Whether more keys follow.
    pub more: bool,
}

/// Gathers a [`KeyPage`] from keys in any order, without keeping more of them than the page.
pub(super) struct KeyPageBuilder<'a> {
    after: Option<&'a str>,
    limit: usize,
    total: usize,
    /// The lowest keys seen, and one more that tells whether there are more.
    lowest: BinaryHeap<String>,
}

impl<'a> KeyPageBuilder<'a> {
    pub(super) fn new(after: Option<&'a str>, limit: usize) -> Self {
        Self {
            after,
            limit,
            total: 0,
            lowest: BinaryHeap::new(),
        }
    }

    pub(super) fn add(&mut self, key: &str) {
        self.total += 1;
        let is_full = self.lowest.len() > self.limit;
        let is_beyond = is_full && self.lowest.peek().is_some_and(|last| key >= last.as_str());
        if is_beyond || self.after.is_some_and(|after| key <= after) {
            return;
        }
        self.lowest.push(key.to_owned());
        if is_full {
            self.lowest.pop();
        }
    }

    pub(super) fn finish(self) -> KeyPage {
        let mut keys = self.lowest.into_sorted_vec();
        let more = keys.len() > self.limit;
        keys.truncate(self.limit);
        KeyPage {
            total: self.total,
            keys,
            more,
        }
    }
}
