//! How OpenAPI describes the responses that hold an error: which statuses a route that takes a query,
//! a body or an id may answer with.

use std::collections::BTreeMap;

use actix_web::http::StatusCode;
use utoipa::{
    IntoResponses, PartialSchema,
    openapi::{
        Content, Header, ObjectBuilder, Ref, RefOr, Response, ResponseBuilder, Schema, Type,
    },
};

use super::{ApiError, RETRY_AFTER_SECONDS};

/// Makes groups of errors that a route may answer with.
macro_rules! groups {
    ($($(#[$about:meta])* $group:ident: $($status:ident),+;)+) => {
        $(
            $(#[$about])*
            pub struct $group;

            impl IntoResponses for $group {
                fn responses() -> BTreeMap<String, RefOr<Response>> {
                    references(&[$(StatusCode::$status),+])
                }
            }
        )+
    };
}

groups! {
    /// The errors of a route that takes a query.
    BadQuery: BAD_REQUEST, UNPROCESSABLE_ENTITY;
    /// The errors of a route that takes a body.
    BadBody: BAD_REQUEST, REQUEST_TIMEOUT, PAYLOAD_TOO_LARGE, UNSUPPORTED_MEDIA_TYPE, UNPROCESSABLE_ENTITY;
    /// The errors of a route that takes the id of an appointment.
    BadId: NOT_FOUND, UNPROCESSABLE_ENTITY;
    /// The errors of a route that asks the database or the cache.
    Failed: INTERNAL_SERVER_ERROR, SERVICE_UNAVAILABLE;
    /// The errors of a route that needs an access token, unless `auth.mode` is `none`.
    Guarded: UNAUTHORIZED, FORBIDDEN;
}

/// Makes a type that stands in descriptions for what has this schema.
macro_rules! described {
    ($(#[$about:meta])* $visible:vis $name:ident: $schema:expr) => {
        $(#[$about])*
        $visible struct $name;

        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
                $schema.into()
            }
        }

        impl utoipa::ToSchema for $name {}
    };
}
pub(crate) use described;

described! {
    /// The header `Retry-After`.
    pub RetryAfter: ObjectBuilder::new()
        .schema_type(Type::Integer)
        .minimum(Some(1))
        .examples([RETRY_AFTER_SECONDS])
}

fn references(statuses: &[StatusCode]) -> BTreeMap<String, RefOr<Response>> {
    statuses
        .iter()
        .map(|status| {
            let reference = Ref::from_response_name(name(*status));
            (status.as_str().to_owned(), reference.into())
        })
        .collect()
}

/// The name of a status as that of a component: `NotFound`.
fn name(status: StatusCode) -> String {
    status
        .canonical_reason()
        .unwrap_or_default()
        .replace(' ', "")
}

/// The responses that [`IntoResponses`] refers to, by their names.
pub fn responses() -> [(String, Response); 10] {
    [
        problem(
            StatusCode::BAD_REQUEST,
            "The query, the JSON or a header cannot be read at all.",
            "The query cannot be read: tenantId must be percent-encoded UTF-8.",
        ),
        problem(
            StatusCode::UNAUTHORIZED,
            "There is no access token, or it is not valid. Only with `auth.mode = \"jwt\"`.",
            "The access token is not valid, or has expired. Sign in again.",
        ),
        problem(
            StatusCode::FORBIDDEN,
            "The access token is not for this clinic or route, or the page that writes with the cookie \
             is of an origin that is not allowed. Only with `auth.mode = \"jwt\"`.",
            "You may not use this tenantId with your access token.",
        ),
        problem(
            StatusCode::NOT_FOUND,
            "There is no such appointment.",
            "There is no appointment 77.",
        ),
        problem(
            StatusCode::REQUEST_TIMEOUT,
            "The body took too long to arrive. The connection is closed.",
            "The body must arrive within 10 seconds.",
        ),
        problem(
            StatusCode::PAYLOAD_TOO_LARGE,
            "The body is too large.",
            "The body must be at most 65536 bytes.",
        ),
        problem(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "The Content-Type of the body is not JSON in UTF-8, or the body is compressed.",
            "The Content-Type must be application/json, in UTF-8.",
        ),
        problem(
            StatusCode::UNPROCESSABLE_ENTITY,
            "The request can be read, but a field has no allowed value; `errors` names each such field.",
            "",
        ),
        problem(
            StatusCode::INTERNAL_SERVER_ERROR,
            "The service failed. Its log has the cause.",
            "The service failed to answer.",
        ),
        problem(
            StatusCode::SERVICE_UNAVAILABLE,
            "The database is busy or cannot be reached. A write may or may not have been done.",
            "The service is busy. Try again in a moment.",
        ),
    ]
}

/// The response of a status, by its name: what the status means, and a `detail` that it may come with.
fn problem(status: StatusCode, meaning: &str, detail: &str) -> (String, Response) {
    let example = if status == StatusCode::UNPROCESSABLE_ENTITY {
        ApiError::invalid_field("tenantId", "is required")
    } else {
        ApiError::new(status, detail)
    };
    let mut content = Content::new(Some(Ref::from_schema_name("Problem")));
    content.example = serde_json::to_value(example).ok();
    let mut response = ResponseBuilder::new()
        .description(meaning)
        .content("application/json", content);
    if status == StatusCode::UNAUTHORIZED {
        let challenge = ObjectBuilder::new()
            .schema_type(Type::String)
            .pattern(Some("^Bearer"))
            .examples(["Bearer error=\"invalid_token\""]);
        let about = "What is wrong with the token, as RFC 6750 defines it.";
        response = response.header("WWW-Authenticate", header(challenge, about));
    }
    if status == StatusCode::SERVICE_UNAVAILABLE {
        let about = "After how many seconds to try again.";
        response = response.header("Retry-After", header(RetryAfter::schema(), about));
    }
    (name(status), response.build())
}

/// A header with that value, and what is said about it.
pub fn header(value: impl Into<RefOr<Schema>>, about: &str) -> Header {
    let mut header = Header::new(value);
    header.description = Some(about.to_owned());
    header
}
