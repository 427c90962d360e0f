//! The contract: what each route answers, in which shape and under which headers.

mod alignwork;
mod appointments;
mod cache_metrics;
mod days;
mod errors;
mod list;
mod mega_stats;
mod routes;
mod summary;

use std::sync::Arc;

use harness::{FakeClock, NOW, TestServer};
use serde_json::Value;

/// A service at [`NOW`].
fn server() -> TestServer {
    server_and_clock().0
}

/// A service at [`NOW`], and its clock.
fn server_and_clock() -> (TestServer, Arc<FakeClock>) {
    let clock = Arc::new(FakeClock::at(NOW));
    (TestServer::builder().clock(clock.clone()).start(), clock)
}

/// The ids of a list, in its order.
fn ids(list: &Value) -> Vec<i64> {
    let data = list["data"].as_array().unwrap();
    data.iter()
        .map(|appointment| appointment["id"].as_i64().unwrap())
        .collect()
}
