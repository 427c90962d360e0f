//! What the tests stand on: services to ask, and ways to stand in their way.

mod clock;
mod exposition;
mod gate;
mod process;
mod raw;
mod server;
mod sqlite;
mod wait;

pub use clock::{FakeClock, NOW, TODAY};
pub use exposition::Exposition;
pub use gate::{Gate, Step};
pub use process::{Process, command, run};
pub use raw::{Leave, Raw, is_refused};
pub use server::{Builder, PREFIX, Reply, TestServer};
pub use sqlite::Sqlite;
pub use wait::{GUARD, eventually, poll, within};
