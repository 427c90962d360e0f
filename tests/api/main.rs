//! The promises and the contract, as clients see them: real HTTP against a service of the test's
//! own, on a free port with a `SQLite` file of its own and its cache in memory.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on stops where it stands"
)]
#![expect(unreachable_pub, reason = "the harness says what the tests may use")]

mod docs;
#[expect(dead_code, reason = "its servers are shared with other tests")]
mod harness;
mod load;
mod logs;
mod metrics;
mod settings;
mod sqlite;
#[path = "suite.rs"]
mod suite;
