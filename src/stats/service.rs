//! The statistics, through the cache. Lives here: what is computed under which key, and telling
//! the cache that a tenant changes. Not here: how the cache keeps its promise (`cache`).

use std::{fmt::Display, future::Future, sync::Arc, time::Instant};

use bytes::Bytes;
use jiff::Timestamp;
use serde::Serialize;

use super::{
    store,
    windows::{self, TwoDays, Window},
    zones::{UnknownZone, Zone, Zones},
};
use crate::{
    cache::{
        Answer, CacheError, ChangeError, KeyPage, Outcome, ReadError, ReadThrough, StatsCache,
        StatsKey,
    },
    clock::Clock,
    db::{AnyConn, Db, DbError, QueryResult, UtcTime},
    metrics::CacheMetrics,
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
    cache: ReadThrough<DbError>,
    clock: Arc<dyn Clock>,
    zones: Zones,
    metrics: Arc<CacheMetrics>,
}

impl std::fmt::Debug for dyn Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("dyn Clock")
    }
}

impl StatsService {
    /// Computes from `db` at the time of `clock`, by the rules of `zones`, through `cache`.
    #[must_use]
    pub fn new(
        db: Db,
        cache: Arc<dyn StatsCache>,
        clock: Arc<dyn Clock>,
        zones: Zones,
        metrics: Arc<CacheMetrics>,
        tasks: Tasks,
    ) -> Self {
        Self {
            db,
            cache: ReadThrough::new(cache, tasks),
            clock,
            zones,
            metrics,
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
        let now = self.clock.now();
        let compute = || {
            let (db, tenant) = (self.db.clone(), tenant.clone());
            let windows = windows::windows(now, zone.rules());
            let count = move |conn: &mut AnyConn| store::mega_stats(conn, &tenant, &windows);
            async move { db.read(count).await.map(|stats| json(&stats)) }
        };
        self.cached(key("mega_stats", tenant, zone, now), compute)
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
        let days = windows::two_days(now, zone.rules());
        let wanted = cut.of(days);
        let compute = || {
            let (db, tenant) = (self.db.clone(), tenant.clone());
            let count = move |conn: &mut AnyConn| store::summary(conn, &tenant, &wanted);
            async move { db.read(count).await.map(|days| json(&days)) }
        };
        if wanted == days {
            return self
                .cached(key("summary", tenant, zone, now), compute)
                .await;
        }
        let TwoDays { today, tomorrow } = wanted;
        let bounds: [&dyn Display; 4] = [&today.start, &today.end, &tomorrow.start, &tomorrow.end];
        let key = StatsKey::new("summary", tenant, &bounds);
        let answer = self.cache.compute(&key, compute()).await?;
        self.metrics.miss(answer.age);
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
        let turn = async move { waiting.turn().await };
        let commit = move |turn| async move { db.write(turn, write).await };
        self.cache.change(tenant, turn, commit).await
    }

    /// A page of the keys that would be hit: see [`StatsCache::keys`].
    pub async fn keys(&self, after: Option<&str>, limit: usize) -> Result<KeyPage, CacheError> {
        self.cache.keys(after, limit).await
    }

    /// What has been counted.
    #[must_use]
    pub fn metrics(&self) -> &CacheMetrics {
        &self.metrics
    }

    async fn cached<F>(
        &self,
        key: StatsKey,
        compute: impl FnOnce() -> F,
    ) -> Result<Answer, ReadError<DbError>>
    where
        F: Future<Output = Result<Bytes, DbError>> + Send + 'static,
    {
        let began = Instant::now();
        let answer = self.cache.read(&key, compute).await?;
        match answer.outcome {
            Outcome::Hit => self.metrics.hit(began.elapsed()),
            Outcome::Miss | Outcome::Bypass => self.metrics.miss(began.elapsed()),
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
fn key(kind: &'static str, tenant: &TenantId, zone: &Zone, now: Timestamp) -> StatsKey {
    let date = windows::local_date(now, zone.rules());
    StatsKey::new(kind, tenant, &[&zone.name(), &date])
}

fn json(stats: &impl Serialize) -> Bytes {
    serde_json::to_vec(stats)
        .expect("numbers under fixed names are JSON")
        .into()
}
