//! Why the service did not start, or stopped.

use std::{io, net::SocketAddr, time::Duration};

use thiserror::Error;

use crate::{auth::keys::KeysError, cache::ClientSetUpError, db, stats::zones::ZonesError};

/// The service did not start, failed, or did not finish its work.
#[derive(Debug, Error)]
pub enum StartError {
    /// The database could not be opened.
    #[error("database.url: {url}: {source}")]
    Database {
        /// The database, without secrets.
        url: String,
        /// Why not.
        source: db::OpenError,
    },
    /// The time zones could not be read.
    #[error("stats.tzdb: {0}")]
    Zones(#[from] ZonesError),
    /// The cache's settings do not fit.
    #[error("cache.redis: {0}")]
    Cache(#[from] ClientSetUpError),
    /// The address could not be listened on.
    #[error("server.host, server.port: cannot listen on {host}:{port}: {source}")]
    Listen {
        /// `server.host`.
        host: String,
        /// `server.port`.
        port: u16,
        /// Why not.
        source: io::Error,
    },
    /// Everybody on other machines would have access, and `auth.allow_anonymous` does not allow that.
    #[error(
        "auth.allow_anonymous: server.host {host} is reached from other machines, and auth.mode \
         \"none\" lets everybody in: set auth.mode to \"jwt\", listen on a loopback address, or set \
         auth.allow_anonymous to true"
    )]
    Anonymous {
        /// `server.host`.
        host: String,
    },
    /// The address for administrators could not be listened on.
    #[error("auth.admin_listen: cannot listen on {address}: {source}")]
    AdminListen {
        /// `auth.admin_listen`.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// The keys that tokens are checked with cannot be used.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The signals that stop the service could not be listened for.
    #[error("cannot listen for signals: {0}")]
    Signals(io::Error),
    /// What was accepted took longer than `server.shutdown_timeout_seconds`.
    #[error("stopped with work unfinished after {0:?}")]
    Unfinished(Duration),
    /// The web server failed while it served.
    #[error("the server failed: {0}")]
    Serve(io::Error),
}
