//! What holds whichever database and cache a service has. `tests/api` runs this with a `SQLite` file
//! and the cache in memory, `tests/api_shared` with PostgreSQL and Redis. Not here: what is looked at
//! with the first alone, beside this file.

mod auth;
mod bad_input;
mod calendar;
mod contract;
mod cors;
mod freshness;
mod health;
mod idempotency;
pub mod import;
pub mod life;
mod purge;
mod seed;
mod stale;
mod warming;
