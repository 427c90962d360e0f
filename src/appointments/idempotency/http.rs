//! The headers of creates that are sent again.

use actix_web::{HttpRequest, http::StatusCode};

use super::IdempotencyKey;
use crate::error::ApiError;

/// The header with the client's name for its request.
pub(in crate::appointments) const KEY: &str = "Idempotency-Key";

/// The header of an answer that was given before.
pub(in crate::appointments) const REPLAYED: &str = "Idempotency-Replayed";

/// The key that the request carries, if any; 400 if it carries two or one of another form.
pub(in crate::appointments) fn key(
    request: &HttpRequest,
) -> Result<Option<IdempotencyKey>, ApiError> {
    let refused = |why| ApiError::new(StatusCode::BAD_REQUEST, format!("{KEY}: {why}."));
    let mut given = request.headers().get_all(KEY);
    let Some(key) = given.next() else {
        return Ok(None);
    };
    if given.next().is_some() {
        return Err(refused("must be there once".to_owned()));
    }
    IdempotencyKey::parse(key.as_bytes())
        .map(Some)
        .map_err(|invalid| refused(invalid.to_string()))
}
