//! Counting requests: which route a request has, how it ended, and how long it took. Not here: what
//! is done with the counts (`crate::metrics`).

use std::{cell::RefCell, collections::HashMap, rc::Rc, sync::Arc, thread, time::Instant};

use actix_web::{
    Error,
    dev::{ServiceRequest, ServiceResponse},
    http::{Method, StatusCode},
};

use crate::metrics::{Metrics, Series};

/// The route of what has none.
const UNKNOWN: &str = "unknown";

/// Methods that are told apart.
static METHODS: [Method; 7] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PATCH,
    Method::PUT,
    Method::DELETE,
    Method::OPTIONS,
];

/// What a method is called. A client may make methods up, which are all one.
pub(super) fn method_name(method: &Method) -> &'static str {
    let known = METHODS.iter().find(|known| *known == method);
    known.map_or("other", Method::as_str)
}

/// No answer was sent: nginx' number for it.
fn client_left() -> StatusCode {
    StatusCode::from_u16(499).expect("three digits")
}

/// Counts the requests of one worker. What it has counted before it counts without a lock and
/// without allocating, except under paths that hold an id.
pub(super) struct Meter {
    metrics: Arc<Metrics>,
    /// By route template: as many as there are routes.
    routes: RefCell<HashMap<String, Rc<Route>>>,
}

/// The series of one route, by method and status.
struct Route {
    template: String,
    series: RefCell<Vec<(&'static str, StatusCode, Series)>>,
}

/// A request that is being answered. It is counted when this is dropped.
pub(super) struct Measured {
    metrics: Arc<Metrics>,
    route: Rc<Route>,
    method: &'static str,
    status: StatusCode,
    began: Instant,
}

impl Meter {
    pub(super) fn new(metrics: Arc<Metrics>) -> Rc<Self> {
        Rc::new(Self {
            metrics,
            routes: RefCell::default(),
        })
    }

    /// Begins to measure a request.
    pub(super) fn begin(&self, request: &ServiceRequest) -> Measured {
        self.metrics.requests.in_flight.inc();
        Measured {
            metrics: Arc::clone(&self.metrics),
            route: self.route(request),
            method: method_name(request.method()),
            status: client_left(),
            began: Instant::now(),
        }
    }

    fn route(&self, request: &ServiceRequest) -> Rc<Route> {
        // A path without an id is its own template, but for a slash at its end.
        let path = request.path();
        let path = path.strip_suffix('/').unwrap_or(path);
        if let Some(route) = self.routes.borrow().get(path) {
            return Rc::clone(route);
        }
        let template = request.match_pattern();
        let template = template.unwrap_or_else(|| UNKNOWN.to_owned());
        let mut routes = self.routes.borrow_mut();
        let route = routes.entry(template).or_insert_with_key(|template| {
            Rc::new(Route {
                template: template.clone(),
                series: RefCell::default(),
            })
        });
        Rc::clone(route)
    }
}

impl Measured {
    /// Until the request has been answered.
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

impl Drop for Measured {
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
            .position(|(of, ended, _)| of == method && ended == status);
        let at = known.unwrap_or_else(|| {
            let requests = &self.metrics.requests;
            let made = requests.series(&route.template, method, status.as_str());
            series.push((*method, *status, made));
            series.len() - 1
        });
        series[at].2.count(began.elapsed());
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
        let meter = Meter::new(Arc::clone(&metrics));
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
