//! Settings that must fit each other once there is a Redis.

use super::*;

const URL: (&str, &str) = ("MEGASTATS__CACHE__REDIS__URL", "redis://h");
const FENCE: &str = "MEGASTATS__CACHE__REDIS__FENCE_SECONDS";

#[test]
fn the_backend_redis_needs_a_url() {
    let backend = ("MEGASTATS__CACHE__BACKEND", "redis");
    assert_eq!(
        refusal(None, &[backend]),
        "cache.redis.url: the backend \"redis\" needs the URL of a Redis"
    );
    let settings = load(None, &[backend, URL]).unwrap();
    assert_eq!(settings.cache.backend, CacheBackend::Redis);
}

#[test]
fn a_redis_is_told_of_writes_whatever_the_backend() {
    for backend in ["memory", "none"] {
        let settings = load(None, &[("MEGASTATS__CACHE__BACKEND", backend), URL]).unwrap();
        assert!(settings.cache.redis.is_set());
    }
    assert!(!Settings::default().cache.redis.is_set());
}

#[test]
fn a_fence_outlasts_the_longest_write() {
    assert_eq!(
        refusal(None, &[URL, (FENCE, "27")]),
        "cache.redis.fence_seconds: a fence must outlast the longest write, which may take \
         27000 ms by 2 x (database.pool_wait_ms + cache.redis.invalidation_wait_ms + 1000 + the \
         larger of database.busy_timeout_ms and database.statement_timeout_ms) + 3000"
    );
    assert!(load(None, &[URL, (FENCE, "28")]).is_ok());
    let hasty = [
        URL,
        (FENCE, "8"),
        ("MEGASTATS__DATABASE__POOL_WAIT_MS", "100"),
        ("MEGASTATS__DATABASE__BUSY_TIMEOUT_MS", "100"),
        ("MEGASTATS__DATABASE__STATEMENT_TIMEOUT_MS", "100"),
    ];
    assert!(load(None, &hasty).is_ok());
    assert!(load(None, &[(FENCE, "1")]).is_ok(), "there is no Redis");
}

#[test]
fn a_cluster_has_neither_a_socket_nor_a_number() {
    let cluster = ("MEGASTATS__CACHE__REDIS__CLUSTER", "true");
    for (url, fits) in [
        ("rediss://ana:x@h", true),
        ("valkey://h/0?protocol=resp3", true),
        ("redis://h/1", false),
        ("redis+unix:///run/redis.sock", false),
    ] {
        let given = [("MEGASTATS__CACHE__REDIS__URL", url), cluster];
        match load(None, &given) {
            Ok(_) => assert!(fits, "{url}"),
            Err(error) => assert!(!fits && error.to_string().starts_with("cache.redis.url: with ")),
        }
    }
}
