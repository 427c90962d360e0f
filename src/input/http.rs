//! Taking queries and JSON bodies from requests, within the limits on them.

use std::{
    fmt,
    future::{Future, Ready, ready},
    pin::Pin,
    time::Duration,
};

use actix_web::{
    FromRequest, HttpMessage, HttpRequest,
    body::{BodyStream, to_bytes_limited},
    dev::Payload,
    http::{StatusCode, header},
    web::Bytes,
};
use serde::de::{DeserializeOwned, Error as _, IgnoredAny};

use crate::{error::ApiError, text::is_percent_encoded};

/// The longest time that sending an answer and closing the connection may take.
const CLOSE_DELAY: Duration = Duration::from_secs(2);

/// U+FEFF in UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// The limits on a body.
#[derive(Debug, Clone, Copy)]
pub struct BodyLimits {
    /// How many bytes it may have.
    pub size: usize,
    /// The time from the end of the request's head to the last byte of the body.
    pub time: Duration,
}

/// A JSON object as the body of a request. Any other body is refused, and so is one that takes too long to
/// arrive.
#[derive(Debug)]
pub struct Body<T>(pub T);

impl<T: DeserializeOwned + 'static> FromRequest for Body<T> {
    type Error = ApiError;
    type Future = Pin<Box<dyn Future<Output = Result<Self, ApiError>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        if let Err(refused) = check_type(request) {
            close_after_answer(payload.take());
            return Box::pin(ready(Err(refused)));
        }
        let limits: BodyLimits = *request.app_data().expect("the server sets the limits");
        let mut body = Box::pin(read_body(request, payload.take(), limits.size));
        Box::pin(async move {
            if let Ok(body) = tokio::time::timeout(limits.time, &mut body).await {
                return read_json(&body?).map(Self);
            }
            close_after_answer(body);
            let seconds = limits.time.as_secs();
            let detail = format!("The body must arrive within {seconds} seconds.");
            Err(ApiError::new(StatusCode::REQUEST_TIMEOUT, detail))
        })
    }
}

/// All bytes of a body; 413 if they are more than `limit`, which `Content-Length` tells, if there is one,
/// before they have come.
fn read_body(
    request: &HttpRequest,
    payload: Payload,
    limit: usize,
) -> impl Future<Output = Result<Bytes, ApiError>> + 'static {
    let length = request.headers().get(header::CONTENT_LENGTH);
    let length: Option<usize> = length.and_then(|length| length.to_str().ok()?.parse().ok());
    async move {
        let too_large = || {
            let detail = format!("The body must be at most {limit} bytes.");
            ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, detail)
        };
        if length.is_some_and(|length| length > limit) {
            return Err(too_large());
        }
        to_bytes_limited(BodyStream::new(payload), limit)
            .await
            .map_err(|_| too_large())?
            .map_err(|_| ApiError::new(StatusCode::BAD_REQUEST, "The body could not be read."))
    }
}

/// The object that `body` is, after a byte order mark that some editors put there (RFC 8259, section
/// 8.1, lets a reader ignore it).
fn read_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    let json = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body);
    let read = if json.trim_ascii_start().starts_with(b"{") {
        serde_json::from_slice(json)
    } else {
        // serde would also take an array, whose elements become the fields of `T` in their order.
        serde_json::from_slice(json)
            .and_then(|IgnoredAny| Err(serde_json::Error::custom("expected a JSON object")))
    };
    read.map_err(|error| {
        let detail = format!("The body is not a valid request: {error}.");
        ApiError::new(StatusCode::BAD_REQUEST, detail)
    })
}

/// Makes the server close the connection after the answer, by keeping the `unread` body for a while. If it
/// were dropped at once, a chunked body would first be read to its end, however long that takes.
pub fn close_after_answer(unread: impl Sized + 'static) {
    actix_web::rt::spawn(async move {
        tokio::time::sleep(CLOSE_DELAY).await;
        drop(unread);
    });
}

/// Refuses what is not JSON in UTF-8 (RFC 8259, section 8.1), or is compressed.
fn check_type(request: &HttpRequest) -> Result<(), ApiError> {
    let refuse = |allowed| Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, allowed));
    let is_json = request.mime_type().ok().flatten().is_some_and(|mime| {
        let utf8 = mime
            .get_param("charset")
            .is_none_or(|charset| charset == "utf-8");
        let json = mime.subtype() == "json" || mime.suffix().is_some_and(|suffix| suffix == "json");
        mime.type_() == "application" && json && utf8
    });
    if !is_json {
        return refuse("The Content-Type must be application/json, in UTF-8.");
    }
    if request.headers().contains_key(header::CONTENT_ENCODING) {
        return refuse("The body must have no Content-Encoding.");
    }
    Ok(())
}

/// A query of named texts. Other than with [`actix_web::web::Query`] a broken escape, or one that is not
/// UTF-8, is an error: replaced by another character it could name another tenant.
#[derive(Debug)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned> FromRequest for Query<T> {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _body: &mut Payload) -> Self::Future {
        ready(read_query(request.query_string()).map(Self))
    }
}

/// Reads the text of a query, as [`Query`] does.
pub fn read_query<T: DeserializeOwned>(raw: &str) -> Result<T, ApiError> {
    let unreadable = |reason: fmt::Arguments<'_>| {
        let detail = format!("The query cannot be read: {reason}.");
        ApiError::new(StatusCode::BAD_REQUEST, detail)
    };
    if let Some(pair) = raw.split('&').find(|pair| !is_percent_encoded(pair)) {
        let name = pair.split('=').next().unwrap_or_default();
        let reason = format_args!("{name} must be percent-encoded UTF-8");
        return Err(unreadable(reason));
    }
    serde_urlencoded::from_str(raw).map_err(|error| unreadable(format_args!("{error}")))
}

#[cfg(test)]
mod tests {
    use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
    use proptest::prelude::*;
    use serde::Deserialize;
    use serde_json::Value;

    use super::*;

    #[test]
    fn escapes_are_whole_and_utf_8() {
        for raw in ["", "a", "+", "%20", "%C3%A3", "%c3%a3=%25zz"] {
            assert!(is_percent_encoded(raw), "{raw}");
        }
        for raw in [
            "%",
            "%2",
            "a%zz",
            "%%20",
            "%C3",
            "%FF",
            "%C3%28",
            "%ED%A0%80",
        ] {
            assert!(!is_percent_encoded(raw), "{raw}");
        }
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Pair {
        a: Option<String>,
        b: Option<String>,
    }

    #[derive(Debug, Deserialize)]
    struct Anything {
        a: Option<Value>,
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            // Halves are read back as they were written.
            any::<i32>().prop_map(|number| Value::from(f64::from(number) / 2.0)),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 16, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::hash_map("[a-c]?", inner, 0..4)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_read(a: String, b: Option<String>) {
            let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
            let mut raw = format!("a={}", encode(&a));
            if let Some(b) = &b {
                raw = format!("b={}&x=1&{raw}", encode(b));
            }
            prop_assert_eq!(read_query::<Pair>(&raw).unwrap(), Pair { a: Some(a), b });
        }

        #[test]
        fn any_query_is_read_or_refused_with_400(raw in "([ab]?=?[a%20FCx+&=é]{0,6}&?){0,4}|\\PC*") {
            match read_query::<Pair>(&raw) {
                Ok(_) => prop_assert!(percent_decode_str(&raw).decode_utf8().is_ok()),
                Err(error) => prop_assert!(error.to_string().starts_with("400 "), "{}", error),
            }
        }

        #[test]
        fn an_object_is_a_body_and_nothing_else_is(value in json()) {
            let read = read_json::<Anything>(value.to_string().as_bytes());
            prop_assert_eq!(read.is_ok(), value.is_object());
            if let Ok(read) = read {
                prop_assert_eq!(read.a, value.get("a").filter(|a| !a.is_null()).cloned());
            }
        }

        #[test]
        fn any_bytes_are_a_body_or_refused(bytes in prop_oneof![
            any::<Vec<u8>>(),
            "[{}\\[\\]\",:a0-9eE.\\\\u-]{0,20}".prop_map(String::into_bytes),
        ]) {
            let read = read_json::<Anything>(&bytes);
            let is_object = bytes.trim_ascii_start().first() == Some(&b'{');
            prop_assert!(is_object || read.is_err());
        }
    }
}
