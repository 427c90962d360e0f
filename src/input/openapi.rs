//! How OpenAPI describes the fields that several routes take. Each type stands for what is read in
//! the field of a query or body.

use utoipa::{
    PartialSchema,
    openapi::{KnownFormat, ObjectBuilder, RefOr, Schema, SchemaFormat, Type},
};

use super::{FIRST_YEAR, LAST_YEAR};
use crate::{error::openapi::described, identifier, tenant::TenantId};

/// An identifier of 1 to `MAX` characters: see [`identifier::RULE`].
pub struct Identifier<const MAX: usize>;

impl<const MAX: usize> Identifier<MAX> {
    fn object() -> ObjectBuilder {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .min_length(Some(1))
            .max_length(Some(MAX))
            .pattern(Some(identifier::PATTERN))
    }
}

impl<const MAX: usize> PartialSchema for Identifier<MAX> {
    fn schema() -> RefOr<Schema> {
        Self::object().into()
    }
}

described! {
    /// The field of a tenant.
    pub Tenant: Identifier::<{ TenantId::MAX_CHARS }>::object()
        .description(Some("The clinic."))
        .examples(["default-tenant"])
}

described! {
    /// The field of an instant.
    pub Instant: ObjectBuilder::new()
        .schema_type(Type::String)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
        .description(Some(format!(
            "An RFC 3339 date and time with offset, from {FIRST_YEAR} to {LAST_YEAR} in UTC. \
             Digits finer than a microsecond are dropped."
        )))
        .examples(["2025-10-31T14:30:00Z", "2025-10-31T11:30:00-03:00"])
}
