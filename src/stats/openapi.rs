//! How OpenAPI describes the statistics' routes: their headers, and the parameter `tz`.

use std::{collections::BTreeMap, marker::PhantomData};

use utoipa::{
    IntoResponses, ToSchema,
    openapi::{Content, Header, ObjectBuilder, Ref, RefOr, Response, ResponseBuilder, Type},
};

use super::zones::DEFAULT_ZONE;
use crate::error::openapi::{described, header};

/// The response of a statistics route: its counts, and the headers that say where they came from.
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
        .examples(["HIT"]);
    header(
        outcome,
        "`HIT`: from the cache, or from a computation that was shared with another request. `MISS`: \
         computed for this request. `STALE`: from the cache although the entry has expired, because \
         the database cannot be reached; still not older than the last acknowledged write. `BYPASS`: \
         computed without the cache, because the cache is switched off or cannot be reached, a write \
         of the tenant is under way, or `from` and `to` leave out a part of the days.",
    )
}

fn cache_status() -> Header {
    let status = ObjectBuilder::new()
        .schema_type(Type::String)
        .pattern(Some("^megastats; "))
        .examples(["megastats; hit; ttl=27", "megastats; fwd=miss"]);
    header(status, "The same as RFC 9211 defines it.")
}

fn age() -> Header {
    let seconds = ObjectBuilder::new()
        .schema_type(Type::Integer)
        .minimum(Some(0))
        .examples([42]);
    header(
        seconds,
        "How many seconds ago the answer was computed. Only with `STALE`.",
    )
}

described! {
    /// The name of a time zone.
    pub(super) TimeZone: ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some(
            "The IANA name of a time zone, spelt as there. In a query, + is written %2B.",
        ))
        .default(Some(DEFAULT_ZONE.into()))
        .examples([DEFAULT_ZONE, "Europe/Lisbon", "UTC"])
}
