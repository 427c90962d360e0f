//! Reading through the cache: look up, and compute what is missing in a flight that all who miss
//! share. One computation is in `fill`, who shares it in `flights`.

use std::{
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    answer::{Answer, Outcome, ReadError, Refreshed},
    fill::{Computation, FillResult, Filler},
    flights::{FlightResult, Flights, NoResult},
    key::StatsKey,
    stats_cache::{BypassReason, Entry, Lookup, Permit, StatsCache},
};
use crate::{metrics::CacheCounters, tasks::Tasks};

/// Reads through one cache.
pub struct Reader {
    filler: Arc<Filler>,
    flights: Flights<FillResult>,
}

impl Reader {
    /// Reads through `cache` and counts the answers; computations run as `tasks`.
    pub fn new(cache: Arc<dyn StatsCache>, counters: Arc<CacheCounters>, tasks: Tasks) -> Self {
        Self {
            filler: Arc::new(Filler::new(cache, counters)),
            flights: Flights::new(tasks),
        }
    }

    /// The entry under `key`, or else the result of `compute`, which is stored if it may be. If the
    /// database cannot answer: an entry past its time to live whose tenant has not been written to.
    pub async fn read(
        &self,
        key: &StatsKey,
        compute: impl FnOnce() -> Computation,
    ) -> Result<Answer, ReadError> {
        let began = Instant::now();
        let answer = match self.filler.look_up(key).await {
            Lookup::Hit(_, entry) => Answer::new(entry, Outcome::Hit, false),
            // The other futures are boxed: otherwise that of a hit would be as large as the largest of them.
            Lookup::Miss(permit) => Box::pin(self.share(key, &permit, compute())).await?,
            Lookup::Expired(permit, entry) => {
                Box::pin(self.replace_expired(key, &permit, entry, compute())).await?
            }
            Lookup::Bypass(reason) => Box::pin(self.bypass(key, reason, compute())).await?,
        };
        self.count(&answer, began.elapsed());
        Ok(answer)
    }

    /// The result of `compute`, without the cache. It is shared with requests for the same `key`
    /// that arrive before the computation begins.
    pub async fn compute(&self, key: &StatsKey, compute: Computation) -> Result<Answer, ReadError> {
        let began = Instant::now();
        let answer = self.join_next(key, compute).await?;
        self.count(&answer, began.elapsed());
        Ok(answer)
    }

    /// Computes and stores anew what is under `key`, unless the entry there is younger than `refresh_age`,
    /// another instance computes it, or the cache is bypassed. A request that misses meanwhile shares
    /// the computation if it has seen the same generation.
    pub async fn refresh(
        &self,
        key: &StatsKey,
        refresh_age: Duration,
        compute: Computation,
    ) -> Result<Refreshed, ReadError> {
        let permit = match self.filler.look_up(key).await {
            Lookup::Hit(_, Entry { age, .. }) if age < refresh_age => {
                return Ok(Refreshed::Young { age });
            }
            Lookup::Hit(permit, _) | Lookup::Expired(permit, _) | Lookup::Miss(permit) => permit,
            Lookup::Bypass(_) => return Ok(Refreshed::Later),
        };
        let generation = permit.generation;
        let refill = {
            let filler = Arc::clone(&self.filler);
            let key = key.clone();
            // The lease is claimed within the flight: one claimed for a flight that does not start
            // would hold up every instance.
            async move { filler.refill(&key, &permit, compute).await }
        };
        let flight = self.flights.join(key, generation, refill).await?;
        let filled = flight.value.map_err(ReadError::Database)?;
        Ok(if filled.is_computed {
            Refreshed::Computed
        } else {
            Refreshed::Later
        })
    }

    /// Whether anything is computed now.
    pub fn is_busy(&self) -> bool {
        self.flights.is_busy()
    }

    /// Shares the flight of `key` in the generation of `permit`, and begins it if there is none.
    async fn share(
        &self,
        key: &StatsKey,
        permit: &Permit,
        compute: Computation,
    ) -> Result<Answer, ReadError> {
        let flight = self.flight(key, permit, compute).await?;
        let filled = flight.value.map_err(ReadError::Database)?;
        let outcome = if filled.is_computed && !flight.joined {
            Outcome::Miss
        } else {
            Outcome::Hit
        };
        Ok(Answer::new(filled.entry, outcome, flight.joined))
    }

    /// As [`Reader::share`]; `expired` is the answer while the database cannot give another.
    async fn replace_expired(
        &self,
        key: &StatsKey,
        permit: &Permit,
        expired: Entry,
        compute: Computation,
    ) -> Result<Answer, ReadError> {
        if self.filler.database_is_away() {
            // No request waits for this flight. Its success ends the time in which the database is away.
            drop(self.flight(key, permit, compute));
            return Ok(Answer::new(expired, Outcome::Stale, false));
        }
        match self.share(key, permit, compute).await {
            Err(ReadError::Database(error)) if error.is_outage() => {
                // The tenant may have been written to while the computation failed.
                match self.filler.look_up(key).await {
                    Lookup::Hit(_, entry) => Ok(Answer::new(entry, Outcome::Hit, false)),
                    Lookup::Expired(_, entry) => Ok(Answer::new(entry, Outcome::Stale, false)),
                    Lookup::Miss(_) | Lookup::Bypass(_) => Err(ReadError::Database(error)),
                }
            }
            answer => answer,
        }
    }

    /// Computes without the cache, since a lookup said so for `reason`.
    async fn bypass(
        &self,
        key: &StatsKey,
        reason: BypassReason,
        compute: Computation,
    ) -> Result<Answer, ReadError> {
        log::debug!("cache: bypassed: {reason}");
        self.join_next(key, compute).await
    }

    /// The flight of `key` in the generation of `permit`. It goes on without whoever began it.
    fn flight(
        &self,
        key: &StatsKey,
        permit: &Permit,
        compute: Computation,
    ) -> impl Future<Output = Result<FlightResult<FillResult>, NoResult>> + Send {
        let fill = {
            let filler = Arc::clone(&self.filler);
            let key = key.clone();
            async move { filler.fill(&key, compute).await }
        };
        self.flights.join(key, permit.generation, fill)
    }

    /// Shares the next computation of `key` to begin: its result is not older than the request.
    async fn join_next(&self, key: &StatsKey, compute: Computation) -> Result<Answer, ReadError> {
        let filler = Arc::clone(&self.filler);
        let bypass = async move { filler.bypass(compute).await };
        let flight = self.flights.join_next(key, bypass).await?;
        let entry = flight.value.map_err(ReadError::Database)?.entry;
        Ok(Answer::new(entry, Outcome::Bypass, flight.joined))
    }

    fn count(&self, answer: &Answer, took: Duration) {
        let counters = &self.filler.counters;
        let answers = match answer.outcome {
            Outcome::Hit => &counters.hits,
            Outcome::Miss => &counters.misses,
            Outcome::Stale => &counters.stale,
            Outcome::Bypass => &counters.bypasses,
        };
        answers.add(took);
        if answer.collapsed {
            counters.collapsed.inc();
        }
    }
}
