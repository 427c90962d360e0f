//! One instance that is cut off, from Redis or from announcements, while the others are not: no answer
//! of any instance is stale, and writes are not slow. And changes by other people's SQL.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use harness::{Exposition, PREFIX, Reply, eventually};
use reqwest::{Client, StatusCode};
use serde_json::json;

use crate::{
    calendar::Calendar,
    checker::Checker,
    cluster::Cluster,
    database,
    proxy::{Proxy, ProxyState},
};

/// Hits of each tenant before and after a fault, and writes during one.
const HITS: usize = 20;
const WRITES: usize = 12;

const DELIVERED: &str = "megastats_relay_delivered_invalidations_total";
const WAITING: &str = "megastats_relay_waiting_invalidations";

/// Of so many the median and the longest are shown.
const MEASURED: usize = 100;

/// What there is between an instance and a part of the cluster.
const WHOLE: ProxyState = ProxyState {
    is_cut: false,
    holds_requests: false,
    holds_answers: false,
    delay: Duration::ZERO,
    first_alive: 0,
};
const CUT: ProxyState = ProxyState {
    is_cut: true,
    ..WHOLE
};
const FAULTS: [ProxyState; 5] = [
    CUT,
    ProxyState {
        holds_requests: true,
        ..WHOLE
    },
    ProxyState {
        holds_answers: true,
        ..WHOLE
    },
    ProxyState {
        holds_requests: true,
        holds_answers: true,
        ..WHOLE
    },
    ProxyState {
        delay: Duration::from_millis(105),
        ..WHOLE
    },
];

/// Starts instance 3 again, with a proxy between it and Redis.
async fn behind_a_proxy(cluster: &Cluster) -> Proxy {
    let proxy = Proxy::before(cluster.url("redis")).await;
    cluster.run("stop instance-3");
    cluster.run(&format!(
        "start instance-3 MEGASTATS__CACHE__REDIS__URL={}",
        proxy.redis_url()
    ));
    proxy
}

/// Fences that the instances have raised for others.
async fn delivered(cluster: &Cluster) -> f64 {
    let mut delivered = 0.0;
    for instance in cluster.instances() {
        delivered += Exposition::of(&instance).await.value(DELIVERED);
    }
    delivered
}

/// A tenant that every instance answers from the cache.
struct Clinic {
    instances: Vec<String>,
    calendar: Calendar,
}

impl Clinic {
    async fn of(cluster: &Cluster) -> Self {
        let clinic = Self {
            instances: cluster.instances(),
            calendar: Calendar::now(),
        };
        for instance in &clinic.instances {
            let is_hit = async || clinic.read(instance).await.header("x-cache") == "HIT";
            eventually("a hit", is_hit).await;
        }
        clinic
    }

    async fn read(&self, instance: &str) -> Reply {
        let zone = &self.calendar.zones[0];
        let url = format!("{instance}{PREFIX}/mega-stats?tenantId=clinic&tz={zone}");
        Reply::to(Client::new().get(url)).await
    }

    /// Waits until every instance, one asked as often as another, counts so many appointments today.
    async fn is_counted(&self, appointments: i64) {
        let counted = self.instances.iter().map(|instance| {
            eventually("every instance counts it", async move || {
                self.read(instance).await.today().1 == appointments
            })
        });
        join_all(counted).await;
    }
}

/// The median and the longest of `times`.
fn summary(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let (median, longest) = (times[times.len() / 2], times[times.len() - 1]);
    format!("median {median:?}, longest {longest:?} of {}", times.len())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_is_stale_while_one_instance_is_cut_off_from_redis() {
    let cluster = Cluster::start(&[]);
    let proxy = behind_a_proxy(&cluster).await;
    let checker = Checker::begin(&cluster).await;
    for fault in FAULTS {
        checker.hits(HITS).await;
        proxy.set(fault);
        checker.writes(WRITES).await;
        checker.hits(HITS).await;
        // What was held is lost, as after a half-open connection.
        proxy.set(CUT);
        proxy.set(WHOLE);
    }
    checker.hits(HITS).await;
    checker.end(10).await;
    assert!(delivered(&cluster).await > 0.0);
    eventually("nothing waits", async || {
        Exposition::of(cluster.url("instance-1"))
            .await
            .value(WAITING)
            == 0.0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_of_an_instance_cut_off_from_redis_are_acknowledged_and_counted_by_all() {
    let cluster = Cluster::start(&[]);
    let proxy = behind_a_proxy(&cluster).await;
    let clinic = Clinic::of(&cluster).await;
    proxy.set(CUT);
    let (client, cut_off) = (Client::new(), cluster.url("instance-3"));
    let appointment = json!({
        "tenantId": "clinic", "patientId": 1, "startsAt": clinic.calendar.today, "durationMin": 30,
    });
    let mut took = Vec::new();
    for number in 1..=MEASURED {
        let began = Instant::now();
        let write = client.post(format!("{cut_off}{PREFIX}")).json(&appointment);
        let reply = Reply::to(write).await;
        took.push(began.elapsed());
        assert_eq!(reply.status, StatusCode::CREATED, "{reply:?}");
        for instance in &clinic.instances {
            let (_, counted) = clinic.read(instance).await.today();
            assert_eq!(counted, i64::try_from(number).unwrap());
        }
    }
    println!(
        "a write of an instance cut off from Redis: {}",
        summary(took)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_has_ended_unnoticed_is_replaced_and_what_it_missed_is_delivered() {
    let cluster = Cluster::start(&[]);
    let to_redis = behind_a_proxy(&cluster).await;
    let to_postgres = Proxy::before(cluster.url("postgres")).await;
    cluster.run("stop instance-1");
    cluster.run("stop instance-2");
    cluster.run(&format!(
        "start instance-2 MEGASTATS__DATABASE__URL=postgres://megastats:megastats@127.0.0.1:{}/megastats",
        to_postgres.port()
    ));
    let instances = cluster.instances()[1..].to_vec();
    // The wait for it is bounded, and a busy machine may take longer, but less than the time to live.
    let lag = Duration::from_secs(15);
    let checker = Checker::begin_with(&cluster, instances, lag).await;
    checker.hits(HITS).await;
    to_redis.set(CUT);
    checker.writes(WRITES).await;
    for _ in 0..3 {
        checker.hits(HITS).await;
        // Nobody tells the instance that nothing comes of them any more.
        to_postgres.forget_connections();
        checker.writes(WRITES).await;
    }
    checker.hits(HITS).await;
    checker.end(5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_other_peoples_sql_changes_is_counted_by_every_instance() {
    let cluster = Cluster::start(&[("MEGASTATS__CACHE__TTL_SECONDS", "3600")]);
    let clinic = Clinic::of(&cluster).await;
    let (postgres, today) = (cluster.url("postgres"), &clinic.calendar.today);
    let insert = format!(
        "INSERT INTO appointments (tenant_id, patient_id, starts_at, duration_min, status, \
                                   created_at, updated_at) \
         VALUES ('clinic', 'ana', '{today}', 30, 'pending', now(), now())"
    );
    let mut took = Vec::new();
    for number in 1..=MEASURED {
        database::execute(postgres, &insert).await;
        let committed = Instant::now();
        clinic.is_counted(i64::try_from(number).unwrap()).await;
        took.push(committed.elapsed());
    }
    println!(
        "SQL by hand until every instance counts it: {}",
        summary(took)
    );

    let of_today = format!("FROM appointments WHERE starts_at = '{today}'");
    let one = format!("(SELECT min(id) {of_today})");
    let all = i64::try_from(MEASURED).unwrap();
    for (sql, left) in [
        (
            format!("DELETE FROM appointments WHERE id = {one}"),
            all - 1,
        ),
        (
            format!("UPDATE appointments SET status = 'cancelled' WHERE id = {one}"),
            all - 2,
        ),
        (
            format!(
                "UPDATE appointments SET tenant_id = 'other' WHERE id = (SELECT max(id) {of_today})"
            ),
            all - 3,
        ),
        // As a tool does that loads what was replicated.
        (
            format!("SET session_replication_role = replica; {insert}"),
            all - 2,
        ),
        // More tenants than are announced one by one.
        (
            format!(
                "INSERT INTO appointments (tenant_id, patient_id, starts_at, duration_min, status, \
                                           created_at, updated_at) \
                 SELECT t, 'ana', '{today}', 30, 'pending', now(), now() FROM \
                 (SELECT 'clinic' AS t UNION ALL SELECT 't' || n FROM generate_series(1, 200) n) AS tenants"
            ),
            all - 1,
        ),
        ("TRUNCATE appointments".to_owned(), 0),
    ] {
        database::execute(postgres, &sql).await;
        clinic.is_counted(left).await;
    }
}
