//! A client as its worker keeps it: the replies it is owed, in order, and the bytes on their way to it.
//!
//! The other half, what is read from the client, belongs to the client's task ([`connection`]).

pub(crate) mod connection;
pub(crate) mod detour;
mod intake;
mod local;

use std::{collections::VecDeque, rc::Rc};

use tokio::{net::tcp::OwnedWriteHalf, sync::Notify};

use crate::gather::Gather;
use detour::Detour;

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

impl Asker {
    /// Whether the same client sent this request before the other one. Numbers wrap.
    pub(crate) fn is_of_earlier(self, other: Self) -> bool {
        (self.seq.wrapping_sub(other.seq) as i32) < 0
    }

    /// The same; parts of one request come by their numbers.
    pub(crate) fn is_before(self, other: Self) -> bool {
        self.is_of_earlier(other) || (self.seq == other.seq && self.part < other.part)
    }
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
    /// Until a detour ends.
    Detour,
    /// Until the ticket of this number is answered and all before it.
    Ticket(u32),
    /// Until everything is answered and sent: the connection ends then.
    Finished,
}

/// A slot of a request that went to one node together with keys of other slots. Such a request is refused as a whole when
/// one slot has moved, and only then taken apart: until it is answered, nothing of its client that conflicts with it may
/// follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wide {
    pub(crate) seq: u32,
    pub(crate) slot: u16,
    pub(crate) write: bool,
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
    /// Something is asked of all nodes: later requests wait for it, lest they overtake it at another node.
    pub(crate) barrier: bool,
    pub(crate) wait: Wait,
    /// Wakes the client's task from its wait.
    pub(crate) resume: Rc<Notify>,
    /// Which of a node's connections it uses: database and RESP version.
    pub(crate) lane: u8,
    /// Slots in trouble.
    pub(crate) detours: Vec<Detour>,
    /// Slots of requests that are or lately were under way, oldest first.
    wide: VecDeque<Wide>,
    /// How many of them are of writes.
    wide_writes: u32,
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
            detours: Vec::new(),
            wide: VecDeque::new(),
            wide_writes: 0,
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
            Wait::Nothing | Wait::Upstream | Wait::Detour => false,
            Wait::Ticket(seq) => self.is_answered(seq),
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

    /// Whether the ticket and all before it are answered. Numbers wrap.
    pub(crate) fn is_answered(&self, seq: u32) -> bool {
        (self.base.wrapping_sub(seq) as i32) > 0
    }

    /// Whether a new request has to be looked at for what is under way.
    #[inline]
    pub(crate) fn is_cautious(&self) -> bool {
        !self.detours.is_empty() || !self.wide.is_empty()
    }

    /// Notes the slots of a request that is about to be sent to nodes with several slots each.
    pub(crate) fn widen(&mut self, seq: u32, slots: &[u16], write: bool) {
        self.wide.extend(slots.iter().map(|slot| Wide { seq, slot: *slot, write }));
        if write {
            self.wide_writes += slots.len() as u32;
        }
    }

    /// Whether one of these is among the slots of a request that went to nodes with several slots each.
    pub(crate) fn spans(&self, seq: u32, slots: impl Fn(u16) -> bool) -> bool {
        self.wide.iter().any(|w| w.seq == seq && slots(w.slot))
    }

    /// What a new request on these slots has to wait for.
    pub(crate) fn obstacle(&mut self, write: bool, slots: impl Fn(u16) -> bool) -> Option<Wait> {
        if self.detours.iter().any(|d| slots(d.slot)) {
            return Some(Wait::Detour);
        }
        while let Some(oldest) = self.wide.front().copied().filter(|w| self.is_answered(w.seq)) {
            self.wide.pop_front();
            self.wide_writes -= u32::from(oldest.write);
        }
        if !write && self.wide_writes == 0 {
            return None;
        }
        let conflict = self.wide.iter().rev().find(|w| (write || w.write) && slots(w.slot))?;
        Some(Wait::Ticket(conflict.seq))
    }

    /// The detour of a slot.
    pub(crate) fn detour(&mut self, slot: u16) -> Option<&mut Detour> {
        self.detours.iter_mut().find(|d| d.slot == slot)
    }
}
