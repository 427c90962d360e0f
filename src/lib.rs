//! megastats answers the appointment statistics that a clinic's dashboard polls: from a cache, and
//! never older than the last acknowledged write.
//!
//! # Map
//! A module imports only from modules below it (`tests/architecture.rs` holds it to that).
//!
//! | module | what lives there |
//! |---|---|
//! | [`server`] | wiring: routes, middleware, start, drain |
//! | [`openapi`] | the description of the API, and a page to browse it |
//! | [`appointments`] | the appointments themselves: model, SQL, HTTP, import from `AlignWork` |
//! | [`stats`] | the statistics: zones, windows, the counting statement, read-through, HTTP |
//! | [`health`] | whether the service is well |
//! | [`auth`] | who asks, and what they may touch |
//! | [`input`] | reading untrusted queries and bodies field by field |
//! | [`error`] | the one error that leaves over HTTP |
//! | [`cache`] | bytes under a key for a tenant: the trait, its backends, single flight |
//! | [`logging`] | the log: its lines, whose request they are of, and writing them |
//! | [`metrics`] | what is counted while serving |
//! | [`db`] | connections, pool, migrations, schema and column types |
//! | [`settings`] | what ops configure, read from file and environment |
//! | [`clock`], [`tenant`], [`tasks`], [`text`] | the time of day; who an appointment belongs to; work that outlives its request; text from elsewhere |
//!
//! SQL is written in `store` files and `db`, HTTP in `http` files, [`error`], [`input`] and
//! [`server`], and nowhere else.

pub mod appointments;
pub mod auth;
pub mod cache;
pub mod clock;
pub mod db;
pub mod error;
pub mod health;
pub mod input;
pub mod logging;
pub mod metrics;
pub mod openapi;
pub mod server;
pub mod settings;
pub mod stats;
pub mod tasks;
pub mod tenant;
pub mod text;
