//! Days and zones in which nothing changes its window while a test runs, at whatever time that is.

use jiff::{ToSpan, Unit, civil::Date, tz::TimeZone};
use megastats::clock::{Clock, SystemClock};

/// When a test's appointments are, and where it asks from.
#[derive(Debug, Clone)]
pub struct Calendar {
    /// Two zones in which it is about noon, escaped for a query.
    pub zones: [String; 2],
    /// In today's window.
    pub today: String,
    /// In this month's window, but not in today's.
    pub this_month: String,
    /// In next month's window.
    pub next_month: String,
}

impl Calendar {
    /// As of now.
    pub fn now() -> Self {
        let now = SystemClock.now();
        let utc = now.to_zoned(TimeZone::UTC);
        // Etc/GMT-3 is three hours ahead of UTC. There are fourteen ahead and twelve behind.
        let ahead = 12 - i32::from(utc.hour());
        let zones = [ahead, if ahead > 0 { ahead - 1 } else { ahead + 1 }];
        let zones = zones.map(|ahead| match ahead {
            0.. => format!("Etc/GMT-{ahead}"),
            _ => format!("Etc/GMT%2B{}", -ahead),
        });
        let noon = now.checked_add(ahead.hours()).unwrap();
        let today = noon.to_zoned(TimeZone::UTC).date();
        let other = if today.day() == 15 { 20 } else { 15 };
        let noon_of = |date: Date| {
            let noon = date.at(12, 0, 0, 0).to_zoned(TimeZone::UTC).unwrap();
            noon.timestamp().to_string()
        };
        Self {
            zones,
            today: now.round(Unit::Second).unwrap().to_string(),
            this_month: noon_of(today.with().day(other).build().unwrap()),
            next_month: noon_of(today.first_of_month() + 1.month() + 9.days()),
        }
    }
}
