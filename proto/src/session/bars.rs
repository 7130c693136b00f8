//! What keeps a connection's commands from being executed: a password that was not given, a `MULTI` that was refused.

use super::Session;
use crate::{
    Error,
    command::{Entry, Flags},
    error::Result,
};

const PASSWORD: u8 = 1;
const TRANSACTION: u8 = 2;

/// For how long what follows a refused `MULTI` counts as sent behind it. Who waits for its answer and then gives the connection back to a
/// pool, without DISCARD, must not spoil it for whoever uses it next.
const FOLLOWS_MS: u64 = 1000;

/// One look at it tells whether there is anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bars {
    what: u8,
    /// When a `MULTI` was refused, ms since 1970.
    refused: u64,
}

impl Bars {
    pub(super) fn new(authenticated: bool) -> Self {
        Self { what: if authenticated { 0 } else { PASSWORD }, refused: 0 }
    }
}

impl Session {
    /// Whether nothing keeps this connection's commands from being executed.
    #[inline]
    pub fn is_free(&self) -> bool {
        self.bars.what == 0
    }

    /// Whether commands other than AUTH and HELLO are allowed.
    #[inline]
    pub fn authenticated(&self) -> bool {
        self.bars.what & PASSWORD == 0
    }

    pub(super) fn authenticate(&mut self) {
        self.bars.what &= !PASSWORD;
    }

    /// `MULTI` was refused: what the client sent behind it, believing that it is queued, must not be executed one by one.
    pub fn refuse_transaction(&mut self, now: u64) {
        self.bars.what |= TRANSACTION;
        self.bars.refused = now;
    }

    /// What is answered instead of executing a command, `Ok` being `+OK`. `None`: it is executed.
    #[cold]
    pub fn bar(&mut self, entry: &Entry, now: u64) -> Option<Result> {
        if !self.authenticated() {
            return (!entry.command.flags.contains(Flags::NO_AUTH)).then_some(Err(Error::NoAuth));
        }
        if now.abs_diff(self.bars.refused) > FOLLOWS_MS {
            self.bars.what &= !TRANSACTION;
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
        self.bars.what &= !TRANSACTION;
        Some(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        command::table,
        session::{Access, Registry},
    };

    #[test]
    fn a_refused_transaction_does_not_last_for_ever() {
        let entry = |name: &str| table().by_full_name(name.as_bytes()).unwrap();
        let mut session =
            Session::new(Registry::new().add(String::new(), String::new(), 0), &Access::default());
        session.refuse_transaction(5000);
        assert!(matches!(session.bar(entry("incr"), 5000), Some(Err(_))));
        assert!(matches!(session.bar(entry("discard"), 5900), Some(Ok(()))));
        assert!(session.is_free() && session.bar(entry("incr"), 5900).is_none());
        session.refuse_transaction(6000);
        assert!(matches!(session.bar(entry("incr"), 7000), Some(Err(_))));
        assert!(session.bar(entry("incr"), 7001).is_none() && session.is_free());
    }
}
