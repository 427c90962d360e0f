//! The rule for identifiers that clients choose: those of tenants and of patients.

/// What an identifier may be, for an error's text: it follows the allowed number of characters.
pub const RULE: &str = "characters, not blank, without control characters";

/// The regular expression of ECMA-262 for the same rule without its length. What Rust takes for white
/// space is spelt out, since others take other characters for it.
pub const PATTERN: &str = concat!(
    r"^[^\u0000-\u001F\u007F-\u009F]*",
    r"[^\u0000-\u0020\u007F-\u00A0\u1680\u2000-\u200A\u2028\u2029\u202F\u205F\u3000]",
    r"[^\u0000-\u001F\u007F-\u009F]*$"
);

/// The identifier that `raw` holds: without the white space at its ends, which is part of no identifier,
/// as in `AlignWork`. `None` unless it has 1 to `max_chars` characters and none of them is a control
/// character.
pub fn parse(raw: &str, max_chars: usize) -> Option<&str> {
    let inner = raw.trim_matches(|char: char| char.is_whitespace() && !char.is_control());
    let is_valid = (1..=max_chars).contains(&inner.chars().count());
    (is_valid && !inner.contains(char::is_control)).then_some(inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_is_counted_in_characters_not_bytes() {
        assert!(parse(&"ã".repeat(8), 8).is_some());
        assert!(parse(&"a".repeat(9), 8).is_none());
    }

    #[test]
    fn empty_blank_and_control_characters_are_refused() {
        for raw in [
            "", " ", "\t", "a\0b", "a\nb", "\ta", "a\n", "a\u{7f}", "a\u{85}",
        ] {
            assert_eq!(parse(raw, 8), None, "{raw:?}");
        }
    }

    #[test]
    fn white_space_at_the_ends_is_no_part_of_an_identifier() {
        for raw in ["a b", " a b", "a b  ", "\u{a0}a b\u{3000}"] {
            assert_eq!(parse(raw, 3), Some("a b"), "{raw:?}");
        }
    }

    /// The middle part of the pattern stands for one character that is neither blank nor a control
    /// character; the others for any that is no control character.
    #[test]
    fn the_pattern_excludes_exactly_white_space_and_control_characters() {
        let parts: Vec<&str> = PATTERN.split(['[', ']']).collect();
        let excluded = |class: &str, character: char| {
            let class = class.strip_prefix('^').unwrap();
            let codes: Vec<&str> = class.split("\\u").skip(1).collect();
            let code = |text: &str| u32::from_str_radix(&text[..4], 16).unwrap();
            let mut codes = codes.iter().peekable();
            let mut found = false;
            while let Some(first) = codes.next() {
                let last = if first.ends_with('-') {
                    codes.next().unwrap()
                } else {
                    first
                };
                found |= (code(first)..=code(last)).contains(&u32::from(character));
            }
            found
        };
        for character in (0..=0x3100).filter_map(char::from_u32) {
            let control = character.is_control();
            assert_eq!(excluded(parts[1], character), control, "{character:?}");
            assert_eq!(excluded(parts[5], character), control, "{character:?}");
            let blank = control || character.is_whitespace();
            assert_eq!(excluded(parts[3], character), blank, "{character:?}");
        }
        let mut beyond = (0x3100..=0x10_FFFF).filter_map(char::from_u32);
        assert!(beyond.all(|c| !c.is_control() && !c.is_whitespace()));
    }
}
