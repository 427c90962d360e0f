//! Every connection is taken by a statement that waits for a lock: what is cached is answered, some
//! wait, and the rest is sent away.

use std::time::Duration;

use harness::{PREFIX, Reply, TODAY, TestServer, eventually, redis, within};
use reqwest::StatusCode;
use serde_json::json;
use tokio_postgres::{Client, NoTls};

use crate::server::Postgres;
use megastats::settings::{CacheBackend, DatabaseUrl, RedisUrl, Settings};

const CONNECTIONS: usize = 2;
const QUEUE: usize = 3;

/// Requests that come at once, each for a tenant of its own.
const REQUESTS: usize = 40;

/// Requests for one and the same.
const ALIKE: usize = 20;

fn service(url: &str, wait_ms: u64) -> TestServer {
    adjusted(url, wait_ms, |_| {})
}

fn adjusted(url: &str, wait_ms: u64, adjust: impl FnOnce(&mut Settings)) -> TestServer {
    TestServer::builder()
        .settings(|settings| {
            settings.database.url = DatabaseUrl::parse(url).unwrap();
            settings.database.pool_size = u32::try_from(CONNECTIONS).unwrap();
            settings.database.pool_queue = QUEUE;
            settings.database.pool_wait = Duration::from_millis(wait_ms);
            settings.database.statement_timeout = Duration::from_millis(wait_ms);
            settings.cache.ttl = Duration::from_secs(3600);
            adjust(settings);
        })
        .start()
}

/// Keeps everybody out of the appointments and of their counts, for as long as its transaction lasts.
async fn lock(url: &str) -> Client {
    let (session, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    let lock = "BEGIN; LOCK TABLE appointments, appointment_counts IN ACCESS EXCLUSIVE MODE";
    session.batch_execute(lock).await.unwrap();
    session
}

async fn until_statements_wait(session: &Client, statements: usize) {
    const WAITING: &str = "SELECT count(*) FROM pg_locks WHERE NOT granted \
                           AND relation IN ('appointments'::regclass, 'appointment_counts'::regclass)";
    eventually("statements wait", async || {
        let waiting: i64 = session.query_one(WAITING, &[]).await.unwrap().get(0);
        waiting == i64::try_from(statements).unwrap()
    })
    .await;
}

/// Reads, lists and writes in turn, each of another tenant.
fn ask(service: &TestServer, number: usize) -> tokio::task::JoinHandle<Reply> {
    let (client, url) = (service.client(), format!("{}{PREFIX}", service.url()));
    tokio::spawn(Reply::to(match number % 3 {
        0 => client.get(format!("{url}/mega-stats?tenantId=t{number}")),
        1 => client.get(format!("{url}?tenantId=t{number}")),
        _ => client.post(url).json(&json!({
            "tenantId": format!("t{number}"), "patientId": 1, "startsAt": TODAY, "durationMin": 30,
        })),
    }))
}

#[tokio::test(flavor = "multi_thread")]
async fn with_every_connection_taken_hits_are_answered_some_wait_and_the_rest_is_sent_away() {
    let server = Postgres::shared();
    let url = server.database();
    let service = service(&url, 60_000);
    assert_eq!(service.mega_stats("hot").await.today(), ("MISS", 0));
    let session = lock(&url).await;

    // Together they have one connection.
    let alike = (0..ALIKE).map(|_| {
        let url = format!("{}{PREFIX}/mega-stats?tenantId=alike", service.url());
        tokio::spawn(Reply::to(service.client().get(url)))
    });
    let alike: Vec<_> = alike.collect();
    until_statements_wait(&session, 1).await;
    let asked: Vec<_> = (0..REQUESTS).map(|number| ask(&service, number)).collect();
    let may_wait = CONNECTIONS - 1 + QUEUE;
    eventually("the others are answered", async || {
        asked.iter().filter(|one| one.is_finished()).count() >= REQUESTS - may_wait
    })
    .await;
    until_statements_wait(&session, CONNECTIONS).await;
    for _ in 0..100 {
        assert_eq!(service.mega_stats("hot").await.today(), ("HIT", 0));
    }
    let (sent_away, waiting): (Vec<_>, Vec<_>) = asked
        .into_iter()
        .partition(tokio::task::JoinHandle::is_finished);
    assert_eq!(waiting.len(), may_wait);
    for reply in sent_away {
        let reply = reply.await.unwrap();
        assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE, "{reply:?}");
        assert_eq!(reply.header("retry-after"), "1");
    }
    assert!(alike.iter().all(|one| !one.is_finished()));

    session.batch_execute("COMMIT").await.unwrap();
    for reply in waiting.into_iter().chain(alike) {
        let reply = within("an answer", reply).await.unwrap();
        assert!(reply.status.is_success(), "{reply:?}");
    }
    let reply = within("an answer", ask(&service, 0)).await.unwrap();
    assert_eq!(reply.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_asks_for_more_than_its_share_keeps_no_other_from_its_turn() {
    const WAITING: &str = "FROM pg_stat_activity WHERE datname = current_database() \
                           AND wait_event_type = 'Lock'";
    const LIST: &str = "query ILIKE '%sum(%'";
    let server = Postgres::shared();
    let url = server.database();
    let service = service(&url, 60_000);
    assert_eq!(service.mega_stats("hot").await.today(), ("MISS", 0));
    let session = lock(&url).await;

    let page = format!("{}{PREFIX}?tenantId=flood", service.url());
    let flood = (0..REQUESTS).map(|_| tokio::spawn(Reply::to(service.client().get(&page))));
    let flood: Vec<_> = flood.collect();
    let answered = || flood.iter().filter(|one| one.is_finished()).count();
    let refused = REQUESTS - CONNECTIONS - QUEUE;
    eventually("it has every connection and every place", async || {
        answered() == refused
    })
    .await;
    until_statements_wait(&session, CONNECTIONS).await;

    let mut others = Vec::new();
    for number in [0, 2] {
        others.push(ask(&service, number));
        eventually("one of its requests leaves its place", async || {
            answered() == refused + others.len()
        })
        .await;
    }
    assert_eq!(service.mega_stats("hot").await.today(), ("HIT", 0));
    // The next connection that becomes free is for another tenant, and so is the one after it, which the
    // writer lends out until its fence is raised.
    let end = format!("SELECT pg_cancel_backend(pid) {WAITING} AND {LIST} LIMIT 1");
    for (ended, next) in [
        "query LIKE '%\"day\" BETWEEN %'",
        LIST,
        "query LIKE 'INSERT%'",
    ]
    .iter()
    .enumerate()
    {
        assert_eq!(server.query(&url, &end), "t");
        let waits = format!("SELECT count(*) = {CONNECTIONS} AND bool_or({next}) {WAITING}");
        eventually(next, async || {
            answered() == refused + others.len() + ended + 1 && server.query(&url, &waits) == "t"
        })
        .await;
    }

    session.batch_execute("COMMIT").await.unwrap();
    for reply in others {
        let reply = within("an answer", reply).await.unwrap();
        assert!(reply.status.is_success(), "{reply:?}");
    }
    let metrics = Reply::to(service.client().get(format!("{}/metrics", service.url()))).await;
    let share = "megastats_db_pool_refusals_total{reason=\"share\"} 2\n";
    assert!(metrics.body.contains(share), "{metrics:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_statements_take_too_long_hits_are_answered_and_no_request_hangs() {
    let server = Postgres::shared();
    let url = server.database();
    let service = service(&url, 300);
    assert_eq!(service.mega_stats("hot").await.today(), ("MISS", 0));
    let session = lock(&url).await;
    for round in 0..3 {
        let asked = (0..REQUESTS).map(|number| ask(&service, round * REQUESTS + number));
        let asked: Vec<_> = asked.collect();
        for reply in asked {
            let reply = within("an answer", reply).await.unwrap();
            assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE, "{reply:?}");
            assert_eq!(service.mega_stats("hot").await.today(), ("HIT", 0));
        }
    }
    session.batch_execute("COMMIT").await.unwrap();
    eventually("the database is used again", async || {
        ask(&service, 0).await.unwrap().status == StatusCode::OK
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_that_is_lost_costs_no_more_statements_at_once_than_there_are_connections() {
    let postgres = Postgres::shared();
    let url = postgres.database();
    let mut redis = redis::Server::start();
    let service = adjusted(&url, 60_000, |settings| {
        settings.database.pool_queue = REQUESTS + ALIKE;
        settings.cache.backend = CacheBackend::Redis;
        settings.cache.redis.url = RedisUrl::parse(&redis.url()).unwrap();
        // As the waits of a write demand it.
        settings.cache.redis.fence_life = Duration::from_secs(300);
    });
    let tenants: Vec<_> = (0..REQUESTS).map(|number| format!("t{number}")).collect();
    for tenant in &tenants {
        eventually("it is kept", async || {
            service.mega_stats(tenant).await.header("x-cache") == "HIT"
        })
        .await;
    }
    redis.kill();
    let session = lock(&url).await;
    let alike = std::iter::repeat_n(&tenants[0], ALIKE);
    let asked = tenants.iter().chain(alike).map(|tenant| {
        let url = format!("{}{PREFIX}/mega-stats?tenantId={tenant}", service.url());
        tokio::spawn(Reply::to(service.client().get(url)))
    });
    let asked: Vec<_> = asked.collect();
    until_statements_wait(&session, CONNECTIONS).await;
    assert!(asked.iter().all(|one| !one.is_finished()));
    session.batch_execute("COMMIT").await.unwrap();
    for reply in asked {
        let reply = within("an answer", reply).await.unwrap();
        assert_eq!(reply.status, StatusCode::OK, "{reply:?}");
        assert_eq!(reply.header("x-cache"), "BYPASS");
    }
}
