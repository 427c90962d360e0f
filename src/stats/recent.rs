//! Remembers, for each worker, what recent requests asked for. A dashboard sends the same one again and
//! again, and to read its query takes longer than to find its entry in memory.

use std::{cell::RefCell, collections::HashMap, rc::Rc};

use ahash::RandomState;
use jiff::{SignedDuration, Timestamp};

use super::{
    polls::DatedPoll,
    windows::{self, Window},
};

/// How many targets a worker remembers at most. One more, and it starts anew.
const MAX_TARGETS: usize = 1_000;

/// The longest target that is kept, in bytes.
const LONGEST_TARGET: usize = 256;

/// How long a target is kept: the rules of a zone may change meanwhile.
const TARGET_LIFE: SignedDuration = SignedDuration::from_mins(1);

/// What requests ask for, by their targets: the path and the query. Each worker has its own.
#[derive(Debug, Default)]
pub(crate) struct RecentPolls(RefCell<HashMap<Box<str>, RecentPoll, RandomState>>);

#[derive(Debug)]
struct RecentPoll {
    poll: Rc<DatedPoll>,
    /// The moments at which the target asks for it.
    window: Window,
}

impl RecentPolls {
    /// What `target` asks for at `now`, if that was kept.
    pub(super) fn get(&self, target: &str, now: Timestamp) -> Option<Rc<DatedPoll>> {
        let polls = self.0.borrow();
        let recent = polls.get(target)?;
        recent.window.contains(now).then(|| Rc::clone(&recent.poll))
    }

    /// Keeps that `target` asks for `poll` at `now`.
    pub(super) fn keep(&self, target: &str, poll: &Rc<DatedPoll>, now: Timestamp) {
        if target.len() > LONGEST_TARGET {
            return;
        }
        let mut polls = self.0.borrow_mut();
        if polls.len() == MAX_TARGETS && !polls.contains_key(target) {
            polls.clear();
        }
        let date = windows::rest_of_date(now, poll.poll.zone.rules());
        let window = date.intersect(Window {
            start: now,
            end: now + TARGET_LIFE,
        });
        let poll = Rc::clone(poll);
        polls.insert(target.into(), RecentPoll { poll, window });
    }
}

#[cfg(test)]
mod tests {
    use super::{super::polls::Statistic, *};
    use crate::{
        stats::{polls::Poll, zones::Zones},
        tenant::TenantId,
    };

    fn kept(recent: &RecentPolls, target: &str, now: &str) {
        let now = now.parse().unwrap();
        let poll = Poll {
            statistic: Statistic::MegaStats,
            tenant: TenantId::parse("clinic").unwrap(),
            zone: Zones::bundled().get("America/Recife").unwrap(),
        };
        recent.keep(target, &Rc::new(DatedPoll::new(poll, now)), now);
    }

    #[test]
    fn a_target_is_known_for_a_minute_of_its_day() {
        let recent = RecentPolls::default();
        let key = |now: &str| {
            let poll = recent.get("/a?b", now.parse().unwrap())?;
            Some(poll.key.as_str().to_owned())
        };
        kept(&recent, "/a?b", "2025-11-01T02:59:30Z");
        let first = "mega_stats:clinic:America/Recife:2025-10-31";
        assert_eq!(key("2025-11-01T02:59:59Z").as_deref(), Some(first));
        assert_eq!(key("2025-11-01T02:59:29Z"), None, "the clock was set back");
        assert_eq!(key("2025-11-01T03:00:00Z"), None, "it is another day");
        kept(&recent, "/a?b", "2025-11-01T03:00:00Z");
        let second = "mega_stats:clinic:America/Recife:2025-11-01";
        assert_eq!(key("2025-11-01T03:00:59Z").as_deref(), Some(second));
        assert_eq!(key("2025-11-01T03:01:00Z"), None, "a minute has passed");
        assert!(
            recent
                .get("/a?c", "2025-11-01T03:00:00Z".parse().unwrap())
                .is_none()
        );
    }

    #[test]
    fn a_flood_of_targets_is_bounded() {
        let recent = RecentPolls::default();
        kept(
            &recent,
            &"x".repeat(LONGEST_TARGET + 1),
            "2025-10-31T12:00:00Z",
        );
        assert_eq!(recent.0.borrow().len(), 0);
        for number in 0..3 * MAX_TARGETS {
            kept(&recent, &number.to_string(), "2025-10-31T12:00:00Z");
            assert!(recent.0.borrow().len() <= MAX_TARGETS);
        }
    }
}
