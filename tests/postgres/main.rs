//! The service on real PostgreSQL servers of the tests' own, some of which fail. What the statements
//! answer is tested beside them, in src, on both databases.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on stops where it stands"
)]
#![expect(unreachable_pub, reason = "what a module offers to the others")]

mod access;
mod cost;
mod counts;
mod database;
mod idempotency;
mod import;
mod load;
mod outage;
mod start;
mod urls;

use harness::postgres as server;
