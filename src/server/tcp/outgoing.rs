//! Small answers, which are written together at the end of a round. A round lasts until the thread has run
//! the tasks that could already run when its first answer was taken.
//!
//! Each write wakes a client, which costs more than making the answer. Where many are written one after
//! the other, a client on the same machine or a proxy is woken once for all of them.

use std::{
    cell::RefCell,
    io::{self, ErrorKind},
    mem,
    pin::Pin,
    rc::{Rc, Weak},
    task::{Context, Poll, Waker, ready},
};

use actix_web::rt;
use tokio::{io::AsyncWrite, net::tcp::OwnedWriteHalf};

/// The longest write that waits, in bytes. Each connection keeps a buffer of up to twice this size.
const LONGEST_WAITING: usize = 2048;

/// A round ends early once so many answers wait.
const MOST_TOGETHER: usize = 64;

thread_local! {
    /// The connections with an answer that waits for the end of this round. The first one to join starts the
    /// task that ends the round. That task always runs: a worker's thread has one runtime for its whole life.
    static ROUND: RefCell<Vec<Weak<RefCell<Outgoing>>>> = RefCell::default();
}

/// Where the answers of a connection are written to. What waits for the end of the round is written when
/// this is dropped, as far as it can be written at once.
#[derive(Debug)]
pub(super) struct AnswerWriter(Rc<RefCell<Outgoing>>);

#[derive(Debug)]
struct Outgoing {
    socket: OwnedWriteHalf,
    /// What waits to be written.
    waiting: Vec<u8>,
    /// Whether it waits for the end of the round only, and not for the client.
    is_in_round: bool,
    /// Wakes the connection's task, which goes on with what could not be written at the end of a round.
    task: Waker,
}

impl AnswerWriter {
    /// Writes to `socket`.
    pub(super) fn new(socket: OwnedWriteHalf) -> Self {
        Self(Rc::new(RefCell::new(Outgoing {
            socket,
            waiting: Vec::new(),
            is_in_round: false,
            task: Waker::noop().clone(),
        })))
    }

    /// Takes `bytes` if they `may_wait`, or writes some of them. It is pending while the client must
    /// first take others.
    pub(super) fn poll_write(
        &self,
        cx: &mut Context<'_>,
        bytes: &[u8],
        may_wait: bool,
    ) -> Poll<io::Result<usize>> {
        let mut outgoing = self.0.borrow_mut();
        if !may_wait || !outgoing.waiting.is_empty() || bytes.len() > LONGEST_WAITING {
            ready!(outgoing.poll_write_waiting(cx))?;
            return Pin::new(&mut outgoing.socket).poll_write(cx, bytes);
        }
        outgoing.waiting.extend_from_slice(bytes);
        outgoing.is_in_round = true;
        outgoing.task.clone_from(cx.waker());
        drop(outgoing);
        self.join_round();
        Poll::Ready(Ok(bytes.len()))
    }

    /// Ready if nothing waits for the client.
    pub(super) fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut outgoing = self.0.borrow_mut();
        if outgoing.is_in_round {
            return Poll::Ready(Ok(()));
        }
        outgoing.poll_write_waiting(cx)
    }

    /// Ends the connection once all was written.
    pub(super) fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut outgoing = self.0.borrow_mut();
        ready!(outgoing.poll_write_waiting(cx))?;
        Pin::new(&mut outgoing.socket).poll_shutdown(cx)
    }

    /// Whether the end of a round could not write all that had waited for it.
    pub(super) fn is_blocked(&self) -> bool {
        let outgoing = self.0.borrow();
        !outgoing.is_in_round && !outgoing.waiting.is_empty()
    }

    fn join_round(&self) {
        let count = ROUND.with_borrow_mut(|round| {
            round.push(Rc::downgrade(&self.0));
            round.len()
        });
        match count {
            // It runs after the tasks that can run already.
            1 => drop(rt::spawn(async { end_round() })),
            MOST_TOGETHER.. => end_round(),
            _ => {}
        }
    }
}

impl Drop for AnswerWriter {
    fn drop(&mut self) {
        self.0.borrow_mut().write_in_round();
    }
}

impl Outgoing {
    /// Writes all that waits.
    fn poll_write_waiting(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.is_in_round = false;
        while !self.waiting.is_empty() {
            match ready!(Pin::new(&mut self.socket).poll_write(cx, &self.waiting))? {
                0 => return Poll::Ready(Err(ErrorKind::WriteZero.into())),
                written => drop(self.waiting.drain(..written)),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Writes what it can of what waits for the end of the round. If something remains, the connection's
    /// task goes on with it, and learns there why it cannot be written.
    fn write_in_round(&mut self) {
        if !mem::take(&mut self.is_in_round) {
            return;
        }
        if let Ok(written) = self.socket.try_write(&self.waiting) {
            self.waiting.drain(..written);
        }
        if !self.waiting.is_empty() {
            self.task.wake_by_ref();
        }
    }
}

/// Writes the answers of this round.
fn end_round() {
    ROUND.with_borrow_mut(|round| {
        for outgoing in round.drain(..).filter_map(|outgoing| outgoing.upgrade()) {
            outgoing.borrow_mut().write_in_round();
        }
    });
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, io::Read as _, net, time::Duration};

    use actix_web::rt::net::{TcpListener, TcpStream};
    use futures_util::future::join_all;
    use socket2::SockRef;
    use tokio::{io::AsyncReadExt as _, net::tcp::OwnedReadHalf, time::timeout};

    use super::*;

    /// Whatever takes longer has failed.
    const MAX_WAIT: Duration = Duration::from_secs(30);

    /// Answers to a client, and the client.
    async fn connected() -> (OwnedReadHalf, AnswerWriter, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await;
        let (incoming, outgoing) = listener.accept().await.unwrap().0.into_split();
        outgoing.writable().await.unwrap();
        (incoming, AnswerWriter::new(outgoing), client.unwrap())
    }

    /// A client that reads while no task of this thread can run.
    fn blocking(client: TcpStream) -> net::TcpStream {
        let client = client.into_std().unwrap();
        client.set_nonblocking(false).unwrap();
        client.set_read_timeout(Some(MAX_WAIT)).unwrap();
        client
    }

    async fn write(answers: &AnswerWriter, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let written = poll_fn(|cx| answers.poll_write(cx, bytes, true)).await;
            bytes = &bytes[written.unwrap()..];
        }
    }

    #[actix_web::test]
    async fn a_client_that_reads_late_gets_all_answers_in_their_order() {
        let (_incoming, answers, mut client) = connected().await;
        let sent: Vec<Vec<u8>> = (0..20_000_u32)
            .map(|number| {
                number
                    .to_be_bytes()
                    .repeat(usize::try_from(number % 700).unwrap())
            })
            .collect();
        let expected = sent.concat();
        let answers = Rc::new(answers);
        let of_writer = Rc::clone(&answers);
        let writing = rt::spawn(async move {
            for answer in &sent {
                write(&of_writer, answer).await;
                poll_fn(|cx| of_writer.poll_flush(cx)).await.unwrap();
                // Most answers are followed by another in the same round, some are not.
                if answer.len() % 3 == 0 {
                    tokio::task::yield_now().await;
                }
            }
            poll_fn(|cx| of_writer.poll_shutdown(cx)).await.unwrap();
        });
        let reading = async {
            while !answers.is_blocked() {
                tokio::task::yield_now().await;
            }
            let mut read = Vec::new();
            client.read_to_end(&mut read).await.unwrap();
            read
        };
        let read = timeout(MAX_WAIT, reading).await.unwrap();
        writing.await.unwrap();
        assert!(read == expected);
    }

    #[actix_web::test]
    async fn the_connection_is_woken_and_fails_if_the_end_of_the_round_cannot_write_its_answer() {
        let (mut incoming, answers, client) = connected().await;
        SockRef::from(&client)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
        drop(client);
        incoming.peek(&mut [0]).await.unwrap_err();
        // A task of its own, which only its waker wakes.
        let failing = rt::spawn(async move {
            write(&answers, b"answer").await;
            let mut is_woken = false;
            let failure = poll_fn(|cx| {
                if mem::replace(&mut is_woken, true) {
                    return answers.poll_flush(cx);
                }
                Poll::Pending
            });
            failure.await.unwrap_err();
        });
        timeout(MAX_WAIT, failing).await.unwrap().unwrap();
    }

    #[actix_web::test]
    async fn an_answer_that_waits_is_written_at_the_end_of_the_round() {
        let (_incoming, answers, mut client) = connected().await;
        write(&answers, b"answer").await;
        poll_fn(|cx| answers.poll_flush(cx)).await.unwrap();
        let mut read = [0; 6];
        let reading = timeout(MAX_WAIT, client.read_exact(&mut read));
        reading.await.unwrap().unwrap();
        assert_eq!(&read, b"answer");
    }

    #[actix_web::test]
    async fn no_more_answers_wait_for_each_other_than_may() {
        let connected = join_all((0..=MOST_TOGETHER).map(|_| connected())).await;
        let (mut kept, mut clients) = (Vec::new(), Vec::new());
        for (incoming, answers, client) in connected {
            write(&answers, b"answer").await;
            kept.push((incoming, answers));
            clients.push(client);
        }
        let last = clients.pop().unwrap();
        for client in clients {
            let mut read = [0; 6];
            blocking(client).read_exact(&mut read).unwrap();
            assert_eq!(&read, b"answer");
        }
        let unread = last.try_read(&mut [0]).unwrap_err();
        assert_eq!(unread.kind(), ErrorKind::WouldBlock);
        last.readable().await.unwrap();
    }

    #[actix_web::test]
    async fn a_connection_that_is_dropped_writes_its_answer_and_ends_within_the_round() {
        let (incoming, answers, client) = connected().await;
        write(&answers, b"answer").await;
        drop((incoming, answers));
        let mut read = Vec::new();
        blocking(client).read_to_end(&mut read).unwrap();
        assert_eq!(read, b"answer");
        tokio::task::yield_now().await;
    }
}
