//! The one error that clients get: its JSON form, and which inner error becomes which status.
//!
//! After a client's mistake it says what is wrong and what is allowed. A 5xx tells the client nothing
//! about the inside of the service; the request's line in the log has the cause.
//!
//! | status | when |
//! |---|---|
//! | 400 | the query or the JSON cannot be read at all |
//! | 401 | there is no access token, or it is not valid; `WWW-Authenticate` says so |
//! | 403 | the token is not for this tenant or route, or the page that sends a cookie is not allowed |
//! | 404, 405 | no such route, appointment or method |
//! | 408 | the body takes too long |
//! | 413, 415 | the body is too large, or not JSON |
//! | 422 | it can be read, but a field has no allowed value; `errors` names each |
//! | 500 | the service failed |
//! | 503 | the database is busy or cannot be reached, or the cache cannot do what was asked;
//! `Retry-After` says when to come back |

pub mod openapi;

use std::fmt;

use actix_web::{
    HttpResponse, ResponseError,
    http::{StatusCode, header},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    cache::{CacheError, ReadError, WriteError},
    db::DbError,
};

/// How long a client should wait after a 503, in seconds.
const RETRY_AFTER_SECONDS: u32 = 1;

/// Why a request was not fulfilled, in the members of RFC 9457. It is sent as
/// `application/json`, since `AlignWork`'s client parses nothing else, and shows `detail`.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct ApiError {
    /// Always `about:blank`: the status says what kind of error it is.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The status in words.
    title: &'static str,
    /// The status.
    #[serde(serialize_with = "as_number")]
    #[schema(value_type = u16, minimum = 400, maximum = 599)]
    status: StatusCode,
    /// What is wrong, in words that can be shown to a user.
    detail: String,
    /// What is wrong with each field. Only with status 422.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    errors: Vec<FieldError>,
    /// The header `WWW-Authenticate`.
    #[serde(skip)]
    challenge: Option<Challenge>,
    /// For the log.
    #[serde(skip)]
    cause: Option<String>,
}

/// What a client without a valid token is told in `WWW-Authenticate` (RFC 6750, section 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Challenge {
    /// It sent no token.
    NoToken,
    /// It sent several tokens.
    InvalidRequest,
    /// The one it sent has expired or is not valid.
    InvalidToken,
}

impl Challenge {
    fn header(self) -> &'static str {
        match self {
            Self::NoToken => "Bearer",
            Self::InvalidRequest => "Bearer error=\"invalid_request\"",
            Self::InvalidToken => "Bearer error=\"invalid_token\"",
        }
    }
}

/// What is wrong with one field of a query or body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// The field, as the client spells it.
    pub field: &'static str,
    /// What is allowed.
    pub message: String,
}

impl FieldError {
    /// Says of `field`, as the client spells it, what is allowed.
    pub fn new(field: &'static str, message: impl fmt::Display) -> Self {
        Self {
            field,
            message: message.to_string(),
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn as_number<S: serde::Serializer>(status: &StatusCode, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u16(status.as_u16())
}

impl ApiError {
    /// An error of `status`, which is a 4xx or 5xx. `detail` is sent to the client.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        // RFC 9457, section 4.2.1: with "about:blank" the title is that of the status.
        let title = status.canonical_reason().unwrap_or("Error");
        Self {
            kind: "about:blank",
            title,
            status,
            detail: detail.into(),
            errors: Vec::new(),
            challenge: None,
            cause: None,
        }
    }

    /// Adds the cause, which is written to the request's line in the log, and not sent to the client.
    #[must_use]
    pub fn because(self, cause: &dyn fmt::Display) -> Self {
        Self {
            cause: Some(cause.to_string()),
            ..self
        }
    }

    /// See [`ApiError::because`].
    pub fn cause(&self) -> Option<&str> {
        self.cause.as_deref()
    }

    /// 401, with the challenge of RFC 6750.
    pub fn unauthorized(challenge: Challenge, detail: impl Into<String>) -> Self {
        Self {
            challenge: Some(challenge),
            ..Self::new(StatusCode::UNAUTHORIZED, detail)
        }
    }

    /// 403: the client is known, but not allowed to do this.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, detail)
    }

    /// 422: these fields have no allowed value.
    pub fn invalid(errors: Vec<FieldError>) -> Self {
        let each: Vec<_> = errors
            .iter()
            .map(|e| format!("{}: {}", e.field, e.message))
            .collect();
        Self {
            errors,
            ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, each.join("; "))
        }
    }

    /// 422: this one field has no allowed value.
    pub fn invalid_field(field: &'static str, message: impl fmt::Display) -> Self {
        Self::invalid(vec![FieldError::new(field, message)])
    }

    /// 404: there is no such thing.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    fn internal(cause: &dyn fmt::Display) -> Self {
        let detail = "The service failed to answer.";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, detail).because(cause)
    }

    /// 503: the same request may succeed in a moment. `cause` is for the log.
    pub fn unavailable(cause: &dyn fmt::Display) -> Self {
        let detail = "The service is busy. Try again in a moment.";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail).because(cause)
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.status, self.detail)
    }
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status);
        if self.status == StatusCode::REQUEST_TIMEOUT {
            response.force_close();
        }
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.insert_header((header::RETRY_AFTER, RETRY_AFTER_SECONDS));
        }
        if let Some(challenge) = self.challenge {
            response.insert_header((header::WWW_AUTHENTICATE, challenge.header()));
        }
        response
            .insert_header((header::CACHE_CONTROL, "no-store"))
            .json(self)
    }
}

impl From<&DbError> for ApiError {
    fn from(error: &DbError) -> Self {
        match error {
            error if error.is_outage() => Self::unavailable(error),
            error => Self::internal(error),
        }
    }
}

impl From<DbError> for ApiError {
    fn from(error: DbError) -> Self {
        Self::from(&error)
    }
}

impl From<ReadError> for ApiError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Database(cause) => Self::from(&*cause),
            ReadError::NoResult(_) => Self::internal(&error),
        }
    }
}

impl From<WriteError> for ApiError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Database(cause) => Self::from(cause),
            WriteError::Fence(_) => Self::unavailable(&error),
            WriteError::NoResult => Self::internal(&error),
        }
    }
}

impl From<CacheError> for ApiError {
    fn from(error: CacheError) -> Self {
        Self::unavailable(&error)
    }
}
