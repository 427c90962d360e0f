//! The headers of creates that are sent again, as OpenAPI describes them.

use utoipa::{
    IntoParams, PartialSchema,
    openapi::{
        ObjectBuilder, RefOr, Required, Schema, Type,
        path::{Parameter, ParameterBuilder, ParameterIn},
    },
};

use super::{MAX_KEY_CHARS, http::KEY};

/// The header of an [`IdempotencyKey`](super::IdempotencyKey).
pub(in crate::appointments) struct Key;

impl IntoParams for Key {
    fn into_params(_in: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let plain = format!(r"[!#-~]{{1,{MAX_KEY_CHARS}}}");
        let quoted = format!(r#""([!#-\[\]-~]|\\["\\]){{1,{MAX_KEY_CHARS}}}""#);
        let key = ObjectBuilder::new()
            .schema_type(Type::String)
            .pattern(Some(format!("^({plain}|{quoted})$")))
            .examples(["8e03978e-40d5-43e8-bc93-6894a57f9324"]);
        let description = format!(
            "The client's name for its request: 1 to {MAX_KEY_CHARS} visible ASCII characters, plain \
             or in double quotes, within which `\\` stands before `\"` and `\\`. Each clinic has keys \
             of its own."
        );
        let header = ParameterBuilder::new()
            .name(KEY)
            .parameter_in(ParameterIn::Header)
            .required(Required::False)
            .description(Some(description))
            .schema(Some(key));
        vec![header.build()]
    }
}

/// That the answer was given before.
pub(in crate::appointments) struct Replayed;

impl PartialSchema for Replayed {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .enum_values(Some(["true"]))
            .examples(["true"])
            .into()
    }
}
