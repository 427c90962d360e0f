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
    /// Heartbeats without an answer in a row.
    missed: u32,
    /// How often Redis has stopped answering, and how often it has begun to.
    lost: u64,
    back: u64,
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
            missed: 0,
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
    /// heartbeats have waited for an answer, as everybody else's have.
    pub(super) fn is_given_up(&self, now: Instant, wait: Duration) -> bool {
        let state = self.lock();
        now.duration_since(state.heard) >= wait && state.missed >= MIN_MISSED
    }

    /// A heartbeat got no answer that counts.
    pub(super) fn unheard(&self) {
        let mut state = self.lock();
        state.missed = state.missed.saturating_add(1);
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
        (state.heard, state.failures, state.missed) = (now, 0, 0);
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
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(5);

    /// Redis has answered for `SETTLE`; the last heartbeat was sent at the instant returned.
    fn settled() -> (Health, Instant, Epoch) {
        let start = Instant::now();
        let health = Health::new(start);
        assert_eq!(health.beat(start, start + SOON), Beat::Back);
        health.proclaimed(health.unproclaimed().unwrap(), start + SOON);
        assert_eq!(
            health.trusted(start + SOON),
            None,
            "others may not have heard"
        );
        let last = start + SETTLE;
        health.beat(last, last + SOON);
        let epoch = health.trusted(last + SOON).unwrap();
        (health, last, epoch)
    }

    /// As after a heartbeat that counts: who has proclaimed the epoch waits for the others.
    fn settle(health: &Health, mut at: Instant) -> Option<Epoch> {
        if let Some(epoch) = health.unproclaimed() {
            health.proclaimed(epoch, at);
            for _ in 0..2 {
                at += SETTLE / 2;
                health.beat(at, at);
            }
        }
        health.trusted(at)
    }

    #[test]
    fn a_heartbeat_vouches_for_a_while() {
        let (health, last, epoch) = settled();
        assert_eq!(health.trusted(last + PERIOD), Some(epoch));
        assert_eq!(
            health.trusted(last + TRUST),
            None,
            "this instance was stalled"
        );
    }

    #[test]
    fn a_missed_heartbeat_sends_reads_elsewhere_and_forgets_nothing() {
        let (health, last, epoch) = settled();
        assert_eq!(health.missed(), Beat::Lost);
        assert_eq!(health.missed(), Beat::Same, "told once");
        assert_eq!(health.breaker(), (true, 1, 1));
        assert_eq!(health.trusted(last + SOON), None);
        let back = last + PATIENCE;
        assert_eq!(health.beat(back, back + SOON), Beat::Back);
        assert_eq!(health.trusted(back + SOON), Some(epoch));
        assert_eq!(health.breaker(), (false, 1, 2));
    }

    #[test]
    fn a_gap_between_heartbeats_begins_a_new_epoch() {
        for noticed in [false, true] {
            let (health, last, epoch) = settled();
            if noticed {
                health.missed();
            }
            let back = last + TRUST + SOON;
            health.beat(back, back + SOON);
            assert_eq!(health.trusted(back + SOON), None);
            let after = settle(&health, back + SOON);
            assert!(after.is_some() && after != Some(epoch));
        }
    }

    #[test]
    fn a_broken_connection_begins_a_new_epoch() {
        let (health, last, epoch) = settled();
        assert_eq!(health.broken(), Beat::Lost);
        health.proclaimed(epoch, last + SOON);
        assert_eq!(health.beat(last + SOON, last + SOON), Beat::Back);
        assert_eq!(
            health.trusted(last + SOON),
            None,
            "an older epoch was told of"
        );
        assert_ne!(settle(&health, last + SOON), Some(epoch));
    }

    #[test]
    fn a_late_answer_does_not_vouch_but_is_no_silence() {
        let (health, last, epoch) = settled();
        let (sent, late) = (last + PERIOD, last + PERIOD + PATIENCE + SOON);
        assert_eq!(health.beat(sent, late), Beat::Lost);
        assert_eq!(health.trusted(late), None);
        assert_eq!(health.silence(late), Duration::ZERO);
        health.beat(late, late + SOON);
        assert_eq!(health.trusted(late + SOON), Some(epoch));
    }

    #[test]
    fn every_silence_that_makes_a_writer_give_up_is_noticed_whenever_heartbeats_fall() {
        let silence = 9 * PERIOD;
        for offset in (0..100).map(Duration::from_millis) {
            let (health, last, before) = settled();
            // The last heartbeat before the silence was sent at its very beginning; the first that
            // is answered may have waited for all of PATIENCE.
            let resumed = last + silence;
            let sent = resumed.checked_sub(PATIENCE).unwrap() + offset;
            health.beat(sent, sent.max(resumed));
            assert_eq!(health.trusted(resumed + SOON), None, "{offset:?}");
            assert_ne!(settle(&health, resumed + SOON), Some(before), "{offset:?}");
        }
    }

    #[test]
    fn commands_without_an_answer_in_a_row_open_the_breaker_until_the_next_heartbeat() {
        let (health, last, epoch) = settled();
        assert_eq!([health.unanswered(), health.unanswered()], [Beat::Same; 2]);
        health.answered();
        assert_eq!([health.unanswered(), health.unanswered()], [Beat::Same; 2]);
        assert_eq!(health.unanswered(), Beat::Lost);
        assert_eq!(health.trusted(last + SOON), None);
        assert_eq!(health.beat(last + PERIOD, last + PERIOD), Beat::Back);
        assert_eq!(health.trusted(last + PERIOD), Some(epoch));
    }

    #[test]
    fn a_stall_of_this_instance_is_no_silence_of_redis() {
        let (health, last, _) = settled();
        let (wait, woken) = (Duration::from_secs(1), last + Duration::from_secs(60));
        for missed in 0..MIN_MISSED {
            assert!(!health.is_given_up(woken, wait), "{missed}");
            health.unheard();
        }
        assert!(health.is_given_up(woken, wait));
        assert!(!health.is_given_up(last + SOON, wait), "it was just heard");
        health.beat(woken, woken + SOON);
        assert!(!health.is_given_up(woken + wait + wait, wait));
    }

    #[test]
    fn a_late_heartbeat_keeps_an_open_breaker_open_and_a_closed_one_closed() {
        let (health, last, epoch) = settled();
        let late = last + PERIOD;
        assert_eq!(health.beat_late(late, late + SOON), Beat::Same);
        assert_eq!(health.trusted(late + SOON), Some(epoch));
        health.missed();
        let late = late + PERIOD;
        assert_eq!(health.beat_late(late, late + SOON), Beat::Same);
        assert_eq!(health.trusted(late + SOON), None);
        assert_eq!(health.beat(late, late + SOON), Beat::Back);
        assert_eq!(
            health.trusted(late + SOON),
            Some(epoch),
            "it was no silence"
        );
    }

    #[test]
    fn silence_is_counted_from_the_last_answer() {
        let (health, last, _) = settled();
        assert_eq!(health.silence(last + SOON + PERIOD), PERIOD);
        health.missed();
        assert_eq!(health.silence(last + SOON + PERIOD), PERIOD);
        health.beat(last + PERIOD, last + PERIOD);
        assert_eq!(health.silence(last + PERIOD), Duration::ZERO);
    }
}
