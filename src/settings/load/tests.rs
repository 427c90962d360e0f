//! What the layers do to each other, and every message that stops the start.

use std::{fs, os::unix::ffi::OsStringExt};

use super::*;
use crate::settings::{CacheBackend, DatabaseUrl};

mod auth;
mod files;
mod redis;
mod secrets;
mod shipped_files;

fn load(file: Option<&str>, variables: &[(&str, &str)]) -> Result<Settings, SettingsError> {
    let environment = variables
        .iter()
        .map(|&(name, text)| (name.into(), text.into()));
    let Some(text) = file else {
        return Settings::load_from(None, environment);
    };
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ops.toml");
    fs::write(&path, text).unwrap();
    Settings::load_from(Some(&path), environment)
}

/// The message that refuses these settings, without the directory of the file.
fn refusal(file: Option<&str>, variables: &[(&str, &str)]) -> String {
    let message = load(file, variables).unwrap_err().to_string();
    assert_eq!(message.lines().count(), 1, "{message:?}");
    match (message.find(" in /"), message.find("/ops.toml")) {
        (Some(start), Some(end)) => {
            format!("{} in {}", &message[..start], &message[end + "/".len()..])
        }
        _ => match message.find("ops.toml") {
            Some(start) => message[start..].into(),
            None => message,
        },
    }
}

/// The values of a config file, by dotted key.
fn shown_values(toml: &str) -> BTreeMap<String, String> {
    let values = leaves(&File::from_str(toml, FileFormat::Toml).collect().unwrap());
    let shown = |(key, value): (String, Value)| (key, value.kind.to_string());
    values.into_iter().map(shown).collect()
}

#[test]
fn the_file_overrides_the_defaults_and_the_environment_the_file() {
    let file = "[cache]\nttl_seconds = 60\nmax_entries = 7\n";
    let from_file = load(Some(file), &[]).unwrap();
    assert_eq!(
        (from_file.cache.ttl.as_secs(), from_file.cache.max_entries),
        (60, 7)
    );
    assert_eq!(from_file.server.port, Settings::default().server.port);

    let from_both = load(Some(file), &[("MEGASTATS__CACHE__TTL_SECONDS", "90")]).unwrap();
    assert_eq!(
        (from_both.cache.ttl.as_secs(), from_both.cache.max_entries),
        (90, 7)
    );
}

#[test]
fn a_bad_value_that_is_overridden_is_no_fault() {
    let file = Some("[cache]\nttl_seconds = 0\n");
    assert!(load(file, &[]).is_err());
    assert!(load(file, &[("MEGASTATS__CACHE__TTL_SECONDS", "90")]).is_ok());
}

#[test]
fn every_setting_can_come_from_the_environment() {
    let settings = load(
        None,
        &[
            ("MEGASTATS__SERVER__HOST", "0.0.0.0"),
            ("MEGASTATS__SERVER__PORT", "0"),
            ("MEGASTATS__SERVER__WORKERS", "2"),
            ("MEGASTATS__SERVER__MAX_BODY_BYTES", "1024"),
            ("MEGASTATS__SERVER__MAX_CONNECTIONS", "1"),
            ("MEGASTATS__SERVER__REQUEST_TIMEOUT_SECONDS", "1"),
            ("MEGASTATS__SERVER__SHUTDOWN_TIMEOUT_SECONDS", "1"),
            ("MEGASTATS__SERVER__DRAIN_DELAY_SECONDS", "300"),
            ("MEGASTATS__DATABASE__URL", "sqlite:///srv/m.db"),
            ("MEGASTATS__DATABASE__POOL_SIZE", "1"),
            ("MEGASTATS__DATABASE__POOL_WAIT_MS", "2"),
            ("MEGASTATS__DATABASE__POOL_QUEUE", "0"),
            ("MEGASTATS__DATABASE__BUSY_TIMEOUT_MS", "3"),
            ("MEGASTATS__DATABASE__STATEMENT_TIMEOUT_MS", "4"),
            ("MEGASTATS__DATABASE__CONNECT_TIMEOUT_MS", "5"),
            ("MEGASTATS__CACHE__BACKEND", "none"),
            ("MEGASTATS__CACHE__TTL_SECONDS", "3600"),
            ("MEGASTATS__CACHE__STALE_IF_ERROR_SECONDS", "0"),
            ("MEGASTATS__CACHE__MAX_ENTRIES", "1"),
            ("MEGASTATS__CACHE__WARMING__ENABLED", "true"),
            ("MEGASTATS__CACHE__WARMING__WINDOW_SECONDS", "1"),
            ("MEGASTATS__CACHE__REDIS__URL", "rediss://ana:x@h:7000"),
            ("MEGASTATS__CACHE__REDIS__CLUSTER", "true"),
            ("MEGASTATS__CACHE__REDIS__TLS_CA", "/etc/ca.pem"),
            ("MEGASTATS__CACHE__REDIS__KEY_PREFIX", "clinic-7:"),
            ("MEGASTATS__CACHE__REDIS__CONNECT_TIMEOUT_MS", "10"),
            ("MEGASTATS__CACHE__REDIS__RESPONSE_TIMEOUT_MS", "5"),
            ("MEGASTATS__CACHE__REDIS__INVALIDATION_WAIT_MS", "10000"),
            ("MEGASTATS__CACHE__REDIS__FENCE_SECONDS", "600"),
            ("MEGASTATS__CACHE__REDIS__LEASE_MS", "50"),
            ("MEGASTATS__STATS__TZDB", "system"),
            ("MEGASTATS__APPOINTMENTS__ALLOW_PAST_STARTS", "false"),
            ("MEGASTATS__AUTH__MODE", "jwt"),
            ("MEGASTATS__AUTH__ALLOW_ANONYMOUS", "true"),
            ("MEGASTATS__AUTH__SECRET", auth::SECRET),
            ("MEGASTATS__AUTH__ISSUER", "https://clinic.example"),
            ("MEGASTATS__AUTH__AUDIENCE", "megastats"),
            ("MEGASTATS__AUTH__LEEWAY_SECONDS", "0"),
            ("MEGASTATS__AUTH__TENANT_CLAIM", "clinics"),
            ("MEGASTATS__AUTH__ADMIN_CLAIM", "groups"),
            ("MEGASTATS__AUTH__ADMIN_VALUE", "ops"),
            ("MEGASTATS__AUTH__ADMIN_LISTEN", "[::1]:9000"),
            (
                "MEGASTATS__CORS__ALLOWED_ORIGINS",
                "https://a.example, http://localhost:3000",
            ),
            ("MEGASTATS__LOG__FILTER", "warn,megastats=debug"),
            ("MEGASTATS__LOG__FORMAT", "json"),
            ("MEGASTATS__LOG__REQUESTS", "false"),
            ("PATH", "/bin"),
            ("MEGASTATSX", "someone else's"),
        ],
    )
    .unwrap();
    assert_eq!(
        (settings.server.host.as_str(), settings.server.port),
        ("0.0.0.0", 0)
    );
    assert_eq!(
        settings.database.url,
        DatabaseUrl::Sqlite("/srv/m.db".into())
    );
    assert_eq!(settings.cache.backend, CacheBackend::None);
    assert_eq!(
        settings.cors.allowed_origins,
        ["https://a.example", "http://localhost:3000"]
    );

    let shown = |settings: &Settings| shown_values(&settings.to_toml());
    let defaults = shown(&Settings::default());
    for (key, value) in shown(&settings) {
        // What excludes another setting is tried by itself.
        if !auth::INSTEAD_OF_THE_SECRET.contains(&key.as_str()) {
            assert_ne!(value, defaults[&key], "{key} is not tried above");
        }
    }
}

#[test]
fn an_empty_variable_is_an_empty_list_of_origins() {
    for empty in ["", " "] {
        let settings = load(None, &[("MEGASTATS__CORS__ALLOWED_ORIGINS", empty)]).unwrap();
        assert!(settings.cors.allowed_origins.is_empty());
    }
}

#[test]
fn a_misspelt_variable_stops_the_start_and_is_corrected() {
    for (name, meant) in [
        (
            "MEGASTATS_TTL",
            "did you mean MEGASTATS__CACHE__TTL_SECONDS?",
        ),
        (
            "MEGASTATS__TTL",
            "did you mean MEGASTATS__CACHE__TTL_SECONDS?",
        ),
        (
            "MEGASTATS_SERVER_PORT",
            "did you mean MEGASTATS__SERVER__PORT?",
        ),
        (
            "MEGASTATS_SERVER__PORT",
            "did you mean MEGASTATS__SERVER__PORT?",
        ),
        (
            "MEGASTATS__SERVER_PORT",
            "did you mean MEGASTATS__SERVER__PORT?",
        ),
        (
            "MEGASTATS__SERVER__PORT__",
            "did you mean MEGASTATS__SERVER__PORT?",
        ),
        (
            "MEGASTATS___SERVER__PORT",
            "did you mean MEGASTATS__SERVER__PORT?",
        ),
        (
            "MEGASTATS__SERVER.PORT",
            "did you mean MEGASTATS__SERVER__PORT?",
        ),
        (
            "megastats__server__port",
            "did you mean MEGASTATS__SERVER__PORT?",
        ),
        (
            "MEGASTATS__REDIS__URL",
            "did you mean MEGASTATS__CACHE__REDIS__URL?",
        ),
        (
            "MEGASTATS__CACHE_REDIS_LEASE",
            "did you mean MEGASTATS__CACHE__REDIS__LEASE_MS?",
        ),
        (
            "MEGASTATS_DEBUG",
            "there are MEGASTATS__APPOINTMENTS__ALLOW_PAST_STARTS, ",
        ),
        (
            "MEGASTATS_",
            "there are MEGASTATS__APPOINTMENTS__ALLOW_PAST_STARTS, ",
        ),
        (
            "MEGASTATS__",
            "there are MEGASTATS__APPOINTMENTS__ALLOW_PAST_STARTS, ",
        ),
    ] {
        let message = refusal(None, &[(name, "hunter2")]);
        let start = format!("{name} in the environment is not a setting: {meant}");
        assert!(message.starts_with(&start), "{message}");
        assert!(
            message.ends_with(" (the spelling is MEGASTATS__SECTION__KEY)"),
            "{message}"
        );
        assert!(!message.contains("hunter2"), "{message}");
    }
}

#[test]
fn an_unknown_key_in_the_file_is_named_in_full() {
    for (file, expected) in [
        (
            "[cache]\nttl = 5",
            "cache.ttl in ops.toml is not a setting: did you mean cache.ttl_seconds?",
        ),
        (
            "ttl_seconds = 5",
            "ttl_seconds in ops.toml is not a setting: did you mean cache.ttl_seconds?",
        ),
        (
            "[Cache]\nttl_seconds = 5",
            "Cache.ttl_seconds in ops.toml is not a setting: did you mean",
        ),
        (
            "[log]\ncolour = \"red\"",
            "log.colour in ops.toml is not a setting: there are log.filter, log.format, log.requests",
        ),
        (
            "[cache.redis]\nport = 5",
            "cache.redis.port in ops.toml is not a setting: there are cache.ba",
        ),
        (
            "[redis]\nurl = 5",
            "redis.url in ops.toml is not a setting: did you mean cache.redis.url?",
        ),
        (
            "\"a\\nb\" = 5",
            "a b in ops.toml is not a setting: there are ",
        ),
    ] {
        let message = refusal(Some(file), &[]);
        assert!(message.starts_with(expected), "{message}");
    }
}

#[test]
fn a_bad_value_is_refused_with_its_key_its_file_and_what_is_allowed() {
    for (file, expected) in [
        (
            "cache = 5",
            "cache in ops.toml is not a setting: did you mean cache.backend?",
        ),
        (
            "[cache]\nttl_seconds = 0",
            "cache.ttl_seconds in ops.toml: given 0, allowed is a whole number of seconds from 1 to 3600",
        ),
        (
            "[cache]\nttl_seconds = 3601",
            "cache.ttl_seconds in ops.toml: given 3601, allowed is a whole number of seconds from 1 to 3600",
        ),
        (
            "[server]\nport = 65536",
            "server.port in ops.toml: given 65536, allowed is a whole number from 0 to 65535",
        ),
        (
            "[server]\nport = \"8000\"",
            "server.port in ops.toml: given \"8000\", allowed is a whole number from 0 to 65535",
        ),
        (
            "[server]\nport = true",
            "server.port in ops.toml: given true, allowed is a whole number from 0 to 65535",
        ),
        (
            "[server]\nport = 80.4",
            "server.port in ops.toml: given 80.4, allowed is a whole number from 0 to 65535",
        ),
        (
            "[server.port]\nhttp = 1",
            "server.port.http in ops.toml is not a setting: there are server.drain_delay_seconds",
        ),
        (
            "[server]\nhost = 5",
            "server.host in ops.toml: given 5, allowed is an IP address or a host name, without a \
             scheme, a port or brackets",
        ),
        (
            "[cache]\nbackend = \"Redis\"",
            "cache.backend in ops.toml: given \"Redis\", allowed is \"memory\" or \"redis\" or \"none\"",
        ),
        (
            "[cache]\nredis = \"redis://h\"",
            "cache.redis in ops.toml is not a setting: did you mean cache.redis.url?",
        ),
        (
            "[cache.redis]\ncluster = 1",
            "cache.redis.cluster in ops.toml: given 1, allowed is true or false",
        ),
        (
            "[cache.redis]\nkey_prefix = \"{a}\"",
            "cache.redis.key_prefix in ops.toml: given \"{a}\", allowed is at most 64 visible ",
        ),
        (
            "[cache.redis]\nurl = \"h:6379\"",
            "cache.redis.url in ops.toml: given something else, allowed is redis://[user:",
        ),
        (
            "[stats]\ntzdb = \"iana\"",
            "stats.tzdb in ops.toml: given \"iana\", allowed is \"bundled\" or \"system\"",
        ),
        (
            "[cors]\nallowed_origins = \"http://a.b\"",
            "cors.allowed_origins in ops.toml: given \"h",
        ),
        (
            "[cors]\nallowed_origins = [\"http://a.b\", \"http://a.b/\"]",
            "cors.allowed_origins in ops.toml: given \"http://a.b/\", allowed is scheme://host",
        ),
        (
            "[cors]\nallowed_origins = [\"*\"]",
            "cors.allowed_origins in ops.toml: given \"*\", allowed is a list of origins, each",
        ),
        (
            "[log]\nfilter = \"inf\"",
            "log.filter in ops.toml: given \"inf\", allowed is LEVEL or ",
        ),
        (
            "[database]\nurl = 5",
            "database.url in ops.toml: given something else, allowed is text",
        ),
        (
            "[database]\nurl = \"sqlite://:memory:\"",
            "database.url in ops.toml: given :memory:, allowed is sqlite://relative/path.db or ",
        ),
    ] {
        let message = refusal(Some(file), &[]);
        assert!(message.starts_with(expected), "{message}");
    }
}

#[test]
fn a_bad_value_in_the_environment_is_refused_with_its_key_and_its_variable() {
    for (name, text, expected) in [
        (
            "MEGASTATS__SERVER__PORT",
            "",
            "server.port in the environment (MEGASTATS__SERVER__PORT): given \"\", allowed is a ",
        ),
        (
            "MEGASTATS__CACHE__TTL_SECONDS",
            "30s",
            "cache.ttl_seconds in the environment (MEGASTATS__CACHE__TTL_SECONDS): given \"30s\", ",
        ),
        (
            "MEGASTATS__CACHE__TTL_SECONDS",
            "99999999999999999999",
            "cache.ttl_seconds in the environment (MEGASTATS__CACHE__TTL_SECONDS): given \"999999",
        ),
        (
            "MEGASTATS__CORS__ALLOWED_ORIGINS",
            "http://a.b,",
            "cors.allowed_origins in the environment (MEGASTATS__CORS__ALLOWED_ORIGINS): given ",
        ),
    ] {
        let message = refusal(None, &[(name, text)]);
        assert!(message.starts_with(expected), "{message}");
    }
}

#[test]
fn bytes_that_are_not_text_are_refused_by_name() {
    let bytes = OsString::from_vec(vec![b'x', 0xff]);
    let value = Settings::load_from(None, [("MEGASTATS__LOG__FILTER".into(), bytes.clone())]);
    assert_eq!(
        value.unwrap_err().to_string(),
        "log.filter in the environment (MEGASTATS__LOG__FILTER): given bytes that are not UTF-8, \
         allowed is UTF-8"
    );
    let name = OsString::from_vec(b"MEGASTATS_\xff".to_vec());
    assert!(Settings::load_from(None, [(name, "x".into())]).is_err());
    assert!(Settings::load_from(None, [(bytes.clone(), bytes)]).is_ok());
}
