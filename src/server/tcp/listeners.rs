//! The listening sockets: opening them, and closing them without losing a client that has connected.

use std::{
    io,
    net::{Shutdown, SocketAddr},
    time::Duration,
};

use actix_web::dev::ServerHandle;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::time::{sleep, timeout};

use super::addresses::cannot_listen;
use crate::{server::error::StartError, settings::Settings};

/// How many connections may wait to be accepted; Linux allows 4096 unless it is told otherwise.
const BACKLOG: i32 = 2_048;

/// How long a client that has begun to connect may take to complete it: a round trip between a load
/// balancer and this machine.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_millis(25);

/// How long connections that are complete may wait to be accepted: longer than a busy machine takes.
/// Those that `server.max_connections` keeps waiting are given up then.
const ACCEPT_TIMEOUT: Duration = Duration::from_secs(1);

/// How often the service looks whether all of them were accepted.
const ACCEPT_POLL_INTERVAL: Duration = Duration::from_millis(5);

/// How long the web server's accepting thread may take to pause, since it does not tell when it has.
/// If it is later, it logs an error, and nothing else goes wrong.
const PAUSE_TIME: Duration = Duration::from_millis(25);

/// A listening socket.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) socket: Socket,
    /// The address with the port that was taken.
    pub(super) address: SocketAddr,
    /// Whether its clients are administrators.
    pub(super) is_for_admins: bool,
}

/// The listening sockets. The web server accepts connections from copies of them.
#[derive(Debug)]
pub(in crate::server) struct Listeners(Vec<Listener>);

impl Listeners {
    /// Takes those of `addresses` that can be listened on, of which there must be one, and
    /// `auth.admin_listen`, if it is set. No client can connect yet.
    pub(in crate::server) fn bind(
        addresses: &[SocketAddr],
        settings: &Settings,
    ) -> Result<Self, StartError> {
        let mut listeners = Vec::new();
        let mut failure = io::Error::other("the host has no address");
        for &address in addresses {
            match bind(address, false) {
                Ok(listener) => listeners.push(listener),
                Err(error) => failure = error,
            }
        }
        if listeners.is_empty() {
            return Err(cannot_listen(settings, failure));
        }
        if let Some(address) = settings.auth.admin_listen {
            let listener = bind(address, true)
                .map_err(|source| StartError::AdminListen { address, source })?;
            listeners.push(listener);
        }
        Ok(Self(listeners))
    }

    /// Lets clients connect.
    pub(in crate::server) fn listen(&self, settings: &Settings) -> Result<(), StartError> {
        for listener in &self.0 {
            let listening = listener.socket.listen(BACKLOG);
            listening.map_err(|source| {
                if listener.is_for_admins {
                    let address = listener.address;
                    StartError::AdminListen { address, source }
                } else {
                    cannot_listen(settings, source)
                }
            })?;
        }
        Ok(())
    }

    /// The addresses for everybody.
    pub(in crate::server) fn addresses(&self) -> Vec<SocketAddr> {
        let for_everybody = self.0.iter().filter(|listener| !listener.is_for_admins);
        for_everybody.map(|listener| listener.address).collect()
    }

    /// The address for administrators.
    pub(in crate::server) fn admin_address(&self) -> Option<SocketAddr> {
        let for_admins = self.0.iter().find(|listener| listener.is_for_admins);
        for_admins.map(|listener| listener.address)
    }

    /// Copies of the sockets, to accept connections from.
    pub(super) fn copies(&self) -> io::Result<Vec<Listener>> {
        let copies = self.0.iter().map(|listener| {
            Ok(Listener {
                socket: listener.socket.try_clone()?,
                ..*listener
            })
        });
        copies.collect()
    }

    /// Has the `servers` accept every client that has connected, and then refuses all others, as if nobody
    /// listened.
    ///
    /// The kernel completes connections by itself. If a listening socket is simply closed, the kernel
    /// resets those that have not been accepted yet. Their clients may have sent a request already,
    /// and a load balancer must not send it to another instance if it writes something. So first the
    /// kernel drops whatever begins a connection, then those under way are completed and accepted, and
    /// only then the sockets are closed.
    pub(in crate::server) async fn close(self, servers: &[ServerHandle]) {
        for listener in &self.0 {
            if let Err(error) = drop_new_connections(&listener.socket) {
                log::debug!("clients that connect just now may be disconnected: {error}");
            }
        }
        sleep(HANDSHAKE_TIMEOUT).await;
        let all_accepted = async {
            for listener in &self.0 {
                while is_anybody_waiting(&listener.socket) {
                    sleep(ACCEPT_POLL_INTERVAL).await;
                }
            }
        };
        // Past the limit the rest are disconnected.
        let _ = timeout(ACCEPT_TIMEOUT, all_accepted).await;
        for server in servers {
            server.pause().await;
        }
        sleep(PAUSE_TIME).await;
        for listener in &self.0 {
            // Linux can end the listening of all copies of a socket. Elsewhere it ends when the web
            // server drops its copy.
            let _ = listener.socket.shutdown(Shutdown::Read);
        }
    }
}

fn bind(address: SocketAddr, is_for_admins: bool) -> io::Result<Listener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // Connections of a process that listened here before may not have expired yet.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    let taken = socket.local_addr()?.as_socket();
    Ok(Listener {
        address: taken.ok_or_else(|| io::Error::other("it has no port"))?,
        socket,
        is_for_admins,
    })
}

/// Whether a connection is complete and has not been accepted yet.
fn is_anybody_waiting(socket: &Socket) -> bool {
    let mut sockets = [PollFd::new(socket, PollFlags::IN)];
    poll(&mut sockets, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
}

/// Has the kernel drop the packets that begin a connection. Those that complete one still pass, since
/// the client of each takes itself for connected.
///
/// Without this, clients are disconnected who connect while the accepting thread pauses, and
/// `tests/cluster/rolling.rs` fails: a load balancer answers 502 to their writes.
#[cfg(target_os = "linux")]
fn drop_new_connections(socket: &Socket) -> io::Result<()> {
    use socket2::SockFilter;

    // `BPF_LD | BPF_B | BPF_ABS`, `BPF_JMP | BPF_JSET | BPF_K` and `BPF_RET | BPF_K`
    const LOAD_BYTE: u16 = 0x30;
    const SKIP_NEXT_UNLESS_SET: u16 = 0x45;
    const RETURN_KEPT_LENGTH: u16 = 0x06;
    const FLAGS_OFFSET: u32 = 13;
    // All but the first packet of a connection have it.
    const ACK: u32 = 0x10;
    socket.attach_filter(&[
        SockFilter::new(LOAD_BYTE, 0, 0, FLAGS_OFFSET),
        SockFilter::new(SKIP_NEXT_UNLESS_SET, 0, 1, ACK),
        SockFilter::new(RETURN_KEPT_LENGTH, 0, 0, u32::MAX),
        SockFilter::new(RETURN_KEPT_LENGTH, 0, 0, 0),
    ])
}

#[cfg(not(target_os = "linux"))]
fn drop_new_connections(_socket: &Socket) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
