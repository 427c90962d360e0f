//! The statistics of a tenant's appointments.
//!
//! | file | what lives there |
//! |---|---|
//! | [`http`], `openapi` | routes; what describes them beside their types |
//! | [`service`] | reading and writing through the cache |
//! | [`events`] | telling viewers at once when counts change |
//! | [`store`] | the counting statement, and checking what it sums |
//! | [`model`] | the answers |
//! | `polls` | what dashboards poll, and when each poll is due |
//! | `recent` | what recent requests asked for |
//! | [`recount`] | comparing the database's counts with its appointments |
//! | [`warm`] | computing what is polled before it expires |
//! | [`windows`] | which instants each window holds |
//! | [`zones`] | time zones by name |

pub mod events;
pub mod http;
pub mod model;
mod openapi;
mod polls;
pub(crate) mod recent;
pub mod recount;
pub mod service;
pub mod store;
pub mod warm;
pub mod windows;
pub mod zones;
