//! How settings are shown, and what their defaults are.

use super::*;

fn reload(shown: &str) -> Settings {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), shown).unwrap();
    Settings::load_from(Some(file.path()), []).unwrap()
}

#[test]
fn what_is_shown_can_be_loaded_again() {
    let mut settings = Settings::default();
    settings.server.host = "::1".into();
    settings.server.workers = 3;
    settings.database.url = DatabaseUrl::Sqlite("/srv/a \"quoted\" \\ é/x.db".into());
    settings.cache.backend = CacheBackend::None;
    settings.cache.redis.url = RedisUrl::parse("redis://h:7000").unwrap();
    settings.cache.redis.cluster = true;
    settings.cache.redis.tls_ca = "/etc/ca.pem".into();
    settings.cache.redis.key_prefix = "clinic-7:".into();
    settings.stats.tzdb = Tzdb::System;
    settings.appointments.allow_past_starts = false;
    settings.auth.mode = AuthMode::Jwt;
    settings.auth.allow_anonymous = true;
    settings.auth.jwks_file = "/etc/keys.json".into();
    settings.auth.tenant_claim = "https://clinic.example/tenants".into();
    settings.auth.admin_listen = Some(([127, 0, 0, 1], 9000).into());
    settings.cors.allowed_origins.clear();
    settings.log.filter = "warn,megastats=debug".into();
    settings.log.format = LogFormat::Json;
    settings.log.requests = false;
    settings.server.drain_delay = Duration::from_secs(5);
    settings.database.pool_wait = Duration::from_millis(1_500);
    for settings in [settings, Settings::default()] {
        let shown = settings.to_toml();
        assert_eq!(reload(&shown).to_toml(), shown);
    }
}

#[test]
fn a_password_is_not_shown() {
    let mut settings = Settings::default();
    settings.database.url = DatabaseUrl::parse("postgres://ana:hunter2@db/clinic").unwrap();
    let shown = settings.to_toml();
    assert!(shown.contains("postgres://ana:***@db/clinic"), "{shown}");
    assert!(!shown.contains("hunter2"), "{shown}");
    assert!(!format!("{settings:?}").contains("hunter2"));
}

#[test]
fn defaults_are_the_documented_ones() {
    let settings = Settings::default();
    assert_eq!(
        (settings.server.host.as_str(), settings.server.port),
        ("127.0.0.1", 8000)
    );
    assert_eq!(settings.server.max_body_bytes, 65_536);
    assert_eq!(settings.server.shutdown_timeout, Duration::from_secs(30));
    assert_eq!(settings.server.drain_delay, Duration::ZERO);
    assert_eq!(
        settings.database.url,
        DatabaseUrl::Sqlite("data/megastats.db".into())
    );
    assert_eq!(settings.database.pool_size, 4);
    assert_eq!(settings.database.pool_wait, Duration::from_secs(5));
    assert_eq!(settings.database.pool_queue, 500);
    assert_eq!(settings.database.busy_timeout, Duration::from_secs(5));
    assert_eq!(settings.database.statement_timeout, Duration::from_secs(5));
    assert_eq!(settings.database.connect_timeout, Duration::from_secs(3));
    assert_eq!(settings.cache.backend, CacheBackend::Memory);
    assert_eq!(settings.cache.ttl, Duration::from_secs(30));
    assert_eq!(settings.cache.max_entries, 10_000);
    assert!(!settings.cache.redis.is_set() && !settings.cache.redis.cluster);
    assert_eq!(settings.cache.redis.key_prefix, "megastats:");
    assert_eq!(
        settings.cache.redis.response_timeout,
        Duration::from_millis(50)
    );
    assert_eq!(
        settings.cache.redis.invalidation_wait,
        Duration::from_secs(1)
    );
    assert_eq!(settings.cache.redis.fence_life, Duration::from_secs(30));
    assert_eq!(settings.stats.tzdb, Tzdb::Bundled);
    assert_eq!(settings.auth.mode, AuthMode::None);
    assert!(!settings.auth.allow_anonymous);
    assert_eq!(settings.auth.leeway, Duration::from_secs(5));
    assert_eq!(settings.auth.admin_listen, None);
    assert_eq!(settings.cors.allowed_origins.len(), 4);
    assert_eq!(settings.log.filter, "info");
    assert_eq!(settings.log.format, LogFormat::Text);
    assert!(settings.log.requests);
}

#[test]
fn no_workers_means_one_per_core() {
    let mut server = Settings::default().server;
    assert_eq!(server.workers, 0);
    assert!(server.worker_count() >= 1);
    server.workers = 7;
    assert_eq!(server.worker_count(), 7);
}
