//! Reading one value. Lives here: what each kind of setting allows, and how a refused value is
//! shown. `config` would take `true` or `"on"` for 1 and round 30.7; nothing here does. Not here:
//! where the value comes from (`load`).

use std::path::PathBuf;

use config::{Value, ValueKind};
use serde::{Deserialize, Deserializer, de::Error};
use url::{
    Position::{AfterPort, BeforeHost},
    Url,
};

use super::{DatabaseUrl, RedisUrl, redis::InvalidRedisUrl, url_parts::is_host};
use crate::text::one_line;

/// A setting that is one of a few words.
pub(super) trait Choice: Copy + 'static {
    /// Every word, and what it means.
    const ALL: &'static [(&'static str, Self)];
}

/// Reads one of [`Choice::ALL`].
pub(super) fn choice<'de, D: Deserializer<'de>, T: Choice>(from: D) -> Result<T, D::Error> {
    let given = Value::deserialize(from)?;
    if let ValueKind::String(word) = &given.kind
        && let Some((_, choice)) = T::ALL.iter().find(|(name, _)| name == word)
    {
        return Ok(*choice);
    }
    let words: Vec<_> = T::ALL
        .iter()
        .map(|(name, _)| format!("\"{name}\""))
        .collect();
    Err(refused(&given.kind, &words.join(" or ")))
}

/// Reads a whole number from `MIN` to `MAX`.
pub(super) fn integer<'de, D, T, const MIN: i64, const MAX: i64>(from: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: TryFrom<i64>,
{
    let given = Value::deserialize(from)?;
    match given.kind {
        ValueKind::I64(number) if (MIN..=MAX).contains(&number) => T::try_from(number).ok(),
        _ => None,
    }
    .ok_or_else(|| refused(&given.kind, &format!("a whole number from {MIN} to {MAX}")))
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

/// Reads the database's URL.
pub(super) fn database_url<'de, D: Deserializer<'de>>(from: D) -> Result<DatabaseUrl, D::Error> {
    let given = Value::deserialize(from)?;
    match given.kind {
        ValueKind::String(url) => DatabaseUrl::parse(&url).map_err(D::Error::custom),
        other => Err(refused(&other, "a URL")),
    }
}

/// Reads the URL of a Redis, or nothing.
pub(super) fn redis_url<'de, D: Deserializer<'de>>(from: D) -> Result<RedisUrl, D::Error> {
    match Value::deserialize(from)?.kind {
        ValueKind::String(url) => RedisUrl::parse(&url).map_err(D::Error::custom),
        // What was given is not shown: it may hold a password anywhere.
        _ => Err(D::Error::custom(InvalidRedisUrl::NotRedis)),
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
    let given = Value::deserialize(from)?;
    match given.kind {
        ValueKind::String(text) if is_allowed(&text) => Ok(text),
        other => Err(refused(&other, allowed)),
    }
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

/// Hides what may be a password when a URL was given to the wrong key: all but the scheme of
/// whatever has user information or a query.
fn without_secrets(text: &str) -> String {
    const SHOWN_CHARS: usize = 80;
    if text.contains(['@', '?']) {
        let scheme = text.split_once("://").map_or("", |(scheme, _)| scheme);
        let scheme = if scheme.contains(['@', '?', ':']) {
            ""
        } else {
            scheme
        };
        return if scheme.is_empty() {
            "***".into()
        } else {
            format!("{scheme}://***")
        };
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
            ("postgres://ana:hunter2@db/clinic", "\"postgres://***\""),
            (
                "postgres://db/clinic?password=hunter2",
                "\"postgres://***\"",
            ),
            ("postgres://ana:hunter2@db/a?b://c", "\"postgres://***\""),
            ("ana:hunter2@db", "\"***\""),
            ("ana:hunter2@db://", "\"***\""),
        ] {
            assert_eq!(shown(&ValueKind::String(given.into())), expected);
        }
        assert!(shown(&ValueKind::String("é".repeat(500))).chars().count() < 100);
    }
}
