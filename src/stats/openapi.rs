//! The statistics' routes as OpenAPI describes them: their headers and what is particular to their
//! parameters.

use std::{collections::BTreeMap, marker::PhantomData};

use chrono_tz::{TZ_VARIANTS, Tz};
use utoipa::{
    IntoResponses, PartialSchema, ToSchema,
    openapi::{
        Content, Header, ObjectBuilder, Ref, RefOr, Response, ResponseBuilder, Schema, Type,
    },
};

use super::zones::DEFAULT_ZONE;

/// Counts, and where they came from.
pub(super) struct Counted<T>(PhantomData<T>);

impl<T: ToSchema> IntoResponses for Counted<T> {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let response = ResponseBuilder::new()
            .description("The counts. All of one answer come from one snapshot.")
            .content(
                "application/json",
                Content::new(Some(Ref::from_schema_name(T::name()))),
            )
            .header("X-Cache", x_cache())
            .header("Cache-Status", cache_status())
            .header("Age", age())
            .build();
        BTreeMap::from([("200".to_owned(), response.into())])
    }
}

fn x_cache() -> Header {
    let outcome = ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some(["HIT", "MISS", "STALE", "BYPASS"]))
        .examples(["HIT"])
        .build();
    describe(
        outcome,
        "`HIT`: from the cache, or a computation shared with another request. `MISS`: computed. \
         `STALE`: from the cache after its time, since the database is away, but not older than the \
         last acknowledged write. `BYPASS`: computed without the cache, since it is switched off or away, a write of the \
         tenant is under way, or `from` and `to` leave out a part of the days.",
    )
}

fn cache_status() -> Header {
    let status = ObjectBuilder::new()
        .schema_type(Type::String)
        .pattern(Some("^megastats; "))
        .examples(["megastats; hit; ttl=27", "megastats; fwd=miss"])
        .build();
    describe(status, "The same as RFC 9211.")
}

fn age() -> Header {
    let seconds = ObjectBuilder::new()
        .schema_type(Type::Integer)
        .minimum(Some(0))
        .examples([42])
        .build();
    describe(
        seconds,
        "How many seconds ago the answer was computed; there with `STALE`.",
    )
}

fn describe(schema: impl Into<RefOr<Schema>>, description: &str) -> Header {
    let mut header = Header::new(schema);
    header.description = Some(description.to_owned());
    header
}

/// The name of a time zone.
pub(super) struct TimeZone;

impl PartialSchema for TimeZone {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some("The IANA name of a time zone."))
            .enum_values(Some(TZ_VARIANTS.map(Tz::name)))
            .default(Some(DEFAULT_ZONE.into()))
            .examples([DEFAULT_ZONE])
            .into()
    }
}

impl ToSchema for TimeZone {}
