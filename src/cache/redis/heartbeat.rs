//! Whether this instance may trust what Redis answers: it must notice every silence of Redis that is
//! long enough for a writer to go on without it.
//!
//! # Why silence matters
//! A writer whose invalidation Redis does not take goes on without it, but only after this instance's
//! heartbeats have failed for `cache.redis.invalidation_wait_ms` (1 s or more). When Redis was only
//! paused, it may answer a reader on its return before it runs that writer's invalidation. So every
//! instance must notice every silence of that length before it trusts another answer, and from then on
//! it must not trust anything that Redis stored before the silence.
//!
//! - Every instance sends a heartbeat every [`HEARTBEAT_PERIOD`], or as soon as the last one has been
//!   given up. A heartbeat counts only if its answer comes within [`HEARTBEAT_TIMEOUT`].
//! - An instance trusts an answer only if it has sent a heartbeat that counted within the last
//!   [`TRUST_LIMIT`]. So an instance that was itself stopped for a while does not trust the answers
//!   that it finds when it goes on.
//! - When a heartbeat that counts was sent more than [`TRUST_LIMIT`] after the last one that counted, the
//!   instance has noticed a silence, and a new [`Epoch`] begins.
//! - A broken connection also begins a new epoch, since Redis may have been restarted with older data.
//!
//! # A Redis that refuses is as good as a silent one
//! A heartbeat asks for everything that an invalidation needs: every master must accept writes, and the
//! user must have the rights. So a Redis that takes no invalidations (it is a replica, it cannot save, it
//! lacks replicas, it lets this user in no more) refuses the heartbeats of every instance, as it
//! refuses the writer's. A heartbeat that is refused does not count, so all of this page holds.
//!
//! # A silence that this instance alone hears
//! Redis may go on to answer other instances, which then notice nothing. What is said here does not cover
//! that: on PostgreSQL `relay` has one of them raise the writer's fence before the write commits.
//!
//! # A Redis that is slow is not silent
//! A late answer to a heartbeat does not count, so reads ask the database. But it is an answer: Redis
//! serves other instances, so a writer goes on trying to deliver.
//!
//! # Timeline of a pause of Redis
//! With the default settings; 0 ms is the moment when Redis stops.
//!
//! | time | what happens |
//! |---|---|
//! | 0 to 100 ms | each instance sends its next heartbeat, and gets no answer |
//! | up to 300 ms | the heartbeat times out: reads bypass the cache from now on |
//! | 600 ms after the last heartbeat that counted | no answer is trusted any more: the silence will be noticed for certain |
//! | about 1100 ms | five heartbeats have failed: writers stop waiting and go on. Their invalidations are now pending, and writes that begin later do not wait |
//! | Redis returns | the next heartbeat counts, and a new epoch begins. With the heartbeat after it the instance proclaims a new era, which makes every older generation worthless. It delivers its pending invalidations |
//! | 600 ms later | [`SETTLING_TIME`] is over: the instance trusts Redis again, and reads use the cache |
//!
//! # Why the silence is noticed for certain
//! A writer goes on when the first of the failed heartbeats was sent 0.9 s or more before the last one
//! was given up ([`HEARTBEAT_PERIOD`] less than the wait). Redis served nobody in between. Between
//! the last heartbeat that another instance sent before the silence and the first one that counts
//! after it lie at least 0.9 s minus [`HEARTBEAT_TIMEOUT`], which is more than [`TRUST_LIMIT`]: the other
//! instance notices. A shorter silence, which is noticed by a heartbeat that failed, only makes
//! reads bypass the cache while it lasts.
//!
//! # Why trust takes time to return
//! Other instances may need a moment longer to hear that Redis is back, and until then their writes go
//! on without it. So an instance trusts Redis only [`SETTLING_TIME`] after its return. By then every
//! instance that can reach Redis has heard that it is back, delivers each invalidation before it
//! acknowledges the write, and has raised the fences of its running writes again (`pending`). What was
//! acknowledged before that moment is in the database when an entry is computed after it.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::breaker::{Breaker, BreakerChange, LinkProblem};

/// The time from one heartbeat to the next.
pub(super) const HEARTBEAT_PERIOD: Duration = Duration::from_millis(100);

/// How long an instance waits for the answer to a heartbeat that is to count.
pub(super) const HEARTBEAT_TIMEOUT: Duration = Duration::from_millis(200);

/// How long after it was sent a heartbeat that counts lets an instance trust Redis.
pub(super) const TRUST_LIMIT: Duration = Duration::from_millis(600);

/// How long Redis must have been back before it is trusted. An instance whose heartbeat was lost just
/// before the return asks again after [`HEARTBEAT_TIMEOUT`] and [`HEARTBEAT_PERIOD`], and is answered
/// within [`HEARTBEAT_TIMEOUT`].
pub(super) const SETTLING_TIME: Duration = Duration::from_millis(600);

/// Commands that must time out one after the other before reads bypass the cache until the next
/// heartbeat that counts.
const MAX_TIMEOUTS: u32 = 3;

/// Heartbeats that must have failed before a write goes on without Redis, and before a Redis that
/// has not answered since the start is spoken of. Every instance sends at least as many within a second.
const MIN_FAILED_HEARTBEATS: u32 = 3;

/// A span of time in which this instance noticed no silence of Redis. Each epoch has its own number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Epoch(u64);

/// What this instance knows of Redis by the heartbeats that it has sent.
#[derive(Debug, Default)]
pub(super) struct Heartbeat(Mutex<HeartbeatState>);

#[derive(Debug, Default)]
struct HeartbeatState {
    epoch: u64,
    /// When this instance proclaimed an era for the current epoch. What Redis stored before must not
    /// be trusted.
    proclaimed_at: Option<Instant>,
    /// When the last heartbeat that counted was sent.
    last_counted: Option<Instant>,
    /// Commands that timed out since the last answer.
    timeouts: u32,
    /// Heartbeats that have failed since the last answer.
    failed: Option<FailedHeartbeats>,
    /// Open while reads must not ask Redis.
    breaker: Breaker,
}

/// Heartbeats that were refused or got no answer in time, one after the other.
#[derive(Debug, Clone, Copy)]
struct FailedHeartbeats {
    count: u32,
    /// When the first of them was sent.
    first_sent: Instant,
    /// When the last of them was refused or given up.
    last_failed: Instant,
}

impl FailedHeartbeats {
    /// Whether this instance asked Redis until a moment before `now`. If it did not, it was stopped
    /// itself, and Redis may have answered others meanwhile.
    fn is_recent(&self, now: Instant) -> bool {
        now.duration_since(self.last_failed) <= HEARTBEAT_TIMEOUT + 2 * HEARTBEAT_PERIOD
    }
}

impl Heartbeat {
    /// The current epoch, if this instance may trust what Redis answers at `now`.
    pub(super) fn trusted_epoch(&self, now: Instant) -> Option<Epoch> {
        let state = self.0.lock();
        let is_heard = state
            .last_counted
            .is_some_and(|sent| now.duration_since(sent) < TRUST_LIMIT);
        let is_settled = state
            .proclaimed_at
            .is_some_and(|since| now.duration_since(since) >= SETTLING_TIME);
        (!state.breaker.is_open() && is_heard && is_settled).then_some(Epoch(state.epoch))
    }

    /// Whether reads do without Redis.
    pub(super) fn is_breaker_open(&self) -> bool {
        self.0.lock().breaker.is_open()
    }

    /// Whether reads do without Redis, why, and how often that changed.
    pub(super) fn breaker(&self) -> Breaker {
        self.0.lock().breaker.clone()
    }

    /// The current epoch, if this instance has yet to proclaim an era for it.
    pub(super) fn epoch_without_era(&self) -> Option<Epoch> {
        let state = self.0.lock();
        state.proclaimed_at.is_none().then_some(Epoch(state.epoch))
    }

    /// Notes that this instance has proclaimed an era for `epoch`.
    pub(super) fn era_proclaimed(&self, epoch: Epoch, now: Instant) {
        let mut state = self.0.lock();
        if state.epoch == epoch.0 {
            state.proclaimed_at = Some(now);
        }
    }

    /// For how long this instance's heartbeats have failed, one after the other.
    pub(super) fn silence(&self, now: Instant) -> Duration {
        let failed = self.0.lock().failed;
        failed.map_or(Duration::ZERO, |failed| {
            now.duration_since(failed.first_sent)
        })
    }

    /// Whether Redis has not served this instance for `wait`, so that a write may go on without it. It does
    /// not suffice that this instance heard nothing, since it may have been stopped itself: several of its
    /// heartbeats must have failed, one after the other, for all of `wait` but the first
    /// [`HEARTBEAT_PERIOD`].
    pub(super) fn is_silent_for(&self, wait: Duration, now: Instant) -> bool {
        let failed = self.0.lock().failed;
        failed.is_some_and(|failed| {
            let lasted = failed.last_failed.duration_since(failed.first_sent);
            failed.is_recent(now)
                && failed.count >= MIN_FAILED_HEARTBEATS
                && lasted + HEARTBEAT_PERIOD >= wait
        })
    }

    /// Notes that a heartbeat that was sent at `sent` failed at `now`.
    pub(super) fn heartbeat_failed(
        &self,
        sent: Instant,
        now: Instant,
        problem: LinkProblem,
    ) -> BreakerChange {
        let mut state = self.0.lock();
        let before = state.failed.filter(|failed| failed.is_recent(sent));
        let count = before.map_or(1, |before| before.count.saturating_add(1));
        state.failed = Some(FailedHeartbeats {
            count,
            first_sent: before.map_or(sent, |before| before.first_sent),
            last_failed: now,
        });
        if problem != LinkProblem::NoAnswer {
            state.begin_epoch();
        } else if state.last_counted.is_none() && count < MIN_FAILED_HEARTBEATS {
            // The first connection may take longer than a heartbeat.
            return BreakerChange::Unchanged;
        }
        state.breaker.open(problem)
    }

    /// Notes that Redis accepted a heartbeat, perhaps late.
    pub(super) fn heartbeat_accepted(&self) {
        self.0.lock().failed = None;
    }

    /// Notes that Redis answered a command.
    pub(super) fn command_answered(&self) {
        self.0.lock().timeouts = 0;
    }

    /// Notes that Redis did not answer a command in time.
    pub(super) fn command_timed_out(&self) -> BreakerChange {
        let mut state = self.0.lock();
        state.timeouts += 1;
        if state.timeouts >= MAX_TIMEOUTS {
            state.breaker.open(LinkProblem::NoAnswer)
        } else {
            BreakerChange::Unchanged
        }
    }

    /// Notes that the connection broke, or that none could be made.
    pub(super) fn connection_broke(&self, problem: LinkProblem) -> BreakerChange {
        let mut state = self.0.lock();
        state.begin_epoch();
        state.breaker.open(problem)
    }

    /// Notes that Redis answered at `now` a heartbeat that was sent at `sent`. An open breaker is closed
    /// only if the answer was as quick as reads want it.
    pub(super) fn heartbeat_answered(
        &self,
        sent: Instant,
        now: Instant,
        is_quick: bool,
    ) -> BreakerChange {
        let mut state = self.0.lock();
        if now.duration_since(sent) > HEARTBEAT_TIMEOUT {
            return state.breaker.open(LinkProblem::NoAnswer);
        }
        state.timeouts = 0;
        state.failed = None;
        if state
            .last_counted
            .is_some_and(|before| sent.duration_since(before) > TRUST_LIMIT)
        {
            state.begin_epoch();
        }
        state.last_counted = Some(sent);
        if is_quick {
            state.breaker.close()
        } else {
            BreakerChange::Unchanged
        }
    }
}

impl HeartbeatState {
    fn begin_epoch(&mut self) {
        self.epoch += 1;
        self.proclaimed_at = None;
    }
}

#[cfg(test)]
mod tests;
