//! One client's connection: read, execute everything that is complete, flush once.

use std::{
    future::poll_fn,
    pin::Pin,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
    time::Duration,
};

use shoal_proto::{
    resp::{Limits, Scanner},
    session::Session,
};
use tokio::{
    io::{AsyncRead, AsyncWriteExt, ReadBuf},
    net::TcpStream,
};

use super::{
    clock,
    execute::{Batch, Stop},
    fence::Fence,
    lease::uptime_ms,
    lookahead::Lookahead,
    worker::{Scratch, Worker},
};

/// Replies are flushed when this many bytes wait, so that a deep pipeline of large replies cannot grow the
/// output without bound.
pub(super) const FLUSH_AT: usize = 1 << 20;

/// Starts serving a socket on the current worker.
pub(super) fn spawn(worker: Rc<Worker>, socket: TcpStream, clients: Arc<AtomicUsize>) {
    let addr = socket.peer_addr().map(|a| a.to_string()).unwrap_or_default();
    let laddr = socket.local_addr().map(|a| a.to_string()).unwrap_or_default();
    // Replies are written whole; Nagle's algorithm would only delay them.
    let _ = socket.set_nodelay(true);
    let record = worker.shared.registry.add(addr, laddr, clock::now_ms());
    let id = record.id;
    let guard = Registered { worker: worker.clone(), clients, id };
    let session = Session::new(record.clone(), &worker.shared.access);
    let task = tokio::task::spawn_local(async move {
        let _guard = guard;
        let (scanner, pending) = (Scanner::new(), Vec::new());
        let (upstream, patience, fence) = (false, None, None);
        Connection { worker, socket, session, scanner, pending, upstream, patience, fence }.serve().await;
    });
    let abort = task.abort_handle();
    record.on_kill(move || abort.abort());
}

/// Takes the connection out of the registry however it ends.
struct Registered {
    worker: Rc<Worker>,
    clients: Arc<AtomicUsize>,
    id: u64,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.worker.shared.registry.remove(self.id);
        self.clients.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A connection and what it has not executed yet.
pub(super) struct Connection {
    worker: Rc<Worker>,
    socket: TcpStream,
    pub(super) session: Session,
    scanner: Scanner,
    /// Bytes of requests that are not complete, or that wait behind a flush or a pause.
    pending: Vec<u8>,
    /// Whether the other end is a router (`SHOAL UPSTREAM`).
    pub(super) upstream: bool,
    /// Until when commands wait for a gate, by [`uptime_ms`]; set by the first that does.
    pub(super) patience: Option<u64>,
    /// What the replies of the last batch wait for.
    fence: Option<Fence>,
}

/// What came of one read.
enum Turn {
    Closed,
    /// Replies that the socket did not take at once, and why execution stopped early.
    Go(Vec<u8>, Option<Stop>),
}

impl Connection {
    async fn serve(mut self) {
        loop {
            let Turn::Go(rest, stop) = self.turn().await else { return };
            if self.finish(rest, stop).await.is_err() {
                return;
            }
        }
    }

    /// Writes what is left and obeys why execution stopped, until everything buffered is executed.
    async fn finish(&mut self, mut rest: Vec<u8>, mut stop: Option<Stop>) -> Result<(), ()> {
        loop {
            if !rest.is_empty() {
                self.session.record.buffered(self.pending.len(), rest.len());
                if let Some(fence) = self.fence.take()
                    && !fence.passes(&self.worker.shared).await
                {
                    tracing::debug!(client = %self.session.record.addr, "closed: its replies may be untrue");
                    return Err(());
                }
                self.socket.write_all(&rest).await.map_err(|_| ())?;
            }
            match stop {
                None => return Ok(()),
                Some(Stop::Close) => {
                    // Sends FIN behind the last reply instead of dropping what the client has not read.
                    let _ = self.socket.shutdown().await;
                    return Err(());
                }
                Some(Stop::Flush) => {}
                Some(Stop::Pause(until)) => {
                    let wait = until.saturating_sub(clock::now_ms()).min(100);
                    tokio::time::sleep(Duration::from_millis(wait)).await;
                }
                Some(Stop::Hold(seen)) => {
                    let wait = self.patience.unwrap_or(0).saturating_sub(uptime_ms());
                    self.worker.shared.changes.after(seen, Duration::from_millis(wait)).await;
                }
            }
            let worker = self.worker.clone();
            let scratch = &mut *worker.scratch.borrow_mut();
            (rest, stop) = self.run_pending(&mut scratch.output, &mut scratch.ahead);
        }
    }

    /// Reads once and executes what is complete.
    async fn turn(&mut self) -> Turn {
        let worker = self.worker.clone();
        poll_fn(|cx| {
            let mut scratch = worker.scratch.borrow_mut();
            let Scratch { input, output, ahead } = &mut *scratch;
            if self.pending.is_empty() {
                let mut buffer = ReadBuf::new(input);
                match Pin::new(&mut self.socket).poll_read(cx, &mut buffer) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Err(_)) => return Poll::Ready(Turn::Closed),
                    Poll::Ready(Ok(())) => {}
                }
                let filled = buffer.filled().len();
                if filled == 0 {
                    return Poll::Ready(Turn::Closed);
                }
                worker.counters.bytes(filled, 0);
                self.patience = None;
                let (consumed, stop) = self.run(&input[..filled], output, ahead);
                self.pending.extend_from_slice(&input[consumed..filled]);
                return Poll::Ready(Turn::Go(self.send(output), stop));
            }
            // A request arrives in pieces: it grows in a buffer of its own, as announced and checked.
            let have = self.pending.len();
            let want = self.scanner.wanted(have).clamp(4096, 1 << 20).max(input.len().min(have));
            self.pending.resize(have + want, 0);
            let mut buffer = ReadBuf::new(&mut self.pending[have..]);
            let polled = Pin::new(&mut self.socket).poll_read(cx, &mut buffer);
            let filled = buffer.filled().len();
            self.pending.truncate(have + filled);
            match polled {
                Poll::Pending => Poll::Pending,
                Poll::Ready(Err(_)) => Poll::Ready(Turn::Closed),
                Poll::Ready(Ok(())) if filled == 0 => Poll::Ready(Turn::Closed),
                Poll::Ready(Ok(())) => {
                    worker.counters.bytes(filled, 0);
                    let (rest, stop) = self.run_pending(output, ahead);
                    Poll::Ready(Turn::Go(rest, stop))
                }
            }
        })
        .await
    }

    /// Executes what is complete in the pending bytes; what is not stays where it is, however large.
    fn run_pending(&mut self, output: &mut Vec<u8>, ahead: &mut Lookahead) -> (Vec<u8>, Option<Stop>) {
        let mut input = std::mem::take(&mut self.pending);
        let (consumed, stop) = self.run(&input, output, ahead);
        input.drain(..consumed);
        if input.is_empty() {
            // The memory of a large request is not kept for an idle connection.
            input = Vec::new();
        }
        self.pending = input;
        (self.send(output), stop)
    }

    /// Executes the complete requests of `input`; how many bytes they took.
    fn run(&mut self, input: &[u8], output: &mut Vec<u8>, ahead: &mut Lookahead) -> (usize, Option<Stop>) {
        output.clear();
        let worker = self.worker.clone();
        let limits = Limits {
            authenticated: self.session.authenticated,
            max_bulk_len: worker.shared.config.max_bulk_len(),
            ..Limits::default()
        };
        let mut scanner = std::mem::take(&mut self.scanner);
        let mut batch = Batch::new(&worker.shared, &worker.counters, self);
        let (consumed, stop) = batch.execute(&mut scanner, input, limits, ahead, output);
        self.fence = batch.finish();
        ahead.trim();
        self.scanner = scanner;
        worker.counters.bytes(0, output.len());
        let left = input.len() - consumed;
        self.session.record.buffered(left, 0);
        if left > worker.shared.config.query_buffer_limit() {
            tracing::warn!(client = %self.session.record.addr, "closed: its query buffer exceeds client-query-buffer-limit");
            return (consumed, Some(Stop::Close));
        }
        (consumed, stop)
    }

    /// Sends the replies as far as the socket takes them at once, if nothing keeps them back; the rest.
    fn send(&mut self, output: &mut Vec<u8>) -> Vec<u8> {
        let sent = if output.is_empty() || self.fence.is_some() {
            0
        } else {
            self.socket.try_write(output).unwrap_or(0)
        };
        let rest = output[sent..].to_vec();
        if output.capacity() > 2 * FLUSH_AT {
            *output = Vec::with_capacity(64 << 10);
        }
        rest
    }
}
