//! The service on PostgreSQL: real servers of the tests' own, some of which fail. Not here: what
//! the statements answer, which unit tests beside them ask of both databases.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on stops where it stands"
)]
#![expect(unreachable_pub, reason = "the harness says what the tests may use")]

mod access;
mod database;
#[expect(dead_code, unused_imports, reason = "shared with tests/api")]
#[path = "../api/harness/mod.rs"]
mod harness;
mod idempotency;
mod import;
mod load;
mod outage;
mod start;

use harness::postgres as server;
