//! Computing what dashboards poll before it expires. Lives here: what a poll asks for, and when it
//! is due. Not here: who polls (`cache::Warming`), or how an entry is renewed (`cache::ReadThrough`).
//!
//! One at a time, and only while nobody waits for a computation: warming takes from the database
//! what requests leave.

use std::{
    hash::{Hash, Hasher},
    sync::{
        Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use jiff::Timestamp;

use super::{service::StatsService, windows, zones::Zone};
use crate::{
    cache::{Refreshed, Warming},
    settings::CacheSettings,
    tenant::TenantId,
};

/// What is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    MegaStats,
    Summary,
}

impl Kind {
    /// What its keys begin with.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::MegaStats => "mega_stats",
            Self::Summary => "summary",
        }
    }
}

/// What a dashboard asks for again and again, whatever the day.
#[derive(Debug, Clone)]
pub(super) struct Poll {
    pub(super) kind: Kind,
    pub(super) tenant: TenantId,
    pub(super) zone: Zone,
}

// A zone is its name: all are looked up in one database.
impl PartialEq for Poll {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind
            && self.tenant == other.tenant
            && self.zone.name() == other.zone.name()
    }
}

impl Eq for Poll {}

impl Hash for Poll {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.kind, &self.tenant, self.zone.name()).hash(state);
    }
}

/// What warming has done since the start.
#[derive(Debug, Default)]
pub struct WarmingCounts {
    /// Entries computed anew.
    pub computed: AtomicU64,
    /// Entries that somebody else had computed meanwhile.
    pub young: AtomicU64,
    /// Times that it stood back: for requests, a write, another instance, or want of a cache.
    pub later: AtomicU64,
    /// Computations that failed.
    pub failed: AtomicU64,
}

/// The polls of late, and when each is due.
#[derive(Debug)]
pub(super) struct Warmer {
    polls: Warming<Poll>,
    /// The age at which an entry is computed anew.
    young: Duration,
    /// Between two looks at what is due.
    tick: Duration,
    pub(super) counts: WarmingCounts,
}

impl Warmer {
    /// At five sixths of its time to live an entry is computed anew: 25 s of 30.
    pub(super) fn new(settings: &CacheSettings) -> Self {
        let ahead = settings.ttl / 6;
        Self {
            polls: Warming::new(settings.warming.window, settings.max_entries),
            young: 5 * ahead,
            tick: (ahead / 8).clamp(Duration::from_millis(20), Duration::from_secs(1)),
            counts: WarmingCounts::default(),
        }
    }

    /// Notes that a client asked for `poll` at `now` and got an answer of that `age`.
    pub(super) fn read(&self, poll: &Poll, age: Duration, now: Timestamp) {
        self.polls.read(poll, || self.due(poll, age, now));
    }

    /// How many polls are kept warm.
    pub(super) fn count(&self) -> usize {
        self.polls.count()
    }

    /// When an entry of that `age` is to be computed anew: at the next midnight at the latest, when
    /// there is none yet.
    fn due(&self, poll: &Poll, age: Duration, now: Timestamp) -> Instant {
        let midnight = windows::two_days(now, poll.zone.rules()).today.end;
        let today = Duration::try_from(midnight.duration_since(now)).unwrap_or_default();
        Instant::now() + self.young.saturating_sub(age).min(today)
    }

    /// Computes anew what is due, until something is in the way.
    async fn warm(&self, service: &StatsService) {
        let now = Instant::now();
        while !service.is_busy()
            && let Some(poll) = self.polls.next(now)
        {
            let began = Instant::now();
            let refreshed = service.refresh(&poll, self.young).await;
            let (counter, age) = match &refreshed {
                Ok(Refreshed::Computed) => (&self.counts.computed, Some(began.elapsed())),
                Ok(Refreshed::Young { age }) => (&self.counts.young, Some(*age)),
                Ok(Refreshed::Later) => (&self.counts.later, None),
                Err(_) => (&self.counts.failed, None),
            };
            counter.fetch_add(1, Ordering::Relaxed);
            let again = age.map(|age| self.due(&poll, age, service.now()));
            self.polls
                .again(poll, again.unwrap_or_else(|| Instant::now() + self.tick));
            if let Err(error) = refreshed {
                log::debug!("warming: {error}");
                return;
            }
        }
    }
}

/// Keeps warm what the clients of `service` read, for as long as it is there.
pub async fn keep_warm(service: Weak<StatsService>) {
    let Some(warmer) = service.upgrade().and_then(|service| service.warmer()) else {
        return;
    };
    let mut ticks = tokio::time::interval(warmer.tick);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(service) = service.upgrade() else {
            return;
        };
        warmer.warm(&service).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{settings::Settings, stats::zones::Zones};

    #[test]
    fn by_default_an_entry_is_computed_anew_at_25_s_of_its_30() {
        let settings = Settings::default().cache;
        assert_eq!(settings.ttl, Duration::from_secs(30));
        let warmer = Warmer::new(&settings);
        assert_eq!(warmer.young, Duration::from_secs(25));
        // A look that comes late by a whole tick, and a computation as long, are still in time.
        assert!(warmer.young + 2 * warmer.tick < settings.ttl);
    }

    #[test]
    fn an_entry_is_due_once_it_is_old_and_at_the_next_midnight_at_the_latest() {
        let warmer = Warmer::new(&Settings::default().cache);
        let poll = Poll {
            kind: Kind::MegaStats,
            tenant: TenantId::parse("clinic").unwrap(),
            zone: Zones::bundled().get("America/Recife").unwrap(),
        };
        let (noon, night) = ("2025-10-31T15:00:00Z", "2025-11-01T02:59:53Z");
        for (age, now, wait) in [(0, noon, 25), (10, noon, 15), (40, noon, 0), (0, night, 7)] {
            let (age, wait) = (Duration::from_secs(age), Duration::from_secs(wait));
            let before = Instant::now();
            let due = warmer.due(&poll, age, now.parse().unwrap());
            assert!((before + wait..=Instant::now() + wait).contains(&due));
        }
    }
}
