//! The checker: writers and readers of all instances at once, on one monotonic clock. What was
//! acknowledged before a read began is the least that it must say, what was attempted before it
//! ended is the most, and no read says less than one that ended before it began, wherever.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use futures_util::future::join_all;
use harness::{MAX_WAIT, PREFIX, Raw, eventually, within};
use reqwest::{RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tokio::{sync::watch, task::JoinHandle};

use crate::{calendar::Calendar, cluster::Cluster, count::Count, database};

/// The last one is written to only by clients that leave before they are answered.
const TENANTS: usize = 4;
const QUIET: usize = TENANTS - 1;

/// All of them write, so a lock on the appointments holds all of them up.
pub const WRITERS: usize = 3;

const READERS: usize = 6;

/// Appointments of a tenant whose status changes again and again, all of next month.
const TURNED: usize = WRITERS;

/// Other appointments of a tenant, all of next month, so that counting takes long enough for writes
/// and reads to come in between.
const OTHERS: usize = 20_000;

/// Hits on its tenant that a writer waits for before it writes again.
const HITS_BETWEEN_WRITES: usize = 6;

/// How long a writer waits for them at most: there are none while the cache is not used.
const WITH_FAULTS: Duration = Duration::from_millis(250);
const WITHOUT_FAULTS: Duration = Duration::from_secs(1);

/// How long a client waits for an answer: longer than the service makes it wait.
const CLIENT_PATIENCE: Duration = Duration::from_secs(20);

/// A run of the checker.
pub struct Checker {
    clients: Arc<Clients>,
    running: Vec<JoinHandle<()>>,
}

/// What came of a run.
#[derive(Debug, Default)]
pub struct Tally {
    /// Reads that were answered.
    pub reads: AtomicUsize,
    /// Of these, from the cache.
    pub hits: AtomicUsize,
    /// Reads without an answer, or with a 503.
    pub failed_reads: AtomicUsize,
    /// Writes that were acknowledged.
    pub writes: AtomicUsize,
    /// Writes without an answer, or with a 503: they may have taken place.
    pub failed_writes: AtomicUsize,
}

#[derive(Debug, Default)]
struct Tenant {
    name: String,
    booked: Count,
    confirmed: Count,
    turned: Vec<i64>,
    hits: watch::Sender<usize>,
}

struct Clients {
    http: reqwest::Client,
    urls: Vec<String>,
    /// Where writes go.
    written_to: Vec<String>,
    calendar: Calendar,
    tenants: Vec<Tenant>,
    /// How old answers may be.
    lag: Duration,
    between_writes: Duration,
    tally: Tally,
    over: AtomicBool,
    /// The first answer that was wrong.
    wrong: Mutex<Option<String>>,
}

impl Checker {
    /// Starts the writers and readers, which use the instances of `cluster`.
    pub async fn begin(cluster: &Cluster) -> Self {
        Self::begin_with(cluster, cluster.instances(), Duration::ZERO).await
    }

    /// As [`Checker::begin`], at `urls`; an answer may be `lag` old.
    pub async fn begin_with(cluster: &Cluster, urls: Vec<String>, lag: Duration) -> Self {
        let written_to = urls.clone();
        Self::begin_paced(cluster, urls, written_to, lag, WITH_FAULTS).await
    }

    /// As [`Checker::begin`], at `urls`, of which the last one alone is written to.
    pub async fn begin_writing_to_last(cluster: &Cluster, urls: Vec<String>) -> Self {
        let last = urls.last().unwrap().clone();
        Self::begin_paced(cluster, urls, vec![last], Duration::ZERO, WITH_FAULTS).await
    }

    /// As [`Checker::begin_with`], for a run in which nothing fails: however slow the machine, most
    /// answers come from the cache.
    pub async fn begin_without_faults(cluster: &Cluster, urls: Vec<String>, lag: Duration) -> Self {
        let written_to = urls.clone();
        Self::begin_paced(cluster, urls, written_to, lag, WITHOUT_FAULTS).await
    }

    async fn begin_paced(
        cluster: &Cluster,
        urls: Vec<String>,
        written_to: Vec<String>,
        lag: Duration,
        between_writes: Duration,
    ) -> Self {
        let mut clients = Clients {
            http: reqwest::Client::builder()
                .timeout(CLIENT_PATIENCE)
                .build()
                .unwrap(),
            urls,
            written_to,
            calendar: Calendar::now(),
            tenants: Vec::new(),
            lag,
            between_writes,
            tally: Tally::default(),
            over: AtomicBool::new(false),
            wrong: Mutex::default(),
        };
        for _ in 0..TENANTS {
            // One that no other run has written to.
            let name = format!("clinic-{:016x}", rand::random::<u64>());
            let mut tenant = Tenant {
                name,
                ..Tenant::default()
            };
            for _ in 0..TURNED {
                let body = Clients::appointment(&tenant.name, &clients.calendar.next_month);
                let id = clients.write(clients.post(0, &body)).await;
                tenant.turned.push(id.expect("the cluster is whole"));
            }
            let starts_at = &clients.calendar.next_month;
            database::insert(cluster.url("postgres"), &tenant.name, starts_at, OTHERS).await;
            clients.tenants.push(tenant);
        }
        let clients = Arc::new(clients);
        let mut running = Vec::new();
        for number in 0..WRITERS {
            let clients = Arc::clone(&clients);
            running.push(tokio::spawn(async move { clients.write_on(number).await }));
        }
        for number in 0..READERS {
            let clients = Arc::clone(&clients);
            running.push(tokio::spawn(async move { clients.read_on(number).await }));
        }
        Self { clients, running }
    }

    /// Waits until each tenant was answered from the cache `times` more times.
    pub async fn hits(&self, times: usize) {
        let waits = self.clients.tenants.iter().map(|tenant| async move {
            let mut hits = tenant.hits.subscribe();
            let enough = *hits.borrow() + times;
            hits.wait_for(|hits| *hits >= enough).await.unwrap();
        });
        tokio::select! {
            () = async { within("hits", join_all(waits)).await; } => {}
            () = self.clients.until_wrong() => {}
        }
        self.stop_if_wrong();
    }

    /// Waits until `times` more writes were acknowledged.
    pub async fn writes(&self, times: usize) {
        let enough = self.tally().writes.load(SeqCst) + times;
        eventually("acknowledged writes", async || {
            self.stop_if_wrong();
            self.tally().writes.load(SeqCst) >= enough
        })
        .await;
    }

    /// Waits until `times` more reads were answered.
    pub async fn reads(&self, times: usize) {
        let enough = self.tally().reads.load(SeqCst) + times;
        eventually("answered reads", async || {
            self.stop_if_wrong();
            self.tally().reads.load(SeqCst) >= enough
        })
        .await;
    }

    /// Lets it run until `times` more writes were acknowledged, or an answer was wrong: which one.
    pub async fn wrong_within(&self, times: usize) -> Option<String> {
        self.wrong_until(&self.tally().writes, times).await
    }

    /// Lets it run until `times` more reads were answered, or an answer was wrong: which one.
    pub async fn wrong_within_reads(&self, times: usize) -> Option<String> {
        self.wrong_until(&self.tally().reads, times).await
    }

    async fn wrong_until(&self, count: &AtomicUsize, more: usize) -> Option<String> {
        let enough = count.load(SeqCst) + more;
        let until_enough = async {
            loop {
                let wrong = self.clients.wrong.lock().unwrap().clone();
                if wrong.is_some() || count.load(SeqCst) >= enough {
                    return wrong;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        // Many writes, one after the other.
        let outcome = tokio::time::timeout(10 * MAX_WAIT, until_enough).await;
        outcome.expect("a wrong answer, or enough that are right")
    }

    /// The tenant that only those write to who leave.
    pub fn quiet(&self) -> &str {
        &self.clients.tenants[QUIET].name
    }

    /// What came of it so far.
    pub fn tally(&self) -> &Tally {
        &self.clients.tally
    }

    /// Creates an appointment of today at instance number `instance`, from 0, by a client that does not
    /// wait for the answer.
    pub fn book_and_leave(&self, instance: usize) {
        let clients = &self.clients;
        let tenant = &clients.tenants[QUIET];
        tenant.booked.attempt();
        let body = Clients::appointment(&tenant.name, &clients.calendar.today);
        let url = &clients.urls[instance % clients.urls.len()];
        Raw::connect(url).post(&body);
    }

    /// Ends the run, in which no answer must have been wrong and a share of `hits` percent of the
    /// reads must have been answered by the cache.
    pub async fn end(self, hits: usize) -> Tally {
        self.clients.over.store(true, SeqCst);
        for client in self.running {
            client.await.unwrap();
        }
        let clients = Arc::into_inner(self.clients).expect("its clients have ended");
        let tally = clients.tally;
        assert_eq!(clients.wrong.into_inner().unwrap(), None, "{tally:?}");
        let (reads, hit) = (tally.reads.load(SeqCst), tally.hits.load(SeqCst));
        assert!(hit * 100 >= reads * hits, "proves little: {tally:?}");
        tally
    }

    fn stop_if_wrong(&self) {
        if let Some(wrong) = &*self.clients.wrong.lock().unwrap() {
            panic!("{wrong}: {:?}", self.tally());
        }
    }
}

impl Tally {
    /// How many reads and writes had no answer.
    pub fn unanswered(&self) -> usize {
        self.failed_reads.load(SeqCst) + self.failed_writes.load(SeqCst)
    }

    /// Asserts that every read was answered and every write acknowledged.
    pub fn assert_all_answered(&self) {
        assert_eq!(self.unanswered(), 0, "{self:?}");
    }
}

impl Clients {
    fn appointment(tenant: &str, starts_at: &str) -> Value {
        json!({ "tenantId": tenant, "patientId": 1, "startsAt": starts_at, "durationMin": 30 })
    }

    fn written_to(&self, instance: usize) -> &str {
        &self.written_to[instance % self.written_to.len()]
    }

    fn post(&self, instance: usize, body: &Value) -> RequestBuilder {
        let url = format!("{}{PREFIX}", self.written_to(instance));
        self.http.post(url).json(body)
    }

    fn patch(&self, instance: usize, id: i64, status: &str) -> RequestBuilder {
        let url = format!("{}{PREFIX}/{id}", self.written_to(instance));
        self.http.patch(url).json(&json!({ "status": status }))
    }

    fn complain(&self, what: impl Into<String>) {
        let mut wrong = self.wrong.lock().unwrap();
        wrong.get_or_insert_with(|| what.into());
        self.over.store(true, SeqCst);
    }

    async fn until_wrong(&self) {
        while self.wrong.lock().unwrap().is_none() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The appointment's id, if the write was acknowledged.
    async fn write(&self, request: RequestBuilder) -> Option<i64> {
        let id = match self.answer(request).await {
            Some((StatusCode::OK | StatusCode::CREATED, _, body)) => body["id"].as_i64(),
            _ => None,
        };
        let tally = if id.is_some() {
            &self.tally.writes
        } else {
            &self.tally.failed_writes
        };
        tally.fetch_add(1, SeqCst);
        id
    }

    /// A whole answer: its status, `X-Cache` and body. 503 is none; any other error is a mistake.
    async fn answer(&self, request: RequestBuilder) -> Option<(StatusCode, String, Value)> {
        let response = request.send().await.ok()?;
        let status = response.status();
        let cache = response.headers().get("x-cache");
        let cache = cache.map_or("", |cache| cache.to_str().unwrap()).to_owned();
        let text = response.text().await.ok()?;
        if status == StatusCode::SERVICE_UNAVAILABLE {
            return None;
        }
        if !status.is_success() {
            self.complain(format!("{status}: {text}"));
            return None;
        }
        Some((status, cache, serde_json::from_str(&text).unwrap()))
    }

    async fn pause(&self, tenant: &Tenant) {
        let mut hits = tenant.hits.subscribe();
        let enough = *hits.borrow() + HITS_BETWEEN_WRITES;
        let wait = hits.wait_for(|hits| *hits >= enough);
        let _ = tokio::time::timeout(self.between_writes, wait).await;
    }

    async fn write_on(&self, number: usize) {
        for round in number.. {
            let (tenant, instance) = (&self.tenants[round % QUIET], round / QUIET + number);
            let calendar = &self.calendar;
            let day = if round % 2 == 0 {
                &calendar.today
            } else {
                &calendar.this_month
            };
            tenant.booked.attempt();
            let booking = self.post(instance, &Self::appointment(&tenant.name, day));
            if let Some(id) = self.write(booking).await {
                tenant.booked.acknowledge();
                self.pause(tenant).await;
                tenant.confirmed.attempt();
                if (self.write(self.patch(instance + 1, id, "confirmed")).await).is_some() {
                    tenant.confirmed.acknowledge();
                }
            }
            self.pause(tenant).await;
            let status = ["confirmed", "pending"][round / 2 % 2];
            self.write(self.patch(instance + 2, tenant.turned[number], status))
                .await;
            self.pause(tenant).await;
            if self.over.load(SeqCst) {
                return;
            }
        }
    }

    async fn read_on(&self, number: usize) {
        for turn in number.. {
            if self.over.load(SeqCst) {
                return;
            }
            let tenant = &self.tenants[turn % TENANTS];
            let zone = turn / 9 % 2;
            let least = [&tenant.booked, &tenant.confirmed].map(|count| count.least(self.lag));
            // An instance that does not answer holds up nobody who reads from another.
            let url = &self.urls[number % self.urls.len()];
            let zone = &self.calendar.zones[zone];
            let tenant_id = &tenant.name;
            let url = format!("{url}{PREFIX}/mega-stats?tenantId={tenant_id}&tz={zone}");
            let Some((_, cache, stats)) = self.answer(self.http.get(&url)).await else {
                self.tally.failed_reads.fetch_add(1, SeqCst);
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            };
            self.tally.reads.fetch_add(1, SeqCst);
            if let Err(wrong) = check(tenant, least, &stats) {
                return self.complain(format!("{wrong}: {url} {cache} {stats}"));
            }
            if cache == "HIT" {
                self.tally.hits.fetch_add(1, SeqCst);
                tenant.hits.send_modify(|hits| *hits += 1);
            }
        }
    }
}

fn check(tenant: &Tenant, least: [i64; 2], stats: &Value) -> Result<(), String> {
    let [today, month, next_month] = ["today", "month", "nextMonth"]
        .map(|window| ["confirmed", "pending"].map(|s| stats[window][s].as_i64().unwrap()));
    let booked = tenant.booked.check(least[0], month.iter().sum());
    booked.map_err(|wrong| format!("booked: {wrong}"))?;
    let confirmed = tenant.confirmed.check(least[1], month[0]);
    confirmed.map_err(|wrong| format!("confirmed: {wrong}"))?;
    if today[0] > month[0] || today[1] > month[1] {
        return Err("today is more than the month".into());
    }
    if usize::try_from(next_month.iter().sum::<i64>()) != Ok(TURNED + OTHERS) {
        return Err("appointments of next month were only turned".into());
    }
    Ok(())
}
