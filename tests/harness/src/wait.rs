//! Waiting for what must happen, without saying when: a wait in vain ends the test.

use std::{
    future::Future,
    time::{Duration, Instant},
};

/// Longer than anything here takes, on any machine.
pub const GUARD: Duration = Duration::from_secs(60);

/// How often a condition is looked at that cannot be waited for.
const BETWEEN: Duration = Duration::from_millis(5);

/// What `future` comes to.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let outcome = tokio::time::timeout(GUARD, future).await;
    outcome.unwrap_or_else(|_elapsed| panic!("waited in vain: {what}"))
}

/// Asks `probe` until it says yes.
pub async fn eventually(what: &str, mut probe: impl AsyncFnMut() -> bool) {
    let asked = async {
        while !probe().await {
            tokio::time::sleep(BETWEEN).await;
        }
    };
    within(what, asked).await;
}

/// Asks `probe`, on this thread, until it has an answer.
pub fn poll<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(answer) = probe() {
            return answer;
        }
        assert!(began.elapsed() < GUARD, "waited in vain: {what}");
        std::thread::sleep(BETWEEN);
    }
}
