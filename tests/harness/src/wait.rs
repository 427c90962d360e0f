//! Waiting for a condition, however long it takes on a slow machine; a wait in vain fails the test.

use std::{
    future::Future,
    time::{Duration, Instant},
};

/// How long a test waits at most: longer than anything takes, on any machine.
pub const MAX_WAIT: Duration = Duration::from_secs(120);

/// The time between two looks at a condition.
const BETWEEN: Duration = Duration::from_millis(5);

/// Awaits `future`, which must end within [`MAX_WAIT`].
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let outcome = tokio::time::timeout(MAX_WAIT, future).await;
    outcome.unwrap_or_else(|_elapsed| panic!("waited in vain: {what}"))
}

/// Calls `probe` until it returns true.
pub async fn eventually(what: &str, mut probe: impl AsyncFnMut() -> bool) {
    let asked = async {
        while !probe().await {
            tokio::time::sleep(BETWEEN).await;
        }
    };
    within(what, asked).await;
}

/// Calls `probe`, and blocks this thread, until it returns a value.
pub fn poll<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(answer) = probe() {
            return answer;
        }
        assert!(began.elapsed() < MAX_WAIT, "waited in vain: {what}");
        std::thread::sleep(BETWEEN);
    }
}
