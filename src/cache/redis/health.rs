//! Whether what Redis says may be believed. Lives here: noticing that Redis was silent, and for how
//! long. Not here: asking it anything (`client`), and what follows from its silence (`link`).
//!
//! # Why silence matters
//! A writer that gets no answer from Redis goes on without one, but only once Redis has been silent
//! for `invalidation_wait` (1 s or more), and a last try has failed as well. A Redis that was paused
//! may, on its return, answer a reader before it runs that writer's invalidation. So every instance
//! must notice every silence of that length before it believes another answer, and from then on
//! believes nothing from before it:
//!
//! - a heartbeat is sent every [`PERIOD`], and counts only if its answer comes within [`PATIENCE`];
//! - an answer is believed only while the last heartbeat that counted was sent less than [`TRUST`]
//!   ago, so an instance that was itself stalled does not believe what it finds on waking;
//! - two heartbeats that count, but were sent more than [`TRUST`] apart, are a silence noticed;
//! - a connection that broke is one, too: Redis may have been started anew from older data.
//!
//! Whoever gave up had heard an answer less than `PERIOD` before the silence, or just after it
//! began, so the silence lasted for 0.9 s. Between the last heartbeat sent before it and the first
//! that counts after it lie at least 0.9 s − `PATIENCE`, more than `TRUST`: it is noticed. A shorter
//! one that is noticed by a heartbeat without an answer only sends reads to the database meanwhile.
//!
//! # Why the return takes time
//! Others may take a moment longer to hear that Redis is back, and until then their writes go on
//! without it. So what Redis says is believed only [`SETTLE`] after its return: by then everybody
//! who can reach Redis has heard it, delivers the invalidation of each write before it is
//! acknowledged, and has raised again the fences of writes under way (`owed`).

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Between two heartbeats.
pub(super) const PERIOD: Duration = Duration::from_millis(100);

/// How long a heartbeat may take.
pub(super) const PATIENCE: Duration = Duration::from_millis(200);

/// How long a heartbeat vouches for Redis.
pub(super) const TRUST: Duration = Duration::from_millis(600);

/// How long Redis must have been back: whoever had just missed it asks again after `PATIENCE` and
/// `PERIOD`, and is answered within `PATIENCE`.
pub(super) const SETTLE: Duration = Duration::from_millis(600);

/// Commands without an answer in a row before reads stop waiting for one until the next heartbeat.
const MAX_FAILURES: u32 = 3;

/// Heartbeats that must have been missed before a write goes on without Redis: no more than are sent
/// in a silence of a second.
const MIN_MISSED: u32 = 3;

/// A span of time in which Redis was not noticed to be silent. Each has a number of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Epoch(u64);

#[derive(Debug)]
pub(super) struct Health(Mutex<State>);

#[derive(Debug)]
struct State {
    epoch: u64,
    /// Whether Redis answers.
    answers: bool,
    /// When Redis had been told of this epoch; what was stored before is not to be believed.
    proclaimed: Option<Instant>,
    /// When the last heartbeat that counted was sent.
    vouched: Option<Instant>,
    /// The last answer to a heartbeat, or the start.
    heard: Instant,
    failures: u32,
    missed: Option<Missed>,
    /// How often Redis has stopped answering, and how often it has begun to.
    lost: u64,
    back: u64,
}

/// Heartbeats without an answer in a row.
#[derive(Debug, Clone, Copy)]
struct Missed {
    number: u32,
    /// When the first of them asked in vain.
    since: Instant,
    /// When the last of them was given up.
    last: Instant,
}

impl Missed {
    /// Whether Redis was still asked a moment before `now`: if not, this instance was stalled, and
    /// others may have been answered.
    fn goes_on(&self, now: Instant) -> bool {
        now.duration_since(self.last) <= PATIENCE + 2 * PERIOD
    }
}

/// What a heartbeat or a command changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Beat {
    Same,
    Lost,
    Back,
}

impl Health {
    /// Nothing is believed before the first heartbeat counts.
    pub(super) fn new(now: Instant) -> Self {
        Self(Mutex::new(State {
            epoch: 0,
            answers: false,
            proclaimed: None,
            vouched: None,
            heard: now,
            failures: 0,
            missed: None,
            lost: 0,
            back: 0,
        }))
    }

    /// The epoch, while Redis may be believed.
    pub(super) fn trusted(&self, now: Instant) -> Option<Epoch> {
        let state = self.lock();
        let vouched = state
            .vouched
            .is_some_and(|sent| now.duration_since(sent) < TRUST);
        let settled = state
            .proclaimed
            .is_some_and(|since| now.duration_since(since) >= SETTLE);
        (state.answers && vouched && settled).then_some(Epoch(state.epoch))
    }

    /// Whether reads do without Redis, how often they have begun to, and how often they have ended.
    pub(super) fn breaker(&self) -> (bool, u64, u64) {
        let state = self.lock();
        (!state.answers, state.lost, state.back)
    }

    /// The current epoch, unless it has been proclaimed.
    pub(super) fn unproclaimed(&self) -> Option<Epoch> {
        let state = self.lock();
        state.proclaimed.is_none().then_some(Epoch(state.epoch))
    }

    /// Redis has been told that `epoch` has begun.
    pub(super) fn proclaimed(&self, epoch: Epoch, now: Instant) {
        let mut state = self.lock();
        if state.epoch == epoch.0 {
            state.proclaimed = Some(now);
        }
    }

    /// The time since a heartbeat was answered.
    pub(super) fn silence(&self, now: Instant) -> Duration {
        now.duration_since(self.lock().heard)
    }

    /// Whether Redis has been silent for `wait`, and not merely this instance stalled: several
    /// heartbeats have waited for an answer, as everybody else's have, one after the other for all
    /// but the first [`PERIOD`] of it.
    pub(super) fn is_given_up(&self, now: Instant, wait: Duration) -> bool {
        let state = self.lock();
        let missed = state.missed.filter(|missed| missed.goes_on(now));
        now.duration_since(state.heard) >= wait
            && missed.is_some_and(|missed| {
                missed.number >= MIN_MISSED && now.duration_since(missed.since) + PERIOD >= wait
            })
    }

    /// What a heartbeat asked at `asked` got no answer that counts until `now`.
    pub(super) fn unheard(&self, asked: Instant, now: Instant) {
        let mut state = self.lock();
        let before = state.missed.filter(|missed| missed.goes_on(asked));
        state.missed = Some(Missed {
            number: before.map_or(1, |before| before.number.saturating_add(1)),
            since: before.map_or(asked, |before| before.since),
            last: now,
        });
    }

    /// A command was answered.
    pub(super) fn answered(&self) {
        self.lock().failures = 0;
    }

    /// A command got no answer in time.
    pub(super) fn unanswered(&self) -> Beat {
        let mut state = self.lock();
        state.failures += 1;
        if state.failures >= MAX_FAILURES {
            state.fall_silent()
        } else {
            Beat::Same
        }
    }

    /// A heartbeat got no answer in time.
    pub(super) fn missed(&self) -> Beat {
        self.lock().fall_silent()
    }

    /// The connection broke, or Redis does not serve.
    pub(super) fn broken(&self) -> Beat {
        let mut state = self.lock();
        state.begin_epoch();
        state.fall_silent()
    }

    /// A heartbeat that was sent at `sent` was answered at `now`.
    pub(super) fn beat(&self, sent: Instant, now: Instant) -> Beat {
        self.take(sent, now, true)
    }

    /// As [`Health::beat`], but commands would not have waited that long: who does without Redis
    /// goes on to.
    pub(super) fn beat_late(&self, sent: Instant, now: Instant) -> Beat {
        self.take(sent, now, false)
    }

    fn take(&self, sent: Instant, now: Instant, may_return: bool) -> Beat {
        let mut state = self.lock();
        (state.heard, state.failures, state.missed) = (now, 0, None);
        if now.duration_since(sent) > PATIENCE {
            return state.fall_silent();
        }
        if state
            .vouched
            .is_some_and(|before| sent.duration_since(before) > TRUST)
        {
            state.begin_epoch();
        }
        state.vouched = Some(sent);
        if state.answers || !may_return {
            return Beat::Same;
        }
        state.answers = true;
        state.back += 1;
        Beat::Back
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn begin_epoch(&mut self) {
        self.epoch += 1;
        self.proclaimed = None;
    }

    fn fall_silent(&mut self) -> Beat {
        if self.answers {
            self.answers = false;
            self.lost += 1;
            Beat::Lost
        } else {
            Beat::Same
        }
    }
}

#[cfg(test)]
mod tests;
