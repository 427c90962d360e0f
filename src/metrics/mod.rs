//! The metrics: what is counted while serving.
//!
//! | file | what lives there |
//! |---|---|
//! | `cache_metrics` | hits and misses since the start and in the last minute, for `/cache-metrics` |
//! | `cache` | what the cache does |
//! | `requests` | what is answered over HTTP |
//! | `register` | adding metrics to a registry |
//! | [`http`] | `GET /metrics` |
//!
//! No label ever has what a client sends: a tenant, an id, a key, a path. So the number of series is
//! bounded, and the metrics say nothing about tenants.

mod cache;
mod cache_metrics;
pub mod http;
mod register;
mod requests;

use std::{fmt, sync::Arc};

use parking_lot::Mutex;
#[cfg(target_os = "linux")]
use prometheus::process_collector::ProcessCollector;
use prometheus::{IntCounter, IntGauge, Opts, Registry, TextEncoder};

pub use cache::{AnswerCounter, CacheCounters, FailureCounters, RefreshCounters, WriteCounters};
pub use cache_metrics::{CacheFigures, CacheMetrics, TICK, Timed};
pub use requests::{ConnectionGauge, OpenConnection, RequestCounters, RequestSeries};

use crate::settings::CacheBackend;
use register::register;

/// Everything that one service counts. Several services in a process have separate metrics.
pub struct Metrics {
    registry: Registry,
    /// Each brings a metric up to date whose value another module keeps. They run before every scrape.
    updates: Mutex<Vec<Box<dyn Fn() + Send>>>,
    /// What is answered over HTTP.
    pub requests: RequestCounters,
    /// What the cache does.
    pub cache: Arc<CacheCounters>,
    /// What `/cache-metrics` shows.
    pub cache_metrics: CacheMetrics,
}

impl Metrics {
    /// Metrics that start at zero. `backend` is the cache that statistics are read through.
    pub fn new(backend: CacheBackend) -> Self {
        let registry = Registry::new();
        // Elsewhere the crate cannot read the process's CPU, memory and descriptors.
        #[cfg(target_os = "linux")]
        registry
            .register(Box::new(ProcessCollector::for_self()))
            .expect("it is the only one");
        let cache = Arc::new(CacheCounters::new(&registry, backend));
        let metrics = Self {
            requests: RequestCounters::new(&registry),
            cache_metrics: CacheMetrics::new(Arc::clone(&cache)),
            cache,
            registry,
            updates: Mutex::default(),
        };
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        metrics.gauge(
            "megastats_build_info",
            "Shows the version that runs.",
            &version,
            || 1,
        );
        metrics
    }

    /// Shows what `read` returns, which may go up and down.
    pub fn gauge(
        &self,
        name: &str,
        help: &str,
        labels: &[(&str, &str)],
        read: impl Fn() -> u64 + Send + 'static,
    ) {
        let gauge = IntGauge::with_opts(opts(name, help, labels));
        let gauge = register(&self.registry, gauge);
        let update = move || gauge.set(i64::try_from(read()).unwrap_or(i64::MAX));
        self.updates.lock().push(Box::new(update));
    }

    /// Shows what `read` returns, which only goes up.
    pub fn counter(
        &self,
        name: &str,
        help: &str,
        labels: &[(&str, &str)],
        read: impl Fn() -> u64 + Send + 'static,
    ) {
        let counter = IntCounter::with_opts(opts(name, help, labels));
        let counter = register(&self.registry, counter);
        let update = move || counter.inc_by(read().saturating_sub(counter.get()));
        self.updates.lock().push(Box::new(update));
    }

    /// All metrics in Prometheus' text format. Blocks for a moment, since it reads the process's own
    /// figures from the system.
    pub fn text(&self) -> String {
        for update in &*self.updates.lock() {
            update();
        }
        TextEncoder::new()
            .encode_to_string(&self.registry.gather())
            .expect("no family that is gathered lacks a name or a metric")
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

fn opts(name: &str, help: &str, labels: &[(&str, &str)]) -> Opts {
    labels
        .iter()
        .fold(Opts::new(name, help), |opts, (name, value)| {
            opts.const_label(*name, *value)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_elsewhere_is_read_anew_each_time() {
        let metrics = Metrics::new(CacheBackend::None);
        let kept = Arc::new(std::sync::atomic::AtomicU64::new(3));
        let read = Arc::clone(&kept);
        let load = move || read.load(std::sync::atomic::Ordering::Relaxed);
        metrics.gauge("kept", "What is kept.", &[("of", "me")], load);
        metrics.counter("seen_total", "What was seen.", &[], || 7);
        let text = metrics.text();
        assert!(text.contains("# HELP kept What is kept.\n# TYPE kept gauge\nkept{of=\"me\"} 3\n"));
        assert!(text.contains("# TYPE seen_total counter\nseen_total 7\n"));
        kept.store(2, std::sync::atomic::Ordering::Relaxed);
        assert!(metrics.text().contains("\nkept{of=\"me\"} 2\n"));
    }

    #[test]
    fn two_services_in_a_process_do_not_count_each_others() {
        let [one, other] = [(); 2].map(|()| Metrics::new(CacheBackend::Memory));
        one.cache.collapsed.inc();
        let line = |count| format!("megastats_cache_collapsed_requests_total {count}\n");
        assert!(one.text().contains(&line(1)));
        assert!(other.text().contains(&line(0)));
    }
}
