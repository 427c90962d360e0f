//! The description of the API in OpenAPI 3.1, put together from what stands beside the routes and
//! their types. Lives here: what holds for all of them; `http` serves it. Not here: what describes
//! one route.

pub(crate) mod http;

use utoipa::{
    OpenApi,
    openapi::{Header, ObjectBuilder, OpenApi as Description, RefOr, Response, Type},
};

use crate::{
    appointments::{self, http::PREFIX},
    error::{self, ApiError, FieldError},
    input::openapi::{Instant, Tenant},
    stats,
};

/// What holds for all routes alike.
const ABOUT: &str = "\
Answers a clinic dashboard's appointment statistics: from a cache, at once, and never older than \
the last acknowledged write.

Every path may also be written without the slash at its end, or with one. `HEAD` is answered as \
`GET` without the body. A method that a path has not is answered with 405 and `Allow`, a path that \
there is not with 404. Further query parameters are ignored \
unless a route says otherwise.

Errors have the members of RFC 9457, sent as `application/json`; `detail` is fit to be shown.";

#[derive(OpenApi)]
#[openapi(
    components(schemas(ApiError, FieldError, Instant, Tenant)),
    tags(
        (name = "Statistics", description = "Counts by calendar, cached."),
        (name = "Appointments", description = "The appointments themselves."),
        (name = "Cache", description = "The cache itself.")
    )
)]
struct Common;

/// The description of every route but those of the description itself.
#[must_use]
pub fn describe() -> Description {
    let mut description = Common::openapi()
        .nest(PREFIX, stats::http::Api::openapi())
        .nest(PREFIX, appointments::http::Api::openapi());
    description.info.description = Some(ABOUT.to_owned());
    description.info.license = None;
    let components = description.components.get_or_insert_default();
    for (name, response) in error::openapi::responses() {
        components.responses.insert(name, response.into());
    }
    for response in responses(&mut description) {
        response
            .headers
            .insert("Cache-Control".to_owned(), no_store().into());
    }
    description
}

/// Every response, wherever it is described.
fn responses(description: &mut Description) -> impl Iterator<Item = &mut Response> {
    let components = description.components.iter_mut();
    let shared = components.flat_map(|components| components.responses.values_mut());
    let paths = description.paths.paths.values_mut();
    let operations = paths.flat_map(|path| {
        [
            &mut path.get,
            &mut path.post,
            &mut path.patch,
            &mut path.delete,
        ]
        .into_iter()
        .flatten()
    });
    let own = operations.flat_map(|operation| operation.responses.responses.values_mut());
    shared.chain(own).filter_map(|response| match response {
        RefOr::T(response) => Some(response),
        RefOr::Ref(_) => None,
    })
}

fn no_store() -> Header {
    let value = ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some(["no-store"]));
    let mut header = Header::new(value);
    header.description = Some("No cache but the service's own may keep it.".to_owned());
    header
}
