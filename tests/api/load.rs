//! More than the service can do, and clients that take their time: what is cached is answered, the
//! rest is told to come back, nothing hangs, and everything has an end.
//!
//! | file | what lives there |
//! |---|---|
//! | `pool` | every connection of the database is taken |
//! | `slow_clients` | clients that send or read slowly, or not at all |
//! | `crowds` | thousands of connections, and of tenants |

mod crowds;
mod pool;
mod slow_clients;
