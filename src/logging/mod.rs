//! The log: starting it, and which lines of libraries it leaves out.
//!
//! | file | what lives there |
//! |---|---|
//! | `line` | the form of a line, as text or as JSON |
//! | `request` | the id of the request that a line belongs to |
//! | `time` | the time of a line |
//! | `writer` | the thread that writes the lines |
//!
//! Of what a client sends, the log has only the method, the route that was found for the path, and
//! the request's id, if its characters are harmless. Lines of libraries below a warning are left out,
//! whatever `log.filter` says: they may hold the values of a statement.

mod line;
mod request;
mod time;
mod writer;

use std::{io::Write, panic, sync::Arc};

use log::{Level, Log, Metadata, Record, SetLoggerError};

use self::writer::LineQueue;
pub use self::{
    request::{RequestId, with_request_id},
    writer::{LogGuard, dropped_lines},
};
use crate::{
    clock::{Clock, SystemClock},
    settings::{LogFormat, LogSettings},
};

/// The targets of this program's own lines begin with this.
const OWN_TARGET: &str = env!("CARGO_CRATE_NAME");

/// Starts the log. A thread of its own writes the lines to `to`, until the guard is dropped. Panics
/// are logged, too.
///
/// # Errors
/// The process has a log already.
pub fn start(
    settings: &LogSettings,
    to: impl Write + Send + 'static,
) -> Result<LogGuard, SetLoggerError> {
    let (lines, guard) = writer::start(to);
    writer::count_dropped(&lines);
    let filter = env_logger::Builder::new()
        .parse_filters(&settings.filter)
        .build();
    log::set_max_level(filter.filter());
    log::set_boxed_logger(Box::new(LineLogger {
        filter,
        format: settings.format,
        lines,
    }))?;
    panic::set_hook(Box::new(|panic| log::error!("{panic}")));
    Ok(guard)
}

/// Hands each line to the thread that writes it. Of libraries it logs only warnings and errors.
struct LineLogger {
    /// Only says what is logged: its own writer would copy each line twice more, under a second lock.
    filter: env_logger::Logger,
    format: LogFormat,
    lines: Arc<LineQueue>,
}

impl Log for LineLogger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        is_loud(metadata) && self.filter.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if is_loud(record.metadata()) && self.filter.matches(record) {
            let time = SystemClock.now();
            line::with_line(self.format, time, record, |line| {
                self.lines.push(line.as_bytes());
            });
        }
    }

    fn flush(&self) {}
}

/// Whether it is a warning, an error, or this program's own.
fn is_loud(metadata: &Metadata<'_>) -> bool {
    let rest = metadata.target().strip_prefix(OWN_TARGET);
    metadata.level() <= Level::Warn
        || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}
