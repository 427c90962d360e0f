//! The statistics, through the cache: which computation answers which request, and under which key.

use std::{fmt::Display, sync::Arc, time::Duration};

use bytes::Bytes;
use jiff::Timestamp;
use serde::Serialize;

use super::{
    polls::{Poll, Polls, Statistic, WarmingCounts},
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
    metrics::{CacheMetrics, Metrics},
    settings::{CacheBackend, CacheSettings},
    tasks::Tasks,
    tenant::TenantId,
};

/// The part of a summary that a client asks for; without bounds, all of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cut {
    /// The first instant wanted.
    pub from: Option<UtcTime>,
    /// The first instant no longer wanted.
    pub to: Option<UtcTime>,
}

/// Computes statistics, or has the cache answer.
#[derive(Debug)]
pub struct StatsService {
    db: Db,
    reader: Reader,
    writer: Writer,
    keys: Arc<dyn ListKeys>,
    clock: Arc<dyn Clock>,
    zones: Zones,
    metrics: Arc<Metrics>,
    /// Nothing if nothing is kept warm.
    polls: Option<Arc<Polls>>,
}

impl std::fmt::Debug for dyn ListKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("dyn ListKeys")
    }
}

impl std::fmt::Debug for dyn Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("dyn Clock")
    }
}

impl StatsService {
    /// Computes from `db` at the time of `clock`, by the rules of `zones`, through `cache`, which was
    /// made by `settings`.
    #[must_use]
    pub fn new(
        db: Db,
        CacheParts { cache, keys, .. }: CacheParts,
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
            writer: Writer::new(db.clone(), cache, Arc::clone(counters), tasks),
            db,
            keys,
            clock,
            zones,
            metrics,
            polls: warms.then(|| Arc::new(Polls::new(settings))),
        }
    }

    /// The zone of that name: see [`Zones::get`].
    pub fn zone(&self, name: &str) -> Result<Zone, UnknownZone> {
        self.zones.get(name)
    }

    /// The answer of `/mega-stats`.
    pub async fn mega_stats(&self, tenant: &TenantId, zone: &Zone) -> Result<Answer, ReadError> {
        self.cached(Statistic::MegaStats, tenant, zone, self.clock.now())
            .await
    }

    /// The answer of `/summary`: cached, unless `cut` leaves out a part of the two days.
    pub async fn summary(
        &self,
        tenant: &TenantId,
        zone: &Zone,
        cut: Cut,
    ) -> Result<Answer, ReadError> {
        let now = self.clock.now();
        if cut == Cut::default() {
            // Its days need not be worked out for a hit.
            return self.cached(Statistic::Summary, tenant, zone, now).await;
        }
        let days = windows::two_days(now, zone.rules());
        let wanted = cut.of(days);
        if wanted == days {
            return self.cached(Statistic::Summary, tenant, zone, now).await;
        }
        let TwoDays { today, tomorrow } = wanted;
        let bounds: [&dyn Display; 4] = [&today.start, &today.end, &tomorrow.start, &tomorrow.end];
        let key = StatsKey::new(Statistic::Summary.name(), tenant, &bounds);
        let compute = summarise(self.db.clone(), tenant.clone(), wanted);
        self.reader.compute(&key, compute).await
    }

    /// Runs `transaction`, which writes to `tenant`'s appointments, so that no statistics asked for
    /// after it are older: see [`Writer::write`].
    pub async fn write<T, F>(&self, tenant: &TenantId, transaction: F) -> Result<T, WriteError>
    where
        T: Send + 'static,
        F: FnOnce(&mut AnyConn) -> QueryResult<T> + Send + 'static,
    {
        self.writer.write(tenant, transaction).await
    }

    /// A page of the keys that would be hit: see [`ListKeys::keys`].
    pub async fn keys(&self, after: Option<&str>, limit: usize) -> Result<KeyPage, CacheError> {
        self.keys.keys(after, limit).await
    }

    /// What `/cache-metrics` shows.
    #[must_use]
    pub fn metrics(&self) -> &CacheMetrics {
        &self.metrics.cache_metrics
    }

    /// Forgets what is cached for `tenant`, or for everybody: see [`Writer::forget`].
    pub async fn forget(&self, tenant: Option<&TenantId>) -> Result<(), CacheError> {
        self.writer.forget(tenant).await
    }

    /// What warming has done, and how many polls it knows; nothing if it is switched off.
    #[must_use]
    pub fn warming(&self) -> Option<(&WarmingCounts, usize)> {
        let polls = self.polls.as_deref()?;
        Some((&polls.counts, polls.count()))
    }

    /// The polls that are kept warm; nothing if warming is switched off.
    pub(super) fn polls(&self) -> Option<Arc<Polls>> {
        self.polls.clone()
    }

    /// Computes what `poll` asks for anew, unless it is younger than `young`: see
    /// [`Reader::refresh`].
    pub(super) async fn refresh(
        &self,
        poll: &Poll,
        young: Duration,
    ) -> Result<Refreshed, ReadError> {
        let now = self.clock.now();
        let Poll {
            statistic,
            tenant,
            zone,
        } = poll;
        let key = key(*statistic, tenant, zone, now);
        let compute = compute(self.db.clone(), *statistic, tenant, zone, now);
        self.reader.refresh(&key, young, compute).await
    }

    /// Whether a request, or one that is gone, waits for a computation.
    pub(super) fn is_busy(&self) -> bool {
        self.reader.is_busy()
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    async fn cached(
        &self,
        statistic: Statistic,
        tenant: &TenantId,
        zone: &Zone,
        now: Timestamp,
    ) -> Result<Answer, ReadError> {
        let compute = || compute(self.db.clone(), statistic, tenant, zone, now);
        let key = key(statistic, tenant, zone, now);
        let answer = self.reader.read(&key, compute).await?;
        if let Some(polls) = &self.polls {
            let poll = Poll {
                statistic,
                tenant: tenant.clone(),
                zone: zone.clone(),
            };
            polls.read(&poll, answer.age, now);
        }
        Ok(answer)
    }
}

impl Cut {
    fn of(self, days: TwoDays) -> TwoDays {
        let start = self.from.map_or(days.today.start, UtcTime::timestamp);
        let end = self.to.map_or(days.tomorrow.end, UtcTime::timestamp);
        let cut = Window { start, end };
        TwoDays {
            today: days.today.intersect(cut),
            tomorrow: days.tomorrow.intersect(cut),
        }
    }
}

/// Every window follows from the local date, so the date stands for them; at midnight the key is
/// another.
fn key(statistic: Statistic, tenant: &TenantId, zone: &Zone, now: Timestamp) -> StatsKey {
    let date = windows::local_date(now, zone.rules());
    StatsKey::new(statistic.name(), tenant, &[&zone.name(), &date])
}

/// Counts what `statistic` is made of at `now`.
fn compute(
    db: Db,
    statistic: Statistic,
    tenant: &TenantId,
    zone: &Zone,
    now: Timestamp,
) -> Computation {
    let tenant = tenant.clone();
    match statistic {
        Statistic::MegaStats => {
            let windows = windows::windows(now, zone.rules());
            let count = move |conn: &mut AnyConn| store::mega_stats(conn, &tenant, &windows);
            Box::pin(async move { db.read(count).await.map(|stats| json(&stats)) })
        }
        Statistic::Summary => summarise(db, tenant, windows::two_days(now, zone.rules())),
    }
}

fn summarise(db: Db, tenant: TenantId, days: TwoDays) -> Computation {
    let count = move |conn: &mut AnyConn| store::summary(conn, &tenant, &days);
    Box::pin(async move { db.read(count).await.map(|days| json(&days)) })
}

fn json(stats: &impl Serialize) -> Bytes {
    serde_json::to_vec(stats)
        .expect("numbers under fixed names are JSON")
        .into()
}
