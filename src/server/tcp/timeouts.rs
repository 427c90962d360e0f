//! How long a client may take to send a request, and to take its answer.
//!
//! actix itself limits only the first head of a connection, and its idle time by a timer that it would
//! set anew for each answer. Without further limits a client that sends a byte now and then, or does not
//! read, would keep its connection for ever.

use std::{future::Future as _, io, pin::Pin, task::Context, time::Duration};

use tokio::time::{Instant, Sleep};

/// How long a client may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct ClientTimeouts {
    /// From the first byte of a request's head to its last one. Also, to take what waits to be written: of
    /// a long answer, one piece.
    pub(super) request: Duration,
    /// From an answer to the first byte of the next request's head.
    pub(super) idle: Duration,
}

/// The deadlines of one connection's client.
#[derive(Debug)]
pub(super) struct Deadlines {
    timeouts: ClientTimeouts,
    /// When the head of the client's next request must be complete.
    request: Instant,
    /// Whether the first byte of it has come.
    is_request_begun: bool,
    /// When the client must have taken the answers, if one waits for it.
    answer: Option<Instant>,
    /// Wakes the connection's task at the next deadline, or earlier.
    timer: Pin<Box<Sleep>>,
}

impl Deadlines {
    /// Those of a new connection.
    pub(super) fn new(timeouts: ClientTimeouts) -> Self {
        let request = Instant::now() + timeouts.idle;
        Self {
            timeouts,
            request,
            is_request_begun: false,
            answer: None,
            timer: Box::pin(tokio::time::sleep_until(request)),
        }
    }

    /// A part of a request has come.
    pub(super) fn received(&mut self) {
        if !self.is_request_begun {
            self.is_request_begun = true;
            self.request = Instant::now() + self.timeouts.request;
        }
    }

    /// A part of an answer was taken to be written.
    pub(super) fn written(&mut self) {
        self.is_request_begun = false;
        self.request = Instant::now() + self.timeouts.idle;
    }

    /// A part of an answer waits for the client to take it.
    pub(super) fn blocked(&mut self) {
        if self.answer.is_none() {
            self.answer = Some(Instant::now() + self.timeouts.request);
        }
    }

    /// Nothing waits for the client any more.
    pub(super) fn flushed(&mut self) {
        if self.answer.take().is_some() {
            self.written();
        }
    }

    /// Whether an answer waits for the client to take it.
    pub(super) fn is_blocked(&self) -> bool {
        self.answer.is_some()
    }

    /// Fails if the client has taken too long. Otherwise wakes the connection's task at the next
    /// deadline, so that this is called again. While a request `is_in_progress`, the client may be
    /// silent, and the task is woken now and then: the request may end without another check. While an
    /// answer waits, no request is read, so that only the answer's deadline counts.
    pub(super) fn check(&mut self, is_in_progress: bool, cx: &mut Context<'_>) -> io::Result<()> {
        let next = match self.answer {
            Some(answer) => answer,
            None if is_in_progress => Instant::now() + self.timeouts.idle,
            None => self.request,
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

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, task::Poll};

    use super::*;

    const TIMEOUTS: ClientTimeouts = ClientTimeouts {
        request: Duration::from_secs(30),
        idle: Duration::from_secs(75),
    };

    /// How long the client may be silent from now on.
    async fn time_left(deadlines: &mut Deadlines) -> Duration {
        let began = Instant::now();
        let failed = poll_fn(|cx| match deadlines.check(false, cx) {
            Ok(()) => Poll::Pending,
            Err(error) => Poll::Ready(error),
        });
        assert_eq!(failed.await.kind(), io::ErrorKind::TimedOut);
        // A timer ends up to a millisecond late.
        Duration::from_secs(began.elapsed().as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_ends_after_its_time_and_one_that_is_used_does_not() {
        let mut deadlines = Deadlines::new(TIMEOUTS);
        for _ in 0..3 {
            tokio::time::advance(Duration::from_secs(74)).await;
            poll_fn(|cx| Poll::Ready(deadlines.check(false, cx)))
                .await
                .unwrap();
            deadlines.received();
            deadlines.written();
        }
        assert_eq!(time_left(&mut deadlines).await, TIMEOUTS.idle);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_outlives_the_timer_leaves_another_to_the_idle_connection() {
        let mut deadlines = Deadlines::new(TIMEOUTS);
        deadlines.received();
        tokio::time::advance(TIMEOUTS.idle).await;
        poll_fn(|cx| Poll::Ready(deadlines.check(true, cx)))
            .await
            .unwrap();
        deadlines.written();
        let answered = Instant::now();
        let mut is_woken = false;
        let woken = poll_fn(|_| {
            if std::mem::replace(&mut is_woken, true) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        });
        // Without a timer it is polled once more at the end of this one.
        let _ = tokio::time::timeout(2 * TIMEOUTS.idle, woken).await;
        let waited = answered.elapsed();
        assert!(waited < 2 * TIMEOUTS.idle, "{waited:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_has_begun_must_end_in_the_time_of_a_request() {
        let mut deadlines = Deadlines::new(TIMEOUTS);
        tokio::time::advance(Duration::from_secs(60)).await;
        for _ in 0..2 {
            deadlines.received();
            poll_fn(|cx| Poll::Ready(deadlines.check(false, cx)))
                .await
                .unwrap();
            tokio::time::advance(Duration::from_secs(5)).await;
        }
        assert_eq!(time_left(&mut deadlines).await, Duration::from_secs(20));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_may_take_longer_than_a_connection_may_be_idle() {
        let request = Duration::from_secs(300);
        let mut deadlines = Deadlines::new(ClientTimeouts {
            request,
            ..TIMEOUTS
        });
        deadlines.blocked();
        tokio::time::advance(Duration::from_secs(200)).await;
        deadlines.flushed();
        assert_eq!(time_left(&mut deadlines).await, TIMEOUTS.idle);
        deadlines.blocked();
        assert_eq!(time_left(&mut deadlines).await, request);
    }
}
