//! Long answers, in pieces.

use std::{convert::Infallible, iter};

use actix_web::body::{BoxBody, MessageBody, SizedStream};
use futures_util::stream;

/// How much of an answer a connection takes at once, in bytes: it keeps a copy of that until its
/// client has read it.
pub(super) const PIECE: usize = 8 * 1024;

/// Has a body that is there as a whole taken in pieces: a connection copies one at a time.
pub(super) fn in_pieces(body: impl MessageBody + 'static) -> BoxBody {
    match body.try_into_bytes() {
        Ok(mut bytes) if bytes.len() > PIECE => {
            let size = bytes.len() as u64;
            let pieces = iter::from_fn(move || {
                let piece = bytes.split_to(bytes.len().min(PIECE));
                (!piece.is_empty()).then_some(Ok::<_, Infallible>(piece))
            });
            BoxBody::new(SizedStream::new(size, stream::iter(pieces)))
        }
        Ok(bytes) => BoxBody::new(bytes),
        Err(body) => BoxBody::new(body),
    }
}
