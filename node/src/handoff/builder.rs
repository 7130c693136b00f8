//! Values from the bytes of a stream, whole or in pieces: the way back from [`codec`](super::codec).

use std::collections::HashSet;

use smallvec::SmallVec;

use super::{codec::Form, record::Malformed};
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

/// A value that is put together from its pieces.
#[derive(Debug)]
pub(crate) struct Builder {
    form: Form,
    made: Made,
    /// The beginning of an element whose end has not come.
    begun: Vec<u8>,
}

#[derive(Debug)]
enum Made {
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
        let made = match form {
            Form::StrWhole | Form::StrText | Form::StrRaw | Form::Ints2 | Form::Ints4 | Form::Ints8 => {
                Made::Bytes(Vec::new())
            }
            Form::HashPacked | Form::SetPacked | Form::ListPacked => Made::Packed(Packed::new()),
            Form::HashTable => {
                let mut hash = Hash::default();
                hash.prepare(usize::MAX, 0, &Encodings::default());
                Made::Hash(hash)
            }
            Form::SetTable => Made::Set(Set::table()),
            Form::ZsetPacked => Made::Pairs(Vec::new()),
            Form::ZsetLarge => Made::Zset(Zset::sized_for(usize::MAX, 0, &Encodings::default())),
            Form::ListLong => Made::List(List::long()),
        };
        Self { form, made, begun: Vec::new() }
    }

    /// Bytes held so far, about.
    pub(crate) fn memory(&self) -> usize {
        let made = match &self.made {
            Made::Bytes(bytes) => bytes.capacity(),
            Made::Packed(run) => run.memory(),
            Made::Hash(hash) => hash.memory(),
            Made::Set(set) => set.memory(),
            Made::Pairs(pairs) => pairs.len() * 64,
            Made::Zset(zset) => zset.memory(),
            Made::List(list) => list.memory(),
        };
        made + self.begun.capacity()
    }

    /// Adds a piece. `fill` says how long lists are kept here.
    ///
    /// # Errors
    /// [`Malformed`]; what was added before is worth nothing then.
    pub(crate) fn add(&mut self, mut piece: &[u8], fill: Fill) -> Result<(), Malformed> {
        if let Made::Bytes(bytes) = &mut self.made {
            bytes.extend_from_slice(piece);
            return Ok(());
        }
        if !self.begun.is_empty() {
            piece = self.go_on(piece);
            if self.begun.len() < self.element(&self.begun) {
                return Ok(());
            }
            let begun = std::mem::take(&mut self.begun);
            self.load(&begun, fill)?;
        }
        let mut whole = 0;
        while let rest = &piece[whole..]
            && !rest.is_empty()
            && let len = self.element(rest)
            && len <= rest.len()
        {
            whole += len;
        }
        self.begun.extend_from_slice(&piece[whole..]);
        self.load(&piece[..whole], fill)
    }

    /// Length of the first element of `bytes`, which are not empty; at least that, as long as they do not tell.
    fn element(&self, bytes: &[u8]) -> usize {
        let (mut at, words) = match self.made {
            Made::Pairs(_) | Made::Zset(_) => (8, 1),
            Made::Hash(_) => (0, 2),
            _ => (0, 1),
        };
        for _ in 0..words {
            let length = bytes.get(at..).and_then(|bytes| bytes.first_chunk());
            at += 4;
            let Some(length) = length else { return at };
            at += u32::from_le_bytes(*length) as usize;
        }
        at
    }

    /// Takes what the element that has begun lacks from the piece; the rest of that.
    fn go_on<'a>(&mut self, mut piece: &'a [u8]) -> &'a [u8] {
        while !piece.is_empty()
            && let lacks = self.element(&self.begun).saturating_sub(self.begun.len())
            && lacks > 0
        {
            let (more, rest) = piece.split_at(lacks.min(piece.len()));
            if self.begun.capacity() - self.begun.len() < more.len() {
                // Doubled, but no longer than the element: it may be most of what there is.
                self.begun.reserve_exact(lacks.min(self.begun.len().max(more.len())));
            }
            self.begun.extend_from_slice(more);
            piece = rest;
        }
        piece
    }

    /// Adds whole elements.
    fn load<'a>(&mut self, elements: &'a [u8], fill: Fill) -> Result<(), Malformed> {
        let mut reader = Reader(elements);
        match &mut self.made {
            Made::Bytes(bytes) => bytes.extend_from_slice(elements),
            Made::Packed(run) => {
                while !reader.is_empty() {
                    run.push(reader.bytes()?);
                }
            }
            Made::Hash(hash) => {
                let pair = |reader: &mut Reader<'a>| Ok((reader.bytes()?, reader.bytes()?));
                reader.groups(pair, |group| hash.load(group, prefetch_at))?;
            }
            Made::Set(set) => {
                let member = |reader: &mut Reader<'a>| Ok((reader.bytes()?, ()));
                reader.groups(member, |group| set.load(group, prefetch_at))?;
            }
            Made::Pairs(pairs) => {
                while !reader.is_empty() {
                    let score = reader.score()?;
                    pairs.push((reader.bytes()?.to_vec().into(), score));
                }
            }
            Made::Zset(zset) => {
                let scored = |reader: &mut Reader<'a>| {
                    let score = reader.score()?;
                    Ok((reader.bytes()?, score))
                };
                reader.groups(scored, |group| zset.load(group, prefetch_at))?;
            }
            Made::List(list) => {
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
    /// [`Malformed`] if there is no such value: an empty collection, an element of which only a part came, a run of integers in
    /// disorder, elements that are there twice where that would not be noticed later.
    pub(crate) fn finish(self) -> Result<Value, Malformed> {
        if !self.begun.is_empty() {
            return Err(Malformed);
        }
        let value = match (self.made, self.form) {
            (Made::Bytes(bytes), Form::StrWhole) => Str::new(bytes).into(),
            (Made::Bytes(bytes), Form::StrText) => Str::from_text(bytes).into(),
            (Made::Bytes(bytes), Form::StrRaw) => Str::from_raw(bytes).into(),
            (Made::Bytes(bytes), form) => ints(form.width(), bytes)?.into(),
            (Made::Packed(run), Form::HashPacked) if run.len().is_multiple_of(2) => {
                check_different(run.iter().step_by(2), run.len() / 2)?;
                Hash::from_packed(run).into()
            }
            (Made::Packed(run), Form::SetPacked) => {
                check_different(run.iter(), run.len())?;
                Set::from_packed(run).into()
            }
            (Made::Packed(run), Form::ListPacked) => List::from_packed(run).into(),
            (Made::Packed(_), _) => return Err(Malformed),
            // What comes twice has taken the place of what was there.
            (Made::Hash(hash), _) => hash.into(),
            (Made::Set(set), _) => set.into(),
            (Made::Zset(zset), _) => zset.into(),
            (Made::Pairs(pairs), _) => {
                check_different(pairs.iter().map(|(member, _)| Elem::of(member)), pairs.len())?;
                Zset::from_pairs(pairs, &UNLIMITED).into()
            }
            (Made::List(list), _) => list.into(),
        };
        let value: Value = value;
        if value.is_empty_collection() { Err(Malformed) } else { Ok(value) }
    }
}

/// So many elements are compared each with each.
const FEW: usize = 8;

/// Checks that no element is there twice: packed collections rely on it, and what comes is only believed to.
fn check_different<'a>(
    elements: impl Iterator<Item = Elem<'a>> + Clone,
    len: usize,
) -> Result<(), Malformed> {
    let different = if len <= FEW {
        let mut rest = elements;
        loop {
            let Some(one) = rest.next() else { break true };
            if rest.clone().any(|other| other == one) {
                break false;
            }
        }
    } else {
        let mut seen = HashSet::with_capacity_and_hasher(len, ahash::RandomState::new());
        let mut texts = elements.map(|elem| match elem {
            Elem::Int(number) => Ok(number),
            Elem::Bytes(bytes) => Err(bytes),
        });
        texts.all(|text| seen.insert(text))
    };
    if different { Ok(()) } else { Err(Malformed) }
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
    use crate::handoff::codec::{Place, WHOLE, write};

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
                let mut at = Some(Place::default());
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

    /// All collections with elements that are longer than a piece.
    fn long() -> Vec<Value> {
        let texts = [200_000, 3, WHOLE, 500_001].map(|len| vec![len as u8; len]);
        let (mut hash, mut set, mut list) = (Hash::default(), Set::table(), List::long());
        let mut zset = Zset::sized_for(usize::MAX, 0, &Encodings::default());
        let small = Encodings::default();
        for text in &texts {
            hash.set(text, text, &small);
            hash.set(&text[1..], b"short", &small);
            set.add(text, &small);
            list.push(End::Back, std::iter::once(text.as_slice()), Fill::new(128));
            zset.load(&[(text.as_slice(), -1.5)], prefetch_at);
        }
        let mut run = Packed::new();
        texts.iter().for_each(|text| run.push(text));
        let packed = Value::from(Set::from_packed(run));
        vec![hash.into(), set.into(), list.into(), zset.into(), packed]
    }

    #[test]
    fn long_elements_are_cut() {
        for value in long() {
            for most in [1, 100_000, 300_000] {
                let mut builder = Builder::new(Form::of_value(&value));
                let mut at = Some(Place::default());
                let mut pieces = 0;
                while let Some(from) = at {
                    let mut piece = Vec::new();
                    at = write(&value, from, most, &mut piece);
                    assert!(piece.len() <= most + WHOLE, "{} of {most}", piece.len());
                    assert!(builder.memory() <= 2 * value.memory() + (1 << 20));
                    builder.add(&piece, Fill::new(128)).unwrap();
                    pieces += 1;
                }
                assert!(pieces > 2, "{pieces}");
                assert!(same(&value, &builder.finish().unwrap()));
            }
        }
    }

    /// However they are cut on their way.
    #[test]
    fn pieces_may_end_anywhere() {
        let mut hash = Hash::default();
        hash.prepare(usize::MAX, 0, &Encodings::default());
        (0..40).for_each(|i| {
            hash.set(format!("field{i}").as_bytes(), &vec![7; i], &Encodings::default());
        });
        let (value, mut bytes) = (Value::from(hash), Vec::new());
        write(&value, Place::default(), usize::MAX, &mut bytes);
        for len in 1..60 {
            let mut builder = Builder::new(Form::HashTable);
            bytes.chunks(len).for_each(|piece| builder.add(piece, Fill::new(128)).unwrap());
            assert!(same(&value, &builder.finish().unwrap()), "{len}");
        }
        let mut builder = Builder::new(Form::HashTable);
        builder.add(&bytes[..bytes.len() - 1], Fill::new(128)).unwrap();
        assert!(builder.finish().is_err(), "the end is missing");
    }

    #[test]
    fn what_is_there_twice_is_refused_or_there_once() {
        let word = |text: &str| [&(text.len() as u32).to_le_bytes(), text.as_bytes()].concat();
        let fill = Fill::new(128);
        for few in [1, 4, 100] {
            let texts = || (0..few).map(|i| if i % 2 == 0 { i.to_string() } else { format!("text{i}") });
            for twice in [None, Some("0"), Some("text1").filter(|_| few > 1)] {
                let all: Vec<Vec<u8>> =
                    texts().chain(twice.map(str::to_owned)).map(|text| word(&text)).collect();
                let (set, hash) =
                    (all.concat(), all.iter().flat_map(|w| [w.clone(), word("v")]).collect::<Vec<_>>());
                let zset = all
                    .iter()
                    .enumerate()
                    .map(|(i, w)| [&(i as f64).to_bits().to_le_bytes(), w.as_slice()].concat());
                let zset = zset.collect::<Vec<_>>().concat();
                assert_eq!(read(Form::SetPacked, &set, fill).is_ok(), twice.is_none(), "{few} {twice:?}");
                assert_eq!(read(Form::HashPacked, &hash.concat(), fill).is_ok(), twice.is_none());
                assert_eq!(read(Form::ZsetPacked, &zset, fill).is_ok(), twice.is_none());
                let len = |form, bytes: &[u8]| match read(form, bytes, fill).unwrap() {
                    Value::Set(set) => set.len(),
                    Value::Hash(hash) => hash.len(),
                    Value::Zset(zset) => (zset.len() + zset.all().count()) / 2,
                    other => panic!("{other:?}"),
                };
                let bytes =
                    [(Form::SetTable, set), (Form::HashTable, hash.concat()), (Form::ZsetLarge, zset)];
                bytes.iter().for_each(|(form, bytes)| assert_eq!(len(*form, bytes), few, "{form:?}"));
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_value_or_refused(form in 0u8..14, bytes in proptest::collection::vec(0u8..6, 0..80)) {
            if let Ok(value) = read(Form::of(form).unwrap(), &bytes, Fill::new(128)) {
                let mut again = Vec::new();
                prop_assert_eq!(write(&value, Place::default(), usize::MAX, &mut again), None);
            }
        }
    }
}
