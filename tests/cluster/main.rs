//! Many instances behind a load balancer, as `scripts/cluster` starts them: real processes, asked
//! and written to from all sides while their parts fail. Every answer is checked against what had
//! been acknowledged before it was asked for, whichever instance gives it.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on stops where it stands"
)]
#![expect(unreachable_pub, reason = "what a module offers to the others")]

mod calendar;
mod checker;
mod cluster;
mod count;
mod ctrl_c;
mod database;
mod events;
mod idempotency;
mod instances;
mod links;
mod load_balancer;
mod metrics;
mod mutants;
mod proxy;
mod redis;
mod rolling;
mod soak;
mod sql;
mod stale;
mod warming;
