//! A cache whose steps a test can hold up, to stand between two of them.

use std::{ops::Range, sync::Arc};

use async_trait::async_trait;
use megastats::{
    cache::{CacheError, Entry, Fence, Lookup, Permit, Released, StatsCache, StatsKey},
    tenant::TenantId,
};
use tokio::sync::watch;

use super::{server::Builder, within};

/// A step of the cache's work that can be held up just before it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The beginning of a lookup.
    LookUp,
    /// The end of a lookup: what it found is known, but its caller does not go on yet.
    LookedUp,
    /// The beginning of a store.
    Store,
    /// The beginning of a fence's raising.
    Fence,
    /// The end of a fence's raising: it is raised, but its writer does not go on yet.
    Fenced,
    /// The beginning of a release.
    Release,
}

const STEPS: usize = 6;

/// Holds the steps of a cache up, and counts them.
#[derive(Clone)]
pub struct Gate(Arc<watch::Sender<[Arrivals; STEPS]>>);

/// Does what `inner` does, but stops before the held steps.
struct Gated {
    inner: Arc<dyn StatsCache>,
    gate: Gate,
}

/// Everybody who arrives at a step gets a number, from 1.
#[derive(Debug, Default)]
struct Arrivals {
    count: usize,
    /// The numbers that do not pass.
    held: Vec<Range<usize>>,
}

impl Arrivals {
    fn holds(&self, number: usize) -> bool {
        self.held.iter().any(|held| held.contains(&number))
    }
}

impl Gate {
    /// Puts a gate around the cache of a service to be.
    pub fn before(service: Builder) -> (Builder, Self) {
        let gate = Self(Arc::new(watch::Sender::new(Default::default())));
        let within = gate.clone();
        let service = service.cache(|inner| {
            Arc::new(Gated {
                inner,
                gate: within,
            })
        });
        (service, gate)
    }

    /// From now on nobody passes `step`.
    pub fn hold(&self, step: Step) {
        self.change(step, |at| at.held.push(at.count + 1..usize::MAX));
    }

    /// Of those who arrive at `step` from now on, the `nth` does not pass; the first is 1.
    pub fn hold_nth(&self, step: Step, nth: usize) {
        self.change(step, |at| {
            let number = at.count + nth;
            at.held.push(number..number + 1);
        });
    }

    /// Everybody who waits before `step` goes on, and whoever comes later passes.
    pub fn open(&self, step: Step) {
        self.change(step, |at| at.held.clear());
    }

    /// Of those who wait before `step`, the one who came first goes on.
    pub fn let_one(&self, step: Step) {
        self.change(step, |at| {
            let first = at.held.iter_mut().filter(|held| held.start < held.end);
            let first = first.min_by_key(|held| held.start).unwrap();
            assert!(first.start <= at.count, "nobody waits before {step:?}");
            first.start += 1;
        });
    }

    /// Waits until `step` has been reached `times` times since the start, held up or not.
    pub async fn reached(&self, step: Step, times: usize) {
        let mut arrivals = self.0.subscribe();
        let reached = arrivals.wait_for(|steps| steps[step as usize].count >= times);
        within(&format!("{step:?} reached {times} times"), reached)
            .await
            .unwrap();
    }

    /// How often `step` has been reached since the start.
    pub fn arrivals(&self, step: Step) -> usize {
        self.0.borrow()[step as usize].count
    }

    fn change(&self, step: Step, change: impl FnOnce(&mut Arrivals)) {
        self.0
            .send_modify(|steps| change(&mut steps[step as usize]));
    }

    async fn pass(&self, step: Step) {
        let mut number = 0;
        self.change(step, |at| {
            at.count += 1;
            number = at.count;
        });
        self.0
            .subscribe()
            .wait_for(|steps| !steps[step as usize].holds(number))
            .await
            .unwrap();
    }
}

#[async_trait]
impl StatsCache for Gated {
    async fn look_up(&self, key: &StatsKey) -> Result<Lookup, CacheError> {
        self.gate.pass(Step::LookUp).await;
        let found = self.inner.look_up(key).await;
        self.gate.pass(Step::LookedUp).await;
        found
    }

    async fn store(&self, key: &StatsKey, permit: &Permit, entry: Entry) -> Result<(), CacheError> {
        self.gate.pass(Step::Store).await;
        self.inner.store(key, permit, entry).await
    }

    async fn fence(&self, tenant: &TenantId) -> Result<Fence, CacheError> {
        self.gate.pass(Step::Fence).await;
        let fence = self.inner.fence(tenant).await;
        self.gate.pass(Step::Fenced).await;
        fence
    }

    async fn release(&self, fence: Fence) -> Result<Released, CacheError> {
        self.gate.pass(Step::Release).await;
        self.inner.release(fence).await
    }

    async fn purge(&self) -> Result<(), CacheError> {
        self.inner.purge().await
    }
}
