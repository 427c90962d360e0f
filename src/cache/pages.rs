//! The keys that a backend holds, page by page: what `/cache-metrics` lists.

use std::collections::BinaryHeap;

use async_trait::async_trait;

use super::stats_cache::CacheError;

/// Lists the keys that would be hit. Backends have this beside [`StatsCache`](super::StatsCache).
#[async_trait]
pub trait ListKeys: Send + Sync + 'static {
    /// The keys that would be hit now and sort after `after`, at most `limit` of them, in order;
    /// fewer if they are long.
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

/// How long the keys of one page may be together, in bytes. The longest are about 1,500.
const PAGE_BYTES: usize = 64 * 1024;

/// Gathers a [`KeyPage`] from keys in any order, without keeping more of them than the page.
pub(super) struct KeyPageBuilder<'a> {
    after: Option<&'a str>,
    limit: usize,
    total: usize,
    /// The lowest keys seen.
    lowest: BinaryHeap<String>,
    /// How long these are together.
    bytes: usize,
    /// The lowest key that did not fit.
    left_out: Option<String>,
}

impl<'a> KeyPageBuilder<'a> {
    pub(super) fn new(after: Option<&'a str>, limit: usize) -> Self {
        Self {
            after,
            limit,
            total: 0,
            lowest: BinaryHeap::new(),
            bytes: 0,
            left_out: None,
        }
    }

    pub(super) fn add(&mut self, key: &str) {
        self.total += 1;
        let is_beyond = self.left_out.as_deref().is_some_and(|first| key >= first);
        if is_beyond || self.after.is_some_and(|after| key <= after) {
            return;
        }
        self.bytes += key.len();
        self.lowest.push(key.to_owned());
        while self.lowest.len() > self.limit || self.bytes > PAGE_BYTES {
            self.left_out = self.lowest.pop();
            self.bytes -= self.left_out.as_ref().map_or(0, String::len);
        }
    }

    pub(super) fn finish(self) -> KeyPage {
        KeyPage {
            total: self.total,
            keys: self.lowest.into_sorted_vec(),
            more: self.left_out.is_some(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_that_follow_each_other_have_each_key_once_however_long_they_are() {
        let mut keys: Vec<String> = (0..300)
            .map(|n| format!("{}{}", n * 7 % 300, "k".repeat(n * 5)))
            .collect();
        let (mut listed, mut after) = (Vec::new(), None);
        loop {
            let mut page = KeyPageBuilder::new(after.as_deref(), 100);
            for key in &keys {
                page.add(key);
            }
            let page = page.finish();
            assert_eq!(page.total, 300);
            assert!((1..=100).contains(&page.keys.len()));
            assert!(page.keys.iter().map(String::len).sum::<usize>() <= PAGE_BYTES);
            after = page.keys.last().cloned();
            listed.extend(page.keys);
            if !page.more {
                break;
            }
        }
        keys.sort();
        assert_eq!(listed, keys);
    }
}
