//! Counting requests by route, method and status, and measuring how long they take.

use std::{cell::RefCell, collections::HashMap, rc::Rc, sync::Arc, thread, time::Instant};

use actix_web::{
    Error,
    dev::{ServiceRequest, ServiceResponse},
    http::{Method, StatusCode},
};

use crate::metrics::{Metrics, RequestSeries};

/// The name of the route where a request has none.
const UNKNOWN_ROUTE: &str = "unknown";

/// Methods that have a series of their own.
static METHODS: [Method; 7] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PATCH,
    Method::PUT,
    Method::DELETE,
    Method::OPTIONS,
];

/// The name of a method. All methods that a client invents have the same.
pub(super) fn method_name(method: &Method) -> &'static str {
    let known = METHODS.iter().find(|known| *known == method);
    known.map_or("other", Method::as_str)
}

/// The client left before it was answered. nginx has the same number for it.
fn status_client_left() -> StatusCode {
    StatusCode::from_u16(499).expect("three digits")
}

/// Counts the requests of one worker. It takes a lock only the first time that a route, method and
/// status occur.
pub(super) struct RequestMetrics {
    metrics: Arc<Metrics>,
    /// By route template: as many as there are routes.
    routes: RefCell<HashMap<String, Rc<RouteMetrics>>>,
}

/// The series of one route.
#[derive(Debug)]
pub(super) struct RouteMetrics {
    template: String,
    series: RefCell<Vec<StatusSeries>>,
}

/// The series of one route, method and status.
#[derive(Debug)]
struct StatusSeries {
    method: &'static str,
    status: StatusCode,
    series: RequestSeries,
}

/// A request that is being answered. It is counted when this is dropped.
pub(super) struct MeasuredRequest {
    metrics: Arc<Metrics>,
    route: Rc<RouteMetrics>,
    method: &'static str,
    status: StatusCode,
    began: Instant,
}

impl RequestMetrics {
    pub(super) fn new(metrics: Arc<Metrics>) -> Rc<Self> {
        Rc::new(Self {
            metrics,
            routes: RefCell::default(),
        })
    }

    /// Begins to measure a request.
    pub(super) fn begin(&self, request: &ServiceRequest) -> MeasuredRequest {
        self.metrics.requests.in_flight.inc();
        MeasuredRequest {
            metrics: Arc::clone(&self.metrics),
            route: self.route(request),
            method: method_name(request.method()),
            status: status_client_left(),
            began: Instant::now(),
        }
    }

    fn route(&self, request: &ServiceRequest) -> Rc<RouteMetrics> {
        // A path without an id is its own template.
        if let Some(route) = self.routes.borrow().get(without_slash(request.path())) {
            return Rc::clone(route);
        }
        let template = request.match_pattern();
        let template = template.as_deref().map_or(UNKNOWN_ROUTE, without_slash);
        let template = template.to_owned();
        let mut routes = self.routes.borrow_mut();
        let route = routes.entry(template).or_insert_with_key(|template| {
            Rc::new(RouteMetrics {
                template: template.clone(),
                series: RefCell::default(),
            })
        });
        Rc::clone(route)
    }
}

/// `path` without a slash at its end, unless that is all of it.
fn without_slash(path: &str) -> &str {
    match path.strip_suffix('/') {
        Some("") | None => path,
        Some(path) => path,
    }
}

impl RouteMetrics {
    /// The route's template, such as `/healthz`; [`UNKNOWN_ROUTE`] if there is no such route.
    pub(super) fn template(&self) -> &str {
        &self.template
    }
}

impl MeasuredRequest {
    pub(super) fn route(&self) -> Rc<RouteMetrics> {
        Rc::clone(&self.route)
    }

    /// Notes the status that `answer` has.
    pub(super) async fn follow<B>(
        mut self,
        answer: impl Future<Output = Result<ServiceResponse<B>, Error>>,
    ) -> Result<ServiceResponse<B>, Error> {
        let answer = answer.await;
        self.status = match &answer {
            Ok(answer) => answer.status(),
            Err(error) => error.as_response_error().status_code(),
        };
        answer
    }
}

impl Drop for MeasuredRequest {
    fn drop(&mut self) {
        self.metrics.requests.in_flight.dec();
        if thread::panicking() {
            self.status = StatusCode::INTERNAL_SERVER_ERROR;
        }
        let Self {
            route,
            method,
            status,
            began,
            ..
        } = self;
        let mut series = route.series.borrow_mut();
        let known = series
            .iter()
            .position(|known| known.method == *method && known.status == *status);
        let index = known.unwrap_or_else(|| {
            let requests = &self.metrics.requests;
            series.push(StatusSeries {
                method,
                status: *status,
                series: requests.series(&route.template, method, status.as_str()),
            });
            series.len() - 1
        });
        series[index].series.count(began.elapsed());
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use actix_web::{rt::spawn, test::TestRequest};

    use super::*;
    use crate::settings::CacheBackend;

    #[actix_web::test]
    async fn a_request_whose_handler_panics_is_counted_as_500_and_one_that_is_dropped_as_499() {
        let metrics = Arc::new(Metrics::new(CacheBackend::Memory));
        let meter = RequestMetrics::new(Arc::clone(&metrics));
        let begin = || meter.begin(&TestRequest::default().to_srv_request());
        let handler = poll_fn::<Result<ServiceResponse, Error>, _>(|_| panic!("as a handler may"));
        let ended = spawn(begin().follow(handler)).await;
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
