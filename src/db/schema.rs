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

diesel::table! {
    use diesel::sql_types::{Integer, Text};
    use crate::db::time::UtcInstant;

    /// How many appointments of a tenant start in a day or in a quarter of an hour, by UTC. On PostgreSQL
    /// what [`appointment_count_changes`] has is to be added.
    appointment_counts (tenant_id, minutes, day, starts_at) {
        /// Whose they are.
        tenant_id -> Text,
        /// How long the period is: `DAY_MINUTES` or `QUARTER_MINUTES`.
        minutes -> Integer,
        /// When the day begins, or the day that the quarter is in.
        day -> UtcInstant,
        /// When the period begins.
        starts_at -> UtcInstant,
        /// How many of them are confirmed.
        confirmed -> Integer,
        /// How many of them are pending.
        pending -> Integer,
        /// How many of them are cancelled.
        cancelled -> Integer,
    }
}

/// [`appointment_counts`] of a day.
pub const DAY_MINUTES: i32 = 24 * 60;
/// [`appointment_counts`] of a quarter of an hour.
pub const QUARTER_MINUTES: i32 = 15;

diesel::table! {
    use diesel::sql_types::{Integer, Text};
    use crate::db::time::UtcInstant;

    /// What is not in [`appointment_counts`] yet. There may be several rows for a quarter, and there is
    /// no key. On SQLite it is a view that is always empty.
    appointment_count_changes (tenant_id, starts_at) {
        /// Whose appointments they are.
        tenant_id -> Text,
        /// When the quarter of an hour begins in which they start.
        starts_at -> UtcInstant,
        /// How many more are confirmed.
        confirmed -> Integer,
        /// How many more are pending.
        pending -> Integer,
        /// How many more are cancelled.
        cancelled -> Integer,
    }
}

diesel::table! {
    use diesel::sql_types::{Integer, Text};
    use crate::db::time::UtcInstant;

    /// A view: what the counts lack to be equal to the appointments, and so normally nothing.
    appointment_count_differences (tenant_id, minutes, starts_at) {
        /// Whose appointments they are.
        tenant_id -> Text,
        /// See `appointment_counts`.
        minutes -> Integer,
        /// When the period begins.
        starts_at -> UtcInstant,
        /// How many confirmed ones are not counted; negative if too many are.
        confirmed -> Integer,
        /// The same of pending ones.
        pending -> Integer,
        /// The same of cancelled ones.
        cancelled -> Integer,
    }
}

diesel::allow_tables_to_appear_in_same_query!(appointment_counts, appointment_count_changes);
