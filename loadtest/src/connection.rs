//! One connection to the server: what is still to be written, what was read in part, who waits for an answer.
//!
//! Sockets never block. Requests are appended to `out` by the request source and written with as few system
//! calls as the socket allows; answers are framed in a buffer that all connections of a thread share, so ten
//! thousand of them need little memory. When to send and what an answer means is the generator's business.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::AtomicBool;

use mio::{Registry, Token};

use crate::answer::FULL;
use crate::reply::{Framer, Reply};
use crate::requests::About;
use crate::transport::{Endpoint, Transport};

/// A request whose answer has not come.
#[derive(Clone, Copy, Debug)]
pub struct Waiting {
    /// When it was due (open loop) or sent (closed loop), in nanoseconds since the start of the run.
    pub since: u64,
    /// What it was about.
    pub about: About,
}

/// The command's number of what is sent beside the workload's requests, as ASKING; its answer is not counted.
pub const ASIDE: u16 = u16::MAX;

/// Why a connection is of no use any more.
#[derive(Debug)]
pub enum Broken {
    /// The server closed it or the network failed.
    Io(io::Error),
    /// The server sent something that is not RESP.
    Protocol(String),
    /// The server refused the opening commands, or the connection.
    Opening(String),
    /// More has come than was asked for, so that it is not known which answer is whose.
    Unasked,
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// The bytes of requests without an answer, kept where a request may have to be sent again elsewhere.
#[derive(Clone, Debug, Default)]
struct Copies {
    bytes: Vec<u8>,
    lengths: VecDeque<usize>,
    /// Where the oldest one starts.
    head: usize,
}

impl Copies {
    fn push(&mut self, request: &[u8]) {
        self.bytes.extend_from_slice(request);
        self.lengths.push_back(request.len());
    }

    /// The oldest request; it stays until the next [`Copies::tidy`].
    fn pop(&mut self) -> &[u8] {
        let start = self.head;
        self.head += self.lengths.pop_front().unwrap_or(0);
        &self.bytes[start..self.head]
    }

    /// Frees the room of answered requests, once they are more than half of it.
    fn tidy(&mut self) {
        if self.head * 2 >= self.bytes.len() {
            self.bytes.drain(..self.head);
            self.head = 0;
        }
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.lengths.clear();
        self.head = 0;
    }
}

/// A connection and its buffers.
#[derive(Debug)]
pub struct Connection {
    /// The server it belongs to, by its place in the list of servers.
    pub endpoint: usize,
    socket: Option<Transport>,
    /// Requests encoded and not written yet, from `written` on.
    pub out: Vec<u8>,
    written: usize,
    /// The start of a line that was cut by the end of a read.
    carry: Vec<u8>,
    framer: Framer,
    /// Requests without an answer, oldest first.
    pub waiting: VecDeque<Waiting>,
    copies: Option<Copies>,
    /// Answers to the opening commands still to come.
    opening: usize,
    /// How many requests may still be sent before it is closed and opened again.
    pub left: u64,
    /// When it was started to connect, until it stands.
    connecting: Option<u64>,
    /// It has brought an answer that is no error at some time.
    pub served: bool,
    /// It has brought an answer at all, or been closed with requests under way.
    pub asked: bool,
    /// It could not be made at some time, or the server closed it without being idle.
    pub failed: bool,
}

/// A line cut by the end of a read is at most this long; see `Framer`.
const MAX_CARRY: usize = 65 << 10;

/// The size of the read buffer that connections share; a carried line always leaves most of it free.
pub const READ_BUFFER: usize = 256 << 10;

impl Connection {
    /// A connection that is closed. With `copies`, requests are kept until they are answered.
    pub fn new(endpoint: usize, copies: bool) -> Self {
        Self {
            endpoint,
            socket: None,
            out: Vec::new(),
            written: 0,
            carry: Vec::new(),
            framer: Framer::default(),
            waiting: VecDeque::new(),
            copies: copies.then(Copies::default),
            opening: 0,
            left: u64::MAX,
            connecting: None,
            served: false,
            asked: false,
            failed: false,
        }
    }

    /// Connects and waits until the connection stands or `stop` is set, so that ten thousand do not overflow the
    /// server's queue of new connections.
    pub fn open(
        &mut self,
        to: &Endpoint,
        registry: &Registry,
        token: Token,
        stop: &AtomicBool,
    ) -> io::Result<()> {
        self.socket = Some(Transport::open(to, stop)?);
        self.register(registry, token)
    }

    /// Starts to connect without waiting; whether it worked shows when the socket becomes writable.
    pub fn start(&mut self, to: &Endpoint, registry: &Registry, token: Token, now: u64) -> io::Result<()> {
        let mut socket = Transport::start(to)?;
        socket.register(registry, token)?;
        self.socket = Some(socket);
        self.connecting = Some(now);
        Ok(())
    }

    fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        self.socket.as_mut().map_or(Ok(()), |socket| socket.register(registry, token))
    }

    /// Puts the opening commands, encoded, before everything else. `left` requests may follow them.
    pub fn begin(&mut self, opening: &[Vec<u8>], left: u64) {
        self.left = left;
        self.opening = opening.len();
        for command in opening {
            self.out.extend_from_slice(command);
        }
    }

    /// When this connection was started, if it has come to stand since it was asked last.
    #[inline]
    pub fn take_connected(&mut self) -> Option<u64> {
        self.connecting?;
        let stands = self.opening == 0 && self.socket.as_ref().is_some_and(|socket| !socket.is_handshaking());
        if stands { self.connecting.take() } else { None }
    }

    /// Appends a request that is encoded already.
    pub fn send(&mut self, request: &[u8], waiting: Waiting) {
        self.out.extend_from_slice(request);
        self.waiting.push_back(waiting);
        if let Some(copies) = &mut self.copies {
            copies.push(request);
        }
    }

    /// Drops the socket and what was under way; returns how many requests lost their answer.
    pub fn close(&mut self) -> u64 {
        self.socket = None;
        self.out.clear();
        self.written = 0;
        self.carry.clear();
        self.framer = Framer::default();
        self.opening = 0;
        self.connecting = None;
        if let Some(copies) = &mut self.copies {
            copies.clear();
        }
        let lost = self.under_way().count() as u64;
        self.waiting.clear();
        lost
    }

    /// The workload's requests without an answer.
    pub fn under_way(&self) -> impl Iterator<Item = &Waiting> {
        self.waiting.iter().filter(|waiting| waiting.about.command() != ASIDE)
    }

    /// Since when the one waits that has waited longest. That need not be the first: a request that a node sent
    /// elsewhere comes behind others, with the time it was due at first.
    pub fn oldest(&self) -> Option<u64> {
        self.under_way().map(|waiting| waiting.since).min()
    }

    /// True while there is a socket, connected or about to be.
    pub fn is_open(&self) -> bool {
        self.socket.is_some()
    }

    /// True while it is connected, secured and greeted.
    pub fn stands(&self) -> bool {
        self.socket.is_some() && self.connecting.is_none()
    }

    /// True if another request may be sent, `pipeline` being the most under way.
    #[inline]
    pub fn has_room(&self, pipeline: usize) -> bool {
        self.waiting.len() < pipeline && self.left > 0
    }

    /// True if there is nothing to write.
    #[inline]
    pub fn is_flushed(&self) -> bool {
        self.out.is_empty() && self.socket.as_ref().is_none_or(|socket| !socket.wants_write())
    }

    /// Writes what the socket takes; the rest waits until it is writable. Returns the bytes written.
    #[inline]
    pub fn flush(&mut self) -> Result<u64, Broken> {
        let Some(socket) = &mut self.socket else { return Ok(0) };
        let before = self.written;
        match socket.push() {
            Err(error) if !is_not_now(&error) => return Err(error.into()),
            _ => {}
        }
        while self.written < self.out.len() {
            match socket.write(&self.out[self.written..]) {
                Ok(0) => return Err(Broken::Io(io::ErrorKind::WriteZero.into())),
                Ok(count) => self.written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // A socket that is still connecting says NotConnected.
                Err(error) if is_not_now(&error) => break,
                Err(error) => return Err(error.into()),
            }
        }
        let count = (self.written - before) as u64;
        if self.written == self.out.len() {
            self.out.clear();
            self.written = 0;
        }
        Ok(count)
    }

    /// Takes a shared buffer for what it is going to send, if it needs one.
    #[inline]
    pub fn lend(&mut self, spare: &mut Vec<u8>) {
        if self.out.is_empty() {
            std::mem::swap(&mut self.out, spare);
        }
    }

    /// Gives the shared buffer back if everything in it is written.
    #[inline]
    pub fn give_back(&mut self, spare: &mut Vec<u8>) {
        if self.out.is_empty() && self.out.capacity() > spare.capacity() {
            std::mem::swap(&mut self.out, spare);
        }
    }

    /// Reads what has come and calls `on_answer` with each answered request, its reply, the time of the read and the
    /// request's bytes, if copies are kept. `closing` says that the other side has hung up, so the end has to be read too. The
    /// bytes read are added to `received`, those before the connection's end as well.
    #[inline]
    pub fn receive(
        &mut self,
        buffer: &mut [u8],
        closing: bool,
        received: &mut u64,
        clock: impl Fn() -> u64,
        mut on_answer: impl FnMut(Waiting, Reply<'_>, u64, &[u8]),
    ) -> Result<(), Broken> {
        let Some(socket) = &mut self.socket else { return Ok(()) };
        loop {
            let start = self.carry.len();
            if start > 0 {
                buffer[..start].copy_from_slice(&self.carry);
            }
            let count = match socket.read(&mut buffer[start..]) {
                Ok(0) => return Err(Broken::Io(io::ErrorKind::ConnectionReset.into())),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if is_not_now(&error) => break,
                Err(error) => return Err(error.into()),
            };
            *received += count as u64;
            let now = clock();
            let bytes = &buffer[..start + count];
            let mut used = 0;
            loop {
                let reply = self.framer.next(bytes, &mut used).map_err(|wrong| Broken::Protocol(wrong.0))?;
                let Some(reply) = reply else { break };
                if self.opening > 0 {
                    self.opening -= 1;
                    if let Some(text) = reply.error {
                        return Err(Broken::Opening(String::from_utf8_lossy(text).into_owned()));
                    }
                    continue;
                }
                if let Some(text) = reply.error.filter(|text| text.starts_with(FULL.as_bytes())) {
                    // The connection is refused: whether a request was on its way makes no difference.
                    return Err(Broken::Opening(String::from_utf8_lossy(text).into_owned()));
                }
                let Some(request) = self.waiting.pop_front() else {
                    let text = reply.error.map(String::from_utf8_lossy);
                    return Err(text.map_or(Broken::Unasked, |text| Broken::Opening(text.into_owned())));
                };
                let copy = match &mut self.copies {
                    None => &[][..],
                    Some(copies) => copies.pop(),
                };
                on_answer(request, reply, now, copy);
            }
            self.carry.clear();
            if used < start + count {
                self.carry.extend_from_slice(&buffer[used..start + count]);
            }
            debug_assert!(self.carry.len() <= MAX_CARRY);
            if self.waiting.is_empty() && self.opening == 0 && has_begun(&self.framer, &self.carry) {
                return Err(Broken::Unasked);
            }
            // A short read has emptied the socket: the next bytes, and a hang-up that is not known yet, make a
            // new event.
            if start + count < buffer.len() && !closing && socket.tells_when_empty() {
                break;
            }
        }
        if let Some(copies) = &mut self.copies {
            copies.tidy();
        }
        Ok(())
    }
}

/// True if part of a reply has come. What is pushed (RESP3) is none.
#[inline]
fn has_begun(framer: &Framer, carry: &[u8]) -> bool {
    match carry.first() {
        Some(first) if framer.is_idle() => *first != b'>',
        _ => !framer.is_idle() && !framer.is_push(),
    }
}

fn is_not_now(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_request_need_not_be_the_first() {
        let mut connection = Connection::new(0, true);
        assert_eq!(connection.oldest(), None);
        let waiting = |since, command| Waiting { since, about: About::new(command, 1, 7) };
        // What goes beside the workload's requests does not count.
        connection.send(b"ASKING", waiting(1, ASIDE));
        assert_eq!(connection.oldest(), None);
        for since in [900, 30, 950] {
            connection.send(b"GET", waiting(since, 0));
        }
        assert_eq!((connection.oldest(), connection.under_way().count()), (Some(30), 3));
        assert_eq!(connection.close(), 3);
    }
}
