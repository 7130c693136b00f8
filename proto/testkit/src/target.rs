//! What scripts are run against.

use std::{io, net::SocketAddr};

use crate::{Client, Frame};

/// Something that executes commands: the in-memory core, a server.
pub trait Target {
    /// What `@skip` and `@only` call it: `core`, `node`, `router`, `redis`.
    fn name(&self) -> &str;

    /// Begins a session: RESP2, database 0, no keys in any database.
    ///
    /// # Errors
    /// When the target is gone.
    fn begin(&mut self) -> io::Result<()>;

    /// Executes one command.
    ///
    /// # Errors
    /// When no reply comes or it is not RESP. An error reply is a reply.
    fn call(&mut self, args: &[Vec<u8>]) -> io::Result<Frame>;

    /// Waits for one more reply to the last command (a second confirmation of `SUBSCRIBE a b`, a push).
    ///
    /// # Errors
    /// As [`call`](Self::call).
    fn receive(&mut self) -> io::Result<Frame> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "this target gives one reply to each command"))
    }

    /// Chooses RESP2 or RESP3.
    ///
    /// # Errors
    /// When the target refuses.
    fn speak(&mut self, version: u8) -> io::Result<()> {
        accepted(self.call(&[b"HELLO".to_vec(), version.to_string().into_bytes()])?).map(drop)
    }

    /// Changes a setting and returns its former value.
    ///
    /// # Errors
    /// When the target refuses.
    fn configure(&mut self, name: &str, value: &str) -> io::Result<String> {
        let words = |words: &[&str]| words.iter().map(|w| w.as_bytes().to_vec()).collect::<Vec<_>>();
        let old = accepted(self.call(&words(&["CONFIG", "GET", name]))?)?;
        let old = match &old {
            Frame::Array(pair) => pair.get(1).and_then(Frame::text),
            Frame::Map(pairs) => pairs.first().and_then(|(_, v)| v.text()),
            _ => None,
        };
        let old = old.map(|text| String::from_utf8_lossy(text).into_owned());
        let old = old.ok_or_else(|| io::Error::other(format!("no setting '{name}'")))?;
        accepted(self.call(&words(&["CONFIG", "SET", name, value]))?)?;
        Ok(old)
    }
}

fn accepted(reply: Frame) -> io::Result<Frame> {
    if reply.is_error() { Err(io::Error::other(reply.to_string())) } else { Ok(reply) }
}

/// A server behind TCP. Each file of scripts gets a connection of its own.
#[derive(Debug)]
pub struct Tcp {
    name: String,
    address: SocketAddr,
    client: Client,
}

impl Tcp {
    /// Connects to a server; `name` is what scripts call it.
    ///
    /// # Errors
    /// When nobody listens there.
    pub fn new(name: &str, address: SocketAddr) -> io::Result<Self> {
        Ok(Self { name: name.to_owned(), address, client: Client::connect(address)? })
    }
}

impl Target for Tcp {
    fn name(&self) -> &str {
        &self.name
    }

    fn begin(&mut self) -> io::Result<()> {
        self.client = Client::connect(self.address)?;
        accepted(self.client.call(["FLUSHALL"])?).map(drop)
    }

    fn call(&mut self, args: &[Vec<u8>]) -> io::Result<Frame> {
        self.client.call(args)
    }

    fn receive(&mut self) -> io::Result<Frame> {
        self.client.receive()
    }
}
