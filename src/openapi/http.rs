//! The routes of the description: `/openapi.json`, and `/docs`, a page to browse it that loads
//! nothing from other servers. Links are relative, so that they hold behind a proxy that adds a path.

use std::{
    borrow::Cow,
    io::{self, Read},
    iter,
    sync::{Arc, Mutex, PoisonError},
};

use actix_web::{
    HttpMessage, HttpRequest, HttpResponse,
    http::header::{
        AcceptEncoding, CACHE_CONTROL, CONTENT_SECURITY_POLICY, ContentEncoding, ETag, Encoding,
        EntityTag, HeaderValue, IfNoneMatch, LOCATION, VARY, X_CONTENT_TYPE_OPTIONS,
    },
    web::{self, Bytes},
};
use bytes::Buf;
use flate2::bufread::GzDecoder;
use futures_util::{Stream, stream};
use jiff::{civil::Date, tz::TimeZone};
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

/// In bytes.
const UNPACKED_AT_ONCE: usize = 8 * 1024;

/// What the routes serve. It is made once.
#[derive(Clone)]
pub(crate) struct Docs {
    description: Arc<str>,
    /// The description with the day in it, for all who ask on that day.
    of_day: Arc<Mutex<Option<(Date, Bytes)>>>,
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
            of_day: Arc::default(),
            clock,
            page: Arc::new(page),
        }
    }

    /// The description, with today for the day of its examples.
    fn description(&self) -> Bytes {
        let today = self.clock.now().to_zoned(TimeZone::UTC).date();
        let mut of_day = self.of_day.lock().unwrap_or_else(PoisonError::into_inner);
        match &*of_day {
            Some((day, description)) if *day == today => description.clone(),
            _ => {
                let description = self.description.replace(EXAMPLE_DAY, &today.to_string());
                let description = Bytes::from(description);
                *of_day = Some((today, description.clone()));
                description
            }
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

async fn description(request: HttpRequest, docs: web::Data<Docs>) -> HttpResponse {
    file(&request, "application/json", docs.description(), false)
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
    let mut answer = file(&request, &content_type, bytes, gzpipped);
    let headers = answer.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Ok(answer)
}

/// Answers a file that is the same for everybody, without a copy of it for each client.
///
/// The next version may have another file under this name, so browsers keep it and ask each time
/// whether theirs is still the right one.
fn file(request: &HttpRequest, content_type: &str, bytes: Bytes, is_gzipped: bool) -> HttpResponse {
    // Weak: with gzip and without it, it is the same file.
    let tag = EntityTag::new_weak(format!("{:08x}", crc32fast::hash(&bytes)));
    let is_known = match request.get_header() {
        Some(IfNoneMatch::Any) => true,
        Some(IfNoneMatch::Items(known)) => known.iter().any(|known| known.weak_eq(&tag)),
        None => false,
    };
    let mut answer = if is_known {
        HttpResponse::NotModified()
    } else {
        HttpResponse::Ok()
    };
    answer
        .insert_header(ETag(tag))
        .insert_header((CACHE_CONTROL, "no-cache"))
        .insert_header((VARY, "Accept-Encoding"));
    if is_known {
        return answer.finish();
    }
    answer.content_type(content_type);
    if !is_gzipped {
        answer.body(bytes)
    } else if accepts_gzip(request) {
        answer.insert_header(ContentEncoding::Gzip).body(bytes)
    } else {
        answer.streaming(unpacked(bytes))
    }
}

fn accepts_gzip(request: &HttpRequest) -> bool {
    let offered = [Encoding::gzip(), Encoding::identity()];
    let accepted: Option<AcceptEncoding> = request.get_header();
    accepted
        .is_some_and(|accepted| accepted.negotiate(offered.iter()).as_ref() == Some(&offered[0]))
}

/// Unpacks a file as fast as the client reads it.
fn unpacked(gzipped: Bytes) -> impl Stream<Item = io::Result<Bytes>> {
    let mut file = GzDecoder::new(gzipped.reader());
    stream::iter(iter::from_fn(move || {
        let mut piece = vec![0; UNPACKED_AT_ONCE];
        let read = file.read(&mut piece).map(|length| {
            piece.truncate(length);
            Bytes::from(piece)
        });
        match read {
            Ok(end) if end.is_empty() => None,
            read => Some(read),
        }
    }))
}
