//! Which generations were set since this instance began to believe Redis.
//!
//! An instance cannot know what happened to Redis before it started or while it was silent: a write
//! may have been acknowledged whose invalidation was lost with its writer. So it proclaims an *era*,
//! a random mark under one key of Redis, and every generation carries the era that its maker saw
//! last. Once an instance has proclaimed one, a generation was set after that if its era is the
//! instance's own, or one that it has seen proclaimed since. All others are replaced, once for all
//! instances, and no entry from before is hit. No clock is involved.
//!
//! # Forgetting everything
//! Whoever wants all instances to forget everything proclaims an era, and then marks it as a *purge*
//! under another key, since an instance that starts may replace the era before others have seen it.
//! Whoever finds a new purge with a heartbeat believes no era from before it. One that it has not
//! seen proclaimed may be older than its own, be it that it has just started or that Redis has come
//! back with an old mark: then the era that is there now is the only one that is certainly later. As
//! heartbeats vouch for [`TRUST`](super::health::TRUST), nobody who believes Redis has missed it
//! after that time.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Eras remembered; forgetting one costs each tenant a computation.
const REMEMBERED: usize = 64;

/// A mark that nobody else has made or will make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Era(pub(super) u64);

impl Era {
    /// Believed by nobody.
    const NONE: Self = Self(0);

    pub(super) fn random() -> Self {
        Self(rand::random::<u64>() | 1)
    }
}

/// The eras that an instance knows.
#[derive(Debug)]
pub(super) struct Eras(Mutex<State>);

#[derive(Debug)]
struct State {
    current: Era,
    /// Proclaimed since this instance last forgot all others, oldest first.
    known: VecDeque<Era>,
    /// When that was.
    since: Option<Instant>,
    /// The last purge seen.
    purge: Option<Era>,
}

impl Eras {
    pub(super) fn new() -> Self {
        Self(Mutex::new(State {
            current: Era::NONE,
            known: VecDeque::new(),
            since: None,
            purge: None,
        }))
    }

    /// What new generations carry.
    pub(super) fn current(&self) -> Era {
        self.lock().current
    }

    /// Redis has taken `era`, which is this instance's own: nothing from before counts.
    pub(super) fn proclaimed(&self, era: Era, now: Instant) {
        let mut state = self.lock();
        state.known.clear();
        state.known.push_back(era);
        (state.current, state.since) = (era, Some(now));
    }

    /// Redis has told of `purge`: if that is news, nothing from before counts. Whether any era does;
    /// if not, the one that is there now has to be [seen](Eras::seen).
    pub(super) fn purged(&self, purge: Era, now: Instant) -> bool {
        let mut state = self.lock();
        if state.purge != Some(purge) {
            let seen = state.known.iter().position(|era| *era == purge);
            let before = seen.unwrap_or(state.known.len());
            state.known.drain(..before);
            (state.purge, state.since) = (Some(purge), Some(now));
        }
        !state.known.is_empty()
    }

    /// How long ago everything from before was forgotten.
    pub(super) fn age(&self, now: Instant) -> Option<Duration> {
        let since = self.lock().since?;
        Some(now.duration_since(since))
    }

    /// Redis has told of `era`, since this instance proclaimed its own. Whether that is news.
    pub(super) fn seen(&self, era: Era) -> bool {
        let mut state = self.lock();
        state.current = era;
        let is_news = !state.known.contains(&era);
        if is_news {
            if state.known.len() >= REMEMBERED {
                state.known.pop_front();
            }
            state.known.push_back(era);
        }
        is_news
    }

    /// Whether a generation that carries `era` was set since this instance proclaimed its own.
    pub(super) fn knows(&self, era: Era) -> bool {
        // The latest are looked at first.
        self.lock().known.iter().rev().any(|known| *known == era)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eras_proclaimed_since_are_known_and_those_from_before_are_not() {
        let eras = Eras::new();
        assert!(!eras.knows(eras.current()), "nothing is known yet");
        let [before, own, later] = [(); 3].map(|()| Era::random());
        eras.proclaimed(before, Instant::now());
        eras.proclaimed(own, Instant::now());
        eras.seen(later);
        assert!(!eras.knows(before) && eras.knows(own) && eras.knows(later));
        assert_eq!(eras.current(), later);
    }

    #[test]
    fn a_purge_is_noticed_once_and_everything_from_before_it_is_forgotten() {
        let (eras, start) = (Eras::new(), Instant::now());
        let [own, seen, purge, later] = [(); 4].map(|()| Era::random());
        eras.proclaimed(own, start);
        eras.seen(seen);
        eras.seen(purge);
        eras.seen(later);
        let noticed = start + Duration::from_secs(1);
        assert!(eras.purged(purge, noticed));
        assert!(!eras.knows(own) && !eras.knows(seen));
        assert!(eras.knows(purge) && eras.knows(later));
        assert_eq!(eras.age(noticed), Some(Duration::ZERO));
        eras.seen(own);
        assert!(eras.purged(purge, noticed + Duration::from_secs(1)));
        assert!(eras.knows(own), "it is no news");
    }

    #[test]
    fn a_purge_that_was_not_seen_proclaimed_may_be_from_before_and_is_not_believed_itself() {
        let (eras, now) = (Eras::new(), Instant::now());
        let [own, purge] = [(); 2].map(|()| Era::random());
        eras.proclaimed(own, now);
        for _ in 0..2 {
            assert!(!eras.purged(purge, now), "until an era is seen");
            assert!(!eras.knows(own) && !eras.knows(purge));
        }
        assert!(
            eras.seen(own),
            "which is there still, and so is the later one"
        );
        assert!(eras.purged(purge, now) && eras.knows(own));
    }

    #[test]
    fn a_bounded_number_is_remembered() {
        let eras = Eras::new();
        let own = Era::random();
        eras.proclaimed(own, Instant::now());
        for _ in 0..REMEMBERED {
            eras.seen(Era::random());
        }
        assert!(!eras.knows(own) && eras.knows(eras.current()));
        assert_eq!(eras.lock().known.len(), REMEMBERED);
    }
}
