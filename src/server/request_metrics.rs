//! Counting requests by route, method and status, and measuring how long they take.

use std::{cell::RefCell, rc::Rc, sync::Arc, time::Duration};

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

/// Counts the requests of one worker. It takes a lock only the first time that a route, method and
/// status occur.
pub(super) struct RequestMetrics {
    metrics: Arc<Metrics>,
    /// As many as there are routes.
    routes: RefCell<Vec<Rc<RouteMetrics>>>,
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
        if let Some(route) = self.known(request.path()) {
            return route;
        }
        let template = request.match_pattern();
        let template = template.as_deref().unwrap_or(UNKNOWN_ROUTE);
        self.known(template).unwrap_or_else(|| {
            let route = Rc::new(RouteMetrics {
                metrics: Arc::clone(&self.metrics),
                template: without_slash(template).to_owned(),
                series: RefCell::default(),
            });
            self.routes.borrow_mut().push(Rc::clone(&route));
            route
        })
    }

    /// The route of that template, if it was requested before.
    fn known(&self, template: &str) -> Option<Rc<RouteMetrics>> {
        let template = without_slash(template);
        let routes = self.routes.borrow();
        routes
            .iter()
            .find(|route| route.template == template)
            .cloned()
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

    /// Notes that a request was answered with `status`, or counts as such, after so long.
    pub(super) fn end(&self, method: &'static str, status: StatusCode, took: Duration) {
        self.metrics.requests.in_flight.dec();
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
