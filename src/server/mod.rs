//! The service as a whole.
//!
//! | file | what lives there |
//! |---|---|
//! | `application` | building the service: the database, the cache, the routes, the listening sockets |
//! | `drain` | serving until the service is told to stop, and finishing what was accepted |
//! | `signals` | what tells the service to stop |
//! | `app` | the routes, and what every request passes through |
//! | `access_log` | what is noted of each request: its line in the log, its id |
//! | `request_metrics` | counting requests by route, method and status |
//! | `pieces` | long answers |
//! | `scrape` | which figures of other modules the metrics show |
//! | `tcp` | the sockets |
//! | `error` | why the service did not start, or stopped |

mod access_log;
mod app;
mod application;
mod drain;
mod error;
mod pieces;
mod request_metrics;
mod scrape;
mod signals;
mod tcp;

use std::sync::Arc;

use tokio::runtime::Handle;

use crate::{cache, clock::SystemClock, settings::Settings, tasks::Tasks};

pub use self::{application::Application, error::StartError, signals::StopSignal};

/// Serves until `stop` tells to stop, then drains. `started` is called once clients can connect.
///
/// # Errors
/// The service could not start, failed while it served, or could not finish its work in time.
pub async fn run(
    settings: Settings,
    stop: StopSignal,
    started: impl FnOnce(&Application),
) -> Result<(), StartError> {
    raise_descriptor_limit(settings.server.max_connections, settings.database.pool_size);
    let is_fresh_to_itself_only = settings.is_fresh_to_itself_only();
    let clock = Arc::new(SystemClock);
    let tasks = Tasks::new(Handle::current());
    let cache = cache::from_settings(&settings.cache, clock.clone(), &tasks)?;
    let application = tokio::select! {
        application = Application::build(settings, clock, cache, tasks) => application?,
        // No client has connected yet. The database undoes a migration whose session ends.
        () = stop.stopped() => return Ok(()),
    };
    if is_fresh_to_itself_only {
        log::warn!(
            "cache.backend: memory with a PostgreSQL database: instances hear of each \
             other's writes, but not at once; use redis for more than one"
        );
    }
    started(&application);
    application.run(stop).await
}

/// File descriptors that are not connections: those of the database, the log and the runtime.
const OTHER_DESCRIPTORS: usize = 100;

/// Without a free descriptor the service could neither accept a connection nor open its database.
fn raise_descriptor_limit(max_connections: usize, pool_size: u32) {
    // A connection to SQLite has three files open: the database, its log and its index.
    let connections = max_connections + tcp::ADMIN_CONNECTIONS;
    let needed = (connections + OTHER_DESCRIPTORS) as u64 + 3 * u64::from(pool_size);
    match rlimit::increase_nofile_limit(needed) {
        Ok(limit) if limit >= needed => {}
        Ok(limit) => log::warn!(
            "server.max_connections: {max_connections} connections need {needed} file descriptors, \
             and the machine allows {limit}"
        ),
        Err(error) => log::warn!(
            "server.max_connections: the limit of file descriptors cannot be read: {error}"
        ),
    }
}
