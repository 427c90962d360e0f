//! Hits and other answers, and how long they took, since the start and in the last minute: what
//! `/cache-metrics` shows. They are read from the counters that Prometheus reads.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use parking_lot::Mutex;

use super::cache::{AnswerCounter, CacheCounters};

/// How often [`CacheMetrics::tick`] wants to be called.
pub const TICK: Duration = Duration::from_secs(1);

/// How many ticks [`CacheMetrics::last_minute`] goes back.
const RECENT: usize = 60;

/// The figures since the start, remembered once per tick, so that those of the last minute are a
/// difference.
#[derive(Debug)]
pub struct CacheMetrics {
    counters: Arc<CacheCounters>,
    /// Those at the start, or at the last ticks.
    history: Mutex<VecDeque<CacheFigures>>,
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
    fn of(counters: &[&AnswerCounter]) -> Self {
        Self {
            count: counters.iter().map(|counter| counter.count()).sum(),
            nanoseconds: counters.iter().map(|counter| counter.nanoseconds()).sum(),
        }
    }

    /// The average time in milliseconds; 0 when nothing was counted.
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
    pub fn total(self) -> u64 {
        self.hits.count + self.misses.count
    }

    /// The share of hits in percent; 0 when nothing was counted.
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
    pub(super) fn new(counters: Arc<CacheCounters>) -> Self {
        Self {
            counters,
            history: Mutex::new(VecDeque::from([CacheFigures::default()])),
        }
    }

    /// Everything since the start.
    pub fn since_start(&self) -> CacheFigures {
        let CacheCounters {
            hits,
            misses,
            stale,
            bypasses,
            ..
        } = &*self.counters;
        CacheFigures {
            hits: Timed::of(&[hits]),
            misses: Timed::of(&[misses, stale, bypasses]),
        }
    }

    /// The last 60 ticks, or less if the service is younger.
    pub fn last_minute(&self) -> CacheFigures {
        let before = self.history.lock().front().copied().unwrap_or_default();
        let now = self.since_start();
        CacheFigures {
            hits: now.hits.since(before.hits),
            misses: now.misses.since(before.misses),
        }
    }

    /// Moves the window on.
    pub fn tick(&self) {
        let now = self.since_start();
        let mut history = self.history.lock();
        if history.len() == RECENT {
            history.pop_front();
        }
        history.push_back(now);
    }
}

#[cfg(test)]
mod tests {
    use prometheus::Registry;

    use super::*;
    use crate::settings::CacheBackend;

    fn metrics() -> CacheMetrics {
        let counters = CacheCounters::new(&Registry::new(), CacheBackend::Memory);
        CacheMetrics::new(Arc::new(counters))
    }

    #[test]
    fn averages_and_the_hit_rate_are_of_what_was_counted() {
        let metrics = metrics();
        assert_eq!(metrics.since_start().hit_rate().to_bits(), 0f64.to_bits());
        for _ in 0..6 {
            metrics.counters.hits.add(Duration::from_millis(1));
        }
        metrics.counters.misses.add(Duration::from_millis(100));
        metrics.counters.bypasses.add(Duration::from_millis(300));
        let figures = metrics.since_start();
        assert_eq!(figures.total(), 8);
        assert_eq!(figures.hit_rate().to_string(), "75");
        assert_eq!(figures.hits.average_ms().to_string(), "1");
        assert_eq!(figures.misses.average_ms().to_string(), "200");
    }

    #[test]
    fn the_last_minute_forgets_what_is_older_and_the_sum_since_the_start_does_not() {
        let metrics = metrics();
        metrics.counters.hits.add(Duration::from_millis(1));
        for _ in 0..RECENT {
            assert_eq!(metrics.last_minute().total(), 1);
            metrics.tick();
        }
        assert_eq!(metrics.last_minute().total(), 0);
        metrics.counters.stale.add(Duration::from_millis(1));
        assert_eq!(metrics.last_minute().misses.count, 1);
        assert_eq!(metrics.since_start().total(), 2);
    }
}
