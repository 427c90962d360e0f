//! The metrics whose figures other modules keep: the pool's, the tasks', the cache's, Redis',
//! warming's and the streams'.

use std::sync::Arc;

use crate::{
    cache::{CacheParts, LinkProblem, LinkState, RedisCache, Relay, RelayCounts},
    db::{Db, PoolState},
    logging,
    metrics::Metrics,
    stats::{events::LiveCounts, service::StatsService},
    tasks::Tasks,
};

type PoolFigure = fn(PoolState) -> u64;
type LinkFigure = fn(LinkState) -> u64;

/// Shows the pool of `db`, the `tasks`, and the entries in memory and the link to Redis if `cache` has
/// them.
pub(super) fn show(metrics: &Metrics, db: &Db, cache: &CacheParts, tasks: &Tasks) {
    let tasks = tasks.clone();
    metrics.gauge(
        "megastats_tasks_running",
        "Shows how many computations and writes run, including those whose clients have left.",
        &[],
        move || tasks.running() as u64,
    );
    metrics.counter(
        "megastats_log_dropped_lines_total",
        "Counts the lines of the log that were dropped because its reader was too slow.",
        &[],
        logging::dropped_lines,
    );
    show_pool(metrics, db);
    if let Some(memory) = cache.memory.clone() {
        metrics.gauge(
            "megastats_cache_entries",
            "Shows how many entries are in memory, outdated ones included, of at most cache.max_entries.",
            &[],
            move || memory.entries() as u64,
        );
    }
    if let Some(redis) = &cache.redis {
        show_link(metrics, redis);
        show_relay(metrics, cache.relay.as_ref());
    }
}

fn show_relay(metrics: &Metrics, relay: Option<&Relay>) {
    let read = |field: fn(RelayCounts) -> u64| {
        let relay = relay.cloned();
        move || field(relay.as_ref().map(Relay::counts).unwrap_or_default())
    };
    metrics.gauge(
        "megastats_relay_waiting_invalidations",
        "Shows how many invalidations of all instances wait in PostgreSQL for an instance that reaches Redis.",
        &[],
        read(|relay| relay.waiting),
    );
    metrics.counter(
        "megastats_relay_delivered_invalidations_total",
        "Counts the invalidations of other instances that this instance has delivered to Redis.",
        &[],
        read(|relay| relay.delivered),
    );
}

fn show_pool(metrics: &Metrics, db: &Db) {
    let read = |field: PoolFigure| {
        let db = db.clone();
        move || field(db.pool_state())
    };
    let connections =
        "Shows how many connections to the database are in use, and how many are idle.";
    let states: [(&str, PoolFigure); 2] =
        [("in_use", |pool| pool.in_use), ("idle", |pool| pool.idle)];
    for (state, field) in states {
        let name = "megastats_db_pool_connections";
        metrics.gauge(name, connections, &[("state", state)], read(field));
    }
    metrics.gauge(
        "megastats_db_pool_max_connections",
        "Shows how many connections to the database there may be: database.pool_size, and on SQLite one more for the writer.",
        &[],
        read(|pool| pool.size),
    );
    metrics.gauge(
        "megastats_db_pool_waiting",
        "Shows how many reads and writes wait for a connection, or for their turn to write.",
        &[],
        read(|pool| pool.waiting),
    );
    metrics.gauge(
        "megastats_db_pool_waiting_tenants",
        "Shows how many tenants have reads or writes that wait. All that concerns no tenant counts as one tenant.",
        &[],
        read(|pool| pool.waiting_tenants),
    );
    let refusals = "Counts the reads and writes that were refused with 503, by reason.";
    let reasons: [(&str, PoolFigure); 4] = [
        ("full", |pool| pool.refused.queue_full),
        ("share", |pool| pool.refused.over_share),
        ("late", |pool| pool.refused.timed_out),
        ("locked", |pool| pool.refused.file_locked),
    ];
    for (reason, field) in reasons {
        let name = "megastats_db_pool_refusals_total";
        metrics.counter(name, refusals, &[("reason", reason)], read(field));
    }
}

fn show_link(metrics: &Metrics, redis: &RedisCache) {
    let read = |field: LinkFigure| {
        let redis = redis.clone();
        move || field(redis.link_state())
    };
    metrics.gauge(
        "megastats_redis_breaker_open",
        "Is 1 while reads do without Redis, and 0 otherwise.",
        &[],
        read(|link| link.is_breaker_open.into()),
    );
    for kind in LinkProblem::KINDS {
        let redis = redis.clone();
        metrics.gauge(
            "megastats_redis_problem",
            "Is 1 while Redis is not used for this reason, and 0 otherwise. The log has the reason in full.",
            &[("reason", kind)],
            move || {
                let problem = redis.link_state().problem;
                problem.is_some_and(|problem| problem.kind() == kind).into()
            },
        );
    }
    let changes = "Counts how often the breaker opened because Redis could not be used, and closed because Redis answered.";
    let states: [(&str, LinkFigure); 2] = [
        ("open", |link| link.breaker_opened),
        ("closed", |link| link.breaker_closed),
    ];
    for (to, field) in states {
        let name = "megastats_redis_breaker_changes_total";
        metrics.counter(name, changes, &[("to", to)], read(field));
    }
    metrics.gauge(
        "megastats_redis_undelivered_generations",
        "Shows how many tenants have a new generation that Redis does not have yet. They are read from the database.",
        &[],
        read(|link| link.undelivered as u64),
    );
    metrics.gauge(
        "megastats_redis_unraised_fences",
        "Shows how many tenants are being written to while Redis lacks the fence.",
        &[],
        read(|link| link.unraised as u64),
    );
    metrics.gauge(
        "megastats_redis_undelivered_overrun",
        "Is 1 while more invalidations are pending than can be remembered, so that Redis is used for no tenant, and 0 otherwise.",
        &[],
        read(|link| link.is_overrun.into()),
    );
    metrics.gauge(
        "megastats_redis_loses_entries",
        "Is 1 while Redis drops entries before their time, and 0 otherwise.",
        &[],
        read(|link| link.loses_entries.into()),
    );
}

/// Shows how many polls `stats` keeps warm, and how many clients view the counts of `live`.
pub(super) fn show_polls(metrics: &Metrics, stats: &Arc<StatsService>, live: &Arc<LiveCounts>) {
    // Weak: their service holds the metrics.
    let stats = Arc::downgrade(stats);
    metrics.gauge(
        "megastats_warming_polls",
        "Shows how many polls are kept warm.",
        &[],
        move || stats.upgrade().map_or(0, |stats| stats.warm_polls() as u64),
    );
    let live = Arc::downgrade(live);
    metrics.gauge(
        "megastats_event_streams",
        "Shows how many streams of events are open, of at most half of server.max_connections.",
        &[],
        move || live.upgrade().map_or(0, |live| live.viewers() as u64),
    );
}
