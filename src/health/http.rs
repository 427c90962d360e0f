//! The routes. Nobody needs to say who asks, and nothing that a client can do makes these answers
//! slow.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use actix_web::{HttpResponse, http::StatusCode, web};
use serde::Serialize;
use utoipa::{OpenApi, ToSchema};

use crate::{
    db::Db,
    error::{ApiError, openapi::RetryAfter},
    http::read_resource,
};

const ALIVE: &str = "/healthz";
const READY: &str = "/readyz";
/// As `AlignWork` has it.
const HEALTH: &str = "/health";

/// The routes, which are asked every few seconds.
pub const PROBES: [&str; 3] = [ALIVE, READY, HEALTH];

/// How OpenAPI describes the routes.
#[derive(OpenApi)]
#[openapi(paths(alive, ready, healthy))]
pub(crate) struct HealthApi;

/// What readiness depends on. Redis is no part of it: without it answers are right, only slower.
#[derive(Debug, Clone)]
pub struct Health {
    /// What must be usable.
    pub db: Db,
    /// Whether the service was told to stop.
    pub draining: Arc<AtomicBool>,
}

/// What is well.
#[derive(Serialize, ToSchema)]
struct Well {
    status: HealthStatus,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum HealthStatus {
    Alive,
    Ready,
    Healthy,
}

/// Adds the routes, outside of every prefix. They need a `web::Data<Health>`.
pub fn routes(config: &mut web::ServiceConfig) {
    config
        .service(read_resource(ALIVE, alive))
        .service(read_resource(READY, ready))
        .service(read_resource(HEALTH, healthy));
}

/// Whether the process answers
///
/// It asks nobody else. No answer: restart it.
#[utoipa::path(
    get,
    path = "/healthz",
    tag = "Health",
    responses(
        (
            status = 200,
            description = "It does.",
            body = Well,
            example = json!({ "status": "alive" })
        )
    )
)]
async fn alive() -> HttpResponse {
    say(HealthStatus::Alive)
}

/// Whether requests should be sent here
///
/// Asked of the database at most once a second. The answer comes within a second.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "Health",
    responses(
        (
            status = 200,
            description = "The database answers and has this version's schema, and the service is not stopping.",
            body = Well,
            example = json!({ "status": "ready" })
        ),
        (
            status = 503,
            description = "Send them elsewhere; `detail` says why.",
            body = ApiError,
            headers(("Retry-After" = inline(RetryAfter), description = "After how many seconds to come back.")),
            example = json!(not_ready("the service is stopping"))
        )
    )
)]
async fn ready(health: web::Data<Health>) -> Result<HttpResponse, ApiError> {
    if health.draining.load(Ordering::Relaxed) {
        return Err(not_ready("the service is stopping"));
    }
    match health.db.ready().await {
        Ok(()) => Ok(say(HealthStatus::Ready)),
        Err(cause) => Err(not_ready("the database cannot be used").because(&cause)),
    }
}

/// The same as `/healthz`, in another form
#[utoipa::path(
    get,
    path = "/health",
    tag = "Health",
    responses(
        (
            status = 200,
            description = "It is.",
            body = Well,
            example = json!({ "status": "healthy" })
        )
    )
)]
async fn healthy() -> HttpResponse {
    say(HealthStatus::Healthy)
}

fn say(status: HealthStatus) -> HttpResponse {
    HttpResponse::Ok().json(Well { status })
}

fn not_ready(why: &str) -> ApiError {
    let detail = format!("Not ready: {why}.");
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, detail)
}
