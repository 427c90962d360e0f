//! The promises and the contract, as clients see them: real HTTP against a service of the test's
//! own, on a free port with a database of its own.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on stops where it stands"
)]
#![expect(unreachable_pub, reason = "the harness says what the tests may use")]

mod bad_input;
mod calendar;
mod contract;
mod cors;
mod freshness;
mod harness;
mod health;
mod idempotency;
mod import;
mod life;
mod load;
mod logs;
mod metrics;
mod purge;
mod seed;
mod settings;
mod stale;
mod warming;
