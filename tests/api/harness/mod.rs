//! What the tests stand on: services to ask, and ways to stand in their way.

mod clock;
mod database;
mod exposition;
mod folder;
mod gate;
mod polls;
#[path = "../../support/postgres.rs"]
pub mod postgres;
pub mod process;
mod raw;
#[path = "../../support/redis.rs"]
pub mod redis;
mod server;
mod sqlite;
mod wait;

pub use clock::{FakeClock, NOW, TODAY};
pub use database::{Database, Lock};
pub use exposition::Exposition;
pub use folder::{Folder, SQLITE_FILE, database_url};
pub use gate::{Gate, Step};
pub use polls::{all_hit, stay_hits_until};
pub use process::{Process, command, run, signal};
pub use raw::{Leave, Raw, is_refused};
pub use server::{Builder, PREFIX, Reply, TestServer};
pub use sqlite::Sqlite;
pub use wait::{GUARD, eventually, poll, within};
