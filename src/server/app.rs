//! The routes, and what every request passes through.

#[cfg(test)]
mod tests;

use std::sync::{Arc, atomic::Ordering};

use actix_cors::Cors;
use actix_web::{
    App, Error, HttpResponse, ResponseError,
    body::{BoxBody, MessageBody},
    dev::{Service as _, ServiceFactory, ServiceRequest, ServiceResponse},
    http::{ConnectionType, StatusCode, header},
    middleware::{Condition, DefaultHeaders, ErrorHandlerResponse, ErrorHandlers, from_fn},
    web,
};

use super::{
    access_log::LoggedRequest, pieces::in_pieces, request_metrics::RequestMetrics,
    tcp::RequestInProgress,
};

use crate::{
    appointments::{self, PREFIX, http::Appointments},
    auth::http::{Auth, admins_only, callers_only},
    error::ApiError,
    health::{self, http::HealthChecks},
    input::http::BodyLimits,
    metrics::{self, Metrics},
    openapi::{self, http::Docs},
    settings::CorsSettings,
    stats::{self, events::LiveCounts, service::StatsService},
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
        Response = ServiceResponse<impl MessageBody>,
        Error = Error,
        InitError = (),
    >,
> {
    let cors = cross_origin(&state.cors);
    let request_metrics = RequestMetrics::new(Arc::clone(&state.metrics));
    let logs_all = state.logs_all_requests;
    let is_draining = Arc::clone(&state.health.is_draining);
    App::new()
        .configure(|config| routes(config, state))
        .wrap(ErrorHandlers::new().handler(StatusCode::METHOD_NOT_ALLOWED, explain_405))
        .wrap(DefaultHeaders::new().add((header::CACHE_CONTROL, "no-store")))
        .wrap(cors)
        // Outermost, so that it sees every answer.
        .wrap_fn(move |mut request, service| {
            let in_progress = RequestInProgress::begin(&mut request);
            let measured = request_metrics.begin(&request);
            let logged = LoggedRequest::new(&request, logs_all);
            let is_draining = Arc::clone(&is_draining);
            let answer = logged.follow(service.call(request));
            async move {
                let mut answer = measured.follow(answer).await;
                // While the service drains, the client's next request may go to another instance.
                let is_last = in_progress.is_last() || is_draining.load(Ordering::Relaxed);
                if let Ok(answer) = &mut answer
                    && is_last
                {
                    let head = answer.response_mut().head_mut();
                    head.set_connection_type(ConnectionType::Close);
                }
                drop(in_progress);
                answer.map(|answer| answer.map_body(|_, body| in_pieces(body)))
            }
        })
}

fn routes(config: &mut web::ServiceConfig, state: AppState) {
    let needs_token = state.auth.is_required();
    config
        .app_data(state.auth)
        .app_data(web::Data::new(state.appointments))
        .app_data(web::Data::new(state.stats))
        .app_data(web::Data::new(state.live))
        .app_data(web::Data::from(state.metrics))
        .app_data(web::Data::new(state.health))
        .app_data(web::Data::new(state.docs))
        .app_data(state.body_limits)
        .configure(|config| paths(config, needs_token));
}

/// All routes, without what they work with.
fn paths(config: &mut web::ServiceConfig, needs_token: bool) {
    config
        .configure(openapi::http::routes)
        .configure(health::http::routes)
        .service(
            web::scope(PREFIX)
                .wrap(Condition::new(needs_token, from_fn(callers_only)))
                .configure(stats::http::routes)
                .configure(stats::events::http::routes)
                .configure(appointments::http::routes),
        )
        .service(metrics::http::resource().wrap(from_fn(admins_only)))
        .default_service(web::to(no_such_route));
}

async fn no_such_route() -> HttpResponse {
    ApiError::not_found("There is no such route.").error_response()
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

/// Answers a wrong method in the same JSON as every other error, and keeps `Allow`.
#[expect(clippy::unnecessary_wraps, reason = "the middleware's signature")]
fn explain_405<B>(
    response: ServiceResponse<B>,
) -> actix_web::Result<ErrorHandlerResponse<BoxBody>> {
    let allow = response.headers().get(header::ALLOW).cloned();
    let detail = allow
        .as_ref()
        .and_then(|allow| allow.to_str().ok())
        .map_or_else(
            || "This method is not allowed here.".to_owned(),
            |allow| format!("This method is not allowed here. Allowed: {allow}."),
        );
    let mut explained = ApiError::new(StatusCode::METHOD_NOT_ALLOWED, detail).error_response();
    if let Some(allow) = allow {
        explained.headers_mut().insert(header::ALLOW, allow);
    }
    let explained = ServiceResponse::new(response.into_parts().0, explained);
    Ok(ErrorHandlerResponse::Response(
        explained.map_into_left_body(),
    ))
}
