//! The statistics as they are sent.

use serde::Serialize;

/// The answer of `/mega-stats`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
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
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// From this local midnight to the next.
    pub today: Day,
    /// The day after.
    pub tomorrow: Day,
}

/// The appointments of one window. Cancelled ones count nowhere.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Those the patient has confirmed.
    pub confirmed: i64,
    /// Those that wait for the patient's word.
    pub pending: i64,
}

/// The appointments of one day, with their sum.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Day {
    /// Confirmed and pending together.
    pub total: i64,
    /// Those the patient has confirmed.
    pub confirmed: i64,
    /// Those that wait for the patient's word.
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
