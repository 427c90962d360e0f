//! The service on PostgreSQL: real servers of the tests' own, some of which fail. Not here: what
//! the statements answer, which unit tests beside them ask of both databases.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on stops where it stands"
)]
#![expect(unreachable_pub, reason = "what a module offers to the others")]

mod access;
mod database;
mod idempotency;
mod import;
mod load;
mod outage;
mod start;
mod urls;

use harness::postgres as server;
