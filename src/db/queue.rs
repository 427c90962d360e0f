//! Waiting for a connection. Lives here: how many may wait, and what is known of those who wait or
//! were refused. Not here: what they wait for (`pool`).

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::error::DbError;

/// How often refusals are logged at most: there may be thousands in a second.
const BETWEEN_LOGS: Duration = Duration::from_secs(10);

/// What there is only so much of, and those who wait for it, in the order in which they came.
#[derive(Debug)]
pub(super) struct Queue {
    free: Arc<Semaphore>,
    places: Semaphore,
    size: usize,
    length: usize,
}

impl Queue {
    /// For `size` at once, while `length` wait at most.
    pub(super) fn new(size: usize, length: usize) -> Self {
        Self {
            free: Arc::new(Semaphore::new(size)),
            places: Semaphore::new(length),
            size,
            length,
        }
    }

    /// Waits, unless too many do: then the answer is `None`, at once.
    pub(super) async fn enter(&self) -> Option<OwnedSemaphorePermit> {
        if let Ok(permit) = Arc::clone(&self.free).try_acquire_owned() {
            return Some(permit);
        }
        let _place = self.places.try_acquire().ok()?;
        Some(self.wait().await)
    }

    /// Waits, however many do.
    pub(super) async fn wait(&self) -> OwnedSemaphorePermit {
        let permit = Arc::clone(&self.free).acquire_owned().await;
        permit.expect("a queue is never closed")
    }

    /// How many are in.
    pub(super) fn in_use(&self) -> usize {
        self.size - self.free.available_permits()
    }

    /// How many have a place in the queue.
    pub(super) fn waiting(&self) -> usize {
        self.length - self.places.available_permits()
    }
}

/// Why a request that needs the database was sent away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// As many as may wait did so already.
    Full,
    /// It had waited for as long as it may.
    Late,
    /// Another process held the lock of the SQLite file.
    Locked,
}

/// How many requests were sent away since the start, by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Refused {
    /// As many as `database.pool_queue` waited already.
    pub full: u64,
    /// They had waited for `database.pool_wait_ms`.
    pub late: u64,
    /// Another process held the lock of the SQLite file for `database.busy_timeout_ms`.
    pub locked: u64,
}

/// Counts those who were sent away, and logs them together.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    full: AtomicU64,
    late: AtomicU64,
    locked: AtomicU64,
    logged: Mutex<Option<(Instant, Refused)>>,
}

impl Refusals {
    /// Counts one; it is told [`DbError::Busy`].
    pub(super) fn refuse(&self, reason: Reason) -> DbError {
        let count = match reason {
            Reason::Full => &self.full,
            Reason::Late => &self.late,
            Reason::Locked => &self.locked,
        };
        count.fetch_add(1, Ordering::Relaxed);
        self.log();
        DbError::Busy
    }

    pub(super) fn so_far(&self) -> Refused {
        Refused {
            full: self.full.load(Ordering::Relaxed),
            late: self.late.load(Ordering::Relaxed),
            locked: self.locked.load(Ordering::Relaxed),
        }
    }

    fn log(&self) {
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        let before = match *logged {
            Some((at, _)) if at.elapsed() < BETWEEN_LOGS => return,
            Some((_, before)) => before,
            None => Refused::default(),
        };
        let now = self.so_far();
        *logged = Some((Instant::now(), now));
        log::warn!(
            "database busy: since the last such line {} requests were sent away as \
             database.pool_queue was full, {} after database.pool_wait_ms, {} after \
             database.busy_timeout_ms",
            now.full - before.full,
            now.late - before.late,
            now.locked - before.locked,
        );
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn whoever_comes_when_the_queue_is_full_is_sent_away_at_once() {
        let queue = Queue::new(2, 1);
        let first = queue.enter().await.unwrap();
        let second = queue.enter().await.unwrap();
        let mut third = Box::pin(queue.enter());
        assert!(third.as_mut().now_or_never().is_none(), "it waits");
        assert_eq!((queue.in_use(), queue.waiting()), (2, 1));
        assert!(queue.enter().now_or_never().unwrap().is_none());
        drop(first);
        let third = third.await.unwrap();
        assert_eq!((queue.in_use(), queue.waiting()), (2, 0));
        drop((second, third));
        assert_eq!((queue.in_use(), queue.waiting()), (0, 0));
    }

    #[tokio::test]
    async fn whoever_gives_up_leaves_the_queue() {
        let queue = Queue::new(1, 1);
        let first = queue.enter().await.unwrap();
        for _ in 0..2 {
            let mut waiting = Box::pin(queue.enter());
            assert!(waiting.as_mut().now_or_never().is_none(), "it waits");
        }
        assert_eq!(queue.waiting(), 0);
        drop(first);
        assert!(queue.enter().now_or_never().unwrap().is_some());
    }

    #[tokio::test]
    async fn without_a_queue_nobody_waits() {
        let queue = Queue::new(1, 0);
        let first = queue.enter().await;
        assert!(first.is_some());
        assert!(queue.enter().now_or_never().unwrap().is_none());
    }

    #[tokio::test]
    async fn nobody_overtakes_those_who_wait() {
        let queue = Queue::new(1, 2);
        let first = queue.enter().await.unwrap();
        let mut second = Box::pin(queue.enter());
        assert!(second.as_mut().now_or_never().is_none());
        drop(first);
        assert!(queue.enter().now_or_never().is_none());
        assert!(second.now_or_never().unwrap().is_some());
    }

    #[test]
    fn refusals_are_counted_by_reason() {
        let refusals = Refusals::default();
        for reason in [Reason::Full, Reason::Full, Reason::Late, Reason::Locked] {
            assert!(matches!(refusals.refuse(reason), DbError::Busy));
        }
        let counted = Refused {
            full: 2,
            late: 1,
            locked: 1,
        };
        assert_eq!(refusals.so_far(), counted);
    }
}
