//! The request scanner: raw bytes to argument ranges, without copying and without rescanning.
//!
//! Called by node and router for every byte a client sends. It accepts what Redis 7 accepts (multibulk
//! requests and inline commands) and fails with Redis's texts. It never allocates in proportion to a
//! number that a client merely announced, never recurses, and resumes where it stopped, so any split of
//! the same bytes gives the same result and costs the same.

use std::ops::{Index, Range};

use smallvec::SmallVec;

/// Bounds on one request. The defaults are Redis's.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Longest argument in bytes (`proto-max-bulk-len`, 512 MiB).
    pub max_bulk_len: u64,
    /// Longest inline request, and longest header line, in bytes (64 KiB).
    pub max_inline: usize,
    /// Most arguments in one request (1024 * 1024, as Redis's INT_MAX is beyond any buffer limit here).
    pub max_args: i64,
    /// Whether the client is authenticated; before that, Redis allows 10 arguments of 16384 bytes.
    pub authenticated: bool,
}

impl Limits {
    /// Whether they allow all that [`whole`] and [`arguments`] take.
    #[inline]
    pub fn are_usual(&self) -> bool {
        self.authenticated && self.max_bulk_len >= SHORT_ARG as u64
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_bulk_len: 512 << 20,
            max_inline: 64 << 10,
            max_args: i64::from(i32::MAX),
            authenticated: true,
        }
    }
}

/// Why a byte stream is not RESP. After one of these the connection can only be closed: the
/// text is sent as `-ERR Protocol error: <text>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// An inline request without an end of line within the limit.
    #[error("too big inline request")]
    InlineTooBig,
    /// A quote was opened and not closed, or closed inside a word.
    #[error("unbalanced quotes in request")]
    UnbalancedQuotes,
    /// `*` followed by too many bytes without an end of line.
    #[error("too big mbulk count string")]
    CountTooLong,
    /// `*` followed by something that is not a count in range.
    #[error("invalid multibulk length")]
    InvalidCount,
    /// More than 10 arguments before authentication.
    #[error("unauthenticated multibulk length")]
    UnauthenticatedCount,
    /// `$` followed by too many bytes without an end of line.
    #[error("too big bulk count string")]
    BulkLenTooLong,
    /// An argument that does not begin with `$`.
    #[error("expected '$', got '{}'", char::from(*.0))]
    ExpectedDollar(u8),
    /// A negative, malformed or oversized argument length.
    #[error("invalid bulk length")]
    InvalidBulkLen,
    /// A line of a web request, `POST ...` or `Host: ...`: somebody makes a browser talk to us. Closed without a word.
    #[error("a line of a web request")]
    WebRequest,
    /// An argument above 16384 bytes before authentication.
    #[error("unauthenticated bulk length")]
    UnauthenticatedBulkLen,
}

/// Where an argument lies, in bytes from the start of its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

/// The arguments of one request, name included: ranges into the bytes as received.
#[derive(Debug, Clone, Copy)]
pub struct Args<'a> {
    bytes: &'a [u8],
    spans: &'a [Span],
}

impl<'a> Args<'a> {
    /// Wraps spans that lie within `bytes`.
    pub fn new(bytes: &'a [u8], spans: &'a [Span]) -> Self {
        Self { bytes, spans }
    }

    /// How many arguments, the command's name included.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there is not even a name.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Argument `i`, if there is one; the borrow is of the request, not of `self`.
    pub fn get(&self, i: usize) -> Option<&'a [u8]> {
        self.spans.get(i).map(|s| &self.bytes[s.start as usize..s.end as usize])
    }

    /// Argument `i`; panics when out of range, which the arity check excludes.
    pub fn at(&self, i: usize) -> &'a [u8] {
        let s = self.spans[i];
        &self.bytes[s.start as usize..s.end as usize]
    }

    /// The arguments from `i` on.
    pub fn from(&self, i: usize) -> Args<'a> {
        Args { bytes: self.bytes, spans: &self.spans[i.min(self.spans.len())..] }
    }

    /// The first `n` arguments, or all if there are fewer.
    pub fn first(&self, n: usize) -> Args<'a> {
        Args { bytes: self.bytes, spans: &self.spans[..n.min(self.spans.len())] }
    }

    /// All arguments in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &'a [u8]> + DoubleEndedIterator + Clone + use<'a> {
        let bytes = self.bytes;
        self.spans.iter().map(move |s| &bytes[s.start as usize..s.end as usize])
    }

    /// The request's bytes, as the spans see them (as received, for multibulk requests).
    pub fn raw(&self) -> &'a [u8] {
        self.bytes
    }

    /// The ranges themselves.
    pub fn spans(&self) -> &'a [Span] {
        self.spans
    }

    /// Whether argument `i` exists and equals `word`, letters compared without case.
    pub fn is(&self, i: usize, word: &str) -> bool {
        self.get(i).is_some_and(|a| a.eq_ignore_ascii_case(word.as_bytes()))
    }
}

impl Index<usize> for Args<'_> {
    type Output = [u8];
    fn index(&self, i: usize) -> &[u8] {
        self.at(i)
    }
}

/// An argument list that owns its bytes: for tests, internal requests and inline commands.
#[derive(Debug, Clone, Default)]
pub struct OwnedArgs {
    bytes: Vec<u8>,
    spans: Vec<Span>,
}

impl OwnedArgs {
    /// Copies the arguments, encoded as one multibulk request.
    pub fn new<T: AsRef<[u8]>>(args: impl IntoIterator<Item = T>) -> Self {
        let args: Vec<T> = args.into_iter().collect();
        let mut bytes = Vec::new();
        let mut spans = Vec::with_capacity(args.len());
        super::reply::header(&mut bytes, b'*', args.len() as i64);
        for arg in &args {
            let arg = arg.as_ref();
            super::reply::header(&mut bytes, b'$', arg.len() as i64);
            let start = bytes.len() as u32;
            bytes.extend_from_slice(arg);
            spans.push(Span { start, end: bytes.len() as u32 });
            bytes.extend_from_slice(b"\r\n");
        }
        Self { bytes, spans }
    }

    /// The arguments, borrowed.
    pub fn args(&self) -> Args<'_> {
        Args::new(&self.bytes, &self.spans)
    }
}

/// One complete request found by [`Scanner::next`].
#[derive(Debug, PartialEq, Eq)]
pub enum Request {
    /// `consumed` bytes of the input hold a multibulk request; spans are relative to the input's start.
    Multibulk {
        /// Length in bytes.
        consumed: usize,
    },
    /// `consumed` bytes hold an inline command. Its arguments were unquoted and re-encoded as a multibulk
    /// request in [`Scanner::inline`], to which the spans refer.
    Inline {
        /// Length in bytes.
        consumed: usize,
    },
    /// `consumed` bytes hold nothing to execute (an empty line, `*0`).
    Empty {
        /// Length in bytes.
        consumed: usize,
    },
}

/// Resumable scanner of one connection's requests.
///
/// Call [`next`](Self::next) with the unconsumed bytes, always starting at the same request, until it
/// returns a request; then advance by `consumed`. On `Ok(None)` it remembers how far it looked.
#[derive(Debug, Default)]
pub struct Scanner {
    /// Arguments still to come of a request whose header was read.
    missing: i64,
    /// Where scanning resumes, from the start of the request.
    at: usize,
    /// Length of the argument being waited for, if its header was read.
    bulk: Option<usize>,
    spans: SmallVec<[Span; 16]>,
    inline: Vec<u8>,
}

enum Line<'a> {
    Complete(&'a [u8]),
    Incomplete,
    TooLong,
}

/// The line that starts at `at`, up to CR; one byte after CR must have arrived (Redis does not look at it).
fn line(input: &[u8], at: usize, limit: usize) -> Line<'_> {
    let rest = &input[at..];
    match memchr::memchr(b'\r', &rest[..rest.len().min(limit + 1)]) {
        Some(cr) if cr + 1 < rest.len() => Line::Complete(&rest[..cr]),
        Some(_) => Line::Incomplete,
        None if rest.len() > limit => Line::TooLong,
        None => Line::Incomplete,
    }
}

/// The number in a header `<kind><digits>\r\n` at `at`, and where what follows begins. `None` for anything unusual.
#[inline(always)]
fn header(input: &[u8], at: usize, kind: u8) -> Option<(usize, usize)> {
    let rest = input.get(at..)?;
    // Nearly always there is more than a header, so it can be looked at as a whole.
    if let Some(&[first, a, b, c, d, _, _, _]) = rest.first_chunk::<8>() {
        if first != kind {
            return None;
        }
        let [a, b, c] = [a, b, c].map(|byte| usize::from(byte.wrapping_sub(b'0')));
        const CR: usize = b'\r'.wrapping_sub(b'0') as usize;
        if b == CR && a <= 9 {
            return Some((a, at + 4));
        }
        if c == CR && (1..=9).contains(&a) && b <= 9 {
            return Some((a * 10 + b, at + 5));
        }
        if d == b'\r' && (1..=9).contains(&a) && b <= 9 && c <= 9 {
            return Some((a * 100 + b * 10 + c, at + 6));
        }
    }
    if *rest.first()? != kind {
        return None;
    }
    digits(input, at + 1)
}

/// The usual digits up to CR LF at `at`, and where what follows begins. `None` for anything else: the scanner knows
/// what to make of it.
fn digits(input: &[u8], mut at: usize) -> Option<(usize, usize)> {
    let first = *input.get(at)?;
    let mut n = usize::from(first.wrapping_sub(b'0'));
    if n > 9 {
        return None;
    }
    for _ in 0..4 {
        at += 1;
        let byte = *input.get(at)?;
        if byte == b'\r' {
            // One byte behind CR must be there, as everywhere.
            return (at + 1 < input.len()).then_some((n, at + 2));
        }
        let digit = usize::from(byte.wrapping_sub(b'0'));
        if digit > 9 || first == b'0' {
            return None;
        }
        n = n * 10 + digit;
    }
    None
}

/// Longest argument that [`whole`] takes.
const SHORT_ARG: usize = 4096;

/// The usual case, without state: a multibulk request of short arguments that is there as a whole at the start of
/// `input`. Its length; the spans are appended to `spans`. Whatever is unusual, incomplete or wrong is `None` and
/// leaves `spans` as it was: then a [`Scanner`] at the start of a request must look.
#[inline]
pub fn whole(input: &[u8], limits: &Limits, spans: &mut Vec<Span>) -> Option<usize> {
    let (count, at) = header(input, 0, b'*')?;
    if count == 0 || count as i64 > limits.max_args || !limits.are_usual() {
        return None;
    }
    arguments(input, at, count, spans)
}

/// The last part of that: `count` short arguments from `at` on, of a request that begins where `input` does and is there as a whole.
/// Where they end.
#[inline]
pub fn arguments(input: &[u8], mut at: usize, count: usize, spans: &mut Vec<Span>) -> Option<usize> {
    let before = spans.len();
    for _ in 0..count {
        let Some((len, start)) = header(input, at, b'$')
            .filter(|(len, start)| *len <= SHORT_ARG && start + len + 2 <= input.len())
        else {
            spans.truncate(before);
            return None;
        };
        // At most 9999 arguments of 4096 bytes: spans are wide enough.
        spans.push(Span { start: start as u32, end: (start + len) as u32 });
        at = start + len + 2;
    }
    Some(at)
}

impl Scanner {
    /// Whether it is at the start of a request, so that [`whole`] may be tried.
    #[inline]
    pub fn is_fresh(&self) -> bool {
        self.missing == 0 && self.at == 0
    }

    /// A scanner at the start of a request.
    pub fn new() -> Self {
        Self::default()
    }

    /// The spans of the request that [`next`](Self::next) just returned.
    pub fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// The last inline request, re-encoded as multibulk.
    pub fn inline(&self) -> &[u8] {
        &self.inline
    }

    /// How many more bytes are certainly needed before `next` can succeed; a hint for buffer sizes, bounded
    /// by what has been checked against the limits.
    pub fn wanted(&self, have: usize) -> usize {
        self.bulk.map_or(1, |len| (self.at + len + 2).saturating_sub(have).max(1))
    }

    /// Where the argument that is waited for begins and ends, from the start of the request, if its length is known.
    pub fn awaited(&self) -> Option<Range<usize>> {
        self.bulk.map(|len| self.at..self.at + len)
    }

    /// How many arguments are still to come, that which is waited for included.
    pub fn missing(&self) -> usize {
        self.missing.max(0) as usize
    }

    /// Looks for one request at the start of `input`.
    ///
    /// # Errors
    /// When the bytes can never become a request; the scanner is then not usable any more.
    #[inline]
    pub fn next(&mut self, input: &[u8], limits: &Limits) -> Result<Option<Request>, ProtocolError> {
        if self.missing == 0 {
            let Some(first) = input.first() else { return Ok(None) };
            self.spans.clear();
            if *first != b'*' {
                return self.next_inline(input, limits);
            }
            let head = match line(input, 0, limits.max_inline) {
                Line::Complete(head) => head,
                Line::Incomplete => return Ok(None),
                Line::TooLong => return Err(ProtocolError::CountTooLong),
            };
            let count = crate::number::parse_i64(&head[1..]).ok_or(ProtocolError::InvalidCount)?;
            if count > limits.max_args {
                return Err(ProtocolError::InvalidCount);
            }
            if count > 10 && !limits.authenticated {
                return Err(ProtocolError::UnauthenticatedCount);
            }
            let consumed = head.len() + 2;
            if count <= 0 {
                self.at = 0;
                return Ok(Some(Request::Empty { consumed }));
            }
            self.at = consumed;
            self.missing = count;
            self.bulk = None;
        }
        while self.missing > 0 {
            let len = match self.bulk {
                Some(len) => len,
                None => match self.bulk_header(input, limits)? {
                    Some(len) => len,
                    None => return Ok(None),
                },
            };
            let end = self.at + len;
            // Spans are 32 bits wide. No buffer limit lets a request grow so large; it must not wrap if one did.
            let span = match (u32::try_from(self.at), u32::try_from(end)) {
                (Ok(start), Ok(end)) => Span { start, end },
                _ => return Err(ProtocolError::InvalidBulkLen),
            };
            if input.len() < end + 2 {
                self.bulk = Some(len);
                return Ok(None);
            }
            self.spans.push(span);
            self.bulk = None;
            self.at = end + 2;
            self.missing -= 1;
        }
        // The next request begins at its own start.
        Ok(Some(Request::Multibulk { consumed: std::mem::take(&mut self.at) }))
    }

    /// Reads `$<len>\r\n` at `self.at`.
    #[inline]
    fn bulk_header(&mut self, input: &[u8], limits: &Limits) -> Result<Option<usize>, ProtocolError> {
        // The usual case: `$`, one or two digits, CR LF, all there.
        if let Some(&[b'$', d, b'\r', _]) = input.get(self.at..self.at + 4)
            && d.is_ascii_digit()
        {
            self.at += 4;
            return Ok(Some(usize::from(d - b'0')));
        }
        if let Some(&[b'$', tens @ b'1'..=b'9', ones @ b'0'..=b'9', b'\r', _]) =
            input.get(self.at..self.at + 5)
        {
            self.at += 5;
            return Ok(Some(usize::from(tens - b'0') * 10 + usize::from(ones - b'0')));
        }
        if self.at >= input.len() {
            return Ok(None);
        }
        let head = match line(input, self.at, limits.max_inline) {
            Line::Complete(head) => head,
            Line::Incomplete => return Ok(None),
            Line::TooLong => return Err(ProtocolError::BulkLenTooLong),
        };
        if head.first() != Some(&b'$') {
            return Err(ProtocolError::ExpectedDollar(input[self.at]));
        }
        let len = crate::number::parse_i64(&head[1..])
            .filter(|n| *n >= 0 && *n as u64 <= limits.max_bulk_len)
            .ok_or(ProtocolError::InvalidBulkLen)?;
        if len > 16384 && !limits.authenticated {
            return Err(ProtocolError::UnauthenticatedBulkLen);
        }
        self.at += head.len() + 2;
        Ok(Some(len as usize))
    }

    #[cold]
    fn next_inline(&mut self, input: &[u8], limits: &Limits) -> Result<Option<Request>, ProtocolError> {
        let from = self.at.min(input.len());
        let Some(lf) = memchr::memchr(b'\n', &input[from..]).map(|i| i + from) else {
            if input.len() > limits.max_inline {
                return Err(ProtocolError::InlineTooBig);
            }
            self.at = input.len();
            return Ok(None);
        };
        self.at = 0;
        // A line that arrived at once is not longer than one that arrived in pieces may be.
        if lf > limits.max_inline {
            return Err(ProtocolError::InlineTooBig);
        }
        let line = input[..lf].strip_suffix(b"\r").unwrap_or(&input[..lf]);
        let words = super::inline::split(line).ok_or(ProtocolError::UnbalancedQuotes)?;
        let consumed = lf + 1;
        if words.is_empty() {
            return Ok(Some(Request::Empty { consumed }));
        }
        if [&b"post"[..], b"host:"].iter().any(|name| words[0].eq_ignore_ascii_case(name)) {
            return Err(ProtocolError::WebRequest);
        }
        let owned = OwnedArgs::new(words);
        self.inline = owned.bytes;
        self.spans.extend(owned.spans);
        Ok(Some(Request::Inline { consumed }))
    }
}
