//! The request of a connection that is in progress. What its client sends ahead waits until it is
//! answered, so that nobody makes the service hold more than one request per connection.

use std::{cell::Cell, rc::Rc, task::Poll};

use actix_web::{
    HttpMessage,
    dev::{Payload, ServiceRequest},
    error::PayloadError,
    web::Bytes,
};
use futures_util::{Stream, StreamExt as _, stream};

/// A connection is closed after it has answered a request with a larger head, in bytes: actix keeps
/// the buffer that the head was read into for as long as the connection is open.
const LARGE_HEAD: usize = 16 * 1024;

/// How many bytes are handed over before the next answer, at most. actix refuses a head that is as long.
/// Behind an answer that goes on, such as a stream of events, it would hold as many without decoding them,
/// and then ask for more again and again without a pause.
pub(super) const MOST_UNANSWERED: usize = 128 * 1024;

/// How far the current request of a connection is: told by what handles it, asked by the connection.
#[derive(Debug, Clone, Default)]
pub(super) struct CurrentRequest(Rc<Progress>);

#[derive(Debug, Default)]
struct Progress {
    stage: Cell<RequestStage>,
    /// Bytes handed over since the last request was answered.
    received: Cell<usize>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum RequestStage {
    /// There is none: the next byte belongs to a head.
    #[default]
    Head,
    /// Its handler waits for more of its body.
    BodyAwaited,
    /// It is being handled; its handler does not wait for its body just now.
    BodyLater,
    /// It is being handled; all of its body was read, or it has none.
    Whole,
    /// It was answered before its body was read: the next byte may still belong to that.
    BodyUnread,
}

impl CurrentRequest {
    /// Whether the next byte belongs to a head.
    pub(super) fn is_head(&self) -> bool {
        self.0.stage.get() == RequestStage::Head
    }

    /// Whether a request is in progress.
    pub(super) fn is_in_progress(&self) -> bool {
        use RequestStage::{BodyAwaited, BodyLater, Whole};
        matches!(self.0.stage.get(), BodyAwaited | BodyLater | Whole)
    }

    /// Whether a handler has answered all that was handed over. What came in one piece with the end of its
    /// request's body does not count.
    pub(super) fn is_answered(&self) -> bool {
        self.is_head() && self.0.received.get() == 0
    }

    /// Whether further bytes have a use now.
    pub(super) fn wants_bytes(&self) -> bool {
        use RequestStage::{BodyAwaited, BodyLater, BodyUnread, Head, Whole};
        match self.0.stage.get() {
            Head => self.0.received.get() < MOST_UNANSWERED,
            BodyAwaited | BodyUnread => true,
            BodyLater | Whole => false,
        }
    }

    /// `count` further bytes were handed over.
    pub(super) fn received(&self, count: usize) {
        let received = &self.0.received;
        received.set(received.get() + count);
    }
}

/// A request that is in progress, until this is dropped.
#[derive(Debug)]
pub(in crate::server) struct RequestInProgress {
    current: CurrentRequest,
    is_last: bool,
}

impl RequestInProgress {
    /// `request` is in progress. From now on its connection knows whether its body is awaited.
    pub(in crate::server) fn begin(request: &mut ServiceRequest) -> Self {
        let current = request.conn_data::<CurrentRequest>().cloned();
        let current = current.unwrap_or_default();
        // `Heads` could not take this offer to speak another protocol out of the head, and actix
        // would close the connection without saying so.
        let offers_upgrade = request.head().upgrade();
        let is_last = offers_upgrade || current.0.received.get() > LARGE_HEAD;
        match request.take_payload() {
            Payload::None => current.0.stage.set(RequestStage::Whole),
            body => {
                current.0.stage.set(RequestStage::BodyLater);
                let payload = Box::pin(watched(body, current.clone()));
                request.set_payload(Payload::Stream { payload });
            }
        }
        Self { current, is_last }
    }

    /// Whether the connection must be closed after the answer.
    pub(in crate::server) fn is_last(&self) -> bool {
        self.is_last
    }
}

impl Drop for RequestInProgress {
    fn drop(&mut self) {
        let progress = &self.current.0;
        progress.stage.set(match progress.stage.get() {
            RequestStage::Whole => RequestStage::Head,
            _ => RequestStage::BodyUnread,
        });
        progress.received.set(0);
    }
}

/// A request's body, which tells the connection whether more of it is awaited.
fn watched(
    mut body: Payload,
    current: CurrentRequest,
) -> impl Stream<Item = Result<Bytes, PayloadError>> {
    stream::poll_fn(move |context| {
        let next = body.poll_next_unpin(context);
        current.0.stage.set(match next {
            Poll::Pending => RequestStage::BodyAwaited,
            Poll::Ready(Some(_)) => RequestStage::BodyLater,
            Poll::Ready(None) => RequestStage::Whole,
        });
        next
    })
}
