//! Whether the service is well, for those who start, stop and send requests to it. Lives here: its
//! routes, in [`http`]. Not here: what is asked of the database (`crate::db`).

pub mod http;
