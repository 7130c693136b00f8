//! What other threads ask of a worker.

use std::{io, net::TcpStream};

use mio::{Poll, Token, Waker};
use parking_lot::Mutex;

/// The token by which a worker knows that it was woken.
pub(super) const WAKE: Token = Token(usize::MAX);

/// A request to a worker.
#[derive(Debug)]
pub(super) enum Mail {
    /// Serve this client.
    Socket(TcpStream),
    /// What the connection in this place waits for may be there, if it still is the one with this number.
    Look { place: usize, id: u64 },
    /// Close the connection in this place, if it still is the one with this number (`CLIENT KILL`).
    Kill { place: usize, id: u64 },
    /// Close all connections and end.
    Stop,
}

/// A worker's mailbox. Its length is bounded by the clients: each is sent once, is looked at again once for each time it
/// began to wait, and is killed as often as somebody has the command executed.
#[derive(Debug)]
pub(super) struct Mailbox {
    mail: Mutex<Vec<Mail>>,
    waker: Waker,
}

impl Mailbox {
    /// A mailbox that wakes whoever polls `poll`.
    ///
    /// # Errors
    /// When the system has no descriptor left.
    pub(super) fn new(poll: &Poll) -> io::Result<Self> {
        Ok(Self { mail: Mutex::default(), waker: Waker::new(poll.registry(), WAKE)? })
    }

    pub(super) fn send(&self, mail: Mail) {
        let first = {
            let mut waiting = self.mail.lock();
            waiting.push(mail);
            waiting.len() == 1
        };
        // Whoever finds mail there has been preceded by one who woke the worker.
        if first && let Err(error) = self.waker.wake() {
            tracing::error!(%error, "a worker thread cannot be woken");
        }
    }

    /// Takes everything out.
    pub(super) fn take(&self) -> Vec<Mail> {
        std::mem::take(&mut *self.mail.lock())
    }
}
