//! The route of the metrics: the text that Prometheus scrapes.

use actix_web::{HttpResponse, Resource, http::header::CONTENT_TYPE, web};
use utoipa::OpenApi;

use super::Metrics;

/// Prometheus' text format.
const TEXT: &str = "text/plain; version=0.0.4";

/// The route as it is described.
#[derive(OpenApi)]
#[openapi(paths(metrics))]
pub(crate) struct Api;

/// The route, which needs a `web::Data<Metrics>`.
pub fn resource() -> Resource {
    web::resource(["/metrics", "/metrics/"])
        .get(metrics)
        .route(web::head().to(metrics))
}

/// What Prometheus scrapes
///
/// Of this instance alone. No label holds what a client sent.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "Metrics",
    responses(
        (
            status = 200,
            description = "The metrics, in Prometheus' text format.",
            body = String,
            content_type = "text/plain"
        )
    )
)]
async fn metrics(metrics: web::Data<Metrics>) -> actix_web::Result<HttpResponse> {
    let text = web::block(move || metrics.text()).await?;
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, TEXT))
        .body(text))
}
