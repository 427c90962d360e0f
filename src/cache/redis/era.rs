//! Which generations this instance may trust: those that were made since it last noticed a silence of
//! Redis, or since it started.
//!
//! An instance cannot know what happened to Redis before it started or while Redis was silent: a write
//! may have been acknowledged whose invalidation was lost together with its writer. So the instance
//! proclaims an *era*, a random mark under one key of Redis, and every generation carries the era that
//! its maker read last. A generation that carries the instance's own era, or one that the instance has
//! read since, was made after the silence. All other generations are replaced, once for all instances,
//! and no entry from before is hit. No clock is involved.
//!
//! # Purging everything
//! Whoever purges all instances proclaims a new era and then marks that era as a
//! *purge* under another key, since an instance that starts may replace the era before others have
//! read it. An instance that finds a new purge with a heartbeat trusts no era from before it. If it has
//! not read the era of the purge, that era may be older than its own: the instance may have just
//! started, or Redis may have come back with an old purge. Then only the era that is current now is
//! certainly later. An answer is trusted for [`TRUST_LIMIT`](super::heartbeat::TRUST_LIMIT) after a
//! heartbeat, so after that time no instance that trusts Redis has missed the purge.

use std::collections::VecDeque;

use parking_lot::Mutex;

/// Eras that are remembered. Forgetting one costs each tenant one computation.
const REMEMBERED: usize = 64;

/// A random mark, made only once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Era(pub(super) u64);

impl Era {
    /// No instance trusts it.
    const NONE: Self = Self(0);

    pub(super) fn random() -> Self {
        Self(rand::random::<u64>() | 1)
    }
}

/// The eras that this instance trusts.
#[derive(Debug)]
pub(super) struct Eras(Mutex<EraState>);

#[derive(Debug)]
struct EraState {
    /// Which era new generations carry.
    current: Era,
    /// The trusted ones, oldest first.
    trusted: VecDeque<Era>,
    /// The last purge that this instance has read.
    purge: Option<Era>,
}

impl Eras {
    pub(super) fn new() -> Self {
        Self(Mutex::new(EraState {
            current: Era::NONE,
            trusted: VecDeque::new(),
            purge: None,
        }))
    }

    /// Which era new generations carry.
    pub(super) fn current(&self) -> Era {
        self.0.lock().current
    }

    /// Notes that Redis has stored this instance's own `era`: no earlier era is trusted any more.
    pub(super) fn proclaim(&self, era: Era) {
        let mut state = self.0.lock();
        state.trusted.clear();
        state.trusted.push_back(era);
        state.current = era;
    }

    /// Notes that this instance has read `purge`: if it is a new one, no earlier era is trusted any
    /// more. Returns whether any era is trusted; if not, the current one must be
    /// [read](Eras::see) next.
    pub(super) fn see_purge(&self, purge: Era) -> bool {
        let mut state = self.0.lock();
        if state.purge != Some(purge) {
            let position = state.trusted.iter().position(|era| *era == purge);
            let earlier = position.unwrap_or(state.trusted.len());
            state.trusted.drain(..earlier);
            state.purge = Some(purge);
        }
        !state.trusted.is_empty()
    }

    /// Notes that this instance has read `era` since it proclaimed its own. Returns whether that era is
    /// new.
    pub(super) fn see(&self, era: Era) -> bool {
        let mut state = self.0.lock();
        state.current = era;
        let is_new = !state.trusted.contains(&era);
        if is_new {
            if state.trusted.len() >= REMEMBERED {
                state.trusted.pop_front();
            }
            state.trusted.push_back(era);
        }
        is_new
    }

    /// Whether a generation that carries `era` was made since this instance proclaimed its own era.
    pub(super) fn is_trusted(&self, era: Era) -> bool {
        // The latest eras are the most likely ones.
        self.0
            .lock()
            .trusted
            .iter()
            .rev()
            .any(|trusted| *trusted == era)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eras_since_the_own_one_are_trusted_and_earlier_ones_are_not() {
        let eras = Eras::new();
        assert!(!eras.is_trusted(eras.current()), "nothing is known yet");
        let [before, own, later] = [(); 3].map(|()| Era::random());
        eras.proclaim(before);
        eras.proclaim(own);
        eras.see(later);
        assert!(!eras.is_trusted(before) && eras.is_trusted(own) && eras.is_trusted(later));
        assert_eq!(eras.current(), later);
    }

    #[test]
    fn a_purge_is_noticed_once_and_everything_from_before_it_is_forgotten() {
        let eras = Eras::new();
        let [own, seen, purge, later] = [(); 4].map(|()| Era::random());
        eras.proclaim(own);
        eras.see(seen);
        eras.see(purge);
        eras.see(later);
        assert!(eras.see_purge(purge));
        assert!(!eras.is_trusted(own) && !eras.is_trusted(seen));
        assert!(eras.is_trusted(purge) && eras.is_trusted(later));
        eras.see(own);
        assert!(eras.see_purge(purge));
        assert!(eras.is_trusted(own), "the purge is not a new one");
    }

    #[test]
    fn a_purge_whose_era_was_not_read_may_be_an_old_one_and_is_not_trusted_itself() {
        let eras = Eras::new();
        let [own, purge] = [(); 2].map(|()| Era::random());
        eras.proclaim(own);
        for _ in 0..2 {
            assert!(!eras.see_purge(purge), "until an era is read");
            assert!(!eras.is_trusted(own) && !eras.is_trusted(purge));
        }
        assert!(
            eras.see(own),
            "which is the current one, and so later than the purge"
        );
        assert!(eras.see_purge(purge) && eras.is_trusted(own));
    }

    #[test]
    fn a_bounded_number_is_remembered() {
        let eras = Eras::new();
        let own = Era::random();
        eras.proclaim(own);
        for _ in 0..REMEMBERED {
            eras.see(Era::random());
        }
        assert!(!eras.is_trusted(own) && eras.is_trusted(eras.current()));
        assert_eq!(eras.0.lock().trusted.len(), REMEMBERED);
    }
}
