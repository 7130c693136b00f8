//! Values as bytes of a stream: whole, or in pieces. A piece ends behind an element, or within one that is long.
//!
//! A string is its bytes. A set of integers is the run of them. Of all other collections each element is its length (u32)
//! and its bytes, one behind the other; a hash has field, value, field, value; a sorted set has the score's bits (u64)
//! before each member, in order. The form says how the value is kept, so that the copy is kept in the same way whatever
//! the settings of the node it comes to. The way back is [`builder`](super::builder)'s.

use std::ops::Range;

use crate::{
    store::prefetch_at,
    value::{
        Value,
        packed::{Elem, Packed},
    },
};

/// How a value is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs, reason = "the data types and their forms")]
pub enum Form {
    StrWhole,
    StrText,
    StrRaw,
    HashPacked,
    HashTable,
    Ints2,
    Ints4,
    Ints8,
    SetPacked,
    SetTable,
    ZsetPacked,
    ZsetLarge,
    ListPacked,
    ListLong,
}

impl Form {
    pub(super) const ALL: [Self; 14] = [
        Self::StrWhole,
        Self::StrText,
        Self::StrRaw,
        Self::HashPacked,
        Self::HashTable,
        Self::Ints2,
        Self::Ints4,
        Self::Ints8,
        Self::SetPacked,
        Self::SetTable,
        Self::ZsetPacked,
        Self::ZsetLarge,
        Self::ListPacked,
        Self::ListLong,
    ];

    pub(super) fn of(byte: u8) -> Option<Self> {
        Self::ALL.get(usize::from(byte)).copied()
    }

    /// The form of a value.
    pub(crate) fn of_value(value: &Value) -> Self {
        match value {
            Value::Str(string) if string.is_raw() => Self::StrRaw,
            Value::Str(string) if string.is_text() => Self::StrText,
            Value::Str(_) => Self::StrWhole,
            Value::Hash(hash) if hash.as_packed().is_some() => Self::HashPacked,
            Value::Hash(_) => Self::HashTable,
            Value::Set(set) => match set.as_ints() {
                Some((2, _)) => Self::Ints2,
                Some((4, _)) => Self::Ints4,
                Some(_) => Self::Ints8,
                None if set.is_table() => Self::SetTable,
                None => Self::SetPacked,
            },
            Value::Zset(zset) if zset.as_packed().is_some() => Self::ZsetPacked,
            Value::Zset(_) => Self::ZsetLarge,
            Value::List(list) if list.as_packed().is_some() => Self::ListPacked,
            Value::List(_) => Self::ListLong,
        }
    }

    /// Bytes of an integer in a run of them.
    pub(super) fn width(self) -> usize {
        match self {
            Self::Ints2 => 2,
            Self::Ints4 => 4,
            _ => 8,
        }
    }
}

/// Elements up to this length stand in one piece.
pub(super) const WHOLE: usize = 64 << 10;

/// Where in a value a piece begins. Valid as long as the value is not changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// Bytes of strings and runs of integers, elements of all others.
    at: usize,
    /// Bytes of the element that were written before.
    within: usize,
}

/// An element as it is written: its bytes one part after the other.
trait Parts {
    fn parts<R>(&self, f: impl FnOnce(&[&[u8]]) -> R) -> R;
}

fn length(bytes: &[u8]) -> [u8; 4] {
    (bytes.len() as u32).to_le_bytes()
}

impl Parts for Elem<'_> {
    #[inline]
    fn parts<R>(&self, f: impl FnOnce(&[&[u8]]) -> R) -> R {
        let mut buffer = itoa::Buffer::new();
        let text = self.text(&mut buffer);
        f(&[&length(text), text])
    }
}

/// Field and value.
impl Parts for (Elem<'_>, Elem<'_>) {
    #[inline]
    fn parts<R>(&self, f: impl FnOnce(&[&[u8]]) -> R) -> R {
        let mut buffers = [itoa::Buffer::new(), itoa::Buffer::new()];
        let [one, other] = &mut buffers;
        let (field, value) = (self.0.text(one), self.1.text(other));
        f(&[&length(field), field, &length(value), value])
    }
}

/// Member and score.
impl Parts for (Elem<'_>, f64) {
    #[inline]
    fn parts<R>(&self, f: impl FnOnce(&[&[u8]]) -> R) -> R {
        let mut buffer = itoa::Buffer::new();
        let text = self.0.text(&mut buffer);
        f(&[&self.1.to_bits().to_le_bytes(), &length(text), text])
    }
}

/// Appends elements of `value` from `from` on, until `out` is about `most` bytes long or the value ends. Where the next piece
/// begins; `None` at the end.
pub(crate) fn write(value: &Value, from: Place, most: usize, out: &mut Vec<u8>) -> Option<Place> {
    match value {
        Value::Str(string) => write_run(string.bytes(), 1, from, most, out),
        Value::Set(set) => match set.as_ints() {
            Some((width, bytes)) => write_run(bytes, usize::from(width), from, most, out),
            None => match set.as_packed() {
                Some(run) => write_each(packed_from(run, from.at), (from, run.len()), most, out),
                None => {
                    let members = (from.at..set.len()).map(|i| set.at(i));
                    write_each(members, (from, set.len()), most, out)
                }
            },
        },
        Value::Hash(hash) => match hash.as_packed() {
            Some(run) => {
                // Two words an element: no piece ends behind a field.
                let pairs = Pairs(packed_from(run, 2 * from.at));
                write_each(pairs, (from, hash.len()), most, out)
            }
            None => {
                let fields = (from.at..hash.len()).map(|i| hash.at(i));
                write_each(fields, (from, hash.len()), most, out)
            }
        },
        Value::Zset(zset) => {
            let members = zset.iter_ahead(from.at, prefetch_at);
            write_each(members, (from, zset.len()), most, out)
        }
        Value::List(list) => write_each(list.iter_from(from.at, false), (from, list.len()), most, out),
    }
}

fn packed_from(run: &Packed, element: usize) -> crate::value::packed::Iter<'_> {
    run.slice(run.position(element as i64).unwrap_or(run.end()), run.end())
}

/// Two by two.
struct Pairs<I>(I);

impl<I: Iterator> Iterator for Pairs<I> {
    type Item = (I::Item, I::Item);
    fn next(&mut self) -> Option<Self::Item> {
        Some((self.0.next()?, self.0.next()?))
    }
}

/// Writes a part of plain bytes, cut between units of `width`.
fn write_run(bytes: &[u8], width: usize, from: Place, most: usize, out: &mut Vec<u8>) -> Option<Place> {
    let room = most.saturating_sub(out.len()).max(width);
    let end = bytes.len().min(from.at.saturating_add(room - room % width));
    out.extend_from_slice(&bytes[from.at..end]);
    (end < bytes.len()).then_some(Place { at: end, within: 0 })
}

/// Writes elements, at least one or a part of one.
fn write_each(
    elements: impl Iterator<Item = impl Parts>,
    (Place { mut at, mut within }, len): (Place, usize),
    most: usize,
    out: &mut Vec<u8>,
) -> Option<Place> {
    for element in elements {
        let room = most.saturating_sub(out.len()).max(WHOLE);
        let cut = element.parts(|parts| {
            let size: usize = parts.iter().map(|part| part.len()).sum();
            if within == 0 && size <= room {
                parts.iter().for_each(|part| out.extend_from_slice(part));
                return None;
            }
            let end = size.min(within.saturating_add(room));
            write_range(parts, within..end, out);
            (end < size).then_some(end)
        });
        if let Some(within) = cut {
            return Some(Place { at, within });
        }
        (at, within) = (at + 1, 0);
        if out.len() >= most {
            break;
        }
    }
    (at < len).then_some(Place { at, within: 0 })
}

/// Writes a range of what the parts are together.
fn write_range(parts: &[&[u8]], range: Range<usize>, out: &mut Vec<u8>) {
    let mut begin = 0;
    for part in parts {
        let (from, to) = (range.start.max(begin) - begin, range.end.max(begin) - begin);
        out.extend_from_slice(&part[from.min(part.len())..to.min(part.len())]);
        begin += part.len();
    }
}
