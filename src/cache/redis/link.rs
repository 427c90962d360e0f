//! The link to Redis: sending commands, deciding whether an answer may be trusted, and delivering a
//! write's fence and invalidation until Redis has run them or has not served this instance for long.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use redis::{Cmd, FromRedisValue, Value};

use super::{
    breaker::LinkProblem,
    client::{ClientError, ClientSetUpError, RedisClient},
    commands::{Commands, parse_era, parse_generation},
    era::{Era, Eras},
    heartbeat::{Epoch, Heartbeat, TRUST_LIMIT},
    pending::PendingWrites,
};
use crate::{
    cache::stats_cache::{BypassReason, CacheError, Generation, Lifetime},
    settings::RedisSettings,
    tenant::TenantId,
};

/// The pause between two attempts to deliver a command, and between two looks at whether Redis is silent.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

pub(super) struct RedisLink {
    pub(super) client: RedisClient,
    pub(super) commands: Commands,
    pub(super) heartbeat: Heartbeat,
    pub(super) eras: Eras,
    pub(super) pending: PendingWrites,
    /// Whether the last test entry was gone before its time.
    pub(super) loses_entries: AtomicBool,
    pub(super) fence_life: Duration,
    pub(super) invalidation_wait: Duration,
    /// How long a read waits for an answer.
    pub(super) response_timeout: Duration,
}

/// How a command was delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Delivery {
    /// Redis answered the first attempt.
    FirstAttempt,
    /// Redis answered a later attempt. Earlier ones may still lie on broken connections, which a Redis
    /// that was paused reads to their end, in any order.
    LaterAttempt,
    /// Redis has not served this instance for `cache.redis.invalidation_wait_ms`. If it served nobody, every
    /// instance has noticed; if this one alone is cut off, the relay has another instance raise the fence.
    Undelivered,
}

/// What this instance knows of its link to Redis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkState {
    /// Whether the breaker is open: then reads do without Redis.
    pub is_breaker_open: bool,
    /// Why they do, if this is known.
    pub problem: Option<LinkProblem>,
    /// How often the breaker has opened, since Redis could not be used.
    pub breaker_opened: u64,
    /// How often the breaker has closed, since Redis answered.
    pub breaker_closed: u64,
    /// Tenants with an invalidation that has yet to be delivered to Redis.
    pub undelivered: usize,
    /// Tenants that are being written to while Redis lacks the fence.
    pub unraised: usize,
    /// Whether there were more of them than can be remembered, so that Redis is used for no tenant.
    pub is_overrun: bool,
    /// Whether Redis drops entries before their time.
    pub loses_entries: bool,
}

impl RedisLink {
    /// Connects to nothing yet. Entries live for `life`.
    pub(super) fn new(settings: &RedisSettings, life: Lifetime) -> Result<Self, ClientSetUpError> {
        Ok(Self {
            client: RedisClient::new(settings)?,
            commands: Commands::new(&settings.key_prefix, life.whole()),
            heartbeat: Heartbeat::default(),
            eras: Eras::new(),
            pending: PendingWrites::new(life.whole()),
            loses_entries: AtomicBool::new(false),
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
            Err(ClientError::TimedOut(_)) => self.heartbeat.command_timed_out().log(),
            Err(error @ ClientError::Disconnected(_)) => {
                self.heartbeat
                    .connection_broke(error.clone().problem())
                    .log();
            }
        }
        answer
    }

    /// Sends a command until Redis has run it, or has not served this instance for
    /// `cache.redis.invalidation_wait_ms`: writes that begin later do not wait at all. Fails if Redis serves
    /// this instance but does not run the command.
    pub(super) async fn deliver(&self, command: &Cmd) -> Result<Delivery, CacheError> {
        let start = Instant::now();
        let mut delivery = Delivery::FirstAttempt;
        loop {
            let error = tokio::select! {
                biased;
                () = self.until_silent() => return Ok(Delivery::Undelivered),
                answer = self.send::<i64>(command, self.invalidation_wait) => match answer {
                    Ok(_) => return Ok(delivery),
                    Err(error) => error,
                },
            };
            delivery = Delivery::LaterAttempt;
            // The command may have taken longer than until the silence that is waited for beside it.
            if self.is_silent() {
                return Ok(Delivery::Undelivered);
            }
            // Redis serves this instance, and does not run the command.
            if start.elapsed() >= 2 * self.invalidation_wait {
                return Err(error.into());
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    /// Whether Redis has not served this instance for `cache.redis.invalidation_wait_ms`.
    pub(super) fn is_silent(&self) -> bool {
        let wait = self.invalidation_wait;
        self.heartbeat.is_silent_for(wait, Instant::now())
    }

    async fn until_silent(&self) {
        while !self.is_silent() {
            tokio::time::sleep(RETRY_PAUSE).await;
        }
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
        if self.heartbeat.is_breaker_open() {
            BypassReason::Unreachable
        } else if self.pending.must_bypass(tenant, Instant::now()) {
            BypassReason::PendingInvalidation
        } else {
            BypassReason::NotTrusted
        }
    }

    /// The generation that Redis stores as `stored`. `None` if it is damaged, or if its era may be from
    /// before the last silence of Redis: then the generation must be replaced before an entry is hit.
    pub(super) fn trusted_generation(&self, stored: &[u8]) -> Option<Generation> {
        let (generation, era) = parse_generation(stored)?;
        self.eras.is_trusted(era).then_some(generation)
    }

    pub(super) fn state(&self) -> LinkState {
        let breaker = self.heartbeat.breaker();
        let pending = self.pending.counts(Instant::now());
        LinkState {
            is_breaker_open: breaker.is_open(),
            problem: breaker.problem,
            breaker_opened: breaker.opened,
            breaker_closed: breaker.closed,
            undelivered: pending.undelivered,
            unraised: pending.unraised,
            is_overrun: pending.is_overrun,
            loses_entries: self.loses_entries.load(Ordering::Relaxed),
        }
    }

    /// Purges every instance, and waits until all of them have: see `era`.
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
