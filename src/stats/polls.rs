//! What dashboards poll, and when each poll is due to be computed anew.

use std::{
    fmt::Display,
    hash::{Hash, Hasher},
    time::{Duration, Instant},
};

use jiff::Timestamp;

use super::{windows, zones::Zone};
use crate::{
    cache::{StatsKey, Warming},
    settings::CacheSettings,
    tenant::TenantId,
};

/// A statistic that is cached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Statistic {
    MegaStats,
    Summary,
    Days,
}

impl Statistic {
    /// The first segment of its keys.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::MegaStats => "mega_stats",
            Self::Summary => "summary",
            Self::Days => "days",
        }
    }
}

/// What a dashboard asks for again and again, whatever the day.
#[derive(Debug, Clone)]
pub(super) struct Poll {
    pub(super) statistic: Statistic,
    pub(super) tenant: TenantId,
    pub(super) zone: Zone,
}

// A zone is its name: all are looked up in one database.
impl PartialEq for Poll {
    fn eq(&self, other: &Self) -> bool {
        self.statistic == other.statistic
            && self.tenant == other.tenant
            && self.zone.name() == other.zone.name()
    }
}

impl Eq for Poll {}

impl Hash for Poll {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.statistic, &self.tenant, self.zone.name()).hash(state);
    }
}

/// A poll on one local date, and the key of its entry.
#[derive(Debug)]
pub(super) struct DatedPoll {
    pub(super) poll: Poll,
    pub(super) key: StatsKey,
}

impl DatedPoll {
    /// `poll` at `now`. Every window follows from the local date, so the date stands for them in the key;
    /// at midnight the key is another.
    pub(super) fn new(poll: Poll, now: Timestamp) -> Self {
        let date = windows::local_date(now, poll.zone.rules());
        let segments: [&dyn Display; 2] = [&poll.zone.name(), &date];
        let key = StatsKey::new(poll.statistic.name(), &poll.tenant, &segments);
        Self { poll, key }
    }
}

/// The polls of the last while, and when each is due.
#[derive(Debug)]
pub(super) struct Polls {
    /// The polls that are kept warm, by when they are due.
    pub(super) warming: Warming<Poll>,
    /// The age at which an entry is computed anew.
    pub(super) refresh_age: Duration,
    /// The time between two looks at what is due.
    pub(super) tick: Duration,
}

impl Polls {
    /// At five sixths of its time to live an entry is computed anew: 25 s of 30.
    pub(super) fn new(settings: &CacheSettings) -> Self {
        let ahead = settings.ttl / 6;
        Self {
            warming: Warming::new(settings.warming.window, settings.max_entries),
            refresh_age: 5 * ahead,
            tick: (ahead / 8).clamp(Duration::from_millis(20), Duration::from_secs(1)),
        }
    }

    /// Notes that a client asked for `poll` at `now` and got an answer of that `age`.
    pub(super) fn note_read(&self, poll: &Poll, age: Duration, now: Timestamp) {
        self.warming.note_read(poll, || self.due(poll, age, now));
    }

    /// When the entry of `poll`, which has that `age` at `now`, is to be computed anew: at the next
    /// midnight at the latest, since the new day has no entry yet.
    pub(super) fn due(&self, poll: &Poll, age: Duration, now: Timestamp) -> Instant {
        let midnight = windows::two_days(now, poll.zone.rules()).today.end;
        let today = Duration::try_from(midnight.duration_since(now)).unwrap_or_default();
        Instant::now() + self.refresh_age.saturating_sub(age).min(today)
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
        let polls = Polls::new(&settings);
        assert_eq!(polls.refresh_age, Duration::from_secs(25));
        // A look that comes late by a whole tick, and a computation as long, are still in time.
        assert!(polls.refresh_age + 2 * polls.tick < settings.ttl);
    }

    #[test]
    fn an_entry_is_due_once_it_is_old_and_at_the_next_midnight_at_the_latest() {
        let polls = Polls::new(&Settings::default().cache);
        let poll = Poll {
            statistic: Statistic::MegaStats,
            tenant: TenantId::parse("clinic").unwrap(),
            zone: Zones::bundled().get("America/Recife").unwrap(),
        };
        let (noon, night) = ("2025-10-31T15:00:00Z", "2025-11-01T02:59:53Z");
        for (age, now, wait) in [(0, noon, 25), (10, noon, 15), (40, noon, 0), (0, night, 7)] {
            let (age, wait) = (Duration::from_secs(age), Duration::from_secs(wait));
            let before = Instant::now();
            let due = polls.due(&poll, age, now.parse().unwrap());
            assert!((before + wait..=Instant::now() + wait).contains(&due));
        }
    }
}
