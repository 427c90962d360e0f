//! Text that came from elsewhere: showing it on one line, and telling whether it can be decoded.

use percent_encoding::percent_decode_str;

/// Whether `c` would end a line, for any program that reads it, or could be a command to a terminal.
pub fn breaks_line(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')
}

/// `text` with one space instead of each line break and what surrounds it.
pub fn one_line(text: &str) -> String {
    let parts = text.split(breaks_line).map(str::trim);
    parts
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

/// Whether every `%` in `raw` begins an escape, and the escapes stand for UTF-8.
pub fn is_percent_encoded(raw: &str) -> bool {
    if !raw.contains('%') {
        return true;
    }
    let is_escape = |rest: &[u8]| rest.len() >= 2 && rest[..2].iter().all(u8::is_ascii_hexdigit);
    raw.split('%')
        .skip(1)
        .all(|rest| is_escape(rest.as_bytes()))
        && percent_decode_str(raw).decode_utf8().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_lines_are_shown_as_one() {
        assert_eq!(
            one_line("cannot open:\n  disk full\r\n\tsorry\u{2028}\u{1b}[1m\n"),
            "cannot open: disk full sorry [1m"
        );
    }
}
