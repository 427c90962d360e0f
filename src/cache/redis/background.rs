//! What an instance does with Redis beside its requests: sending heartbeats, following the era, and
//! delivering what is pending.

use std::{
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use redis::{Cmd, Value, cmd};
use tokio::time::MissedTickBehavior;

use super::{
    client::ClientError,
    commands::parse_era,
    era::Era,
    heartbeat::{BreakerChange, HEARTBEAT_PERIOD, HEARTBEAT_TIMEOUT, TRUST_LIMIT},
    link::{RedisLink, log_change},
    pending::PendingLog,
};
use crate::tasks::Tasks;

/// The pause between two rounds of deliveries.
const DELIVERY_PERIOD: Duration = Duration::from_millis(50);

/// Sends heartbeats and delivers what is pending, until `link` is dropped.
pub(super) fn start(link: &Arc<RedisLink>, tasks: &Tasks) {
    tasks.background(send_heartbeats(Arc::downgrade(link)));
    tasks.background(deliver_pending(Arc::downgrade(link)));
}

async fn send_heartbeats(link: Weak<RedisLink>) {
    let mut ticks = tokio::time::interval(HEARTBEAT_PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(link) = link.upgrade() else { return };
        link.send_heartbeat().await;
    }
}

/// Runs beside the heartbeats, which must not wait for it.
async fn deliver_pending(link: Weak<RedisLink>) {
    let mut ticks = tokio::time::interval(DELIVERY_PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut log = PendingLog::default();
    loop {
        ticks.tick().await;
        let Some(link) = link.upgrade() else { return };
        if link.heartbeat.silence(Instant::now()) < TRUST_LIMIT {
            link.deliver_pending().await;
        }
        for (level, line) in log.lines(link.pending.counts(Instant::now())) {
            log::log!(level, "redis: {line}");
        }
    }
}

impl RedisLink {
    async fn send_heartbeat(&self) {
        let sent = Instant::now();
        let change = match self.exchange_heartbeat().await {
            Ok(took) if took <= self.response_timeout => {
                self.heartbeat.heartbeat_answered(sent, Instant::now())
            }
            Ok(_) => self
                .heartbeat
                .heartbeat_answered_slowly(sent, Instant::now()),
            Err(error) => self.note_missed_heartbeat(&error),
        };
        log_change(change);
    }

    fn note_missed_heartbeat(&self, error: &ClientError) -> BreakerChange {
        let now = Instant::now();
        let ClientError::TimedOut(timeout) = error else {
            self.heartbeat.heartbeat_missed(now, now);
            self.client.reconnect();
            return self.heartbeat.connection_broke();
        };
        let sent = now.checked_sub(*timeout).unwrap_or(now);
        self.heartbeat.heartbeat_missed(sent, now);
        // Not earlier: a connection that is let go cannot report that it broke.
        if self.heartbeat.silence(now) >= TRUST_LIMIT {
            self.client.reconnect();
        }
        self.heartbeat.heartbeat_timed_out()
    }

    /// Asks every master for an answer and whether it accepts writes, then for the current era and the
    /// last purge. Returns how long the masters took to answer.
    async fn exchange_heartbeat(&self) -> Result<Duration, ClientError> {
        let start = Instant::now();
        let ping = cmd("PING");
        let write = self.commands.heartbeat_write();
        let (answered, written) = tokio::join!(
            self.client.send::<Value>(&ping, HEARTBEAT_TIMEOUT),
            self.client.send::<Value>(&write, HEARTBEAT_TIMEOUT),
        );
        answered.and(written)?;
        let took = start.elapsed();
        self.follow_era().await?;
        // Asked after the era, since a purge replaces the era first: an older era is not read any more.
        if let Some(purge) = self.read_mark(&self.commands.get_purge()).await?
            && !self.eras.see_purge(purge, Instant::now())
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
                let now = Instant::now();
                self.eras.proclaim(era, now);
                self.heartbeat.era_proclaimed(epoch, now);
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

    /// Raises the fences and delivers the invalidations that Redis lacks, until Redis does not answer.
    async fn deliver_pending(&self) {
        for (tenant, fence) in self.pending.unraised_fences() {
            let era = self.eras.current();
            let command = self.commands.fence(&tenant, &fence, self.fence_life, era);
            match self.send::<i64>(&command, HEARTBEAT_TIMEOUT).await {
                Ok(_) => self.pending.fence_raised(&tenant, &fence),
                Err(error) if error.is_answer() => {}
                Err(_) => return,
            }
        }
        for (tenant, invalidation) in self.pending.abandoned(Instant::now()) {
            for fence in &invalidation.fences {
                let era = self.eras.current();
                let command = self.commands.release(&tenant, fence, self.fence_life, era);
                match self.send::<i64>(&command, HEARTBEAT_TIMEOUT).await {
                    Ok(_) => self.pending.delivered(&tenant, fence, invalidation.number),
                    Err(error) if error.is_answer() => {}
                    Err(_) => return,
                }
            }
        }
    }
}
