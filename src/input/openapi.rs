//! The fields that several routes take, as OpenAPI describes them: types that stand for what is
//! read. Not here: what only one route takes.

use utoipa::{
    PartialSchema, ToSchema,
    openapi::{KnownFormat, ObjectBuilder, RefOr, Schema, SchemaFormat, Type},
};

use super::{FIRST_YEAR, LAST_YEAR};
use crate::tenant::TenantId;

/// Text that is not blank and has no control characters: what Rust takes for white space is spelt
/// out, since others take other characters for it.
const PLAIN_TEXT: &str = concat!(
    r"^[^\u0000-\u001F\u007F-\u009F]*",
    r"[^\u0000-\u0020\u007F-\u00A0\u1680\u2000-\u200A\u2028\u2029\u202F\u205F\u3000]",
    r"[^\u0000-\u001F\u007F-\u009F]*$"
);

/// Text of 1 to `MAX` characters that is not blank and has no control characters.
pub struct PlainText<const MAX: usize>;

impl<const MAX: usize> PlainText<MAX> {
    fn object() -> ObjectBuilder {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .min_length(Some(1))
            .max_length(Some(MAX))
            .pattern(Some(PLAIN_TEXT))
    }
}

impl<const MAX: usize> PartialSchema for PlainText<MAX> {
    fn schema() -> RefOr<Schema> {
        Self::object().into()
    }
}

/// A tenant.
pub struct Tenant;

impl PartialSchema for Tenant {
    fn schema() -> RefOr<Schema> {
        PlainText::<{ TenantId::MAX_CHARS }>::object()
            .description(Some("The clinic."))
            .examples(["default-tenant"])
            .into()
    }
}

impl ToSchema for Tenant {}

/// An instant.
pub struct Instant;

impl PartialSchema for Instant {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
            .description(Some(format!(
                "An RFC 3339 date and time with offset, from {FIRST_YEAR} to {LAST_YEAR} in UTC. \
                 What is finer than a microsecond is dropped."
            )))
            .examples(["2025-10-31T14:30:00Z", "2025-10-31T11:30:00-03:00"])
            .into()
    }
}

impl ToSchema for Instant {}
