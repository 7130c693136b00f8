//! Where a reply ends: the length of one complete RESP2 or RESP3 frame, found without decoding it.
//!
//! The router calls this for every byte a node sends, to cut the stream into replies that it passes on as
//! they are. It never recurses (a count of frames still to come is all the state that nesting needs),
//! never allocates, and resumes where it stopped, so a reply of many pieces is looked at once.

/// Longest line of a simple type (`+`, `-`, `:`, a header) in bytes. Nodes send error texts of a few hundred.
const MAX_LINE: usize = 1 << 20;

/// Longest bulk string in bytes: Redis's hard limit for `proto-max-bulk-len` is far above its 512 MiB default,
/// and replies such as `KEYS` are arrays, so 4 GiB leaves room.
const MAX_BULK: u64 = 4 << 30;

/// Most frames that may still be due inside one reply.
const MAX_DUE: u64 = 1 << 40;

/// Why bytes are not a reply. The connection they came from can only be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A frame begins with a byte that names no type.
    #[error("unknown reply type {:?}", char::from(*.0))]
    UnknownType(u8),
    /// A length or count that is malformed or out of range.
    #[error("invalid length in a reply")]
    InvalidLength,
    /// A line without an end within the limit.
    #[error("too long a line in a reply")]
    LineTooLong,
}

/// Resumable search for the end of one reply.
///
/// Call [`next`](Self::next) with the unconsumed bytes, always from the same reply's start, until it returns a
/// length; then advance by it.
#[derive(Debug, Clone)]
pub struct Frames {
    /// Everything before this offset has been looked at; may lie beyond the input, inside a bulk string.
    at: usize,
    /// How far the line that starts at `at` was searched for its end.
    searched: usize,
    /// Frames still due.
    due: u64,
}

impl Default for Frames {
    fn default() -> Self {
        Self { at: 0, searched: 0, due: 1 }
    }
}

impl Frames {
    /// At the start of a reply.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many more bytes are certainly needed: a hint for buffer sizes.
    pub fn wanted(&self, have: usize) -> usize {
        self.at.saturating_sub(have).max(1)
    }

    /// The length of the reply at the start of `input`, or `None` if it is not complete. A RESP3 attribute
    /// belongs to the reply behind it.
    ///
    /// # Errors
    /// When the bytes can never become a reply; the scanner is then not usable any more.
    #[inline]
    pub fn next(&mut self, input: &[u8]) -> Result<Option<usize>, FrameError> {
        while self.due > 0 {
            // A bulk string may end beyond what has arrived.
            if self.at >= input.len() {
                return Ok(None);
            }
            // By far the most frequent: a bulk string, whose header is all there.
            if let Some((header, len)) = bulk(&input[self.at..]) {
                self.at += header + len + 2;
                self.searched = 0;
                self.due -= 1;
                continue;
            }
            let Some(end) = self.line_end(input)? else { return Ok(None) };
            let kind = input[self.at];
            let line = &input[self.at + 1..end - 2];
            self.at = end;
            self.searched = 0;
            match kind {
                b'$' | b'=' | b'!' => {
                    self.due -= 1;
                    if let Some(len) = length(line, MAX_BULK)? {
                        self.at += len as usize + 2;
                    }
                }
                b'+' | b'-' | b':' | b'_' | b',' | b'#' | b'(' => self.due -= 1,
                b'*' | b'~' | b'>' => {
                    self.due += length(line, MAX_DUE)?.unwrap_or(0);
                    self.due -= 1;
                }
                b'%' => {
                    self.due += 2 * length(line, MAX_DUE)?.unwrap_or(0);
                    self.due -= 1;
                }
                // An attribute is no frame of its own: what it describes follows and is still due.
                b'|' => self.due += 2 * length(line, MAX_DUE)?.unwrap_or(0),
                other => return Err(FrameError::UnknownType(other)),
            }
            if self.due > MAX_DUE {
                return Err(FrameError::InvalidLength);
            }
        }
        if self.at > input.len() {
            return Ok(None);
        }
        let len = self.at;
        *self = Self::default();
        Ok(Some(len))
    }

    /// One past the LF of the line that starts at `self.at`.
    #[inline]
    fn line_end(&mut self, input: &[u8]) -> Result<Option<usize>, FrameError> {
        let from = self.at + self.searched;
        match memchr::memchr(b'\n', &input[from..]) {
            Some(lf) => {
                let end = from + lf + 1;
                if end < self.at + 3 || input[end - 2] != b'\r' {
                    return Err(FrameError::InvalidLength);
                }
                Ok(Some(end))
            }
            None if input.len() - self.at > MAX_LINE => Err(FrameError::LineTooLong),
            None => {
                self.searched = input.len() - self.at;
                Ok(None)
            }
        }
    }
}

/// A bulk string's header with up to 8 digits: its own length, and the string's. `None` is no verdict.
#[inline]
fn bulk(input: &[u8]) -> Option<(usize, usize)> {
    let [b'$', rest @ ..] = input else { return None };
    let mut len = 0;
    for (i, c) in rest.iter().take(9).enumerate() {
        let digit = c.wrapping_sub(b'0');
        if digit > 9 {
            let whole = i > 0 && *c == b'\r' && rest.get(i + 1) == Some(&b'\n');
            return whole.then_some((i + 3, len));
        }
        len = len * 10 + usize::from(digit);
    }
    None
}

/// A length or count; `None` for -1 (RESP2's nulls).
#[inline]
fn length(digits: &[u8], max: u64) -> Result<Option<u64>, FrameError> {
    if digits == b"-1" {
        return Ok(None);
    }
    if digits.is_empty() || digits.len() > 15 {
        return Err(FrameError::InvalidLength);
    }
    let mut value = 0u64;
    for c in digits {
        let digit = c.wrapping_sub(b'0');
        if digit > 9 {
            return Err(FrameError::InvalidLength);
        }
        value = value * 10 + u64::from(digit);
    }
    if value > max { Err(FrameError::InvalidLength) } else { Ok(Some(value)) }
}

/// The length of the reply at the start of bytes that were already cut out as complete, `None` at their end.
#[inline]
pub fn first(reply: &[u8]) -> Option<usize> {
    if let Some((header, len)) = bulk(reply) {
        return Some(header + len + 2).filter(|end| *end <= reply.len());
    }
    Frames::new().next(reply).ok().flatten()
}

/// The elements of a complete aggregate reply, each as its bytes; empty for anything that is not an aggregate.
/// A map yields keys and values in turn. A leading attribute is skipped.
pub fn elements(reply: &[u8]) -> Elements<'_> {
    let mut rest = reply;
    while rest.first() == Some(&b'|') {
        let Some((pairs, body)) = head(rest) else { break };
        rest = body;
        for _ in 0..2 * pairs {
            let Some(len) = first(rest) else { break };
            rest = &rest[len..];
        }
    }
    let per = match rest.first() {
        Some(b'*' | b'~' | b'>') => 1,
        Some(b'%') => 2,
        _ => return Elements { rest: &[], left: 0 },
    };
    match head(rest) {
        Some((count, body)) => Elements { rest: body, left: count * per },
        None => Elements { rest: &[], left: 0 },
    }
}

/// The number in the first line, and what follows that line; a null aggregate counts 0.
fn head(reply: &[u8]) -> Option<(usize, &[u8])> {
    let end = memchr::memchr(b'\n', reply)?;
    let count = length(reply.get(1..end.checked_sub(1)?)?, MAX_DUE).ok()?.unwrap_or(0);
    Some((count as usize, &reply[end + 1..]))
}

/// Iterator of [`elements`].
#[derive(Debug, Clone)]
pub struct Elements<'a> {
    rest: &'a [u8],
    left: usize,
}

impl<'a> Elements<'a> {
    /// How many are left, as the header announced.
    pub fn left(&self) -> usize {
        self.left
    }

    /// The bytes of all elements that are left.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        if self.left == 0 {
            return None;
        }
        let (element, rest) = self.rest.split_at(first(self.rest)?);
        self.rest = rest;
        self.left -= 1;
        Some(element)
    }
}

/// The text of a scalar reply: a bulk or verbatim string's contents (without the `txt:`), a line without its
/// type and end. `None` for nulls and aggregates.
pub fn text(reply: &[u8]) -> Option<&[u8]> {
    let end = memchr::memchr(b'\n', reply)?;
    let line = reply.get(1..end.checked_sub(1)?)?;
    match reply.first()? {
        b'$' | b'!' => {
            let len = length(line, MAX_BULK).ok()??;
            reply.get(end + 1..end + 1 + len as usize)
        }
        b'=' => {
            let len = length(line, MAX_BULK).ok()??;
            reply.get(end + 5..end + 1 + len as usize)
        }
        b'+' | b'-' | b':' | b',' | b'#' | b'(' => Some(line),
        _ => None,
    }
}

/// An integer reply's value.
pub fn integer(reply: &[u8]) -> Option<i64> {
    if reply.first() == Some(&b':') { std::str::from_utf8(text(reply)?).ok()?.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use redis_protocol::resp3::{
        decode::complete::decode,
        encode::complete::encode,
        types::{OwnedFrame, Resp3Frame},
    };

    use super::*;

    fn whole(reply: &[u8]) -> Result<Option<usize>, FrameError> {
        Frames::new().next(reply)
    }

    #[test]
    fn every_type() {
        for reply in [
            "+OK\r\n",
            "-ERR x\r\n",
            ":12\r\n",
            "$-1\r\n",
            "$0\r\n\r\n",
            "$3\r\na\nb\r\n",
            "*-1\r\n",
            "*0\r\n",
            "_\r\n",
            "#t\r\n",
            ",1.5\r\n",
            "(123\r\n",
            "=7\r\ntxt:abc\r\n",
            "!5\r\nERR x\r\n",
            "*2\r\n$1\r\na\r\n*1\r\n:1\r\n",
            "%1\r\n+a\r\n~2\r\n:1\r\n:2\r\n",
            "|1\r\n+ttl\r\n:3\r\n$1\r\na\r\n",
            ">2\r\n+invalidate\r\n*0\r\n",
            "*1\r\n|1\r\n+k\r\n+v\r\n:1\r\n",
        ] {
            let reply = reply.as_bytes();
            assert_eq!(whole(reply), Ok(Some(reply.len())), "{}", reply.escape_ascii());
            let followed = [reply, b"+next\r\n"].concat();
            assert_eq!(whole(&followed), Ok(Some(reply.len())), "{}", reply.escape_ascii());
            for cut in 0..reply.len() {
                assert_eq!(whole(&reply[..cut]), Ok(None), "{} at {cut}", reply.escape_ascii());
            }
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for reply in
            ["x\r\n", "$-2\r\n", "$1x\r\n", "*\r\n", "\r\n", "$?\r\n", "*99999999999999999\r\n", ":1\n"]
        {
            assert!(whole(reply.as_bytes()).is_err(), "{reply:?}");
        }
        assert_eq!(whole(&vec![b'+'; MAX_LINE + 2]), Err(FrameError::LineTooLong));
    }

    #[test]
    fn depth_needs_no_stack() {
        let mut deep = b"*1\r\n".repeat(1_000_000);
        assert_eq!(whole(&deep), Ok(None));
        deep.extend_from_slice(b":1\r\n");
        assert_eq!(whole(&deep), Ok(Some(deep.len())));
    }

    #[test]
    fn counts_cannot_overflow() {
        let bomb = b"*1099511627776\r\n".repeat(64);
        assert_eq!(whole(&bomb), Err(FrameError::InvalidLength));
    }

    #[test]
    fn parts_of_replies() {
        let reply = b"|1\r\n+k\r\n+v\r\n*3\r\n$1\r\na\r\n$-1\r\n*1\r\n:7\r\n";
        let parts: Vec<&[u8]> = elements(reply).collect();
        assert_eq!(parts, [&b"$1\r\na\r\n"[..], b"$-1\r\n", b"*1\r\n:7\r\n"]);
        assert_eq!(text(parts[0]), Some(&b"a"[..]));
        assert_eq!(text(parts[1]), None);
        assert_eq!(text(b"=5\r\ntxt:a\r\n"), Some(&b"a"[..]));
        assert_eq!(integer(b":-3\r\n"), Some(-3));
        assert_eq!(elements(b"%1\r\n+a\r\n:1\r\n").count(), 2);
        assert_eq!(elements(b"*-1\r\n").count(), 0);
    }

    fn frame() -> impl Strategy<Value = OwnedFrame> {
        let bytes = proptest::collection::vec(any::<u8>(), 0..20);
        let leaf = prop_oneof![
            bytes.prop_map(|data| OwnedFrame::BlobString { data, attributes: None }),
            "[a-z ]{0,12}".prop_map(|s| OwnedFrame::SimpleString { data: s.into_bytes(), attributes: None }),
            "[A-Z]{1,6} [a-z]{0,9}".prop_map(|data| OwnedFrame::SimpleError { data, attributes: None }),
            any::<i64>().prop_map(|data| OwnedFrame::Number { data, attributes: None }),
            any::<bool>().prop_map(|data| OwnedFrame::Boolean { data, attributes: None }),
            Just(OwnedFrame::Null),
        ];
        leaf.prop_recursive(5, 60, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6)
                    .prop_map(|data| OwnedFrame::Array { data, attributes: None }),
                proptest::collection::vec(inner, 1..6)
                    .prop_map(|data| OwnedFrame::Push { data, attributes: None }),
            ]
        })
    }

    proptest! {
        /// The length is the one that redis-protocol's decoder consumes, whatever pieces the bytes come in.
        #[test]
        fn agrees_with_redis_protocol(frames in proptest::collection::vec(frame(), 1..4), cuts in proptest::collection::vec(0.0..1.0f64, 0..8)) {
            let mut stream = Vec::new();
            for frame in &frames {
                let mut buffer = vec![0; frame.encode_len(false)];
                let n = encode(&mut buffer, frame, false).unwrap();
                stream.extend_from_slice(&buffer[..n]);
            }
            let mut ends: Vec<usize> = cuts.iter().map(|c| (c * stream.len() as f64) as usize).collect();
            ends.push(stream.len());
            ends.sort_unstable();
            let mut scanner = Frames::new();
            let mut start = 0;
            for end in ends {
                while let Some(len) = scanner.next(&stream[start..end]).unwrap() {
                    let (_, consumed) = decode(&stream[start..]).unwrap().unwrap();
                    prop_assert_eq!(len, consumed);
                    start += len;
                }
            }
            prop_assert_eq!(start, stream.len());
        }

        #[test]
        fn any_bytes_are_safe(bytes in proptest::collection::vec(prop_oneof![Just(b'*'), Just(b'$'), Just(b'\r'), Just(b'\n'), Just(b'1'), any::<u8>()], 0..200)) {
            let _ = whole(&bytes);
            let _ = elements(&bytes).count();
            let _ = text(&bytes);
        }
    }
}
