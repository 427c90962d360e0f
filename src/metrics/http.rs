//! `GET /metrics`: the text that Prometheus scrapes.

use actix_web::{HttpResponse, Resource, http::header::CONTENT_TYPE, web};
use utoipa::OpenApi;

use super::Metrics;
use crate::http::read_resource;

/// The type of Prometheus' text format.
const TEXT: &str = "text/plain; version=0.0.4";

/// How OpenAPI describes the route.
#[derive(OpenApi)]
#[openapi(paths(metrics))]
pub(crate) struct MetricsApi;

/// The route, whose path ends in `slash`. It needs a `web::Data<Metrics>`.
pub fn resource(slash: &str) -> Resource {
    read_resource(&format!("/metrics{slash}"), metrics)
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
