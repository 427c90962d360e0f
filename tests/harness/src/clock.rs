//! A clock that is where a test puts it.

use std::{sync::Mutex, time::Instant};

use jiff::Timestamp;
use megastats::clock::Clock;

/// The morning of the last day of a month, a Friday in America/Recife.
pub const NOW: &str = "2025-10-31T12:00:00Z";

/// The afternoon of that day.
pub const TODAY: &str = "2025-10-31T15:00:00-03:00";

/// Stands still until it is set, or goes on from there.
pub struct FakeClock {
    set: Mutex<(Timestamp, Instant)>,
    goes: bool,
}

impl FakeClock {
    /// Stands at `instant`, in RFC 3339.
    pub fn at(instant: &str) -> Self {
        Self {
            set: Mutex::new((instant.parse().unwrap(), Instant::now())),
            goes: false,
        }
    }

    /// Goes on from `instant`, in RFC 3339: for entries that are to grow old, which in Redis they do
    /// by the service's clock.
    pub fn going_from(instant: &str) -> Self {
        Self {
            goes: true,
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
        if self.goes {
            set + since.elapsed()
        } else {
            set
        }
    }
}
