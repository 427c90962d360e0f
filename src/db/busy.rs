//! Counting the callers that were sent away, and logging them in summary.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::error::DbError;

/// The shortest time between two log lines about callers that were sent away: there may be thousands of
/// them in a second.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Why a caller that needs the database was sent away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BusyReason {
    /// The queue was full.
    QueueFull,
    /// The queue was full, and another tenant had fewer places in it.
    OverShare,
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
    /// They had to leave their place to a tenant that had fewer.
    pub over_share: u64,
    /// They waited for `database.pool_wait_ms`.
    pub timed_out: u64,
    /// Another process held the lock of the SQLite file for `database.busy_timeout_ms`.
    pub file_locked: u64,
}

/// Counts the callers that were sent away, and logs them in summary.
#[derive(Debug, Default)]
pub(super) struct BusyCounters(Mutex<Tally>);

#[derive(Debug, Default)]
struct Tally {
    counts: BusyCounts,
    logged: BusyCounts,
    logged_at: Option<Instant>,
}

impl BusyCounters {
    /// Counts a caller, and returns the error for it.
    pub(super) fn count(&self, reason: BusyReason) -> DbError {
        let mut tally = self.0.lock();
        let counts = &mut tally.counts;
        let count = match reason {
            BusyReason::QueueFull => &mut counts.queue_full,
            BusyReason::OverShare => &mut counts.over_share,
            BusyReason::TimedOut => &mut counts.timed_out,
            BusyReason::FileLocked => &mut counts.file_locked,
        };
        *count += 1;
        tally.log();
        DbError::Busy
    }

    pub(super) fn counts(&self) -> BusyCounts {
        self.0.lock().counts
    }
}

impl Tally {
    fn log(&mut self) {
        if self.logged_at.is_some_and(|at| at.elapsed() < LOG_INTERVAL) {
            return;
        }
        let now = self.counts;
        let before = self.logged;
        log::warn!(
            "database busy: since the last such line {} requests were sent away as \
             database.pool_queue was full, {} to leave their place to another tenant, {} after \
             database.pool_wait_ms, {} after database.busy_timeout_ms",
            now.queue_full - before.queue_full,
            now.over_share - before.over_share,
            now.timed_out - before.timed_out,
            now.file_locked - before.file_locked,
        );
        self.logged = now;
        self.logged_at = Some(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_that_were_sent_away_are_counted_by_reason() {
        let counters = BusyCounters::default();
        for reason in [
            BusyReason::QueueFull,
            BusyReason::QueueFull,
            BusyReason::OverShare,
            BusyReason::TimedOut,
            BusyReason::FileLocked,
        ] {
            assert!(matches!(counters.count(reason), DbError::Busy));
        }
        let counted = BusyCounts {
            queue_full: 2,
            over_share: 1,
            timed_out: 1,
            file_locked: 1,
        };
        assert_eq!(counters.counts(), counted);
    }
}
