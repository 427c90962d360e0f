//! What tells the service to stop.

use std::{future::poll_fn, io, task::Poll};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::error::StartError;

/// Tells the service to stop. Clones tell the same service.
#[derive(Debug, Clone, Default)]
pub struct StopSignal {
    stop: CancellationToken,
    skip_delay: CancellationToken,
}

impl StopSignal {
    /// The first SIGTERM, SIGINT or SIGHUP stops the service; the second one ends
    /// `server.drain_delay_seconds`.
    pub fn from_process_signals() -> Result<Self, StartError> {
        let mut kinds = vec![
            ("SIGTERM", SignalKind::terminate()),
            ("SIGINT", SignalKind::interrupt()),
        ];
        if !is_hang_up_ignored() {
            kinds.push(("SIGHUP", SignalKind::hangup()));
        }
        let signals = kinds
            .into_iter()
            .map(|(name, kind)| Ok((name, signal(kind)?)));
        let signals: io::Result<Vec<_>> = signals.collect();
        let mut signals = signals.map_err(StartError::Signals)?;
        let requests = Self::default();
        let Self { stop, skip_delay } = requests.clone();
        tokio::spawn(async move {
            // Not inside of the macro, which awaits nothing if the line is not logged.
            let first = next(&mut signals).await;
            log::info!("{first}: stopping");
            stop.cancel();
            let second = next(&mut signals).await;
            log::info!("{second}: without further delay");
            skip_delay.cancel();
        });
        Ok(requests)
    }

    /// Tells the service to stop.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Resolves when the service is told to stop.
    pub async fn stopped(&self) {
        self.stop.cancelled().await;
    }

    /// Resolves when the service is told not to wait for `server.drain_delay_seconds`.
    pub(super) async fn delay_skipped(&self) {
        self.skip_delay.cancelled().await;
    }
}

/// Waits for the next of `signals`; returns its name.
async fn next(signals: &mut [(&'static str, Signal)]) -> &'static str {
    poll_fn(|context| {
        let mut signals = signals.iter_mut();
        let received = signals
            .find_map(|(name, signal)| signal.poll_recv(context).is_ready().then_some(*name));
        received.map_or(Poll::Pending, Poll::Ready)
    })
    .await
}

/// Whether the service is to go on when its terminal is closed: then `nohup` has told the kernel to
/// ignore SIGHUP. Only Linux tells.
fn is_hang_up_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|signals| u64::from_str_radix(signals.trim(), 16).ok());
    // The lowest bit is that of signal 1, SIGHUP.
    ignored.is_some_and(|signals| signals & 1 == 1)
}
