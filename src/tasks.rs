//! Work that outlives the request that began it: a computation that others wait for, a write whose
//! client has left. The service waits for all of it before it stops.

use std::{
    future::Future,
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::{
    runtime::Handle,
    task::JoinHandle,
    time::{MissedTickBehavior, interval},
};
use tokio_util::task::TaskTracker;

/// Starts tasks on the service's runtime, not on that of a web worker, and counts those that run.
#[derive(Debug, Clone)]
pub struct Tasks {
    /// Nothing if each task runs on the runtime that starts it.
    runtime: Option<Handle>,
    running: TaskTracker,
}

impl Tasks {
    /// Tasks will run on `runtime`.
    pub fn new(runtime: Handle) -> Self {
        Self {
            runtime: Some(runtime),
            running: TaskTracker::new(),
        }
    }

    /// Each task will run on the runtime that starts it, and end with it. Whoever waits for it there is woken
    /// without a system call.
    pub fn on_callers_runtime() -> Self {
        Self {
            runtime: None,
            running: TaskTracker::new(),
        }
    }

    /// Starts `work`, which goes on when the returned handle is dropped.
    pub fn spawn<F>(&self, work: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.running.spawn_on(work, &self.runtime())
    }

    /// Starts `work` that a drain does not wait for. It ends by itself when nobody needs it.
    pub fn background(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.runtime().spawn(work);
    }

    fn runtime(&self) -> Handle {
        self.runtime.clone().unwrap_or_else(Handle::current)
    }

    /// How many tasks run that a drain would wait for.
    pub fn running(&self) -> usize {
        self.running.len()
    }

    /// Waits until every task has ended, but no longer than `limit`. Returns whether all have ended.
    pub async fn drain(&self, limit: Duration) -> bool {
        self.running.close();
        tokio::time::timeout(limit, self.running.wait())
            .await
            .is_ok()
    }
}

/// Calls `work` with `owner` at once and then every `period`, until the owner is dropped. After a call
/// that took longer than that, the next one follows at once.
pub async fn repeat_while_alive<T>(
    owner: Weak<T>,
    period: Duration,
    mut work: impl AsyncFnMut(Arc<T>),
) {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(owner) = owner.upgrade() else {
            return;
        };
        work(owner).await;
    }
}
