//! A client's connection: what actix reads from it and writes to it, and when.
//!
//! actix reads for as long as there is something, decodes all of it, and lets answers that nobody
//! takes pile up. So it is handed one request at a time here, and nothing while an answer waits.

use std::{
    io,
    mem::{self, MaybeUninit},
    pin::Pin,
    task::{Context, Poll, ready},
};

use actix_web::rt::net::TcpStream;
use bytes::{Buf, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::tcp::OwnedReadHalf,
};

use super::{
    current::CurrentRequest,
    heads::Heads,
    outgoing::AnswerWriter,
    timeouts::{ClientTimeouts, Deadlines},
};
use crate::metrics::{ConnectionGauge, OpenConnection};

/// How many bytes are read at once, at most.
const READ_AT_ONCE: usize = 8 * 1024;

/// How many unread bytes are dropped before a connection is closed, at most.
const DROPPED_AT_END: usize = 16 * READ_AT_ONCE;

/// A client's connection, which fails once the client has taken too long.
#[derive(Debug)]
pub(super) struct Connection {
    incoming: OwnedReadHalf,
    answers: AnswerWriter,
    current: CurrentRequest,
    deadlines: Deadlines,
    heads: Heads,
    /// What was read ahead; without a buffer of its own while there is nothing.
    ahead: BytesMut,
    /// Whether actix got bytes in this poll that it has not decoded yet.
    has_undecoded_bytes: bool,
    /// Whether actix asked for bytes and got none, so that it has to be woken to ask again.
    wants_wake_up: bool,
    _counted: OpenConnection,
}

impl Connection {
    /// `open` counts it until it is dropped.
    pub(super) fn new(stream: TcpStream, timeouts: ClientTimeouts, open: &ConnectionGauge) -> Self {
        let (incoming, outgoing) = stream.into_split();
        Self {
            incoming,
            answers: AnswerWriter::new(outgoing),
            current: CurrentRequest::default(),
            deadlines: Deadlines::new(timeouts),
            heads: Heads::default(),
            ahead: BytesMut::new(),
            has_undecoded_bytes: false,
            wants_wake_up: false,
            _counted: open.open(),
        }
    }

    /// For what handles this connection's requests.
    pub(super) fn current(&self) -> CurrentRequest {
        self.current.clone()
    }

    /// Whether an answer waits for the client to take it.
    fn is_blocked(&self) -> bool {
        self.deadlines.is_blocked() || self.answers.is_blocked()
    }

    /// Fails if the client has taken too long. Otherwise the connection is polled again in time.
    fn check_deadlines(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.deadlines.check(self.current.is_in_progress(), cx)
    }

    /// An answer waits for the client to take it. Fails if the client has taken too long.
    fn wait_for_client(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.deadlines.blocked();
        self.check_deadlines(cx)
    }

    /// Reads what has arrived into `bytes`, which are none at the client's end.
    fn poll_stream(
        &mut self,
        bytes: &mut ReadBuf<'_>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.incoming).poll_read(cx, bytes);
        if read.is_pending() {
            self.check_deadlines(cx)?;
        }
        read
    }

    /// Whether the client has gone, which is noticed without reading from it.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut byte = [0];
        match ready!(self.incoming.poll_peek(cx, &mut ReadBuf::new(&mut byte)))? {
            0 => Poll::Ready(Ok(())),
            _ => Poll::Pending,
        }
    }

    /// Hands over as many of `bytes` as may be; returns their number.
    fn hand_over(&mut self, bytes: &mut [u8], buffer: &mut ReadBuf<'_>) -> usize {
        let fitting = bytes.len().min(buffer.remaining());
        let bytes = &mut bytes[..fitting];
        let count = self.heads.next_piece(bytes, self.current.is_head());
        if count > 0 {
            buffer.put_slice(&bytes[..count]);
            self.has_undecoded_bytes = true;
            self.current.received(count);
            self.deadlines.received();
        }
        count
    }

    /// As [`Connection::hand_over`], of what was read ahead.
    fn hand_over_ahead(&mut self, buffer: &mut ReadBuf<'_>) -> usize {
        let mut ahead = mem::take(&mut self.ahead);
        let count = self.hand_over(&mut ahead, buffer);
        ahead.advance(count);
        if !ahead.is_empty() {
            self.ahead = ahead;
        }
        count
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let is_blocked = this.is_blocked();
        if is_blocked || !this.current.wants_bytes() {
            this.wants_wake_up = true;
            this.check_deadlines(cx)?;
            if is_blocked || !this.ahead.is_empty() {
                return Poll::Pending;
            }
            return this.poll_gone(cx);
        }
        if !this.ahead.is_empty() {
            if this.has_undecoded_bytes {
                // More is handed over once actix has decoded what it has.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if this.hand_over_ahead(buffer) > 0 {
                return Poll::Ready(Ok(()));
            }
        }
        let mut bytes = [MaybeUninit::uninit(); READ_AT_ONCE];
        loop {
            let mut bytes = ReadBuf::uninit(&mut bytes);
            ready!(this.poll_stream(&mut bytes, cx))?;
            let is_end = bytes.filled().is_empty();
            if is_end {
                // The kept part of a line is all that will come of it.
                buffer.put_slice(&this.ahead);
                this.ahead = BytesMut::new();
                return Poll::Ready(Ok(()));
            }
            if this.has_undecoded_bytes {
                this.ahead.extend_from_slice(bytes.filled());
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let count = if this.ahead.is_empty() {
                let count = this.hand_over(bytes.filled_mut(), buffer);
                this.ahead.extend_from_slice(&bytes.filled()[count..]);
                count
            } else {
                this.ahead.extend_from_slice(bytes.filled());
                this.hand_over_ahead(buffer)
            };
            if count > 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.has_undecoded_bytes = false;
        // actix itself answers bytes that are no valid request, and closes the connection as soon as that
        // answer was taken: it must be written at once.
        let may_wait = self.current.is_answered();
        if let Poll::Ready(written) = self.answers.poll_write(cx, bytes, may_wait) {
            self.deadlines.written();
            return Poll::Ready(written);
        }
        self.wait_for_client(cx)?;
        Poll::Pending
    }

    /// actix calls this at the end of each of its polls in which all it wanted to write was taken. What
    /// waits for the end of the round counts as written. If it cannot be written there, `poll_read` hands
    /// over nothing more, and `poll_shutdown` waits, until the client has taken it.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.has_undecoded_bytes = false;
        if self.answers.poll_flush(cx)?.is_pending() {
            self.wait_for_client(cx)?;
            return Poll::Pending;
        }
        self.deadlines.flushed();
        if self.wants_wake_up && self.current.wants_bytes() {
            self.wants_wake_up = false;
            cx.waker().wake_by_ref();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let ended = self.answers.poll_shutdown(cx);
        if ended.is_pending() {
            self.wait_for_client(cx)?;
        }
        ended
    }
}

impl Drop for Connection {
    /// Were it closed with bytes that nobody has read, the kernel would reset it, and the client might
    /// lose its last answer.
    fn drop(&mut self) {
        let mut bytes = [0; READ_AT_ONCE];
        let mut dropped = 0;
        while dropped < DROPPED_AT_END {
            match self.incoming.try_read(&mut bytes) {
                Ok(count) if count > 0 => dropped += count,
                _ => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, future::ready, time::Duration};

    use actix_http::{HttpService, Request, Response};
    use actix_service::{Service as _, ServiceFactory as _, fn_service};
    use actix_web::rt::{self, net::TcpListener};
    use futures_util::FutureExt as _;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        task::yield_now,
        time::{Instant, timeout},
    };

    use super::{super::current::MOST_UNANSWERED, *};
    use crate::{metrics::Metrics, settings::CacheBackend};

    const TIMEOUTS: ClientTimeouts = ClientTimeouts {
        request: Duration::from_secs(30),
        idle: Duration::from_secs(75),
    };

    /// A connection, and its client.
    async fn connected() -> (Connection, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await;
        let (stream, _) = listener.accept().await.unwrap();
        let metrics = Metrics::new(CacheBackend::Memory);
        let connection = Connection::new(stream, TIMEOUTS, &metrics.requests.connections);
        (connection, client.unwrap())
    }

    /// Writes until the client must read. Returns how much it has to read.
    async fn fill(connection: &mut Connection) -> usize {
        let long = vec![0; 1024 * 1024];
        let mut filled = connection.write(&long).await.unwrap();
        while let Some(written) = connection.write(&long).now_or_never() {
            filled += written.unwrap();
        }
        connection.flush().await.unwrap();
        filled
    }

    #[actix_web::test]
    async fn what_was_sent_ahead_is_not_read_while_the_client_must_take_an_answer() {
        let (mut connection, mut client) = connected().await;
        let filled = fill(&mut connection).await;
        connection.write_all(b"answer").await.unwrap();
        connection.flush().await.unwrap();
        // The round ends.
        yield_now().await;
        client.write_all(b"GET").await.unwrap();
        connection.incoming.readable().await.unwrap();
        let mut head = [0; 3];
        assert!(connection.read(&mut head).now_or_never().is_none());
        let mut read = vec![0; filled + 6];
        let (_, flushed) = tokio::join!(client.read_exact(&mut read), connection.flush());
        flushed.unwrap();
        assert!(read.ends_with(b"answer"));
        connection.read_exact(&mut head).await.unwrap();
        assert_eq!(&head, b"GET");
    }

    #[actix_web::test]
    async fn what_actix_is_handed_before_it_answers_is_bounded() {
        let (mut connection, mut client) = connected().await;
        let sending = rt::spawn(async move { client.write_all(&vec![b'x'; 1024 * 1024]).await });
        let mut handed_over = 0;
        let mut buffer = [0; READ_AT_ONCE];
        while handed_over < MOST_UNANSWERED {
            handed_over += connection.read(&mut buffer).await.unwrap();
            connection.flush().await.unwrap();
        }
        connection.incoming.readable().await.unwrap();
        assert!(connection.read(&mut buffer).now_or_never().is_none());
        sending.abort();
    }

    #[actix_web::test]
    async fn a_client_that_reads_late_gets_the_answer_to_what_is_no_request() {
        let (mut connection, mut client) = connected().await;
        let filled = fill(&mut connection).await;
        client.write_all(b"GET / HTTP/9.9\r\n\r\n").await.unwrap();
        connection.incoming.readable().await.unwrap();
        let answer = |_: Request| ready(Ok::<_, Infallible>(Response::ok()));
        let http = HttpService::build().h1(fn_service(answer));
        let http = http.new_service(()).await.unwrap();
        drop(rt::spawn(http.call((connection, None))));
        // It is answered.
        for _ in 0..10 {
            yield_now().await;
        }
        let mut read = Vec::new();
        client.read_to_end(&mut read).await.unwrap();
        assert!(read[filled..].starts_with(b"HTTP/1.1 400 "));
        assert!(read.ends_with(b"\r\n\r\n"));
    }

    /// How long it takes until the client has taken too long. The clock leaps to the next timer.
    async fn time_until_failure<T>(waiting: impl Future<Output = io::Result<T>>) -> Duration {
        tokio::time::pause();
        let began = Instant::now();
        let ended = timeout(2 * TIMEOUTS.idle, waiting).await;
        let failure = ended.unwrap().err().unwrap();
        assert_eq!(failure.kind(), io::ErrorKind::TimedOut);
        // A timer ends up to a millisecond late.
        Duration::from_secs(began.elapsed().as_secs())
    }

    #[actix_web::test]
    async fn an_idle_connection_fails() {
        let (mut connection, _client) = connected().await;
        let time = time_until_failure(connection.read(&mut [0])).await;
        assert_eq!(time, TIMEOUTS.idle);
    }

    #[actix_web::test]
    async fn a_connection_whose_client_does_not_take_the_last_answer_fails() {
        let (mut connection, _client) = connected().await;
        fill(&mut connection).await;
        connection.write_all(b"answer").await.unwrap();
        let time = time_until_failure(connection.shutdown()).await;
        assert_eq!(time, TIMEOUTS.request);
    }
}
