//! The routes, and what every request passes through.

#[cfg(test)]
mod tests;

use std::{
    rc::Rc,
    sync::{Arc, atomic::Ordering},
};

use actix_cors::Cors;
use actix_web::{
    App, Error, HttpRequest, HttpResponse, ResponseError,
    body::BoxBody,
    dev::{Service as _, ServiceFactory, ServiceRequest, ServiceResponse},
    guard::fn_guard,
    http::{
        ConnectionType, StatusCode,
        header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, ORIGIN},
    },
    middleware::from_fn,
    web,
};

use super::{
    access_log::{LoggedRequest, id_of},
    pieces::in_pieces,
    request_metrics::RequestMetrics,
    tcp::RequestInProgress,
};

use crate::{
    appointments::{self, PREFIX, http::Appointments},
    auth::http::{Auth, admins_only, callers_only},
    dashboard,
    error::ApiError,
    health::{self, http::HealthChecks},
    http::SLASH_OR_NOT,
    input::http::BodyLimits,
    metrics::{self, Metrics},
    openapi::{self, http::Docs},
    settings::CorsSettings,
    stats::{self, events::LiveCounts, recent::RecentPolls, service::StatsService},
};

/// What the routes and the middleware work with. Each worker has a clone.
#[derive(Clone)]
pub(super) struct AppState {
    pub(super) auth: web::Data<Auth>,
    pub(super) appointments: Appointments,
    pub(super) stats: Arc<StatsService>,
    pub(super) live: Arc<LiveCounts>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) health: HealthChecks,
    pub(super) docs: Docs,
    pub(super) body_limits: BodyLimits,
    pub(super) cors: CorsSettings,
    /// Whether requests have a line in the log even if nothing failed.
    pub(super) logs_all_requests: bool,
}

/// The whole of it, for one worker.
pub(super) fn app(
    state: AppState,
) -> App<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse<BoxBody>,
        Error = Error,
        InitError = (),
    >,
> {
    let request_metrics = Rc::new(RequestMetrics::new(Arc::clone(&state.metrics)));
    let logs_all = state.logs_all_requests;
    let is_draining = Arc::clone(&state.health.is_draining);
    App::new()
        .configure(|config| routes(config, state))
        // The only layer around all routes: each one costs every answer.
        .wrap_fn(move |mut request, service| {
            let in_progress = RequestInProgress::begin(&mut request);
            let logged = LoggedRequest::begin(&request, &request_metrics, logs_all);
            let id = id_of(&request);
            let is_draining = Arc::clone(&is_draining);
            let answer = service.call(request);
            logged.follow(id, async move {
                let mut answer = complete(answer.await?);
                // While the service drains, the client's next request may go to another instance.
                if in_progress.is_last() || is_draining.load(Ordering::Relaxed) {
                    let head = answer.response_mut().head_mut();
                    head.set_connection_type(ConnectionType::Close);
                }
                Ok(answer)
            })
        })
}

fn routes(config: &mut web::ServiceConfig, state: AppState) {
    let needs_token = state.auth.is_required();
    let cors = cross_origin(&state.cors);
    config
        .app_data(state.auth)
        .app_data(web::Data::new(state.appointments))
        .app_data(web::Data::new(state.stats))
        .app_data(web::Data::new(state.live))
        .app_data(web::Data::from(state.metrics))
        .app_data(web::Data::new(state.health))
        .app_data(web::Data::new(state.docs))
        .app_data(state.body_limits)
        .app_data(RecentPolls::default())
        // The same routes once more, for requests of browsers from a page of another origin: only their
        // answers have the headers of CORS.
        .service(
            web::scope("")
                .guard(fn_guard(|context| {
                    context.head().headers().contains_key(ORIGIN)
                }))
                .wrap(cors)
                .configure(|config| paths(config, needs_token)),
        )
        .configure(|config| paths(config, needs_token));
}

/// All routes, without what they work with.
fn paths(config: &mut web::ServiceConfig, needs_token: bool) {
    let about_tenants = |prefix| {
        move |config: &mut web::ServiceConfig| {
            stats::http::routes(config, prefix);
            stats::events::http::routes(config, prefix);
            appointments::http::routes(config, prefix);
        }
    };
    if needs_token {
        let callers = web::scope(PREFIX).wrap(from_fn(callers_only));
        config.service(callers.configure(about_tenants("")));
    } else {
        // Without a scope, since that is a layer around each of its answers.
        config.configure(about_tenants(PREFIX));
    }
    config
        .configure(dashboard::http::routes)
        .configure(openapi::http::routes)
        .configure(health::http::routes);
    for slash in SLASH_OR_NOT {
        let metrics = metrics::http::resource(slash);
        config.service(metrics.wrap(from_fn(admins_only)));
    }
    config.default_service(web::to(no_such_route));
}

async fn no_such_route(request: HttpRequest) -> HttpResponse {
    dashboard::http::no_such_route(&request).error_response()
}

/// Allows any header, since browsers ask for whatever a front end sends. The origins are checked.
fn cross_origin(settings: &CorsSettings) -> Cors {
    let cors = Cors::default()
        .allowed_methods(["GET", "HEAD", "POST", "PATCH", "DELETE"])
        .allow_any_header()
        .expose_headers([
            "Age",
            "X-Cache",
            "Cache-Status",
            "Location",
            "Retry-After",
            "X-Request-Id",
            "Idempotency-Replayed",
            "WWW-Authenticate",
        ])
        .supports_credentials()
        .max_age(3600);
    settings
        .allowed_origins
        .iter()
        .fold(cors, |cors, origin| cors.allowed_origin(origin))
}

/// Adds to an answer what all answers have: how it may be cached, and the reason in JSON where the
/// method was wrong. A long one will be taken in pieces.
fn complete(mut answer: ServiceResponse) -> ServiceResponse {
    let status = answer.status();
    let headers = answer.headers_mut();
    if !headers.contains_key(CACHE_CONTROL) {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    if status != StatusCode::METHOD_NOT_ALLOWED {
        return answer.map_body(|_, body| in_pieces(body));
    }
    let allowed = headers.get(ALLOW).and_then(|allow| allow.to_str().ok());
    let detail = match allowed {
        Some(allowed) => format!("This method is not allowed here. Allowed: {allowed}."),
        None => "This method is not allowed here.".to_owned(),
    };
    let mut explained = ApiError::new(status, detail).error_response();
    if let Some(content_type) = explained.headers_mut().remove(CONTENT_TYPE).next() {
        headers.insert(CONTENT_TYPE, content_type);
    }
    answer.map_body(|_, _| explained.into_body())
}
