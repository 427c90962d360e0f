//! A clock that a test sets.

use std::{sync::Mutex, time::Instant};

use jiff::Timestamp;
use megastats::clock::Clock;

/// The morning of the last day of a month, a Friday in America/Recife.
pub const NOW: &str = "2025-10-31T12:00:00Z";

/// The afternoon of that day.
pub const TODAY: &str = "2025-10-31T15:00:00-03:00";

/// Stands still until it is set, or runs on from that instant.
pub struct FakeClock {
    set: Mutex<(Timestamp, Instant)>,
    runs: bool,
}

impl FakeClock {
    /// Stands at `instant`, in RFC 3339.
    pub fn at(instant: &str) -> Self {
        Self {
            set: Mutex::new((instant.parse().unwrap(), Instant::now())),
            runs: false,
        }
    }

    /// Runs on from `instant`, in RFC 3339: for tests of entries that expire, which in Redis they do by
    /// the service's clock.
    pub fn running_from(instant: &str) -> Self {
        Self {
            runs: true,
            ..Self::at(instant)
        }
    }

    /// Puts the clock to `instant`, in RFC 3339.
    pub fn set(&self, instant: &str) {
        *self.set.lock().unwrap() = (instant.parse().unwrap(), Instant::now());
    }
}

impl Clock for FakeClock {
    fn now(&self) -> Timestamp {
        let (set, since) = *self.set.lock().unwrap();
        if self.runs {
            set + since.elapsed()
        } else {
            set
        }
    }
}
