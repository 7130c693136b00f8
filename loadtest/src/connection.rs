//! One connection to the server: what is still to be written, what was read in part, who waits for an answer.
//!
//! Sockets never block. Requests are appended to `out` by the request source and written with as few system
//! calls as the socket allows; answers are framed in a buffer that all connections of a thread share, so ten
//! thousand of them need little memory. When to send and what an answer means is the generator's business.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::SocketAddr;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use crate::reply::{Framer, Reply};
use crate::requests::About;

/// A request whose answer has not come.
#[derive(Clone, Copy, Debug)]
pub struct Waiting {
    /// When it was due (open loop) or sent (closed loop), in nanoseconds since the start of the run.
    pub since: u64,
    /// What it was about.
    pub about: About,
}

/// Why a connection is of no use any more.
#[derive(Debug)]
pub enum Broken {
    /// The server closed it or the network failed.
    Io(io::Error),
    /// The server sent something that is not RESP.
    Protocol(String),
    /// The server refused the opening commands.
    Opening(String),
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// A connection and its buffers.
#[derive(Debug)]
pub struct Connection {
    address: SocketAddr,
    socket: Option<TcpStream>,
    /// Requests encoded and not written yet, from `written` on.
    pub out: Vec<u8>,
    written: usize,
    /// The start of a line that was cut by the end of a read.
    carry: Vec<u8>,
    framer: Framer,
    /// Requests without an answer, oldest first.
    pub waiting: VecDeque<Waiting>,
    /// Answers to the opening commands still to come.
    opening: usize,
}

/// A line cut by the end of a read is at most this long; see `Framer`.
const MAX_CARRY: usize = 65 << 10;

/// The size of the read buffer that connections share; a carried line always leaves most of it free.
pub const READ_BUFFER: usize = 256 << 10;

impl Connection {
    /// Connects and waits until the connection stands, so that ten thousand do not overflow the server's
    /// queue of new connections.
    pub fn open(address: SocketAddr) -> io::Result<Self> {
        let socket = std::net::TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
        Ok(Self {
            address,
            socket: Some(TcpStream::from_std(socket)),
            out: Vec::new(),
            written: 0,
            carry: Vec::new(),
            framer: Framer::default(),
            waiting: VecDeque::new(),
            opening: 0,
        })
    }

    /// Puts the opening commands, encoded, before everything else.
    pub fn begin(&mut self, opening: &[Vec<u8>]) {
        self.opening = opening.len();
        for command in opening {
            self.out.extend_from_slice(command);
        }
    }

    /// Asks to be told about this socket under `token`.
    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        match &mut self.socket {
            Some(socket) => registry.register(socket, token, Interest::READABLE | Interest::WRITABLE),
            None => Ok(()),
        }
    }

    /// Starts to connect again without waiting; whether it worked shows when the socket becomes writable.
    pub fn reopen(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let socket = TcpStream::connect(self.address)?;
        socket.set_nodelay(true)?;
        self.socket = Some(socket);
        self.register(registry, token)
    }

    /// Drops the socket and what was under way; returns how many requests lost their answer.
    pub fn close(&mut self) -> u64 {
        self.socket = None;
        self.out.clear();
        self.written = 0;
        self.carry.clear();
        self.framer = Framer::default();
        self.opening = 0;
        let lost = self.waiting.len() as u64;
        self.waiting.clear();
        lost
    }

    /// True while there is a socket, connected or about to be.
    pub fn is_open(&self) -> bool {
        self.socket.is_some()
    }

    /// Writes what the socket takes; the rest waits until it is writable. Returns the bytes written.
    #[inline]
    pub fn flush(&mut self) -> Result<u64, Broken> {
        let Some(socket) = &mut self.socket else { return Ok(0) };
        let before = self.written;
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

    /// Reads what has come and calls `on_answer` with each answered request, its reply and the time of the
    /// read. `closing` says that the other side has hung up, so the end has to be read too. Returns the bytes read.
    #[inline]
    pub fn receive(
        &mut self,
        buffer: &mut [u8],
        closing: bool,
        clock: impl Fn() -> u64,
        mut on_answer: impl FnMut(Waiting, Reply<'_>, u64),
    ) -> Result<u64, Broken> {
        let Some(socket) = &mut self.socket else { return Ok(0) };
        let mut total = 0;
        loop {
            let start = self.carry.len();
            buffer[..start].copy_from_slice(&self.carry);
            let count = match socket.read(&mut buffer[start..]) {
                Ok(0) => return Err(Broken::Io(io::ErrorKind::ConnectionReset.into())),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if is_not_now(&error) => return Ok(total),
                Err(error) => return Err(error.into()),
            };
            total += count as u64;
            let now = clock();
            let mut refused = None;
            let (waiting, opening) = (&mut self.waiting, &mut self.opening);
            let used = self.framer.feed(&buffer[..start + count], |reply| {
                if *opening > 0 {
                    *opening -= 1;
                    refused =
                        refused.take().or(reply.error.map(|text| String::from_utf8_lossy(text).into_owned()));
                } else if let Some(request) = waiting.pop_front() {
                    on_answer(request, reply, now);
                } else {
                    let text = reply.error.map_or("a reply nobody asked for".into(), String::from_utf8_lossy);
                    refused.get_or_insert_with(|| text.into_owned());
                }
            });
            let used = used.map_err(|wrong| Broken::Protocol(wrong.0))?;
            if let Some(text) = refused {
                return Err(Broken::Opening(text));
            }
            self.carry.clear();
            self.carry.extend_from_slice(&buffer[used..start + count]);
            debug_assert!(self.carry.len() <= MAX_CARRY);
            // A short read has emptied the socket: the next bytes, and a hang-up that is not known yet, make a
            // new event.
            if start + count < buffer.len() && !closing {
                return Ok(total);
            }
        }
    }
}

fn is_not_now(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected)
}
