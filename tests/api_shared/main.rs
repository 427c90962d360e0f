//! The promises and the contract again, on PostgreSQL and Redis: each test has a database and a key
//! prefix of its own on servers that this process's tests share.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on stops where it stands"
)]
#![expect(unreachable_pub, reason = "the harness says what the tests may use")]

#[expect(dead_code, unused_imports, reason = "shared with tests/api")]
#[path = "../api/harness/mod.rs"]
mod harness;
#[path = "../api/suite.rs"]
mod suite;
