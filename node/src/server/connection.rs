//! One client's connection: what was read and not executed, what was answered and not sent.

use std::{
    io::{self, IoSliceMut},
    ops::Range,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use mio::net::TcpStream;
use rustix::{
    buffer::spare_capacity,
    io::readv,
    net::{RecvFlags, recv},
};
use shoal_proto::{
    resp::{Limits, Scanner},
    session::Session,
};

use super::{
    Shared,
    backlog::Backlog,
    execute::Stop,
    fence::Fence,
    lease::uptime_ms,
    lookahead::{Gathered, Lookahead},
    output::{Output, Replies, Sent, enough},
};
use crate::{
    stats::Counters,
    store::{LEAST_LANDED, Landed, Landing, Store},
};

/// A pause may be lifted before its time: it is looked at again after so many ms.
const LONGEST_PAUSE: u64 = 100;

/// Bytes read at first of a request that may have a long argument.
const BEGINNING: usize = 2 << 10;
/// Room behind a long argument for options: so many, of so many bytes each.
const SHORT_ARGUMENTS: usize = 4;
const SHORT_ARGUMENT: usize = 32;

/// Whether an argument is received where it can stay.
fn is_long(argument: &Range<usize>) -> bool {
    argument.len() >= LEAST_LANDED
}

/// Takes the connection out of the registry however it ends.
#[derive(Debug)]
pub(super) struct Registered {
    pub(super) shared: Arc<Shared>,
    /// Connections of this worker.
    pub(super) clients: Arc<AtomicUsize>,
    pub(super) id: u64,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.shared.registry.remove(self.id);
        self.clients.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Something that others bring about; whether the connection may go on. Rare, so it may cost an allocation. It was
/// polled at least once when it wakes somebody, and its timers are those of the runtime whose context the worker is in.
type Wait = Pin<Box<dyn Future<Output = bool>>>;

/// A connection and what it has not executed or sent yet.
pub(super) struct Connection {
    pub(super) socket: TcpStream,
    pub(super) session: Session,
    /// Whether the other end is a router (`SHOAL UPSTREAM`).
    pub(super) upstream: Option<u64>,
    pub(super) scanner: Scanner,
    /// Bytes of requests that are not complete, or that wait behind a flush or a pause.
    pending: Vec<u8>,
    /// A request that is not complete, if it has a long argument; nothing is pending then.
    landing: Option<Landing>,
    /// Such a request that waits; what is pending came behind it.
    landed: Option<Landed>,
    /// The last request had a long argument, so the next one may have one.
    long: bool,
    output: Output,
    backlog: Backlog,
    /// The worker looks at it now and then, because it leaves something unread.
    pub(super) lags: bool,
    /// The socket may have something to read, as far as is known.
    pub(super) readable: bool,
    /// The other end will send no more: the end must still be read.
    pub(super) read_closed: bool,
    /// The socket may take something, as far as is known.
    pub(super) writable: bool,
    /// `pending` may hold complete requests.
    rerun: bool,
    /// To be closed when everything is sent.
    closing: bool,
    /// Nothing is executed before this time, ms since 1970.
    pub(super) paused_until: u64,
    /// It waits in the worker's queue.
    pub(super) queued: bool,
    /// Until when commands wait for a gate, by [`uptime_ms`]; set by the first that does.
    pub(super) patience: Option<u64>,
    /// What the replies of the last batch wait for.
    fence: Option<Wait>,
    /// What the next command waits for.
    hold: Option<Wait>,
    registered: Registered,
}

/// What there is to execute.
pub(super) enum Intake {
    Nothing,
    /// The connection is over.
    Closed,
    /// This many bytes were read into the buffer that was offered.
    Read(usize),
    /// What waited in the connection.
    Taken(Taken),
    /// Nothing yet, but there is more to read.
    More,
}

/// Bytes taken from a connection.
pub(super) enum Taken {
    Bytes(Vec<u8>),
    /// Perhaps not a whole request.
    Landing(Landing),
    Landed(Landed),
}

impl Taken {
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Landing(landing) => landing.bytes(),
            Self::Landed(landed) => landed.bytes(),
        }
    }
}

/// What is to be done with a connection next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum After {
    /// Wait for the socket.
    Wait,
    /// There is more to do at once, when the others had their turn.
    Again,
    /// Wait until this time, ms since 1970.
    Until(u64),
    Close,
}

impl Connection {
    pub(super) fn new(socket: TcpStream, session: Session, registered: Registered) -> Self {
        Self {
            socket,
            session,
            upstream: None,
            scanner: Scanner::new(),
            pending: Vec::new(),
            landing: None,
            landed: None,
            long: false,
            output: Output::default(),
            backlog: Backlog::default(),
            lags: false,
            readable: false,
            read_closed: false,
            writable: true,
            rerun: false,
            closing: false,
            paused_until: 0,
            queued: false,
            patience: None,
            fence: None,
            hold: None,
            registered,
        }
    }

    /// Limits on the next request.
    pub(super) fn limits(&self, shared: &Shared) -> Limits {
        Limits {
            authenticated: self.session.authenticated(),
            max_bulk_len: shared.config.max_bulk_len(),
            ..Limits::default()
        }
    }

    /// Sends what waits, then gets something to execute: what waits in the connection, or what one read into `buffer`
    /// brings.
    pub(super) fn intake(
        &mut self,
        buffer: &mut [u8],
        counters: &Counters,
        now: u64,
        waker: impl FnOnce() -> Waker,
    ) -> Intake {
        if self.fence.is_some() || self.hold.is_some() {
            let waker = waker();
            match self.wait(&mut Context::from_waker(&waker)) {
                Some(true) => {}
                Some(false) => {
                    tracing::debug!(client = %self.session.record.addr, "closed: its replies may be untrue");
                    return Intake::Closed;
                }
                None => return Intake::Nothing,
            }
        }
        if !self.output.is_empty() {
            if self.writable {
                let Ok(sent) = self.output.flush(&self.socket) else { return Intake::Closed };
                self.writable = sent;
                self.session.record.buffered(self.held(), self.output.len());
            }
            if self.is_behind() {
                return Intake::Nothing;
            }
        }
        if self.closing {
            return self.end();
        }
        if now < self.paused_until {
            return Intake::Nothing;
        }
        if std::mem::take(&mut self.rerun) {
            return Intake::Taken(self.take_pending());
        }
        if !self.readable {
            return Intake::Nothing;
        }
        let fresh = self.pending.is_empty() && self.landing.is_none();
        let result = match &mut self.landing {
            Some(_) => self.read_landing(buffer),
            None if fresh => self.read_into(buffer),
            None => self.read_more(),
        };
        if let Ok(n) = result {
            counters.received(n);
        }
        match result {
            Ok(0) => Intake::Closed,
            Ok(n) if fresh => {
                self.patience = None;
                Intake::Read(n)
            }
            Ok(_) if self.landing.is_some() => self.landed_so_far(),
            Ok(_) => Intake::Taken(self.take_pending()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.readable = false;
                Intake::Nothing
            }
            Err(_) => Intake::Closed,
        }
    }

    /// Whether the client has to read before anything else is done for it.
    fn is_behind(&self) -> bool {
        let limit = self.registered.shared.config.output_limit();
        self.output.len() >= enough(limit.hard) || (self.closing && !self.output.is_empty())
    }

    /// Counts what the socket took since this was called.
    #[inline]
    pub(super) fn count_sent(&mut self, counters: &Counters) {
        let Sent { bytes, writes } = self.output.take_sent();
        counters.sent(bytes, writes);
    }

    /// Whether there are replies that the client has not taken.
    pub(super) fn has_output(&self) -> bool {
        !self.output.is_empty()
    }

    /// Whether the client has left too much unread, and so has to be closed.
    pub(super) fn exceeds_output_limit(&mut self) -> bool {
        let shared = &self.registered.shared;
        let exceeds = self.backlog.is_too_much(self.output.len(), shared.config.output_limit(), uptime_ms());
        if exceeds {
            shared.totals.output_limit.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(
                client = %self.session.record.addr, waiting = self.output.len(),
                "closed: what it does not read exceeds client-output-buffer-limit"
            );
        }
        exceeds
    }

    /// Whether what it waited for is there; `None`: it still waits.
    #[cold]
    fn wait(&mut self, cx: &mut Context<'_>) -> Option<bool> {
        if let Some(fence) = &mut self.fence {
            let Poll::Ready(passes) = fence.as_mut().poll(cx) else { return None };
            self.fence = None;
            if !passes {
                return Some(false);
            }
            // The replies go out before the next command is waited for.
            match self.output.flush(&self.socket) {
                Ok(sent) => self.writable = sent,
                Err(_) => return Some(false),
            }
        }
        if let Some(hold) = &mut self.hold {
            let Poll::Ready(goes_on) = hold.as_mut().poll(cx) else { return None };
            self.hold = None;
            return Some(goes_on);
        }
        Some(true)
    }

    /// Sends FIN behind the last reply instead of dropping what the client has not read.
    fn end(&mut self) -> Intake {
        // Whoever is gone already needs none.
        let _ = self.socket.shutdown(std::net::Shutdown::Write);
        Intake::Closed
    }

    fn read_into(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // The beginning of a request with another long argument, to have little of it to copy.
        let room = if self.long { BEGINNING } else { buffer.len() };
        let buffer = &mut buffer[..room];
        let (n, _) = retry(|| recv(&self.socket, &mut buffer[..], RecvFlags::empty()))?;
        self.long = false;
        self.drained(n, room);
        Ok(n)
    }

    /// A request arrives in pieces: it grows in a buffer of its own, as announced and checked.
    fn read_more(&mut self) -> io::Result<usize> {
        let have = self.pending.len();
        let want = self.scanner.wanted(have).clamp(4096, 1 << 20);
        self.pending.reserve(want);
        let room = self.pending.capacity() - have;
        let (n, _) = retry(|| recv(&self.socket, spare_capacity(&mut self.pending), RecvFlags::empty()))?;
        self.drained(n, room);
        Ok(n)
    }

    /// A request with a long argument arrives where that can stay; what comes behind the argument, in `behind`.
    fn read_landing(&mut self, behind: &mut [u8]) -> io::Result<usize> {
        let Some(landing) = &mut self.landing else { return Ok(0) };
        let end = self.scanner.awaited().filter(is_long).map(|argument| argument.end + 2);
        let room = landing.room(end);
        let landed = room.len();
        let behind = &mut behind[..BEGINNING];
        let offered = landed + behind.len();
        let n = retry(|| readv(&self.socket, &mut [IoSliceMut::new(room), IoSliceMut::new(behind)]))?;
        landing.received(n.min(landed));
        let behind = &behind[..n.saturating_sub(landed)];
        if end == Some(landing.len()) && self.scanner.missing() == 1 {
            // The request is whole, and this is the beginning of the next one.
            self.pending.extend_from_slice(behind);
        } else {
            landing.extend(behind, end);
        }
        self.drained(n, offered);
        Ok(n)
    }

    /// Whether what has landed may be a whole request.
    fn landed_so_far(&mut self) -> Intake {
        let Some(landing) = self.landing.take() else { return Intake::Nothing };
        if self.scanner.awaited().is_some_and(|argument| argument.end + 2 > landing.len()) {
            return self.put_landing_back(landing);
        }
        Intake::Taken(Taken::Landing(landing))
    }

    /// What has landed is no whole request yet.
    pub(super) fn put_landing_back(&mut self, landing: Landing) -> Intake {
        self.landing = Some(landing);
        self.session.record.buffered(self.held(), self.output.len());
        self.check_query_limit();
        match self.closing {
            true if self.output.is_empty() => self.end(),
            false if self.readable => Intake::More,
            _ => Intake::Nothing,
        }
    }

    /// Bytes that were read and not executed.
    fn held(&self) -> usize {
        let landed = self.landed.as_ref().map_or(0, |landed| landed.bytes().len());
        self.pending.len() + landed + self.landing.as_ref().map_or(0, Landing::len)
    }

    /// Closes when the replies are sent if too much was read and not executed.
    fn check_query_limit(&mut self) {
        let shared = &self.registered.shared;
        if self.held() > shared.config.query_buffer_limit() {
            tracing::warn!(client = %self.session.record.addr, "closed: its query buffer exceeds client-query-buffer-limit");
            shared.totals.query_limit.fetch_add(1, Ordering::Relaxed);
            self.closing = true;
        }
    }

    /// Whoever reads less than was asked for has read everything, unless the end is still to come.
    fn drained(&mut self, n: usize, room: usize) {
        if n < room && !self.read_closed {
            self.readable = false;
        }
    }

    /// The bytes that wait; [`put_back`](Self::put_back) returns what was not executed of them.
    fn take_pending(&mut self) -> Taken {
        self.landed.take().map_or_else(|| Taken::Bytes(std::mem::take(&mut self.pending)), Taken::Landed)
    }

    /// What was not executed of the bytes that were taken.
    pub(super) fn put_back(&mut self, taken: Taken, consumed: usize, store: &Store) {
        match taken {
            Taken::Landed(landed) if consumed == 0 => self.landed = Some(landed),
            Taken::Bytes(mut bytes) if !self.awaits_long() => {
                bytes.drain(..consumed);
                // The memory of a large request is not kept for an idle connection.
                self.pending = if bytes.is_empty() { Vec::new() } else { bytes };
            }
            Taken::Landed(landed) if consumed == landed.bytes().len() => {
                // What came behind it has not been looked at.
                self.rerun = !self.pending.is_empty();
            }
            taken => self.keep(&taken.bytes()[consumed..], store),
        }
    }

    /// What was not executed of the bytes that were read.
    pub(super) fn keep(&mut self, bytes: &[u8], store: &Store) {
        match self.scanner.awaited().filter(is_long) {
            Some(argument) => {
                let more = self.scanner.missing().saturating_sub(1).min(SHORT_ARGUMENTS);
                let total = argument.end + 2 + more * SHORT_ARGUMENT;
                self.landing = Some(store.landing(bytes, total));
                self.long = true;
            }
            None => self.pending.extend_from_slice(bytes),
        }
    }

    fn awaits_long(&self) -> bool {
        self.scanner.awaited().filter(is_long).is_some()
    }

    /// Finds the first requests.
    pub(super) fn gather(&mut self, shared: &Shared, input: &[u8], ahead: &mut Lookahead) -> Gathered {
        let limits = self.limits(shared);
        ahead.gather((&shared.store, self.session.db), &mut self.scanner, (input, 0), &limits)
    }

    /// Sends the replies as far as the socket takes them at once, and decides how to go on.
    pub(super) fn answer(
        &mut self,
        replies: &mut Replies,
        fence: Option<Fence>,
        stop: Option<Stop>,
        shared: &Arc<Shared>,
    ) -> After {
        if let Some(fence) = fence.filter(|_| replies.len() > 0 && !replies.are_too_many()) {
            let shared = shared.clone();
            replies.put_into(&mut self.output);
            self.fence = Some(Box::pin(async move { fence.passes(&shared).await }));
        } else if replies.are_too_many() {
            // What was executed stays, but its replies are more than anybody may leave unread.
            shared.totals.output_limit.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(client = %self.session.record.addr, "closed: a reply exceeds client-output-buffer-limit");
            return After::Close;
        } else if replies.len() > 0 {
            if replies.send(&self.socket, &mut self.output).is_err() {
                return After::Close;
            }
            self.writable = self.output.is_empty();
        }
        self.session.record.buffered(self.held(), self.output.len());
        if self.has_output() && self.exceeds_output_limit() {
            return After::Close;
        }
        self.check_query_limit();
        match stop {
            _ if self.closing => {}
            None => {}
            Some(Stop::Close) => self.closing = true,
            Some(Stop::Flush) => self.rerun = true,
            Some(Stop::Hold(seen)) => {
                let most = Duration::from_millis(self.patience.unwrap_or(0).saturating_sub(uptime_ms()));
                let shared = shared.clone();
                self.rerun = true;
                self.hold = Some(Box::pin(async move {
                    shared.changes.after(seen, most).await;
                    true
                }));
            }
            Some(Stop::Pause(until)) => {
                self.rerun = true;
                return After::Until(until);
            }
        }
        self.next()
    }

    fn next(&mut self) -> After {
        match () {
            // To be polled for the first time.
            () if self.fence.is_some() || self.hold.is_some() => After::Again,
            () if self.is_behind() => After::Wait,
            () if self.closing => {
                self.end();
                After::Close
            }
            () if self.rerun || self.readable => After::Again,
            () => After::Wait,
        }
    }

    /// Nothing is executed before `until`, or for the longest time that passes without another look.
    pub(super) fn pause(&mut self, until: u64, now: u64) -> u64 {
        self.paused_until = until.min(now + LONGEST_PAUSE);
        self.paused_until
    }
}

/// Calls until no signal comes between.
fn retry<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(rustix::io::Errno::INTR) => {}
            result => return result.map_err(io::Error::from),
        }
    }
}
