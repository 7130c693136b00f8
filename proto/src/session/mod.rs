//! What a client's connection remembers, and the commands about it: `HELLO`, `AUTH`, `SELECT`, `RESET`, `CLIENT ...`.
//!
//! Node and router share this, so that both look like the same Redis server. Nothing here does I/O: time is a
//! parameter, and ending another client's connection goes through a hook that its owner registered.

mod bars;
mod client;
mod connection;
mod filter;
mod registry;

use std::sync::Arc;

use parking_lot::RwLock;
pub use registry::{Record, Registry};

use crate::{
    Error,
    error::Result,
    resp::{Args, Protocol, Reply},
};

/// Numbered databases of a server.
pub const DATABASES: u8 = 16;

/// The Redis version whose behaviour clients can expect (`INFO`, `HELLO`).
pub const REDIS_VERSION: &str = "7.2.4";

/// `CLIENT REPLY`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReplyMode {
    /// Every command is answered.
    #[default]
    On,
    /// Nothing is answered.
    Off,
    /// The next command is not answered; the one that said so is not either.
    SkipNext,
    /// The current command is not answered.
    Skip,
}

/// One connection's state, owned by its task.
#[derive(Debug)]
pub struct Session {
    /// What others may see of it.
    pub record: Arc<Record>,
    /// RESP version.
    pub protocol: Protocol,
    /// Selected database.
    pub db: u8,
    bars: bars::Bars,
    /// Whether replies are sent.
    pub reply_mode: ReplyMode,
    /// `CLIENT NO-TOUCH`.
    pub no_touch: bool,
    /// `READONLY`: reads on replicas are welcome.
    pub readonly: bool,
    /// Close when the replies so far are sent.
    pub closing: bool,
}

/// Who may use the server.
#[derive(Debug, Default)]
pub struct Access {
    password: RwLock<Option<Vec<u8>>>,
}

impl Access {
    /// With this password (`requirepass`); none lets everybody in.
    pub fn new(password: Option<Vec<u8>>) -> Self {
        let access = Self::default();
        access.set_password(password);
        access
    }

    /// Changes the password; connections that are in stay in.
    pub fn set_password(&self, password: Option<Vec<u8>>) {
        *self.password.write() = password.filter(|p| !p.is_empty());
    }

    /// The password, if there is one.
    pub fn password(&self) -> Option<Vec<u8>> {
        self.password.read().clone()
    }

    /// Whether a password is needed.
    pub fn required(&self) -> bool {
        self.password.read().is_some()
    }

    /// Checks a user's password in a time that does not depend on how much of it is right.
    fn check(&self, user: &[u8], given: &[u8]) -> Result {
        let password = self.password.read();
        let Some(password) = password.as_deref() else { return Ok(()) };
        let differs =
            password.iter().zip(given).fold(password.len() ^ given.len(), |d, (a, b)| d | usize::from(a ^ b));
        if user == b"default" && differs == 0 {
            Ok(())
        } else {
            Err(Error::text("WRONGPASS invalid username-password pair or user is disabled."))
        }
    }
}

/// How the server describes itself in `HELLO`.
#[derive(Debug, Clone, Copy)]
pub struct Identity {
    /// `standalone` or `cluster`.
    pub mode: &'static str,
}

/// All that a connection command may use.
#[derive(Debug)]
pub struct Cx<'a> {
    /// The connection that asks.
    pub session: &'a mut Session,
    /// All connections of the process.
    pub registry: &'a Registry,
    /// Who may use the server.
    pub access: &'a Access,
    /// How the server describes itself.
    pub identity: Identity,
    /// Ms since 1970.
    pub now: u64,
}

/// A handler of a connection command; arity was checked.
pub type Handler = fn(&mut Cx<'_>, Args<'_>, &mut Reply<'_>) -> Result;

/// The handlers, by the command table's names.
pub fn handlers() -> impl Iterator<Item = (&'static str, Handler)> {
    connection::HANDLERS.iter().chain(client::HANDLERS).copied()
}

impl Session {
    /// A connection that was just accepted.
    pub fn new(record: Arc<Record>, access: &Access) -> Self {
        Self {
            record,
            protocol: Protocol::Resp2,
            db: 0,
            bars: bars::Bars::new(!access.required()),
            reply_mode: ReplyMode::On,
            no_touch: false,
            readonly: false,
            closing: false,
        }
    }

    /// To be called after each command with the length the output had before it: whether its reply is to be
    /// sent. Moves `CLIENT REPLY SKIP` on.
    pub fn replies(&mut self) -> bool {
        match self.reply_mode {
            ReplyMode::On => true,
            ReplyMode::Off => false,
            ReplyMode::SkipNext => {
                self.reply_mode = ReplyMode::Skip;
                false
            }
            ReplyMode::Skip => {
                self.reply_mode = ReplyMode::On;
                false
            }
        }
    }
}
