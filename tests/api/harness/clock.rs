//! A clock that stands where a test puts it.

use std::sync::Mutex;

use jiff::Timestamp;
use megastats::clock::Clock;

/// The morning of the last day of a month, a Friday in America/Recife.
pub const NOW: &str = "2025-10-31T12:00:00Z";

/// The afternoon of that day.
pub const TODAY: &str = "2025-10-31T15:00:00-03:00";

/// Stands still until it is set.
pub struct FakeClock(Mutex<Timestamp>);

impl FakeClock {
    /// Stands at `instant`, in RFC 3339.
    pub fn at(instant: &str) -> Self {
        Self(Mutex::new(instant.parse().unwrap()))
    }

    /// Puts the clock to `instant`, in RFC 3339.
    pub fn set(&self, instant: &str) {
        *self.0.lock().unwrap() = instant.parse().unwrap();
    }
}

impl Clock for FakeClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
}
