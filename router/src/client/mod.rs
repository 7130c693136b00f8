//! A client as its worker keeps it: the replies it is owed, in order, and the bytes on their way to it.
//!
//! The other half, what is read from the client, belongs to the client's task ([`connection`]).

pub(crate) mod connection;
mod intake;
mod local;

use std::{collections::VecDeque, rc::Rc};

use tokio::{net::tcp::OwnedWriteHalf, sync::Notify};

use crate::{gather::Gather, upstream::log::Pending};

/// Whom a reply is for: a ticket of a client, and which part of its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Asker {
    /// The client's place on its worker.
    pub(crate) client: u32,
    /// Tells clients apart that had the same place.
    pub(crate) generation: u32,
    /// The ticket's number.
    pub(crate) seq: u32,
    pub(crate) part: u16,
}

/// A place in a client's reply order.
#[derive(Debug)]
pub(crate) enum Ticket {
    /// One reply is awaited; it is passed on as it comes.
    Waiting,
    /// The same, but the client wants no reply.
    Muted,
    /// Several replies are awaited.
    Gather(Box<Gather>),
    /// The reply is there and waits for those before it.
    Ready(Vec<u8>),
}

/// Why a client's requests are not looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    /// They are.
    Nothing,
    /// Until it is owed nothing.
    Drained,
    /// Until it is owed less.
    Fewer,
    /// Until it has read more of its replies.
    Output,
    /// Until a node has answered more.
    Upstream,
    /// Until everything is answered and sent: the connection ends then.
    Finished,
}

/// A redirected request: later ones of the same client and slot queue up behind it, so that they cannot overtake it
/// on their way to the new owner.
#[derive(Debug)]
pub(crate) struct Redirect {
    pub(crate) seq: u32,
    pub(crate) part: u16,
    pub(crate) slot: u16,
    /// The request itself while it queues.
    pub(crate) parked: Option<Parked>,
}

/// A request that queues behind a redirected one.
#[derive(Debug)]
pub(crate) struct Parked {
    pub(crate) pending: Pending,
    pub(crate) request: Vec<u8>,
    /// The node it shall go to.
    pub(crate) host: Rc<str>,
    pub(crate) port: u16,
}

/// One client.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) generation: u32,
    pub(crate) tickets: VecDeque<Ticket>,
    /// Number of the first ticket.
    pub(crate) base: u32,
    /// Replies to be written; those before `written` are.
    pub(crate) out: Vec<u8>,
    pub(crate) written: usize,
    pub(crate) writer: Rc<OwnedWriteHalf>,
    /// In the list of those with something to write.
    pub(crate) dirty: bool,
    /// The socket takes nothing at the moment.
    pub(crate) blocked: bool,
    /// Nothing can be or need be sent any more.
    pub(crate) dead: bool,
    /// The view changed under requests that are not answered, or one of them is asked in several rounds: later ones
    /// wait for them, lest they overtake them at another node.
    pub(crate) barrier: bool,
    pub(crate) wait: Wait,
    /// Wakes the client's task from its wait.
    pub(crate) resume: Rc<Notify>,
    /// Which of a node's connections it uses: database and RESP version.
    pub(crate) lane: u8,
    pub(crate) redirects: Vec<Redirect>,
    /// When it asked last, for [`Crowd`](crate::pace::Crowd).
    pub(crate) asked: u32,
}

/// Buffers of replies that wait for earlier ones. Large ones are used again: the allocator would give their pages back to
/// the system and fetch them anew.
#[derive(Debug, Default)]
pub(crate) struct Spares(Vec<Vec<u8>>);

impl Spares {
    /// The allocator is as fast for smaller buffers.
    const SMALLEST: usize = 1 << 10;
    const LARGEST: usize = 64 << 10;
    const MOST: usize = 256;

    /// A copy of the reply.
    #[inline]
    pub(crate) fn copy(&mut self, reply: &[u8]) -> Vec<u8> {
        if reply.len() < Self::SMALLEST {
            return reply.to_vec();
        }
        let mut buffer = self.0.pop().unwrap_or_default();
        buffer.clear();
        buffer.extend_from_slice(reply);
        buffer
    }

    /// Takes back a buffer.
    #[inline]
    fn give(&mut self, buffer: Vec<u8>) {
        if (Self::SMALLEST..=Self::LARGEST).contains(&buffer.capacity()) && self.0.len() < Self::MOST {
            self.0.push(buffer);
        }
    }
}

/// Sent bytes are cut off the output when they are this many and half of all.
const TRIM_AT: usize = 256 << 10;

impl Client {
    pub(crate) fn new(generation: u32, writer: Rc<OwnedWriteHalf>) -> Self {
        Self {
            generation,
            tickets: VecDeque::new(),
            base: 0,
            out: Vec::new(),
            written: 0,
            writer,
            dirty: false,
            blocked: false,
            dead: false,
            barrier: false,
            wait: Wait::Nothing,
            resume: Rc::new(Notify::new()),
            lane: 0,
            redirects: Vec::new(),
            asked: u32::MAX,
        }
    }

    /// The number of the next ticket.
    #[inline]
    pub(crate) fn next_seq(&self) -> u32 {
        self.base.wrapping_add(self.tickets.len() as u32)
    }

    /// Where a ticket is in the queue.
    #[inline]
    pub(crate) fn index(&self, seq: u32) -> usize {
        seq.wrapping_sub(self.base) as usize
    }

    /// Bytes not sent.
    #[inline]
    pub(crate) fn owed(&self) -> usize {
        self.out.len() - self.written
    }

    /// Adds a reply that is known at once, behind those that are awaited.
    pub(crate) fn reply(&mut self, reply: &[u8]) {
        if self.tickets.is_empty() {
            self.out.extend_from_slice(reply);
        } else {
            self.tickets.push_back(Ticket::Ready(reply.to_vec()));
        }
    }

    /// Moves replies that nothing is before any more to the output.
    #[inline]
    pub(crate) fn advance(&mut self, spares: &mut Spares) {
        while let Some(Ticket::Ready(reply)) = self.tickets.front_mut() {
            self.out.extend_from_slice(reply);
            spares.give(std::mem::take(reply));
            self.tickets.pop_front();
            self.base = self.base.wrapping_add(1);
        }
    }

    /// Notes that `n` bytes were sent.
    pub(crate) fn wrote(&mut self, n: usize) {
        self.written += n;
        if self.written == self.out.len() {
            self.out.clear();
            self.written = 0;
        } else if self.written >= TRIM_AT && self.written * 2 >= self.out.len() {
            self.out.drain(..self.written);
            self.written = 0;
        }
    }

    /// Wakes the task if what it waits for has come.
    #[inline]
    pub(crate) fn check_wait(&mut self, max_outstanding: usize, output_soft: usize) {
        let over = match self.wait {
            Wait::Nothing | Wait::Upstream => false,
            Wait::Drained => self.tickets.is_empty(),
            Wait::Fewer => self.tickets.len() <= max_outstanding / 2,
            Wait::Output => self.owed() <= output_soft / 2,
            Wait::Finished => self.tickets.is_empty() && self.owed() == 0,
        };
        if over || (self.dead && self.wait != Wait::Nothing) {
            self.wait = Wait::Nothing;
            self.resume.notify_one();
        }
    }

    /// An earlier redirect is answered: takes it off the list and returns the next one of its slot that queued.
    pub(crate) fn settle(&mut self, seq: u32, part: u16) -> Option<Parked> {
        let here =
            self.redirects.iter().position(|r| r.seq == seq && r.part == part && r.parked.is_none())?;
        let slot = self.redirects.remove(here).slot;
        self.redirects.iter_mut().find(|r| r.slot == slot)?.parked.take()
    }
}
