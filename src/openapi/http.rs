//! The routes of the description: `/openapi.json`, and `/docs`, a page to browse it that loads
//! nothing from other servers. Links are relative, so that they hold behind a proxy that adds a path.

use std::{borrow::Cow, sync::Arc};

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{CONTENT_SECURITY_POLICY, HeaderValue, LOCATION, X_CONTENT_TYPE_OPTIONS},
    web::{self, Bytes},
};
use jiff::tz::TimeZone;
use utoipa_swagger_ui::{Config, SwaggerFile};

use super::describe;
use crate::{
    clock::Clock,
    error::ApiError,
    http::{StaticFile, read_resource},
};

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

    /// The description, with today for the day of its examples.
    fn description(&self) -> Bytes {
        let today = self.clock.now().to_zoned(TimeZone::UTC).date();
        let dated = self.description.replace(EXAMPLE_DAY, &today.to_string());
        dated.into()
    }
}

/// Adds the routes.
pub(crate) fn routes(config: &mut web::ServiceConfig) {
    config
        .service(read_resource(DESCRIPTION, description))
        .service(read_resource("/docs", to_page))
        .service(read_resource("/docs/{file:.*}", page));
}

async fn description(request: HttpRequest, docs: web::Data<Docs>) -> HttpResponse {
    let file = StaticFile {
        content_type: "application/json",
        bytes: docs.description(),
        is_gzipped: false,
    };
    file.answer(&request)
}

/// Redirects to the page with a slash at its end, since it names its files relative to itself.
async fn to_page() -> HttpResponse {
    HttpResponse::PermanentRedirect()
        .insert_header((LOCATION, "docs/"))
        .finish()
}

async fn page(
    request: HttpRequest,
    path: web::Path<String>,
    docs: web::Data<Docs>,
) -> Result<HttpResponse, ApiError> {
    let found = utoipa_swagger_ui::serve(&path, Arc::clone(&docs.page))
        .ok()
        .flatten();
    let SwaggerFile {
        bytes,
        content_type,
        gzpipped,
        ..
    } = found.ok_or_else(|| ApiError::not_found("There is no such file."))?;
    let bytes = match bytes {
        Cow::Borrowed(embedded) => Bytes::from_static(embedded),
        Cow::Owned(made) => made.into(),
    };
    let file = StaticFile {
        content_type: &content_type,
        bytes,
        is_gzipped: gzpipped,
    };
    let mut answer = file.answer(&request);
    let headers = answer.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Ok(answer)
}
