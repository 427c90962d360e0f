//! Where clients come in. Lives here: listening, and ceasing to without turning anybody away who has
//! come in. Not here: when that is.

use std::{
    io,
    net::{Shutdown, SocketAddr},
    time::Duration,
};

use actix_web::dev::ServerHandle;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, Protocol, SockFilter, Socket, Type};

/// How many connections may wait to be accepted; Linux allows 4096 unless it is told otherwise.
const BACKLOG: i32 = 2_048;

/// How long connections that are there may take to be accepted once no further ones come: longer than
/// a busy machine takes, but those that `server.max_connections` keeps outside are not waited for.
const LAST_CALL: Duration = Duration::from_secs(1);

/// Between two looks at whether they have been.
const BETWEEN: Duration = Duration::from_millis(5);

/// How long the thread that accepts takes to notice that it is to stop, which it does not tell. If it
/// is later it complains, and no more.
const PAUSED: Duration = Duration::from_millis(25);

/// How long a handshake that has begun may take: as long as a packet to a load balancer and back.
const HANDSHAKE: Duration = Duration::from_millis(25);

/// Drops the packets that ask for a connection, and lets those pass that complete one: whoever was
/// answered believes to be in. The flags are byte 13 of the TCP header, and all but the first packet of
/// a connection have ACK, 0x10, among them.
const NOBODY_NEW: [SockFilter; 4] = [
    SockFilter::new(LOAD_BYTE, 0, 0, 13),
    SockFilter::new(SKIP_UNLESS_SET, 0, 1, 0x10),
    SockFilter::new(RETURN, 0, 0, u32::MAX),
    SockFilter::new(RETURN, 0, 0, 0),
];
/// `BPF_LD | BPF_B | BPF_ABS`
const LOAD_BYTE: u16 = 0x30;
/// `BPF_JMP | BPF_JSET | BPF_K`
const SKIP_UNLESS_SET: u16 = 0x45;
/// `BPF_RET | BPF_K`: how much of the packet is kept.
const RETURN: u16 = 0x06;

/// The listening sockets, beside the web server that accepts from them.
#[derive(Debug)]
pub(super) struct Door(Vec<Socket>);

impl Door {
    /// Listens at every one of a host's addresses that can be listened at; one must do.
    pub(super) fn open(addresses: &[SocketAddr]) -> io::Result<Self> {
        let mut sockets = Vec::new();
        let mut failed = io::Error::other("the host has no address");
        for &address in addresses {
            match listen(address) {
                Ok(socket) => sockets.push(socket),
                Err(error) => failed = error,
            }
        }
        if sockets.is_empty() {
            return Err(failed);
        }
        Ok(Self(sockets))
    }

    /// Listens at `address`, too; returns it with the port that was taken.
    pub(super) fn add(&mut self, address: SocketAddr) -> io::Result<SocketAddr> {
        let socket = listen(address)?;
        let taken = socket.local_addr()?.as_socket();
        self.0.push(socket);
        taken.ok_or_else(|| io::Error::other("it has no port"))
    }

    /// The sockets once more, for who accepts from them.
    pub(super) fn listeners(&self) -> io::Result<Vec<std::net::TcpListener>> {
        let copies = self.0.iter().map(Socket::try_clone);
        copies.map(|copy| copy.map(Into::into)).collect()
    }

    /// Accepts whoever is there, and nobody else: who comes later is refused, as if nobody listened.
    ///
    /// The kernel completes connections by itself. Were a socket merely closed, those that had not
    /// been accepted yet would be reset, perhaps with a request that was already sent on them, which
    /// a load balancer must not send again if it is a write.
    pub(super) async fn close(self, server: &ServerHandle) {
        for socket in &self.0 {
            if let Err(error) = socket.attach_filter(&NOBODY_NEW) {
                log::debug!("connections may be reset: {error}");
            }
        }
        tokio::time::sleep(HANDSHAKE).await;
        let accepted = async {
            while self.0.iter().any(somebody_waits) {
                tokio::time::sleep(BETWEEN).await;
            }
        };
        let _ = tokio::time::timeout(LAST_CALL, accepted).await;
        server.pause().await;
        tokio::time::sleep(PAUSED).await;
        for socket in &self.0 {
            // It listens until it is closed for good, if not now.
            let _ = socket.shutdown(Shutdown::Read);
        }
    }
}

/// Whether a connection has not been accepted yet.
fn somebody_waits(socket: &Socket) -> bool {
    let mut sockets = [PollFd::new(socket, PollFlags::IN)];
    poll(&mut sockets, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
}

fn listen(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // What a predecessor's connections leave behind is not in the way.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}
