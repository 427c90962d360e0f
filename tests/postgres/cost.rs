//! What a request costs while nothing fails: the commands to Redis, each a round trip, and the statements
//! to PostgreSQL.

use std::time::Duration;

use harness::{Exposition, PREFIX, Reply, TODAY, TestServer, eventually, redis};
use megastats::settings::{CacheBackend, DatabaseUrl, RedisUrl};
use reqwest::RequestBuilder;
use serde_json::json;

use crate::server::Postgres;

const TENANT: &str = "clinic";

const OPENED: &str = "megastats_redis_breaker_changes_total{to=\"open\"}";

/// The first word of each statement in a log of PostgreSQL, but for those of sessions that listen.
fn statements(log: &str) -> Vec<String> {
    let of_sessions = log.lines().filter_map(|line| {
        let (session, rest) = line.split_once("LOG:  ")?;
        let (kind, statement) = rest.split_once(": ")?;
        let is_run = kind == "statement" || kind.starts_with("execute ");
        is_run.then_some((session, statement))
    });
    let listening: Vec<_> = of_sessions
        .clone()
        .filter(|(_, statement)| statement.starts_with("LISTEN"))
        .map(|(session, _)| session)
        .collect();
    let others = of_sessions.filter(|(session, _)| !listening.contains(session));
    let first_words = others.filter_map(|(_, statement)| statement.split_whitespace().next());
    first_words.map(str::to_owned).collect()
}

/// What a request cost.
struct Cost {
    commands: Vec<String>,
    statements: Vec<String>,
}

/// A service on servers of its own.
struct Servers {
    service: TestServer,
    postgres: Postgres,
    redis: redis::Server,
}

impl Servers {
    fn start() -> Self {
        let postgres = Postgres::builder();
        let postgres = postgres
            .setting("log_statement=all")
            .setting("log_line_prefix=%p")
            .start();
        let redis = redis::Server::start();
        let service = TestServer::builder().settings(|settings| {
            settings.database.url = DatabaseUrl::parse(&postgres.database()).unwrap();
            // So that no other is made meanwhile.
            settings.database.pool_size = 1;
            settings.cache.ttl = Duration::from_secs(3600);
            settings.cache.backend = CacheBackend::Redis;
            settings.cache.redis.url = RedisUrl::parse(&redis.url()).unwrap();
        });
        Self {
            service: service.start(),
            postgres,
            redis,
        }
    }

    fn read(&self) -> RequestBuilder {
        let url = format!("{}{PREFIX}/mega-stats", self.service.url());
        self.service
            .client()
            .get(url)
            .query(&[("tenantId", TENANT)])
    }

    fn write(&self) -> RequestBuilder {
        let url = format!("{}{PREFIX}", self.service.url());
        self.service.client().post(url).json(&json!({
            "tenantId": TENANT, "patientId": 1, "startsAt": TODAY, "durationMin": 30,
        }))
    }

    async fn until_hit(&self) {
        let is_hit = async || Reply::to(self.read()).await.header("x-cache") == "HIT";
        eventually("a hit", is_hit).await;
    }

    /// How often Redis was found not to answer.
    async fn opened(&self) -> f64 {
        Exposition::of(self.service.url()).await.value(OPENED)
    }

    /// What Redis and PostgreSQL are sent for `request`, which is answered after `before` was done. Again
    /// if Redis was found not to answer meanwhile, as on a busy machine.
    async fn cost(&self, before: impl AsyncFn(), request: RequestBuilder) -> Cost {
        loop {
            before().await;
            let opened = self.opened().await;
            let earlier = statements(&self.postgres.log()).len();
            self.redis.record();
            let reply = Reply::to(request.try_clone().unwrap()).await;
            let commands = self.redis.recorded(TENANT);
            let statements = statements(&self.postgres.log()).split_off(earlier);
            assert!(reply.status.is_success(), "{reply:?}");
            if self.opened().await <= opened {
                return Cost {
                    commands,
                    statements,
                };
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hit_costs_no_statement_a_miss_one_and_a_write_no_more_than_its_transaction() {
    let servers = Servers::start();
    let filled = async || servers.until_hit().await;
    let outdated = async || {
        servers.until_hit().await;
        Reply::to(servers.write()).await;
    };
    let hit = servers.cost(filled, servers.read()).await;
    assert_eq!(hit.commands, ["MGET"]);
    assert_eq!(hit.statements, [""; 0]);

    let miss = servers.cost(outdated, servers.read()).await;
    assert_eq!(miss.commands, ["MGET", "MGET", "SET", "EVAL"]);
    assert_eq!(miss.statements, ["(SELECT"]);

    let write = servers.cost(filled, servers.write()).await;
    assert_eq!(write.commands, ["EVAL", "EVAL"]);
    assert_eq!(write.statements, ["BEGIN", "INSERT", "COMMIT"]);
}
