//! The socket of a connection, plain or with TLS, and a blocking one for the first look at a server.
//!
//! A closed enum, so that the plain path is a branch and a system call and nothing else.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream as BlockingStream};
use std::sync::Arc;
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use rustix::net::{RecvFlags, SendFlags};
use rustls::{ClientConnection, StreamOwned};

use crate::tls::{Secured, Tls};

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

    fn session(&self) -> io::Result<Option<ClientConnection>> {
        self.tls.as_ref().map(|tls| tls.session(self.host())).transpose()
    }
}

/// A socket that never blocks.
#[derive(Debug)]
pub enum Transport {
    /// TCP.
    Plain(TcpStream),
    /// TCP and TLS.
    Secured(Box<Secured>),
}

impl Transport {
    /// Connects and waits until the connection stands; TLS is agreed on later.
    pub fn open(endpoint: &Endpoint) -> io::Result<Self> {
        let socket = BlockingStream::connect(endpoint.address)?;
        socket.set_nonblocking(true)?;
        Self::over(TcpStream::from_std(socket), endpoint)
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

/// A socket that blocks, with a limit to its patience.
#[derive(Debug)]
pub enum Blocking {
    /// TCP.
    Plain(BlockingStream),
    /// TCP and TLS.
    Secured(Box<StreamOwned<ClientConnection, BlockingStream>>),
}

impl Blocking {
    /// Connects.
    pub fn open(endpoint: &Endpoint, patience: Duration) -> io::Result<Self> {
        let socket = BlockingStream::connect_timeout(&endpoint.address, patience)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(patience))?;
        socket.set_write_timeout(Some(patience))?;
        Ok(match endpoint.session()? {
            None => Self::Plain(socket),
            Some(session) => Self::Secured(Box::new(StreamOwned::new(session, socket))),
        })
    }
}

impl Read for Blocking {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(buffer),
            Self::Secured(stream) => stream.read(buffer),
        }
    }
}

impl Write for Blocking {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.write(bytes),
            Self::Secured(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.flush(),
            Self::Secured(stream) => stream.flush(),
        }
    }
}
