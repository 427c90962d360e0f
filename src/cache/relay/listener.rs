//! The listener: it hears what PostgreSQL announces, raises the fences of writers that do not reach
//! Redis, and purges what other people's SQL has changed.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    sync::watch,
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep},
};

use super::{
    changes::ChangeFollower,
    store::{self, CHANGES, PENDING, PendingRow, RowLives},
    view::RelayView,
};
use crate::{
    cache::{
        redis::RedisCache,
        stats_cache::{CacheError, Fence, StatsCache},
    },
    db::{AnyConn, Db, DbError, ListeningSession, Notification, QueryResult},
    tenant::TenantId,
};

/// The time between two looks at whether Redis answers this instance.
const TICK: Duration = Duration::from_millis(100);

/// The longest time between two reads of the rows: the next one notices that the session has ended.
const READ_PERIOD: Duration = Duration::from_millis(500);

/// How long a statement may take. A session that takes longer is replaced.
const STATEMENT_LIMIT: Duration = Duration::from_secs(1);

/// The pause between two attempts to connect.
const CONNECT_PAUSE: Duration = Duration::from_millis(200);

/// Fences that are being raised at a time.
const RAISED_AT_ONCE: usize = 64;

pub(super) struct RelayListener {
    db: Db,
    cache: Arc<dyn StatsCache>,
    redis: Option<RedisCache>,
    lives: RowLives,
    view: watch::Sender<RelayView>,
    changes: ChangeFollower,
    /// The raised fences, by the ids of their rows.
    raised: HashMap<i64, Fence>,
    /// The fences that are being raised.
    raising: JoinSet<(i64, Result<Fence, CacheError>)>,
    being_raised: HashSet<i64>,
    /// The rows whose fences are raised, of which PostgreSQL has not been told yet.
    unmarked: Vec<i64>,
    /// Whether announcements are heard, as the log says.
    is_heard: bool,
}

/// What a session has done so far.
struct SessionProgress {
    /// When the rows were last read.
    last_read: Option<Instant>,
    /// What PostgreSQL was told.
    reaches_redis: bool,
}

impl RelayListener {
    pub(super) fn new(
        db: Db,
        cache: Arc<dyn StatsCache>,
        redis: Option<RedisCache>,
        lives: RowLives,
        view: watch::Sender<RelayView>,
    ) -> Self {
        Self {
            changes: ChangeFollower::new(Arc::clone(&cache)),
            db,
            cache,
            redis,
            lives,
            view,
            raised: HashMap::new(),
            raising: JoinSet::new(),
            being_raised: HashSet::new(),
            unmarked: Vec::new(),
            is_heard: true,
        }
    }

    /// A session that hears everything that is announced from now on.
    pub(super) async fn connect(&self) -> Result<ListeningSession, DbError> {
        self.db.listen(&[CHANGES, PENDING]).await
    }

    /// Listens until the service has ended, with one session after the other.
    pub(super) async fn run(mut self, mut session: Result<ListeningSession, DbError>) {
        loop {
            let error = match session {
                Ok(session) => {
                    if !self.is_heard {
                        log::info!("relay: the database's announcements are heard again");
                        self.is_heard = true;
                    }
                    self.follow(session).await
                }
                Err(error) => error,
            };
            if self.view.is_closed() {
                return;
            }
            if self.is_heard {
                log::warn!("relay: the database's announcements are not heard: {error}");
                self.is_heard = false;
            }
            self.view.send_modify(|view| view.unreached_since = None);
            sleep(CONNECT_PAUSE).await;
            session = self.connect().await;
            // What changed meanwhile was not heard.
            self.changes.add_everything();
        }
    }

    /// Does what is announced, until the session has ended; returns why it has.
    async fn follow(&mut self, mut session: ListeningSession) -> DbError {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut progress = SessionProgress {
            last_read: None,
            reaches_redis: false,
        };
        let view = self.view.clone();
        loop {
            if let Err(error) = self.step(&mut session, &mut progress).await {
                return error;
            }
            tokio::select! {
                announcement = session.next() => {
                    let Some(announcement) = announcement else {
                        return DbError::Unavailable("the session has ended".to_owned());
                    };
                    self.hear(&announcement, &mut progress);
                }
                Some(raised) = self.raising.join_next() => match raised {
                    Ok((id, fence)) => self.note_raised(id, fence),
                    // A fence that is raised twice does no harm. One that is never raised would.
                    Err(_panicked) => self.being_raised.clear(),
                },
                () = self.changes.done() => {}
                () = view.closed() => return DbError::Unavailable("nobody listens".to_owned()),
                _ = ticks.tick() => {}
            }
            while let Some(announcement) = session.try_next() {
                self.hear(&announcement, &mut progress);
            }
        }
    }

    fn hear(&mut self, announcement: &Notification, progress: &mut SessionProgress) {
        if announcement.channel() == PENDING {
            progress.last_read = None;
        } else if announcement.payload().is_empty() {
            self.changes.add_everything();
        } else if let Ok(tenant) = TenantId::parse(announcement.payload()) {
            self.changes.add(tenant);
        }
    }

    /// Tells PostgreSQL what is new, reads what is due, and begins what is to be done.
    async fn step(
        &mut self,
        session: &mut ListeningSession,
        progress: &mut SessionProgress,
    ) -> Result<(), DbError> {
        self.changes.start();
        let reaches_redis = self.redis.as_ref().is_some_and(RedisCache::is_reached);
        if reaches_redis != progress.reaches_redis {
            run(session, move |conn| {
                store::set_reaches_redis(conn, reaches_redis)
            })
            .await?;
            progress.reaches_redis = reaches_redis;
            // The rows are read only after that: a writer that hears of no instance leaves its row for this.
            progress.last_read = None;
        }
        while let Some(id) = self.unmarked.pop() {
            run(session, move |conn| store::set_raised(conn, id)).await?;
        }
        if progress
            .last_read
            .is_none_or(|last| last.elapsed() >= READ_PERIOD)
        {
            progress.last_read = Some(Instant::now());
            let lives = self.lives;
            let (rows, is_redis_reached) = run(session, move |conn| {
                Ok((store::read(conn, lives)?, store::is_redis_reached(conn)?))
            })
            .await?;
            self.publish(&rows, is_redis_reached);
            self.release_ended(&rows);
            if reaches_redis {
                self.raise(&rows);
            }
        }
        Ok(())
    }

    fn publish(&self, rows: &[PendingRow], is_redis_reached: bool) {
        let raised = rows.iter().filter(|row| row.is_raised).map(|row| row.id);
        let raised: HashSet<i64> = raised.collect();
        self.view.send_modify(|view| {
            view.waiting = (rows.len() - raised.len()) as u64;
            view.raised = raised;
            view.unreached_since = match view.unreached_since {
                _ if is_redis_reached => None,
                None => Some(Instant::now()),
                since => since,
            };
        });
    }

    /// Releases the fences whose writes have ended: their rows are gone.
    fn release_ended(&mut self, rows: &[PendingRow]) {
        let there: HashSet<i64> = rows.iter().map(|row| row.id).collect();
        for (_, fence) in self.raised.extract_if(|id, _| !there.contains(id)) {
            release(Arc::clone(&self.cache), fence);
        }
    }

    /// Begins to raise the fences that no instance has raised.
    fn raise(&mut self, rows: &[PendingRow]) {
        for row in rows.iter().filter(|row| !row.is_raised) {
            if self.raised.contains_key(&row.id) {
                // The session ended before PostgreSQL was told.
                self.unmarked.push(row.id);
            } else if self.being_raised.len() < RAISED_AT_ONCE
                && let Ok(tenant) = TenantId::parse(&row.tenant_id)
                && self.being_raised.insert(row.id)
            {
                let cache = Arc::clone(&self.cache);
                let id = row.id;
                self.raising
                    .spawn(async move { (id, cache.fence(&tenant).await) });
            }
        }
    }

    fn note_raised(&mut self, id: i64, fence: Result<Fence, CacheError>) {
        self.being_raised.remove(&id);
        match fence {
            Ok(fence) if fence.is_delivered => {
                self.raised.insert(id, fence);
                self.unmarked.push(id);
                self.view.send_modify(|view| view.delivered += 1);
            }
            Ok(fence) => release(Arc::clone(&self.cache), fence),
            Err(error) => log::debug!("relay: a fence was not raised: {error}"),
        }
    }
}

/// Releases `fence` without holding the listener up.
fn release(cache: Arc<dyn StatsCache>, fence: Fence) {
    tokio::spawn(async move {
        if let Err(error) = cache.release(fence).await {
            log::debug!("relay: a fence was not released: {error}");
        }
    });
}

async fn run<T: Send + 'static>(
    session: &mut ListeningSession,
    work: impl FnOnce(&mut AnyConn) -> QueryResult<T> + Send + 'static,
) -> Result<T, DbError> {
    session.run(STATEMENT_LIMIT, work).await
}
