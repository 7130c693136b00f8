//! Finds where replies end, without keeping them.
//!
//! The generator needs to know that a reply has come, whether it was an error and how many nulls it held.
//! So replies are framed, not decoded: payloads are skipped as they arrive, nested replies are counted down
//! without recursion, and the state between two reads is a few numbers however large the reply is. RESP2 and
//! RESP3 are understood, except for streamed strings and aggregates, which no server sends.

/// What a whole reply was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply<'a> {
    /// The text of an error reply, without the dash; errors inside arrays are counted as values.
    pub error: Option<&'a [u8]>,
    /// How many nulls were in it; 1 for a reply that is a null.
    pub nulls: u32,
    /// The integer of an integer reply, 0 otherwise.
    pub number: i64,
}

/// Bytes that cannot be RESP; the connection is of no use any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotResp(pub String);

/// The state of one connection's incoming stream.
#[derive(Clone, Debug, Default)]
pub struct Framer {
    /// Payload bytes (with their line end) still to be skipped.
    skip: u64,
    /// Elements still to come before the current reply is whole.
    open: u64,
    /// Nulls met in the current reply.
    nulls: u32,
    /// The current message is a push (RESP3) and answers nothing.
    push: bool,
    /// Something of the current reply has been read.
    started: bool,
    /// The current reply is an aggregate, so an error in it is a value.
    nested: bool,
}

/// The longest header or simple line accepted.
const MAX_LINE: usize = 64 << 10;

/// The most elements that may be outstanding in one reply.
const MAX_OPEN: u64 = 1 << 32;

impl Framer {
    /// True between two replies.
    pub fn is_idle(&self) -> bool {
        !self.started
    }

    /// Takes bytes, calls `on_reply` for each reply that ends in them, and returns how many were used. What is
    /// left is the start of a line and has to be given again with more behind it.
    #[inline]
    pub fn feed(&mut self, bytes: &[u8], mut on_reply: impl FnMut(Reply<'_>)) -> Result<usize, NotResp> {
        let mut at = 0;
        while at < bytes.len() {
            if self.skip > 0 {
                let some = self.skip.min((bytes.len() - at) as u64);
                self.skip -= some;
                at += some as usize;
                if self.skip == 0 {
                    self.element_done(None, 0, &mut on_reply);
                }
                continue;
            }
            // Nearly all replies are whole strings; they need no state.
            if let Some(length) = whole_string(&bytes[at..]).filter(|_| !self.started) {
                on_reply(Reply { error: None, nulls: 0, number: 0 });
                at += length;
                continue;
            }
            let Some(length) = memchr::memchr(b'\n', &bytes[at..]) else {
                if bytes.len() - at > MAX_LINE {
                    return Err(NotResp("a line of more than 64 kB".into()));
                }
                break;
            };
            let line = &bytes[at..at + length];
            let Some(line) = line.strip_suffix(b"\r").filter(|line| !line.is_empty()) else {
                return Err(NotResp(format!("the line '{}'", line.escape_ascii())));
            };
            at += length + 1;
            self.line(line, &mut on_reply)?;
        }
        Ok(at)
    }

    /// Takes a whole line, which starts an element.
    #[inline]
    fn line(&mut self, line: &[u8], on_reply: &mut impl FnMut(Reply<'_>)) -> Result<(), NotResp> {
        let wrong = || NotResp(format!("the line '{}'", line[..line.len().min(60)].escape_ascii()));
        if !self.started {
            self.started = true;
            self.open = 1;
        }
        match line[0] {
            b'$' | b'=' | b'!' => match number(&line[1..]).ok_or_else(wrong)? {
                -1 => {
                    self.nulls += 1;
                    self.element_done(None, 0, on_reply);
                }
                length => self.skip = u64::try_from(length).map_err(|_| wrong())? + 2,
            },
            b'+' | b',' | b'#' | b'(' => self.element_done(None, 0, on_reply),
            b':' => self.element_done(None, number(&line[1..]).ok_or_else(wrong)?, on_reply),
            b'-' => self.element_done(Some(&line[1..]), 0, on_reply),
            b'_' => {
                self.nulls += 1;
                self.element_done(None, 0, on_reply);
            }
            kind @ (b'*' | b'~' | b'>' | b'%' | b'|') => {
                let count = number(&line[1..]).ok_or_else(wrong)?;
                self.aggregate(kind, count, on_reply).ok_or_else(wrong)?;
            }
            _ => return Err(wrong()),
        }
        Ok(())
    }

    fn aggregate(&mut self, kind: u8, count: i64, on_reply: &mut impl FnMut(Reply<'_>)) -> Option<()> {
        if count == -1 && kind == b'*' {
            self.nulls += 1;
            self.element_done(None, 0, on_reply);
            return Some(());
        }
        let count = u64::try_from(count).ok().filter(|count| *count < MAX_OPEN)?;
        self.nested |= kind != b'|';
        match kind {
            b'%' => self.open += 2 * count,
            // An attribute stands before the element it belongs to and is none itself.
            b'|' => {
                self.open += 2 * count;
                return Some(());
            }
            b'>' => {
                self.push = self.open == 1;
                self.open += count;
            }
            _ => self.open += count,
        }
        if self.open > MAX_OPEN {
            return None;
        }
        self.element_done(None, 0, on_reply);
        Some(())
    }

    #[inline]
    fn element_done(&mut self, error: Option<&[u8]>, number: i64, on_reply: &mut impl FnMut(Reply<'_>)) {
        self.open -= 1;
        if self.open == 0 {
            if !self.push {
                on_reply(Reply { error: error.filter(|_| !self.nested), nulls: self.nulls, number });
            }
            *self = Self::default();
        }
    }
}

/// The length of the string reply that starts here, if all of it is here and it is not longer than 7 digits say.
#[inline]
fn whole_string(bytes: &[u8]) -> Option<usize> {
    let (b'$', digits) = bytes.split_first()? else { return None };
    let mut length = 0;
    for (index, digit) in digits.iter().take(8).enumerate() {
        match digit {
            b'0'..=b'9' => length = length * 10 + usize::from(digit - b'0'),
            b'\r' if index > 0 && digits.get(index + 1) == Some(&b'\n') => {
                let whole = index + length + 5;
                return (whole <= bytes.len()).then_some(whole);
            }
            _ => return None,
        }
    }
    None
}

#[inline]
fn number(digits: &[u8]) -> Option<i64> {
    let (negative, digits) = match digits.split_first()? {
        (b'-', rest) => (true, rest),
        (b'+', rest) => (false, rest),
        _ => (false, digits),
    };
    if digits.is_empty() || digits.len() > 19 {
        return None;
    }
    let mut value = 0i64;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(i64::from(digit - b'0'))?;
    }
    Some(if negative { -value } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Feeds the stream in pieces of the given size and returns (error, nulls) per reply.
    fn replies(stream: &[u8], piece: usize) -> Vec<(Option<String>, u32)> {
        let mut framer = Framer::default();
        let mut carry = Vec::new();
        let mut seen = Vec::new();
        for chunk in stream.chunks(piece.max(1)) {
            carry.extend_from_slice(chunk);
            let used = framer
                .feed(&carry, |reply| {
                    seen.push((reply.error.map(|e| String::from_utf8_lossy(e).into_owned()), reply.nulls));
                })
                .unwrap();
            carry.drain(..used);
        }
        assert!(carry.is_empty() && framer.is_idle());
        seen
    }

    const STREAM: &[u8] = b"+OK\r\n$5\r\nhello\r\n$-1\r\n$0\r\n\r\n:-12\r\n-ERR no\r\n*3\r\n$1\r\na\r\n$-1\r\n*2\r\n:1\r\n\
        -ERR inner\r\n*0\r\n*-1\r\n%2\r\n+a\r\n:1\r\n+b\r\n~1\r\n#t\r\n_\r\n,1.5\r\n=7\r\ntxt:abc\r\n\
        >2\r\n+message\r\n$2\r\nhi\r\n|1\r\n+ttl\r\n:3\r\n$1\r\nx\r\n(123456789012345678901\r\n$4\r\n\r\n\r\n\r\n";

    #[test]
    fn frames_every_kind_however_cut() {
        let whole = replies(STREAM, STREAM.len());
        let nulls: Vec<u32> = whole.iter().map(|reply| reply.1).collect();
        assert_eq!(nulls, [0, 0, 1, 0, 0, 0, 1, 0, 1, 0, 1, 0, 0, 0, 0, 0]);
        assert_eq!(whole[5].0.as_deref(), Some("ERR no"));
        assert_eq!(whole.iter().filter(|reply| reply.0.is_some()).count(), 1);
        for piece in 1..40 {
            assert_eq!(replies(STREAM, piece), whole, "pieces of {piece}");
        }
    }

    #[test]
    fn refuses_what_is_not_resp() {
        for bytes in [
            &b"HTTP/1.1 400 Bad Request\r\n"[..],
            b"\r\n",
            b"+OK\n",
            b"$x\r\n",
            b"$-2\r\n",
            b"*-2\r\n",
            b":\r\n",
            b"*99999999999\r\n",
        ] {
            let answer = Framer::default().feed(bytes, |_| {});
            assert!(answer.is_err(), "{}", bytes.escape_ascii());
        }
        assert!(Framer::default().feed(&vec![b'+'; MAX_LINE + 2], |_| {}).is_err());
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Framer::default().feed(&bytes, |_| {});
        }

        #[test]
        fn deep_nesting_costs_nothing(depth in 1usize..5000) {
            let mut stream = b"*1\r\n".repeat(depth);
            stream.extend_from_slice(b":1\r\n");
            prop_assert_eq!(replies(&stream, 7).len(), 1);
        }
    }
}
