//! The statistics, through the cache: which computation answers which request, and under which key.

use std::{
    fmt::Display,
    iter,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use jiff::Timestamp;
use serde::Serialize;

use super::{
    model::{DayOfMonth, Days},
    polls::{DatedPoll, Poll, Polls, Statistic},
    store,
    windows::{self, TwoDays, Window},
    zones::{UnknownZone, Zone, Zones},
};
use crate::{
    cache::{
        Answer, CacheError, CacheParts, Computation, KeyPage, ListKeys, ReadError, Reader,
        Refreshed, StatsKey, WriteError, Writer,
    },
    clock::Clock,
    db::{AnyConn, Db, QueryResult, UtcTime},
    input::TimeRange,
    metrics::{CacheMetrics, Metrics, RefreshCounters},
    settings::{CacheBackend, CacheSettings},
    tasks::Tasks,
    tenant::TenantId,
};

/// After so many writes an instance merges the changes of all tenants into PostgreSQL's counts once:
/// otherwise those of tenants that nobody reads would pile up.
const WRITES_PER_MERGE: u64 = 500;

/// Computes statistics, or has the cache answer.
pub struct StatsService {
    db: Db,
    reader: Reader,
    writer: Writer,
    keys: Arc<dyn ListKeys>,
    clock: Arc<dyn Clock>,
    zones: Zones,
    metrics: Arc<Metrics>,
    ttl: Duration,
    tasks: Tasks,
    writes: AtomicU64,
    /// Nothing if nothing is kept warm.
    polls: Option<Arc<Polls>>,
}

impl StatsService {
    /// Computes from `db` at the time of `clock`, by the rules of `zones`, through `cache`, which was
    /// made by `settings`.
    pub fn new(
        db: Db,
        CacheParts {
            cache, keys, relay, ..
        }: CacheParts,
        settings: &CacheSettings,
        clock: Arc<dyn Clock>,
        zones: Zones,
        metrics: Arc<Metrics>,
        tasks: Tasks,
    ) -> Self {
        let warms = settings.warming.enabled && settings.backend != CacheBackend::None;
        let counters = &metrics.cache;
        Self {
            reader: Reader::new(Arc::clone(&cache), Arc::clone(counters), tasks.clone()),
            writer: Writer::new(
                db.clone(),
                cache,
                relay,
                Arc::clone(counters),
                tasks.clone(),
            ),
            db,
            keys,
            clock,
            zones,
            metrics,
            ttl: settings.ttl,
            tasks,
            writes: AtomicU64::new(1),
            polls: warms.then(|| Arc::new(Polls::new(settings))),
        }
    }

    /// The zone of that name: see [`Zones::get`].
    pub fn zone(&self, name: &str) -> Result<Zone, UnknownZone> {
        self.zones.get(name)
    }

    /// How long an entry lives.
    pub fn ttl(&self) -> Duration {
        self.ttl
    }

    /// The answer of `/summary`: cached, unless `range` leaves out a part of the two days.
    pub(super) async fn summary(&self, poll: &Poll, range: TimeRange) -> Result<Answer, ReadError> {
        let now = self.clock.now();
        if range == TimeRange::default() {
            // Its days need not be worked out for a hit.
            return self.answer(poll, now).await;
        }
        let days = windows::two_days(now, poll.zone.rules());
        let wanted = part(days, range);
        if wanted == days {
            return self.answer(poll, now).await;
        }
        let TwoDays { today, tomorrow } = wanted;
        let bounds: [&dyn Display; 4] = [&today.start, &today.end, &tomorrow.start, &tomorrow.end];
        let key = StatsKey::new(poll.statistic.name(), &poll.tenant, &bounds);
        let compute = summarise(self.db.clone(), poll.tenant.clone(), wanted);
        self.reader.compute(&key, compute).await
    }

    /// The answer that `poll` gets at `now`, which is the present.
    pub(super) async fn answer(&self, poll: &Poll, now: Timestamp) -> Result<Answer, ReadError> {
        self.answer_dated(&DatedPoll::new(poll.clone(), now), now)
            .await
    }

    /// The answer that `poll` gets at `now`, which is the present. Its date must be that of `now`.
    pub(super) async fn answer_dated(
        &self,
        DatedPoll { poll, key, .. }: &DatedPoll,
        now: Timestamp,
    ) -> Result<Answer, ReadError> {
        let compute = || compute(self.db.clone(), poll, now);
        let answer = self.reader.read(key, compute).await?;
        if let Some(polls) = &self.polls {
            polls.note_read(poll, answer.age, now);
        }
        Ok(answer)
    }

    /// Runs `transaction`, which writes to `tenant`'s appointments, so that no statistics asked for
    /// after it are older: see [`Writer::write`].
    pub async fn write<T, F>(&self, tenant: &TenantId, transaction: F) -> Result<T, WriteError>
    where
        T: Send + 'static,
        F: FnOnce(&mut AnyConn) -> QueryResult<T> + Send + 'static,
    {
        let written = self.writer.write(tenant, transaction).await;
        let writes = self.writes.fetch_add(1, Ordering::Relaxed);
        if writes.is_multiple_of(WRITES_PER_MERGE) {
            self.tasks.background(merge_all_changes(self.db.clone()));
        }
        written
    }

    /// A page of the keys that would be hit: see [`ListKeys::keys`].
    pub async fn keys(&self, after: Option<&str>, limit: usize) -> Result<KeyPage, CacheError> {
        self.keys.keys(after, limit).await
    }

    /// What `/cache-metrics` shows.
    pub fn metrics(&self) -> &CacheMetrics {
        &self.metrics.cache_metrics
    }

    /// Purges what is cached for `tenant`, or for everybody: see [`Writer::purge`].
    pub async fn purge(&self, tenant: Option<&TenantId>) -> Result<(), CacheError> {
        self.writer.purge(tenant).await
    }

    /// How many polls are kept warm.
    pub fn warm_polls(&self) -> usize {
        self.polls
            .as_deref()
            .map_or(0, |polls| polls.warming.count())
    }

    /// What became of polls that were due.
    pub(super) fn refreshes(&self) -> &RefreshCounters {
        &self.metrics.cache.refreshes
    }

    /// The polls that are kept warm; nothing if warming is switched off.
    pub(super) fn polls(&self) -> Option<Arc<Polls>> {
        self.polls.clone()
    }

    /// Computes what `poll` asks for anew, unless it is younger than `refresh_age`: see
    /// [`Reader::refresh`].
    pub(super) async fn refresh(
        &self,
        poll: &Poll,
        refresh_age: Duration,
    ) -> Result<Refreshed, ReadError> {
        let now = self.clock.now();
        let compute = compute(self.db.clone(), poll, now);
        let DatedPoll { key, .. } = DatedPoll::new(poll.clone(), now);
        self.reader.refresh(&key, refresh_age, compute).await
    }

    /// Whether a request, or one that is gone, waits for a computation.
    pub(super) fn is_busy(&self) -> bool {
        self.reader.is_busy()
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

/// Merges changes of all tenants into the counts.
async fn merge_all_changes(db: Db) {
    // If this gets no turn, the next merge takes what it has left.
    let Ok(turn) = db.write_turn(None).await else {
        return;
    };
    let merge = |conn: &mut AnyConn| {
        store::merge_changes(conn, None);
        Ok(())
    };
    let _ = db.write(turn, None, merge).await;
}

/// The part of `days` that lies in `range`.
fn part(days: TwoDays, range: TimeRange) -> TwoDays {
    let wanted = Window {
        start: range.from.map_or(days.today.start, UtcTime::timestamp),
        end: range.to.map_or(days.tomorrow.end, UtcTime::timestamp),
    };
    TwoDays {
        today: days.today.intersect(wanted),
        tomorrow: days.tomorrow.intersect(wanted),
    }
}

/// Counts what `poll` asks for at `now`.
fn compute(db: Db, poll: &Poll, now: Timestamp) -> Computation {
    let tenant = poll.tenant.clone();
    let rules = poll.zone.rules();
    match poll.statistic {
        Statistic::MegaStats => {
            let windows = windows::windows(now, rules);
            read(db, tenant, move |conn, tenant| {
                store::mega_stats(conn, tenant, &windows)
            })
        }
        Statistic::Summary => summarise(db, tenant, windows::two_days(now, rules)),
        Statistic::Days => {
            let today = windows::local_date(now, rules);
            let (dates, windows): (Vec<_>, Vec<_>) =
                windows::days_of_month(now, rules).into_iter().unzip();
            read(db, tenant, move |conn, tenant| {
                let counts = store::days(conn, tenant, &windows)?;
                let days = iter::zip(&dates, counts).map(|(&date, counts)| DayOfMonth {
                    date,
                    confirmed: counts.confirmed,
                    pending: counts.pending,
                });
                let days = days.collect();
                Ok(Days { today, days })
            })
        }
    }
}

fn summarise(db: Db, tenant: TenantId, days: TwoDays) -> Computation {
    read(db, tenant, move |conn, tenant| {
        store::summary(conn, tenant, &days)
    })
}

/// Has `count` ask the database about `tenant` when it is the tenant's turn.
fn read<T: Serialize + Send + 'static>(
    db: Db,
    tenant: TenantId,
    count: impl Fn(&mut AnyConn, &TenantId) -> QueryResult<T> + Send + 'static,
) -> Computation {
    let of = tenant.clone();
    Box::pin(async move {
        let read = db.read(Some(&tenant), move |conn| count(conn, &of)).await;
        read.map(|counts| json(&counts))
    })
}

fn json(stats: &impl Serialize) -> Bytes {
    serde_json::to_vec(stats)
        .expect("numbers under fixed names are JSON")
        .into()
}
