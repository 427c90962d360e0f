//! Answers from the cache and others, and how long they took, since the start and in the last minute:
//! what `/cache-metrics` shows. Not here: how it is shown over HTTP.

use std::{
    collections::VecDeque,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// How often [`CacheMetrics::tick`] wants to be called.
pub const TICK: Duration = Duration::from_secs(1);

/// Ticks in the window of [`CacheMetrics::last_minute`].
const WINDOW: usize = 60;

/// Counts the answers given from the cache, and those that were not.
///
/// Counting is a few relaxed additions; the window is had by remembering the sums once per tick.
#[derive(Debug, Default)]
pub struct CacheMetrics {
    hits: Sum,
    misses: Sum,
    history: Mutex<VecDeque<CacheFigures>>,
}

#[derive(Debug, Default)]
struct Sum {
    count: AtomicU64,
    nanoseconds: AtomicU64,
}

impl Sum {
    fn add(&self, took: Duration) {
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.count.fetch_add(1, Ordering::Relaxed);
        self.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    fn read(&self) -> Timed {
        Timed {
            count: self.count.load(Ordering::Relaxed),
            nanoseconds: self.nanoseconds.load(Ordering::Relaxed),
        }
    }
}

/// Answers of both kinds over some span of time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CacheFigures {
    /// Answers from the cache.
    pub hits: Timed,
    /// All others.
    pub misses: Timed,
}

/// How many answers, and how long they took together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timed {
    /// How many.
    pub count: u64,
    /// The sum of their times, in nanoseconds.
    pub nanoseconds: u64,
}

impl Timed {
    /// The average time in milliseconds; 0 when nothing was counted.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a figure to look at")]
    pub fn average_ms(self) -> f64 {
        if self.count == 0 {
            0.0
        } else {
            self.nanoseconds as f64 / self.count as f64 / 1e6
        }
    }

    fn since(self, base: Self) -> Self {
        Self {
            count: self.count.saturating_sub(base.count),
            nanoseconds: self.nanoseconds.saturating_sub(base.nanoseconds),
        }
    }
}

impl CacheFigures {
    /// All answers.
    #[must_use]
    pub fn total(self) -> u64 {
        self.hits.count + self.misses.count
    }

    /// The share of hits in percent; 0 when nothing was counted.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a figure to look at")]
    pub fn hit_rate(self) -> f64 {
        if self.total() == 0 {
            0.0
        } else {
            self.hits.count as f64 / self.total() as f64 * 100.0
        }
    }
}

impl CacheMetrics {
    /// Counts an answer from the cache.
    pub fn hit(&self, took: Duration) {
        self.hits.add(took);
    }

    /// Counts an answer that had to be computed for its request.
    pub fn miss(&self, took: Duration) {
        self.misses.add(took);
    }

    /// Everything since the start.
    #[must_use]
    pub fn since_start(&self) -> CacheFigures {
        CacheFigures {
            hits: self.hits.read(),
            misses: self.misses.read(),
        }
    }

    /// The last 60 ticks, or less if the service is younger.
    #[must_use]
    pub fn last_minute(&self) -> CacheFigures {
        let history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        let base = if history.len() < WINDOW {
            None
        } else {
            history.front().copied()
        };
        let (base, now) = (base.unwrap_or_default(), self.since_start());
        CacheFigures {
            hits: now.hits.since(base.hits),
            misses: now.misses.since(base.misses),
        }
    }

    /// Moves the window on.
    pub fn tick(&self) {
        let now = self.since_start();
        let mut history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        if history.len() == WINDOW {
            history.pop_front();
        }
        history.push_back(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn averages_and_the_hit_rate_are_of_what_was_counted() {
        let metrics = CacheMetrics::default();
        assert_eq!(metrics.since_start().hit_rate().to_bits(), 0f64.to_bits());
        for _ in 0..3 {
            metrics.hit(Duration::from_millis(1));
        }
        metrics.miss(Duration::from_millis(100));
        let figures = metrics.since_start();
        assert_eq!(figures.total(), 4);
        assert_eq!(figures.hit_rate().to_string(), "75");
        assert_eq!(figures.hits.average_ms().to_string(), "1");
        assert_eq!(figures.misses.average_ms().to_string(), "100");
    }

    #[test]
    fn the_last_minute_forgets_what_is_older_and_the_sum_since_the_start_does_not() {
        let metrics = CacheMetrics::default();
        metrics.hit(Duration::from_millis(1));
        for _ in 0..WINDOW {
            assert_eq!(metrics.last_minute().total(), 1);
            metrics.tick();
        }
        assert_eq!(metrics.last_minute().total(), 0);
        metrics.miss(Duration::from_millis(1));
        assert_eq!(metrics.last_minute().misses.count, 1);
        assert_eq!(metrics.since_start().total(), 2);
    }
}
