//! The socket of a connection, plain or with TLS, and a blocking one for the first look at a server.
//!
//! A closed enum, so that the plain path is a branch and a system call and nothing else.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream as BlockingStream, ToSocketAddrs};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{RecvFlags, SendFlags};
use rustix::time::Timespec;
use rustls::{ClientConnection, StreamOwned};

use crate::patience::Patience;
use crate::tls::{Secured, Tls, in_words};

/// A server to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// As the user or the cluster named it.
    pub name: Arc<str>,
    /// Where it is.
    pub address: SocketAddr,
    /// How connections to it are secured, if they are.
    pub tls: Option<Tls>,
}

impl Endpoint {
    /// The host part of the name.
    pub fn host(&self) -> &str {
        match self.name.rsplit_once(':') {
            Some((host, port)) if port.parse::<u16>().is_ok() => host,
            _ => &self.name,
        }
    }

    /// The server that this one calls `name`, `host:port`, and where it is: without a host it is where this one is.
    /// Secured as this one is. `None` if it has no address.
    pub fn called(&self, name: &str) -> Option<Self> {
        let (host, port) = name.rsplit_once(':')?;
        let port = port.parse::<u16>().ok()?;
        // A node that was not told its address is where it was asked; its name may be one that only we know.
        let (host, address) = if host.is_empty() {
            (self.host(), SocketAddr::new(self.address.ip(), port))
        } else {
            let host = host.trim_start_matches('[').trim_end_matches(']');
            (host, (host, port).to_socket_addrs().ok()?.next()?)
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let name = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        Some(Self { name: name.into(), address, tls: self.tls.clone() })
    }

    fn session(&self) -> io::Result<Option<ClientConnection>> {
        self.tls.as_ref().map(|tls| tls.session(self.host())).transpose()
    }
}

impl From<SocketAddr> for Endpoint {
    /// A server without a name and without TLS.
    fn from(address: SocketAddr) -> Self {
        Self { name: address.to_string().into(), address, tls: None }
    }
}

/// How often a wait for a connection looks whether it shall end.
const LOOK_UP: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// A socket that never blocks.
#[derive(Debug)]
pub enum Transport {
    /// TCP.
    Plain(TcpStream),
    /// TCP and TLS.
    Secured(Box<Secured>),
}

impl Transport {
    /// Connects and waits until the connection stands, or `stop` is set; TLS is agreed on later.
    pub fn open(endpoint: &Endpoint, stop: &AtomicBool) -> io::Result<Self> {
        let socket = TcpStream::connect(endpoint.address)?;
        while !is_writable(&socket)? {
            if stop.load(Ordering::Relaxed) {
                return Err(io::ErrorKind::Interrupted.into());
            }
        }
        socket.take_error()?.map_or(Ok(()), Err)?;
        Self::over(socket, endpoint)
    }

    /// Starts to connect; whether it worked shows when the socket becomes writable.
    pub fn start(endpoint: &Endpoint) -> io::Result<Self> {
        Self::over(TcpStream::connect(endpoint.address)?, endpoint)
    }

    fn over(socket: TcpStream, endpoint: &Endpoint) -> io::Result<Self> {
        socket.set_nodelay(true)?;
        Ok(match endpoint.session()? {
            None => Self::Plain(socket),
            Some(session) => Self::Secured(Box::new(Secured::new(socket, session))),
        })
    }

    /// Asks to be told about this socket under `token`.
    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let socket = match self {
            Self::Plain(socket) => socket,
            Self::Secured(secured) => &mut secured.socket,
        };
        registry.register(socket, token, Interest::READABLE | Interest::WRITABLE)
    }

    /// True while TLS keys are not agreed on.
    pub fn is_handshaking(&self) -> bool {
        matches!(self, Self::Secured(secured) if secured.is_handshaking())
    }

    /// True while encrypted bytes wait for the socket.
    #[inline]
    pub fn wants_write(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Secured(secured) => secured.wants_write(),
        }
    }

    /// True if a read that does not fill its buffer has emptied the socket, so that more makes a new event.
    #[inline]
    pub fn tells_when_empty(&self) -> bool {
        matches!(self, Self::Plain(_))
    }

    /// Writes what earlier writes have left.
    #[inline]
    pub fn push(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Secured(secured) => secured.push(),
        }
    }

    /// Writes what the socket takes. Plain sockets go to the kernel without the C library, whose system calls cost
    /// more in a process with several threads, since each may be where a thread is cancelled.
    #[inline]
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => Ok(rustix::net::send(&*socket, bytes, SendFlags::NOSIGNAL)?),
            Self::Secured(secured) => secured.write(bytes),
        }
    }

    /// Reads what has come.
    #[inline]
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => Ok(rustix::net::recv(&*socket, buffer, RecvFlags::empty())?.1),
            Self::Secured(secured) => secured.read(buffer),
        }
    }
}

/// Waits for a moment; true once a connection stands or has failed.
fn is_writable(socket: &impl AsFd) -> io::Result<bool> {
    match poll(&mut [PollFd::new(socket, PollFlags::OUT)], Some(&LOOK_UP)) {
        Ok(count) => Ok(count > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// How long one attempt to connect may last; after so long the kernel would try once more as well.
const ATTEMPT: Duration = Duration::from_secs(1);

/// A socket that blocks, with a limit to its patience.
#[derive(Debug)]
pub struct Blocking {
    stream: Stream,
    patience: Patience,
}

#[derive(Debug)]
enum Stream {
    /// TCP.
    Plain(BlockingStream),
    /// TCP and TLS.
    Secured(Box<StreamOwned<ClientConnection, BlockingStream>>),
}

impl Blocking {
    /// Connects, and agrees on TLS if it is wanted.
    pub fn open(endpoint: &Endpoint, patience: &Patience) -> io::Result<Self> {
        let began = Instant::now();
        let mut socket = patience.wait(|| {
            let left = patience.now().saturating_sub(began.elapsed());
            BlockingStream::connect_timeout(&endpoint.address, left.clamp(Duration::from_millis(1), ATTEMPT))
        })?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(patience.slice()))?;
        socket.set_write_timeout(Some(patience.slice()))?;
        let stream = match endpoint.session()? {
            None => Stream::Plain(socket),
            Some(mut session) => {
                while session.is_handshaking() {
                    patience.wait(|| session.complete_io(&mut socket).map_err(no_reply))?;
                }
                Stream::Secured(Box::new(StreamOwned::new(session, socket)))
            }
        };
        Ok(Self { stream, patience: patience.clone() })
    }
}

impl Blocking {
    /// True if something has come that was not read yet. Does not wait; that the connection has ended is nothing.
    pub fn has_more(&mut self) -> bool {
        match &mut self.stream {
            Stream::Plain(socket) => {
                let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
                rustix::net::recv(&*socket, &mut [0; 1][..], flags).is_ok_and(|(_, count)| count > 0)
            }
            Stream::Secured(secured) => {
                let StreamOwned { conn, sock } = &mut **secured;
                if sock.set_nonblocking(true).is_err() {
                    return false;
                }
                // What comes may be TLS's own; it ends with the connection or with what has not come yet.
                while conn.read_tls(sock).is_ok_and(|count| count > 0)
                    && conn.process_new_packets().is_ok_and(|state| state.plaintext_bytes_to_read() == 0)
                {
                }
                let has_more =
                    conn.process_new_packets().is_ok_and(|state| state.plaintext_bytes_to_read() > 0);
                // If this failed, the next read would tell.
                let _ = sock.set_nonblocking(false);
                has_more
            }
        }
    }
}

/// What is wrong with TLS is no reply that is wrong; it is told in words.
fn no_reply(error: io::Error) -> io::Error {
    let wrong = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()).map(in_words);
    wrong.map_or(error, io::Error::other)
}

impl Read for Blocking {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Self { stream, patience } = self;
        patience.wait(|| match stream {
            Stream::Plain(socket) => socket.read(buffer),
            Stream::Secured(session) => session.read(buffer).map_err(no_reply),
        })
    }
}

impl Write for Blocking {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Self { stream, patience } = self;
        patience.wait(|| match stream {
            Stream::Plain(socket) => socket.write(bytes),
            Stream::Secured(session) => session.write(bytes).map_err(no_reply),
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        let Self { stream, patience } = self;
        patience.wait(|| match stream {
            Stream::Plain(socket) => socket.flush(),
            Stream::Secured(session) => session.flush().map_err(no_reply),
        })
    }
}
