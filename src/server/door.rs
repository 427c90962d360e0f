//! Where clients come in. Lives here: listening, and ceasing to without turning anybody away who has
//! come in. Not here: when that is.

use std::{
    io,
    net::{Shutdown, SocketAddr},
    time::Duration,
};

use actix_web::dev::ServerHandle;
use socket2::{Domain, Protocol, SockFilter, Socket, Type};

/// How many connections may wait to be accepted; Linux allows 4096 unless it is told otherwise.
const BACKLOG: i32 = 2_048;

/// How long connections that are there may take to be accepted once no further ones come, and again
/// the thread that accepts them to notice that it is to stop, which it does not tell.
const LAST_CALL: Duration = Duration::from_millis(25);

/// `BPF_RET | BPF_K` of nothing: every packet is dropped.
const DROP_ALL: [SockFilter; 1] = [SockFilter::new(0x06, 0, 0, 0)];

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
            if let Err(error) = socket.attach_filter(&DROP_ALL) {
                log::debug!("connections may be reset: {error}");
            }
        }
        tokio::time::sleep(LAST_CALL).await;
        server.pause().await;
        tokio::time::sleep(LAST_CALL).await;
        for socket in &self.0 {
            // It listens until it is closed for good, if not now.
            let _ = socket.shutdown(Shutdown::Read);
        }
    }
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
