//! The routes. They need no token, and no client can make their answers slow.

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
    http::{SLASH_OR_NOT, read_resource},
};

const ALIVE: &str = "/healthz";
const READY: &str = "/readyz";
/// As `AlignWork` has it.
const HEALTH: &str = "/health";

/// The routes, which load balancers and supervisors ask every few seconds.
pub const PROBES: [&str; 3] = [ALIVE, READY, HEALTH];

/// How OpenAPI describes the routes.
#[derive(OpenApi)]
#[openapi(paths(alive, ready, healthy))]
pub(crate) struct HealthApi;

/// What readiness depends on. It does not depend on Redis: without it answers are right, only slower.
#[derive(Debug, Clone)]
pub struct HealthChecks {
    /// The database, which must be usable.
    pub db: Db,
    /// Whether the service was told to stop.
    pub is_draining: Arc<AtomicBool>,
}

#[derive(Serialize, ToSchema)]
struct HealthReport {
    status: HealthStatus,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum HealthStatus {
    Alive,
    Ready,
    Healthy,
}

/// Adds the routes, outside of every prefix. They need a `web::Data<HealthChecks>`.
pub fn routes(config: &mut web::ServiceConfig) {
    for slash in SLASH_OR_NOT {
        config
            .service(read_resource(&format!("{ALIVE}{slash}"), alive))
            .service(read_resource(&format!("{READY}{slash}"), ready))
            .service(read_resource(&format!("{HEALTH}{slash}"), healthy));
    }
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
            body = HealthReport,
            example = json!({ "status": "alive" })
        )
    )
)]
async fn alive() -> HttpResponse {
    report(HealthStatus::Alive)
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
            body = HealthReport,
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
async fn ready(health: web::Data<HealthChecks>) -> Result<HttpResponse, ApiError> {
    if health.is_draining.load(Ordering::Relaxed) {
        return Err(not_ready("the service is stopping"));
    }
    match health.db.ready().await {
        Ok(()) => Ok(report(HealthStatus::Ready)),
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
            body = HealthReport,
            example = json!({ "status": "healthy" })
        )
    )
)]
async fn healthy() -> HttpResponse {
    report(HealthStatus::Healthy)
}

fn report(status: HealthStatus) -> HttpResponse {
    HttpResponse::Ok().json(HealthReport { status })
}

fn not_ready(why: &str) -> ApiError {
    let detail = format!("Not ready: {why}.");
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, detail)
}
