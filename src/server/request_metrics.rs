//! Counting requests by route, method and status, and measuring how long they take.

use std::{cell::RefCell, collections::HashMap, rc::Rc, sync::Arc, thread, time::Duration};

use actix_web::{
    dev::ServiceRequest,
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

/// Counts the requests of one route.
#[derive(Debug)]
pub(super) struct RouteMetrics {
    metrics: Arc<Metrics>,
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

impl RequestMetrics {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            metrics,
            routes: RefCell::default(),
        }
    }

    /// Counts the route of `request`.
    pub(super) fn route(&self, request: &ServiceRequest) -> Rc<RouteMetrics> {
        // A path without an id is its own template.
        if let Some(route) = self.routes.borrow().get(without_slash(request.path())) {
            return Rc::clone(route);
        }
        let template = request.match_pattern();
        let template = template.as_deref().map_or(UNKNOWN_ROUTE, without_slash);
        let mut routes = self.routes.borrow_mut();
        let route = routes.entry(template.to_owned()).or_insert_with(|| {
            Rc::new(RouteMetrics {
                metrics: Arc::clone(&self.metrics),
                template: template.to_owned(),
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

    /// Notes that a request begins to be answered.
    pub(super) fn begin(&self) {
        self.metrics.requests.in_flight.inc();
    }

    /// Notes that a request was answered after so long, or that it will not be: then `status` is `None`.
    pub(super) fn end(&self, method: &'static str, status: Option<StatusCode>, took: Duration) {
        self.metrics.requests.in_flight.dec();
        let status = status.unwrap_or_else(|| {
            if thread::panicking() {
                StatusCode::INTERNAL_SERVER_ERROR
            } else {
                status_client_left()
            }
        });
        let mut series = self.series.borrow_mut();
        let known = series
            .iter()
            .position(|known| known.method == method && known.status == status);
        let index = known.unwrap_or_else(|| {
            let requests = &self.metrics.requests;
            series.push(StatusSeries {
                method,
                status,
                series: requests.series(&self.template, method, status.as_str()),
            });
            series.len() - 1
        });
        series[index].series.count(took);
    }
}
