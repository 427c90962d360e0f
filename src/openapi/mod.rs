//! The description of the API in OpenAPI 3.1. Each route and type is described beside its code. Here
//! the descriptions are put together, with what is true of all routes; `http` serves the result.

pub(crate) mod http;

use utoipa::{
    IntoResponses, OpenApi,
    openapi::{
        Header, ObjectBuilder, OpenApi as Description, Ref, RefOr, Response, SecurityRequirement,
        Server, Type,
        security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};

use crate::{
    appointments::{self, PREFIX},
    error::{
        self, ApiError, FieldError,
        openapi::{Guarded, header},
    },
    health,
    input::openapi::{Instant, Tenant},
    metrics, stats,
};

/// What is true of all routes.
const ABOUT: &str = "\
Answers a clinic dashboard's appointment statistics: from a cache, at once, and never older than \
the last acknowledged write.

Every path may also be written without the slash at its end, or with one. `HEAD` is answered as \
`GET` without the body. A method that a path has not is answered with 405 and `Allow`, a path that \
there is not with 404. Further query parameters are ignored \
unless a route says otherwise.

Unless the service runs with `auth.mode = \"none\"`, requests carry an access token, which names the \
clinics that they may be about; the cache's own routes are for administrators.

A request may carry an `X-Request-Id` of 1 to 128 letters, digits or `-_.:/+=`. Its answer has the \
same, or else one that the service makes; the request's lines in the log have it.

Errors have the members of RFC 9457, sent as `application/json`; `detail` is fit to be shown.";

#[derive(OpenApi)]
#[openapi(
    components(schemas(ApiError, FieldError, Instant, Tenant)),
    tags(
        (name = "Statistics", description = "Counts by calendar, cached."),
        (name = "Appointments", description = "The appointments themselves."),
        (name = "Cache", description = "The cache itself."),
        (name = "Health", description = "Whether the service is well."),
        (name = "Metrics", description = "What is counted while serving.")
    )
)]
struct CommonParts;

/// Describes every route, except for those that serve the description itself.
pub fn describe() -> Description {
    let mut description = CommonParts::openapi()
        .nest(PREFIX, stats::http::StatsApi::openapi())
        .nest(PREFIX, stats::events::http::EventsApi::openapi())
        .nest(PREFIX, appointments::http::AppointmentsApi::openapi())
        .merge_from(health::http::HealthApi::openapi())
        .merge_from(metrics::http::MetricsApi::openapi());
    description.info.description = Some(ABOUT.to_owned());
    description.info.license = None;
    // It is relative to the description itself, so that it holds behind a proxy that adds a path.
    description.servers = Some(vec![Server::new(".")]);
    // The errors are above the metrics, which cannot describe that they are for administrators.
    let metrics = description.paths.paths.get_mut("/metrics");
    if let Some(operation) = metrics.and_then(|path| path.get.as_mut()) {
        operation.responses.responses.extend(Guarded::responses());
    }
    let components = description.components.get_or_insert_default();
    for (name, response) in error::openapi::responses() {
        components.responses.insert(name, response.into());
    }
    for (name, scheme) in security_schemes() {
        components.add_security_scheme(name, scheme);
        let needed = SecurityRequirement::new::<_, _, String>(name, []);
        description.security.get_or_insert_default().push(needed);
    }
    for (name, header) in [
        ("Cache-Control", no_store()),
        ("X-Request-Id", request_id()),
    ] {
        for response in responses(&mut description) {
            let reference = Ref::new(format!("#/components/headers/{name}"));
            response
                .headers
                .insert(name.to_owned(), RefOr::Ref(reference));
        }
        let components = description.components.get_or_insert_default();
        components.headers.insert(name.to_owned(), header.into());
    }
    description
}

/// Where a request may carry its access token.
fn security_schemes() -> [(&'static str, SecurityScheme); 2] {
    let header = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .bearer_format("JWT");
    let cookie = ApiKeyValue::with_description(
        "access_token",
        "As AlignWork sets it. A request that writes with it needs an allowed `Origin`.",
    );
    [
        ("bearer", SecurityScheme::Http(header.build())),
        ("cookie", SecurityScheme::ApiKey(ApiKey::Cookie(cookie))),
    ]
}

/// Every response: those of single routes, and those that routes share.
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
        .enum_values(Some(["no-store"]))
        .examples(["no-store"]);
    header(value, "No cache but the service's own may keep it.")
}

fn request_id() -> Header {
    let value = ObjectBuilder::new()
        .schema_type(Type::String)
        .pattern(Some("^[A-Za-z0-9_.:/+=-]{1,128}$"))
        .examples(["b0a3c62e5d5f4b7f9f4f6f0f6d1f1c1e"]);
    header(value, "The id of the request in the log.")
}
