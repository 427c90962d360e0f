//! What the tests share: services inside the test's process or as processes, servers of PostgreSQL
//! and Redis that are thrown away, clients, and ways to hold each of them up.

#![expect(
    clippy::missing_panics_doc,
    clippy::must_use_candidate,
    clippy::new_without_default,
    clippy::return_self_not_must_use,
    clippy::unwrap_used,
    reason = "a test that cannot go on stops where it stands"
)]

mod clock;
mod database;
mod events;
mod exposition;
mod folder;
mod gate;
mod polls;
pub mod postgres;
pub mod process;
mod raw;
pub mod redis;
mod server;
mod sqlite;
mod wait;

pub use clock::{FakeClock, NOW, TODAY};
pub use database::{Database, Lock};
pub use events::{Event, EventStream};
pub use exposition::Exposition;
pub use folder::{Folder, SQLITE_FILE, database_url};
pub use gate::{Gate, Step};
pub use polls::{all_hit, stay_hits_until};
pub use process::{Process, command, run, signal};
pub use raw::{Leave, Raw, is_refused};
pub use server::{Builder, PREFIX, Reply, TestServer};
pub use sqlite::Sqlite;
pub use wait::{MAX_WAIT, eventually, poll, within};
