//! Serving until the service is told to stop, and finishing what was accepted.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use actix_web::dev::Server;
use futures_util::future::{join_all, try_join_all};
use tokio::time::{sleep, timeout_at};

use super::{application::Application, error::StartError, signals::StopSignal};

/// How long requests may take to reach a worker that were sent before their client knew of the stop.
const ARRIVAL_TIME: Duration = Duration::from_millis(250);

impl Application {
    /// Serves until `stop` tells to stop, then drains:
    ///
    /// 1. `/readyz` answers 503, streams of events end, and every answer ends its connection, for
    ///    `server.drain_delay_seconds`: time for load balancers to send requests elsewhere.
    /// 2. New connections are refused.
    /// 3. Idle connections are closed, and requests in progress are answered.
    /// 4. Writes and computations are finished whose clients have gone.
    ///
    /// Steps 2 to 4 together have `server.shutdown_timeout_seconds`.
    ///
    /// # Errors
    /// The web server failed, or something was unfinished when the time was over.
    pub async fn run(self, stop: StopSignal) -> Result<(), StartError> {
        let Self {
            web_servers,
            listeners,
            tasks,
            stats: _,
            metrics,
            end_warming,
            end_streams,
            is_draining,
            drain_delay,
            drain_timeout,
        } = self;
        let handles: Vec<_> = web_servers.iter().map(Server::handle).collect();
        let mut served = try_join_all(web_servers);
        let before_drain = async {
            stop.stopped().await;
            is_draining.store(true, Ordering::Relaxed);
            end_streams.cancel();
            tokio::select! {
                () = sleep(drain_delay) => {}
                () = stop.delay_skipped() => {}
            }
        };
        tokio::select! {
            result = &mut served => return result.map(drop).map_err(StartError::Serve),
            () = before_drain => {}
        }

        let deadline = Instant::now() + drain_timeout;
        end_warming.cancel();
        let answer_all = async {
            listeners.close(&handles).await;
            sleep(ARRIVAL_TIME).await;
            join_all(handles.iter().map(|handle| handle.stop(true))).await;
        };
        let ended = async { tokio::join!(&mut served, answer_all).0 };
        let all_answered = match timeout_at(deadline.into(), ended).await {
            Ok(result) => {
                result.map_err(StartError::Serve)?;
                true
            }
            // Counted while the web server still has its requests. Other clients than those of
            // requests in progress have merely not read all of their answer.
            Err(_elapsed) => metrics.requests.in_flight.get() == 0,
        };

        let left = deadline.saturating_duration_since(Instant::now());
        if tasks.drain(left).await && all_answered {
            log::info!("stopped");
            Ok(())
        } else {
            Err(StartError::Unfinished(drain_timeout))
        }
    }
}
