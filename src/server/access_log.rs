//! What is noted of each request: its line in the log, the id by which it is found, and its place in the
//! metrics.

use std::{
    future::Future,
    rc::Rc,
    thread,
    time::{Duration, Instant},
};

use actix_web::{
    Error,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    error::InternalError,
    http::{
        StatusCode,
        header::{HeaderMap, HeaderName, HeaderValue},
    },
};
use log::{Level, kv::Value};

use super::request_metrics::{RequestMetrics, RouteMetrics, method_name};
use crate::{
    error::ApiError,
    health,
    logging::{RequestId, with_request_id},
    stats::http::X_CACHE,
};

/// The name of these lines in `log.filter`.
const TARGET: &str = "megastats::access";

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A request that is counted and logged when it has been answered. If it is dropped before, its client
/// has left, or the service has panicked.
#[derive(Debug)]
pub(super) struct LoggedRequest {
    method: &'static str,
    route: Rc<RouteMetrics>,
    began: Instant,
    /// Whether it has a line even if nothing failed.
    is_always_logged: bool,
    is_answered: bool,
}

impl LoggedRequest {
    /// The request begins now.
    pub(super) fn begin(
        request: &ServiceRequest,
        metrics: &RequestMetrics,
        is_always_logged: bool,
    ) -> Self {
        let route = metrics.route(request);
        route.begin();
        Self {
            method: method_name(request.method()),
            route,
            began: Instant::now(),
            is_always_logged,
            is_answered: false,
        }
    }

    /// Adds `id` to the answer of `call`; counts and logs the request. Every line that is logged
    /// meanwhile has the id.
    pub(super) fn follow<B: MessageBody>(
        mut self,
        id: RequestId,
        call: impl Future<Output = Result<ServiceResponse<B>, Error>>,
    ) -> impl Future<Output = Result<ServiceResponse<B>, Error>> {
        let header = HeaderValue::from_maybe_shared(id.bytes()).expect("an id is visible ASCII");
        with_request_id(id, async move {
            match call.await {
                Ok(mut answer) => {
                    answer.headers_mut().insert(X_REQUEST_ID, header);
                    let response = answer.response();
                    self.answered(response.status(), response.headers(), response.error());
                    Ok(answer)
                }
                // A middleware failed.
                Err(error) => {
                    let mut response = error.error_response();
                    response.headers_mut().insert(X_REQUEST_ID, header);
                    self.answered(response.status(), response.headers(), Some(&error));
                    Err(InternalError::from_response(error, response).into())
                }
            }
        })
    }

    /// Counts and logs the request, whose answer has `status` and `headers`.
    fn answered(&mut self, status: StatusCode, headers: &HeaderMap, error: Option<&Error>) {
        let took = self.began.elapsed();
        self.is_answered = true;
        self.route.end(self.method, status, took);
        let cause = error.filter(|_| status.is_server_error()).and_then(cause);
        if cause.is_none() && !self.is_always_logged {
            return;
        }
        let route = self.route.template();
        let level = match cause {
            Some(_) if status == StatusCode::INTERNAL_SERVER_ERROR => Level::Error,
            Some(_) => Level::Warn,
            None if health::http::PROBES.contains(&route) => Level::Debug,
            None => Level::Info,
        };
        log::log!(
            target: TARGET, level,
            method = self.method,
            route = route,
            status = status.as_u16(),
            duration_ms = milliseconds(took),
            cache = optional(headers.get(X_CACHE).and_then(|value| value.to_str().ok())),
            cause = optional(cause.as_deref());
            "request"
        );
    }
}

impl Drop for LoggedRequest {
    fn drop(&mut self) {
        if self.is_answered {
            return;
        }
        let took = self.began.elapsed();
        let is_panicking = thread::panicking();
        let status = if is_panicking {
            StatusCode::INTERNAL_SERVER_ERROR
        } else {
            status_client_left()
        };
        self.route.end(self.method, status, took);
        if !is_panicking && !self.is_always_logged {
            return;
        }
        let level = if is_panicking {
            Level::Error
        } else {
            Level::Info
        };
        let message = if is_panicking {
            "the service panicked before it had answered"
        } else {
            "the client left before it was answered"
        };
        log::log!(
            target: TARGET, level,
            method = self.method,
            duration_ms = milliseconds(took);
            "{message}"
        );
    }
}

/// The id that the client gave `request`, or a new one.
pub(super) fn id_of(request: &ServiceRequest) -> RequestId {
    let given = request.headers().get(X_REQUEST_ID);
    given
        .and_then(|id| RequestId::parse(id.as_bytes()))
        .unwrap_or_else(RequestId::random)
}

/// The client left before it was answered. nginx has the same number for it.
fn status_client_left() -> StatusCode {
    StatusCode::from_u16(499).expect("three digits")
}

/// To the microsecond.
fn milliseconds(took: Duration) -> f64 {
    let micros = u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
    f64::from(micros) / 1000.0
}

fn optional(value: Option<&str>) -> Value<'_> {
    value.map_or(Value::null(), Value::from)
}

/// Why the service failed, unless the error does not say so.
fn cause(error: &Error) -> Option<String> {
    match error.as_error::<ApiError>() {
        Some(error) => error.cause().map(str::to_owned),
        None => Some(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, sync::Arc};

    use actix_web::{body::BoxBody, rt::spawn, test::TestRequest};

    use super::*;
    use crate::{metrics::Metrics, settings::CacheBackend};

    #[actix_web::test]
    async fn a_request_whose_handler_panics_is_counted_as_500_and_one_that_is_dropped_as_499() {
        let metrics = Arc::new(Metrics::new(CacheBackend::Memory));
        let counted = RequestMetrics::new(Arc::clone(&metrics));
        let request = TestRequest::default().to_srv_request();
        let begin = || LoggedRequest::begin(&request, &counted, false);
        let handler =
            poll_fn::<Result<ServiceResponse<BoxBody>, Error>, _>(|_| panic!("as a handler may"));
        let ended = spawn(begin().follow(RequestId::random(), handler)).await;
        assert!(ended.unwrap_err().is_panic());
        drop(begin());
        let text = metrics.text();
        for status in [499, 500] {
            let counted = format!(r#"{{method="GET",route="unknown",status="{status}"}} 1"#);
            assert!(text.contains(&counted), "{status}: {text}");
        }
        assert!(text.contains("in_flight 0"), "{text}");
    }
}
