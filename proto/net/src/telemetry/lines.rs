//! Log lines on their way to standard error, which a thread of its own writes: nobody else ever waits for a disk or for a reader of
//! a pipe. While a line cannot be written for long (a collector that hangs, a terminal that was halted), those that come are lost.

use std::{
    collections::VecDeque,
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use parking_lot::{Condvar, Mutex};
use tracing_subscriber::fmt::MakeWriter;

/// Most bytes of lines that wait; what comes then is lost.
const LIMIT: usize = 1 << 20;

/// Lines that wait to be written. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Lines(Arc<State>);

#[derive(Debug)]
struct State {
    queue: Mutex<Queue>,
    /// There is something to write.
    more: Condvar,
    /// All has been written.
    done: Condvar,
    /// Lines lost that the log does not tell yet.
    lost: AtomicU64,
}

#[derive(Debug, Default)]
struct Queue {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    /// One is being written.
    busy: bool,
}

impl Lines {
    /// Starts the thread that writes to `out`. A line that it cannot write is lost.
    ///
    /// # Errors
    /// When there can be no more threads.
    pub(super) fn start(mut out: impl Write + Send + 'static) -> io::Result<Self> {
        let (queue, more, done) = (Mutex::default(), Condvar::new(), Condvar::new());
        let lines = Self(Arc::new(State { queue, more, done, lost: AtomicU64::new(0) }));
        let writer = lines.clone();
        thread::Builder::new().name("log".to_owned()).spawn(move || {
            loop {
                let line = writer.next();
                let _ = out.write_all(&line);
                let _ = out.flush();
                writer.wrote();
                let lost = writer.0.lost.swap(0, Ordering::Relaxed);
                if lost > 0 {
                    tracing::warn!(lost, "lines of the log were lost, since it was not read in time");
                }
            }
        })?;
        Ok(lines)
    }

    fn next(&self) -> Vec<u8> {
        let mut queue = self.0.queue.lock();
        loop {
            if let Some(line) = queue.lines.pop_front() {
                queue.bytes -= line.len();
                queue.busy = true;
                return line;
            }
            self.0.more.wait(&mut queue);
        }
    }

    fn wrote(&self) {
        let mut queue = self.0.queue.lock();
        queue.busy = false;
        if queue.lines.is_empty() {
            self.0.done.notify_all();
        }
    }

    /// Puts a line at the end. Never waits for it to be written.
    pub(super) fn push(&self, line: &[u8]) {
        let mut queue = self.0.queue.lock();
        if queue.bytes + line.len() > LIMIT {
            self.0.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        queue.bytes += line.len();
        queue.lines.push_back(line.to_vec());
        self.0.more.notify_one();
    }

    /// Waits until all is written, for so long at most.
    pub(super) fn flush(&self, patience: Duration) {
        let mut queue = self.0.queue.lock();
        let waiting = |queue: &mut Queue| queue.busy || !queue.lines.is_empty();
        let _ = self.0.done.wait_while_for(&mut queue, waiting, patience);
    }
}

/// Of one line, which the subscriber writes at once.
impl Write for &Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes when it is let, and says what.
    #[derive(Debug, Default, Clone)]
    struct Gate(Arc<Inner>);

    #[derive(Debug, Default)]
    struct Inner {
        open: Mutex<bool>,
        opened: Condvar,
        written: Mutex<Vec<u8>>,
    }

    impl Gate {
        fn open(&self) {
            *self.0.open.lock() = true;
            self.0.opened.notify_all();
        }

        fn written(&self) -> Vec<u8> {
            self.0.written.lock().clone()
        }
    }

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.opened.wait_while(&mut self.0.open.lock(), |open| !*open);
            self.0.written.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn who_logs_does_not_wait_for_the_reader() {
        let gate = Gate::default();
        let lines = Lines::start(gate.clone()).expect("a thread");
        lines.push(b"first\n");
        // It may be taken out of the queue before the others come, or be counted with them.
        let line = vec![b'x'; 1024];
        (0..LIMIT / 1024 + 10).for_each(|_| lines.push(&line));
        lines.flush(Duration::from_millis(1));
        assert_eq!(gate.written(), b"", "it waits");
        let lost = lines.0.lost.load(Ordering::Relaxed);
        assert!((10..=11).contains(&lost), "{lost}: one past the limit is lost");
        gate.open();
        lines.flush(Duration::from_secs(60));
        let written = gate.written();
        assert!(written.starts_with(b"first\nxxx"), "in order");
        assert_eq!(written.len(), 6 + (LIMIT / 1024 + 10 - lost as usize) * 1024);
    }

    #[test]
    fn what_cannot_be_written_is_lost_and_the_next_one_is_not() {
        #[derive(Debug, Default)]
        struct Full(usize, Gate);
        impl Write for Full {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0 += 1;
                if self.0 == 1 { Err(io::ErrorKind::StorageFull.into()) } else { self.1.write(bytes) }
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let gate = Gate::default();
        gate.open();
        let lines = Lines::start(Full(0, gate.clone())).expect("a thread");
        lines.push(b"lost\n");
        lines.push(b"kept\n");
        lines.flush(Duration::from_secs(60));
        assert_eq!(gate.written(), b"kept\n");
    }
}
