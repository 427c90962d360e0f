//! Which invalidations Redis has not confirmed yet, so that this instance reads their tenants from the
//! database until Redis has them or until every entry from before the write has expired.

use std::{
    collections::HashMap,
    mem,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use log::Level;

use crate::tenant::TenantId;

/// Tenants that are remembered one by one. When there are more, this instance uses Redis for no tenant
/// until every entry from before has expired.
const MAX_TENANTS: usize = 10_000;

/// Fences that are remembered for one tenant. When there are more, the oldest end by themselves.
const MAX_FENCES: usize = 64;

/// The invalidations and the fences that Redis still lacks.
#[derive(Debug)]
pub(super) struct PendingInvalidations {
    state: Mutex<PendingState>,
    /// How long an entry can be answered, stale answers included.
    entry_life: Duration,
}

#[derive(Debug, Default)]
struct PendingState {
    /// At most one for each tenant.
    invalidations: HashMap<TenantId, PendingInvalidation>,
    /// Fences of running writes that Redis lacks, or may have lost.
    unraised: HashMap<TenantId, Vec<String>>,
    /// The running writes, by the ids of their fences.
    writes: HashMap<String, RunningWrite>,
    last_number: u64,
    /// Until when Redis is used for no tenant, since there were more tenants than are remembered.
    overrun_until: Option<Instant>,
}

#[derive(Debug)]
struct RunningWrite {
    tenant: TenantId,
    /// Whether its fence was sent to Redis again after it had been raised.
    is_raised_again: bool,
}

#[derive(Debug, Clone)]
pub(super) struct PendingInvalidation {
    /// Tells it from a later one of the same tenant.
    pub(super) number: u64,
    /// The fences to release together with the new generation: those of all writes whose invalidation
    /// was not delivered. A command that raises one of them may still reach Redis when it comes back.
    pub(super) fences: Vec<String>,
    /// Whether no writer tries to deliver it any more, so that the background has to.
    is_abandoned: bool,
    /// Whether a writer has gone on without delivering it.
    is_overdue: bool,
    since: Instant,
}

/// How much Redis still lacks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct PendingCounts {
    /// Tenants whose new generation a writer could not deliver.
    pub(super) undelivered: usize,
    /// Tenants that are being written to while Redis lacks the fence.
    pub(super) unfenced: usize,
    /// Whether there were more tenants than are remembered, so that Redis is used for none.
    pub(super) is_overrun: bool,
}

impl PendingState {
    fn remove_unraised(&mut self, tenant: &TenantId, fence: &str) {
        if let Some(fences) = self.unraised.get_mut(tenant) {
            fences.retain(|other| other != fence);
            if fences.is_empty() {
                self.unraised.remove(tenant);
            }
        }
    }
}

/// Notes once that `fence` has to be raised.
fn add_unraised(unraised: &mut HashMap<TenantId, Vec<String>>, tenant: &TenantId, fence: &str) {
    let fences = unraised.entry(tenant.clone()).or_default();
    if !fences.iter().any(|other| other == fence) {
        fences.push(fence.to_owned());
    }
}

impl PendingInvalidations {
    pub(super) fn new(entry_life: Duration) -> Self {
        Self {
            state: Mutex::default(),
            entry_life,
        }
    }

    /// Notes that the generation of `tenant` must be replaced and its `fence` released. Returns the
    /// number of the invalidation. The writer delivers it itself, or else calls
    /// [`PendingInvalidations::abandon`].
    pub(super) fn add(&self, tenant: &TenantId, fence: &str, now: Instant) -> u64 {
        let mut state = self.lock();
        state.last_number += 1;
        let number = state.last_number;
        let is_new = !state.invalidations.contains_key(tenant);
        if is_new && state.invalidations.len() >= MAX_TENANTS {
            state
                .invalidations
                .retain(|_, pending| now.duration_since(pending.since) < self.entry_life);
        }
        if is_new && state.invalidations.len() >= MAX_TENANTS {
            state.overrun_until = Some(now + self.entry_life);
            return number;
        }
        let pending = state
            .invalidations
            .entry(tenant.clone())
            .or_insert_with(|| PendingInvalidation {
                number,
                fences: Vec::new(),
                is_abandoned: false,
                is_overdue: false,
                since: now,
            });
        if pending.fences.len() >= MAX_FENCES {
            pending.fences.remove(0);
        }
        pending.fences.push(fence.to_owned());
        pending.number = number;
        pending.is_abandoned = false;
        pending.since = now;
        number
    }

    /// Leaves the invalidation with that number to the background, which delivers it when Redis
    /// answers again.
    pub(super) fn abandon(&self, tenant: &TenantId, number: u64) {
        if let Some(pending) = self.lock().invalidations.get_mut(tenant)
            && pending.number == number
        {
            pending.is_abandoned = true;
            pending.is_overdue = true;
        }
    }

    /// Notes that a write to `tenant` is about to raise its `fence`.
    pub(super) fn write_starts(&self, tenant: &TenantId, fence: &str) {
        let write = RunningWrite {
            tenant: tenant.clone(),
            is_raised_again: false,
        };
        self.lock().writes.insert(fence.to_owned(), write);
    }

    /// Notes that the write of that `fence` has ended, so that the fence need not be raised any more.
    /// Returns whether it may have been sent to Redis more than once.
    pub(super) fn write_ends(&self, fence: &str) -> bool {
        let mut state = self.lock();
        let Some(write) = state.writes.remove(fence) else {
            return false;
        };
        state.remove_unraised(&write.tenant, fence);
        write.is_raised_again
    }

    /// Has the fences of all running writes raised again: Redis may have lost them.
    pub(super) fn raise_all_again(&self) {
        let mut state = self.lock();
        let PendingState {
            writes, unraised, ..
        } = &mut *state;
        for (fence, write) in writes {
            write.is_raised_again = true;
            add_unraised(unraised, &write.tenant, fence);
        }
    }

    /// Notes that a write to `tenant` goes on although its `fence` could not be raised. The background
    /// raises it when Redis is back, since others may read there before the write has ended.
    pub(super) fn fence_not_raised(&self, tenant: &TenantId, fence: &str, now: Instant) {
        let mut state = self.lock();
        if state.unraised.len() >= MAX_TENANTS && !state.unraised.contains_key(tenant) {
            state.overrun_until = Some(now + self.entry_life);
        } else {
            add_unraised(&mut state.unraised, tenant, fence);
        }
    }

    /// Notes that Redis has raised the fence.
    pub(super) fn fence_raised(&self, tenant: &TenantId, fence: &str) {
        self.lock().remove_unraised(tenant, fence);
    }

    /// All fences that the background has to raise.
    pub(super) fn unraised_fences(&self) -> Vec<(TenantId, String)> {
        let state = self.lock();
        let fences = state.unraised.iter().flat_map(|(tenant, fences)| {
            let of_tenant = |fence: &String| (tenant.clone(), fence.clone());
            fences.iter().map(of_tenant)
        });
        fences.collect()
    }

    /// Notes that Redis has replaced the generation of `tenant` and released `fence`, for the
    /// invalidation with that number. Other fences of the tenant still have to be released.
    pub(super) fn delivered(&self, tenant: &TenantId, fence: &str, number: u64) {
        let mut state = self.lock();
        let Some(pending) = state.invalidations.get_mut(tenant) else {
            return;
        };
        pending.fences.retain(|other| other != fence);
        if pending.fences.is_empty() {
            state.invalidations.remove(tenant);
        } else if pending.number <= number {
            pending.is_abandoned = true;
        }
    }

    /// Whether this instance must read `tenant` from the database.
    pub(super) fn must_bypass(&self, tenant: &TenantId, now: Instant) -> bool {
        let mut state = self.lock();
        let is_empty = state.invalidations.is_empty() && state.unraised.is_empty();
        if is_empty && state.overrun_until.is_none() {
            return false;
        }
        let is_overrun = state.overrun_until.is_some_and(|until| now < until);
        if state.unraised.contains_key(tenant) || is_overrun {
            return true;
        }
        state.overrun_until = None;
        state
            .invalidations
            .get(tenant)
            .is_some_and(|pending| now.duration_since(pending.since) < self.entry_life)
    }

    /// All invalidations that the background has to deliver. Forgets those whose entries have expired.
    pub(super) fn abandoned(&self, now: Instant) -> Vec<(TenantId, PendingInvalidation)> {
        let mut state = self.lock();
        state
            .invalidations
            .retain(|_, pending| now.duration_since(pending.since) < self.entry_life);
        state
            .invalidations
            .iter()
            .filter(|(_, pending)| pending.is_abandoned)
            .map(|(tenant, pending)| (tenant.clone(), pending.clone()))
            .collect()
    }

    /// How much Redis lacks at `now`.
    pub(super) fn counts(&self, now: Instant) -> PendingCounts {
        let state = self.lock();
        let is_undelivered = |pending: &&PendingInvalidation| {
            pending.is_overdue && now.duration_since(pending.since) < self.entry_life
        };
        PendingCounts {
            undelivered: state.invalidations.values().filter(is_undelivered).count(),
            unfenced: state.unraised.len(),
            is_overrun: state.overrun_until.is_some_and(|until| now < until),
        }
    }

    fn lock(&self) -> MutexGuard<'_, PendingState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type LogLine = (Level, &'static str);

const DELIVERED: LogLine = (
    Level::Info,
    "every pending invalidation was delivered, or its entries have expired",
);
const UNDELIVERED: LogLine = (
    Level::Warn,
    "invalidations could not be delivered; their tenants are read from the database",
);
const OVERRUN_ENDED: LogLine = (
    Level::Info,
    "used again for every tenant, since all entries from before have expired",
);
const OVERRUN: LogLine = (
    Level::Warn,
    "more invalidations are pending than can be remembered; Redis is used for no tenant",
);

/// Logs each change of what is pending once.
#[derive(Debug, Default)]
pub(super) struct PendingLog {
    has_undelivered: bool,
    is_overrun: bool,
}

impl PendingLog {
    /// The lines to log now that these are the counts.
    pub(super) fn lines(&mut self, counts: PendingCounts) -> Vec<LogLine> {
        let mut lines = Vec::new();
        let has_undelivered = counts.undelivered > 0;
        if mem::replace(&mut self.has_undelivered, has_undelivered) != has_undelivered {
            lines.push(if has_undelivered {
                UNDELIVERED
            } else {
                DELIVERED
            });
        }
        if mem::replace(&mut self.is_overrun, counts.is_overrun) != counts.is_overrun {
            lines.push(if counts.is_overrun {
                OVERRUN
            } else {
                OVERRUN_ENDED
            });
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(30);

    fn counts(undelivered: usize, unfenced: usize) -> PendingCounts {
        PendingCounts {
            undelivered,
            unfenced,
            is_overrun: false,
        }
    }

    fn tenant(name: &str) -> TenantId {
        TenantId::parse(name).unwrap()
    }

    #[test]
    fn a_tenant_bypasses_the_cache_until_its_invalidation_is_delivered() {
        let (pending, now) = (PendingInvalidations::new(TTL), Instant::now());
        let number = pending.add(&tenant("a"), "f", now);
        assert!(pending.must_bypass(&tenant("a"), now) && !pending.must_bypass(&tenant("b"), now));
        pending.delivered(&tenant("a"), "f", number);
        assert!(!pending.must_bypass(&tenant("a"), now));
    }

    #[test]
    fn delivering_an_older_invalidation_leaves_a_newer_one_pending() {
        let (pending, now) = (PendingInvalidations::new(TTL), Instant::now());
        let older = pending.add(&tenant("a"), "f", now);
        pending.add(&tenant("a"), "g", now);
        pending.delivered(&tenant("a"), "f", older);
        assert!(pending.must_bypass(&tenant("a"), now));
    }

    #[test]
    fn a_newer_write_that_delivers_leaves_the_fences_of_older_ones_to_be_released() {
        let (pending, now) = (PendingInvalidations::new(TTL), Instant::now());
        let older = pending.add(&tenant("a"), "f", now);
        pending.abandon(&tenant("a"), older);
        let newer = pending.add(&tenant("a"), "g", now);
        pending.delivered(&tenant("a"), "g", newer);
        let abandoned = pending.abandoned(now);
        assert_eq!(abandoned[0].1.fences, ["f"]);
        pending.delivered(&tenant("a"), "f", abandoned[0].1.number);
        assert!(!pending.must_bypass(&tenant("a"), now));
    }

    #[test]
    fn writes_that_deliver_in_another_order_than_they_came_leave_nothing_pending() {
        let (pending, now) = (PendingInvalidations::new(TTL), Instant::now());
        let older = pending.add(&tenant("a"), "f", now);
        let newer = pending.add(&tenant("a"), "g", now);
        pending.delivered(&tenant("a"), "g", newer);
        pending.delivered(&tenant("a"), "f", older);
        assert!(!pending.must_bypass(&tenant("a"), now));
    }

    #[test]
    fn the_fences_of_a_tenant_are_bounded() {
        let (pending, now) = (PendingInvalidations::new(TTL), Instant::now());
        let mut number = 0;
        for n in 0..=MAX_FENCES {
            number = pending.add(&tenant("a"), &format!("f{n}"), now);
        }
        pending.abandon(&tenant("a"), number);
        let abandoned = pending.abandoned(now);
        assert_eq!(abandoned[0].1.fences.len(), MAX_FENCES);
        assert_eq!(abandoned[0].1.fences[0], "f1");
    }

    #[test]
    fn an_invalidation_is_abandoned_once_its_last_writer_gives_up() {
        let (pending, now) = (PendingInvalidations::new(TTL), Instant::now());
        let older = pending.add(&tenant("a"), "f", now);
        let newer = pending.add(&tenant("a"), "g", now);
        pending.abandon(&tenant("a"), older);
        assert!(
            pending.abandoned(now).is_empty(),
            "the newer write still tries"
        );
        assert_eq!(pending.counts(now), counts(0, 0));
        pending.abandon(&tenant("a"), newer);
        let abandoned = pending.abandoned(now);
        assert_eq!(
            (abandoned.len(), abandoned[0].1.fences.join(" ")),
            (1, "f g".into())
        );
        assert_eq!(pending.counts(now), counts(1, 0));
        assert_eq!(pending.counts(now + TTL), counts(0, 0));
        assert!(pending.abandoned(now + TTL).is_empty());
    }

    #[test]
    fn an_invalidation_is_forgotten_once_every_entry_from_before_has_expired() {
        let (pending, now) = (PendingInvalidations::new(TTL), Instant::now());
        pending.add(&tenant("a"), "f", now);
        assert!(!pending.must_bypass(&tenant("a"), now + TTL));
    }

    #[test]
    fn a_fence_that_is_not_raised_makes_reads_bypass_until_it_is_or_its_write_has_ended() {
        let (pending, now) = (PendingInvalidations::new(TTL), Instant::now());
        pending.fence_not_raised(&tenant("a"), "f", now);
        pending.fence_not_raised(&tenant("a"), "g", now);
        pending.fence_raised(&tenant("a"), "f");
        assert_eq!(pending.unraised_fences(), [(tenant("a"), "g".to_owned())]);
        assert_eq!(pending.counts(now), counts(0, 1));
        assert!(
            pending.must_bypass(&tenant("a"), now + TTL) && !pending.must_bypass(&tenant("b"), now)
        );
        pending.fence_raised(&tenant("a"), "g");
        assert!(!pending.must_bypass(&tenant("a"), now));
        assert!(pending.abandoned(now).is_empty(), "nothing was committed");
    }

    #[test]
    fn the_fences_of_writes_under_way_are_raised_again_and_those_of_others_are_not() {
        let (pending, now) = (PendingInvalidations::new(TTL), Instant::now());
        pending.write_starts(&tenant("a"), "f");
        pending.write_starts(&tenant("b"), "g");
        assert!(!pending.write_ends("g") && !pending.must_bypass(&tenant("a"), now));
        pending.raise_all_again();
        pending.raise_all_again();
        assert_eq!(pending.unraised_fences(), [(tenant("a"), "f".to_owned())]);
        assert!(pending.must_bypass(&tenant("a"), now) && !pending.must_bypass(&tenant("b"), now));
        pending.fence_raised(&tenant("a"), "f");
        assert!(
            pending.write_ends("f"),
            "a command that raises it may be on its way"
        );
        pending.raise_all_again();
        assert!(pending.unraised_fences().is_empty());
    }

    #[test]
    fn more_tenants_than_can_be_remembered_make_every_tenant_bypass_for_a_while() {
        let (pending, now) = (PendingInvalidations::new(TTL), Instant::now());
        for n in 0..=MAX_TENANTS {
            pending.add(&tenant(&format!("t{n}")), "f", now);
        }
        assert!(pending.must_bypass(&tenant("nobody"), now));
        assert!(pending.counts(now).is_overrun && !pending.counts(now + TTL).is_overrun);
        assert!(!pending.must_bypass(&tenant("nobody"), now + TTL));
    }

    #[test]
    fn what_is_overdue_stays_so_while_a_newer_write_tries_to_deliver() {
        let (pending, now) = (PendingInvalidations::new(TTL), Instant::now());
        let older = pending.add(&tenant("a"), "f", now);
        pending.abandon(&tenant("a"), older);
        pending.add(&tenant("a"), "g", now);
        assert_eq!(pending.counts(now), counts(1, 0));
    }

    #[test]
    fn concurrent_writes_that_all_deliver_are_overdue_at_no_moment() {
        let (pending, now) = (PendingInvalidations::new(TTL), Instant::now());
        pending.add(&tenant("a"), "f", now);
        let newer = pending.add(&tenant("a"), "g", now);
        pending.delivered(&tenant("a"), "g", newer);
        assert_eq!(
            pending.counts(now),
            counts(0, 0),
            "the older one is about to deliver"
        );
    }

    #[test]
    fn each_change_of_what_is_pending_is_logged_once() {
        let mut log = PendingLog::default();
        let overrun = |undelivered| PendingCounts {
            is_overrun: true,
            ..counts(undelivered, 0)
        };
        let steps: [(PendingCounts, &[LogLine]); 9] = [
            (counts(0, 1), &[]),
            (counts(1, 0), &[UNDELIVERED]),
            (counts(2, 0), &[]),
            (overrun(10_000), &[OVERRUN]),
            (overrun(10_000), &[]),
            (counts(1, 0), &[OVERRUN_ENDED]),
            (overrun(0), &[DELIVERED, OVERRUN]),
            (counts(0, 0), &[OVERRUN_ENDED]),
            (counts(0, 0), &[]),
        ];
        for (counts, lines) in steps {
            assert_eq!(log.lines(counts), lines, "{counts:?}");
        }
    }
}
