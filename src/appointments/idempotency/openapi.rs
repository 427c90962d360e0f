//! How OpenAPI describes the headers of creates that are sent again.

use utoipa::{
    IntoParams,
    openapi::{
        ObjectBuilder, Required, Type,
        path::{Parameter, ParameterBuilder, ParameterIn},
    },
};

use super::{MAX_KEY_CHARS, http::KEY};
use crate::error::openapi::described;

/// The header of an [`IdempotencyKey`](super::IdempotencyKey).
pub(in crate::appointments) struct IdempotencyKeyHeader;

impl IntoParams for IdempotencyKeyHeader {
    fn into_params(_in: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let plain = format!(r"[!#-~]{{1,{MAX_KEY_CHARS}}}");
        let quoted = format!(r#""([!#-\[\]-~]|\\["\\]){{1,{MAX_KEY_CHARS}}}""#);
        let key = ObjectBuilder::new()
            .schema_type(Type::String)
            .pattern(Some(format!("^({plain}|{quoted})$")))
            .examples(["8e03978e-40d5-43e8-bc93-6894a57f9324"]);
        let description = format!(
            "The client's name for its request: 1 to {MAX_KEY_CHARS} visible ASCII characters, plain \
             or in double quotes. Within quotes a `\\` is written before each `\"` and `\\`. The keys \
             of one clinic are not those of another."
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

described! {
    /// The header that says that the answer was given before.
    pub(in crate::appointments) ReplayedHeader: ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some(["true"]))
        .examples(["true"])
}
