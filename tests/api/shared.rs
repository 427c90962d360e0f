//! The promises and the contract again, on PostgreSQL and Redis: each test has a database and a key
//! prefix of its own on servers that this process's tests share. The harness knows this binary by
//! its name.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on stops where it stands"
)]
#![expect(unreachable_pub, reason = "what a module offers to the others")]

mod suite;
