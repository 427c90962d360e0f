//! Adding metrics to a registry, which Prometheus reads.

use prometheus::{Registry, Result, core::Collector};

/// Why this cannot fail.
const DISTINCT: &str = "names and labels are written in the code, valid and each only once";

/// Has `registry` show the metric that was `made`.
pub(super) fn register<M: Collector + Clone + 'static>(registry: &Registry, made: Result<M>) -> M {
    let metric = made.expect(DISTINCT);
    let shown = Box::new(metric.clone());
    registry.register(shown).expect(DISTINCT);
    metric
}
