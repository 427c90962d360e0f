//! What every request passes through. Lives here: routes and middleware. Not here: what a route
//! does, or when the service starts and stops.

#[cfg(test)]
mod tests;

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use actix_cors::Cors;
use actix_web::{
    Error, HttpResponse, ResponseError,
    body::BoxBody,
    dev::ServiceResponse,
    http::{ConnectionType, StatusCode, header},
    middleware::{Condition, ErrorHandlerResponse, from_fn},
    web,
};

use crate::{
    appointments::{self, PREFIX, http::Appointments},
    auth::http::{Auth, admins_only, callers_only},
    error::ApiError,
    health::{self, http::Health},
    input::http::BodyLimits,
    metrics::{self, Metrics},
    openapi::{self, http::Docs},
    settings::CorsSettings,
    stats::{self, http::Ttl, service::StatsService},
};

#[derive(Clone)]
pub(super) struct Shared {
    pub(super) auth: web::Data<Auth>,
    pub(super) appointments: Appointments,
    pub(super) stats: Arc<StatsService>,
    pub(super) ttl: Ttl,
    pub(super) metrics: Arc<Metrics>,
    pub(super) health: Health,
    pub(super) docs: Docs,
}

pub(super) fn routes(config: &mut web::ServiceConfig, shared: Shared, limits: BodyLimits) {
    let needs_token = shared.auth.is_required();
    config
        .app_data(shared.auth)
        .app_data(web::Data::new(shared.appointments))
        .app_data(web::Data::new(shared.stats))
        .app_data(web::Data::new(shared.ttl))
        .app_data(web::Data::from(shared.metrics))
        .app_data(web::Data::new(shared.health))
        .app_data(web::Data::new(shared.docs))
        .app_data(limits)
        .configure(|config| paths(config, needs_token));
}

/// All routes; what they work with is set beside them.
pub(super) fn paths(config: &mut web::ServiceConfig, needs_token: bool) {
    config
        .configure(openapi::http::routes)
        .configure(health::http::routes)
        .service(
            web::scope(PREFIX)
                .wrap(Condition::new(needs_token, from_fn(callers_only)))
                .configure(stats::http::routes)
                .configure(appointments::http::routes),
        )
        .service(metrics::http::resource().wrap(from_fn(admins_only)))
        .default_service(web::to(no_such_route));
}

async fn no_such_route() -> HttpResponse {
    ApiError::not_found("There is no such route.").error_response()
}

/// Any header, since browsers ask for whatever a front end sends; the origins are what is checked.
pub(super) fn cross_origin(settings: &CorsSettings) -> Cors {
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

/// Has the answer end its connection once the service drains: the client's next request may go to
/// somebody else.
pub(super) async fn part_if<B>(
    draining: Arc<AtomicBool>,
    call: impl Future<Output = Result<ServiceResponse<B>, Error>>,
) -> Result<ServiceResponse<B>, Error> {
    let mut answer = call.await?;
    if draining.load(Ordering::Relaxed) {
        let head = answer.response_mut().head_mut();
        head.set_connection_type(ConnectionType::Close);
    }
    Ok(answer)
}

/// A wrong method is answered in the same JSON as every other mistake, with `Allow` kept.
#[expect(clippy::unnecessary_wraps, reason = "the middleware's signature")]
pub(super) fn explain_405<B>(
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
