//! Waiting for a connection: how many callers may wait, and counting those that were sent away.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::error::DbError;

/// The shortest time between two log lines about callers that were sent away: there may be thousands of
/// them in a second.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// A limited number of permits, and the callers that wait for one, in the order in which they came.
#[derive(Debug)]
pub(super) struct Queue {
    permits: Arc<Semaphore>,
    returning: Arc<Returning>,
    places: Semaphore,
    size: usize,
    length: usize,
}

/// Callers that have had a permit, gave it back and want another one: they come before all others.
#[derive(Debug, Default)]
struct Returning(Mutex<VecDeque<oneshot::Sender<Permit>>>);

impl Returning {
    fn lock(&self) -> MutexGuard<'_, VecDeque<oneshot::Sender<Permit>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A permit of a [`Queue`]. Dropping it gives it to the next caller.
#[derive(Debug)]
pub(super) struct Permit {
    permit: Option<OwnedSemaphorePermit>,
    returning: Arc<Returning>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        while let Some(permit) = self.permit.take() {
            let mut returning = self.returning.lock();
            let Some(caller) = returning.pop_front() else {
                // Before the lock: nobody begins to return meanwhile.
                drop(permit);
                return;
            };
            drop(returning);
            let returned = caller.send(Self {
                permit: Some(permit),
                returning: Arc::clone(&self.returning),
            });
            // A caller that has given up does not take it.
            self.permit = returned
                .err()
                .and_then(|mut unwanted| unwanted.permit.take());
        }
    }
}

impl Queue {
    /// Has `size` permits, for which at most `length` callers wait.
    pub(super) fn new(size: usize, length: usize) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(size)),
            returning: Arc::default(),
            places: Semaphore::new(length),
            size,
            length,
        }
    }

    /// Waits for a permit. `None`, at once, if `length` callers wait already.
    pub(super) async fn enter(&self) -> Option<Permit> {
        if let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
            return Some(self.permit(permit));
        }
        let _place = self.places.try_acquire().ok()?;
        Some(self.wait().await)
    }

    /// Waits for a permit, however many callers wait already.
    pub(super) async fn wait(&self) -> Permit {
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        self.permit(permit.expect("a queue is never closed"))
    }

    /// Waits for the next permit that is free, before all callers that wait for their first one.
    pub(super) async fn return_first(&self) -> Permit {
        let next = {
            // Nobody gives a permit back meanwhile.
            let mut returning = self.returning.lock();
            match Arc::clone(&self.permits).try_acquire_owned() {
                Ok(permit) => return self.permit(permit),
                Err(_none_is_free) => {
                    let (caller, next) = oneshot::channel();
                    returning.push_back(caller);
                    next
                }
            }
        };
        next.await
            .expect("a permit is sent to every caller that returns")
    }

    fn permit(&self, permit: OwnedSemaphorePermit) -> Permit {
        Permit {
            permit: Some(permit),
            returning: Arc::clone(&self.returning),
        }
    }

    /// How many permits are in use.
    pub(super) fn in_use(&self) -> usize {
        self.size - self.permits.available_permits()
    }

    /// How many callers wait in the queue.
    pub(super) fn waiting(&self) -> usize {
        self.length - self.places.available_permits()
    }
}

/// Why a caller that needs the database was sent away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BusyReason {
    /// The queue was full.
    QueueFull,
    /// It waited for as long as is allowed.
    TimedOut,
    /// Another process held the lock of the SQLite file for too long.
    FileLocked,
}

/// How many callers were sent away since the start, by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BusyCounts {
    /// `database.pool_queue` callers waited already.
    pub queue_full: u64,
    /// They waited for `database.pool_wait_ms`.
    pub timed_out: u64,
    /// Another process held the lock of the SQLite file for `database.busy_timeout_ms`.
    pub file_locked: u64,
}

/// Counts the callers that were sent away, and logs them in summary.
#[derive(Debug, Default)]
pub(super) struct BusyCounters {
    queue_full: AtomicU64,
    timed_out: AtomicU64,
    file_locked: AtomicU64,
    logged: Mutex<Option<(Instant, BusyCounts)>>,
}

impl BusyCounters {
    /// Counts a caller, and returns the error for it.
    pub(super) fn count(&self, reason: BusyReason) -> DbError {
        let count = match reason {
            BusyReason::QueueFull => &self.queue_full,
            BusyReason::TimedOut => &self.timed_out,
            BusyReason::FileLocked => &self.file_locked,
        };
        count.fetch_add(1, Ordering::Relaxed);
        self.log();
        DbError::Busy
    }

    pub(super) fn counts(&self) -> BusyCounts {
        BusyCounts {
            queue_full: self.queue_full.load(Ordering::Relaxed),
            timed_out: self.timed_out.load(Ordering::Relaxed),
            file_locked: self.file_locked.load(Ordering::Relaxed),
        }
    }

    fn log(&self) {
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        let before = match *logged {
            Some((at, _)) if at.elapsed() < LOG_INTERVAL => return,
            Some((_, before)) => before,
            None => BusyCounts::default(),
        };
        let now = self.counts();
        *logged = Some((Instant::now(), now));
        log::warn!(
            "database busy: since the last such line {} requests were sent away as \
             database.pool_queue was full, {} after database.pool_wait_ms, {} after \
             database.busy_timeout_ms",
            now.queue_full - before.queue_full,
            now.timed_out - before.timed_out,
            now.file_locked - before.file_locked,
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

    #[tokio::test]
    async fn whoever_returns_comes_before_those_who_wait() {
        let queue = Queue::new(1, 2);
        drop(queue.enter().await);
        let held = queue.return_first().await;
        let mut waiting = Box::pin(queue.enter());
        assert!(waiting.as_mut().now_or_never().is_none());
        let mut given_up = Box::pin(queue.return_first());
        let mut returning = Box::pin(queue.return_first());
        for caller in [&mut given_up, &mut returning] {
            assert!(caller.as_mut().now_or_never().is_none(), "none is free");
        }
        drop(held);
        // It has been given the permit, and does not take it.
        drop(given_up);
        let held = returning.now_or_never().expect("the next one");
        assert!(waiting.as_mut().now_or_never().is_none());
        drop(held);
        assert!(waiting.now_or_never().unwrap().is_some());
    }

    #[test]
    fn callers_that_were_sent_away_are_counted_by_reason() {
        let counters = BusyCounters::default();
        for reason in [
            BusyReason::QueueFull,
            BusyReason::QueueFull,
            BusyReason::TimedOut,
            BusyReason::FileLocked,
        ] {
            assert!(matches!(counters.count(reason), DbError::Busy));
        }
        let counted = BusyCounts {
            queue_full: 2,
            timed_out: 1,
            file_locked: 1,
        };
        assert_eq!(counters.counts(), counted);
    }
}
