//! What tells the service to stop.

use std::future::pending;

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
        let mut signals = ProcessSignals {
            terminate: signal(SignalKind::terminate()).map_err(StartError::Signals)?,
            interrupt: signal(SignalKind::interrupt()).map_err(StartError::Signals)?,
            hang_up: if is_hang_up_ignored() {
                None
            } else {
                Some(signal(SignalKind::hangup()).map_err(StartError::Signals)?)
            },
        };
        let requests = Self::default();
        let Self { stop, skip_delay } = requests.clone();
        tokio::spawn(async move {
            // Not inside of the macro, which awaits nothing if the line is not logged.
            let first = signals.next().await;
            log::info!("{first}: stopping");
            stop.cancel();
            let second = signals.next().await;
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

struct ProcessSignals {
    terminate: Signal,
    interrupt: Signal,
    /// None if the service was started by `nohup`.
    hang_up: Option<Signal>,
}

impl ProcessSignals {
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
            () = received(self.hang_up.as_mut()) => "SIGHUP",
        }
    }
}

async fn received(signal: Option<&mut Signal>) {
    match signal {
        Some(signal) => {
            signal.recv().await;
        }
        None => pending().await,
    }
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
