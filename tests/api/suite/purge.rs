//! `DELETE /cache`: what ops do when they doubt what is cached.

use std::{net::TcpListener, sync::Arc, time::Duration};

use harness::{Builder, FakeClock, Gate, NOW, PREFIX, Raw, Reply, Step, TestServer};
use megastats::settings::{CacheBackend, RedisUrl};
use reqwest::{Method, StatusCode};

fn service() -> Builder {
    TestServer::builder()
        .clock(Arc::new(FakeClock::at(NOW)))
        .settings(|settings| settings.cache.ttl = Duration::from_secs(3600))
}

async fn purge(server: &TestServer, query: &str) -> Reply {
    let path = format!("{PREFIX}/cache{query}");
    server.send(Method::DELETE, &path).await
}

async fn assert_all(server: &TestServer, paths: &[&str], outcome: &str) {
    for path in paths {
        assert_eq!(server.get(path).await.today(), (outcome, 0), "{path}");
    }
}

const OF_CLINIC: [&str; 3] = [
    "/mega-stats?tenantId=clinic",
    "/mega-stats?tenantId=clinic&tz=America/Sao_Paulo",
    "/summary?tenantId=clinic",
];
const OF_OTHER: [&str; 1] = ["/mega-stats?tenantId=other"];

#[tokio::test]
async fn a_tenants_entries_are_forgotten_and_no_others() {
    let server = service().start();
    for outcome in ["MISS", "HIT"] {
        assert_all(&server, &OF_CLINIC, outcome).await;
        assert_all(&server, &OF_OTHER, outcome).await;
    }
    let purged = purge(&server, "?tenantId=clinic").await;
    assert_eq!((purged.status, &*purged.body), (StatusCode::NO_CONTENT, ""));
    assert_all(&server, &OF_CLINIC, "MISS").await;
    assert_all(&server, &OF_OTHER, "HIT").await;
    assert_all(&server, &OF_CLINIC, "HIT").await;
}

#[tokio::test]
async fn without_a_tenant_everything_is_forgotten() {
    let server = service().start();
    assert_all(&server, &OF_CLINIC, "MISS").await;
    assert_all(&server, &OF_OTHER, "MISS").await;
    let purged = purge(&server, "/").await;
    assert_eq!((purged.status, &*purged.body), (StatusCode::NO_CONTENT, ""));
    assert_eq!(server.get("/cache-metrics").await.json()["cache_size"], 0);
    for outcome in ["MISS", "HIT"] {
        assert_all(&server, &OF_CLINIC, outcome).await;
        assert_all(&server, &OF_OTHER, outcome).await;
    }
}

#[tokio::test]
async fn what_was_being_computed_is_forgotten_too() {
    for query in ["?tenantId=clinic", ""] {
        let (service, gate) = Gate::before(service());
        let server = service.start();
        gate.hold_nth(Step::Store, 1);
        let mut slow = Raw::connect(server.url());
        slow.mega_stats("clinic");
        gate.reached(Step::Store, 1).await;
        assert_eq!(purge(&server, query).await.status, StatusCode::NO_CONTENT);
        gate.open(Step::Store);
        assert_eq!(slow.reply().today(), ("MISS", 0));
        assert_all(&server, &OF_CLINIC[..1], "MISS").await;
    }
}

#[tokio::test]
async fn a_client_that_leaves_does_not_stop_it() {
    let (service, gate) = Gate::before(service());
    let server = service.start();
    assert_all(&server, &OF_CLINIC[..1], "MISS").await;
    gate.hold(Step::Release);
    let mut client = Raw::connect(server.url());
    client.write(format!(
        "DELETE {PREFIX}/cache?tenantId=clinic HTTP/1.1\r\nHost: localhost\r\n\r\n"
    ));
    gate.reached(Step::Release, 1).await;
    drop(client);
    assert_all(&server, &OF_CLINIC[..1], "BYPASS").await;
    gate.open(Step::Release);
    harness::eventually("the fence goes down", async || {
        server.mega_stats("clinic").await.today() == ("HIT", 0)
    })
    .await;
}

#[tokio::test]
async fn a_purge_that_is_not_meant_is_refused() {
    let server = service().start();
    assert_all(&server, &OF_CLINIC, "MISS").await;
    for (query, status, named) in [
        ("?tenantId=", StatusCode::UNPROCESSABLE_ENTITY, "tenantId"),
        (
            "?tenantId=%20",
            StatusCode::UNPROCESSABLE_ENTITY,
            "tenantId",
        ),
        ("?tenantid=clinic", StatusCode::BAD_REQUEST, "tenantid"),
        ("?tenant=clinic", StatusCode::BAD_REQUEST, "tenant"),
    ] {
        let refused = purge(&server, query).await;
        assert_eq!(refused.status, status, "{refused:?}");
        let detail = &refused.json()["detail"];
        assert!(detail.as_str().unwrap().contains(named), "{detail}");
    }
    let get = server.get("/cache").await;
    assert_eq!(get.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(get.header("allow"), "DELETE");
    assert_all(&server, &OF_CLINIC, "HIT").await;
}

#[tokio::test]
async fn without_a_cache_there_is_nothing_to_forget() {
    let server = service()
        .settings(|settings| settings.cache.backend = CacheBackend::None)
        .start();
    for query in ["", "?tenantId=clinic"] {
        assert_eq!(purge(&server, query).await.status, StatusCode::NO_CONTENT);
    }
}

#[tokio::test]
async fn a_redis_that_is_away_is_told_of_a_tenant_later_and_a_purge_of_all_says_so() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}", nobody.local_addr().unwrap());
    drop(nobody);
    for backend in [CacheBackend::Redis, CacheBackend::Memory] {
        let server = service()
            .settings(|settings| {
                settings.cache.backend = backend;
                settings.cache.redis.url = RedisUrl::parse(&url).unwrap();
            })
            .start_at_once();
        let all = purge(&server, "").await;
        assert_eq!(all.status, StatusCode::SERVICE_UNAVAILABLE, "{all:?}");
        assert_eq!(all.header("retry-after"), "1");
        let one = purge(&server, "?tenantId=clinic").await;
        assert_eq!(one.status, StatusCode::NO_CONTENT, "{one:?}");
    }
}
