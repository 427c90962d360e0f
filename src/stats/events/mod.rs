//! Live counts: whoever views a tenant's counts is told when they change.
//!
//! For each tenant and zone in view one task looks at the counts, through the cache like every read,
//! and tells all its viewers when they have changed. So a write costs one computation, however many
//! view the tenant, and instances need not tell each other of writes. [`http`] has the route.

pub mod http;

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::{Instant, MissedTickBehavior, interval_at},
};
use tokio_util::sync::CancellationToken;

use super::{polls::Poll, service::StatsService};
use crate::{
    cache::{Answer, Outcome},
    error::ApiError,
    tasks::Tasks,
};

/// The time between two looks at the counts of a tenant in view: viewers are to see a write within a
/// second.
const LOOK_PERIOD: Duration = Duration::from_millis(500);

/// The counts in view, and who views them.
pub struct LiveCounts {
    stats: Arc<StatsService>,
    tasks: Tasks,
    views: Mutex<HashMap<Poll, Arc<View>>>,
    places: Arc<Semaphore>,
    max_viewers: usize,
    end: CancellationToken,
}

/// What the viewers of one tenant and zone are told.
struct View {
    latest: watch::Sender<Option<Update>>,
    /// When the latest look began. Only who holds it looks, so that no look overtakes another one.
    looked_at: tokio::sync::Mutex<Option<Instant>>,
}

/// What a look has found.
#[derive(Debug, Clone)]
pub(super) enum Update {
    /// The counts.
    Counts(Answer),
    /// The counts could not be had.
    Failed(ApiError),
}

/// Somebody who views a tenant's counts, until this is dropped.
pub(super) struct Viewer {
    updates: watch::Receiver<Option<Update>>,
    end: CancellationToken,
    _place: OwnedSemaphorePermit,
}

impl LiveCounts {
    /// Shows the counts of `stats` to at most `max_viewers` at once, until `end` is cancelled.
    pub fn new(
        stats: Arc<StatsService>,
        tasks: Tasks,
        max_viewers: usize,
        end: CancellationToken,
    ) -> Self {
        Self {
            stats,
            tasks,
            views: Mutex::default(),
            places: Arc::new(Semaphore::new(max_viewers)),
            max_viewers,
            end,
        }
    }

    /// How many view counts now.
    pub fn viewers(&self) -> usize {
        self.max_viewers - self.places.available_permits()
    }

    /// A new viewer, whose first update is not older than this call.
    ///
    /// # Errors
    /// 503 if there are too many viewers or the service is about to stop, and what a read of the
    /// counts fails with.
    pub(super) async fn view(self: &Arc<Self>, poll: Poll) -> Result<Viewer, ApiError> {
        let place = Arc::clone(&self.places).try_acquire_owned();
        let place = place.map_err(|_full| ApiError::unavailable(&"too many streams are open"))?;
        if self.end.is_cancelled() {
            return Err(ApiError::unavailable(&"the service is stopping"));
        }
        let (view, mut updates) = self.join(&poll);
        view.look(&self.stats, &poll, Instant::now()).await;
        if let Some(Update::Failed(error)) = &*updates.borrow() {
            return Err(error.clone());
        }
        updates.mark_changed();
        Ok(Viewer {
            updates,
            end: self.end.clone(),
            _place: place,
        })
    }

    /// The view that `poll` asks for, which is begun if there is none.
    fn join(self: &Arc<Self>, poll: &Poll) -> (Arc<View>, watch::Receiver<Option<Update>>) {
        let mut views = self.views.lock();
        let view = views.entry(poll.clone()).or_insert_with(|| {
            let view = Arc::new(View {
                latest: watch::Sender::new(None),
                looked_at: tokio::sync::Mutex::default(),
            });
            let looking = Arc::clone(self).keep_looking(poll.clone(), Arc::clone(&view));
            self.tasks.background(looking);
            view
        });
        (Arc::clone(view), view.latest.subscribe())
    }

    /// Looks again and again, until nobody views `view` any more.
    async fn keep_looking(self: Arc<Self>, poll: Poll, view: Arc<View>) {
        let mut ticks = interval_at(Instant::now() + LOOK_PERIOD, LOOK_PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if self.end_if_unviewed(&poll, &view) {
                return;
            }
            view.look(&self.stats, &poll, Instant::now()).await;
        }
    }

    /// Ends `view` if nobody views it any more; returns whether that is so.
    fn end_if_unviewed(&self, poll: &Poll, view: &View) -> bool {
        let mut views = self.views.lock();
        // Whoever joins holds the lock until they are counted.
        let is_left = view.latest.receiver_count() == 0;
        if is_left {
            views.remove(poll);
        }
        is_left
    }
}

impl View {
    /// Looks at the counts, unless somebody has begun to after `since`.
    async fn look(&self, stats: &StatsService, poll: &Poll, since: Instant) {
        let mut looked_at = self.looked_at.lock().await;
        if looked_at.is_some_and(|began| began >= since) {
            return;
        }
        let began = Instant::now();
        let update = match stats.answer(poll, stats.now()).await {
            Ok(answer) => Update::Counts(answer),
            Err(error) => Update::Failed(error.into()),
        };
        self.latest.send_if_modified(|latest| {
            let is_news = latest.as_ref().is_none_or(|latest| latest.differs(&update));
            *latest = Some(update);
            is_news
        });
        *looked_at = Some(began);
    }
}

impl Update {
    /// Whether viewers who know `self` are to be told `other`.
    fn differs(&self, other: &Self) -> bool {
        let is_stale = |answer: &Answer| answer.outcome == Outcome::Stale;
        match (self, other) {
            (Self::Counts(old), Self::Counts(new)) => {
                old.body != new.body || is_stale(old) != is_stale(new)
            }
            (Self::Failed(_), Self::Failed(_)) => false,
            _ => true,
        }
    }
}

impl Viewer {
    /// The next update: at once the first time, and then when something has changed. Who is slow
    /// skips to the latest one. `None` when the service is about to stop.
    async fn next(&mut self) -> Option<Update> {
        tokio::select! {
            () = self.end.cancelled() => None,
            changed = self.updates.changed() => {
                changed.ok()?;
                self.updates.borrow_and_update().clone()
            }
        }
    }
}
