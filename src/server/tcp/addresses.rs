//! Which addresses the settings allow the service to listen on.

use std::{
    io,
    net::{SocketAddr, ToSocketAddrs},
};

use crate::{
    server::error::StartError,
    settings::{AuthMode, Settings},
};

/// The addresses of `server.host`. An address that other machines reach needs `auth.mode = "jwt"`, or
/// `auth.allow_anonymous`.
pub(in crate::server) fn host_addresses(
    settings: &Settings,
) -> Result<Vec<SocketAddr>, StartError> {
    let host = (settings.server.host.as_str(), settings.server.port);
    let addresses: Vec<_> = host
        .to_socket_addrs()
        .map_err(|source| cannot_listen(settings, source))?
        .collect();
    let is_open_to_all = settings.auth.mode == AuthMode::None && !settings.auth.allow_anonymous;
    if is_open_to_all && !addresses.iter().all(|address| address.ip().is_loopback()) {
        return Err(StartError::Anonymous {
            host: settings.server.host.clone(),
        });
    }
    Ok(addresses)
}

/// Why the service cannot listen on the addresses of `server.host`.
pub(super) fn cannot_listen(settings: &Settings, source: io::Error) -> StartError {
    StartError::Listen {
        host: settings.server.host.clone(),
        port: settings.server.port,
        source,
    }
}
