//! Where the service listens. Lives here: which addresses the settings allow. Not here: listening
//! (`door`).

use std::{
    io,
    net::{SocketAddr, ToSocketAddrs},
};

use super::StartError;
use crate::settings::{AuthMode, Settings};

/// The addresses of `server.host`. Whoever reaches another machine's address must need a token,
/// unless ops have said that nobody does.
pub(super) fn of_host(settings: &Settings) -> Result<Vec<SocketAddr>, StartError> {
    let host = (settings.server.host.as_str(), settings.server.port);
    let found = host.to_socket_addrs();
    let found: Vec<_> = found
        .map_err(|source| cannot_listen(settings, source))?
        .collect();
    let open = settings.auth.mode == AuthMode::None && !settings.auth.allow_anonymous;
    if open && !found.iter().all(|address| address.ip().is_loopback()) {
        return Err(StartError::Anonymous {
            host: settings.server.host.clone(),
        });
    }
    Ok(found)
}

/// Why the addresses of `server.host` cannot be listened on.
pub(super) fn cannot_listen(settings: &Settings, source: io::Error) -> StartError {
    StartError::Listen {
        host: settings.server.host.clone(),
        port: settings.server.port,
        source,
    }
}
