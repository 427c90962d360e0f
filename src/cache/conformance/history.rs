//! The one promise, under load: no read is older than the last write acknowledged before it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::join_all;

use super::handles::{Handles, key, tenant};
use crate::cache::{Entry, Lookup, StatsCache};

/// Two writers and four readers at once: a read never gets less than what was acknowledged before it.
pub async fn no_read_is_older_than_the_last_acknowledged_write(
    Handles { a, b, .. }: Handles<impl StatsCache>,
) {
    const WRITES: u64 = 200;
    let key = key("clinic");
    let (database, acknowledged) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let writer = |cache: Arc<dyn StatsCache>| {
        let (database, acknowledged) = (Arc::clone(&database), Arc::clone(&acknowledged));
        tokio::spawn(async move {
            for _ in 0..WRITES {
                let fence = cache.fence(&tenant("clinic")).await.unwrap();
                tokio::task::yield_now().await;
                let written = database.fetch_add(1, Ordering::SeqCst) + 1;
                tokio::task::yield_now().await;
                cache.release(fence).await.unwrap();
                acknowledged.fetch_max(written, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_micros(50)).await;
            }
        })
    };
    let reader = |cache: Arc<dyn StatsCache>| {
        let (database, acknowledged) = (Arc::clone(&database), Arc::clone(&acknowledged));
        let key = key.clone();
        tokio::spawn(async move {
            while acknowledged.load(Ordering::SeqCst) < 2 * WRITES {
                let at_least = acknowledged.load(Ordering::SeqCst);
                let answer = match cache.look_up(&key).await.unwrap() {
                    Lookup::Hit(_, entry) => {
                        std::str::from_utf8(&entry.body).unwrap().parse().unwrap()
                    }
                    Lookup::Expired(seen, _) | Lookup::Miss(seen) => {
                        let computed = database.load(Ordering::SeqCst);
                        tokio::task::yield_now().await;
                        let body = Bytes::from(computed.to_string());
                        let entry = Entry {
                            body,
                            age: Duration::ZERO,
                        };
                        cache.store(&key, &seen, entry).await.unwrap();
                        computed
                    }
                    Lookup::Bypass(_) => database.load(Ordering::SeqCst),
                };
                assert!(
                    answer >= at_least,
                    "read {answer} after {at_least} was acknowledged"
                );
                tokio::task::yield_now().await;
            }
        })
    };
    let a = || Arc::clone(&a) as Arc<dyn StatsCache>;
    let b = || Arc::clone(&b) as Arc<dyn StatsCache>;
    let tasks = [
        writer(a()),
        writer(b()),
        reader(a()),
        reader(b()),
        reader(a()),
        reader(b()),
    ];
    for task in join_all(tasks).await {
        task.unwrap();
    }
}
