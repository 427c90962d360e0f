//! How lines are written: by a thread of their own, so that nobody waits for whoever reads the log.
//! If that one is too slow, lines are lost, and their number is logged.

use std::{
    io::{self, ErrorKind, Write},
    mem,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

/// The most bytes that wait to be written; twice as many while others are being written.
const LIMIT: usize = 1024 * 1024;

/// How long the first line waits for others to be written with it: under load waking the writer for
/// each would cost more than making the line.
const GATHER: Duration = Duration::from_millis(2);

/// How long the end of the program waits for what is left.
const PARTING: Duration = Duration::from_secs(1);

/// Until a reader that has no room may have some.
const BEFORE_RETRY: Duration = Duration::from_millis(10);

#[derive(Debug, Default)]
struct Lines {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    bytes: Vec<u8>,
    lost: usize,
    ends: bool,
    ended: bool,
}

impl Lines {
    /// The value is whole even if a holder panicked.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits while `condition` holds.
    fn wait_while(&self, condition: impl FnMut(&mut Waiting) -> bool) -> MutexGuard<'_, Waiting> {
        let waited = self.changed.wait_while(self.lock(), condition);
        waited.unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes whole lines, one a `write`, without ever waiting for them to be written.
#[derive(Debug)]
pub(super) struct Queue(Arc<Lines>);

impl Write for Queue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut waiting = self.0.lock();
        if waiting.bytes.len() + line.len() > LIMIT {
            waiting.lost += 1;
        } else {
            let was_empty = waiting.bytes.is_empty();
            waiting.bytes.extend_from_slice(line);
            drop(waiting);
            if was_empty {
                self.0.changed.notify_all();
            }
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The log is written until this is dropped, which waits for what is left, but not for long.
#[derive(Debug)]
#[must_use = "dropping it ends the log"]
pub struct Writing(Arc<Lines>);

impl Drop for Writing {
    fn drop(&mut self) {
        self.0.lock().ends = true;
        self.0.changed.notify_all();
        let ended = self
            .0
            .changed
            .wait_timeout_while(self.0.lock(), PARTING, |waiting| !waiting.ended);
        drop(ended);
    }
}

/// Starts to write to `to`.
pub(super) fn start(to: impl Write + Send + 'static) -> (Queue, Writing) {
    let lines = Arc::new(Lines::default());
    let written = Arc::clone(&lines);
    // Without a thread to be had the log is lost, and nothing else.
    let _ = thread::Builder::new()
        .name("megastats-log".to_owned())
        .spawn(move || write_on(&written, to));
    (Queue(Arc::clone(&lines)), Writing(lines))
}

fn write_on(lines: &Lines, mut to: impl Write) {
    let mut batch = Vec::new();
    loop {
        let mut waiting = lines.wait_while(|waiting| waiting.bytes.is_empty() && !waiting.ends);
        if !waiting.ends {
            drop(waiting);
            thread::sleep(GATHER);
            waiting = lines.lock();
        }
        batch.clear();
        mem::swap(&mut batch, &mut waiting.bytes);
        let lost = mem::take(&mut waiting.lost);
        if batch.is_empty() && waiting.ends {
            waiting.ended = true;
            lines.changed.notify_all();
            return;
        }
        drop(waiting);
        write_out(&mut to, &batch);
        if lost > 0 {
            log::warn!("the log's reader was too slow: {lost} lines were lost");
        }
    }
}

/// Gives up on an error: nobody is left to be told.
fn write_out(to: &mut impl Write, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match to.write(bytes) {
            Ok(0) => return,
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(BEFORE_RETRY),
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// Tells of each write, and does it once it is let.
    struct Reader {
        begun: Sender<()>,
        go: Receiver<()>,
        read: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Reader {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.begun.send(());
            // Nobody is left to let it: it may go on.
            let _ = self.go.recv();
            self.read.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Held {
        queue: Queue,
        writing: Writing,
        begun: Receiver<()>,
        go: Sender<()>,
        read: Arc<Mutex<Vec<u8>>>,
    }

    fn held() -> Held {
        let (begun_tx, begun) = channel();
        let (go, go_rx) = channel();
        let read = Arc::new(Mutex::new(Vec::new()));
        let (queue, writing) = start(Reader {
            begun: begun_tx,
            go: go_rx,
            read: Arc::clone(&read),
        });
        Held {
            queue,
            writing,
            begun,
            go,
            read,
        }
    }

    #[test]
    fn what_was_logged_is_written_before_the_end() {
        let Held {
            mut queue,
            writing,
            go,
            read,
            ..
        } = held();
        drop(go);
        for number in 0..1000 {
            queue.write_all(format!("{number}\n").as_bytes()).unwrap();
        }
        drop(writing);
        let read = String::from_utf8(read.lock().unwrap().clone()).unwrap();
        let expected: Vec<_> = (0..1000).map(|number| number.to_string()).collect();
        assert_eq!(read.lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_reader_that_hangs_holds_nobody_up_and_the_memory_is_bounded() {
        let mut held = held();
        held.queue.write_all(b"first\n").unwrap();
        held.begun.recv().unwrap();
        let line = [b'x'; 1024];
        for _ in 0..3000 {
            held.queue.write_all(&line).unwrap();
        }
        {
            let waiting = held.queue.0.lock();
            assert!(waiting.bytes.len() <= LIMIT);
            assert_eq!(waiting.lost, 3000 - LIMIT / 1024);
        }
        // Nor the end, though the reader still hangs.
        drop(held.writing);
        assert!(held.read.lock().unwrap().is_empty());
        drop(held.go);
    }

    #[test]
    fn a_reader_that_is_gone_holds_nobody_up() {
        struct Gone;
        impl Write for Gone {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (mut queue, writing) = start(Gone);
        for _ in 0..100 {
            queue.write_all(b"line\n").unwrap();
        }
        drop(writing);
        assert!(queue.0.lock().ended);
    }
}
