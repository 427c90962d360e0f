//! The statistics as they are sent.

use jiff::civil::Date;
use serde::Serialize;
use utoipa::ToSchema;

/// The answer of `/mega-stats`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({
    "today": { "confirmed": 3, "pending": 1 },
    "week": { "confirmed": 14, "pending": 6 },
    "month": { "confirmed": 52, "pending": 17 },
    "nextMonth": { "confirmed": 8, "pending": 21 }
}))]
#[serde(rename_all = "camelCase")]
pub struct MegaStats {
    /// From this local midnight to the next.
    pub today: Counts,
    /// Sunday to Saturday.
    pub week: Counts,
    /// The calendar month.
    pub month: Counts,
    /// The one after it.
    pub next_month: Counts,
}

/// The answer of `/summary`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({
    "today": { "total": 4, "confirmed": 3, "pending": 1 },
    "tomorrow": { "total": 5, "confirmed": 2, "pending": 3 }
}))]
pub struct Summary {
    /// From this local midnight to the next.
    pub today: Day,
    /// The day after.
    pub tomorrow: Day,
}

/// The answer of `/days`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Days {
    /// The local date.
    #[schema(value_type = String, format = Date, example = "2025-10-31")]
    pub today: Date,
    /// The days of its month, in order.
    pub days: Vec<DayOfMonth>,
}

/// The appointments of one day of a month. Cancelled ones count nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct DayOfMonth {
    /// The day.
    #[schema(value_type = String, format = Date, example = "2025-10-31")]
    pub date: Date,
    /// Those the patient has confirmed.
    #[schema(minimum = 0, example = 3)]
    pub confirmed: i64,
    /// Those that wait for the patient's word.
    #[schema(minimum = 0, example = 1)]
    pub pending: i64,
}

/// The appointments of one window. Cancelled ones count nowhere.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Counts {
    /// Those the patient has confirmed.
    #[schema(minimum = 0)]
    pub confirmed: i64,
    /// Those that wait for the patient's word.
    #[schema(minimum = 0)]
    pub pending: i64,
}

/// The appointments of one day, with their sum.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Day {
    /// Confirmed and pending together.
    #[schema(minimum = 0)]
    pub total: i64,
    /// Those the patient has confirmed.
    #[schema(minimum = 0)]
    pub confirmed: i64,
    /// Those that wait for the patient's word.
    #[schema(minimum = 0)]
    pub pending: i64,
}

impl From<Counts> for Day {
    fn from(Counts { confirmed, pending }: Counts) -> Self {
        Self {
            total: confirmed + pending,
            confirmed,
            pending,
        }
    }
}
