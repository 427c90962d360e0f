//! What the cache does: answers, computations, writes and failures.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts, Registry,
};

use super::register::register;
use crate::settings::CacheBackend;

/// Seconds: from one small tenant's count to what a statement's time-out allows.
const BUCKETS: [f64; 13] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
];

/// Counts without locks.
#[derive(Debug)]
pub struct CacheCounters {
    /// Answers from the cache, or from a computation that another request had begun.
    pub hits: AnswerCounter,
    /// Answers from a computation that their own request began.
    pub misses: AnswerCounter,
    /// Answers from an entry past its time to live: the database could not answer.
    pub stale: AnswerCounter,
    /// Answers that the cache had no part in.
    pub bypasses: AnswerCounter,
    /// Answers that shared the computation of another request.
    pub collapsed: IntCounter,
    /// Single flights begun: each computes once, unless another instance has done so meanwhile.
    pub flights: IntCounter,
    /// Seconds of each computation that gave a result.
    pub computed: Histogram,
    /// Seconds of each computation that failed.
    pub not_computed: Histogram,
    /// Fences raised.
    pub fences: IntCounter,
    /// New generations: fences released.
    pub generations: IntCounter,
    /// How writes ended.
    pub writes: WriteCounters,
    /// What the backend could not do.
    pub failures: FailureCounters,
    /// What became of polls that were due to be kept warm.
    pub refreshes: RefreshCounters,
}

/// Answers of one kind.
#[derive(Debug)]
pub struct AnswerCounter {
    count: IntCounter,
    nanoseconds: AtomicU64,
}

impl AnswerCounter {
    fn new(count: IntCounter) -> Self {
        Self {
            count,
            nanoseconds: AtomicU64::new(0),
        }
    }

    /// Counts an answer that took so long.
    pub fn add(&self, took: Duration) {
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.count.inc();
        self.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.count.get()
    }

    /// The time that all of them took together, in nanoseconds.
    pub fn nanoseconds(&self) -> u64 {
        self.nanoseconds.load(Ordering::Relaxed)
    }
}

/// How writes ended.
#[derive(Debug)]
pub struct WriteCounters {
    /// Writes that the database has committed.
    pub committed: IntCounter,
    /// Writes that the database has not committed, or of which nobody knows whether it has.
    pub failed: IntCounter,
    /// Writes that did not begin, because no fence could be raised.
    pub refused: IntCounter,
}

/// What the backend could not do. Reads go on without it.
#[derive(Debug)]
pub struct FailureCounters {
    /// Looking an entry up.
    pub lookup: IntCounter,
    /// Keeping an entry.
    pub store: IntCounter,
    /// Asking which instance computes.
    pub lease: IntCounter,
    /// Raising a fence: the write was refused.
    pub fence: IntCounter,
    /// Releasing a fence: it ends by itself.
    pub release: IntCounter,
}

/// What became of polls that were due to be kept warm.
#[derive(Debug)]
pub struct RefreshCounters {
    /// Entries computed anew.
    pub computed: IntCounter,
    /// Entries that a request or another instance had computed meanwhile.
    pub young: IntCounter,
    /// Polls that were put off: another instance computed, or the cache was bypassed.
    pub later: IntCounter,
    /// Computations that failed.
    pub failed: IntCounter,
}

impl CacheCounters {
    pub(super) fn new(registry: &Registry, backend: CacheBackend) -> Self {
        let backend = backend.as_str();
        let answers = vec(
            registry,
            "megastats_cache_requests_total",
            "Counts the answers with statistics by where they came from.",
            &["backend", "outcome"],
        );
        let writes = vec(
            registry,
            "megastats_writes_total",
            "Counts the writes of appointments by how they ended.",
            &["result"],
        );
        let failures = vec(
            registry,
            "megastats_cache_failures_total",
            "Counts what the cache's backend failed to do, by operation.",
            &["backend", "operation"],
        );
        let refreshes = vec(
            registry,
            "megastats_warming_refreshes_total",
            "Counts the polls that were due to be computed anew, by what became of them.",
            &["result"],
        );
        let durations = HistogramOpts::new(
            "megastats_cache_computation_duration_seconds",
            "Measures how long it took to compute statistics, including the wait for a connection, by result.",
        );
        let durations = durations.buckets(BUCKETS.to_vec());
        let durations = register(registry, HistogramVec::new(durations, &["result"]));
        let answers = |outcome| AnswerCounter::new(answers.with_label_values(&[backend, outcome]));
        let write = |result| writes.with_label_values(&[result]);
        let refresh = |result| refreshes.with_label_values(&[result]);
        let failure = |operation| failures.with_label_values(&[backend, operation]);
        Self {
            hits: answers("hit"),
            misses: answers("miss"),
            stale: answers("stale"),
            bypasses: answers("bypass"),
            collapsed: one(
                registry,
                "megastats_cache_collapsed_requests_total",
                "Counts the answers that shared a computation which another request had begun.",
            ),
            flights: one(
                registry,
                "megastats_cache_flights_total",
                "Counts the single flights that began. Each computes once, or finds what another instance has computed.",
            ),
            computed: durations.with_label_values(&["ok"]),
            not_computed: durations.with_label_values(&["error"]),
            fences: one(
                registry,
                "megastats_cache_fences_total",
                "Counts the fences that were raised, one before each write.",
            ),
            generations: one(
                registry,
                "megastats_cache_generations_total",
                "Counts the new generations that tenants got, one after each write.",
            ),
            writes: WriteCounters {
                committed: write("committed"),
                failed: write("failed"),
                refused: write("refused"),
            },
            failures: FailureCounters {
                lookup: failure("lookup"),
                store: failure("store"),
                lease: failure("lease"),
                fence: failure("fence"),
                release: failure("release"),
            },
            refreshes: RefreshCounters {
                computed: refresh("computed"),
                young: refresh("young"),
                later: refresh("later"),
                failed: refresh("failed"),
            },
        }
    }
}

fn one(registry: &Registry, name: &str, help: &str) -> IntCounter {
    register(registry, IntCounter::new(name, help))
}

fn vec(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    register(registry, IntCounterVec::new(Opts::new(name, help), labels))
}
