//! The tables, as Diesel sees them. Kept in step with `migrations/` by hand.

diesel::table! {
    use diesel::sql_types::{BigInt, Integer, Nullable, Text};
    use crate::db::time::UtcInstant;

    /// One row per appointment.
    appointments (id) {
        /// Given by the database, or kept from an import.
        id -> BigInt,
        /// Whose it is: see [`crate::tenant::TenantId`].
        tenant_id -> Text,
        /// The patient's identifier in the client's system.
        patient_id -> Text,
        /// The consulting room's identifier in the client's system.
        consultorio_id -> Nullable<BigInt>,
        /// When it starts.
        starts_at -> UtcInstant,
        /// How long it lasts, in minutes.
        duration_min -> Integer,
        /// See [`crate::db::Status`].
        status -> Text,
        /// When the row was made.
        created_at -> UtcInstant,
        /// When the row last changed.
        updated_at -> UtcInstant,
    }
}

diesel::table! {
    use diesel::sql_types::{BigInt, Binary, Text};
    use crate::db::time::UtcInstant;

    /// One row per create that carried a key and took place: see
    /// [`crate::appointments::idempotency`].
    idempotency_keys (tenant_id, key) {
        /// Whose key it is.
        tenant_id -> Text,
        /// The key, without quotes.
        key -> Text,
        /// Of what was asked for.
        fingerprint -> Binary,
        /// What was made.
        appointment_id -> BigInt,
        /// The body of the answer.
        answer -> Text,
        /// When that was.
        created_at -> UtcInstant,
    }
}
