//! Work that outlives the request that began it: a computation others wait for, a write whose
//! client went away. Lives here: starting it, and waiting for all of it when the service drains.

use std::{future::Future, time::Duration};

use tokio::{runtime::Handle, task::JoinHandle};
use tokio_util::task::TaskTracker;

/// Starts tasks on the service's runtime rather than on a web worker's, and knows which still run.
#[derive(Debug, Clone)]
pub struct Tasks {
    runtime: Handle,
    running: TaskTracker,
}

impl Tasks {
    /// Tasks will run on `runtime`.
    #[must_use]
    pub fn new(runtime: Handle) -> Self {
        Self {
            runtime,
            running: TaskTracker::new(),
        }
    }

    /// Starts `work`, which goes on when the returned handle is dropped.
    pub fn spawn<F>(&self, work: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.running.spawn_on(work, &self.runtime)
    }

    /// Starts `work` that ends by itself when nobody needs it, and that a drain does not wait for.
    pub fn background(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(work);
    }

    /// How many tasks run that a drain would wait for.
    #[must_use]
    pub fn running(&self) -> usize {
        self.running.len()
    }

    /// Waits until every task has ended, but no longer than `limit`; tells whether they have.
    pub async fn drain(&self, limit: Duration) -> bool {
        self.running.close();
        tokio::time::timeout(limit, self.running.wait())
            .await
            .is_ok()
    }
}
