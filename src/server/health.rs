//! Whether the service is well, for those who start, stop and send requests to it. Nobody needs to
//! say who asks, and nothing that a client can do makes these answers slow.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use actix_web::{HttpResponse, Resource, http::StatusCode, web};
use serde_json::json;

use crate::{db::Db, error::ApiError};

const ALIVE: &str = "/healthz";
const READY: &str = "/readyz";
/// As `AlignWork` has it.
const HEALTH: &str = "/health";

/// The routes, which are asked every few seconds.
pub(super) const PROBES: [&str; 3] = [ALIVE, READY, HEALTH];

/// What readiness depends on. Redis is no part of it: without it answers are right, only slower.
#[derive(Debug, Clone)]
pub(super) struct Health {
    pub(super) db: Db,
    /// Whether the service was told to stop.
    pub(super) draining: Arc<AtomicBool>,
}

/// Adds the routes, outside of every prefix.
pub(super) fn routes(config: &mut web::ServiceConfig) {
    config
        .service(fixed(ALIVE, "alive"))
        .service(fixed(HEALTH, "healthy"))
        .service(web::resource(READY).get(ready).route(web::head().to(ready)));
}

/// An answer that depends on nothing but that somebody gives it.
fn fixed(path: &str, status: &'static str) -> Resource {
    let answer = move || async move { say(status) };
    web::resource(path)
        .get(answer)
        .route(web::head().to(answer))
}

async fn ready(health: web::Data<Health>) -> Result<HttpResponse, ApiError> {
    let not_ready = |why| {
        let detail = format!("Not ready: {why}.");
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, detail)
    };
    if health.draining.load(Ordering::Relaxed) {
        return Err(not_ready("the service is stopping"));
    }
    match health.db.ready().await {
        Ok(()) => Ok(say("ready")),
        Err(cause) => Err(not_ready("the database cannot be used").because(&cause)),
    }
}

fn say(status: &str) -> HttpResponse {
    HttpResponse::Ok().json(json!({ "status": status }))
}
