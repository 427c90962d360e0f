//! Changes by other people's SQL: every instance counts them.

use std::time::Instant;

use futures_util::future::join_all;
use harness::{PREFIX, Reply, eventually};
use reqwest::Client;

use crate::{calendar::Calendar, cluster::Cluster, database, links::summary};

/// Of so many the median and the longest are shown.
const MEASURED: usize = 100;

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
