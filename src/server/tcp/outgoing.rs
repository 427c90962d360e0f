//! Answers that wait for the end of their thread's turn, so that those of one turn are written together.
//!
//! Each write wakes a client, which costs more than making the answer. Where many are written one after
//! the other, a client on the same machine or a proxy is woken once for all of them.

use std::{
    cell::RefCell,
    io::{self, ErrorKind},
    mem,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker, ready},
};

use actix_web::rt;
use tokio::{io::AsyncWrite, net::tcp::OwnedWriteHalf};

/// A longer answer does not wait, in bytes. Each connection keeps a buffer of up to this size.
const LONGEST_WAITING: usize = 2048;

/// How many connections' answers wait for each other, at most.
const MOST_TOGETHER: usize = 64;

thread_local! {
    /// The connections with an answer that waits for the end of this turn.
    static TURN: RefCell<Vec<Rc<RefCell<Outgoing>>>> = RefCell::default();
}

/// Where the answers of a connection are written to.
#[derive(Debug)]
pub(super) struct AnswerWriter(Rc<RefCell<Outgoing>>);

#[derive(Debug)]
struct Outgoing {
    socket: OwnedWriteHalf,
    /// What waits to be written.
    waiting: Vec<u8>,
    /// Whether it waits for the end of the turn only, and not for the client.
    is_in_turn: bool,
    /// Wakes the connection's task, which goes on with what could not be written at the end of a turn.
    task: Waker,
}

impl AnswerWriter {
    /// Writes to `socket`.
    pub(super) fn new(socket: OwnedWriteHalf) -> Self {
        Self(Rc::new(RefCell::new(Outgoing {
            socket,
            waiting: Vec::new(),
            is_in_turn: false,
            task: Waker::noop().clone(),
        })))
    }

    /// Takes some of `bytes`, or writes them. It is pending while the client must first take others.
    pub(super) fn poll_write(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut outgoing = self.0.borrow_mut();
        if !outgoing.waiting.is_empty() || bytes.len() > LONGEST_WAITING {
            ready!(outgoing.poll_write_waiting(cx))?;
            return Pin::new(&mut outgoing.socket).poll_write(cx, bytes);
        }
        outgoing.waiting.extend_from_slice(bytes);
        outgoing.is_in_turn = true;
        outgoing.task.clone_from(cx.waker());
        drop(outgoing);
        self.join_turn();
        Poll::Ready(Ok(bytes.len()))
    }

    /// Ready if nothing waits for the client.
    pub(super) fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut outgoing = self.0.borrow_mut();
        if outgoing.is_in_turn {
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

    /// Writes what waits for the end of the turn at once, as far as it can be written.
    pub(super) fn write_now(&self) {
        self.0.borrow_mut().write_in_turn();
    }

    fn join_turn(&self) {
        let count = TURN.with_borrow_mut(|turn| {
            turn.push(Rc::clone(&self.0));
            turn.len()
        });
        match count {
            // It runs after the tasks that can run already.
            1 => drop(rt::spawn(async { end_turn() })),
            MOST_TOGETHER.. => end_turn(),
            _ => {}
        }
    }
}

impl Outgoing {
    /// Writes all that waits.
    fn poll_write_waiting(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.is_in_turn = false;
        while !self.waiting.is_empty() {
            match ready!(Pin::new(&mut self.socket).poll_write(cx, &self.waiting))? {
                0 => return Poll::Ready(Err(ErrorKind::WriteZero.into())),
                written => drop(self.waiting.drain(..written)),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Writes what it can of what waits for the end of the turn. If something remains, the connection's
    /// task goes on with it, and learns there why it cannot be written.
    fn write_in_turn(&mut self) {
        if !mem::take(&mut self.is_in_turn) {
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

/// Writes the answers of this turn.
fn end_turn() {
    TURN.with_borrow_mut(|turn| {
        for outgoing in turn.drain(..) {
            outgoing.borrow_mut().write_in_turn();
        }
    });
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, time::Duration};

    use actix_web::rt::net::{TcpListener, TcpStream};
    use socket2::SockRef;
    use tokio::{io::AsyncReadExt as _, net::tcp::OwnedReadHalf};

    use super::*;

    /// Answers to a client, and the client.
    async fn connected() -> (OwnedReadHalf, AnswerWriter, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await;
        let (incoming, outgoing) = listener.accept().await.unwrap().0.into_split();
        (incoming, AnswerWriter::new(outgoing), client.unwrap())
    }

    async fn write(answers: &AnswerWriter, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let written = poll_fn(|cx| answers.poll_write(cx, bytes)).await.unwrap();
            bytes = &bytes[written..];
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
        let writing = rt::spawn(async move {
            for answer in &sent {
                write(&answers, answer).await;
                poll_fn(|cx| answers.poll_flush(cx)).await.unwrap();
                // Most answers are followed by another in the same turn, some are not.
                if answer.len() % 3 == 0 {
                    tokio::task::yield_now().await;
                }
            }
            poll_fn(|cx| answers.poll_shutdown(cx)).await.unwrap();
        });
        // The client's buffer is full long before the last answer.
        tokio::task::yield_now().await;
        let mut read = Vec::new();
        client.read_to_end(&mut read).await.unwrap();
        writing.await.unwrap();
        assert!(read == expected);
    }

    #[actix_web::test]
    async fn the_connection_is_woken_and_fails_if_the_end_of_the_turn_cannot_write_its_answer() {
        let (mut incoming, answers, client) = connected().await;
        SockRef::from(&client)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
        drop(client);
        incoming.peek(&mut [0]).await.unwrap_err();
        write(&answers, b"answer").await;
        let mut is_woken = false;
        let failure = poll_fn(|cx| {
            if mem::replace(&mut is_woken, true) {
                return answers.poll_flush(cx);
            }
            Poll::Pending
        });
        failure.await.unwrap_err();
    }

    #[actix_web::test]
    async fn an_answer_that_waits_is_written_at_the_end_of_the_turn() {
        let (_incoming, answers, mut client) = connected().await;
        write(&answers, b"answer").await;
        poll_fn(|cx| answers.poll_flush(cx)).await.unwrap();
        let mut read = [0; 6];
        client.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"answer");
    }
}
