//! What Redis lacks of this instance's writes: fences that it has not raised, and invalidations that it
//! has not confirmed. Until it has them, or until every entry from before the write has expired, this
//! instance reads their tenants from the database.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use log::Level;
use parking_lot::Mutex;

use crate::tenant::TenantId;

/// Tenants that are remembered one by one. When there are more, this instance uses Redis for no tenant
/// until every entry from before has expired.
const MAX_TENANTS: usize = 10_000;

/// Undelivered invalidations that are remembered for one tenant. When there are more, the oldest is
/// forgotten: a later one serves as well, and its fence ends by itself.
const MAX_UNDELIVERED: usize = 64;

/// This instance's writes that run, or that Redis lacks something of.
#[derive(Debug)]
pub(super) struct PendingWrites {
    state: Mutex<PendingState>,
    /// How long an entry can be answered, stale answers included.
    entry_life: Duration,
}

#[derive(Debug, Default)]
struct PendingState {
    writes: HashMap<TenantId, Vec<Write>>,
    /// Until when Redis is used for no tenant, since there were more tenants than are remembered.
    overrun_until: Option<Instant>,
}

#[derive(Debug)]
struct Write {
    /// The id of its fence.
    fence: String,
    stage: Stage,
    /// Whether its fence was sent to Redis again after it had been raised.
    is_raised_again: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It runs, and its writer raises the fence or has raised it.
    Running,
    /// It runs, and Redis lacks its fence or may have lost it. The background raises the fence.
    Unraised,
    /// It ended then, and its writer delivers the invalidation.
    Delivering(Instant),
    /// It ended then, and its writer has gone on. The background delivers the invalidation.
    Undelivered(Instant),
}

impl Write {
    fn is_undelivered(&self) -> bool {
        matches!(self.stage, Stage::Undelivered(_))
    }
}

/// The fence of one write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WriteFence {
    pub(super) tenant: TenantId,
    pub(super) id: String,
}

/// How much Redis lacks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct PendingCounts {
    /// Tenants with an undelivered invalidation.
    pub(super) undelivered: usize,
    /// Tenants with an unraised fence.
    pub(super) unraised: usize,
    /// Whether there were more tenants than are remembered, so that Redis is used for none.
    pub(super) is_overrun: bool,
}

impl PendingState {
    fn write(&mut self, fence: &WriteFence) -> Option<&mut Write> {
        let mut writes = self.writes.get_mut(&fence.tenant)?.iter_mut();
        writes.find(|write| write.fence == fence.id)
    }

    fn remove(&mut self, fence: &WriteFence) {
        if let Some(writes) = self.writes.get_mut(&fence.tenant) {
            writes.retain(|write| write.fence != fence.id);
            if writes.is_empty() {
                self.writes.remove(&fence.tenant);
            }
        }
    }

    /// Forgets the writes from before which every entry has expired at `now`.
    fn remove_expired(&mut self, now: Instant, entry_life: Duration) {
        self.writes.retain(|_, writes| {
            writes.retain(|write| match write.stage {
                Stage::Undelivered(since) => now.duration_since(since) < entry_life,
                _ => true,
            });
            !writes.is_empty()
        });
    }

    fn fences(&self, is_wanted: impl Fn(&Write) -> bool) -> Vec<WriteFence> {
        let mut fences = Vec::new();
        for (tenant, writes) in &self.writes {
            fences.extend(
                writes
                    .iter()
                    .filter(|write| is_wanted(write))
                    .map(|write| WriteFence {
                        tenant: tenant.clone(),
                        id: write.fence.clone(),
                    }),
            );
        }
        fences
    }
}

impl PendingWrites {
    pub(super) fn new(entry_life: Duration) -> Self {
        Self {
            state: Mutex::default(),
            entry_life,
        }
    }

    /// Notes that a write is about to raise its `fence`.
    pub(super) fn start(&self, fence: &WriteFence) {
        let write = Write {
            fence: fence.id.clone(),
            stage: Stage::Running,
            is_raised_again: false,
        };
        let mut state = self.state.lock();
        let writes = state.writes.entry(fence.tenant.clone());
        writes.or_default().push(write);
    }

    /// Notes that the write goes on although its `fence` could not be raised. Others may read in Redis
    /// before the write has ended, so the background raises the fence when Redis is back.
    pub(super) fn not_raised(&self, fence: &WriteFence) {
        if let Some(write) = self.state.lock().write(fence) {
            write.stage = Stage::Unraised;
        }
    }

    /// Has the fences of all running writes raised again: Redis may have lost them.
    pub(super) fn raise_all_again(&self) {
        for write in self.state.lock().writes.values_mut().flatten() {
            if write.stage == Stage::Running {
                write.stage = Stage::Unraised;
                write.is_raised_again = true;
            }
        }
    }

    /// The fences that the background has to raise.
    pub(super) fn unraised(&self) -> Vec<WriteFence> {
        self.state
            .lock()
            .fences(|write| write.stage == Stage::Unraised)
    }

    /// Notes that Redis has raised the `fence`.
    pub(super) fn raised(&self, fence: &WriteFence) {
        if let Some(write) = self.state.lock().write(fence)
            && write.stage == Stage::Unraised
        {
            write.stage = Stage::Running;
        }
    }

    /// Notes that the write of that `fence` has ended and that its writer delivers the invalidation.
    /// Returns whether the background may have raised the fence again.
    pub(super) fn end(&self, fence: &WriteFence, now: Instant) -> bool {
        let mut state = self.state.lock();
        let Some(write) = state.write(fence) else {
            return true;
        };
        write.stage = Stage::Delivering(now);
        write.is_raised_again
    }

    /// Notes that Redis has replaced the tenant's generation and released the `fence`.
    pub(super) fn delivered(&self, fence: &WriteFence) {
        self.state.lock().remove(fence);
    }

    /// Leaves the invalidation of the write of that `fence` to the background.
    pub(super) fn not_delivered(&self, fence: &WriteFence, now: Instant) {
        let mut state = self.state.lock();
        if state.writes.len() > MAX_TENANTS {
            state.remove_expired(now, self.entry_life);
        }
        if state.writes.len() > MAX_TENANTS {
            state.overrun_until = Some(now + self.entry_life);
            state.remove(fence);
            return;
        }
        let Some(write) = state.write(fence) else {
            return;
        };
        let since = match write.stage {
            Stage::Delivering(since) => since,
            _ => now,
        };
        write.stage = Stage::Undelivered(since);
        if let Some(writes) = state.writes.get_mut(&fence.tenant)
            && writes.iter().filter(|write| write.is_undelivered()).count() > MAX_UNDELIVERED
            && let Some(oldest) = writes.iter().position(Write::is_undelivered)
        {
            writes.remove(oldest);
        }
    }

    /// The fences of all writes whose invalidation the background has to deliver. Forgets those from
    /// before which every entry has expired.
    pub(super) fn undelivered(&self, now: Instant) -> Vec<WriteFence> {
        let mut state = self.state.lock();
        state.remove_expired(now, self.entry_life);
        state.fences(Write::is_undelivered)
    }

    /// Whether this instance must read `tenant` from the database.
    pub(super) fn must_bypass(&self, tenant: &TenantId, now: Instant) -> bool {
        let mut state = self.state.lock();
        if state.overrun_until.is_some_and(|until| now < until) {
            return true;
        }
        state.overrun_until = None;
        let mut writes = state.writes.get(tenant).into_iter().flatten();
        writes.any(|write| match write.stage {
            Stage::Running => false,
            Stage::Unraised => true,
            Stage::Delivering(since) | Stage::Undelivered(since) => {
                now.duration_since(since) < self.entry_life
            }
        })
    }

    /// How much Redis lacks at `now`.
    pub(super) fn counts(&self, now: Instant) -> PendingCounts {
        let state = self.state.lock();
        let tenants_with = |is_wanted: &dyn Fn(&Write) -> bool| {
            let of_tenants = state.writes.values();
            of_tenants
                .filter(|writes| writes.iter().any(is_wanted))
                .count()
        };
        PendingCounts {
            undelivered: tenants_with(&|write| match write.stage {
                Stage::Undelivered(since) => now.duration_since(since) < self.entry_life,
                _ => false,
            }),
            unraised: tenants_with(&|write| write.stage == Stage::Unraised),
            is_overrun: state.overrun_until.is_some_and(|until| now < until),
        }
    }
}

const UNDELIVERED: &str =
    "invalidations could not be delivered; their tenants are read from the database";
const DELIVERED: &str = "every pending invalidation was delivered, or its entries have expired";
const OVERRUN: &str =
    "more invalidations are pending than can be remembered; Redis is used for no tenant";
const OVERRUN_ENDED: &str =
    "used again for every tenant, since all entries from before have expired";

impl PendingCounts {
    /// What to log when these counts have become `now`.
    pub(super) fn changes(self, now: Self) -> impl Iterator<Item = (Level, &'static str)> {
        let undelivered = [self, now].map(|counts| counts.undelivered > 0);
        let overrun = [self, now].map(|counts| counts.is_overrun);
        let changes = [
            (undelivered, UNDELIVERED, DELIVERED),
            (overrun, OVERRUN, OVERRUN_ENDED),
        ];
        changes
            .into_iter()
            .filter_map(|(state, begun, ended)| match state {
                [false, true] => Some((Level::Warn, begun)),
                [true, false] => Some((Level::Info, ended)),
                _ => None,
            })
    }
}

#[cfg(test)]
mod tests;
