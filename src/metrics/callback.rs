//! Metrics whose value another module keeps. A function reads it each time that Prometheus scrapes.

use prometheus::{
    IntCounter, IntGauge, Opts, Result,
    core::{Collector, Desc, Describer},
    proto::MetricFamily,
};

/// Why registering a metric cannot fail.
pub(super) const DISTINCT: &str =
    "names and labels are written in this module, valid and each only once";

/// Whether a value may go down.
#[derive(Debug, Clone, Copy)]
pub(super) enum MetricKind {
    Counter,
    Gauge,
}

pub(super) struct CallbackMetric {
    kind: MetricKind,
    opts: Opts,
    desc: Desc,
    read: Box<dyn Fn() -> u64 + Send + Sync>,
}

impl CallbackMetric {
    pub(super) fn new(
        kind: MetricKind,
        opts: Opts,
        read: impl Fn() -> u64 + Send + Sync + 'static,
    ) -> Result<Self> {
        Ok(Self {
            kind,
            desc: opts.describe()?,
            opts,
            read: Box::new(read),
        })
    }

    fn families(&self) -> Result<Vec<MetricFamily>> {
        let opts = self.opts.clone();
        let value = (self.read)();
        Ok(match self.kind {
            MetricKind::Counter => {
                let counter = IntCounter::with_opts(opts)?;
                counter.inc_by(value);
                counter.collect()
            }
            MetricKind::Gauge => {
                let gauge = IntGauge::with_opts(opts)?;
                gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
                gauge.collect()
            }
        })
    }
}

impl Collector for CallbackMetric {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.families()
            .expect("`new` has checked the name and the labels")
    }
}
