//! The records of an effect stream: what happened to a slot's keys, in order.
//!
//! ```text
//! length (u32, of what follows) | kind (u8) | slot (u16) | body
//! ```
//!
//! Nothing in a stream can be left out, unlike in messages: a reader that does not know a record ends the stream. All versions so far have
//! the same records, so none depends on the version that the other end granted ([`shoal_proto::bus::Granted`]). The first one
//! that is added must not be sent to an older version.
//!
//! All numbers are little-endian. The decoder believes nothing: it never panics, never allocates in proportion to
//! an announced number, and refuses what no encoder writes. How values look inside is [`codec`](super::codec)'s business.

use shoal_proto::slot::SLOTS;

use super::codec::Form;
use crate::store::DATABASES;

/// Largest record. Values come in pieces, long elements too, and long commands as what became of their keys: what is long is a
/// key's name, of which a client may write 512 MB.
pub const LONGEST: usize = 1 << 30;
/// Bytes before a record's body.
pub const HEAD: usize = 7;

/// What a key's item remembers of its use, so that it is as warm at its new place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Heat {
    /// The second of the last access, modulo 2^24.
    pub accessed: u32,
    /// Credit against eviction, 0 to 7.
    pub credit: u8,
    /// Whether it is in the main queue.
    pub main: bool,
}

/// A key, where it is and when it expires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The database.
    pub db: u8,
    /// Ms since 1970; 0 never.
    pub expires_at: u64,
    /// How it was used.
    pub heat: Heat,
    /// The form of the value that follows.
    pub form: Form,
    /// The key.
    pub key: &'a [u8],
}

/// One effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Record<'a> {
    /// The stream of this slot begins (anew): what the target holds of it goes.
    Begin,
    /// The whole state of a key, in place of what was there.
    Put(Entry<'a>, &'a [u8]),
    /// A large key begins; its value follows in pieces.
    Large(Entry<'a>),
    /// The next piece of the large key that has begun.
    Piece(&'a [u8]),
    /// The large key is complete and takes the place of what was there.
    Whole,
    /// The key is gone.
    Gone(u8, &'a [u8]),
    /// A command that was executed at this time, ms since 1970: the target executes it too.
    Command(u8, u64, Words<'a>),
    /// A database is empty, or all are.
    Clear(Option<u8>),
    /// Two databases were exchanged.
    Swap(u8, u8),
    /// All keys that were there when the stream began have been sent.
    Through,
    /// What those who move slots say to each other, in its place among the effects. Of no slot.
    Message(&'a [u8]),
}

/// The arguments of a command, each behind its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Words<'a>(&'a [u8]);

impl<'a> Words<'a> {
    /// All of it, lengths included.
    pub(super) fn bytes(self) -> &'a [u8] {
        self.0
    }

    /// Where in [`bytes`](Self::bytes) the arguments begin and end.
    pub(super) fn spans(self) -> impl Iterator<Item = (usize, usize)> {
        self.iter().scan(0, |at, word| {
            let start = *at + 4;
            *at = start + word.len();
            Some((start, *at))
        })
    }

    /// The arguments in order.
    pub fn iter(self) -> impl Iterator<Item = &'a [u8]> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let (len, behind) = rest.split_first_chunk()?;
            let (word, behind) = behind.split_at_checked(u32::from_le_bytes(*len) as usize)?;
            rest = behind;
            Some(word)
        })
    }

    fn check(self) -> Option<Self> {
        let bytes: usize = self.iter().map(|word| 4 + word.len()).sum();
        (bytes == self.0.len() && bytes > 0).then_some(self)
    }
}

/// Bytes that no encoder writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed record")]
pub struct Malformed;

/// Appends one record. `body` appends what stands behind the head.
fn frame(out: &mut Vec<u8>, kind: u8, slot: u16, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    out.push(kind);
    out.extend_from_slice(&slot.to_le_bytes());
    body(out);
    let len = (out.len() - start - 4) as u32;
    out[start..start + 4].copy_from_slice(&len.to_le_bytes());
}

fn write_entry(entry: &Entry<'_>, out: &mut Vec<u8>) {
    out.push(entry.db);
    out.extend_from_slice(&entry.expires_at.to_le_bytes());
    let heat = entry.heat;
    let word = heat.accessed & 0xff_ffff | u32::from(heat.credit & 7 | u8::from(heat.main) << 7) << 24;
    out.extend_from_slice(&word.to_le_bytes());
    out.push(entry.form as u8);
    out.extend_from_slice(&(entry.key.len() as u32).to_le_bytes());
    out.extend_from_slice(entry.key);
}

/// A key's whole state; `value` appends the value's bytes.
pub(crate) fn put(out: &mut Vec<u8>, slot: u16, entry: &Entry<'_>, value: impl FnOnce(&mut Vec<u8>)) {
    frame(out, 1, slot, |out| {
        write_entry(entry, out);
        value(out);
    });
}

/// A piece of a large key; `value` appends its bytes.
pub(crate) fn piece<R>(out: &mut Vec<u8>, slot: u16, value: impl FnOnce(&mut Vec<u8>) -> R) -> R {
    let mut result = None;
    frame(out, 3, slot, |out| result = Some(value(out)));
    result.expect("the body is written once")
}

/// A command with these arguments.
pub(crate) fn command<'a>(
    out: &mut Vec<u8>,
    slot: u16,
    (db, now): (u8, u64),
    words: impl Iterator<Item = &'a [u8]>,
) {
    frame(out, 6, slot, |out| {
        out.push(db);
        out.extend_from_slice(&now.to_le_bytes());
        for word in words {
            out.extend_from_slice(&(word.len() as u32).to_le_bytes());
            out.extend_from_slice(word);
        }
    });
}

impl Record<'_> {
    /// Appends the record.
    pub fn write(&self, slot: u16, out: &mut Vec<u8>) {
        match self {
            Self::Begin => frame(out, 0, slot, |_| {}),
            Self::Put(entry, value) => put(out, slot, entry, |out| out.extend_from_slice(value)),
            Self::Large(entry) => frame(out, 2, slot, |out| write_entry(entry, out)),
            Self::Piece(bytes) => piece(out, slot, |out| out.extend_from_slice(bytes)),
            Self::Whole => frame(out, 4, slot, |_| {}),
            Self::Gone(db, key) => frame(out, 5, slot, |out| {
                out.push(*db);
                out.extend_from_slice(key);
            }),
            Self::Command(db, now, words) => command(out, slot, (*db, *now), words.iter()),
            Self::Clear(db) => frame(out, 7, slot, |out| out.push(db.unwrap_or(u8::MAX))),
            Self::Swap(a, b) => frame(out, 8, slot, |out| out.extend_from_slice(&[*a, *b])),
            Self::Through => frame(out, 9, slot, |_| {}),
            Self::Message(bytes) => frame(out, 10, slot, |out| out.extend_from_slice(bytes)),
        }
    }
}

/// The first record of `bytes`, its slot and its length; `None` if it is not complete.
///
/// # Errors
/// [`Malformed`].
pub fn read(bytes: &[u8]) -> Result<Option<(u16, Record<'_>, usize)>, Malformed> {
    let Some((len, rest)) = bytes.split_first_chunk() else { return Ok(None) };
    let len = u32::from_le_bytes(*len) as usize;
    if !(HEAD - 4..=LONGEST).contains(&len) {
        return Err(Malformed);
    }
    let Some(framed) = rest.get(..len) else { return Ok(None) };
    let slot = u16::from_le_bytes([framed[1], framed[2]]);
    let record = body(framed[0], &framed[3..]).filter(|_| slot < SLOTS).ok_or(Malformed)?;
    Ok(Some((slot, record, 4 + len)))
}

/// The slot of the first record, unless it is a message, and whether it is [`Record::Begin`]; `None` also if its head is not complete.
pub(super) fn head(bytes: &[u8]) -> Option<(u16, bool)> {
    let head = bytes.first_chunk::<HEAD>()?;
    let begins = head[..5] == [HEAD as u8 - 4, 0, 0, 0, 0];
    (head[4] != 10).then(|| (u16::from_le_bytes([head[5], head[6]]), begins))
}

/// How many bytes the first record lacks, as far as that is known.
pub(super) fn lacks(bytes: &[u8]) -> usize {
    let len = bytes.first_chunk().map_or(0, |len| u32::from_le_bytes(*len) as usize);
    if len <= LONGEST { (4 + len).saturating_sub(bytes.len()) } else { 0 }
}

fn body(kind: u8, bytes: &[u8]) -> Option<Record<'_>> {
    let bare = |record| bytes.is_empty().then_some(record);
    match kind {
        0 => bare(Record::Begin),
        1 => read_entry(bytes).map(|(entry, value)| Record::Put(entry, value)),
        2 => read_entry(bytes).filter(|(_, rest)| rest.is_empty()).map(|(entry, _)| Record::Large(entry)),
        3 => Some(Record::Piece(bytes)),
        4 => bare(Record::Whole),
        5 => bytes.split_first().and_then(|(db, key)| Some(Record::Gone(database(*db)?, key))),
        6 => {
            let (db, rest) = bytes.split_first()?;
            let (now, words) = rest.split_first_chunk()?;
            Some(Record::Command(database(*db)?, u64::from_le_bytes(*now), Words(words).check()?))
        }
        7 => match bytes {
            [u8::MAX] => Some(Record::Clear(None)),
            [db] => Some(Record::Clear(Some(database(*db)?))),
            _ => None,
        },
        8 => match bytes {
            [a, b] => Some(Record::Swap(database(*a)?, database(*b)?)),
            _ => None,
        },
        9 => bare(Record::Through),
        10 => Some(Record::Message(bytes)),
        _ => None,
    }
}

fn database(db: u8) -> Option<u8> {
    (usize::from(db) < DATABASES).then_some(db)
}

fn read_entry(bytes: &[u8]) -> Option<(Entry<'_>, &[u8])> {
    let (db, rest) = bytes.split_first()?;
    let (expires_at, rest) = rest.split_first_chunk()?;
    let (heat, rest) = rest.split_first_chunk()?;
    let (form, rest) = rest.split_first()?;
    let (len, rest) = rest.split_first_chunk()?;
    let (key, value) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
    let heat = u32::from_le_bytes(*heat);
    let use_of = (heat >> 24) as u8;
    if use_of & 0x78 != 0 {
        return None;
    }
    let heat = Heat { accessed: heat & 0xff_ffff, credit: use_of & 7, main: use_of & 0x80 != 0 };
    let expires_at = u64::from_le_bytes(*expires_at);
    let entry = Entry { db: database(*db)?, expires_at, heat, form: Form::of(*form)?, key };
    Some((entry, value))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn round(record: Record<'_>) {
        let mut bytes = b"before".to_vec();
        record.write(77, &mut bytes);
        let whole = bytes.split_off(6);
        assert_eq!(read(&whole), Ok(Some((77, record, whole.len()))));
        for cut in 0..whole.len() {
            assert_eq!(read(&whole[..cut]), Ok(None), "{record:?} is not complete");
            assert!(cut < 4 || lacks(&whole[..cut]) == whole.len() - cut);
            assert!(cut >= HEAD || head(&whole[..cut]).is_none());
        }
        let of = (!matches!(record, Record::Message(_))).then_some((77, record == Record::Begin));
        assert_eq!((head(&whole), lacks(&whole)), (of, 0));
    }

    #[test]
    fn records_come_back_as_they_were() {
        let heat = Heat { accessed: 0x12_3456, credit: 7, main: true };
        let entry = Entry { db: 15, expires_at: u64::MAX - 1, heat, form: Form::ZsetLarge, key: b"a key" };
        let mut words = Vec::new();
        command(&mut words, 0, (0, 0), [&b"SET"[..], b"", b"v"].into_iter());
        let words = Words(&words[HEAD + 9..]);
        for record in [
            Record::Begin,
            Record::Put(entry, b"value"),
            Record::Put(Entry { key: b"", heat: Heat::default(), ..entry }, b""),
            Record::Large(entry),
            Record::Piece(b"bytes"),
            Record::Whole,
            Record::Gone(3, b"key"),
            Record::Command(1, 1_700_000_000_000, words),
            Record::Clear(None),
            Record::Clear(Some(0)),
            Record::Swap(0, 15),
            Record::Through,
            Record::Message(b"anything"),
        ] {
            round(record);
        }
        assert_eq!(words.iter().collect::<Vec<_>>(), [&b"SET"[..], b"", b"v"]);
    }

    /// What version 3 of the cluster's protocol says, byte for byte: it is understood for ever.
    #[test]
    fn version_3_is_understood() {
        let heat = Heat { accessed: 3, credit: 2, main: true };
        let entry = Entry { db: 1, expires_at: 258, heat, form: Form::StrText, key: b"k" };
        let written: [(Record<'_>, &[u8]); 5] = [
            (Record::Begin, &[3, 0, 0, 0, 0, 77, 0]),
            (
                Record::Put(entry, b"v"),
                &[23, 0, 0, 0, 1, 77, 0, 1, 2, 1, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0x82, 1, 1, 0, 0, 0, b'k', b'v'],
            ),
            (Record::Gone(3, b"k"), &[5, 0, 0, 0, 5, 77, 0, 3, b'k']),
            (
                Record::Command(1, 258, Words(&[1, 0, 0, 0, b'a'])),
                &[17, 0, 0, 0, 6, 77, 0, 1, 2, 1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, b'a'],
            ),
            (Record::Through, &[3, 0, 0, 0, 9, 77, 0]),
        ];
        for (record, bytes) in written {
            assert_eq!(read(bytes), Ok(Some((77, record, bytes.len()))));
            let mut again = Vec::new();
            record.write(77, &mut again);
            assert_eq!(again, bytes);
        }
    }

    #[test]
    fn what_no_encoder_writes_is_refused() {
        let framed = |kind: u8, slot: u16, body: &[u8]| {
            let mut bytes = Vec::new();
            frame(&mut bytes, kind, slot, |out| out.extend_from_slice(body));
            bytes
        };
        for bytes in [
            framed(0, 0, b"x"),
            framed(0, SLOTS, b""),
            framed(11, 0, b""),
            framed(7, 0, &[16]),
            framed(8, 0, &[0]),
            framed(5, 0, b""),
            framed(6, 0, &[0; 9]),
            framed(6, 0, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, b'x']),
            framed(1, 0, &[0; 17]),
            vec![2, 0, 0, 0],
            u32::MAX.to_le_bytes().to_vec(),
            (LONGEST as u32 + 1).to_le_bytes().to_vec(),
        ] {
            assert_eq!(read(&bytes), Err(Malformed), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200), kind in 0u8..12) {
            let mut framed = Vec::new();
            frame(&mut framed, kind, 5, |out| out.extend_from_slice(&bytes));
            if let Ok(Some((slot, record, len))) = read(&framed) {
                prop_assert_eq!((slot, len), (5, framed.len()));
                let mut again = Vec::new();
                record.write(5, &mut again);
                prop_assert_eq!(again, framed, "there is one way to write it");
            }
            let _ = read(&bytes);
        }
    }
}
