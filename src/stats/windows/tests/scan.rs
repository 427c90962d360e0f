//! The calendar against what knows only the local date of an instant: the zone's transitions to the
//! second, and a scan of random moments. Edges that have a name are in [`tests`](super).

use chrono_tz::TZ_VARIANTS;
use jiff::SignedDuration;
use jiff::civil::Weekday;
use proptest::prelude::*;

use super::*;

/// To the second and at every transition: before a midnight all local dates are earlier ones.
///
/// Local time only rises between transitions, so its latest values are just before each of them.
#[test]
fn no_transition_since_1900_hides_an_earlier_midnight() {
    let second = SignedDuration::from_secs(1);
    let (first, last) = (at("1900-01-01T00:00Z"), at("2040-01-01T00:00Z"));
    for variant in TZ_VARIANTS {
        let zone = zone(variant.name());
        let mut previous = None;
        for transition in zone.following(first).map(|t| t.timestamp()) {
            if transition > last {
                break;
            }
            let date = local_date(transition, &zone);
            for date in [date, date.tomorrow().unwrap()] {
                let midnight = local_midnight(date, &zone);
                assert!(local_date(midnight, &zone) >= date, "{variant} {midnight}");
                let earlier = previous.into_iter().chain([transition, midnight]);
                for instant in earlier.filter(|&instant| instant <= midnight) {
                    let eve = local_date(instant - second, &zone);
                    assert!(
                        eve < date,
                        "{variant} {midnight}: {date} began by {instant}"
                    );
                }
            }
            previous = Some(transition);
        }
    }
}

/// Laws that no country has made yet: jumps over midnight from every side, every year.
const INVENTED: [&str; 4] = [
    "AAA3BBB,M9.5.6/23:30,M4.1.0/0:30",
    "AAA-5:30BBB,M3.2.0/23:59,M11.1.0/0:01",
    "AAA-12BBB-14,M10.1.5/23:30,M2.5.0/1:30",
    "AAA10BBB,M1.1.0/23:15,M6.5.6/24:45",
];

/// The first instant whose local date is `date` or later, found by looking every 30 seconds.
///
/// Since 1970 no zone has been off that grid (Monrovia was 44 minutes and 30 seconds late), nor
/// further from UTC than 12 hours behind and 14 ahead.
fn scan(date: Date, zone: &TimeZone) -> Timestamp {
    let step = SignedDuration::from_secs(30);
    let mut instant = noon(date) - SignedDuration::from_hours(12 + 14) - step;
    assert!(zone.to_datetime(instant).date() < date, "begins too late");
    while zone.to_datetime(instant).date() < date {
        instant += step;
    }
    instant
}

/// The windows by walking the calendar day by day and the clock by 30 seconds.
fn model(now: Timestamp, zone: &TimeZone) -> (Windows, TwoDays) {
    let window = |first, after| Window {
        start: scan(first, zone),
        end: scan(after, zone),
    };
    let walk = |mut date: Date, step: fn(Date) -> Date, until: fn(Date) -> bool| {
        while !until(date) {
            date = step(date);
        }
        date
    };
    let back = |date: Date| date.yesterday().unwrap();
    let on = |date: Date| date.tomorrow().unwrap();
    let is_sunday = |date: Date| date.weekday() == Weekday::Sunday;
    let is_first = |date: Date| date.day() == 1;

    let today = zone.to_datetime(now).date();
    let sunday = walk(today, back, is_sunday);
    let first = walk(today, back, is_first);
    let next = walk(on(first), on, is_first);
    let windows = Windows {
        today: window(today, on(today)),
        week: window(sunday, walk(on(sunday), on, is_sunday)),
        month: window(first, next),
        next_month: window(next, walk(on(next), on, is_first)),
    };
    let days = TwoDays {
        today: windows.today,
        tomorrow: window(on(today), on(on(today))),
    };
    (windows, days)
}

fn any_zone() -> impl Strategy<Value = TimeZone> {
    let named = (0..TZ_VARIANTS.len()).prop_map(|index| zone(TZ_VARIANTS[index].name()));
    let invented = (0..INVENTED.len()).prop_map(|index| TimeZone::posix(INVENTED[index]).unwrap());
    prop_oneof![5 => named, 1 => invented]
}

/// A zone and an instant of 1970 to 2100: anywhere, within a minute of a midnight, or (half of
/// them) within two days of one of the zone's transitions.
fn moment() -> impl Strategy<Value = (TimeZone, Timestamp)> {
    // Not January 1970, so that the months before and the scan stay on the grid.
    let range = at("1970-03-01T00:00Z")..at("2100-01-01T00:00Z");
    let (first, last) = (range.start.as_second(), range.end.as_second());
    // The years in which zones changed their laws, and the rules that go on after them.
    let second = prop_oneof![first..first + (last - first) / 2, first..last];
    let aside = -2 * 86_400_i64..2 * 86_400;
    let nanosecond = prop_oneof![Just(0), 0..1_000_000_000];
    (any_zone(), second, 0..4, aside, nanosecond).prop_map(
        move |(zone, second, kind, aside, nanosecond)| {
            let instant = Timestamp::new(second, nanosecond).unwrap();
            let midnight = || local_midnight(local_date(instant, &zone), &zone);
            let following = || zone.following(instant).next().map(|t| t.timestamp());
            let preceding = || zone.preceding(instant).next().map(|t| t.timestamp());
            let (edge, aside) = match kind {
                0 => (None, 0),
                1 => (Some(midnight()), aside / 2880),
                2 => (following(), aside),
                _ => (preceding(), aside),
            };
            let aside = SignedDuration::new(aside, nanosecond);
            let near = edge.map(|edge| edge + aside);
            let now = near.filter(|near| range.contains(near)).unwrap_or(instant);
            (zone, now)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn windows_are_those_of_a_naive_scan((zone, now) in moment()) {
        let (expected, expected_days) = model(now, &zone);
        let found = windows(now, &zone);
        prop_assert_eq!(found, expected);
        prop_assert_eq!(two_days(now, &zone), expected_days);

        let all = [found.today, found.week, found.month, found.next_month];
        let start = all.iter().map(|window| window.start).min().unwrap();
        let end = all.iter().map(|window| window.end).max().unwrap();
        prop_assert_eq!(found.span(), Window { start, end });
    }

    #[test]
    fn the_rest_of_a_date_is_of_that_date_and_ends_with_it_or_with_its_offset((zone, now) in moment()) {
        let date = local_date(now, &zone);
        let rest = rest_of_date(now, &zone);
        prop_assert_eq!(rest.start, now);
        prop_assert!(rest.end >= now);
        let change = zone.following(now).next().map(|transition| transition.timestamp());
        prop_assert!(change.is_none_or(|change| rest.end <= change), "its offset changes within");
        if rest.contains(now) {
            prop_assert_eq!(local_date(rest.end - SignedDuration::from_nanos(1), &zone), date);
            prop_assert!(local_date(rest.end, &zone) != date || change == Some(rest.end));
        } else {
            // The date was left and has begun again.
            prop_assert!(local_midnight(date.tomorrow().unwrap(), &zone) <= now);
        }
    }
}
