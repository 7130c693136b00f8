//! Values as bytes of a stream: whole, or in pieces of whole elements, and back.
//!
//! A string is its bytes. A set of integers is the run of them. Of all other collections each element is its length (u32)
//! and its bytes, one behind the other; a hash has field, value, field, value; a sorted set has the score's bits (u64)
//! before each member, in order. The form says how the value is kept, so that the copy is kept in the same way whatever
//! the settings of the node it comes to.

use smallvec::SmallVec;

use super::record::Malformed;
use crate::{
    store::prefetch_at,
    value::{
        Encodings, Hash, List, Set, Str, Value, Zset,
        list::{End, Fill},
        packed::{Elem, Packed},
        table::GROUP,
        zset,
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
    const ALL: [Self; 14] = [
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
    fn width(self) -> usize {
        match self {
            Self::Ints2 => 2,
            Self::Ints4 => 4,
            _ => 8,
        }
    }
}

fn write_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(bytes);
}

#[inline]
fn write_elem(elem: Elem<'_>, out: &mut Vec<u8>) {
    write_bytes(elem.text(&mut itoa::Buffer::new()), out);
}

/// Appends elements of `value` from place `from` on, until `out` is `most` bytes long or the value ends. The place at
/// which the next piece begins; `None` at the end. A place counts bytes of strings and runs of integers, and elements of
/// all others; it stays valid as long as the value is not changed.
pub(crate) fn write(value: &Value, from: usize, most: usize, out: &mut Vec<u8>) -> Option<usize> {
    match value {
        Value::Str(string) => write_run(string.bytes(), 1, from, most, out),
        Value::Set(set) => match set.as_ints() {
            Some((width, bytes)) => write_run(bytes, usize::from(width), from, most, out),
            None => match set.as_packed() {
                Some(run) => write_each(packed_from(run, from), (from, run.len()), most, out, write_elem),
                None => {
                    let members = (from..set.len()).map(|i| set.at(i));
                    write_each(members, (from, set.len()), most, out, write_elem)
                }
            },
        },
        Value::Hash(hash) => match hash.as_packed() {
            Some(run) => {
                // Two words an element: no piece ends behind a field.
                let pairs = Pairs(packed_from(run, 2 * from));
                write_each(pairs, (from, hash.len()), most, out, write_pair)
            }
            None => {
                let fields = (from..hash.len()).map(|i| hash.at(i));
                write_each(fields, (from, hash.len()), most, out, write_pair)
            }
        },
        Value::Zset(zset) => {
            let members = zset.iter(from..zset.len(), false);
            write_each(members, (from, zset.len()), most, out, |(member, score), out| {
                out.extend_from_slice(&score.to_bits().to_le_bytes());
                write_elem(member, out);
            })
        }
        Value::List(list) => {
            write_each(list.iter_from(from, false), (from, list.len()), most, out, write_elem)
        }
    }
}

fn write_pair((field, value): (Elem<'_>, Elem<'_>), out: &mut Vec<u8>) {
    write_elem(field, out);
    write_elem(value, out);
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
fn write_run(bytes: &[u8], width: usize, from: usize, most: usize, out: &mut Vec<u8>) -> Option<usize> {
    let room = most.saturating_sub(out.len()).max(width);
    let end = bytes.len().min(from + room - room % width);
    out.extend_from_slice(&bytes[from..end]);
    (end < bytes.len()).then_some(end)
}

/// Writes elements, at least one.
fn write_each<T>(
    elements: impl Iterator<Item = T>,
    (mut at, len): (usize, usize),
    most: usize,
    out: &mut Vec<u8>,
    write: impl Fn(T, &mut Vec<u8>),
) -> Option<usize> {
    for element in elements {
        write(element, out);
        at += 1;
        if out.len() >= most {
            break;
        }
    }
    (at < len).then_some(at)
}

/// A value that is put together from its pieces.
#[derive(Debug)]
pub(crate) struct Builder {
    form: Form,
    parts: Parts,
}

#[derive(Debug)]
enum Parts {
    Bytes(Vec<u8>),
    Packed(Packed),
    Hash(Hash),
    Set(Set),
    Pairs(Vec<zset::Pair<'static>>),
    Zset(Zset),
    List(List),
}

/// Sizes at which nothing changes its form.
const UNLIMITED: Encodings = Encodings {
    hash_entries: usize::MAX,
    hash_value: usize::MAX,
    list_size: 128,
    list_compress_depth: 0,
    set_intset_entries: usize::MAX,
    set_entries: usize::MAX,
    set_value: usize::MAX,
    zset_entries: usize::MAX,
    zset_value: usize::MAX,
};

/// Reads lengths and bytes.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let (len, rest) = self.0.split_first_chunk().ok_or(Malformed)?;
        let (bytes, rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize).ok_or(Malformed)?;
        self.0 = rest;
        Ok(bytes)
    }

    fn score(&mut self) -> Result<f64, Malformed> {
        let (bits, rest) = self.0.split_first_chunk().ok_or(Malformed)?;
        self.0 = rest;
        Some(f64::from_bits(u64::from_le_bytes(*bits))).filter(|score| !score.is_nan()).ok_or(Malformed)
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads all there is and gives it to `load`, so many elements at a time as a table takes best.
    fn groups<T>(
        &mut self,
        read: impl Fn(&mut Self) -> Result<T, Malformed>,
        mut load: impl FnMut(&[T]),
    ) -> Result<(), Malformed> {
        let mut group = SmallVec::<[T; GROUP]>::new();
        while !self.is_empty() {
            group.clear();
            while group.len() < GROUP && !self.is_empty() {
                group.push(read(self)?);
            }
            load(&group);
        }
        Ok(())
    }
}

impl Builder {
    pub(crate) fn new(form: Form) -> Self {
        let parts = match form {
            Form::StrWhole | Form::StrText | Form::StrRaw | Form::Ints2 | Form::Ints4 | Form::Ints8 => {
                Parts::Bytes(Vec::new())
            }
            Form::HashPacked | Form::SetPacked | Form::ListPacked => Parts::Packed(Packed::new()),
            Form::HashTable => {
                let mut hash = Hash::default();
                hash.prepare(usize::MAX, 0, &Encodings::default());
                Parts::Hash(hash)
            }
            Form::SetTable => Parts::Set(Set::table()),
            Form::ZsetPacked => Parts::Pairs(Vec::new()),
            Form::ZsetLarge => Parts::Zset(Zset::sized_for(usize::MAX, 0, &Encodings::default())),
            Form::ListLong => Parts::List(List::long()),
        };
        Self { form, parts }
    }

    /// Bytes held so far, about.
    pub(crate) fn memory(&self) -> usize {
        match &self.parts {
            Parts::Bytes(bytes) => bytes.capacity(),
            Parts::Packed(run) => run.memory(),
            Parts::Hash(hash) => hash.memory(),
            Parts::Set(set) => set.memory(),
            Parts::Pairs(pairs) => pairs.len() * 64,
            Parts::Zset(zset) => zset.memory(),
            Parts::List(list) => list.memory(),
        }
    }

    /// Adds a piece. `fill` says how long lists are kept here.
    ///
    /// # Errors
    /// [`Malformed`]; what was added before is worth nothing then.
    pub(crate) fn add<'a>(&mut self, piece: &'a [u8], fill: Fill) -> Result<(), Malformed> {
        let mut reader = Reader(piece);
        match &mut self.parts {
            Parts::Bytes(bytes) => bytes.extend_from_slice(piece),
            Parts::Packed(run) => {
                while !reader.is_empty() {
                    run.push(reader.bytes()?);
                }
            }
            Parts::Hash(hash) => {
                let pair = |reader: &mut Reader<'a>| Ok((reader.bytes()?, reader.bytes()?));
                reader.groups(pair, |group| hash.load(group, prefetch_at))?;
            }
            Parts::Set(set) => {
                let member = |reader: &mut Reader<'a>| Ok((reader.bytes()?, ()));
                reader.groups(member, |group| set.load(group, prefetch_at))?;
            }
            Parts::Pairs(pairs) => {
                while !reader.is_empty() {
                    let score = reader.score()?;
                    pairs.push((reader.bytes()?.to_vec().into(), score));
                }
            }
            Parts::Zset(zset) => {
                let scored = |reader: &mut Reader<'a>| {
                    let score = reader.score()?;
                    Ok((reader.bytes()?, score))
                };
                reader.groups(scored, |group| zset.load(group, prefetch_at))?;
            }
            Parts::List(list) => {
                while !reader.is_empty() {
                    list.push(End::Back, std::iter::once(reader.bytes()?), fill);
                }
            }
        }
        Ok(())
    }

    /// The value.
    ///
    /// # Errors
    /// [`Malformed`] if there is no such value: an empty collection, a run of integers in disorder.
    pub(crate) fn finish(self) -> Result<Value, Malformed> {
        let value = match (self.parts, self.form) {
            (Parts::Bytes(bytes), Form::StrWhole) => Str::new(bytes).into(),
            (Parts::Bytes(bytes), Form::StrText) => Str::from_text(bytes).into(),
            (Parts::Bytes(bytes), Form::StrRaw) => Str::from_raw(bytes).into(),
            (Parts::Bytes(bytes), form) => ints(form.width(), bytes)?.into(),
            (Parts::Packed(run), Form::HashPacked) if run.len().is_multiple_of(2) => {
                Hash::from_packed(run).into()
            }
            (Parts::Packed(run), Form::SetPacked) => Set::from_packed(run).into(),
            (Parts::Packed(run), Form::ListPacked) => List::from_packed(run).into(),
            (Parts::Packed(_), _) => return Err(Malformed),
            (Parts::Hash(hash), _) => hash.into(),
            (Parts::Set(set), _) => set.into(),
            (Parts::Pairs(pairs), _) => Zset::from_pairs(pairs, &UNLIMITED).into(),
            (Parts::Zset(zset), _) => zset.into(),
            (Parts::List(list), _) => list.into(),
        };
        let value: Value = value;
        if value.is_empty_collection() { Err(Malformed) } else { Ok(value) }
    }
}

/// A set from a run of integers in ascending order.
fn ints(width: usize, bytes: Vec<u8>) -> Result<Set, Malformed> {
    if !bytes.len().is_multiple_of(width) {
        return Err(Malformed);
    }
    let set = Set::from_ints(width as u8, bytes);
    let members = (0..set.len()).map(|i| set.at(i).as_int());
    if members.is_sorted_by(|a, b| a < b) { Ok(set) } else { Err(Malformed) }
}

/// A value from all of its bytes.
///
/// # Errors
/// [`Malformed`].
pub(crate) fn read(form: Form, bytes: &[u8], fill: Fill) -> Result<Value, Malformed> {
    let mut builder = Builder::new(form);
    builder.add(bytes, fill)?;
    builder.finish()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn values() -> Vec<Value> {
        let small = Encodings::default();
        let mut values: Vec<Value> = vec![
            Str::new("").into(),
            Str::new(vec![7; 1000]).into(),
            Str::from_text("1.5").into(),
            Str::from_raw("12").into(),
        ];
        for n in [1usize, 5, 100, 1000] {
            let (mut hash, mut set, mut ints, mut list) =
                (Hash::default(), Set::packed(), Set::default(), List::default());
            let mut pairs = Vec::new();
            for i in 0..n {
                let text = if i % 3 == 0 { i.to_string() } else { format!("element {i}") };
                hash.set(text.as_bytes(), format!("value{}", i * i).as_bytes(), &small);
                set.add(text.as_bytes(), &small);
                ints.add((i as i64 * [1, 70_000, 1 << 40][i % 3]).to_string().as_bytes(), &small);
                list.push(End::Back, std::iter::once(text.as_bytes()), Fill::new(128));
                pairs.push((text.into_bytes().into(), [f64::NEG_INFINITY, -0.5, 1e300][i % 3] + i as f64));
            }
            let zset = Zset::from_pairs(pairs, &small);
            values.extend([hash.into(), set.into(), ints.into(), list.into(), Value::from(zset)]);
        }
        values
    }

    /// Lists of other nodes are equal if their elements are.
    fn same(a: &Value, b: &Value) -> bool {
        match (a, b) {
            (Value::List(a), Value::List(b)) => {
                a.encoding() == b.encoding() && a.iter().map(Elem::to_vec).eq(b.iter().map(Elem::to_vec))
            }
            (a, b) => a == b && a.encoding() == b.encoding(),
        }
    }

    #[test]
    fn values_come_back_whole_and_in_pieces() {
        for value in values() {
            for most in [1, 50, 700, usize::MAX] {
                let mut builder = Builder::new(Form::of_value(&value));
                let mut at = Some(0);
                while let Some(from) = at {
                    let mut piece = Vec::new();
                    at = write(&value, from, most, &mut piece);
                    builder.add(&piece, Fill::new(128)).unwrap();
                }
                let back = builder.finish().unwrap();
                assert!(same(&value, &back), "{value:?} {back:?}");
            }
        }
    }

    #[test]
    fn what_is_no_value_is_refused() {
        let fill = Fill::new(128);
        for form in Form::ALL.into_iter().skip(3) {
            assert!(read(form, b"", fill).is_err(), "{form:?} of nothing");
            assert!(read(form, &[255; 7], fill).is_err(), "{form:?} of garbage");
        }
        assert!(read(Form::Ints2, &[2, 0, 1, 0], fill).is_err(), "in disorder");
        assert!(read(Form::HashPacked, &[1, 0, 0, 0, b'f'], fill).is_err(), "a field without a value");
        let nan = [f64::NAN.to_bits().to_le_bytes().as_slice(), &[0; 4]].concat();
        assert!(read(Form::ZsetLarge, &nan, fill).is_err() && read(Form::ZsetPacked, &nan, fill).is_err());
        assert_eq!(Form::of(14), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_value_or_refused(form in 0u8..14, bytes in proptest::collection::vec(0u8..6, 0..80)) {
            if let Ok(value) = read(Form::of(form).unwrap(), &bytes, Fill::new(128)) {
                let mut again = Vec::new();
                prop_assert_eq!(write(&value, 0, usize::MAX, &mut again), None);
            }
        }
    }
}
