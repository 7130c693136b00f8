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
    /// How many strings were in it, not counting simple ones such as OK.
    pub strings: u32,
    /// How many errors were in it as values.
    pub faults: u32,
    /// It is an array, a set or a map.
    pub nested: bool,
    /// The integer of an integer reply, 0 otherwise.
    pub number: i64,
    /// What it looks like.
    pub form: Form,
}

/// What a reply looks like, as far as it matters to what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The simple string OK.
    Ok,
    /// An integer.
    Integer,
    /// Anything else.
    Other,
}

impl Reply<'_> {
    /// Says what its last line looked like; if it is an array, that was a part of it only.
    fn of(self, form: Form) -> Self {
        if self.nested { self } else { Self { form, ..self } }
    }
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
    /// Elements still to come of an attribute (RESP3), which stands before the element it belongs to and is no part of
    /// the reply.
    aside: u64,
    /// Nulls met in the current reply.
    nulls: u32,
    /// Strings met in it.
    strings: u32,
    /// Errors met inside it.
    faults: u32,
    /// What is skipped is the text of an error (RESP3).
    bulk_error: bool,
    /// The current message is a push (RESP3) and answers nothing.
    push: bool,
    /// Something of the current reply has been read.
    started: bool,
    /// The current reply is an aggregate, so an error in it is a value.
    nested: bool,
}

/// Stands for the text of an error that was sent as a blob (RESP3).
const BULK_ERROR: &[u8] = b"an error sent as a blob";

/// The longest header or simple line accepted.
const MAX_LINE: usize = 64 << 10;

/// The longest string that a server may announce: what Redis takes for one unless it is told otherwise
/// (`proto-max-bulk-len`). Nobody has stored a longer one, and nobody is to wait for it.
const MAX_STRING: u64 = 512 << 20;

/// The most elements that may be outstanding in one reply.
const MAX_OPEN: u64 = 1 << 32;

impl Framer {
    /// True between two replies.
    pub fn is_idle(&self) -> bool {
        !self.started
    }

    /// True inside a push (RESP3), which answers nothing.
    pub fn is_push(&self) -> bool {
        self.push
    }

    /// Takes bytes from `at` on, and returns the next reply that ends in them. `at` is moved behind what was used;
    /// what is left when there is no whole reply any more is the start of a line and has to be given again with
    /// more behind it.
    // Inlined, so that the reply of the usual case is never put together in memory.
    #[inline(always)]
    pub fn next<'a>(&mut self, bytes: &'a [u8], at: &mut usize) -> Result<Option<Reply<'a>>, NotResp> {
        if !self.started {
            // Nearly all replies are whole strings, nulls and OKs; they need no state.
            let (length, nulls, strings, form) = match &bytes[*at..] {
                [b'+', b'O', b'K', b'\r', b'\n', ..] => (5, 0, 0, Form::Ok),
                [b'$', b'-', b'1', b'\r', b'\n', ..] => (5, 1, 0, Form::Other),
                rest => (whole_string(rest).unwrap_or(0), 0, 1, Form::Other),
            };
            if length > 0 {
                *at += length;
                let (error, faults, nested, number) = (None, 0, false, 0);
                return Ok(Some(Reply { error, nulls, strings, faults, nested, number, form }));
            }
        }
        self.step(bytes, at)
    }

    /// As [`Framer::next`], for every kind of reply.
    fn step<'a>(&mut self, bytes: &'a [u8], at: &mut usize) -> Result<Option<Reply<'a>>, NotResp> {
        while *at < bytes.len() {
            let done = if self.skip > 0 {
                self.payload(bytes, at)?;
                if self.skip > 0 {
                    break;
                }
                let error = std::mem::take(&mut self.bulk_error).then_some(BULK_ERROR);
                self.strings += u32::from(error.is_none() && self.aside == 0);
                self.element_done(error, 0)
            } else {
                let rest = &bytes[*at..];
                let Some(length) = memchr::memchr(b'\n', rest) else {
                    if rest.len() > MAX_LINE {
                        return Err(NotResp("a line of more than 64 kB".into()));
                    }
                    break;
                };
                let line = &rest[..length];
                let Some(line) = line.strip_suffix(b"\r").filter(|line| !line.is_empty()) else {
                    return Err(NotResp(format!("the line '{}'", line.escape_ascii())));
                };
                *at += length + 1;
                self.line(line)?
            };
            if done.is_some() {
                return Ok(done);
            }
        }
        Ok(None)
    }

    /// Skips what is here of a payload. Its line end may be cut anywhere, so it is looked at byte by byte.
    #[inline]
    fn payload(&mut self, bytes: &[u8], at: &mut usize) -> Result<(), NotResp> {
        let some = self.skip.saturating_sub(2).min((bytes.len() - *at) as u64);
        self.skip -= some;
        *at += some as usize;
        while self.skip.wrapping_sub(1) < 2 && *at < bytes.len() {
            let expected = if self.skip == 2 { b'\r' } else { b'\n' };
            if bytes[*at] != expected {
                return Err(NotResp("a string that is not as long as announced".into()));
            }
            self.skip -= 1;
            *at += 1;
        }
        Ok(())
    }

    /// Takes a whole line, which starts an element; returns the reply that it ends.
    #[inline]
    fn line<'a>(&mut self, line: &'a [u8]) -> Result<Option<Reply<'a>>, NotResp> {
        let wrong = || NotResp(format!("the line '{}'", line[..line.len().min(60)].escape_ascii()));
        if !self.started {
            self.started = true;
            self.open = 1;
        }
        Ok(match line[0] {
            b'$' | b'=' | b'!' => match number(&line[1..]).ok_or_else(wrong)? {
                -1 => self.null_done(),
                length => {
                    let length = u64::try_from(length).map_err(|_| wrong())?;
                    if length > MAX_STRING {
                        return Err(NotResp(format!(
                            "a string of {length} bytes, where 512 MB are the most"
                        )));
                    }
                    self.bulk_error = line[0] == b'!';
                    self.skip = length + 2;
                    None
                }
            },
            b'+' if line == b"+OK" => self.element_done(None, 0).map(|reply| reply.of(Form::Ok)),
            b'+' | b',' | b'#' | b'(' => self.element_done(None, 0),
            b':' => {
                let number = number(&line[1..]).ok_or_else(wrong)?;
                self.element_done(None, number).map(|reply| reply.of(Form::Integer))
            }
            b'-' => self.element_done(Some(&line[1..]), 0),
            b'_' if line.len() == 1 => self.null_done(),
            kind @ (b'*' | b'~' | b'>' | b'%' | b'|') => {
                let count = number(&line[1..]).ok_or_else(wrong)?;
                if self.opens(kind, count).ok_or_else(wrong)? { self.element_done(None, 0) } else { None }
            }
            _ => return Err(wrong()),
        })
    }

    /// Takes the header of an aggregate; true if it is an element itself, none if it cannot be.
    fn opens(&mut self, kind: u8, count: i64) -> Option<bool> {
        if count == -1 && kind == b'*' {
            self.nulls += u32::from(self.aside == 0);
            return Some(true);
        }
        let count = u64::try_from(count).ok().filter(|count| *count < MAX_OPEN)?;
        let count = if matches!(kind, b'%' | b'|') { 2 * count } else { count };
        // What is in an attribute is part of it, whatever it is; an attribute is no element itself.
        if kind == b'|' || self.aside > 0 {
            self.aside += count;
            return (self.aside <= MAX_OPEN).then_some(kind != b'|');
        }
        self.nested = true;
        self.push |= kind == b'>' && self.open == 1;
        self.open += count;
        (self.open <= MAX_OPEN).then_some(true)
    }

    #[inline]
    fn null_done<'a>(&mut self) -> Option<Reply<'a>> {
        self.nulls += u32::from(self.aside == 0);
        self.element_done(None, 0)
    }

    #[inline]
    fn element_done<'a>(&mut self, error: Option<&'a [u8]>, number: i64) -> Option<Reply<'a>> {
        if self.aside > 0 {
            self.aside -= 1;
            return None;
        }
        self.open -= 1;
        self.faults += u32::from(error.is_some() && self.nested);
        if self.open > 0 {
            return None;
        }
        let whole = std::mem::take(self);
        let error = error.filter(|_| !whole.nested);
        let Self { nulls, strings, faults, nested, .. } = whole;
        let form = Form::Other;
        (!whole.push).then_some(Reply { error, nulls, strings, faults, nested, number, form })
    }
}

/// The length of the string reply that starts here, if all of it is here, ends as it has to and is not longer than
/// 7 digits say.
#[inline]
fn whole_string(bytes: &[u8]) -> Option<usize> {
    let (b'$', digits) = bytes.split_first()? else { return None };
    let mut length = 0;
    for (index, digit) in digits.iter().take(8).enumerate() {
        match digit {
            b'0'..=b'9' => length = length * 10 + usize::from(digit - b'0'),
            b'\r' if index > 0 && digits.get(index + 1) == Some(&b'\n') => {
                let whole = index + length + 5;
                return (bytes.get(whole - 2..whole)? == b"\r\n").then_some(whole);
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
            let mut used = 0;
            while let Some(reply) = framer.next(&carry, &mut used).unwrap() {
                seen.push((reply.error.map(|e| String::from_utf8_lossy(e).into_owned()), reply.nulls));
            }
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
    fn what_is_in_an_attribute_is_no_part_of_the_reply() {
        let whole = |stream: &[u8], piece: usize| {
            let (mut framer, mut carry, mut seen) = (Framer::default(), Vec::new(), Vec::new());
            for chunk in stream.chunks(piece) {
                carry.extend_from_slice(chunk);
                let mut used = 0;
                while let Some(reply) = framer.next(&carry, &mut used).unwrap() {
                    let error = reply.error.map(|error| error.to_vec());
                    seen.push((error, reply.nulls, reply.strings, reply.faults, reply.nested, reply.number));
                }
                carry.drain(..used);
            }
            assert!(carry.is_empty() && framer.is_idle());
            seen
        };
        // In it: a null, an array of nulls, strings and errors, a map, another attribute, a push and an empty array.
        let attribute = b"|4\r\n+ttl\r\n_\r\n*4\r\n$-1\r\n*-1\r\n$2\r\nab\r\n!3\r\nERR\r\n\
            %1\r\n$1\r\nk\r\n|1\r\n+x\r\n:5\r\n-ERR no\r\n>1\r\n$1\r\np\r\n:9\r\n*0\r\n:1\r\n";
        for reply in [
            &b"$1\r\nx\r\n"[..],
            b"_\r\n",
            b":7\r\n",
            b"-ERR own\r\n",
            b"*2\r\n-ERR in\r\n$-1\r\n",
            b"|0\r\n+OK\r\n",
        ] {
            let alone = whole(reply, reply.len());
            assert_eq!(alone.len(), 1);
            let both = [&attribute[..], reply].concat();
            for piece in 1..=both.len() {
                assert_eq!(whole(&both, piece), alone, "{} by {piece}", reply.escape_ascii());
            }
        }
        let inside = [&b"*2\r\n$1\r\na\r\n"[..], attribute, b"_\r\n"].concat();
        assert_eq!(whole(&inside, 3), [(None, 1, 1, 0, true, 0)]);
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
            b"$536870913\r\n",
            b"*2\r\n=9999999999999\r\n",
            b"!536870913\r\n",
        ] {
            let answer = Framer::default().next(bytes, &mut 0);
            assert!(answer.is_err(), "{}", bytes.escape_ascii());
        }
        assert!(Framer::default().next(&vec![b'+'; MAX_LINE + 2], &mut 0).is_err());
        assert_eq!(Framer::default().next(b"$536870912\r\n", &mut 0), Ok(None), "the longest string");
    }

    #[test]
    fn refuses_strings_that_do_not_end_where_they_should() {
        let streams = [
            &b"$5\r\nhelloZZ"[..],
            b"$5\r\nhello\rZ",
            b"$5\r\nhello\n\n",
            b"$4\r\nhello\r\n",
            b"$0\r\nx\r\n",
            b"*1\r\n$5\r\nhelloZZ",
            b"=5\r\ntxt:aZ\n",
            b"_no\r\n",
        ];
        for (stream, piece) in streams.iter().flat_map(|stream| (1..=stream.len()).map(move |n| (stream, n)))
        {
            let (mut framer, mut carry, mut refused) = (Framer::default(), Vec::new(), false);
            for chunk in stream.chunks(piece) {
                carry.extend_from_slice(chunk);
                let mut used = 0;
                match framer.next(&carry, &mut used) {
                    Ok(reply) => assert_eq!(reply, None, "{} by {piece}", stream.escape_ascii()),
                    Err(_) => refused = true,
                }
                if refused {
                    break;
                }
                carry.drain(..used);
            }
            assert!(refused, "{} by {piece}", stream.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let (mut framer, mut at) = (Framer::default(), 0);
            while let Ok(Some(_)) = framer.next(&bytes, &mut at) {}
            prop_assert!(at <= bytes.len());
        }

        #[test]
        fn deep_nesting_costs_nothing(depth in 1usize..5000) {
            let mut stream = b"*1\r\n".repeat(depth);
            stream.extend_from_slice(b":1\r\n");
            prop_assert_eq!(replies(&stream, 7).len(), 1);
        }
    }
}
