//! What keeps a connection's commands from being executed: a password that was not given, a `MULTI` that was refused.

use super::Session;
use crate::{
    Error,
    command::{Entry, Flags},
    error::Result,
};

const PASSWORD: u8 = 1;
const TRANSACTION: u8 = 2;

/// One look at it tells whether there is anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bars(u8);

impl Bars {
    pub(super) fn new(authenticated: bool) -> Self {
        Self(if authenticated { 0 } else { PASSWORD })
    }
}

impl Session {
    /// Whether nothing keeps this connection's commands from being executed.
    #[inline]
    pub fn is_free(&self) -> bool {
        self.bars.0 == 0
    }

    /// Whether commands other than AUTH and HELLO are allowed.
    #[inline]
    pub fn authenticated(&self) -> bool {
        self.bars.0 & PASSWORD == 0
    }

    pub(super) fn authenticate(&mut self) {
        self.bars.0 &= !PASSWORD;
    }

    /// `MULTI` was refused: what the client sent behind it, believing that it is queued, must not be executed one by one.
    pub fn refuse_transaction(&mut self) {
        self.bars.0 |= TRANSACTION;
    }

    /// What is answered instead of executing a command, `Ok` being `+OK`. `None`: it is executed.
    #[cold]
    pub fn bar(&mut self, entry: &Entry) -> Option<Result> {
        if !self.authenticated() {
            return (!entry.command.flags.contains(Flags::NO_AUTH)).then_some(Err(Error::NoAuth));
        }
        if self.is_free() {
            return None;
        }
        let answer = match entry.name.as_str() {
            "reset" | "quit" => return None,
            "exec" => Err(Error::text("EXECABORT Transaction discarded because of previous errors.")),
            "discard" => Ok(()),
            _ => {
                return Some(Err(Error::text(
                    "ERR not executed: MULTI is not supported by this version of Shoal yet",
                )));
            }
        };
        self.bars.0 &= !TRANSACTION;
        Some(answer)
    }
}
