//! How OpenAPI describes the fields that only appointments have.

use utoipa::openapi::{KnownFormat, ObjectBuilder, OneOfBuilder, SchemaFormat, Type};

use super::{
    PREFIX,
    model::{MAX_ID, MAX_PATIENT_CHARS},
};
use crate::{error::openapi::described, input::openapi::Identifier};

described! {
    /// The identifier of an appointment or a room. The attributes of utoipa take no number this large.
    pub(super) Id: ObjectBuilder::new()
        .schema_type(Type::Integer)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)))
        .minimum(Some(1))
        .maximum(Some(MAX_ID))
        .examples([1])
}

described! {
    /// The header `Location` of an appointment that was made.
    pub(super) LocationHeader: ObjectBuilder::new()
        .schema_type(Type::String)
        .pattern(Some(format!("^(/[^/]+)*{PREFIX}/[1-9][0-9]*$")))
        .examples([format!("{PREFIX}/1")])
}

described! {
    /// A patient's identifier.
    pub(super) Patient: OneOfBuilder::new()
        .item(Identifier::<MAX_PATIENT_CHARS>::schema())
        .item(
            ObjectBuilder::new()
                .schema_type(Type::Integer)
                .minimum(Some(1))
                .maximum(Some(u64::MAX)),
        )
        .examples(["7"])
}
