//! The log. Lives here: starting it, and what of others it leaves out. `line` has the form of a line,
//! `request` whose request it is of, `queue` how it is written. Not here: what is logged.
//!
//! Nothing that a client sends is logged but the method, an id of the request that is fit for it, and
//! which route it was for. What libraries say below a warning, such as the values of a statement, is
//! left out whatever `log.filter` says.

mod line;
mod queue;
mod request;

use std::{io::Write, panic};

use log::{Level, Log, Metadata, Record, SetLoggerError};

pub use self::{
    queue::Writing,
    request::{RequestId, of_request},
};
use crate::settings::LogSettings;

/// What the targets of this program's own lines begin with.
const OWN: &str = env!("CARGO_CRATE_NAME");

/// Starts the log, which writes to `to` on a thread of its own until what is returned is dropped.
/// Panics are logged, too.
pub fn start(
    settings: &LogSettings,
    to: impl Write + Send + 'static,
) -> Result<Writing, SetLoggerError> {
    let (queue, writing) = queue::start(to);
    let format = settings.format;
    let logger = env_logger::Builder::new()
        .parse_filters(&settings.filter)
        .format(move |buffer, record| {
            let time = buffer.timestamp_millis();
            buffer.write_all(line::line(format, &time, record).as_bytes())
        })
        .target(env_logger::Target::Pipe(Box::new(queue)))
        .build();
    log::set_max_level(logger.filter());
    log::set_boxed_logger(Box::new(Discreet(logger)))?;
    panic::set_hook(Box::new(|panic| log::error!("{panic}")));
    Ok(writing)
}

/// Logs of libraries no more than warnings.
struct Discreet(env_logger::Logger);

impl Log for Discreet {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        (metadata.level() <= Level::Warn || is_own(metadata.target())) && self.0.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            self.0.log(record);
        }
    }

    fn flush(&self) {}
}

fn is_own(target: &str) -> bool {
    let rest = target.strip_prefix(OWN);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}
