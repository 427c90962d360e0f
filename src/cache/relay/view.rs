//! What an instance last read of the pending invalidations of all instances.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

/// After Redis has answered no instance for this long, writers do not wait for an instance. An instance
/// whose session has ended makes another session in less time.
const UNREACHED_AFTER: Duration = Duration::from_secs(1);

/// What the listener has read of all instances, and what it has done.
#[derive(Debug, Default)]
pub(super) struct RelayView {
    /// The rows for which an instance has raised a fence.
    pub(super) raised: HashSet<i64>,
    /// How many rows wait for their fence.
    pub(super) waiting: u64,
    /// Since when Redis answers no instance, as far as this one has heard without a gap. Nothing if
    /// it may answer one.
    pub(super) unreached_since: Option<Instant>,
    /// Fences that this instance has raised for others.
    pub(super) delivered: u64,
}

impl RelayView {
    /// How long a writer still has to wait for an instance that Redis answers, if it hears of none.
    /// Nothing if there may be one.
    pub(super) fn until_unreached(&self) -> Option<Duration> {
        let since = self.unreached_since?;
        Some(UNREACHED_AFTER.saturating_sub(since.elapsed()))
    }

    /// Whether Redis answers no instance, so that no writer need wait for one.
    pub(super) fn is_unreached(&self) -> bool {
        self.until_unreached().is_some_and(|left| left.is_zero())
    }
}
