//! The calendar of the statistics: which instants a window holds, for a zone and a moment.
//!
//! These functions are pure: the time is the parameter `now`, and the rules of the zone come from
//! [`zones`](crate::stats::zones).
//!
//! # The rule
//! A window is the half-open range of instants between two local midnights. The local midnight of
//! a date is the first instant whose local date is that date or a later one. So where midnight is
//! repeated it is the earlier one, where it is skipped it is the jump, and a date that is skipped
//! as a whole (Apia's 2011-12-30) is an empty window.
//!
//! Everything follows from the local date of `now`: within one date of a zone the answers are the
//! same, so a cache key that holds the date holds everything. Where clocks go back across midnight
//! after passing it (00:01 to 23:01 in St John's until 2010), the date repeats too: the second
//! 23:30 is still yesterday by the date that asks, and today by the window it falls in. By the
//! rules of tzdb 2026f no zone does that after 2010.
//!
//! # Range
//! `now` may be any instant of the years 1900 to 2200 (UTC), in any zone of the tzdb.

use jiff::Timestamp;
use jiff::ToSpan as _;
use jiff::civil::Date;
use jiff::tz::{AmbiguousOffset, Offset, TimeZone};

/// Why calendar arithmetic cannot fail: jiff's years are -9999 to 9999, and no window lies further
/// than three months from the `now` of the module's range.
const IN_RANGE: &str = "`now` is of the years 1900 to 2200, and jiff's calendar ends in 9999";

/// The instants from `start` up to, but not including, `end`; empty when they are equal.
///
/// `start <= end` in every window that this module makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// The first instant inside.
    pub start: Timestamp,
    /// The first instant after `start` that is outside again.
    pub end: Timestamp,
}

impl Window {
    /// Whether `instant` is inside.
    pub fn contains(self, instant: Timestamp) -> bool {
        (self.start..self.end).contains(&instant)
    }

    /// The instants that are inside both; an empty window if they do not overlap.
    #[must_use]
    pub fn intersect(self, other: Self) -> Self {
        let start = self.start.max(other.start);
        Self {
            start,
            end: self.end.min(other.end).max(start),
        }
    }
}

/// The four windows of `/mega-stats`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Windows {
    /// The local date of `now`.
    pub today: Window,
    /// The week of that date: Sunday to Saturday, whichever months they are in.
    pub week: Window,
    /// The calendar month of that date.
    pub month: Window,
    /// The calendar month after it.
    pub next_month: Window,
}

impl Windows {
    /// The smallest window that covers all four.
    pub fn span(&self) -> Window {
        // The week may begin before the month, but ends at most six days into the next one.
        Window {
            start: self.week.start.min(self.month.start),
            end: self.next_month.end,
        }
    }
}

/// The two windows of `/summary`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TwoDays {
    /// The local date of `now`.
    pub today: Window,
    /// The calendar date after it.
    pub tomorrow: Window,
}

impl TwoDays {
    /// The smallest window that covers both.
    pub fn span(&self) -> Window {
        Window {
            start: self.today.start,
            end: self.tomorrow.end,
        }
    }
}

/// The local date at `now`.
pub fn local_date(now: Timestamp, zone: &TimeZone) -> Date {
    zone.to_datetime(now).date()
}

/// The instants from `now` on whose local date is that of `now`, up to midnight or to an earlier change of
/// the zone's offset. `now` is of the years 1900 to 2200.
pub fn rest_of_date(now: Timestamp, zone: &TimeZone) -> Window {
    let midnight = local_midnight(days_after(local_date(now, zone), 1), zone);
    let transition = zone.following(now).next();
    let end = transition.map_or(midnight, |transition| transition.timestamp().min(midnight));
    Window {
        start: now,
        // Midnight has passed already where the date repeats.
        end: end.max(now),
    }
}

/// The windows of `/mega-stats` at `now`, an instant of the years 1900 to 2200.
///
/// ```
/// use megastats::stats::{windows, zones::Zones};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// // A Friday at noon in Recife, three hours behind UTC. The week began on Sunday.
/// let recife = Zones::bundled().get("America/Recife")?;
/// let windows = windows::windows("2025-10-31T15:00:00Z".parse()?, recife.rules());
/// assert_eq!(windows.today.start, "2025-10-31T03:00:00Z".parse()?);
/// assert_eq!(windows.today.end, "2025-11-01T03:00:00Z".parse()?);
/// assert_eq!(windows.week.start, "2025-10-26T03:00:00Z".parse()?);
/// assert_eq!(windows.next_month.end, "2025-12-01T03:00:00Z".parse()?);
/// # Ok(())
/// # }
/// ```
pub fn windows(now: Timestamp, zone: &TimeZone) -> Windows {
    let today = local_date(now, zone);
    let sunday = days_after(today, -today.weekday().to_sunday_zero_offset());
    let month = today.first_of_month();
    let next_month = days_after(month.last_of_month(), 1);
    let month_after = days_after(next_month.last_of_month(), 1);
    Windows {
        today: between(today, days_after(today, 1), zone),
        week: between(sunday, days_after(sunday, 7), zone),
        month: between(month, next_month, zone),
        next_month: between(next_month, month_after, zone),
    }
}

/// The windows of `/summary` at `now`, an instant of the years 1900 to 2200.
pub fn two_days(now: Timestamp, zone: &TimeZone) -> TwoDays {
    let today = local_date(now, zone);
    let tomorrow = days_after(today, 1);
    TwoDays {
        today: between(today, tomorrow, zone),
        tomorrow: between(tomorrow, days_after(tomorrow, 1), zone),
    }
}

/// Each day of the month of `now`, an instant of the years 1900 to 2200.
pub fn days_of_month(now: Timestamp, zone: &TimeZone) -> Vec<(Date, Window)> {
    let month = local_date(now, zone).first_of_month();
    let days = month.series(1.day());
    let days = days.take_while(|day| day.month() == month.month());
    days.map(|day| (day, between(day, days_after(day, 1), zone)))
        .collect()
}

/// From the midnight of `first` to that of `after`, a later date.
fn between(first: Date, after: Date, zone: &TimeZone) -> Window {
    Window {
        start: local_midnight(first, zone),
        end: local_midnight(after, zone),
    }
}

fn days_after(date: Date, days: i8) -> Date {
    date.checked_add(days.days()).expect(IN_RANGE)
}

/// The first instant whose local date is `date` or later.
fn local_midnight(date: Date, zone: &TimeZone) -> Timestamp {
    let midnight = date.at(0, 0, 0, 0);
    let at = |offset: Offset| offset.to_timestamp(midnight).expect(IN_RANGE);
    match zone.to_ambiguous_timestamp(midnight).offset() {
        AmbiguousOffset::Unambiguous { offset } => at(offset),
        AmbiguousOffset::Fold { before, .. } => at(before),
        // A gap may begin before midnight (Toronto went from 23:30 to 00:30 in 1919), so reading
        // midnight with either offset can miss the jump. With the later one it is an instant
        // before the jump; transitions that leave the offset alone may come in between.
        AmbiguousOffset::Gap { after, .. } => zone
            .following(at(after))
            .map(|transition| transition.timestamp())
            .find(|&instant| local_date(instant, zone) >= date)
            .expect("a gap ends in the transition that makes it"),
    }
}

#[cfg(test)]
mod tests;
