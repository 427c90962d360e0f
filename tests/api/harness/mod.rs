//! What the tests stand on: services to ask, and ways to stand in their way.

mod clock;
mod gate;
mod process;
mod server;

pub use clock::FakeClock;
pub use gate::{Gate, Step};
pub use process::Process;
pub use server::{Reply, TestServer};
