//! What a reply must look like.

use std::{fmt, ops::RangeInclusive};

use crate::{Frame, frame::quoted};

/// Brackets of aggregates: which kind of frame must hold the elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `*`
    Array,
    /// `%`
    Map,
    /// `~`
    Set,
    /// `>`
    Push,
}

impl Kind {
    pub(super) fn sign(self) -> char {
        match self {
            Self::Array => '*',
            Self::Map => '%',
            Self::Set => '~',
            Self::Push => '>',
        }
    }
}

/// A pattern for one reply.
#[derive(Debug, Clone, PartialEq)]
pub enum Expect {
    /// This frame, doubles compared as numbers.
    Exactly(Frame),
    /// Any null.
    Nil,
    /// An error that begins so.
    ErrorPrefix(Vec<u8>),
    /// Anything.
    Any,
    /// An integer in a range.
    IntIn(RangeInclusive<i64>),
    /// Any bulk string.
    AnyBulk,
    /// Any array.
    AnyArray,
    /// An aggregate with these elements; a map's are key, value, key, value.
    Elements {
        /// Its kind.
        kind: Kind,
        /// Whether any order will do. Elements are paired first come first served, so wildcards come last.
        unordered: bool,
        /// Its elements.
        elements: Vec<Expect>,
    },
}

impl Expect {
    /// Whether `frame` is as expected.
    pub fn matches(&self, frame: &Frame) -> bool {
        match (self, frame) {
            (Self::Any, _) => true,
            (Self::Nil, Frame::NullBulk | Frame::NullArray | Frame::Null) => true,
            (Self::AnyBulk, Frame::Bulk(_)) => true,
            (Self::AnyArray, Frame::Array(_)) => true,
            (Self::IntIn(range), Frame::Int(n)) => range.contains(n),
            (Self::ErrorPrefix(prefix), Frame::Error(text)) => text.starts_with(prefix),
            (Self::Exactly(Frame::Double(a)), Frame::Double(b)) => same_double(a, b),
            (Self::Exactly(wanted), got) => wanted == got,
            (Self::Elements { kind, unordered, elements }, got) => match (kind, got) {
                (Kind::Array, Frame::Array(got))
                | (Kind::Set, Frame::Set(got))
                | (Kind::Push, Frame::Push(got)) => all_match(elements, got, *unordered),
                (Kind::Map, Frame::Map(got)) => pairs_match(elements, got, *unordered),
                _ => false,
            },
            _ => false,
        }
    }
}

fn same_double(a: &[u8], b: &[u8]) -> bool {
    let parse = |text| std::str::from_utf8(text).ok().and_then(|t: &str| t.parse::<f64>().ok());
    a == b || matches!((parse(a), parse(b)), (Some(a), Some(b)) if a == b)
}

fn all_match(wanted: &[Expect], got: &[Frame], unordered: bool) -> bool {
    if wanted.len() != got.len() {
        return false;
    }
    if !unordered {
        return wanted.iter().zip(got).all(|(w, g)| w.matches(g));
    }
    let mut left: Vec<&Frame> = got.iter().collect();
    wanted.iter().all(|w| left.iter().position(|g| w.matches(g)).map(|i| left.swap_remove(i)).is_some())
}

fn pairs_match(wanted: &[Expect], got: &[(Frame, Frame)], unordered: bool) -> bool {
    let wanted: Vec<&[Expect]> = wanted.chunks(2).collect();
    if wanted.len() != got.len() {
        return false;
    }
    let same = |w: &[Expect], g: &(Frame, Frame)| w.len() == 2 && w[0].matches(&g.0) && w[1].matches(&g.1);
    if !unordered {
        return wanted.iter().zip(got).all(|(w, g)| same(w, g));
    }
    let mut left: Vec<&(Frame, Frame)> = got.iter().collect();
    wanted.iter().all(|w| left.iter().position(|g| same(w, g)).map(|i| left.swap_remove(i)).is_some())
}

/// In the notation of the scripts.
impl fmt::Display for Expect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.print(f, 0)
    }
}

impl Expect {
    fn print(&self, f: &mut fmt::Formatter<'_>, level: usize) -> fmt::Result {
        if level > 0 {
            write!(f, "\n{:1$}", "", 2 * level)?;
        }
        match self {
            Self::Exactly(Frame::Bulk(text)) => f.write_str(&quoted(text)),
            Self::Exactly(frame) => write!(f, "{frame}"),
            Self::Nil => f.write_str("nil"),
            Self::ErrorPrefix(prefix) => write!(f, "-{}...", String::from_utf8_lossy(prefix)),
            Self::Any => f.write_str("?"),
            Self::IntIn(range) if *range == (i64::MIN..=i64::MAX) => f.write_str(":?"),
            Self::IntIn(range) => write!(f, ":{}..{}", range.start(), range.end()),
            Self::AnyBulk => f.write_str("\"?\""),
            Self::AnyArray => f.write_str("*?"),
            Self::Elements { kind, unordered, elements } => {
                let n = if *kind == Kind::Map { elements.len() / 2 } else { elements.len() };
                write!(f, "{}{n}{}", kind.sign(), if *unordered { " unordered" } else { "" })?;
                elements.iter().try_for_each(|e| e.print(f, level + 1))
            }
        }
    }
}
