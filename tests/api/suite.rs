//! What holds whichever database and cache a service has: the binary `api` runs this with a `SQLite`
//! file and the cache in memory, the binary `api_shared` with PostgreSQL and Redis.

mod auth;
mod bad_input;
mod calendar;
mod contract;
mod cors;
mod events;
mod freshness;
mod health;
mod idempotency;
pub mod import;
pub mod life;
mod purge;
mod recount;
mod seed;
mod stale;
mod warming;
