//! Metrics of what is answered over HTTP.

use std::time::Duration;

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
};

use super::register::register;

/// Seconds: from an answer out of memory to one that waited for everything.
const BUCKETS: [f64; 16] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0,
];

/// Counts requests by route template, method and status.
#[derive(Debug)]
pub struct RequestCounters {
    answered: IntCounterVec,
    durations: HistogramVec,
    /// Connections of clients that were accepted and are open.
    pub connections: ConnectionGauge,
    /// Requests that are being answered.
    pub in_flight: IntGauge,
}

/// Counts the open connections.
#[derive(Debug, Clone)]
pub struct ConnectionGauge(IntGauge);

/// One connection of a [`ConnectionGauge`], until it is dropped.
#[derive(Debug)]
pub struct OpenConnection(IntGauge);

/// The requests of one route, method and status. Counting takes no lock.
#[derive(Debug, Clone)]
pub struct RequestSeries {
    answered: IntCounter,
    durations: Histogram,
}

impl RequestCounters {
    pub(super) fn new(registry: &Registry) -> Self {
        let answered = Opts::new(
            "megastats_http_requests_total",
            "Counts the answered requests by route template, method and status. The status is 499 if the client left first.",
        );
        let durations = HistogramOpts::new(
            "megastats_http_request_duration_seconds",
            "Measures the time until an answer was ready to be sent, by route template and method.",
        );
        let durations = durations.buckets(BUCKETS.to_vec());
        let connections = IntGauge::new(
            "megastats_http_connections",
            "Shows how many accepted connections are open, of at most server.max_connections.",
        );
        let in_flight = IntGauge::new(
            "megastats_http_requests_in_flight",
            "Shows how many requests are being answered.",
        );
        let answered = IntCounterVec::new(answered, &["route", "method", "status"]);
        let durations = HistogramVec::new(durations, &["route", "method"]);
        Self {
            answered: register(registry, answered),
            durations: register(registry, durations),
            connections: ConnectionGauge(register(registry, connections)),
            in_flight: register(registry, in_flight),
        }
    }

    /// The series of a route, method and status. Takes a lock, so the caller keeps it. Each label must
    /// have few values.
    pub fn series(&self, route: &str, method: &str, status: &str) -> RequestSeries {
        RequestSeries {
            answered: self.answered.with_label_values(&[route, method, status]),
            durations: self.durations.with_label_values(&[route, method]),
        }
    }
}

impl ConnectionGauge {
    /// Counts one more.
    pub fn open(&self) -> OpenConnection {
        self.0.inc();
        OpenConnection(self.0.clone())
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl RequestSeries {
    /// Counts a request that took this long.
    pub fn count(&self, took: Duration) {
        self.answered.inc();
        self.durations.observe(took.as_secs_f64());
    }
}
