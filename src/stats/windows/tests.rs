//! The calendar at its edges, by name; [`scan`] tests everything in between.

mod scan;

use chrono_tz::{GapInfo, TZ_VARIANTS, Tz};
use jiff::civil::date;

use super::*;
use crate::stats::zones::Zones;

fn zone(name: &str) -> TimeZone {
    Zones::bundled().get(name).unwrap().rules().clone()
}

fn at(instant: &str) -> Timestamp {
    instant.parse().unwrap()
}

/// The window that "start/end" says, in UTC and to the minute.
fn window(range: &str) -> Window {
    let (start, end) = range.split_once('/').unwrap();
    Window {
        start: at(&format!("{start}Z")),
        end: at(&format!("{end}Z")),
    }
}

fn holds(window: Window, instant: Timestamp) -> bool {
    (window.start..window.end).contains(&instant)
}

/// Noon UTC: the same date everywhere between UTC-12 and UTC+11.
fn noon(date: Date) -> Timestamp {
    at(&format!("{date}T12:00Z"))
}

#[track_caller]
fn today_is(name: &str, today: Date, expected: &str) {
    let zone = zone(name);
    assert_eq!(local_date(noon(today), &zone), today, "{name}");
    assert_eq!(
        windows(noon(today), &zone).today,
        window(expected),
        "{name}"
    );
    assert_eq!(
        two_days(noon(today), &zone).today,
        window(expected),
        "{name}"
    );
    let eve = noon(today.yesterday().unwrap());
    assert_eq!(two_days(eve, &zone).tomorrow, window(expected), "{name}");
}

#[test]
fn windows_that_do_not_overlap_share_an_empty_one() {
    let day = window("2025-10-31T03:00/2025-11-01T03:00");
    let cut = day.intersect(window("2025-10-31T12:00/2025-11-07T12:00"));
    assert_eq!(cut, window("2025-10-31T12:00/2025-11-01T03:00"));
    let everything = Window {
        start: Timestamp::MIN,
        end: Timestamp::MAX,
    };
    assert_eq!(day.intersect(everything), day);

    let before = window("2025-10-30T03:00/2025-10-31T03:00");
    let after = window("2025-11-05T03:00/2025-11-06T03:00");
    let reversed = Window {
        start: after.end,
        end: before.start,
    };
    for other in [before, after, reversed] {
        for empty in [day.intersect(other), other.intersect(day)] {
            assert_eq!(empty.start, empty.end);
        }
    }
}

#[test]
fn skipped_midnights_begin_at_the_jump() {
    today_is(
        "Africa/Cairo",
        date(2025, 4, 25),
        "2025-04-24T22:00/2025-04-25T21:00",
    );
    today_is(
        "Asia/Beirut",
        date(2024, 3, 31),
        "2024-03-30T22:00/2024-03-31T21:00",
    );
    today_is(
        "America/Havana",
        date(2024, 3, 10),
        "2024-03-10T05:00/2024-03-11T04:00",
    );
    today_is(
        "America/Asuncion",
        date(2024, 10, 6),
        "2024-10-06T04:00/2024-10-07T03:00",
    );
}

#[test]
fn repeated_midnights_begin_at_the_earlier_one() {
    today_is(
        "America/Havana",
        date(2024, 11, 3),
        "2024-11-03T04:00/2024-11-04T05:00",
    );
}

#[test]
fn the_hour_before_midnight_may_be_repeated() {
    today_is(
        "Africa/Cairo",
        date(2025, 10, 30),
        "2025-10-29T21:00/2025-10-30T22:00",
    );
    today_is(
        "Asia/Beirut",
        date(2024, 10, 26),
        "2024-10-25T21:00/2024-10-26T22:00",
    );
    today_is(
        "America/Asuncion",
        date(2024, 3, 23),
        "2024-03-23T03:00/2024-03-24T04:00",
    );
}

#[test]
fn a_gap_may_begin_before_midnight() {
    today_is(
        "America/Toronto",
        date(1919, 3, 30),
        "1919-03-30T05:00/1919-03-31T04:30",
    );
    today_is(
        "America/Toronto",
        date(1919, 3, 31),
        "1919-03-31T04:30/1919-04-01T04:00",
    );
}

#[test]
fn st_johns_changed_its_clocks_a_minute_after_midnight() {
    today_is(
        "America/St_Johns",
        date(2006, 4, 2),
        "2006-04-02T03:30/2006-04-03T02:30",
    );
    today_is(
        "America/St_Johns",
        date(2006, 10, 29),
        "2006-10-29T02:30/2006-10-30T03:30",
    );

    // The second 23:30 of the 28th: the date on the wall decides which windows are asked for.
    let (again, zone) = (at("2006-10-29T03:00Z"), zone("America/St_Johns"));
    assert_eq!(local_date(again, &zone), date(2006, 10, 28));
    assert_eq!(
        windows(again, &zone),
        windows(noon(date(2006, 10, 28)), &zone)
    );
    assert!(holds(two_days(again, &zone).tomorrow, again));
}

#[test]
fn lord_howe_moves_by_half_an_hour() {
    today_is(
        "Australia/Lord_Howe",
        date(2024, 4, 7),
        "2024-04-06T13:00/2024-04-07T13:30",
    );
    today_is(
        "Australia/Lord_Howe",
        date(2024, 10, 6),
        "2024-10-05T13:30/2024-10-06T13:00",
    );
}

#[test]
fn apias_missing_day_is_an_empty_window() {
    let zone = zone("Pacific/Apia");
    let last = at("2011-12-30T09:59:59Z");
    assert_eq!(local_date(last, &zone), date(2011, 12, 29));
    let days = two_days(last, &zone);
    assert_eq!(days.today, window("2011-12-29T10:00/2011-12-30T10:00"));
    assert_eq!(days.tomorrow, window("2011-12-30T10:00/2011-12-30T10:00"));
    assert_eq!(days.span(), days.today);

    let next = at("2011-12-30T10:00Z");
    assert_eq!(local_date(next, &zone), date(2011, 12, 31));
    let windows = super::windows(next, &zone);
    assert_eq!(windows.today, window("2011-12-30T10:00/2011-12-31T10:00"));
    assert_eq!(windows.week, window("2011-12-25T10:00/2011-12-31T10:00"));
    assert_eq!(windows.month, window("2011-12-01T10:00/2011-12-31T10:00"));
}

#[test]
fn a_year_ends_at_the_zones_midnight() {
    let recife = zone("America/Recife");
    let old = windows(at("2026-01-01T02:59:59.999Z"), &recife);
    assert_eq!(old.today, window("2025-12-31T03:00/2026-01-01T03:00"));
    assert_eq!(old.week, window("2025-12-28T03:00/2026-01-04T03:00"));
    assert_eq!(old.month, window("2025-12-01T03:00/2026-01-01T03:00"));
    assert_eq!(old.next_month, window("2026-01-01T03:00/2026-02-01T03:00"));
    assert_eq!(old.span(), window("2025-12-01T03:00/2026-02-01T03:00"));

    let new = windows(at("2026-01-01T03:00Z"), &recife);
    assert_eq!(new.today, window("2026-01-01T03:00/2026-01-02T03:00"));
    assert_eq!(new.week, old.week);
    assert_eq!(new.month, old.next_month);
    assert_eq!(new.next_month, window("2026-02-01T03:00/2026-03-01T03:00"));
    assert_eq!(new.span(), window("2025-12-28T03:00/2026-03-01T03:00"));
}

#[test]
fn months_have_their_own_lengths() {
    for (now, month, next) in [
        (
            "2025-01-31",
            "2025-01-01T00:00/2025-02-01T00:00",
            "2025-02-01T00:00/2025-03-01T00:00",
        ),
        (
            "2024-01-31",
            "2024-01-01T00:00/2024-02-01T00:00",
            "2024-02-01T00:00/2024-03-01T00:00",
        ),
        (
            "2024-02-29",
            "2024-02-01T00:00/2024-03-01T00:00",
            "2024-03-01T00:00/2024-04-01T00:00",
        ),
        (
            "2025-11-30",
            "2025-11-01T00:00/2025-12-01T00:00",
            "2025-12-01T00:00/2026-01-01T00:00",
        ),
    ] {
        let windows = super::windows(noon(now.parse().unwrap()), &TimeZone::UTC);
        assert_eq!(
            (windows.month, windows.next_month),
            (window(month), window(next)),
            "{now}"
        );
    }
}

#[test]
fn february_has_a_29th_in_leap_years_only() {
    for (year, after) in [(2024, 29), (2000, 29), (2025, 1), (2100, 1)] {
        let days = two_days(noon(date(year, 2, 28)), &TimeZone::UTC);
        assert_eq!(
            local_date(days.tomorrow.start, &TimeZone::UTC).day(),
            after,
            "{year}"
        );
    }
}

#[test]
fn a_week_is_sunday_to_saturday_across_months_and_years() {
    for (days, week) in [
        (
            ["2025-11-02", "2025-11-08"],
            "2025-11-02T03:00/2025-11-09T03:00",
        ),
        (
            ["2025-10-26", "2025-11-01"],
            "2025-10-26T03:00/2025-11-02T03:00",
        ),
        (
            ["2024-12-29", "2025-01-04"],
            "2024-12-29T03:00/2025-01-05T03:00",
        ),
        (
            ["2024-02-25", "2024-03-02"],
            "2024-02-25T03:00/2024-03-03T03:00",
        ),
    ] {
        for day in days {
            let windows = super::windows(noon(day.parse().unwrap()), &zone("America/Recife"));
            assert_eq!(windows.week, window(week), "{day}");
        }
    }
}

/// A local midnight by chrono-tz's own rules, as an instant.
fn by_chrono_tz(midnight: Date, zone: Tz) -> Timestamp {
    let local = midnight.at(0, 0, 0, 0).to_string().parse().unwrap();
    // Also what tells the type of `local`, which is one of chrono's.
    assert!(GapInfo::new(&local, &zone).is_none());
    Timestamp::from_second(local.and_local_timezone(zone).unwrap().timestamp()).unwrap()
}

#[test]
fn laws_of_2026_are_known_though_chrono_tz_has_older_ones() {
    // British Columbia has stayed on UTC-7 since 2026, Morocco on UTC since September 2026.
    for (name, day, today, older) in [
        (
            Tz::America__Vancouver,
            date(2026, 11, 15),
            "2026-11-15T07:00/2026-11-16T07:00",
            "2026-11-15T08:00Z",
        ),
        (
            Tz::Africa__Casablanca,
            date(2026, 10, 15),
            "2026-10-15T00:00/2026-10-16T00:00",
            "2026-10-14T23:00Z",
        ),
    ] {
        today_is(name.name(), day, today);
        assert_eq!(by_chrono_tz(day, name), at(older), "{name}");
    }
    let november = windows(noon(date(2026, 11, 15)), &zone("America/Vancouver")).month;
    assert_eq!(november, window("2026-11-01T07:00/2026-12-01T07:00"));
}

#[test]
fn every_zone_answers_from_1900_to_2200() {
    for variant in TZ_VARIANTS {
        let zone = zone(variant.name());
        for now in ["1900-01-01T00:00Z", "2200-12-31T23:59:59.999999999Z"] {
            assert!(
                holds(windows(at(now), &zone).today, at(now)),
                "{variant} {now}"
            );
            assert!(
                holds(two_days(at(now), &zone).today, at(now)),
                "{variant} {now}"
            );
        }
    }
}
