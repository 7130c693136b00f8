//! One kind of request: a command line with places for keys and values, encoded straight into an output buffer.
//!
//! A line such as `SET session:{key} {value} EX {int:10-100}` is split into words once; what does not change
//! is encoded then, so that making a request is a few copies. Called by the request source for every request;
//! it knows nothing of connections or time.

use crate::keys::KeyText;
use crate::random::Random;
use crate::sizes::{Sizes, ValueText};

/// What fills the places of a template; shared by all templates of a workload.
#[derive(Clone, Debug)]
pub struct Filling {
    /// The text of keys.
    pub keys: KeyText,
    /// The bytes of values.
    pub values: ValueText,
    /// The sizes of values.
    pub sizes: Sizes,
}

/// A compiled command line.
#[derive(Clone, Debug)]
pub struct Template {
    name: String,
    pieces: Vec<Piece>,
    extra_keys: usize,
}

/// A piece of an encoded request.
#[derive(Clone, Debug)]
enum Piece {
    /// Headers, constant words and keys. The keys are there as key number zero; where their texts end is kept
    /// apart, so that one copy and a few digits make this piece.
    Known(Known),
    /// Further keys, each a word of its own.
    MoreKeys(usize),
    /// A value as a word.
    Value,
    /// A word made of several parts, or of one whose length changes.
    Word(Vec<Part>),
}

/// Bytes that change only in the digits of the key.
#[derive(Clone, Debug, Default)]
struct Known {
    bytes: Vec<u8>,
    key_ends: Vec<usize>,
}

#[derive(Clone, Debug)]
enum Part {
    Text(Vec<u8>),
    Key,
    Number { low: u64, high: u64 },
}

/// The most keys of one request (`{keys:N}`), so that a slip of the finger does not eat the memory.
const MAX_KEYS: usize = 100_000;

impl Template {
    /// Compiles a line. Words are parted by spaces; a word may hold `{key}` (the request's key), `{int:LOW-HIGH}`
    /// (a random number), or be `{value}` or `{keys:N}` (N keys, the request's own first) as a whole.
    pub fn compile(line: &str, keys: &KeyText) -> Result<Self, String> {
        let words: Vec<Word> = line.split_whitespace().map(Word::parse).collect::<Result<_, _>>()?;
        let name = match words.first() {
            None => return Err("the command is empty".into()),
            Some(Word::Constant(name)) => name.to_ascii_uppercase(),
            Some(_) => return Err(format!("'{line}' must start with a command's name")),
        };
        let mut count = words.len();
        let mut extra_keys = 0;
        for word in &words {
            if let Word::Keys(keys) = word {
                count += keys - 1;
                extra_keys += keys - 1;
            }
        }
        let mut builder = Builder { pieces: Vec::new(), known: Known::default() };
        builder.known.bytes.extend_from_slice(format!("*{count}\r\n").as_bytes());
        for word in words {
            builder.word(word, keys);
        }
        Ok(Self { name, pieces: builder.finish(), extra_keys })
    }

    /// The command's name in capitals.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many keys the request asks for beyond its own one.
    pub fn extra_keys(&self) -> usize {
        self.extra_keys
    }

    /// Appends one request about `key`. `more` gives the further keys of `{keys:N}`.
    #[inline]
    pub fn encode(
        &self,
        key: u64,
        filling: &Filling,
        random: &mut Random,
        mut more: impl FnMut(&mut Random) -> u64,
        out: &mut Vec<u8>,
    ) {
        for piece in &self.pieces {
            match piece {
                Piece::Known(known) => {
                    let start = out.len();
                    out.extend_from_slice(&known.bytes);
                    for end in &known.key_ends {
                        KeyText::number(key, &mut out[start..start + end]);
                    }
                }
                Piece::MoreKeys(count) => {
                    for _ in 0..*count {
                        let another = more(random);
                        bulk_header(filling.keys.length(), out);
                        filling.keys.append(another, out);
                        out.extend_from_slice(b"\r\n");
                    }
                }
                Piece::Value => {
                    let size = filling.sizes.size(key);
                    bulk_header(size, out);
                    filling.values.append(key, size, out);
                    out.extend_from_slice(b"\r\n");
                }
                Piece::Word(parts) => append_word(parts, key, filling, random, out),
            }
        }
    }
}

/// A word of a line before encoding.
enum Word {
    Constant(String),
    Value,
    Keys(usize),
    Parts(Vec<Part>),
}

impl Word {
    fn parse(text: &str) -> Result<Self, String> {
        if text == "{value}" {
            return Ok(Self::Value);
        }
        if let Some(count) = text.strip_prefix("{keys:").and_then(|rest| rest.strip_suffix('}')) {
            return match count.parse::<usize>() {
                Ok(count) if (1..=MAX_KEYS).contains(&count) => Ok(Self::Keys(count)),
                _ => Err(format!("the count in '{text}' must be a number from 1 to {MAX_KEYS}")),
            };
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(start) = rest.find('{') {
            let length = rest[start..].find('}').ok_or_else(|| format!("'{text}' lacks a closing brace"))?;
            if start > 0 {
                parts.push(Part::Text(rest.as_bytes()[..start].to_vec()));
            }
            parts.push(Part::parse(&rest[start + 1..start + length], text)?);
            rest = &rest[start + length + 1..];
        }
        if parts.is_empty() {
            return Ok(Self::Constant(text.to_owned()));
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.as_bytes().to_vec()));
        }
        Ok(Self::Parts(parts))
    }
}

impl Part {
    fn parse(place: &str, word: &str) -> Result<Self, String> {
        if place == "key" {
            return Ok(Self::Key);
        }
        if let Some(range) = place.strip_prefix("int:") {
            let bounds =
                range.split_once('-').and_then(|(low, high)| Some((low.parse().ok()?, high.parse().ok()?)));
            return match bounds {
                Some((low, high)) if low <= high && high < u64::MAX => Ok(Self::Number { low, high }),
                _ => Err(format!("the range in '{word}' must be LOW-HIGH")),
            };
        }
        Err(format!(
            "unknown place '{{{place}}}' in '{word}': use {{key}}, {{int:LOW-HIGH}}, or {{value}} or {{keys:N}} as \
             a whole word"
        ))
    }
}

/// Collects pieces, merging what is known beforehand.
struct Builder {
    pieces: Vec<Piece>,
    known: Known,
}

impl Builder {
    fn word(&mut self, word: Word, keys: &KeyText) {
        match word {
            Word::Constant(text) => self.text_and_keys(&[Part::Text(text.into_bytes())], keys),
            Word::Value => self.push(Piece::Value),
            Word::Keys(count) => {
                self.text_and_keys(&[Part::Key], keys);
                if count > 1 {
                    self.push(Piece::MoreKeys(count - 1));
                }
            }
            Word::Parts(parts) if parts.iter().any(|part| matches!(part, Part::Number { .. })) => {
                self.push(Piece::Word(parts));
            }
            Word::Parts(parts) => self.text_and_keys(&parts, keys),
        }
    }

    /// A word of texts and keys, whose length never changes.
    fn text_and_keys(&mut self, parts: &[Part], keys: &KeyText) {
        let length =
            parts.iter().map(|part| if let Part::Text(text) = part { text.len() } else { keys.length() });
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

    fn push(&mut self, piece: Piece) {
        self.end_known();
        self.pieces.push(piece);
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
    out.push(b'$');
    out.extend_from_slice(itoa::Buffer::new().format(length).as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Appends a word whose length is known only once its numbers are drawn.
fn append_word(parts: &[Part], key: u64, filling: &Filling, random: &mut Random, out: &mut Vec<u8>) {
    let mut word = Vec::with_capacity(64);
    for part in parts {
        match part {
            Part::Text(text) => word.extend_from_slice(text),
            Part::Key => filling.keys.append(key, &mut word),
            Part::Number { low, high } => {
                let number = low + random.below(high - low + 1);
                word.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
            }
        }
    }
    bulk_header(word.len(), out);
    out.extend_from_slice(&word);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filling() -> Filling {
        Filling { keys: KeyText::new("k", 4, 1000), values: ValueText::new(1), sizes: Sizes::Fixed(3) }
    }

    fn encode(line: &str) -> String {
        let filling = filling();
        let template = Template::compile(line, &filling.keys).unwrap();
        let mut next = 100;
        let mut out = Vec::new();
        let more = |_: &mut Random| {
            next += 1;
            next
        };
        template.encode(7, &filling, &mut Random::new(1), more, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn encodes_requests() {
        assert_eq!(encode("PING"), "*1\r\n$4\r\nPING\r\n");
        assert_eq!(encode("get {key}"), "*2\r\n$3\r\nget\r\n$4\r\nk007\r\n");
        assert_eq!(encode("GET a:{key}:b"), "*2\r\n$3\r\nGET\r\n$8\r\na:k007:b\r\n");
        let set = encode("SET {key} {value} EX 10");
        assert!(set.starts_with("*5\r\n$3\r\nSET\r\n$4\r\nk007\r\n$3\r\n"), "{set}");
        assert!(set.ends_with("\r\n$2\r\nEX\r\n$2\r\n10\r\n"), "{set}");
        assert_eq!(encode("MGET {keys:3}"), "*4\r\n$4\r\nMGET\r\n$4\r\nk007\r\n$4\r\nk101\r\n$4\r\nk102\r\n");
        assert_eq!(encode("INCRBY {key} {int:5-5}"), "*3\r\n$6\r\nINCRBY\r\n$4\r\nk007\r\n$1\r\n5\r\n");
        assert_eq!(encode("HGET {key} f{int:3-3}x"), "*3\r\n$4\r\nHGET\r\n$4\r\nk007\r\n$3\r\nf3x\r\n");
    }

    #[test]
    fn names_and_counts() {
        let keys = filling().keys;
        let template = Template::compile("mget {keys:10}", &keys).unwrap();
        assert_eq!((template.name(), template.extra_keys()), ("MGET", 9));
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        let keys = filling().keys;
        for line in ["", "{key} x", "GET {kee}", "GET {key", "GET {keys:0}", "GET {int:9-1}", "GET a{value}"]
        {
            assert!(Template::compile(line, &keys).is_err(), "{line}");
        }
    }
}
