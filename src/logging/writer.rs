//! Writing the lines: on a thread of their own, so that no request waits for whoever reads the log.
//! If the reader is too slow, lines are dropped, and their number is counted and logged.

use std::{
    io::{self, BufWriter, Write},
    sync::{OnceLock, mpsc},
    thread,
    time::Duration,
};

use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};

/// How many lines may wait to be written; more are dropped. Lines of requests take 2 MB then.
const MAX_WAITING_LINES: usize = 8_192;

/// The bytes that are written at once.
const BATCH_BYTES: usize = 64 * 1024;

/// How long lines gather after a batch was written. Waking the thread for each line would cost more
/// than making the line.
const BATCH_INTERVAL: Duration = Duration::from_millis(2);

/// How long the end of the program waits for the last lines.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// Counts the dropped lines of the one log that a process has.
static DROPPED: OnceLock<ErrorCounter> = OnceLock::new();

/// How many lines were dropped since the start, because the reader of the log was too slow.
pub fn dropped_lines() -> u64 {
    DROPPED
        .get()
        .map_or(0, |dropped| dropped.dropped_lines() as u64)
}

/// Makes the lines that `log` drops those of [`dropped_lines`].
pub(super) fn count_dropped(log: &NonBlocking) {
    // There is a second log only where the first one could not be started.
    let _ = DROPPED.set(log.error_counter());
}

/// Starts a thread that writes to `to`.
pub(super) fn start(to: impl Write + Send + 'static) -> (NonBlocking, LogGuard) {
    let (log, worker) = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(MAX_WAITING_LINES)
        .thread_name("megastats-log")
        .finish(Batches {
            to: BufWriter::with_capacity(BATCH_BYTES, to),
            reported: 0,
        });
    (log, LogGuard(Some(worker)))
}

/// The log is written until this is dropped. Dropping it waits for the last lines to be written, but
/// no longer than a second.
#[derive(Debug)]
#[must_use = "dropping it ends the log"]
pub struct LogGuard(Option<WorkerGuard>);

impl Drop for LogGuard {
    fn drop(&mut self) {
        let worker = self.0.take();
        let (ended, end) = mpsc::channel::<()>();
        // On a thread of its own: a worker that does not end in time writes so to standard output, and
        // that may block for ever.
        let _ = thread::Builder::new().spawn(move || {
            drop(worker);
            drop(ended);
        });
        let _ = end.recv_timeout(FLUSH_TIMEOUT);
    }
}

/// Gathers lines, and writes many at once.
struct Batches<W: Write> {
    to: BufWriter<W>,
    /// How many dropped lines have been logged.
    reported: u64,
}

impl<W: Write> Write for Batches<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.to.write(line)
    }

    /// Is called when no more lines wait.
    fn flush(&mut self) -> io::Result<()> {
        // Before writing, which may take so long that again there is no room for this line.
        let dropped = dropped_lines();
        if dropped > self.reported {
            log::warn!(
                "{} log lines were dropped because the reader of the log was too slow",
                dropped - self.reported
            );
            self.reported = dropped;
        }
        // If this fails, the reader of the log has gone, and there is nobody to report it to.
        let _ = self.to.flush();
        thread::sleep(BATCH_INTERVAL);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc, Mutex,
        mpsc::{Receiver, Sender, channel},
    };

    use super::*;

    /// A reader that tells of each write, and takes it once it may.
    struct HeldReader {
        begun: Sender<()>,
        go: Receiver<()>,
        read: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for HeldReader {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.begun.send(());
            // An error: the test has let go of it for good.
            let _ = self.go.recv();
            self.read.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct HeldLog {
        log: NonBlocking,
        guard: LogGuard,
        begun: Receiver<()>,
        go: Sender<()>,
        read: Arc<Mutex<Vec<u8>>>,
    }

    fn held_log() -> HeldLog {
        let (begun_tx, begun) = channel();
        let (go, go_rx) = channel();
        let read = Arc::new(Mutex::new(Vec::new()));
        let (log, guard) = start(HeldReader {
            begun: begun_tx,
            go: go_rx,
            read: Arc::clone(&read),
        });
        HeldLog {
            log,
            guard,
            begun,
            go,
            read,
        }
    }

    #[test]
    fn what_was_logged_is_written_before_the_end() {
        let HeldLog {
            mut log,
            guard,
            go,
            read,
            ..
        } = held_log();
        drop(go);
        for number in 0..1000 {
            log.write_all(format!("{number}\n").as_bytes()).unwrap();
        }
        drop(guard);
        let read = String::from_utf8(read.lock().unwrap().clone()).unwrap();
        let expected: Vec<_> = (0..1000).map(|number| number.to_string()).collect();
        assert_eq!(read.lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_reader_that_hangs_holds_nobody_up_and_the_lines_that_wait_are_bounded() {
        let mut held = held_log();
        held.log.write_all(b"first\n").unwrap();
        held.begun.recv().unwrap();
        for _ in 0..MAX_WAITING_LINES + 100 {
            held.log.write_all(b"line\n").unwrap();
        }
        assert_eq!(held.log.error_counter().dropped_lines(), 100);
        // Nor does it hold up the end.
        drop(held.guard);
        assert!(held.read.lock().unwrap().is_empty());
        drop(held.go);
    }

    #[test]
    fn a_reader_that_is_gone_holds_nobody_up() {
        struct Gone(#[expect(dead_code, reason = "dropped when the thread ends")] Sender<()>);
        impl Write for Gone {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (alive, ended) = channel();
        let (mut log, guard) = start(Gone(alive));
        for _ in 0..100_000 {
            log.write_all(b"line\n").unwrap();
        }
        drop(guard);
        ended.recv().unwrap_err();
    }
}
