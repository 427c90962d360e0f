//! The statistics, through the cache. Lives here: what is computed under which key, and telling
//! the cache that a tenant changes. Not here: how the cache keeps its promise (`cache`).

use std::{
    fmt::Display,
    future::Future,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use jiff::Timestamp;
use serde::Serialize;

use super::{
    store,
    warm::{Kind, Poll, Warmer, WarmingCounts},
    windows::{self, TwoDays, Window},
    zones::{UnknownZone, Zone, Zones},
};
use crate::{
    cache::{
        Answer, CacheError, CacheParts, ChangeError, Failure, KeyPage, ListKeys, Outcome,
        ReadError, ReadThrough, Refreshed, StatsKey,
    },
    clock::Clock,
    db::{AnyConn, Db, DbError, QueryResult, UtcTime},
    metrics::{CacheMetrics, Metrics},
    settings::{CacheBackend, CacheSettings},
    tasks::Tasks,
    tenant::TenantId,
};

/// A computation of either kind.
type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

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
    cache: ReadThrough<DbError>,
    keys: Arc<dyn ListKeys>,
    clock: Arc<dyn Clock>,
    zones: Zones,
    metrics: Arc<Metrics>,
    /// Nothing if nothing is kept warm.
    warmer: Option<Arc<Warmer>>,
}

impl Failure for DbError {
    fn is_outage(&self) -> bool {
        self.is_outage()
    }
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
        Self {
            db,
            cache: ReadThrough::new(cache, Arc::clone(&metrics.cache), tasks),
            keys,
            clock,
            zones,
            metrics,
            warmer: warms.then(|| Arc::new(Warmer::new(settings))),
        }
    }

    /// The zone of that name: see [`Zones::get`].
    pub fn zone(&self, name: &str) -> Result<Zone, UnknownZone> {
        self.zones.get(name)
    }

    /// The answer of `/mega-stats`.
    pub async fn mega_stats(
        &self,
        tenant: &TenantId,
        zone: &Zone,
    ) -> Result<Answer, ReadError<DbError>> {
        self.cached(Kind::MegaStats, tenant, zone, self.clock.now())
            .await
    }

    /// The answer of `/summary`: cached, unless `cut` leaves out a part of the two days.
    pub async fn summary(
        &self,
        tenant: &TenantId,
        zone: &Zone,
        cut: Cut,
    ) -> Result<Answer, ReadError<DbError>> {
        let now = self.clock.now();
        if cut == Cut::default() {
            // Its days need not be worked out for a hit.
            return self.cached(Kind::Summary, tenant, zone, now).await;
        }
        let days = windows::two_days(now, zone.rules());
        let wanted = cut.of(days);
        if wanted == days {
            return self.cached(Kind::Summary, tenant, zone, now).await;
        }
        let TwoDays { today, tomorrow } = wanted;
        let bounds: [&dyn Display; 4] = [&today.start, &today.end, &tomorrow.start, &tomorrow.end];
        let key = StatsKey::new(Kind::Summary.name(), tenant, &bounds);
        let compute = summarise(self.db.clone(), tenant.clone(), wanted);
        let answer = self.cache.compute(&key, compute).await?;
        self.metrics().miss(answer.age);
        Ok(answer)
    }

    /// Runs `write`, which changes `tenant`'s appointments, so that no statistics asked for after it
    /// are older: see [`ReadThrough::change`].
    pub async fn tenant_changed<T, F>(
        &self,
        tenant: &TenantId,
        write: F,
    ) -> Result<T, ChangeError<DbError>>
    where
        T: Send + 'static,
        F: FnOnce(&mut AnyConn) -> QueryResult<T> + Send + 'static,
    {
        let (db, waiting) = (self.db.clone(), self.db.clone());
        let turn = async move { waiting.write_permit().await };
        let commit = move |turn, until| async move { db.write(turn, until, write).await };
        self.cache.change(tenant, turn, commit).await
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

    /// Forgets what is cached for `tenant`, or for everybody: see [`ReadThrough::forget`].
    pub async fn forget(&self, tenant: Option<&TenantId>) -> Result<(), CacheError> {
        self.cache.forget(tenant).await
    }

    /// What warming has done, and how many polls it knows; nothing if it is switched off.
    #[must_use]
    pub fn warming(&self) -> Option<(&WarmingCounts, usize)> {
        let warmer = self.warmer.as_deref()?;
        Some((&warmer.counts, warmer.count()))
    }

    pub(super) fn warmer(&self) -> Option<Arc<Warmer>> {
        self.warmer.clone()
    }

    /// Computes what `poll` asks for anew, unless it is younger than `young`: see
    /// [`ReadThrough::refresh`].
    pub(super) async fn refresh(
        &self,
        poll: &Poll,
        young: Duration,
    ) -> Result<Refreshed, ReadError<DbError>> {
        let now = self.clock.now();
        let Poll { kind, tenant, zone } = poll;
        let compute = compute(self.db.clone(), *kind, tenant, zone, now);
        self.cache
            .refresh(&key(*kind, tenant, zone, now), young, compute)
            .await
    }

    /// Whether a request, or one that is gone, waits for a computation.
    pub(super) fn is_busy(&self) -> bool {
        self.cache.is_busy()
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    async fn cached(
        &self,
        kind: Kind,
        tenant: &TenantId,
        zone: &Zone,
        now: Timestamp,
    ) -> Result<Answer, ReadError<DbError>> {
        let began = Instant::now();
        let compute = || compute(self.db.clone(), kind, tenant, zone, now);
        let key = key(kind, tenant, zone, now);
        let answer = self.cache.read(&key, compute).await?;
        match answer.outcome {
            Outcome::Hit => self.metrics().hit(began.elapsed()),
            Outcome::Miss | Outcome::Stale | Outcome::Bypass => {
                self.metrics().miss(began.elapsed());
            }
        }
        if let Some(warmer) = &self.warmer {
            let poll = Poll {
                kind,
                tenant: tenant.clone(),
                zone: zone.clone(),
            };
            warmer.read(&poll, answer.age, now);
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
fn key(kind: Kind, tenant: &TenantId, zone: &Zone, now: Timestamp) -> StatsKey {
    let date = windows::local_date(now, zone.rules());
    StatsKey::new(kind.name(), tenant, &[&zone.name(), &date])
}

/// Counts what `kind` is made of at `now`.
fn compute(
    db: Db,
    kind: Kind,
    tenant: &TenantId,
    zone: &Zone,
    now: Timestamp,
) -> BoxFuture<Result<Bytes, DbError>> {
    let tenant = tenant.clone();
    match kind {
        Kind::MegaStats => {
            let windows = windows::windows(now, zone.rules());
            let count = move |conn: &mut AnyConn| store::mega_stats(conn, &tenant, &windows);
            Box::pin(async move { db.read(count).await.map(|stats| json(&stats)) })
        }
        Kind::Summary => Box::pin(summarise(db, tenant, windows::two_days(now, zone.rules()))),
    }
}

async fn summarise(db: Db, tenant: TenantId, days: TwoDays) -> Result<Bytes, DbError> {
    let count = move |conn: &mut AnyConn| store::summary(conn, &tenant, &days);
    db.read(count).await.map(|days| json(&days))
}

fn json(stats: &impl Serialize) -> Bytes {
    serde_json::to_vec(stats)
        .expect("numbers under fixed names are JSON")
        .into()
}
