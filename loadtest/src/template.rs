//! One kind of request: a command line with places for keys and values, encoded straight into an output buffer.
//!
//! A line such as `SET session:{key} {value} EX {ttl}` is split into words once; what does not change is encoded
//! then, so that making a request is a few copies. Called by the request source for every request; it knows
//! nothing of connections or time. [`word`] reads the places of a line.

mod word;

use std::ops::Range;

use crate::key_text::{KeyText, digits};
use crate::random::Random;
use crate::sizes::{Sizes, ValueText};
use crate::ttl::Ttls;
use word::{Count, Part, Word};

/// What fills the places of a template; shared by all templates of a workload.
#[derive(Clone, Debug)]
pub struct Filling {
    /// The text of keys.
    pub keys: KeyText,
    /// The bytes of values.
    pub values: ValueText,
    /// The sizes of values.
    pub sizes: Sizes,
    /// Times to live, if the workload has any.
    pub ttls: Option<Ttls>,
}

/// A compiled command line.
#[derive(Clone, Debug)]
pub struct Template {
    name: String,
    pieces: Vec<Piece>,
    /// What must be drawn before the request's first bytes, if anything.
    shape: Option<Shape>,
    /// How many keys are asked for, where that is always the same.
    keys: u32,
    adds: bool,
}

/// How many words a request has when that is not always the same.
#[derive(Clone, Debug)]
struct Shape {
    /// The words that are always there.
    words: u64,
    /// How many keys the places for several are filled with.
    keys: Option<Sizes>,
    /// The words that each further key brings with it, all places together.
    words_per_key: u64,
    /// The words that a time to live brings with it.
    words_of_ttl: u64,
}

/// What was drawn for one request.
#[derive(Clone, Copy)]
struct Drawn {
    /// Keys beyond the request's own, for places whose count is drawn.
    more: usize,
    ttl: Option<u64>,
}

/// A piece of an encoded request.
#[derive(Clone, Debug)]
enum Piece {
    /// Headers, constant words, keys and short values of one size. Of keys and values the places are kept apart, so
    /// that one copy, a few digits and the values make this piece.
    Known(Known),
    /// What differs in length from request to request.
    Varied(Varied),
}

/// A piece whose length is known only when the request is made.
#[derive(Clone, Debug)]
enum Varied {
    /// The request's key, where keys have no common length.
    Key,
    /// Further keys, each a word of its own.
    MoreKeys { count: Option<usize>, with_values: bool },
    /// A value as a word.
    Value,
    /// The word `EX` or `PX` and the time to live in that unit, or nothing for values that live for ever.
    Expire { word: Vec<u8>, per_second: u64 },
    /// A word made of several parts, or of one whose length changes.
    Word(Vec<Part>),
}

/// Bytes that change only in the digits of the key, which are there as key number zero, and in values.
#[derive(Clone, Debug, Default)]
struct Known {
    bytes: Vec<u8>,
    key_ends: Vec<usize>,
    values: Vec<Range<usize>>,
}

impl Known {
    #[inline]
    fn append(&self, key: u64, filling: &Filling, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&self.bytes);
        let piece = &mut out[start..];
        for end in &self.key_ends {
            KeyText::number(key, &mut piece[..*end]);
        }
        for place in &self.values {
            filling.values.write(key, &mut piece[place.clone()]);
        }
    }
}

impl Varied {
    // On its own, so that requests of known pieces do not prepare for what only the others need.
    #[inline(never)]
    fn append(
        &self,
        key: u64,
        drawn: Drawn,
        filling: &Filling,
        random: &mut Random,
        more: &mut impl FnMut(&mut Random) -> u64,
        out: &mut Vec<u8>,
    ) {
        match self {
            Self::Key => append_key(key, filling, out),
            Self::MoreKeys { count, with_values } => {
                for _ in 0..count.unwrap_or(drawn.more) {
                    let another = more(random);
                    append_key(another, filling, out);
                    if *with_values {
                        append_value(another, filling, out);
                    }
                }
            }
            Self::Value => append_value(key, filling, out),
            Self::Expire { word, per_second } => {
                let ttl = drawn.ttl.or_else(|| filling.ttls.as_ref()?.seconds(key));
                if let Some(ttl) = ttl {
                    out.extend_from_slice(word);
                    append_number(ttl * per_second, out);
                }
            }
            Self::Word(parts) => append_word(parts, key, filling, random, out),
        }
    }
}

/// Values of more bytes are not in known pieces: copying the piece would cost more than it saves.
const SHORT: usize = 512;
const _: () = assert!(SHORT <= ValueText::SHORT);

impl Template {
    /// Compiles a line. Words are parted by spaces. A word may hold `{key}` (the request's key), `{new}` (a key
    /// that is added now), `{value}`, `{ttl}`, `{group:N}` (the key's number divided by N) and `{int:LOW-HIGH}` (a
    /// random number), or be `{keys:N}` (N keys, the request's own first) or `{pairs:N}` (N keys, each followed by
    /// its value) as a whole. N may also be LOW-HIGH or normal:MEAN:DEVIATION, drawn for each request.
    pub fn compile(line: &str, filling: &Filling) -> Result<Self, String> {
        let words = Word::parse_line(line, filling.ttls.as_ref())?;
        let name = match words.first() {
            None => return Err("the command is empty".into()),
            Some(Word::Constant(name)) => name.to_ascii_uppercase(),
            Some(_) => return Err(format!("'{line}' must start with a command's name")),
        };
        let adds = words.iter().any(|word| matches!(word, Word::Parts(parts) if parts.contains(&Part::New)));
        let shape = Shape::of(&words, line)?;
        let mut builder = Builder { pieces: Vec::new(), known: Known::default() };
        let mut keys = 1;
        if shape.is_variable(filling) {
            // The header is written by each request.
        } else {
            let words = shape.words + shape.words_of_ttl;
            builder.known.bytes.extend_from_slice(format!("*{words}\r\n").as_bytes());
        }
        for word in words {
            if let Word::Keys { count: Count::Fixed(count), .. } = word {
                keys += count as u32 - 1;
            }
            builder.word(word, filling);
        }
        let shape = shape.is_variable(filling).then_some(shape);
        Ok(Self { name, pieces: builder.finish(), shape, keys, adds })
    }

    /// The command's name in capitals.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// True if the request adds a key.
    pub fn adds(&self) -> bool {
        self.adds
    }

    /// True if the request may ask for more than one key.
    pub fn asks_for_several(&self) -> bool {
        self.keys > 1 || self.shape.as_ref().is_some_and(|shape| shape.keys.is_some())
    }

    /// Appends one request about `key` and returns how many keys it asks for. `more` gives the further keys of
    /// `{keys:N}`.
    #[inline]
    pub fn encode(
        &self,
        key: u64,
        filling: &Filling,
        random: &mut Random,
        mut more: impl FnMut(&mut Random) -> u64,
        out: &mut Vec<u8>,
    ) -> u32 {
        let mut drawn = Drawn { more: 0, ttl: None };
        if let Some(shape) = &self.shape {
            drawn = shape.draw(key, filling, random, out);
        }
        for piece in &self.pieces {
            match piece {
                Piece::Known(known) => known.append(key, filling, out),
                Piece::Varied(varied) => varied.append(key, drawn, filling, random, &mut more, out),
            }
        }
        self.keys + drawn.more as u32
    }
}

impl Shape {
    fn of(words: &[Word], line: &str) -> Result<Self, String> {
        let mut shape = Self { words: 0, keys: None, words_per_key: 0, words_of_ttl: 0 };
        for word in words {
            match word {
                Word::Keys { count, with_values } => {
                    let each = 1 + u64::from(*with_values);
                    shape.words += each;
                    match count {
                        Count::Fixed(count) => shape.words += each * (*count as u64 - 1),
                        Count::Drawn(sizes) => {
                            if shape.keys.replace(sizes.clone()).is_some() {
                                return Err(format!("'{line}' draws a number of keys twice"));
                            }
                            shape.words_per_key += each;
                        }
                    }
                }
                Word::Expire { .. } => shape.words_of_ttl += 2,
                _ => shape.words += 1,
            }
        }
        Ok(shape)
    }

    fn is_variable(&self, filling: &Filling) -> bool {
        let may_be_none = || filling.ttls.as_ref().is_some_and(Ttls::may_be_none);
        self.keys.is_some() || (self.words_of_ttl > 0 && may_be_none())
    }

    /// Draws what the number of words depends on and appends the header that tells it.
    fn draw(&self, key: u64, filling: &Filling, random: &mut Random, out: &mut Vec<u8>) -> Drawn {
        let keys = self.keys.as_ref().map_or(1, |keys| keys.size(random.next_u64()).clamp(1, word::MAX_KEYS));
        let ttl = filling.ttls.as_ref().filter(|_| self.words_of_ttl > 0).and_then(|ttls| ttls.seconds(key));
        let of_ttl = if ttl.is_some() { self.words_of_ttl } else { 0 };
        out.push(b'*');
        let words = self.words + self.words_per_key * (keys as u64 - 1) + of_ttl;
        out.extend_from_slice(itoa::Buffer::new().format(words).as_bytes());
        out.extend_from_slice(b"\r\n");
        Drawn { more: keys - 1, ttl }
    }
}

/// Collects pieces, merging what is known beforehand.
struct Builder {
    pieces: Vec<Piece>,
    known: Known,
}

impl Builder {
    fn word(&mut self, word: Word, filling: &Filling) {
        let keys = &filling.keys;
        match word {
            Word::Constant(text) => self.text_and_keys(&[Part::Text(text.into_bytes())], keys),
            Word::Keys { count, with_values } => {
                self.text_and_keys(&[Part::Key], keys);
                if with_values {
                    self.value(&filling.sizes);
                }
                let count = match count {
                    Count::Fixed(1) => return,
                    Count::Fixed(count) => Some(count - 1),
                    Count::Drawn(_) => None,
                };
                self.push(Varied::MoreKeys { count, with_values });
            }
            Word::Expire { word, per_second } => {
                let mut encoded = Vec::new();
                bulk_header(word.len(), &mut encoded);
                encoded.extend_from_slice(word.as_bytes());
                encoded.extend_from_slice(b"\r\n");
                self.push(Varied::Expire { word: encoded, per_second });
            }
            Word::Parts(parts) if parts == [Part::Value] => self.value(&filling.sizes),
            Word::Parts(parts) if parts.iter().all(Part::is_text_or_key) => self.text_and_keys(&parts, keys),
            Word::Parts(parts) => self.push(Varied::Word(parts)),
        }
    }

    /// A word of texts and keys; where keys have one length, so has the word.
    fn text_and_keys(&mut self, parts: &[Part], keys: &KeyText) {
        let has_key = parts.iter().any(|part| !matches!(part, Part::Text(_)));
        if has_key && keys.fixed_length().is_none() {
            self.push(if parts.len() == 1 { Varied::Key } else { Varied::Word(parts.to_vec()) });
            return;
        }
        let length =
            parts.iter().map(|part| if let Part::Text(text) = part { text.len() } else { keys.zero().len() });
        let bytes = &mut self.known.bytes;
        bulk_header(length.sum(), bytes);
        for part in parts {
            match part {
                Part::Text(text) => bytes.extend_from_slice(text),
                _ => {
                    bytes.extend_from_slice(keys.zero());
                    self.known.key_ends.push(bytes.len());
                }
            }
        }
        bytes.extend_from_slice(b"\r\n");
    }

    fn value(&mut self, sizes: &Sizes) {
        let size = match sizes {
            Sizes::Fixed(size) if *size <= SHORT as u64 => *size as usize,
            _ => return self.push(Varied::Value),
        };
        let bytes = &mut self.known.bytes;
        bulk_header(size, bytes);
        let start = bytes.len();
        bytes.resize(start + size, b'.');
        self.known.values.push(start..start + size);
        bytes.extend_from_slice(b"\r\n");
    }

    fn push(&mut self, piece: Varied) {
        self.end_known();
        self.pieces.push(Piece::Varied(piece));
    }

    fn end_known(&mut self) {
        if !self.known.bytes.is_empty() {
            self.pieces.push(Piece::Known(std::mem::take(&mut self.known)));
        }
    }

    fn finish(mut self) -> Vec<Piece> {
        self.end_known();
        self.pieces
    }
}

#[inline]
fn bulk_header(length: usize, out: &mut Vec<u8>) {
    let mut header = [b'$'; 24];
    let end = 1 + digits(length as u64);
    KeyText::number(length as u64, &mut header[1..end]);
    header[end..end + 2].copy_from_slice(b"\r\n");
    out.extend_from_slice(&header[..end + 2]);
}

#[inline]
fn append_key(key: u64, filling: &Filling, out: &mut Vec<u8>) {
    bulk_header(filling.keys.length(key), out);
    filling.keys.append(key, out);
    out.extend_from_slice(b"\r\n");
}

#[inline]
fn append_value(key: u64, filling: &Filling, out: &mut Vec<u8>) {
    let size = filling.sizes.size(key);
    bulk_header(size, out);
    filling.values.append(key, size, out);
    out.extend_from_slice(b"\r\n");
}

fn append_number(number: u64, out: &mut Vec<u8>) {
    let mut buffer = itoa::Buffer::new();
    let digits = buffer.format(number);
    bulk_header(digits.len(), out);
    out.extend_from_slice(digits.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Appends a word whose length is known only once its numbers are drawn.
fn append_word(parts: &[Part], key: u64, filling: &Filling, random: &mut Random, out: &mut Vec<u8>) {
    let mut word = Vec::with_capacity(64);
    for part in parts {
        let number = match part {
            Part::Text(text) => {
                word.extend_from_slice(text);
                continue;
            }
            Part::Key | Part::New => {
                filling.keys.append(key, &mut word);
                continue;
            }
            Part::Value => {
                filling.values.append(key, filling.sizes.size(key), &mut word);
                continue;
            }
            Part::Ttl => filling.ttls.as_ref().and_then(|ttls| ttls.seconds(key)).unwrap_or(0),
            Part::Group(size) => key / size,
            Part::Number { low, high } => low + random.below(high - low + 1),
        };
        word.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    }
    bulk_header(word.len(), out);
    out.extend_from_slice(&word);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests;
