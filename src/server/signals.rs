//! Being told to stop, by SIGTERM or SIGINT. Not here: stopping.

use std::future::{self, Future};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::oneshot,
};

use super::StartError;

/// The first SIGTERM or SIGINT, and the second.
pub(super) fn stop_and_hurry() -> Result<(impl Stop, impl Stop), StartError> {
    let mut signals = Signals {
        terminate: signal(SignalKind::terminate()).map_err(StartError::Signals)?,
        interrupt: signal(SignalKind::interrupt()).map_err(StartError::Signals)?,
    };
    let (hand_over, handed) = oneshot::channel();
    let first = async move {
        // Not within the macro, which awaits nothing where the line is not logged.
        let signal = signals.next().await;
        log::info!("{signal}: stopping");
        // Whoever stopped by other means waits for no second one.
        let _ = hand_over.send(signals);
    };
    let second = async move {
        match handed.await {
            Ok(mut signals) => {
                let signal = signals.next().await;
                log::info!("{signal}: without further delay");
            }
            Err(_) => future::pending().await,
        }
    };
    Ok((first, second))
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// Resolves when the service is to stop.
pub(super) trait Stop: Future<Output = ()> + Send + 'static {}
impl<F: Future<Output = ()> + Send + 'static> Stop for F {}
