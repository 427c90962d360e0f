//! The link to Redis: sending commands, deciding whether an answer may be trusted, and delivering a
//! write's fence and invalidation until Redis has run them or every instance has noticed its silence.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use redis::{Cmd, FromRedisValue, Value};

use super::{
    client::{ClientError, ClientSetUpError, RedisClient},
    commands::{Commands, parse_era, parse_generation},
    era::{Era, Eras},
    heartbeat::{BreakerChange, Epoch, HEARTBEAT_TIMEOUT, Heartbeat, TRUST_LIMIT},
    pending::PendingInvalidations,
};
use crate::{
    cache::stats_cache::{BypassReason, CacheError, Generation, Lifetime},
    settings::RedisSettings,
    tenant::TenantId,
};

/// How much longer than an entry's lifetime it takes until no older entry can be left: Redis' clock may
/// run slowly, and a computation that began before may still be running. Longer than any statement.
pub(super) const EXPIRY_MARGIN: Duration = Duration::from_secs(90);

/// The pause between two attempts to deliver a command.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

pub(super) struct RedisLink {
    pub(super) client: RedisClient,
    pub(super) commands: Commands,
    pub(super) heartbeat: Heartbeat,
    pub(super) eras: Eras,
    pub(super) pending: PendingInvalidations,
    /// Set while Redis refuses to raise fences.
    refusals: Mutex<Option<FenceRefusals>>,
    life: Lifetime,
    pub(super) fence_life: Duration,
    invalidation_wait: Duration,
    /// How long a read waits for an answer.
    pub(super) response_timeout: Duration,
}

#[derive(Debug, Clone, Copy)]
struct FenceRefusals {
    /// When Redis began to refuse.
    first: Instant,
    /// When it last refused.
    last: Instant,
}

/// How a command was delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Delivery {
    /// Redis answered the first attempt.
    FirstAttempt,
    /// Redis answered a later attempt. Earlier ones may still lie on broken connections, which a Redis
    /// that was paused reads to their end, in any order.
    LaterAttempt,
    /// Redis did not answer, and every instance has noticed its silence.
    Undelivered,
}

/// How the link to Redis fares, as this instance sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkState {
    /// Whether reads do without Redis, since it does not answer.
    pub is_open: bool,
    /// How often Redis has stopped answering.
    pub opened: u64,
    /// How often Redis has begun to answer, the first time included.
    pub closed: u64,
    /// Tenants whose new generation has yet to be delivered to Redis.
    pub undelivered: usize,
    /// Tenants that are being written to while Redis lacks the fence.
    pub unfenced: usize,
    /// Whether there were more of them than can be remembered, so that Redis is used for no tenant.
    pub is_overrun: bool,
}

impl RedisLink {
    /// Connects to nothing yet. Entries live for `life`.
    pub(super) fn new(settings: &RedisSettings, life: Lifetime) -> Result<Self, ClientSetUpError> {
        Ok(Self {
            client: RedisClient::new(settings)?,
            commands: Commands::new(&settings.key_prefix),
            heartbeat: Heartbeat::new(Instant::now()),
            eras: Eras::new(),
            pending: PendingInvalidations::new(life.whole()),
            refusals: Mutex::new(None),
            life,
            fence_life: settings.fence_life,
            invalidation_wait: settings.invalidation_wait,
            response_timeout: settings.response_timeout,
        })
    }

    /// Sends a command, waits for its answer for at most `timeout`, and notes how that went.
    pub(super) async fn send<T: FromRedisValue>(
        &self,
        command: &Cmd,
        timeout: Duration,
    ) -> Result<T, ClientError> {
        let answer = self.client.send(command, timeout).await;
        match &answer {
            Ok(_) | Err(ClientError::Refused(_) | ClientError::PurgeMarkGone) => {
                self.heartbeat.command_answered();
            }
            Err(ClientError::TimedOut(_)) => log_change(self.heartbeat.command_timed_out()),
            Err(ClientError::Disconnected(_)) => log_change(self.heartbeat.connection_broke()),
        }
        answer
    }

    /// [Delivers](RedisLink::deliver) the command that raises a fence. If Redis refuses, the first write
    /// tries again for `invalidation_wait`, and writes that follow soon only for what is left of that
    /// time: each holds a connection to the database for which readers wait.
    pub(super) async fn deliver_fence(&self, command: &Cmd) -> Result<Delivery, CacheError> {
        let wait = self.invalidation_wait;
        let start = Instant::now();
        let first = self
            .refusals()
            .filter(|refusals| start.duration_since(refusals.last) < wait)
            .map_or(start, |refusals| refusals.first);
        let left = wait.saturating_sub(start.duration_since(first));
        let delivery = self.deliver_or_give_up(command, left).await;
        let is_refused = matches!(&delivery, Err(error) if error.is_answer());
        let last = Instant::now();
        *self.refusals() = is_refused.then_some(FenceRefusals { first, last });
        Ok(delivery?)
    }

    /// Sends a command until Redis has run it, or until Redis has been silent for so long that every
    /// instance has noticed. Fails if others may be using Redis but the command cannot be run.
    pub(super) async fn deliver(&self, command: &Cmd) -> Result<Delivery, CacheError> {
        Ok(self
            .deliver_or_give_up(command, self.invalidation_wait)
            .await?)
    }

    /// As [`RedisLink::deliver`], but a command that Redis refuses is not tried again after
    /// `refusal_patience`.
    async fn deliver_or_give_up(
        &self,
        command: &Cmd,
        refusal_patience: Duration,
    ) -> Result<Delivery, ClientError> {
        let wait = self.invalidation_wait;
        let start = Instant::now();
        let mut delivery = Delivery::FirstAttempt;
        loop {
            let now = Instant::now();
            let is_silent = self.heartbeat.is_silent_for(wait, now);
            // However long the silence was, there is a last attempt: Redis may just have come back to
            // the other instances.
            let last_attempt = self.response_timeout.min(HEARTBEAT_TIMEOUT);
            let timeout = wait
                .saturating_sub(self.heartbeat.silence(now))
                .max(last_attempt);
            match self.send::<i64>(command, timeout).await {
                Ok(_) => return Ok(delivery),
                Err(error) if is_silent && !error.is_answer() => return Ok(Delivery::Undelivered),
                Err(error) => {
                    delivery = Delivery::LaterAttempt;
                    let patience = if error.is_answer() {
                        refusal_patience
                    } else {
                        2 * wait
                    };
                    if start.elapsed() >= patience {
                        return Err(error);
                    }
                }
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    fn refusals(&self) -> MutexGuard<'_, Option<FenceRefusals>> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The current epoch, if this instance may trust what Redis says about `tenant`.
    pub(super) fn trusted_epoch(&self, tenant: &TenantId) -> Option<Epoch> {
        let now = Instant::now();
        if self.pending.must_bypass(tenant, now) {
            None
        } else {
            self.heartbeat.trusted_epoch(now)
        }
    }

    /// Why this instance does not trust what Redis says about `tenant`.
    pub(super) fn distrust(&self, tenant: &TenantId) -> BypassReason {
        if self.heartbeat.breaker().is_open {
            BypassReason::Unreachable
        } else if self.pending.must_bypass(tenant, Instant::now()) {
            BypassReason::PendingInvalidation
        } else {
            BypassReason::NotTrusted
        }
    }

    /// The generation that Redis stores as `stored`. `None` if it is damaged, or if its era may be from
    /// before the last silence of Redis: then the generation must be replaced before an entry is hit.
    pub(super) fn trusted_generation(&self, stored: &[u8], now: Instant) -> Option<Generation> {
        let (generation, era) = parse_generation(stored)?;
        let has_every_older_entry_expired = || {
            let age = self.eras.age(now);
            age.is_some_and(|age| age >= self.life.whole() + EXPIRY_MARGIN)
        };
        (self.eras.is_known(era) || has_every_older_entry_expired()).then_some(generation)
    }

    pub(super) fn state(&self) -> LinkState {
        let breaker = self.heartbeat.breaker();
        let pending = self.pending.counts(Instant::now());
        LinkState {
            is_open: breaker.is_open,
            opened: breaker.opened,
            closed: breaker.closed,
            undelivered: pending.undelivered,
            unfenced: pending.unfenced,
            is_overrun: pending.is_overrun,
        }
    }

    /// Makes every instance forget everything, and waits until all of them have: see `era`.
    pub(super) async fn purge(&self) -> Result<(), ClientError> {
        let purge = Era::random();
        for command in [self.commands.set_era(purge), self.commands.set_purge(purge)] {
            self.send::<Value>(&command, self.invalidation_wait).await?;
        }
        tokio::time::sleep(TRUST_LIMIT).await;
        // If the mark was evicted meanwhile, an instance may have missed it.
        let get = self.commands.get_purge();
        let stored: Option<Vec<u8>> = self.send(&get, self.invalidation_wait).await?;
        match stored.as_deref().and_then(parse_era) {
            Some(_this_or_a_later_one) => Ok(()),
            None => Err(ClientError::PurgeMarkGone),
        }
    }
}

/// Logs that Redis stopped answering, or that it answers.
pub(super) fn log_change(change: BreakerChange) {
    match change {
        BreakerChange::Unchanged => {}
        BreakerChange::Opened => {
            log::warn!("redis: no answer; statistics are read from the database");
        }
        BreakerChange::Closed => log::info!("redis: answers"),
    }
}
