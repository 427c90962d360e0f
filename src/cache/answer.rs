//! What a read through the cache gives.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use thiserror::Error;

use super::{flights::NoResult, stats_cache::Entry};
use crate::db::DbError;

/// An answer, and where it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// What was cached or computed.
    pub body: Bytes,
    /// Where it came from.
    pub outcome: Outcome,
    /// Whether the request joined a computation that another request had begun.
    pub collapsed: bool,
    /// The time since its computation began.
    pub age: Duration,
}

impl Answer {
    pub(super) fn new(entry: Entry, outcome: Outcome, collapsed: bool) -> Self {
        Self {
            body: entry.body,
            outcome,
            collapsed,
            age: entry.age,
        }
    }
}

/// Where an answer came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The cache, or a computation that another request had begun.
    Hit,
    /// A computation that this request began.
    Miss,
    /// The cache, which held an entry past its time to live: the database could not answer.
    Stale,
    /// A computation that the cache had no part in.
    Bypass,
}

/// What became of [`Reader::refresh`](super::Reader::refresh).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refreshed {
    /// The entry was computed and stored.
    Computed,
    /// The entry was young enough: another request or instance has computed it.
    Young {
        /// The time since its computation began.
        age: Duration,
    },
    /// Nothing was done: another instance computes the entry, or the cache is bypassed.
    Later,
}

/// No answer could be had.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The database failed; every request that waited for the computation gets the same error.
    #[error("{0}")]
    Database(Arc<DbError>),
    /// The computation stopped without a result.
    #[error(transparent)]
    NoResult(#[from] NoResult),
}
