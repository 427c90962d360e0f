//! What Redis has yet to be told: tenants that were written to while it did not answer.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::tenant::TenantId;

/// Tenants remembered one by one. Past that, this instance uses Redis for nobody until every entry
/// from before has expired.
const MAX_TENANTS: usize = 10_000;

/// Fences remembered of one tenant. Past that, the oldest end by themselves.
const MAX_FENCES: usize = 64;

/// One debt per tenant. While it is there, this instance answers the tenant from the database; it
/// goes when Redis has been told, or when every entry from before has expired.
#[derive(Debug)]
pub(super) struct Owed {
    state: Mutex<State>,
    /// The lifetime of an entry, whole.
    life: Duration,
}

#[derive(Debug, Default)]
struct State {
    debts: HashMap<TenantId, Debt>,
    /// Fences of writes under way that could not be raised, or may have been lost since.
    missing: HashMap<TenantId, Vec<String>>,
    /// Writes under way, by their fence.
    writes: HashMap<String, Write>,
    numbers: u64,
    /// More tenants than could be remembered: nobody is believed until then.
    all_until: Option<Instant>,
}

#[derive(Debug)]
struct Write {
    tenant: TenantId,
    /// Whether its fence was asked for again after it had been raised.
    again: bool,
}

#[derive(Debug, Clone)]
pub(super) struct Debt {
    /// Tells a later debt of the same tenant from this one.
    pub(super) number: u64,
    /// The fences that go down with the new generation: those of all writes that could not tell.
    /// Any of them may have been raised by words that Redis read when it came back.
    pub(super) fences: Vec<String>,
    /// Whether the write has stopped trying to tell Redis itself.
    due: bool,
    /// Whether any write has, and so Redis has not been told when it could have been.
    late: bool,
    since: Instant,
}

impl State {
    fn lacks_no_more(&mut self, tenant: &TenantId, fence: &str) {
        if let Some(fences) = self.missing.get_mut(tenant) {
            fences.retain(|other| other != fence);
            if fences.is_empty() {
                self.missing.remove(tenant);
            }
        }
    }
}

/// Notes, once, that `fence` is to be raised.
fn lack(missing: &mut HashMap<TenantId, Vec<String>>, tenant: &TenantId, fence: &str) {
    let fences = missing.entry(tenant.clone()).or_default();
    if !fences.iter().any(|other| other == fence) {
        fences.push(fence.to_owned());
    }
}

impl Owed {
    pub(super) fn new(life: Duration) -> Self {
        Self {
            state: Mutex::default(),
            life,
        }
    }

    /// Notes that `tenant`'s generation must be replaced and its `fence` taken down; returns the
    /// debt's number. Its write tells Redis itself, or else calls [`Owed::leave`].
    pub(super) fn add(&self, tenant: &TenantId, fence: &str, now: Instant) -> u64 {
        let mut state = self.lock();
        state.numbers += 1;
        let number = state.numbers;
        if state.debts.len() >= MAX_TENANTS && !state.debts.contains_key(tenant) {
            state
                .debts
                .retain(|_, debt| now.duration_since(debt.since) < self.life);
        }
        if state.debts.len() >= MAX_TENANTS && !state.debts.contains_key(tenant) {
            state.all_until = Some(now + self.life);
        } else {
            let debt = state.debts.entry(tenant.clone()).or_insert_with(|| Debt {
                number,
                fences: Vec::new(),
                due: false,
                late: false,
                since: now,
            });
            if debt.fences.len() >= MAX_FENCES {
                debt.fences.remove(0);
            }
            debt.fences.push(fence.to_owned());
            (debt.number, debt.due, debt.since) = (number, false, now);
        }
        number
    }

    /// Leaves the debt with that number to be paid when Redis is back.
    pub(super) fn leave(&self, tenant: &TenantId, number: u64) {
        if let Some(debt) = self.lock().debts.get_mut(tenant)
            && debt.number == number
        {
            (debt.due, debt.late) = (true, true);
        }
    }

    /// Notes that a write to `tenant` is about to raise its `fence`.
    pub(super) fn begins(&self, tenant: &TenantId, fence: &str) {
        let write = Write {
            tenant: tenant.clone(),
            again: false,
        };
        self.lock().writes.insert(fence.to_owned(), write);
    }

    /// The write of that `fence` has ended, so it need not be raised any more. Whether it may have
    /// been asked for more than once.
    pub(super) fn ends(&self, fence: &str) -> bool {
        let mut state = self.lock();
        let Some(write) = state.writes.remove(fence) else {
            return false;
        };
        state.lacks_no_more(&write.tenant, fence);
        write.again
    }

    /// Redis may have lost every fence that stands: all are raised again.
    pub(super) fn raise_again(&self) {
        let mut state = self.lock();
        let State {
            writes, missing, ..
        } = &mut *state;
        for (fence, write) in writes {
            write.again = true;
            lack(missing, &write.tenant, fence);
        }
    }

    /// Notes that a write to `tenant` goes on although its `fence` could not be raised. It is raised
    /// when Redis is back: others may read there before the write has ended.
    pub(super) fn lacks(&self, tenant: &TenantId, fence: &str, now: Instant) {
        let mut state = self.lock();
        if state.missing.len() >= MAX_TENANTS && !state.missing.contains_key(tenant) {
            state.all_until = Some(now + self.life);
        } else {
            lack(&mut state.missing, tenant, fence);
        }
    }

    /// The fence stands.
    pub(super) fn lacks_no_more(&self, tenant: &TenantId, fence: &str) {
        self.lock().lacks_no_more(tenant, fence);
    }

    /// All fences that are still to be raised.
    pub(super) fn missing(&self) -> Vec<(TenantId, String)> {
        let state = self.lock();
        let fences = state.missing.iter().flat_map(|(tenant, fences)| {
            let of_tenant = |fence: &String| (tenant.clone(), fence.clone());
            fences.iter().map(of_tenant)
        });
        fences.collect()
    }

    /// Redis has been told, of the debt with that number and of `fence`. Other fences of the tenant
    /// are left to be taken down.
    pub(super) fn paid(&self, tenant: &TenantId, fence: &str, number: u64) {
        let mut state = self.lock();
        let Some(debt) = state.debts.get_mut(tenant) else {
            return;
        };
        debt.fences.retain(|other| other != fence);
        if debt.fences.is_empty() {
            state.debts.remove(tenant);
        } else if debt.number <= number {
            debt.due = true;
        }
    }

    /// Whether `tenant` must be answered from the database.
    pub(super) fn holds(&self, tenant: &TenantId, now: Instant) -> bool {
        let mut state = self.lock();
        if state.debts.is_empty() && state.missing.is_empty() && state.all_until.is_none() {
            return false;
        }
        if state.missing.contains_key(tenant) || state.all_until.is_some_and(|until| now < until) {
            return true;
        }
        state.all_until = None;
        state
            .debts
            .get(tenant)
            .is_some_and(|debt| now.duration_since(debt.since) < self.life)
    }

    /// All debts that are left to be paid; those whose entries have expired are let go.
    pub(super) fn left(&self, now: Instant) -> Vec<(TenantId, Debt)> {
        let mut state = self.lock();
        state
            .debts
            .retain(|_, debt| now.duration_since(debt.since) < self.life);
        state
            .debts
            .iter()
            .filter(|(_, debt)| debt.due)
            .map(|(tenant, debt)| (tenant.clone(), debt.clone()))
            .collect()
    }

    /// How many tenants are left to be delivered, how many are written to without a fence, and
    /// whether there were too many of either to remember.
    pub(super) fn sizes(&self, now: Instant) -> (usize, usize, bool) {
        let state = self.lock();
        let left = |debt: &&Debt| debt.late && now.duration_since(debt.since) < self.life;
        (
            state.debts.values().filter(left).count(),
            state.missing.len(),
            state.all_until.is_some_and(|until| now < until),
        )
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(30);

    fn tenant(name: &str) -> TenantId {
        TenantId::parse(name).unwrap()
    }

    #[test]
    fn a_debt_holds_until_it_is_paid() {
        let (owed, now) = (Owed::new(TTL), Instant::now());
        let number = owed.add(&tenant("a"), "f", now);
        assert!(owed.holds(&tenant("a"), now) && !owed.holds(&tenant("b"), now));
        owed.paid(&tenant("a"), "f", number);
        assert!(!owed.holds(&tenant("a"), now));
    }

    #[test]
    fn paying_an_older_debt_leaves_a_newer_one() {
        let (owed, now) = (Owed::new(TTL), Instant::now());
        let older = owed.add(&tenant("a"), "f", now);
        owed.add(&tenant("a"), "g", now);
        owed.paid(&tenant("a"), "f", older);
        assert!(owed.holds(&tenant("a"), now));
    }

    #[test]
    fn a_newer_write_that_tells_leaves_the_fences_of_older_ones_to_be_taken_down() {
        let (owed, now) = (Owed::new(TTL), Instant::now());
        let older = owed.add(&tenant("a"), "f", now);
        owed.leave(&tenant("a"), older);
        let newer = owed.add(&tenant("a"), "g", now);
        owed.paid(&tenant("a"), "g", newer);
        let left = owed.left(now);
        assert_eq!(left[0].1.fences, ["f"]);
        owed.paid(&tenant("a"), "f", left[0].1.number);
        assert!(!owed.holds(&tenant("a"), now));
    }

    #[test]
    fn writes_that_tell_in_another_order_than_they_came_owe_nothing() {
        let (owed, now) = (Owed::new(TTL), Instant::now());
        let older = owed.add(&tenant("a"), "f", now);
        let newer = owed.add(&tenant("a"), "g", now);
        owed.paid(&tenant("a"), "g", newer);
        owed.paid(&tenant("a"), "f", older);
        assert!(!owed.holds(&tenant("a"), now));
    }

    #[test]
    fn the_fences_of_a_tenant_are_bounded() {
        let (owed, now) = (Owed::new(TTL), Instant::now());
        let mut number = 0;
        for n in 0..=MAX_FENCES {
            number = owed.add(&tenant("a"), &format!("f{n}"), now);
        }
        owed.leave(&tenant("a"), number);
        let left = owed.left(now);
        assert_eq!(left[0].1.fences.len(), MAX_FENCES);
        assert_eq!(left[0].1.fences[0], "f1");
    }

    #[test]
    fn a_debt_is_left_once_its_write_no_longer_pays_it_itself() {
        let (owed, now) = (Owed::new(TTL), Instant::now());
        let older = owed.add(&tenant("a"), "f", now);
        let newer = owed.add(&tenant("a"), "g", now);
        owed.leave(&tenant("a"), older);
        assert!(owed.left(now).is_empty(), "the newer write still tries");
        assert_eq!(owed.sizes(now), (0, 0, false));
        owed.leave(&tenant("a"), newer);
        let left = owed.left(now);
        assert_eq!((left.len(), left[0].1.fences.join(" ")), (1, "f g".into()));
        assert_eq!(owed.sizes(now), (1, 0, false));
        assert_eq!(owed.sizes(now + TTL), (0, 0, false));
        assert!(owed.left(now + TTL).is_empty());
    }

    #[test]
    fn a_debt_is_let_go_once_every_entry_from_before_has_expired() {
        let (owed, now) = (Owed::new(TTL), Instant::now());
        owed.add(&tenant("a"), "f", now);
        assert!(!owed.holds(&tenant("a"), now + TTL));
    }

    #[test]
    fn a_fence_that_is_missing_holds_until_it_stands_or_its_write_has_ended() {
        let (owed, now) = (Owed::new(TTL), Instant::now());
        owed.lacks(&tenant("a"), "f", now);
        owed.lacks(&tenant("a"), "g", now);
        owed.lacks_no_more(&tenant("a"), "f");
        assert_eq!(owed.missing(), [(tenant("a"), "g".to_owned())]);
        assert_eq!(owed.sizes(now), (0, 1, false));
        assert!(owed.holds(&tenant("a"), now + TTL) && !owed.holds(&tenant("b"), now));
        owed.lacks_no_more(&tenant("a"), "g");
        assert!(!owed.holds(&tenant("a"), now));
        assert!(owed.left(now).is_empty(), "nothing was committed");
    }

    #[test]
    fn the_fences_of_writes_under_way_are_raised_again_and_those_of_others_are_not() {
        let (owed, now) = (Owed::new(TTL), Instant::now());
        owed.begins(&tenant("a"), "f");
        owed.begins(&tenant("b"), "g");
        assert!(!owed.ends("g") && !owed.holds(&tenant("a"), now));
        owed.raise_again();
        owed.raise_again();
        assert_eq!(owed.missing(), [(tenant("a"), "f".to_owned())]);
        assert!(owed.holds(&tenant("a"), now) && !owed.holds(&tenant("b"), now));
        owed.lacks_no_more(&tenant("a"), "f");
        assert!(owed.ends("f"), "words that raise it may be on their way");
        owed.raise_again();
        assert!(owed.missing().is_empty());
    }

    #[test]
    fn more_tenants_than_can_be_remembered_mean_that_nobody_is_believed_for_a_while() {
        let (owed, now) = (Owed::new(TTL), Instant::now());
        for n in 0..=MAX_TENANTS {
            owed.add(&tenant(&format!("t{n}")), "f", now);
        }
        assert!(owed.holds(&tenant("nobody"), now));
        assert!(owed.sizes(now).2 && !owed.sizes(now + TTL).2);
        assert!(!owed.holds(&tenant("nobody"), now + TTL));
    }

    #[test]
    fn what_was_left_stays_so_while_a_newer_write_tries_to_tell() {
        let (owed, now) = (Owed::new(TTL), Instant::now());
        let older = owed.add(&tenant("a"), "f", now);
        owed.leave(&tenant("a"), older);
        owed.add(&tenant("a"), "g", now);
        assert_eq!(owed.sizes(now), (1, 0, false));
    }

    #[test]
    fn writes_at_once_that_all_tell_leave_nothing_at_any_moment() {
        let (owed, now) = (Owed::new(TTL), Instant::now());
        owed.add(&tenant("a"), "f", now);
        let newer = owed.add(&tenant("a"), "g", now);
        owed.paid(&tenant("a"), "g", newer);
        assert_eq!(
            owed.sizes(now),
            (0, 0, false),
            "the older one is about to tell"
        );
    }
}
