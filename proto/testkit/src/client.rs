//! A blocking client for tests: one connection, one request at a time or pipelined.

use std::{
    io::{self, BufReader, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use shoal_proto::resp::request::OwnedArgs;

use crate::Frame;

/// How long a reply may take before the test fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// One connection.
#[derive(Debug)]
pub struct Client {
    reader: BufReader<TcpStream>,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// When nobody listens there.
    pub fn connect(to: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&to, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { reader: BufReader::new(stream) })
    }

    /// Another handle of the connection, to send from another thread.
    ///
    /// # Errors
    /// When the system has no more descriptors.
    pub fn sender(&self) -> io::Result<TcpStream> {
        self.reader.get_ref().try_clone()
    }

    /// How long [`receive`](Self::receive) waits.
    ///
    /// # Errors
    /// When the socket is gone, or the time is zero.
    pub fn set_patience(&self, patience: Duration) -> io::Result<()> {
        self.reader.get_ref().set_read_timeout(Some(patience))
    }

    /// Sends a request.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn send<T: AsRef<[u8]>>(&mut self, args: impl IntoIterator<Item = T>) -> io::Result<()> {
        self.send_raw(OwnedArgs::new(args).args().raw())
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.reader.get_mut().write_all(bytes)
    }

    /// Waits for one reply or push.
    ///
    /// # Errors
    /// When none comes in time, the connection ends or sends something that is not RESP.
    pub fn receive(&mut self) -> io::Result<Frame> {
        Frame::read(&mut self.reader)
    }

    /// Sends a request and waits for its reply.
    ///
    /// # Errors
    /// As [`send`](Self::send) and [`receive`](Self::receive).
    pub fn call<T: AsRef<[u8]>>(&mut self, args: impl IntoIterator<Item = T>) -> io::Result<Frame> {
        self.send(args)?;
        self.receive()
    }

    /// Calls with a line as redis-cli would take it.
    ///
    /// # Errors
    /// Also when the quotes do not balance.
    pub fn line(&mut self, line: &str) -> io::Result<Frame> {
        let words = shoal_proto::resp::inline::split(line.as_bytes());
        self.call(words.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "unbalanced quotes"))?)
    }
}
