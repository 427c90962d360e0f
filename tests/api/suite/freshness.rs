//! What was just saved is counted in what is seen next, however requests race: every test here
//! stands between two steps of a read or a write, and fails when the guard of that place is gone.
//!
//! | file | who races |
//! |---|---|
//! | `readers` | slow reads, and the writes that overtake them |
//! | `writers` | writes between fence, commit and release, and the reads meanwhile |
//! | `clients` | clients that go away before they are answered |
//! | `failures` | a database that fails in the middle |
//! | `history` | everybody at once, checked against what each answer may say |

mod clients;
mod failures;
mod history;
mod readers;
mod writers;

use std::{sync::Arc, time::Duration};

use harness::{Builder, FakeClock, Gate, NOW, Raw, TODAY, TestServer};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

/// A service whose day does not end and whose entries do not expire during the test. It has one
/// worker, so that [`settle`] can be sure of it.
fn service() -> Builder {
    TestServer::builder()
        .clock(Arc::new(FakeClock::at(NOW)))
        .settings(|settings| {
            settings.server.workers = 1;
            settings.server.shutdown_timeout = Duration::from_secs(2);
            settings.cache.ttl = Duration::from_secs(3600);
        })
}

fn gated() -> (TestServer, Gate) {
    let (service, gate) = Gate::before(service());
    (service.start(), gate)
}

/// Waits until the service's only worker has done what it can for everything it was sent before.
async fn settle(server: &TestServer) {
    for _ in 0..3 {
        assert_eq!(
            server.send(Method::GET, "/nowhere").await.status,
            StatusCode::NOT_FOUND
        );
    }
}

/// Asks for the statistics of `tenant` and reads no answer yet.
fn ask(server: &TestServer, tenant: &str) -> Raw {
    let mut client = Raw::connect(server.url());
    client.mega_stats(tenant);
    client
}

/// Books an appointment of today for `tenant` and reads no answer yet.
fn book(server: &TestServer, tenant: &str) -> Raw {
    let mut client = Raw::connect(server.url());
    client.post(&appointment(tenant));
    client
}

/// An appointment of today.
pub fn appointment(tenant: &str) -> Value {
    json!({ "tenantId": tenant, "patientId": 1, "startsAt": TODAY, "durationMin": 30 })
}
