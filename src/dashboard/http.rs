//! `GET /`, which is the page for browsers and a pointer to the API for everybody else, and the page's
//! files. Links are relative, so that they hold behind a proxy that adds a path.

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{ACCEPT, CONTENT_SECURITY_POLICY, HeaderValue, VARY, X_CONTENT_TYPE_OPTIONS},
    web,
};
use serde_json::json;

use super::packed;
use crate::{
    appointments::PREFIX,
    error::ApiError,
    http::{StaticFile, forwarded_prefix, read_resource},
};

/// The page may load its own files and ask this service, and nothing else; no other site may put it
/// into a frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                      connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'";

/// Adds the routes.
pub fn routes(config: &mut web::ServiceConfig) {
    config
        .service(read_resource("/", root))
        .service(read_resource("/dashboard/{file}", page_file));
}

async fn root(request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let accepted = request.headers().get(ACCEPT);
    let is_browser = accepted.is_some_and(|kinds| {
        let kinds = kinds.to_str().unwrap_or_default();
        kinds.contains("text/html")
    });
    let mut answer = if is_browser {
        serve(&request, "index.html")?
    } else {
        let below = forwarded_prefix(&request);
        HttpResponse::Ok().json(json!({
            "docs": format!("{below}/docs/"),
            "openapi": format!("{below}/openapi.json"),
            "appointments": format!("{below}{PREFIX}"),
        }))
    };
    let vary = HeaderValue::from_static("Accept, Accept-Encoding");
    answer.headers_mut().insert(VARY, vary);
    Ok(answer)
}

async fn page_file(
    request: HttpRequest,
    name: web::Path<String>,
) -> Result<HttpResponse, ApiError> {
    serve(&request, &name)
}

fn serve(request: &HttpRequest, name: &str) -> Result<HttpResponse, ApiError> {
    let found = packed(name).ok_or_else(|| ApiError::not_found("There is no such file."))?;
    let file = StaticFile {
        content_type: match name.rsplit('.').next() {
            Some("html") => "text/html; charset=utf-8",
            Some("css") => "text/css; charset=utf-8",
            Some("svg") => "image/svg+xml",
            _ => "text/javascript; charset=utf-8",
        },
        bytes: found,
        is_gzipped: true,
    };
    let mut answer = file.answer(request);
    let headers = answer.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Ok(answer)
}

/// 404 for a path that there is not: it says where those are that there are.
pub fn no_such_route(request: &HttpRequest) -> ApiError {
    let below = forwarded_prefix(request);
    ApiError::not_found(format!(
        "There is no such route. {below}/docs/ and {below}/openapi.json describe those that there are; \
         the appointments are below {below}{PREFIX}."
    ))
}
