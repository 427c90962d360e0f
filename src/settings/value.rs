//! Reading one value: what each kind of setting allows, and how a refused value is shown. `config`
//! would take `true` or `"on"` for 1, and round 30.7; nothing here does.

use std::{fmt::Display, ops::RangeInclusive, path::PathBuf, time::Duration};

use clap::ValueEnum;
use config::{Value, ValueKind};
use serde::{Deserialize, Deserializer, Serializer, de::Error};
use url::{
    Position::{AfterPort, BeforeHost},
    Url,
};

use super::url_parts::is_host;
use crate::text::one_line;

/// Reads one of the words that `T` has for its variants.
pub(super) fn choice<'de, D: Deserializer<'de>, T: ValueEnum>(from: D) -> Result<T, D::Error> {
    let words = T::value_variants().iter().filter_map(T::to_possible_value);
    let words: Vec<_> = words
        .map(|word| format!("\"{}\"", word.get_name()))
        .collect();
    read(
        from,
        |word| T::from_str(word, false).ok(),
        &words.join(" or "),
    )
}

/// Reads a whole number from `MIN` to `MAX`.
pub(super) fn number<'de, const MIN: u64, const MAX: u64, D, T>(from: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: TryFrom<u64>,
{
    number_of(from, MIN..=MAX, "")
}

/// A time of whole seconds, from `MIN` to `MAX`.
pub(super) type Seconds<const MIN: u64, const MAX: u64> = Time<1_000, MIN, MAX>;

/// A time of whole milliseconds, from `MIN` to `MAX`.
pub(super) type Millis<const MIN: u64, const MAX: u64> = Time<1, MIN, MAX>;

/// A time of whole units of `UNIT` milliseconds, from `MIN` to `MAX`.
pub(super) struct Time<const UNIT: u64, const MIN: u64, const MAX: u64>;

impl<const UNIT: u64, const MIN: u64, const MAX: u64> Time<UNIT, MIN, MAX> {
    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        let unit = if UNIT == 1 {
            " of milliseconds"
        } else {
            " of seconds"
        };
        let number: u64 = number_of(from, MIN..=MAX, unit)?;
        Ok(Duration::from_millis(number * UNIT))
    }

    pub(super) fn serialize<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
        // TOML has no larger integers.
        let milliseconds = u64::try_from(time.as_millis()).unwrap_or(i64::MAX as u64);
        to.serialize_u64(milliseconds / UNIT)
    }
}

fn number_of<'de, D, T>(from: D, range: RangeInclusive<u64>, unit: &str) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: TryFrom<u64>,
{
    let given = Value::deserialize(from)?.kind;
    let number = match given {
        ValueKind::I64(number) => u64::try_from(number).ok(),
        _ => None,
    };
    number
        .filter(|number| range.contains(number))
        .and_then(|number| T::try_from(number).ok())
        .ok_or_else(|| {
            let min = range.start();
            let max = range.end();
            refused(&given, &format!("a whole number{unit} from {min} to {max}"))
        })
}

/// Reads an IP address or a host name.
pub(super) fn host<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    text(
        from,
        is_host,
        "an IP address or a host name, without a scheme, a port or brackets",
    )
}

/// Reads a filter that `env_logger` understands as a whole: it merely warns about the rest.
pub(super) fn log_filter<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    const ALLOWED: &str = "LEVEL or TARGET=LEVEL, separated by commas, where a level is off, \
                           error, warn, info, debug or trace";
    text(
        from,
        |filter| filter.split(',').all(is_log_directive),
        ALLOWED,
    )
}

/// What is shown in place of a secret.
pub(super) const MASK: &str = "***";

/// Whether `text` has [`MASK`] where a secret would be: as the whole of it, as the user or password of
/// a URL, or as a parameter of one.
fn is_masked(text: &str) -> bool {
    let (address, query) = text.split_once('?').unwrap_or((text, ""));
    let (_, address) = address.split_once("://").unwrap_or(("", address));
    let (credentials, _) = address.split_once('@').unwrap_or((address, ""));
    credentials.split(':').any(|part| part == MASK)
        || query
            .split('&')
            .any(|pair| pair.split_once('=').is_some_and(|(_, value)| value == MASK))
}

/// Reads text that may hold a secret: what was given is not shown. The mask of one, which
/// `megastats config` prints, is none.
pub(super) fn secret<'de, D: Deserializer<'de>, T, E: Display>(
    from: D,
    parse: impl Fn(&str) -> Result<T, E>,
) -> Result<T, D::Error> {
    match Value::deserialize(from)?.kind {
        ValueKind::String(text) if is_masked(&text) => Err(D::Error::custom(
            "*** stands for a secret that `megastats config` does not print: give the secret itself",
        )),
        ValueKind::String(text) => parse(&text).map_err(D::Error::custom),
        _ => Err(D::Error::custom("given something else, allowed is text")),
    }
}

/// Reads true or false.
pub(super) fn boolean<'de, D: Deserializer<'de>>(from: D) -> Result<bool, D::Error> {
    match Value::deserialize(from)?.kind {
        ValueKind::Boolean(given) => Ok(given),
        other => Err(refused(&other, "true or false")),
    }
}

/// Reads the path of a file, or nothing.
pub(super) fn path<'de, D: Deserializer<'de>>(from: D) -> Result<PathBuf, D::Error> {
    // A path is shown, so a URL that was given to the wrong key must not become one.
    let fits = |path: &str| !path.chars().any(char::is_control) && !path.contains("://");
    text(from, fits, "a path").map(PathBuf::from)
}

/// Reads what keys begin with.
pub(super) fn key_prefix<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let fits = |prefix: &str| {
        prefix.len() <= 64
            && prefix
                .chars()
                .all(|c| c.is_ascii_graphic() && !"{}@?/".contains(c))
    };
    text(
        from,
        fits,
        "at most 64 visible ASCII characters without any of {}@?/",
    )
}

/// Reads a list of origins.
pub(super) fn origins<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    let given = Value::deserialize(from)?;
    let ValueKind::Array(list) = given.kind else {
        return Err(refused(&given.kind, "a list of origins"));
    };
    list.into_iter()
        .map(|item| match item.kind {
            ValueKind::String(origin) if is_origin(&origin) => Ok(origin),
            ValueKind::String(star) if star == "*" => Err(D::Error::custom(
                "given \"*\", allowed is a list of origins, each by name: credentials are \
                 allowed to every one of them",
            )),
            other => Err(refused(
                &other,
                "scheme://host[:port] as browsers send it: lower case, without a path, a \
                 trailing slash or the scheme's own port",
            )),
        })
        .collect()
}

/// Reads text for which `is_allowed` says yes; `allowed` says what that is.
pub(super) fn text<'de, D: Deserializer<'de>>(
    from: D,
    is_allowed: impl Fn(&str) -> bool,
    allowed: &str,
) -> Result<String, D::Error> {
    read(
        from,
        |text| is_allowed(text).then(|| text.to_owned()),
        allowed,
    )
}

/// Reads text from which `parse` makes a value; `allowed` says what that is.
pub(super) fn read<'de, D: Deserializer<'de>, T>(
    from: D,
    parse: impl Fn(&str) -> Option<T>,
    allowed: &str,
) -> Result<T, D::Error> {
    let given = Value::deserialize(from)?.kind;
    match &given {
        ValueKind::String(text) => parse(text),
        _ => None,
    }
    .ok_or_else(|| refused(&given, allowed))
}

fn is_log_directive(directive: &str) -> bool {
    let is_level = |text: &str| text.trim().parse::<log::LevelFilter>().is_ok();
    match directive.trim().split_once('=') {
        None => is_level(directive),
        Some((target, level)) => {
            let is_name = |c: char| c.is_ascii_alphanumeric() || "_:-.".contains(c);
            !target.is_empty() && target.chars().all(is_name) && is_level(level)
        }
    }
}

/// Browsers compare origins byte by byte, so one that they would write otherwise never matches.
fn is_origin(text: &str) -> bool {
    let Ok(url) = Url::parse(text) else {
        return false;
    };
    let host = url.host_str().unwrap_or_default();
    let as_sent = format!("{}://{}", url.scheme(), &url[BeforeHost..AfterPort]);
    as_sent == text
        && is_host(host.trim_matches(['[', ']']))
        && url.port() != Some(0)
        && !text.contains(|c: char| c.is_ascii_uppercase())
}

fn refused<E: Error>(given: &ValueKind, allowed: &str) -> E {
    E::custom(format_args!("given {}, allowed is {allowed}", shown(given)))
}

fn shown(given: &ValueKind) -> String {
    match given {
        ValueKind::String(text) => format!("\"{}\"", one_line(&without_secrets(text))),
        ValueKind::Array(_) => "a list".into(),
        ValueKind::Table(_) => "a section".into(),
        ValueKind::Nil => "nothing".into(),
        scalar => scalar.to_string(),
    }
}

/// Hides what may be a URL with a password, which was given to the wrong key.
fn without_secrets(text: &str) -> String {
    const SHOWN_CHARS: usize = 80;
    if text.contains(['@', '?']) {
        return MASK.to_owned();
    }
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_addresses_or_names_and_nothing_more() {
        for host in [
            "127.0.0.1",
            "0.0.0.0",
            "::",
            "::1",
            "localhost",
            "db-1.clinic.example",
            "a_b",
        ] {
            assert!(is_host(host), "{host}");
        }
        for host in [
            "",
            " ",
            "[::1]",
            "127.0.0.1:80",
            "127.0.0",
            "http://x",
            "a..b",
            "a b",
            "x/",
        ] {
            assert!(!is_host(host), "{host:?}");
        }
        assert!(!is_host(&"a".repeat(64)) && !is_host(&["a"; 128].join(".")));
    }

    #[test]
    fn origins_are_written_as_browsers_send_them() {
        for origin in [
            "http://localhost:8080",
            "https://clinic.example",
            "https://clinic.example:8443",
            "http://127.0.0.1:5173",
            "http://[::1]:5173",
            "http://[::1]",
            "capacitor://localhost",
            "http://clinic.example:443",
        ] {
            assert!(is_origin(origin), "{origin}");
        }
        for origin in [
            "",
            "*",
            "null",
            "localhost:8080",
            "clinic.example",
            "http://",
            "://clinic.example",
            "http://clinic.example/",
            "http://clinic.example/app",
            "http://clinic.example?x",
            "http://*.clinic.example",
            "http://ana@clinic.example",
            "http://Clinic.example",
            "HTTP://clinic.example",
            "http://clinic.example:",
            "http://clinic.example:80",
            "https://clinic.example:443",
            "http://clinic.example:0",
            "http://clinic.example:08",
            "http://clinic.example:+8",
            "http://clinic.example:65536",
            "http://::1",
            "http://[127.0.0.1]",
            " http://clinic.example",
            "http://a,http://b",
        ] {
            assert!(!is_origin(origin), "{origin:?}");
        }
    }

    #[test]
    fn log_filters_are_levels_for_all_or_for_a_target() {
        for filter in [
            "info",
            "OFF",
            "warn,megastats=debug",
            "actix_web::x=trace, info",
            "a=b=c",
        ] {
            let expected = filter != "a=b=c";
            assert_eq!(
                filter.split(',').all(is_log_directive),
                expected,
                "{filter}"
            );
        }
        for directive in [
            "",
            "inf",
            "megastats",
            "megastats=",
            "=info",
            "x=loud",
            "x =info",
            "info/x",
        ] {
            assert!(!is_log_directive(directive), "{directive:?}");
        }
    }

    #[test]
    fn a_refused_value_is_shown_on_one_short_line_without_secrets() {
        for (given, expected) in [
            ("abc", "\"abc\""),
            ("a\nb\u{1b}[1m", "\"a b [1m\""),
            ("postgres://ana:hunter2@db/clinic", "\"***\""),
            ("postgres://db/clinic?password=hunter2", "\"***\""),
            ("postgres://ana:hunter2@db/a?b://c", "\"***\""),
            ("ana:hunter2@db", "\"***\""),
            ("ana:hunter2@db://", "\"***\""),
        ] {
            assert_eq!(shown(&ValueKind::String(given.into())), expected);
        }
        assert!(shown(&ValueKind::String("é".repeat(500))).chars().count() < 100);
    }
}
