//! Keeping entries warm: computing what dashboards poll before it expires.
//!
//! One entry at a time, and only while no request waits for a computation: warming takes from the
//! database only what requests leave.

use std::{
    sync::{Arc, Weak},
    time::Instant,
};

use super::{polls::Polls, service::StatsService};
use crate::{cache::Refreshed, tasks::repeat_while_alive};

/// Keeps warm what the clients of `service` read, until the service is dropped.
pub async fn keep_warm(service: Weak<StatsService>) {
    let Some(polls) = service.upgrade().and_then(|service| service.polls()) else {
        return;
    };
    let tick = polls.tick;
    let warm = async move |service: Arc<StatsService>| warm(&polls, &service).await;
    repeat_while_alive(service, tick, warm).await;
}

/// Computes anew what is due, until requests wait for computations or one of its own fails.
async fn warm(polls: &Polls, service: &StatsService) {
    let now = Instant::now();
    while !service.is_busy()
        && let Some(poll) = polls.warming.next(now)
    {
        let began = Instant::now();
        let refreshed = service.refresh(&poll, polls.refresh_age).await;
        let counters = service.refreshes();
        let (counter, age) = match &refreshed {
            Ok(Refreshed::Computed) => (&counters.computed, Some(began.elapsed())),
            Ok(Refreshed::Young { age }) => (&counters.young, Some(*age)),
            Ok(Refreshed::Later) => (&counters.later, None),
            Err(_) => (&counters.failed, None),
        };
        counter.inc();
        let due = match age {
            Some(age) => polls.due(&poll, age, service.now()),
            None => Instant::now() + polls.tick,
        };
        polls.warming.schedule(poll, due);
        if let Err(error) = refreshed {
            log::debug!("warming: {error}");
            return;
        }
    }
}
