//! How long a client may take to send a request, and to take its answer.
//!
//! actix itself limits only the first head of a connection and its idle time. Without further limits a
//! client that sends a byte now and then, or does not read, would keep its connection for ever.

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

use crate::metrics::{ConnectionGauge, OpenConnection};

/// How long a client may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct ClientTimeouts {
    /// From the first byte of a request's head to its last one. Also, to take an answer.
    pub(super) request: Duration,
    /// From an answer to the last byte of the next request's head.
    pub(super) idle: Duration,
}

/// A client's connection, which fails once the client has taken too long.
#[derive(Debug)]
pub(super) struct TimedStream {
    stream: TcpStream,
    timeouts: ClientTimeouts,
    in_progress: RequestsInProgress,
    /// When the head of the client's next request must be complete.
    request_deadline: Instant,
    /// Whether the first byte of it has come.
    is_request_begun: bool,
    /// When the client must have taken what was written, if some of it waits.
    answer_deadline: Option<Instant>,
    /// Wakes the connection's task at the next deadline, or earlier.
    timer: Pin<Box<Sleep>>,
    _counted: OpenConnection,
}

/// How many requests of a connection are in progress. While there is one, the client may be silent.
#[derive(Debug, Clone, Default)]
pub(in crate::server) struct RequestsInProgress(Rc<Cell<usize>>);

/// One of the [`RequestsInProgress`], until it is dropped.
#[derive(Debug)]
pub(in crate::server) struct RequestInProgress(RequestsInProgress);

impl RequestsInProgress {
    /// Counts one more.
    pub(in crate::server) fn begin(&self) -> RequestInProgress {
        self.0.set(self.0.get() + 1);
        RequestInProgress(self.clone())
    }
}

impl Drop for RequestInProgress {
    fn drop(&mut self) {
        let RequestsInProgress(count) = &self.0;
        count.set(count.get() - 1);
    }
}

impl TimedStream {
    /// `open` counts it until it is dropped.
    pub(super) fn new(stream: TcpStream, timeouts: ClientTimeouts, open: &ConnectionGauge) -> Self {
        let request_deadline = Instant::now() + timeouts.idle;
        Self {
            stream,
            timeouts,
            in_progress: RequestsInProgress::default(),
            request_deadline,
            is_request_begun: false,
            answer_deadline: None,
            timer: Box::pin(tokio::time::sleep_until(request_deadline)),
            _counted: open.open(),
        }
    }

    /// Counts the requests of this connection that are in progress.
    pub(super) fn requests_in_progress(&self) -> RequestsInProgress {
        self.in_progress.clone()
    }

    /// Fails if the client has taken too long. Otherwise wakes the connection's task at the next
    /// deadline, so that this is called again.
    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let RequestsInProgress(count) = &self.in_progress;
        let request_deadline = (count.get() == 0).then_some(self.request_deadline);
        let Some(next) = request_deadline
            .into_iter()
            .chain(self.answer_deadline)
            .min()
        else {
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

impl AsyncRead for TimedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        if let Poll::Ready(done) = Pin::new(&mut self.stream).poll_read(cx, buffer) {
            if buffer.filled().len() > before && !self.is_request_begun {
                self.is_request_begun = true;
                self.request_deadline = Instant::now() + self.timeouts.request;
            }
            return Poll::Ready(done);
        }
        self.check(cx)?;
        Poll::Pending
    }
}

impl AsyncWrite for TimedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let Poll::Ready(written) = Pin::new(&mut self.stream).poll_write(cx, bytes) {
            self.is_request_begun = false;
            self.request_deadline = Instant::now() + self.timeouts.idle;
            return Poll::Ready(written);
        }
        if self.answer_deadline.is_none() {
            self.answer_deadline = Some(Instant::now() + self.timeouts.request);
        }
        self.check(cx)?;
        Poll::Pending
    }

    /// Is called when all that waited has been written.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.answer_deadline = None;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
