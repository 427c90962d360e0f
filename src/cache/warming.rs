//! Which items are being read, and when each is due to be computed anew: bookkeeping, bounded in
//! number. The cache does not know what an item is.

use std::{
    collections::{BTreeMap, HashMap},
    hash::{BuildHasher, Hash, RandomState},
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use parking_lot::{Mutex, RwLock};

/// Enough locks that the workers of any one machine rarely meet at one.
const SHARDS: usize = 64;

/// The items that were read lately, and when each is due.
#[derive(Debug)]
pub struct Warming<T> {
    /// When each item was read last, in milliseconds since `start`. An item in here is in `due` as
    /// well, unless [`Warming::next`] has taken it out.
    read: Box<[RwLock<HashMap<T, AtomicU64>>]>,
    /// The items that are due at each moment.
    due: Mutex<BTreeMap<Instant, Vec<T>>>,
    hasher: RandomState,
    start: Instant,
    forget_after: Duration,
    max: usize,
    count: AtomicUsize,
}

impl<T: Clone + Eq + Hash> Warming<T> {
    /// Forgets items that were not read for `forget_after`, and keeps `max` at most.
    pub fn new(forget_after: Duration, max: usize) -> Self {
        Self {
            read: (0..SHARDS).map(|_| RwLock::default()).collect(),
            due: Mutex::default(),
            hasher: RandomState::new(),
            start: Instant::now(),
            forget_after,
            max,
            count: AtomicUsize::new(0),
        }
    }

    /// Notes that `item` was read. One that was not known yet is due when `due` says.
    pub fn note_read(&self, item: &T, due: impl FnOnce() -> Instant) {
        let shard = self.shard(item);
        let now_ms = self.now_ms();
        if let Some(read) = shard.read().get(item) {
            read.store(now_ms, Ordering::Relaxed);
            return;
        }
        if self.count.fetch_add(1, Ordering::Relaxed) >= self.max {
            self.count.fetch_sub(1, Ordering::Relaxed);
            return;
        }
        let mut shard = shard.write();
        if shard.insert(item.clone(), AtomicU64::new(now_ms)).is_some() {
            // Another reader came first.
            self.count.fetch_sub(1, Ordering::Relaxed);
            return;
        }
        drop(shard);
        self.schedule(item.clone(), due());
    }

    /// Takes out an item that is due by `now` and was read lately. It must be given back by
    /// [`Warming::schedule`].
    pub fn next(&self, now: Instant) -> Option<T> {
        loop {
            let item = {
                let mut due = self.due.lock();
                let mut first = due.first_entry().filter(|first| *first.key() <= now)?;
                let item = first.get_mut().pop();
                if first.get().is_empty() {
                    first.remove();
                }
                item?
            };
            let mut shard = self.shard(&item).write();
            let read = shard.get(&item).map(|read| read.load(Ordering::Relaxed));
            let unread = self.now_ms().saturating_sub(read.unwrap_or_default());
            if Duration::from_millis(unread) <= self.forget_after {
                return Some(item);
            }
            shard.remove(&item);
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Makes `item`, which [`Warming::next`] gave, due at `at`.
    pub fn schedule(&self, item: T, at: Instant) {
        self.due.lock().entry(at).or_default().push(item);
    }

    /// The number of items known.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    fn shard(&self, item: &T) -> &RwLock<HashMap<T, AtomicU64>> {
        let hash = self.hasher.hash_one(item);
        let index = usize::try_from(hash % SHARDS as u64).expect("below SHARDS, which is a usize");
        &self.read[index]
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORGET_AFTER: Duration = Duration::from_secs(60);

    #[test]
    fn what_is_read_is_due_in_order_and_once() {
        let (warming, now) = (Warming::new(FORGET_AFTER, 10), Instant::now());
        let later = now + Duration::from_secs(1);
        for (item, at) in [("later", later), ("now", now), ("now", later)] {
            warming.note_read(&item, || at);
        }
        assert_eq!(warming.next(now), Some("now"));
        assert_eq!(warming.next(now), None);
        assert_eq!(warming.next(later), Some("later"));
        assert_eq!(warming.next(later), None);
        warming.note_read(&"now", || unreachable!("it is known"));
        assert_eq!(warming.next(later), None, "it was not given back");
        warming.schedule("now", later);
        assert_eq!(warming.next(later), Some("now"));
    }

    #[test]
    fn what_nobody_reads_is_forgotten_and_may_return() {
        let (warming, now) = (Warming::new(Duration::ZERO, 10), Instant::now());
        warming.note_read(&"left", || now);
        while warming.now_ms() == 0 || warming.start.elapsed() < Duration::from_millis(5) {
            std::thread::yield_now();
        }
        assert_eq!(warming.next(now), None);
        assert_eq!(warming.count(), 0);
        warming.note_read(&"left", || now);
        assert_eq!(warming.count(), 1);
    }

    #[test]
    fn being_due_is_not_being_read() {
        let window = Duration::from_millis(20);
        let warming = Warming::new(window, 10);
        warming.note_read(&"left", Instant::now);
        let began = Instant::now();
        while let Some(item) = warming.next(Instant::now()) {
            warming.schedule(item, Instant::now());
            assert!(began.elapsed() < 100 * window, "it keeps itself alive");
        }
        assert_eq!(warming.count(), 0);
    }

    #[test]
    fn a_flood_is_bounded_and_makes_room_once_it_is_over() {
        let (warming, now) = (Warming::new(Duration::ZERO, 10), Instant::now());
        for item in 0..1000 {
            warming.note_read(&item, || now);
        }
        assert_eq!(warming.count(), 10);
        while warming.start.elapsed() < Duration::from_millis(5) {
            std::thread::yield_now();
        }
        assert_eq!(warming.next(now), None);
        warming.note_read(&2000, || now);
        assert_eq!(warming.count(), 1);
    }
}
