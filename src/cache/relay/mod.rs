//! The relay: a writer that does not reach Redis asks another instance, by way of PostgreSQL, to raise its
//! fence. And every instance purges what other people's SQL has changed.
//!
//! | file | what lives there |
//! |---|---|
//! | `listener` | hearing what is announced, raising the fences of others, purging what has changed |
//! | `changes` | which tenants have changed, and purging them |
//! | `view` | what this instance last read |
//! | `store` | the statements |
//!
//! docs/ARCHITECTURE.md, "A writer cut off from Redis", says why no answer is stale.

mod changes;
mod listener;
mod store;
mod view;

use std::{mem, sync::Arc, time::Instant};

use log::Level;
use parking_lot::Mutex;
use tokio::sync::watch;

use self::{listener::RelayListener, store::RowLives, view::RelayView};
use super::{
    redis::RedisCache,
    stats_cache::{Lifetime, StatsCache},
};
use crate::{
    db::{AnyConn, Db, DbError},
    settings::{CacheBackend, CacheSettings, RELAY_WAIT},
    tasks::Tasks,
    tenant::TenantId,
};

/// Hands the fences of this instance over to others. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Relay {
    db: Db,
    view: watch::Receiver<RelayView>,
    last_route: Arc<Mutex<FenceRoute>>,
}

/// How the last fence of this instance came to Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FenceRoute {
    Direct,
    Relayed,
    /// It did not, since Redis answers nobody.
    Nowhere,
    /// It did not, although Redis answers an instance.
    Late,
}

/// A fence that was handed over: the row by which others know of it.
#[derive(Debug)]
pub(super) struct HandedOver {
    id: i64,
    is_raised: bool,
    view: watch::Receiver<RelayView>,
}

/// What a relay has to do and has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RelayCounts {
    /// Invalidations of all instances that wait for an instance which reaches Redis.
    pub waiting: u64,
    /// Fences that this instance has raised for others.
    pub delivered: u64,
}

impl Relay {
    /// Starts to follow what `db` announces: raises fences and purges changes in `cache`, which is over
    /// `redis` if there is one. `None` if nobody announces anything, or if this instance has nothing to
    /// purge.
    pub async fn start(
        db: &Db,
        cache: &Arc<dyn StatsCache>,
        redis: Option<RedisCache>,
        settings: &CacheSettings,
        tasks: &Tasks,
    ) -> Option<Self> {
        let has_a_cache = redis.is_some() || settings.backend == CacheBackend::Memory;
        if !has_a_cache || !db.has_announcements() {
            return None;
        }
        let (sender, view) = watch::channel(RelayView::default());
        let lives = RowLives {
            raised: settings.redis.fence_life,
            unraised: Lifetime::of(settings).whole() + settings.redis.fence_life,
        };
        let listener = RelayListener::new(db.clone(), Arc::clone(cache), redis, lives, sender);
        // It must listen before anybody is answered from the cache.
        let session = listener.connect().await;
        tasks.background(listener.run(session));
        Some(Self {
            db: db.clone(),
            view,
            last_route: Arc::new(Mutex::new(FenceRoute::Direct)),
        })
    }

    /// What there is to do, and what was done.
    pub fn counts(&self) -> RelayCounts {
        let view = self.view.borrow();
        RelayCounts {
            waiting: view.waiting,
            delivered: view.delivered,
        }
    }

    /// Notes that a fence of this instance came to Redis.
    pub(super) fn note_delivered(&self) {
        self.log_change(FenceRoute::Direct);
    }

    /// Has another instance raise a fence on `tenant` that lasts until `until` at least, if there is an
    /// instance that reaches Redis.
    pub(super) async fn hand_over(
        &self,
        tenant: &TenantId,
        until: Option<Instant>,
    ) -> Result<HandedOver, DbError> {
        let id = {
            let turn = self.db.next_write_turn(Some(tenant)).await?;
            let tenant = tenant.clone();
            let add = move |conn: &mut AnyConn| store::add(conn, &tenant);
            self.db.write(turn, until, add).await?
        };
        let route = self.wait_for_fence(id).await;
        self.log_change(route);
        Ok(HandedOver {
            id,
            is_raised: route == FenceRoute::Relayed,
            view: self.view.clone(),
        })
    }

    /// Waits until an instance has raised the fence of the row with that id, or until none can.
    async fn wait_for_fence(&self, id: i64) -> FenceRoute {
        let mut view = self.view.clone();
        let route = async {
            loop {
                let until_unreached = {
                    let view = view.borrow_and_update();
                    if view.raised.contains(&id) {
                        return FenceRoute::Relayed;
                    }
                    view.until_unreached()
                };
                // If an instance may still reach Redis, the time-out below ends the wait first.
                let until_unreached = until_unreached.unwrap_or(2 * RELAY_WAIT);
                tokio::select! {
                    () = tokio::time::sleep(until_unreached) => return FenceRoute::Nowhere,
                    // If the listener has ended, so has the service.
                    Ok(()) = view.changed() => {}
                }
            }
        };
        let route = tokio::time::timeout(RELAY_WAIT, route).await;
        route.unwrap_or(FenceRoute::Late)
    }

    fn log_change(&self, route: FenceRoute) {
        let mut last = self.last_route.lock();
        if mem::replace(&mut *last, route) == route {
            return;
        }
        drop(last);
        let (level, line) = match route {
            FenceRoute::Direct => (Level::Info, "Redis takes the fences of this instance again"),
            FenceRoute::Relayed => (
                Level::Warn,
                "Redis does not answer this instance; other instances raise its fences",
            ),
            FenceRoute::Nowhere => (
                Level::Warn,
                "Redis answers no instance; writes go on without it",
            ),
            FenceRoute::Late => (
                Level::Warn,
                "Redis answers another instance, but none has raised a fence in time; its answers may \
                 lack a write of this instance for a moment",
            ),
        };
        log::log!(level, "relay: {line}");
    }
}

impl HandedOver {
    /// Notes, when the write has ended, that the fence is to be released. A row that still waits for an
    /// instance is left: whoever raises its fence later makes the write known by that.
    pub(super) fn finish(self, conn: &mut AnyConn) {
        if !self.is_raised && !self.view.borrow().is_unreached() {
            return;
        }
        if let Err(error) = store::remove(conn, self.id) {
            // The listeners remove it when its life is over.
            log::debug!("relay: a row was not removed: {error}");
        }
    }
}
