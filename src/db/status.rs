//! An appointment's status: the column's type, shared by the statements that store and count it.

use std::str::FromStr;

use diesel::{
    backend::Backend,
    deserialize::{self, FromSql, FromSqlRow},
    expression::AsExpression,
    serialize::{self, Output, ToSql},
    sql_types::Text,
};
use serde::Serialize;
use thiserror::Error;
use utoipa::ToSchema;

/// The status of an appointment. Statistics do not count cancelled ones.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, AsExpression, FromSqlRow, Serialize, ToSchema,
)]
#[diesel(sql_type = Text)]
#[serde(rename_all = "lowercase")]
#[schema(example = "pending")]
pub enum Status {
    /// The patient has not confirmed yet.
    Pending,
    /// The patient has confirmed.
    Confirmed,
    /// It will not take place.
    Cancelled,
}

impl Status {
    /// Every status.
    pub const ALL: [Self; 3] = [Self::Pending, Self::Confirmed, Self::Cancelled];

    /// As it is written in the database and over HTTP.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Confirmed => "confirmed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// Not a status: the message says what is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("must be one of pending, confirmed, cancelled")]
pub struct InvalidStatus;

impl FromStr for Status {
    type Err = InvalidStatus;

    fn from_str(raw: &str) -> Result<Self, InvalidStatus> {
        Self::ALL
            .into_iter()
            .find(|status| status.as_str() == raw)
            .ok_or(InvalidStatus)
    }
}

impl<DB> ToSql<Text, DB> for Status
where
    DB: Backend,
    str: ToSql<Text, DB>,
{
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, DB>) -> serialize::Result {
        self.as_str().to_sql(out)
    }
}

impl<DB> FromSql<Text, DB> for Status
where
    DB: Backend,
    String: FromSql<Text, DB>,
{
    fn from_sql(value: DB::RawValue<'_>) -> deserialize::Result<Self> {
        let text = String::from_sql(value)?;
        text.parse()
            .map_err(|invalid| format!("status {text:?} {invalid}").into())
    }
}
