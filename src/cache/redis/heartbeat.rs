//! Whether this instance may trust what Redis answers: it must notice every silence of Redis that is
//! long enough for a writer to go on without it.
//!
//! # Why silence matters
//! A writer that gets no answer from Redis goes on without it, but only after Redis has been silent
//! for `cache.redis.invalidation_wait_ms` (1 s or more) and a last attempt has failed. When Redis was
//! only paused, it may answer a reader on its return before it runs that writer's invalidation. So
//! every instance must notice every silence of that length before it trusts another answer, and from
//! then on it must not trust anything that Redis stored before the silence.
//!
//! - Every instance sends a heartbeat every [`HEARTBEAT_PERIOD`]. A heartbeat counts only if its
//!   answer comes within [`HEARTBEAT_TIMEOUT`].
//! - An instance trusts an answer only if it has sent a heartbeat that counted within the last
//!   [`TRUST_LIMIT`]. So an instance that was itself stopped for a while does not trust the answers
//!   that it finds when it goes on.
//! - When a heartbeat that counts was sent more than [`TRUST_LIMIT`] after the last one that counted, the
//!   instance has noticed a silence, and a new [`Epoch`] begins.
//! - A broken connection also begins a new epoch, since Redis may have been restarted with older data.
//!
//! # Timeline of a pause of Redis
//! With the default settings; 0 ms is the moment when Redis stops.
//!
//! | time | what happens |
//! |---|---|
//! | 0 to 100 ms | each instance sends its next heartbeat, and gets no answer |
//! | up to 300 ms | the heartbeat times out: reads bypass the cache from now on |
//! | 600 ms after the last heartbeat that counted | no answer is trusted any more: the silence will be noticed for certain |
//! | about 1000 ms | the first writer gives up waiting and goes on. Its invalidation is now pending |
//! | Redis returns | the next heartbeat counts, and a new epoch begins. With the heartbeat after it the instance proclaims a new era, which makes every older generation worthless. It delivers its pending invalidations |
//! | 600 ms later | [`SETTLING_TIME`] is over: the instance trusts Redis again, and reads use the cache |
//!
//! # Why the silence is noticed for certain
//! A writer gives up 1 s or more after the last answer that it heard. That answer came less than
//! [`HEARTBEAT_PERIOD`] before Redis stopped, since heartbeats are sent so often, or was still on its way
//! then. So Redis was silent for at least 0.9 s. Between the last heartbeat
//! that another instance sent before the silence and the first one that counts after it lie at least
//! 0.9 s minus [`HEARTBEAT_TIMEOUT`], which is more than [`TRUST_LIMIT`]: the other instance notices.
//! A shorter silence, which is noticed by a heartbeat that timed out, only makes reads bypass the cache
//! while it lasts.
//!
//! # Why trust takes time to return
//! Other instances may need a moment longer to hear that Redis is back, and until then their writes go
//! on without it. So an instance trusts Redis only [`SETTLING_TIME`] after its return. By then every
//! instance that can reach Redis has heard that it is back, delivers each invalidation before it
//! acknowledges the write, and has raised the fences of its running writes again (`pending`).

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// The time from one heartbeat to the next.
pub(super) const HEARTBEAT_PERIOD: Duration = Duration::from_millis(100);

/// How long an instance waits for the answer to a heartbeat.
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

/// Heartbeats that must have been missed before a write goes on without Redis. Every instance sends at
/// least as many within a second.
const MIN_MISSED_HEARTBEATS: u32 = 3;

/// A span of time in which this instance noticed no silence of Redis. Each epoch has its own number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Epoch(u64);

/// What this instance knows of Redis by the heartbeats that it has sent.
#[derive(Debug)]
pub(super) struct Heartbeat(Mutex<HeartbeatState>);

#[derive(Debug)]
struct HeartbeatState {
    epoch: u64,
    /// Whether reads may ask Redis.
    is_answering: bool,
    /// When this instance proclaimed an era for the current epoch. What Redis stored before must not
    /// be trusted.
    proclaimed_at: Option<Instant>,
    /// When the last heartbeat that counted was sent.
    last_counted: Option<Instant>,
    /// When the last answer to a heartbeat came; before the first, when this instance started.
    last_answer: Instant,
    /// Commands that timed out since the last answer.
    timeouts: u32,
    /// Heartbeats that were missed since the last answer.
    missed: Option<MissedHeartbeats>,
    breaker: Breaker,
}

/// How often reads had to do without Redis.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Breaker {
    /// Whether reads do without Redis now.
    pub(super) is_open: bool,
    /// How often Redis has stopped answering.
    pub(super) opened: u64,
    /// How often Redis has begun to answer, the first time included.
    pub(super) closed: u64,
}

/// Heartbeats that got no answer in time, one after the other.
#[derive(Debug, Clone, Copy)]
struct MissedHeartbeats {
    count: u32,
    /// When the first of them was sent.
    first_sent: Instant,
    /// When the last of them was given up.
    last_given_up: Instant,
}

impl MissedHeartbeats {
    /// Whether this instance asked Redis until a moment before `now`. If it did not, it was stopped
    /// itself, and Redis may have answered others meanwhile.
    fn is_recent(&self, now: Instant) -> bool {
        now.duration_since(self.last_given_up) <= HEARTBEAT_TIMEOUT + 2 * HEARTBEAT_PERIOD
    }
}

/// What a heartbeat or a command changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BreakerChange {
    Unchanged,
    /// Redis has stopped answering.
    Opened,
    /// Redis answers again, or for the first time.
    Closed,
}

impl Heartbeat {
    /// Trusts nothing before the first heartbeat counts.
    pub(super) fn new(now: Instant) -> Self {
        Self(Mutex::new(HeartbeatState {
            epoch: 0,
            is_answering: false,
            proclaimed_at: None,
            last_counted: None,
            last_answer: now,
            timeouts: 0,
            missed: None,
            breaker: Breaker::default(),
        }))
    }

    /// The current epoch, if this instance may trust what Redis answers at `now`.
    pub(super) fn trusted_epoch(&self, now: Instant) -> Option<Epoch> {
        let state = self.lock();
        let is_heard = state
            .last_counted
            .is_some_and(|sent| now.duration_since(sent) < TRUST_LIMIT);
        let is_settled = state
            .proclaimed_at
            .is_some_and(|since| now.duration_since(since) >= SETTLING_TIME);
        (state.is_answering && is_heard && is_settled).then_some(Epoch(state.epoch))
    }

    /// Whether reads do without Redis, and how often that changed.
    pub(super) fn breaker(&self) -> Breaker {
        let state = self.lock();
        Breaker {
            is_open: !state.is_answering,
            ..state.breaker
        }
    }

    /// The current epoch, if this instance has yet to proclaim an era for it.
    pub(super) fn epoch_without_era(&self) -> Option<Epoch> {
        let state = self.lock();
        state.proclaimed_at.is_none().then_some(Epoch(state.epoch))
    }

    /// Notes that this instance has proclaimed an era for `epoch`.
    pub(super) fn era_proclaimed(&self, epoch: Epoch, now: Instant) {
        let mut state = self.lock();
        if state.epoch == epoch.0 {
            state.proclaimed_at = Some(now);
        }
    }

    /// The time since Redis answered a heartbeat.
    pub(super) fn silence(&self, now: Instant) -> Duration {
        now.duration_since(self.lock().last_answer)
    }

    /// Whether Redis has been silent for `wait`, so that a write may go on without it. It does not
    /// suffice that this instance heard nothing, since it may have been stopped itself: several of its
    /// heartbeats must have waited for an answer, one after the other, for all of `wait` but the first
    /// [`HEARTBEAT_PERIOD`].
    pub(super) fn is_silent_for(&self, wait: Duration, now: Instant) -> bool {
        let state = self.lock();
        let missed = state.missed.filter(|missed| missed.is_recent(now));
        now.duration_since(state.last_answer) >= wait
            && missed.is_some_and(|missed| {
                missed.count >= MIN_MISSED_HEARTBEATS
                    && now.duration_since(missed.first_sent) + HEARTBEAT_PERIOD >= wait
            })
    }

    /// Notes that a heartbeat that was sent at `sent` got no answer that counts until `now`.
    pub(super) fn heartbeat_missed(&self, sent: Instant, now: Instant) {
        let mut state = self.lock();
        let before = state.missed.filter(|missed| missed.is_recent(sent));
        state.missed = Some(MissedHeartbeats {
            count: before.map_or(1, |before| before.count.saturating_add(1)),
            first_sent: before.map_or(sent, |before| before.first_sent),
            last_given_up: now,
        });
    }

    /// Notes that Redis answered a command.
    pub(super) fn command_answered(&self) {
        self.lock().timeouts = 0;
    }

    /// Notes that Redis did not answer a command in time.
    pub(super) fn command_timed_out(&self) -> BreakerChange {
        let mut state = self.lock();
        state.timeouts += 1;
        if state.timeouts >= MAX_TIMEOUTS {
            state.open_breaker()
        } else {
            BreakerChange::Unchanged
        }
    }

    /// Notes that Redis did not answer a heartbeat in time.
    pub(super) fn heartbeat_timed_out(&self) -> BreakerChange {
        self.lock().open_breaker()
    }

    /// Notes that the connection broke, or that Redis refuses to serve.
    pub(super) fn connection_broke(&self) -> BreakerChange {
        let mut state = self.lock();
        state.begin_epoch();
        state.open_breaker()
    }

    /// Notes that Redis answered at `now` a heartbeat that was sent at `sent`.
    pub(super) fn heartbeat_answered(&self, sent: Instant, now: Instant) -> BreakerChange {
        self.record_answer(sent, now, true)
    }

    /// As [`Heartbeat::heartbeat_answered`], but the answer took longer than a read would have waited:
    /// reads that do without Redis go on to.
    pub(super) fn heartbeat_answered_slowly(&self, sent: Instant, now: Instant) -> BreakerChange {
        self.record_answer(sent, now, false)
    }

    fn record_answer(&self, sent: Instant, now: Instant, may_close: bool) -> BreakerChange {
        let mut state = self.lock();
        state.last_answer = now;
        state.timeouts = 0;
        state.missed = None;
        if now.duration_since(sent) > HEARTBEAT_TIMEOUT {
            return state.open_breaker();
        }
        if state
            .last_counted
            .is_some_and(|before| sent.duration_since(before) > TRUST_LIMIT)
        {
            state.begin_epoch();
        }
        state.last_counted = Some(sent);
        if state.is_answering || !may_close {
            return BreakerChange::Unchanged;
        }
        state.is_answering = true;
        state.breaker.closed += 1;
        BreakerChange::Closed
    }

    fn lock(&self) -> MutexGuard<'_, HeartbeatState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HeartbeatState {
    fn begin_epoch(&mut self) {
        self.epoch += 1;
        self.proclaimed_at = None;
    }

    fn open_breaker(&mut self) -> BreakerChange {
        if !self.is_answering {
            return BreakerChange::Unchanged;
        }
        self.is_answering = false;
        self.breaker.opened += 1;
        BreakerChange::Opened
    }
}

#[cfg(test)]
mod tests;
