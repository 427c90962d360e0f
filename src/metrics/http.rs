//! The route of the metrics: the text that Prometheus scrapes.

use actix_web::{HttpResponse, http::header::CONTENT_TYPE, web};

use super::Metrics;

/// Prometheus' text format.
const TEXT: &str = "text/plain; version=0.0.4";

/// Adds the route, which needs a `web::Data<Metrics>`.
pub fn routes(config: &mut web::ServiceConfig) {
    config.service(
        web::resource(["/metrics", "/metrics/"])
            .get(metrics)
            .route(web::head().to(metrics)),
    );
}

async fn metrics(metrics: web::Data<Metrics>) -> actix_web::Result<HttpResponse> {
    let text = web::block(move || metrics.text()).await?;
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, TEXT))
        .body(text))
}
