//! Writing the lines: on a thread of their own, so that no request waits for whoever reads the log.
//! If the reader is too slow, lines are dropped, and their number is counted and logged.

use std::{
    io::{ErrorKind, Write},
    mem,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, channel},
    },
    thread,
    time::Duration,
};

use parking_lot::{Condvar, Mutex};

/// How many bytes of lines may wait to be written; further lines are dropped. The lines of about 8,000
/// requests have so many.
const MAX_WAITING_BYTES: usize = 2 * 1024 * 1024;

/// The memory of a larger batch is given back, in bytes.
const LARGEST_KEPT: usize = 512 * 1024;

/// How long lines gather after a batch was written. Waking the thread for each line would cost more
/// than making the line.
const BATCH_INTERVAL: Duration = Duration::from_millis(10);

/// The wait before another try where no more can be written for now.
const RETRY_INTERVAL: Duration = Duration::from_millis(2);

/// How long the end of the program waits for the last lines.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// The queue of the one log that a process has.
static QUEUE: OnceLock<Arc<LineQueue>> = OnceLock::new();

/// How many lines were dropped since the start, because the reader of the log was too slow.
pub fn dropped_lines() -> u64 {
    QUEUE.get().map_or(0, |queue| queue.dropped())
}

/// The lines that wait to be written, in one buffer, which the thread that writes them swaps for an
/// empty one. A channel would need memory of its own for each line, which the other thread frees: that
/// costs more than the line.
#[derive(Debug, Default)]
pub(super) struct LineQueue {
    waiting: Mutex<WaitingLines>,
    changed: Condvar,
    dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct WaitingLines {
    bytes: Vec<u8>,
    is_ended: bool,
}

impl LineQueue {
    /// Adds a whole line, without waiting. It is dropped if too many wait.
    pub(super) fn push(&self, line: &[u8]) {
        let mut waiting = self.waiting.lock();
        if waiting.bytes.len() + line.len() > MAX_WAITING_BYTES {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        waiting.bytes.extend_from_slice(line);
        drop(waiting);
        self.changed.notify_one();
    }

    /// Waits for lines, and exchanges them for `batch`, which is empty. There are none at the end.
    fn take(&self, batch: &mut Vec<u8>) {
        let mut waiting = self.waiting.lock();
        let must_wait = |waiting: &mut WaitingLines| waiting.bytes.is_empty() && !waiting.is_ended;
        self.changed.wait_while(&mut waiting, must_wait);
        mem::swap(&mut waiting.bytes, batch);
    }

    fn end(&self) {
        self.waiting.lock().is_ended = true;
        self.changed.notify_one();
    }

    fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// Makes the lines that `queue` drops those of [`dropped_lines`].
pub(super) fn count_dropped(queue: &Arc<LineQueue>) {
    // There is a second log only where the first one could not be started.
    let _ = QUEUE.set(Arc::clone(queue));
}

/// Starts a thread that writes to `to`.
pub(super) fn start(to: impl Write + Send + 'static) -> (Arc<LineQueue>, LogGuard) {
    let queue = Arc::new(LineQueue::default());
    let (alive, ended) = channel();
    let written_queue = Arc::clone(&queue);
    thread::Builder::new()
        .name("megastats-log".to_owned())
        .spawn(move || {
            write_batches(&written_queue, to);
            drop(alive);
        })
        .expect("a process that starts can start a thread");
    let guard = LogGuard {
        queue: Arc::clone(&queue),
        ended,
    };
    (queue, guard)
}

fn write_batches(queue: &LineQueue, mut to: impl Write) {
    let mut batch = Vec::new();
    let mut reported = 0;
    loop {
        queue.take(&mut batch);
        if batch.is_empty() {
            return;
        }
        // Only now that the queue is empty is there room for this line.
        let dropped = queue.dropped();
        if dropped > reported {
            log::warn!(
                "{} log lines were dropped because the reader of the log was too slow",
                dropped - reported
            );
            reported = dropped;
        }
        write_all(&mut to, &batch);
        batch.clear();
        batch.shrink_to(LARGEST_KEPT);
        thread::sleep(BATCH_INTERVAL);
    }
}

/// Writes all of `lines`, and waits where no more can be written for now.
fn write_all(to: &mut impl Write, mut lines: &[u8]) {
    while !lines.is_empty() {
        match to.write(lines) {
            Ok(written) if written > 0 => lines = &lines[written..],
            // Another process has made standard error non-blocking, or the disk is full.
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::WouldBlock | ErrorKind::Interrupted | ErrorKind::StorageFull
                ) =>
            {
                thread::sleep(RETRY_INTERVAL);
            }
            // The reader of the log has gone, and there is nobody to report it to.
            Ok(_) | Err(_) => return,
        }
    }
    let _ = to.flush();
}

/// The log is written until this is dropped. Dropping it waits for the last lines to be written, but
/// no longer than a second.
#[derive(Debug)]
#[must_use = "dropping it ends the log"]
pub struct LogGuard {
    queue: Arc<LineQueue>,
    /// Fails once the thread has ended.
    ended: Receiver<()>,
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        self.queue.end();
        let _ = self.ended.recv_timeout(FLUSH_TIMEOUT);
    }
}

#[cfg(test)]
mod tests {
    use std::{io, sync::mpsc::Sender};

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
            self.read.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct HeldLog {
        log: Arc<LineQueue>,
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
            log,
            guard,
            go,
            read,
            ..
        } = held_log();
        drop(go);
        for number in 0..1000 {
            log.push(format!("{number}\n").as_bytes());
        }
        drop(guard);
        let read = String::from_utf8(read.lock().clone()).unwrap();
        let expected: Vec<_> = (0..1000).map(|number| number.to_string()).collect();
        assert_eq!(read.lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_reader_that_hangs_holds_nobody_up_and_the_lines_that_wait_are_bounded() {
        let held = held_log();
        held.log.push(b"first\n");
        held.begun.recv().unwrap();
        let line = [b'x'; 1024];
        for _ in 0..MAX_WAITING_BYTES / line.len() + 100 {
            held.log.push(&line);
        }
        assert_eq!(held.log.dropped(), 100);
        // Nor does it hold up the end.
        drop(held.guard);
        assert!(held.read.lock().is_empty());
        drop(held.go);
    }

    #[test]
    fn a_reader_that_takes_little_or_nothing_for_now_gets_all_in_the_end() {
        /// Refuses every second time, and takes three bytes otherwise.
        #[derive(Default)]
        struct Slow {
            asked: usize,
            read: Vec<u8>,
        }
        impl Write for Slow {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.asked += 1;
                match self.asked % 4 {
                    1 => Err(ErrorKind::WouldBlock.into()),
                    3 => Err(ErrorKind::StorageFull.into()),
                    _ => self.read.write(&bytes[..bytes.len().min(3)]),
                }
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut slow = Slow::default();
        write_all(&mut slow, b"a line\nanother\n");
        assert_eq!(slow.read, b"a line\nanother\n");
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
        let (log, guard) = start(Gone(alive));
        for _ in 0..100_000 {
            log.push(b"line\n");
        }
        drop(guard);
        ended.recv().unwrap_err();
    }
}
