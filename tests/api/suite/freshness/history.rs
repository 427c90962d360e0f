//! Everybody at once: each answer is checked against what had been acknowledged before it was asked
//! for, what had been attempted by its end, and what earlier answers had already said.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicI64, Ordering::SeqCst},
};

use futures_util::future::join_all;
use harness::{Builder, FakeClock, NOW, TODAY, TestServer, within};
use megastats::settings::CacheBackend;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::sync::watch;

const TENANTS: [&str; 3] = ["clinic-a", "clinic-b", "clinic-c"];
const ZONES: [&str; 2] = ["America/Recife", "America/Sao_Paulo"];
const WRITERS: usize = 4;
const READERS: usize = 8;

/// Each books an appointment, confirms it, and turns another's status.
const ROUNDS: usize = 12;

/// How many usual answers on its tenant a writer waits for before it writes again: hits, where there
/// is a cache. So the cache must come back after each write, on whatever machine.
const USUAL_BETWEEN_WRITES: usize = 10;

/// The appointments of a tenant whose status is turned to and fro, all of next month.
const TURNED: i64 = 4;

/// Other appointments of a tenant, all of next month, so that counting takes long enough for writes
/// and reads to come in between.
const OTHERS: i64 = 3000;

const THIS_MONTH: &str = "2025-10-02T09:00:00-03:00";
const NEXT_MONTH: &str = "2025-11-20T09:00:00-03:00";

/// A number that only grows, as the clients know it.
#[derive(Debug, Default)]
struct Count {
    attempted: AtomicI64,
    acknowledged: AtomicI64,
    /// The most that a finished answer said.
    seen: AtomicI64,
}

impl Count {
    /// What an answer that is asked for now must say at least.
    fn least(&self) -> i64 {
        self.acknowledged.load(SeqCst).max(self.seen.load(SeqCst))
    }

    fn check(&self, least: i64, said: i64, reply: &Value) {
        let most = self.attempted.load(SeqCst);
        assert!(
            (least..=most).contains(&said),
            "{said} is not in {least}..={most}: {reply}"
        );
        self.seen.fetch_max(said, SeqCst);
    }
}

#[derive(Debug, Default)]
struct Tenant {
    booked: Count,
    confirmed: Count,
    turned: Vec<i64>,
    /// How many answers were the usual ones.
    usual: watch::Sender<usize>,
}

impl Tenant {
    async fn pause(&self) {
        let mut answers = self.usual.subscribe();
        let enough = *answers.borrow() + USUAL_BETWEEN_WRITES;
        within(
            "the usual answers",
            answers.wait_for(|answers| *answers >= enough),
        )
        .await
        .unwrap();
    }
}

struct History {
    server: TestServer,
    tenants: Vec<Tenant>,
    /// Where answers come from while nobody writes: the cache, if there is one.
    usual: &'static str,
    over: AtomicBool,
}

impl History {
    /// `usual` says where answers come from while nobody writes.
    async fn begin(service: Builder, usual: &'static str) -> Self {
        let server = service.clock(Arc::new(FakeClock::at(NOW))).start();
        let mut tenants = Vec::new();
        for name in TENANTS {
            let mut tenant = Tenant::default();
            for _ in 0..TURNED {
                tenant
                    .turned
                    .push(server.book(name, NEXT_MONTH, "pending").await);
            }
            server.database().execute(&format!(
                "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < {OTHERS})
                 INSERT INTO appointments (tenant_id, patient_id, starts_at, duration_min, status,
                                           created_at, updated_at)
                 SELECT '{name}', CAST(n AS TEXT), '2025-11-10 12:00:00.000000', 30, 'confirmed',
                        '2025-11-10 12:00:00.000000', '2025-11-10 12:00:00.000000' FROM n"
            ));
            tenants.push(tenant);
        }
        Self {
            server,
            tenants,
            usual,
            over: AtomicBool::new(false),
        }
    }

    async fn write(&self, writer: usize) {
        for round in 0..ROUNDS {
            let which = (writer + round) % TENANTS.len();
            let tenant = &self.tenants[which];
            let day = if round % 2 == 0 { TODAY } else { THIS_MONTH };

            tenant.booked.attempted.fetch_add(1, SeqCst);
            let id = self.server.book(TENANTS[which], day, "pending").await;
            tenant.booked.acknowledged.fetch_add(1, SeqCst);
            tenant.pause().await;

            tenant.confirmed.attempted.fetch_add(1, SeqCst);
            self.set_status(id, "confirmed").await;
            tenant.confirmed.acknowledged.fetch_add(1, SeqCst);
            tenant.pause().await;

            let status = if round % 4 < 2 {
                "confirmed"
            } else {
                "pending"
            };
            self.set_status(tenant.turned[writer], status).await;
            tenant.pause().await;
        }
    }

    async fn set_status(&self, id: i64, status: &str) {
        let reply = self.server.patch(id, &json!({ "status": status })).await;
        assert_eq!(reply.status, StatusCode::OK, "{reply:?}");
        assert_eq!(reply.json()["status"], status);
    }

    async fn read(&self, reader: usize) {
        let mut turn = reader;
        while !self.over.load(SeqCst) {
            turn += 1;
            let (name, tenant) = (TENANTS[turn % 3], &self.tenants[turn % 3]);
            let least = [&tenant.booked, &tenant.confirmed].map(Count::least);
            let path = format!("/mega-stats?tenantId={name}&tz={}", ZONES[turn / 3 % 2]);
            let reply = self.server.get(&path).await;
            assert_eq!(reply.status, StatusCode::OK, "{reply:?}");
            let stats = reply.json();
            let [today, month, next_month] = ["today", "month", "nextMonth"]
                .map(|window| ["confirmed", "pending"].map(|s| stats[window][s].as_i64().unwrap()));
            tenant.booked.check(least[0], month.iter().sum(), &stats);
            tenant.confirmed.check(least[1], month[0], &stats);
            assert!(today[0] <= month[0] && today[1] <= month[1], "{stats}");
            assert_eq!(next_month.iter().sum::<i64>(), TURNED + OTHERS, "{stats}");
            if reply.header("x-cache") == self.usual {
                tenant.usual.send_modify(|answers| *answers += 1);
            }
        }
    }

    /// Lets everybody loose.
    async fn run(self) {
        let history = Arc::new(self);
        let readers: Vec<_> = (0..READERS)
            .map(|reader| {
                let history = Arc::clone(&history);
                tokio::spawn(async move { history.read(reader).await })
            })
            .collect();
        let writers = (0..WRITERS).map(|writer| {
            let history = Arc::clone(&history);
            tokio::spawn(async move { history.write(writer).await })
        });
        for writer in join_all(writers).await {
            writer.unwrap();
        }
        history.over.store(true, SeqCst);
        for reader in join_all(readers).await {
            reader.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_the_cache_every_answer_is_one_the_database_could_have_given() {
    let cached = TestServer::builder();
    History::begin(cached, "HIT").await.run().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_cache_every_answer_is_one_the_database_could_have_given() {
    let uncached =
        TestServer::builder().settings(|settings| settings.cache.backend = CacheBackend::None);
    History::begin(uncached, "BYPASS").await.run().await;
}
