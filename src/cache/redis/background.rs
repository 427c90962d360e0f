//! What an instance does with Redis beside its requests: sending heartbeats, following the era,
//! delivering what is pending, and noticing that entries do not stay.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use futures_util::{StreamExt as _, stream};
use redis::{Cmd, Value};

use super::{
    breaker::{BreakerChange, LinkProblem},
    client::ClientError,
    commands::{Commands, new_mark, parse_era},
    era::Era,
    heartbeat::{Epoch, HEARTBEAT_PERIOD, HEARTBEAT_TIMEOUT, TRUST_LIMIT},
    link::RedisLink,
    pending::{PendingCounts, PendingWrites, WriteFence},
};
use crate::{
    cache::stats_cache::Lifetime,
    tasks::{Tasks, repeat_while_alive},
};

/// The pause between two rounds of deliveries.
const DELIVERY_PERIOD: Duration = Duration::from_millis(50);

/// Invalidations that are delivered at once.
const DELIVERIES: usize = 64;

/// For how long a test entry is left alone at most: as long as dashboards leave an entry alone.
const MAX_TEST_PERIOD: Duration = Duration::from_secs(30);

/// A key in Redis that nobody reads before it is looked at.
struct TestEntry {
    mark: String,
    /// When it was stored.
    epoch: Epoch,
}

/// Starts this work, which goes on until `link` is dropped. Entries live for `life`.
pub(super) fn start(link: &Arc<RedisLink>, life: Lifetime, tasks: &Tasks) {
    let send_heartbeat = async |link: Arc<RedisLink>| link.send_heartbeat().await.log();
    let owner = Arc::downgrade(link);
    tasks.background(repeat_while_alive(owner, HEARTBEAT_PERIOD, send_heartbeat));
    // Deliveries run beside the heartbeats, which must not wait for them.
    let mut logged = PendingCounts::default();
    let deliver = async move |link: Arc<RedisLink>| {
        if !link.is_silent() {
            link.deliver_pending().await;
        }
        let counts = link.pending.counts(Instant::now());
        for (level, text) in logged.changes(counts) {
            log::log!(level, "redis: {text}");
        }
        logged = counts;
    };
    let owner = Arc::downgrade(link);
    tasks.background(repeat_while_alive(owner, DELIVERY_PERIOD, deliver));
    // Each round looks for the last test entry, and stores another one.
    let period = (life.fresh * 5 / 6).min(MAX_TEST_PERIOD);
    let mut last: Option<TestEntry> = None;
    let test = async move |link: Arc<RedisLink>| {
        last = link.test_entry(last.take(), 2 * period).await;
    };
    let owner = Arc::downgrade(link);
    tasks.background(repeat_while_alive(owner, period, test));
}

impl RedisLink {
    async fn send_heartbeat(self: &Arc<Self>) -> BreakerChange {
        let sent = Instant::now();
        let exchange = tokio::time::timeout(HEARTBEAT_TIMEOUT, self.exchange_heartbeat());
        let exchanged = exchange
            .await
            .unwrap_or_else(|_elapsed| Err(self.client.timed_out(HEARTBEAT_TIMEOUT)));
        let now = Instant::now();
        match exchanged {
            Ok(took) => {
                let is_quick = took <= self.response_timeout;
                self.heartbeat.heartbeat_answered(sent, now, is_quick)
            }
            Err(error) => {
                let problem = error.problem();
                // Not earlier, since a connection that was replaced cannot report that it broke.
                if problem != LinkProblem::NoAnswer || self.heartbeat.silence(now) >= TRUST_LIMIT {
                    self.client.reconnect();
                }
                self.heartbeat.heartbeat_failed(sent, now, problem)
            }
        }
    }

    /// Asks every master whether it accepts writes, then for the current era and the last purge. Returns
    /// how long the masters took to answer.
    async fn exchange_heartbeat(self: &Arc<Self>) -> Result<Duration, ClientError> {
        let start = Instant::now();
        let link = Arc::clone(self);
        // It is waited for even when it is late: a slow Redis is not a silent one.
        let accepted = tokio::spawn(async move {
            let to_masters = Commands::heartbeat_to_masters();
            let heartbeat = link.commands.heartbeat();
            let (by_masters, by_one) = tokio::join!(
                link.client
                    .send_to_masters::<i64>(&to_masters, link.invalidation_wait),
                link.client
                    .send::<Value>(&heartbeat, link.invalidation_wait),
            );
            by_one?;
            let answered = by_masters?.len();
            link.client
                .check_masters(answered, link.invalidation_wait)
                .await?;
            link.heartbeat.heartbeat_accepted();
            Ok(())
        });
        accepted
            .await
            .unwrap_or_else(|lost| Err(ClientError::Disconnected(lost.to_string())))?;
        let took = start.elapsed();
        self.follow_era().await?;
        // The purge is read after the era: whoever purges replaces the era first, so no older era is read later.
        if let Some(purge) = self.read_mark(&self.commands.get_purge()).await?
            && !self.eras.see_purge(purge)
        {
            self.follow_era().await?;
        }
        Ok(took)
    }

    /// Reads the current era. Proclaims a new one if this instance has noticed a silence since its last
    /// one, or if there is none.
    async fn follow_era(&self) -> Result<(), ClientError> {
        let epoch = self.heartbeat.epoch_without_era();
        let era = match epoch {
            None => self.read_mark(&self.commands.get_era()).await?,
            Some(_) => None,
        };
        if let Some(era) = era {
            if self.eras.see(era) {
                self.pending.raise_all_again();
            }
            return Ok(());
        }
        let era = Era::random();
        let set = self.commands.set_era(era);
        self.client.send::<Value>(&set, HEARTBEAT_TIMEOUT).await?;
        // Whatever removed the era may have removed the fences as well.
        self.pending.raise_all_again();
        match epoch {
            Some(epoch) => {
                self.eras.proclaim(era);
                self.heartbeat.era_proclaimed(epoch, Instant::now());
            }
            // The era was evicted or flushed, and nothing else has changed.
            None => drop(self.eras.see(era)),
        }
        Ok(())
    }

    /// The mark that `get` reads. A value of another kind is no mark, and will be replaced.
    async fn read_mark(&self, get: &Cmd) -> Result<Option<Era>, ClientError> {
        let stored: Option<Vec<u8>> = match self.client.send(get, HEARTBEAT_TIMEOUT).await {
            Err(ClientError::Refused(_)) => None,
            stored => stored?,
        };
        Ok(stored.as_deref().and_then(parse_era))
    }

    /// Raises the fences and delivers the invalidations that Redis lacks, each once if Redis takes it.
    async fn deliver_pending(&self) {
        let unraised = self.pending.unraised();
        self.send_each(unraised, Commands::fence, PendingWrites::raised)
            .await;
        let undelivered = self.pending.undelivered(Instant::now());
        self.send_each(undelivered, Commands::release, PendingWrites::delivered)
            .await;
    }

    /// Sends a command for each of the `fences`, and notes by `done` that Redis took it.
    async fn send_each(
        &self,
        fences: Vec<WriteFence>,
        command: fn(&Commands, &WriteFence, Duration, Era) -> Cmd,
        done: fn(&PendingWrites, &WriteFence),
    ) {
        let send = async |fence: WriteFence| {
            let command = command(&self.commands, &fence, self.fence_life, self.eras.current());
            let sent = self.send::<i64>(&command, self.invalidation_wait).await;
            if sent.is_ok() {
                done(&self.pending, &fence);
            }
        };
        stream::iter(fences)
            .for_each_concurrent(DELIVERIES, send)
            .await;
    }

    /// Looks at the `last` test entry and stores another one for `life`. Logs whether entries stay, if
    /// that has changed.
    async fn test_entry(&self, last: Option<TestEntry>, life: Duration) -> Option<TestEntry> {
        let epoch = self.heartbeat.trusted_epoch(Instant::now())?;
        let mut problem = None;
        // One from before a silence may be gone for any reason.
        if let Some(last) = last.filter(|last| last.epoch == epoch) {
            let get = self.commands.get_test_entry(&last.mark);
            let found: Option<Vec<u8>> = self.send(&get, self.response_timeout).await.ok()?;
            if found.is_none() {
                problem = Some("one was gone before its time".to_owned());
            }
        }
        let mark = new_mark();
        let store = self.commands.store_test_entry(&mark, life);
        match self.send::<Value>(&store, self.response_timeout).await {
            Err(error @ ClientError::Refused(_)) => problem = Some(error.to_string()),
            stored => drop(stored.ok()?),
        }
        let loses_entries = problem.is_some();
        if self.loses_entries.swap(loses_entries, Ordering::Relaxed) != loses_entries {
            match problem {
                Some(problem) => log::warn!(
                    "redis: entries do not stay ({problem}); it evicts them for lack of memory, or \
                     was emptied"
                ),
                None => log::info!("redis: entries stay"),
            }
        }
        Some(TestEntry { mark, epoch })
    }
}
