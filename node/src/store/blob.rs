//! Small values as bytes of an item, and back.
//!
//! A string is its own bytes. A packed collection is the number of its elements and the run,
//! without the lengths by which it is walked backwards, and room to grow if it has grown before. What is large, or
//! has a form that cannot be packed, stays a [`Value`] outside the log.

use super::{item::Form, pool::Pool};
use crate::value::{
    Hash, List, Set, Str, Value, Zset,
    dense::{COUNT, Dense},
    packed::Packed,
};

/// Longest value that is kept in the log once it was changed in place: each change copies it twice.
pub(super) const LONGEST_EDITED: usize = 1 << 10;

/// Strings outside the log that are longer are shared.
const LEAST_SHARED: usize = 1 << 10;

/// A value on its way into the store.
#[derive(Debug)]
pub(super) enum Stored<'a> {
    Inline(Form, &'a [u8]),
    Boxed(Value),
}

impl Stored<'_> {
    /// Bytes that it takes.
    #[inline]
    pub(super) fn memory(&self) -> usize {
        match self {
            Self::Inline(_, bytes) => bytes.len(),
            Self::Boxed(value) => value.memory(),
        }
    }

    /// As a value of its own.
    pub(super) fn into_value(self) -> Value {
        match self {
            Self::Inline(form, bytes) => decode(form, bytes),
            Self::Boxed(value) => value,
        }
    }
}

/// A small value's form and bytes; `None` if it has to stay outside the log. `buffer` is for those that need to be
/// put together.
#[inline]
pub(super) fn encode<'a>(
    value: &'a Value,
    longest: usize,
    buffer: &'a mut Vec<u8>,
) -> Option<(Form, &'a [u8])> {
    let (form, run) = match value {
        Value::Str(string) => {
            let form = match () {
                () if string.is_raw() => Form::Raw,
                () if string.is_text() => Form::Text,
                () => Form::Whole,
            };
            // One that grows keeps room to grow, and one that was a long text is copied once only.
            let longest = if form == Form::Raw { longest.min(LONGEST_EDITED) } else { longest };
            return (string.bytes().len() <= longest).then(|| (form, string.bytes()));
        }
        Value::Hash(hash) => (Form::Hash, hash.as_packed()?),
        Value::List(list) => (Form::List, list.as_packed()?),
        Value::Zset(zset) => (Form::Zset, zset.as_packed()?),
        Value::Set(set) => match set.as_ints() {
            Some((width, bytes)) => {
                if bytes.len() + 1 > longest.min(LONGEST_EDITED) {
                    return None;
                }
                buffer.clear();
                buffer.push(width);
                buffer.extend_from_slice(bytes);
                return Some((Form::Ints, buffer));
            }
            None => (Form::Set, set.as_packed()?),
        },
    };
    if run.byte_len() + COUNT > longest.min(LONGEST_EDITED) {
        return None;
    }
    buffer.clear();
    buffer.extend_from_slice(&(run.len() as u16).to_le_bytes());
    run.write_dense(buffer);
    Some((form, buffer))
}

/// The value that was encoded.
///
/// # Panics
/// With [`Form::Boxed`], whose bytes are no value.
#[inline]
pub(super) fn decode(form: Form, bytes: &[u8]) -> Value {
    let run = || {
        let dense = Dense::new(bytes);
        Packed::read_dense(dense.run(), dense.len() as u32)
    };
    match form {
        Form::Whole => Str::new(bytes).into(),
        Form::Text => Str::from_text(bytes).into(),
        Form::Raw => Str::from_raw(bytes).into(),
        Form::Hash => Hash::from_packed(run()).into(),
        Form::Ints => Set::from_ints(bytes[0], bytes[1..].to_vec()).into(),
        Form::Set => Set::from_packed(run()).into(),
        Form::Zset => Zset::from_packed(run()).into(),
        Form::List => List::from_packed(run()).into(),
        Form::Boxed => unreachable!("a boxed value is not in the log"),
    }
}

/// A value as it lies outside the log: strings can be shared with replies.
pub(super) fn settled_outside(value: Value, pool: &Pool) -> Value {
    match value {
        Value::Str(string) if string.bytes().len() > LEAST_SHARED => {
            string.into_shared(|bytes| pool.share(bytes)).into()
        }
        other => other,
    }
}

/// The name `TYPE` gives, where the bytes tell.
pub(super) fn type_name(form: Form) -> Option<&'static str> {
    match form {
        Form::Whole | Form::Text | Form::Raw => Some("string"),
        Form::Hash => Some("hash"),
        Form::Ints | Form::Set => Some("set"),
        Form::Zset => Some("zset"),
        Form::List => Some("list"),
        Form::Boxed => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::{
        Encodings,
        list::{End, Fill},
    };

    fn round(value: &Value) -> Option<Value> {
        let mut buffer = Vec::new();
        let (form, bytes) = encode(value, 8 << 10, &mut buffer)?;
        Some(decode(form, bytes))
    }

    #[test]
    fn small_values_come_back_as_they_were() {
        let limits = Encodings::default();
        let mut hash = Hash::default();
        hash.set(b"field", b"value", &limits);
        hash.set(b"n", b"12", &limits);
        let mut ints = Set::default();
        let mut set = Set::packed();
        for n in 0..20 {
            ints.add(n.to_string().as_bytes(), &limits);
            set.add(format!("m{n}").as_bytes(), &limits);
        }
        let zset =
            Zset::from_pairs(vec![(b"a".as_slice().into(), 1.5), (b"b".as_slice().into(), 2.0)], &limits);
        let mut list = List::default();
        list.push(End::Back, [&b"x"[..], b"y"].into_iter(), Fill::new(128));
        let values: [Value; 8] = [
            Str::new("12").into(),
            Str::from_text("12").into(),
            Str::from_raw("12").into(),
            hash.into(),
            ints.into(),
            set.into(),
            zset.into(),
            list.into(),
        ];
        for value in &values {
            let back = round(value).expect("it is small");
            assert_eq!((&back, back.encoding()), (value, value.encoding()));
        }
    }

    #[test]
    fn large_ones_stay_outside() {
        assert!(round(&Str::new(vec![0; 8 << 10]).into()).is_some());
        assert!(round(&Str::new(vec![0; (8 << 10) + 1]).into()).is_none());
        assert!(round(&Str::from_raw(vec![0; LONGEST_EDITED + 1]).into()).is_none());
        assert!(round(&Set::table().into()).is_none());
        let mut hash = Hash::default();
        (0..100u32).for_each(|n| {
            hash.set(format!("field{n}").as_bytes(), &[b'x'; 20], &Encodings::default());
        });
        assert!(round(&hash.into()).is_none(), "packed, but too long to be copied for every change");
    }
}
