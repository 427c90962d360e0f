//! The routes of the description: `/openapi.json`, and `/docs`, a page to browse it that loads
//! nothing from other servers. Links are relative, so that they hold behind a proxy that adds a path.

use std::sync::Arc;

use actix_web::{
    HttpResponse,
    http::header::{CONTENT_SECURITY_POLICY, LOCATION, X_CONTENT_TYPE_OPTIONS},
    web,
};
use jiff::tz::TimeZone;
use utoipa_swagger_ui::{Config, SwaggerFile};

use super::describe;
use crate::{clock::Clock, error::ApiError};

const DESCRIPTION: &str = "/openapi.json";

/// The day of all examples in the description, which is served with the day of the request instead:
/// the page fills its forms with them.
const EXAMPLE_DAY: &str = "2025-10-31";

/// The page may load its own files and the pictures in them, and nothing else; no other site may put
/// it into a frame. Its scripts write some of its styles.
const POLICY: &str = "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; \
                      object-src 'none'; base-uri 'none'; frame-ancestors 'none'";

/// What the routes serve. It is made once.
#[derive(Clone)]
pub(crate) struct Docs {
    description: Arc<str>,
    clock: Arc<dyn Clock>,
    page: Arc<Config<'static>>,
}

impl Docs {
    /// Describes the service.
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        let description = describe()
            .to_json()
            .expect("a description has only keys that are text");
        // By default the page sends the description to a public service that checks it.
        let page = Config::from(format!("..{DESCRIPTION}")).validator_url("none");
        Self {
            description: description.into(),
            clock,
            page: Arc::new(page),
        }
    }
}

/// Adds the routes.
pub(crate) fn routes(config: &mut web::ServiceConfig) {
    config
        .service(
            web::resource(DESCRIPTION)
                .get(description)
                .route(web::head().to(description)),
        )
        .service(
            web::resource("/docs")
                .get(to_page)
                .route(web::head().to(to_page)),
        )
        .service(
            web::resource("/docs/{file:.*}")
                .get(page)
                .route(web::head().to(page)),
        );
}

async fn description(docs: web::Data<Docs>) -> HttpResponse {
    let today = docs.clock.now().to_zoned(TimeZone::UTC).date();
    HttpResponse::Ok()
        .content_type("application/json")
        .body(docs.description.replace(EXAMPLE_DAY, &today.to_string()))
}

/// Redirects to the page with a slash at its end, since it names its files relative to itself.
async fn to_page() -> HttpResponse {
    HttpResponse::PermanentRedirect()
        .insert_header((LOCATION, "docs/"))
        .finish()
}

async fn page(file: web::Path<String>, docs: web::Data<Docs>) -> Result<HttpResponse, ApiError> {
    let found = utoipa_swagger_ui::serve(&file, Arc::clone(&docs.page))
        .ok()
        .flatten();
    let SwaggerFile {
        bytes,
        content_type,
        ..
    } = found.ok_or_else(|| ApiError::not_found("There is no such file."))?;
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_SECURITY_POLICY, POLICY))
        .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .content_type(content_type)
        .body(bytes.into_owned()))
}
