//! A client's connection. Lives here: how long the client may take over its part. Not here: what is
//! said on it (actix), and how long the service takes.
//!
//! actix itself limits only the first head of a connection and its idle time: with no limit here a
//! client that sends a byte now and then, or reads nothing, would keep its place for ever.

use std::{
    cell::Cell,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use actix_web::rt::net::TcpStream;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep},
};

use crate::metrics::{Connections, OpenConnection};

/// How long clients may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// From the first byte of what becomes a request until it is one, and to take an answer.
    pub(super) request: Duration,
    /// From an answer until the next request is one.
    pub(super) idle: Duration,
}

/// A connection that fails once its client has taken too long.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    patience: Patience,
    handling: Handling,
    /// When the client's next request must be there.
    request_by: Instant,
    /// Whether a part of it is.
    begun: bool,
    /// When what was written must have been taken, if some of it waits.
    taken_by: Option<Instant>,
    /// Wakes the connection's task at the next of these, or earlier.
    timer: Pin<Box<Sleep>>,
    _counted: OpenConnection,
}

/// How many requests of a connection are being handled: meanwhile its client need not say anything.
#[derive(Debug, Clone, Default)]
pub(super) struct Handling(Rc<Cell<usize>>);

/// A request that is being handled, until it is dropped.
#[derive(Debug)]
pub(super) struct Handled(Handling);

impl Handling {
    /// A request begins to be handled.
    pub(super) fn begin(&self) -> Handled {
        self.0.set(self.0.get() + 1);
        Handled(self.clone())
    }
}

impl Drop for Handled {
    fn drop(&mut self) {
        let Handling(count) = &self.0;
        count.set(count.get() - 1);
    }
}

impl Connection {
    /// It is one of the `open` ones until it is dropped.
    pub(super) fn new(stream: TcpStream, patience: Patience, open: &Connections) -> Self {
        let request_by = Instant::now() + patience.idle;
        Self {
            stream,
            patience,
            handling: Handling::default(),
            request_by,
            begun: false,
            taken_by: None,
            timer: Box::pin(tokio::time::sleep_until(request_by)),
            _counted: open.open(),
        }
    }

    /// To be told which requests are being handled.
    pub(super) fn handling(&self) -> Handling {
        self.handling.clone()
    }

    /// Fails if the client has taken too long; otherwise sees to it that this is asked again.
    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let Handling(count) = &self.handling;
        let request_by = (count.get() == 0).then_some(self.request_by);
        let Some(next) = request_by.into_iter().chain(self.taken_by).min() else {
            return Ok(());
        };
        loop {
            if self.timer.as_mut().poll(cx).is_ready() {
                if Instant::now() >= next {
                    return Err(io::ErrorKind::TimedOut.into());
                }
            } else if self.timer.deadline() <= next {
                return Ok(());
            }
            self.timer.as_mut().reset(next);
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        if let Poll::Ready(done) = Pin::new(&mut self.stream).poll_read(cx, buffer) {
            if buffer.filled().len() > before && !self.begun {
                self.begun = true;
                self.request_by = Instant::now() + self.patience.request;
            }
            return Poll::Ready(done);
        }
        self.check(cx)?;
        Poll::Pending
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let Poll::Ready(written) = Pin::new(&mut self.stream).poll_write(cx, bytes) {
            self.begun = false;
            self.request_by = Instant::now() + self.patience.idle;
            return Poll::Ready(written);
        }
        if self.taken_by.is_none() {
            self.taken_by = Some(Instant::now() + self.patience.request);
        }
        self.check(cx)?;
        Poll::Pending
    }

    /// Called once all that waits to be written was.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.taken_by = None;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
