//! What tells the service to stop.

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
    /// The first SIGTERM or SIGINT stops the service; the second one ends
    /// `server.drain_delay_seconds`.
    pub(super) fn from_process_signals() -> Result<Self, StartError> {
        let mut signals = ProcessSignals {
            terminate: signal(SignalKind::terminate()).map_err(StartError::Signals)?,
            interrupt: signal(SignalKind::interrupt()).map_err(StartError::Signals)?,
        };
        let told = Self::default();
        let Self { stop, skip_delay } = told.clone();
        tokio::spawn(async move {
            // Not inside of the macro, which awaits nothing if the line is not logged.
            let first = signals.next().await;
            log::info!("{first}: stopping");
            stop.cancel();
            let second = signals.next().await;
            log::info!("{second}: without further delay");
            skip_delay.cancel();
        });
        Ok(told)
    }

    /// Tells the service to stop.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Resolves when the service is told to stop.
    pub(super) async fn stopped(&self) {
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
}

impl ProcessSignals {
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
