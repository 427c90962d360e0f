//! The time of a line, in UTC and to the millisecond, as RFC 3339 writes it.

use std::cell::RefCell;

use jiff::Timestamp;

thread_local! {
    static SECOND: RefCell<Second> = RefCell::default();
}

/// The last second that a thread has written. At a high rate most lines have the one of the line before.
#[derive(Default)]
struct Second {
    /// Seconds since 1970.
    number: i64,
    /// The text of a time, up to its fraction; empty until there was a line.
    text: String,
}

/// Adds `time` to `line`, such as `2025-10-31T12:00:00.250Z`.
pub(super) fn push_time(line: &mut String, time: Timestamp) {
    let number = time.as_second();
    let text = || time.strftime("%Y-%m-%dT%H:%M:%S.").to_string();
    let known = SECOND.try_with(|second| {
        let mut second = second.borrow_mut();
        if second.text.is_empty() || second.number != number {
            second.number = number;
            second.text = text();
        }
        line.push_str(&second.text);
    });
    // The kept second of a thread that is ending is gone.
    if known.is_err() {
        line.push_str(&text());
    }
    let with_zeros = 1000 + time.subsec_millisecond();
    line.push_str(&itoa::Buffer::new().format(with_zeros)[1..]);
    line.push('Z');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_milliseconds_and_each_second_is_its_own() {
        for time in [
            "1970-01-01T00:00:00.000Z",
            "2025-10-31T23:59:59.999Z",
            "2025-11-01T00:00:00.007Z",
            "2025-11-01T00:00:00.070Z",
            "2025-10-31T23:59:59.000Z",
        ] {
            let mut line = String::new();
            push_time(&mut line, time.parse().unwrap());
            assert_eq!(line, time);
        }
    }
}
