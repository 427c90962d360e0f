//! How OpenAPI describes the fields that only appointments have.

use utoipa::{
    PartialSchema, ToSchema,
    openapi::{KnownFormat, ObjectBuilder, OneOfBuilder, RefOr, Schema, SchemaFormat, Type},
};

use super::{
    PREFIX,
    model::{MAX_ID, MAX_PATIENT_CHARS},
};
use crate::input::openapi::Identifier;

/// The identifier of an appointment or a room. The attributes of utoipa take no number this large.
pub(super) struct Id;

impl PartialSchema for Id {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::Integer)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)))
            .minimum(Some(1))
            .maximum(Some(MAX_ID))
            .examples([1])
            .into()
    }
}

impl ToSchema for Id {}

/// The header `Location` of an appointment that was made.
pub(super) struct LocationHeader;

impl PartialSchema for LocationHeader {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .pattern(Some(format!("^(/[^/]+)*{PREFIX}/[1-9][0-9]*$")))
            .examples([format!("{PREFIX}/1")])
            .into()
    }
}

/// A patient's identifier.
pub(super) struct Patient;

impl PartialSchema for Patient {
    fn schema() -> RefOr<Schema> {
        let number = ObjectBuilder::new()
            .schema_type(Type::Integer)
            .minimum(Some(1))
            .maximum(Some(u64::MAX));
        OneOfBuilder::new()
            .item(Identifier::<MAX_PATIENT_CHARS>::schema())
            .item(number)
            .examples(["7"])
            .into()
    }
}

impl ToSchema for Patient {}
