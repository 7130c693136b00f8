//! What was done to the keys and what was answered, with times; and what can be wrong with it.

use std::fmt;

/// The end of an operation whose answer never came: it may take effect at any later time, or never.
pub const NEVER: u64 = u64::MAX;

/// One operation on one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation {
    /// The key's number.
    pub key: u32,
    /// The connection that sent it.
    pub client: u32,
    /// When it was sent, in nanoseconds since the start.
    pub start: u64,
    /// When its answer had come, or [`NEVER`].
    pub end: u64,
    /// What it did.
    pub action: Action,
}

impl Operation {
    /// True if its answer came.
    pub fn is_answered(&self) -> bool {
        self.end != NEVER
    }

    /// True if it is no operation, but a reply that nobody asked for.
    pub fn is_unasked(&self) -> bool {
        self.action == Action::Unasked
    }

    /// True if its answer is wrong by itself, whatever else was done to the key; it tells nothing about the key then.
    pub fn is_stray(&self) -> bool {
        matches!(
            self.action,
            Action::ReadForeign(_)
                | Action::Mismatched
                | Action::Corrupt(_)
                | Action::Malformed
                | Action::Unasked
        )
    }
}

/// What an operation did and what was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// Wrote this value, which nobody else writes.
    Write(u64),
    /// Read this value.
    Read(u64),
    /// Read nothing.
    ReadNothing,
    /// Removed the key, and it is not known whether there was something to remove.
    Delete,
    /// Removed the key, and was told whether there was something to remove.
    Removed(bool),
    /// Added 1 to a counter, which became this; 0 if the answer never came.
    Increment(u64),
    /// Read this from a counter; a missing one counts as 0.
    ReadCounter(u64),
    /// Read a value that was never meant for this key: it belongs to the key with this number, or
    /// `u32::MAX` if it is no value of this run at all.
    ReadForeign(u32),
    /// Read what looks like this value of this key, but is cut, longer or changed.
    Corrupt(u64),
    /// Got bytes that are no reply at all.
    Malformed,
    /// Got an answer that no request of its kind can get, so it belongs to another one.
    Mismatched,
    /// Nothing was asked, and there was a reply. It stands for the time in which it may have come.
    Unasked,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = |time: u64| time as f64 / 1e3;
        write!(f, "client {:<4} {:>14.1} us .. ", self.client, micros(self.start))?;
        match self.end {
            NEVER => write!(f, "{:>17}  ", "no answer")?,
            end => write!(f, "{:>14.1} us  ", micros(end))?,
        }
        match self.action {
            Action::Write(value) => write!(f, "SET {value:x}"),
            Action::Read(value) => write!(f, "GET -> {value:x}"),
            Action::ReadNothing => write!(f, "GET -> nothing"),
            Action::Delete => write!(f, "DEL"),
            Action::Removed(found) => write!(f, "DEL -> {}", u8::from(found)),
            Action::Increment(0) => write!(f, "INCR"),
            Action::Increment(value) => write!(f, "INCR -> {value}"),
            Action::ReadCounter(value) => write!(f, "GET -> {value}"),
            Action::ReadForeign(u32::MAX) => write!(f, "GET -> a value nobody wrote"),
            Action::Corrupt(value) => write!(f, "GET -> not quite {value:x}"),
            Action::Malformed => write!(f, "an answer that is not RESP"),
            Action::Mismatched => write!(f, "another request's answer"),
            Action::Unasked => write!(f, "a reply that nobody asked for"),
            Action::ReadForeign(key) => write!(f, "GET -> a value of key {key}"),
        }
    }
}

/// A way to be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wrong {
    /// A value was read after a newer one had been seen or acknowledged.
    StaleRead,
    /// A key was found missing although a write was acknowledged and nothing could have removed it.
    LostWrite,
    /// A value was read after its key's removal was acknowledged.
    Resurrected,
    /// A request was answered with another key's value, or with another kind of reply than it can get.
    SwappedReply,
    /// A value was read, or removed, that nobody wrote.
    UnknownValue,
    /// A value was read that is not the one written: cut, longer or changed.
    CorruptValue,
    /// Something came that is no reply in the server's protocol.
    Malformed,
    /// There were more replies than requests on a connection. What was answered on it since it was last known to be in
    /// step is not judged.
    Unasked,
    /// Two requests of one connection cannot have been done in the order in which they were sent.
    Reordered,
    /// A value was read before it was written.
    ReadTooEarly,
    /// Two increments had the same result, so one of them was lost.
    LostIncrement,
    /// A counter went backwards.
    CounterBackwards,
    /// A counter was higher than all increments together.
    CounterTooHigh,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::StaleRead => "stale read",
            Self::LostWrite => "lost write",
            Self::Resurrected => "resurrected value",
            Self::SwappedReply => "swapped reply",
            Self::UnknownValue => "unknown value",
            Self::CorruptValue => "corrupt value",
            Self::Malformed => "answer that is not RESP",
            Self::Unasked => "reply that nobody asked for",
            Self::Reordered => "requests of a connection out of order",
            Self::ReadTooEarly => "value read before it was written",
            Self::LostIncrement => "lost increment",
            Self::CounterBackwards => "counter went backwards",
            Self::CounterTooHigh => "counter too high",
        })
    }
}

/// Something wrong in the history of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// What is wrong.
    pub wrong: Wrong,
    /// The operations that cannot both be right, the offending one last.
    pub operations: Vec<Operation>,
}
