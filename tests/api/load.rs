//! More than the service can do, and clients that take their time: what is cached is answered, the
//! rest is told to come back, nothing hangs, and everything has an end.
//!
//! | file | what lives there |
//! |---|---|
//! | `pool` | every connection of the database is taken |
//! | `sent_ahead` | requests that are sent before an earlier one is answered |
//! | `hoarders` | clients that send all they can and read nothing |
//! | `slow_clients` | clients that send or read slowly, or not at all |
//! | `crowds` | thousands of connections, and of tenants |
//! | `viewers` | many streams of events of one tenant |

mod crowds;
mod hoarders;
mod pool;
mod sent_ahead;
mod slow_clients;
mod viewers;
