//! The promises and the contract, as clients see them: real HTTP against a service of the test's
//! own, on a free port with a `SQLite` file of its own and its cache in memory.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on stops where it stands"
)]
#![expect(unreachable_pub, reason = "what a module offers to the others")]

mod deploy;
mod docs;
mod load;
mod logs;
mod metrics;
mod proxy;
mod settings;
mod sqlite;
mod suite;
