//! The link to Redis. Lives here: asking, and whether the answer may be believed; insisting on an
//! invalidation, and what is owed when Redis does not take it. Not here: what is kept (`mod`), and
//! how a command is written (`commands`).

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant},
};

use redis::{Cmd, FromRedisValue, Value, cmd};

use super::{
    client::{ClientError, ClientSetUpError, RedisClient},
    commands::{Commands, parse_era, parse_generation},
    era::{Era, Eras},
    health::{Beat, Epoch, Health, PATIENCE, PERIOD, TRUST},
    owed::Owed,
    said::Said,
};
use crate::{
    cache::{CacheError, Generation, Lifetime},
    settings::RedisSettings,
    tasks::Tasks,
    tenant::TenantId,
};

/// By how much Redis' clock may run slow while an entry expires, and how long a computation may have
/// gone on that began before: longer than any statement.
pub(super) const MARGIN: Duration = Duration::from_secs(90);

pub(super) struct Link {
    client: RedisClient,
    pub(super) commands: Commands,
    pub(super) health: Health,
    pub(super) eras: Eras,
    pub(super) owed: Owed,
    /// Of fences, if the last was refused.
    refusals: Mutex<Option<Refusals>>,
    life: Lifetime,
    fence_life: Duration,
    invalidation_wait: Duration,
    last_try: Duration,
    /// How long a read waits.
    quick: Duration,
}

/// When Redis began to refuse, and when it last did.
#[derive(Debug, Clone, Copy)]
struct Refusals {
    since: Instant,
    last: Instant,
}

/// How Redis took what was insisted on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// It answered the first time.
    AtOnce,
    /// It answered in the end. Earlier tries may lie on broken connections, which a Redis that was
    /// paused still reads to their end, in any order.
    InTheEnd,
    /// It did not answer.
    NotYet,
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
    /// Tenants whose new generation Redis has yet to be told of.
    pub undelivered: usize,
    /// Tenants that are written to without a fence in Redis.
    pub unfenced: usize,
    /// Whether there were more of them than can be remembered, so that Redis is used for nobody.
    pub is_overrun: bool,
}

impl Link {
    /// Its heartbeat runs as one of `tasks` until it is dropped. Entries live for `life`.
    pub(super) fn new(
        settings: &RedisSettings,
        life: Lifetime,
        tasks: &Tasks,
    ) -> Result<Arc<Self>, ClientSetUpError> {
        let link = Arc::new(Self {
            client: RedisClient::new(settings)?,
            commands: Commands::new(&settings.key_prefix),
            health: Health::new(Instant::now()),
            eras: Eras::new(),
            owed: Owed::new(life.whole()),
            refusals: Mutex::new(None),
            life,
            fence_life: settings.fence_life(),
            invalidation_wait: settings.invalidation_wait(),
            last_try: settings.response_timeout().min(PATIENCE),
            quick: settings.response_timeout(),
        });
        tasks.background(watch(Arc::downgrade(&link)));
        tasks.background(deliver(Arc::downgrade(&link)));
        Ok(link)
    }

    /// Sends a command and lets `health` know how it went.
    pub(super) async fn ask<T: FromRedisValue>(
        &self,
        command: &Cmd,
        within: Duration,
    ) -> Result<T, ClientError> {
        let answer = self.client.ask(command, within).await;
        match &answer {
            Ok(_) | Err(ClientError::Refused(_) | ClientError::Forgotten) => {
                self.health.answered();
            }
            Err(ClientError::Silent(_)) => tell(self.health.unanswered()),
            Err(ClientError::Lost(_)) => tell(self.health.broken()),
        }
        answer
    }

    /// [Insists](Link::insist) on a fence. The first that Redis refuses to raise is tried again for
    /// `invalidation_wait`, and those that follow soon only for what is left of it: whose fence it is
    /// holds a connection to the database, and readers wait for one.
    pub(super) async fn raise(&self, fence: &Cmd) -> Result<Told, CacheError> {
        let (wait, began) = (self.invalidation_wait, Instant::now());
        let before = self
            .refusals()
            .filter(|refusals| began.duration_since(refusals.last) < wait);
        let since = before.map_or(began, |before| before.since);
        let told = self
            .try_for(wait.saturating_sub(began.duration_since(since)), fence)
            .await;
        let refused = matches!(&told, Err(error) if error.is_answer());
        let last = Instant::now();
        *self.refusals() = refused.then_some(Refusals { since, last });
        Ok(told?)
    }

    /// Sends a command until it is run, or until Redis has been silent for so long that every
    /// instance has noticed. An error when others may use Redis, but the command cannot be run.
    pub(super) async fn insist(&self, command: &Cmd) -> Result<Told, CacheError> {
        Ok(self.try_for(self.invalidation_wait, command).await?)
    }

    /// As [`Link::insist`], but a command that is refused is not tried again after `patience`.
    async fn try_for(&self, patience: Duration, command: &Cmd) -> Result<Told, ClientError> {
        let wait = self.invalidation_wait;
        let began = Instant::now();
        let mut told = Told::AtOnce;
        loop {
            let now = Instant::now();
            let silence = self.health.silence(now);
            let given_up = self.health.is_given_up(now, wait);
            // However long the silence, there is a last try: it may have been this instance that
            // was stalled, and Redis may just have come back to others.
            let within = wait.saturating_sub(silence).max(self.last_try);
            match self.ask::<i64>(command, within).await {
                Ok(_) => return Ok(told),
                Err(error) if given_up && !error.is_answer() => return Ok(Told::NotYet),
                Err(error) => {
                    told = Told::InTheEnd;
                    let tries = if error.is_answer() {
                        patience
                    } else {
                        2 * wait
                    };
                    if began.elapsed() >= tries {
                        return Err(error);
                    }
                }
            }
            tokio::time::sleep(PERIOD / 5).await;
        }
    }

    fn refusals(&self) -> MutexGuard<'_, Option<Refusals>> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The epoch, while what Redis says of `tenant` may be believed.
    pub(super) fn believed(&self, tenant: &TenantId) -> Option<Epoch> {
        let now = Instant::now();
        if self.owed.holds(tenant, now) {
            None
        } else {
            self.health.trusted(now)
        }
    }

    /// The generation that Redis keeps as `kept` at `now`, unless it is damaged or may be from before
    /// Redis was last silent: then it must be replaced before an entry is believed.
    pub(super) fn accepted(&self, kept: &[u8], now: Instant) -> Option<Generation> {
        let (generation, era) = parse_generation(kept)?;
        // By now every entry from before has expired.
        let is_over = || {
            let age = self.eras.age(now);
            age.is_some_and(|age| age >= self.life.whole() + MARGIN)
        };
        (self.eras.knows(era) || is_over()).then_some(generation)
    }

    pub(super) fn state(&self) -> LinkState {
        let (is_open, opened, closed) = self.health.breaker();
        let (undelivered, unfenced, is_overrun) = self.owed.sizes(Instant::now());
        LinkState {
            is_open,
            opened,
            closed,
            undelivered,
            unfenced,
            is_overrun,
        }
    }

    async fn heartbeat(&self) {
        let sent = Instant::now();
        let beat = match self.listen().await {
            Ok(took) if took <= self.quick => self.health.beat(sent, Instant::now()),
            Ok(_) => self.health.beat_late(sent, Instant::now()),
            Err(error) => {
                let now = Instant::now();
                let asked = match error {
                    ClientError::Silent(within) => now.checked_sub(within),
                    _ => None,
                };
                self.health.unheard(asked.unwrap_or(now), now);
                if let ClientError::Silent(_) = error {
                    // Not before the silence is one: a connection that is let go does not tell that
                    // it broke.
                    if self.health.silence(now) >= TRUST {
                        self.client.reconnect();
                    }
                    self.health.missed()
                } else {
                    self.client.reconnect();
                    self.health.broken()
                }
            }
        };
        tell(beat);
    }

    /// Hears from every master, and how soon; whether Redis takes writes, which era was proclaimed
    /// last, and whether there was a purge.
    async fn listen(&self) -> Result<Duration, ClientError> {
        let asked = Instant::now();
        let (ping, beat) = (cmd("PING"), self.commands.beat());
        let (heard, taken) = tokio::join!(
            self.client.ask::<Value>(&ping, PATIENCE),
            self.client.ask::<Value>(&beat, PATIENCE),
        );
        heard.and(taken)?;
        let took = asked.elapsed();
        self.follow_era().await?;
        // After the era, which was replaced before it: an older one is not seen any more.
        if let Some(purge) = self.mark(&self.commands.purge()).await?
            && !self.eras.purged(purge, Instant::now())
        {
            self.follow_era().await?;
        }
        Ok(took)
    }

    /// Hears which era was proclaimed last; proclaims one if this instance has reason to believe
    /// nothing from before.
    async fn follow_era(&self) -> Result<(), ClientError> {
        let epoch = self.health.unproclaimed();
        let era = match epoch {
            None => self.mark(&self.commands.era()).await?,
            Some(_) => None,
        };
        if let Some(era) = era {
            if self.eras.seen(era) {
                self.owed.raise_again();
            }
            return Ok(());
        }
        let era = Era::random();
        let proclaim = self.commands.proclaim(era);
        self.client.ask::<Value>(&proclaim, PATIENCE).await?;
        // What made the era go may have taken the fences with it.
        self.owed.raise_again();
        match epoch {
            Some(epoch) => {
                let now = Instant::now();
                self.eras.proclaimed(era, now);
                self.health.proclaimed(epoch, now);
            }
            // It was evicted or flushed.
            None => drop(self.eras.seen(era)),
        }
        Ok(())
    }

    /// The mark that `get` asks for.
    async fn mark(&self, get: &Cmd) -> Result<Option<Era>, ClientError> {
        let kept: Option<Vec<u8>> = match self.client.ask(get, PATIENCE).await {
            // Whatever lies there is replaced.
            Err(ClientError::Refused(_)) => None,
            kept => kept?,
        };
        Ok(kept.as_deref().and_then(parse_era))
    }

    /// Has every instance forget everything, and waits until all of them have: see `era`.
    pub(super) async fn purge(&self) -> Result<(), ClientError> {
        let purge = Era::random();
        for command in [
            self.commands.proclaim(purge),
            self.commands.set_purge(purge),
        ] {
            self.ask::<Value>(&command, self.invalidation_wait).await?;
        }
        tokio::time::sleep(TRUST).await;
        // Had it been evicted, somebody might have missed it.
        let get = self.commands.purge();
        let kept: Option<Vec<u8>> = self.ask(&get, self.invalidation_wait).await?;
        match kept.as_deref().and_then(parse_era) {
            Some(_this_or_a_later_one) => Ok(()),
            None => Err(ClientError::Forgotten),
        }
    }

    /// Raises the fences and delivers the new generations that Redis was not told of.
    async fn pay(&self) {
        for (tenant, fence) in self.owed.missing() {
            let era = self.eras.current();
            let command = self.commands.fence(&tenant, &fence, self.fence_life, era);
            match self.ask::<i64>(&command, PATIENCE).await {
                Ok(_) => self.owed.lacks_no_more(&tenant, &fence),
                Err(error) if error.is_answer() => {}
                Err(_) => return,
            }
        }
        for (tenant, debt) in self.owed.left(Instant::now()) {
            for fence in &debt.fences {
                let (bar, era) = (self.fence_life, self.eras.current());
                let command = self.commands.release(&tenant, fence, bar, era);
                match self.ask::<i64>(&command, PATIENCE).await {
                    Ok(_) => self.owed.paid(&tenant, fence, debt.number),
                    Err(error) if error.is_answer() => {}
                    Err(_) => return,
                }
            }
        }
    }
}

/// Sends heartbeats.
async fn watch(link: Weak<Link>) {
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(link) = link.upgrade() else { return };
        link.heartbeat().await;
    }
}

/// Pays what is owed when Redis is back, and says what is left; heartbeats do not wait for it.
async fn deliver(link: Weak<Link>) {
    let mut ticks = tokio::time::interval(PERIOD / 2);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut said = Said::default();
    loop {
        ticks.tick().await;
        let Some(link) = link.upgrade() else { return };
        if link.health.silence(Instant::now()) < TRUST {
            link.pay().await;
        }
        for (level, line) in said.news(link.owed.sizes(Instant::now())) {
            log::log!(level, "redis: {line}");
        }
    }
}

fn tell(beat: Beat) {
    match beat {
        Beat::Same => {}
        Beat::Lost => log::warn!("redis: no answer; answering from the database"),
        Beat::Back => log::info!("redis: answers"),
    }
}
