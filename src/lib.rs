//! megastats answers the appointment statistics that a clinic's dashboard polls: from a cache, and
//! never older than the last acknowledged write.
//!
//! # Map
//! A module imports only from modules below it (`tests/architecture` checks it).
//!
//! | module | what lives there |
//! |---|---|
//! | [`demo`] | a service to look at, with made-up clinics |
//! | [`server`] | wiring: routes, middleware, start, drain |
//! | [`dashboard`] | the page of a clinic's figures |
//! | [`openapi`] | the description of the API, and a page to browse it |
//! | [`appointments`] | the appointments themselves: model, SQL, HTTP, import from `AlignWork` |
//! | [`stats`] | the statistics: zones, windows, the counting statement, read-through, HTTP |
//! | [`health`] | whether the service is alive and ready |
//! | [`auth`] | who sends a request, and which tenants they may touch |
//! | [`input`] | reading untrusted queries and bodies field by field |
//! | [`error`] | the one error that leaves over HTTP |
//! | [`cache`] | bytes under a key for a tenant: the trait, its backends, single flight |
//! | [`logging`] | the log: its lines, the request each belongs to, and writing them |
//! | [`metrics`] | what is counted while serving |
//! | [`db`] | connections, pool, migrations, schema and column types |
//! | [`settings`] | the settings, read from a file and the environment |
//! | [`clock`], [`tasks`] | the time of day; work that outlives its request |
//! | [`tenant`], [`identifier`] | who an appointment belongs to; what identifiers clients may choose |
//! | [`text`] | text from elsewhere: on one line, percent-encoded |
//! | [`http`] | registering a route that is only read; answering files |
//!
//! Only `store` files and `db` hold SQL. Only `http` files, [`error`] and [`server`] hold HTTP.

pub mod appointments;
pub mod auth;
pub mod cache;
pub mod clock;
pub mod dashboard;
pub mod db;
pub mod demo;
pub mod error;
pub mod health;
pub mod http;
pub mod identifier;
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
