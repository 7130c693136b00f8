//! Writing replies, in RESP2 or RESP3 as the client asked for.
//!
//! Handlers describe what a reply *is* (a map, a double, a null); this module knows how each protocol
//! version spells it.

use bytes::Bytes;

use super::annex::{Annex, LEAST_ATTACHED};
use crate::Error;

/// The version a client speaks, chosen by `HELLO`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// The default of every connection.
    #[default]
    Resp2,
    /// After `HELLO 3`.
    Resp3,
}

/// Nearly all lengths and many numbers are small: `_<n>\r\n` for each of them, and how many bytes that is in the last one.
static SMALL: [[u8; 8]; 1000] = small();

const fn small() -> [[u8; 8]; 1000] {
    let mut headers = [[0; 8]; 1000];
    let mut n = 0;
    while n < headers.len() {
        let digits = [b'0' + (n / 100) as u8, b'0' + (n / 10 % 10) as u8, b'0' + (n % 10) as u8];
        headers[n] = match (digits, n) {
            ([a, b, c], 100..) => [0, a, b, c, b'\r', b'\n', 0, 6],
            ([_, b, c], 10..) => [0, b, c, b'\r', b'\n', 0, 0, 5],
            ([.., c], _) => [0, c, b'\r', b'\n', 0, 0, 0, 4],
        };
        n += 1;
    }
    headers
}

/// Appends `<kind><n>\r\n`.
#[inline]
pub fn header(out: &mut Vec<u8>, kind: u8, n: i64) {
    // Eight bytes written at once and cut need no digit loop and no call to copy a few bytes.
    if let Some(&[_, a, b, c, d, e, f, len]) = usize::try_from(n).ok().and_then(|n| SMALL.get(n)) {
        let end = out.len() + usize::from(len);
        out.extend_from_slice(&[kind, a, b, c, d, e, f, len]);
        out.truncate(end);
        return;
    }
    long_header(out, kind, n);
}

/// The last three digits of a number.
static THREE: [[u8; 4]; 1000] = three();

const fn three() -> [[u8; 4]; 1000] {
    let mut digits = [[0; 4]; 1000];
    let mut n = 0;
    while n < digits.len() {
        digits[n] = [b'0' + (n / 100) as u8, b'0' + (n / 10 % 10) as u8, b'0' + (n % 10) as u8, 0];
        n += 1;
    }
    digits
}

fn long_header(out: &mut Vec<u8>, kind: u8, n: i64) {
    let Ok(n @ 1000..1_000_000_000) = u32::try_from(n) else {
        out.push(kind);
        out.extend_from_slice(itoa::Buffer::new().format(n).as_bytes());
        out.extend_from_slice(b"\r\n");
        return;
    };
    let (thousands, [d, e, f, _]) = (n / 1000, THREE[(n % 1000) as usize]);
    let first = if thousands < 1000 { thousands } else { thousands / 1000 };
    let [_, a, b, c, .., len] = SMALL[first as usize];
    // The digits before the others, without the end of their line.
    let end = out.len() + usize::from(len) - 2;
    out.extend_from_slice(&[kind, a, b, c]);
    out.truncate(end);
    if thousands >= 1000 {
        out.extend_from_slice(&THREE[(thousands % 1000) as usize][..3]);
    }
    out.extend_from_slice(&[d, e, f, b'\r', b'\n']);
}

/// What a bulk string takes at most beyond its bytes.
const AROUND: usize = 24;

/// Writes replies into a connection's output buffer.
#[derive(Debug)]
pub struct Reply<'a> {
    out: &'a mut Vec<u8>,
    annex: Option<&'a mut Annex>,
    protocol: Protocol,
}

impl<'a> Reply<'a> {
    /// Appends to `out`.
    pub fn new(out: &'a mut Vec<u8>, protocol: Protocol) -> Self {
        Self { out, annex: None, protocol }
    }

    /// Appends to `out`, or attaches to `annex` what need not be copied, as far as the annex allows.
    pub fn with_annex(out: &'a mut Vec<u8>, annex: &'a mut Annex, protocol: Protocol) -> Self {
        Self { out, annex: Some(annex), protocol }
    }

    /// Which version is being written.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Goes on in another version (`HELLO` answers in the one it chose).
    pub fn set_protocol(&mut self, protocol: Protocol) {
        self.protocol = protocol;
    }

    /// Whether RESP3 is being written.
    pub fn is_resp3(&self) -> bool {
        self.protocol == Protocol::Resp3
    }

    /// Bytes in the buffer: a mark for [`truncate`](Self::truncate) and [`array_from`](Self::array_from).
    pub fn mark(&self) -> usize {
        self.out.len()
    }

    /// Takes back everything written since `mark`.
    pub fn truncate(&mut self, mark: usize) {
        self.out.truncate(mark);
        if let Some(annex) = &mut self.annex {
            annex.truncate(mark);
        }
    }

    /// Whether the replies are larger than the annex allows: the client is to be disconnected, whatever else is written.
    pub fn is_exceeded(&self) -> bool {
        self.annex.as_ref().is_some_and(|annex| annex.is_exceeded())
    }

    /// Takes out what was written since `mark`, in which nothing is attached.
    pub fn split_off(&mut self, mark: usize) -> Vec<u8> {
        // Behind the end if the replies became too large meanwhile.
        self.out.split_off(mark.min(self.out.len()))
    }

    /// What was written since `mark`, in which nothing is attached.
    pub fn since(&self, mark: usize) -> &[u8] {
        self.out.get(mark..).unwrap_or_default()
    }

    /// The buffer, for bytes that are already RESP.
    pub fn raw(&mut self) -> &mut Vec<u8> {
        self.out
    }

    /// `+OK`.
    pub fn ok(&mut self) {
        self.out.extend_from_slice(b"+OK\r\n");
    }

    /// A simple string; must hold no CR or LF.
    pub fn simple(&mut self, text: &str) {
        self.out.push(b'+');
        self.out.extend_from_slice(text.as_bytes());
        self.out.extend_from_slice(b"\r\n");
    }

    /// An error reply with the error's code and text.
    pub fn error(&mut self, error: &Error) {
        use std::io::Write;
        self.out.push(b'-');
        let at = self.out.len();
        match error {
            Error::UnsupportedOption(option) => {
                self.out.extend_from_slice(b"ERR Unsupported option ");
                self.out.extend_from_slice(option);
            }
            error => write!(self.out, "{error}").expect("writing to memory cannot fail"),
        }
        // As in Redis, an error is one line whatever a client put into it.
        for byte in &mut self.out[at..] {
            if matches!(*byte, b'\r' | b'\n') {
                *byte = b' ';
            }
        }
        self.out.extend_from_slice(b"\r\n");
    }

    /// An integer.
    #[inline]
    pub fn int(&mut self, n: i64) {
        header(self.out, b':', n);
    }

    /// 1 or 0, as commands answer that predate RESP3's booleans.
    pub fn flag(&mut self, yes: bool) {
        self.int(i64::from(yes));
    }

    /// A RESP3 boolean; 1 or 0 in RESP2.
    pub fn boolean(&mut self, yes: bool) {
        if self.is_resp3() {
            self.out.extend_from_slice(if yes { b"#t\r\n" } else { b"#f\r\n" });
        } else {
            self.flag(yes);
        }
    }

    /// A bulk string.
    #[inline]
    pub fn bulk(&mut self, bytes: &[u8]) {
        if self.out.capacity() - self.out.len() < bytes.len() + AROUND {
            self.grow(bytes.len() + AROUND);
        }
        header(self.out, b'$', bytes.len() as i64);
        self.out.extend_from_slice(bytes);
        self.out.extend_from_slice(b"\r\n");
    }

    /// A bulk string that is a part of one that can be shared: if it is long, it is attached instead of copied.
    pub fn part(&mut self, whole: &Bytes, part: &[u8]) {
        if let Some(annex) = &mut self.annex
            && part.len() >= LEAST_ATTACHED
            && annex.allows(self.out.len(), part.len())
        {
            header(self.out, b'$', part.len() as i64);
            annex.attach(self.out.len(), whole.slice_ref(part));
            self.out.extend_from_slice(b"\r\n");
            return;
        }
        self.bulk(part);
    }

    /// Makes room in the buffer, if replies may become so large.
    #[cold]
    fn grow(&mut self, room: usize) {
        if let Some(annex) = &mut self.annex
            && !annex.allows(self.out.len(), room)
        {
            // Nobody will read them: what is written from here on goes where they were.
            self.out.clear();
            annex.truncate(0);
        }
        self.out.reserve(room);
    }

    /// A bulk string, or null.
    #[inline]
    pub fn bulk_or_null(&mut self, bytes: Option<&[u8]>) {
        match bytes {
            Some(bytes) => self.bulk(bytes),
            None => self.null(),
        }
    }

    /// An integer as a bulk string.
    pub fn bulk_int(&mut self, n: i64) {
        self.bulk(itoa::Buffer::new().format(n).as_bytes());
    }

    /// A null: `_` in RESP3, the null bulk string in RESP2.
    #[inline]
    pub fn null(&mut self) {
        self.out.extend_from_slice(if self.is_resp3() { b"_\r\n" } else { b"$-1\r\n" });
    }

    /// A null where RESP2 answers a null array (`*-1`).
    pub fn null_array(&mut self) {
        self.out.extend_from_slice(if self.is_resp3() { b"_\r\n" } else { b"*-1\r\n" });
    }

    /// A double; a bulk string in RESP2. Formatted as Redis formats scores.
    pub fn double(&mut self, value: f64) {
        // Most scores are integers: they need no allocation.
        if let Some(n) = crate::number::exact_int(value)
            && (n != 0 || value.is_sign_positive())
        {
            return if self.is_resp3() { header(self.out, b',', n) } else { self.bulk_int(n) };
        }
        let text = crate::number::format_f64(value);
        if self.is_resp3() {
            self.out.push(b',');
            self.out.extend_from_slice(text.as_bytes());
            self.out.extend_from_slice(b"\r\n");
        } else {
            self.bulk(text.as_bytes());
        }
    }

    /// Text for people (`INFO`): a verbatim string of type `txt` in RESP3, a bulk string in RESP2.
    pub fn verbatim(&mut self, text: &str) {
        if self.is_resp3() {
            header(self.out, b'=', text.len() as i64 + 4);
            self.out.extend_from_slice(b"txt:");
            self.out.extend_from_slice(text.as_bytes());
            self.out.extend_from_slice(b"\r\n");
        } else {
            self.bulk(text.as_bytes());
        }
    }

    /// Begins an array of `n` elements.
    #[inline]
    pub fn array(&mut self, n: usize) {
        header(self.out, b'*', n as i64);
    }

    /// Begins a map of `n` pairs; an array of `2n` elements in RESP2.
    pub fn map(&mut self, n: usize) {
        if self.is_resp3() { header(self.out, b'%', n as i64) } else { self.array(2 * n) }
    }

    /// Begins a set of `n` elements; an array in RESP2.
    pub fn set(&mut self, n: usize) {
        if self.is_resp3() { header(self.out, b'~', n as i64) } else { self.array(n) }
    }

    /// Begins an out-of-band push of `n` elements; an array in RESP2.
    pub fn push(&mut self, n: usize) {
        if self.is_resp3() { header(self.out, b'>', n as i64) } else { self.array(n) }
    }

    /// Puts an array header of `n` elements before everything written since `mark`: for replies whose
    /// length is known only at the end. Costs one move of those bytes.
    pub fn array_from(&mut self, mark: usize, n: usize) {
        self.insert_header(mark, b'*', n);
    }

    /// The same with a set header.
    pub fn set_from(&mut self, mark: usize, n: usize) {
        let kind = if self.is_resp3() { b'~' } else { b'*' };
        self.insert_header(mark, kind, n);
    }

    fn insert_header(&mut self, mark: usize, kind: u8, n: usize) {
        if mark > self.out.len() {
            // The replies became too large meanwhile and are gone.
            return;
        }
        let mut head = Vec::with_capacity(12);
        header(&mut head, kind, n as i64);
        let end = self.out.len();
        self.out.extend_from_slice(&head);
        self.out[mark..].rotate_right(head.len());
        if let Some(annex) = &mut self.annex {
            annex.shift(mark, head.len());
        }
        debug_assert_eq!(self.out.len(), end + head.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_all_lengths_are_written() {
        let powers = (0..=18).map(|n| 10i64.pow(n)).flat_map(|p| [p - 1, p, p + 1, p * 7, -p]);
        let some = (0..200_000).chain((0..1_010_000_000).step_by(99_973));
        for n in powers.chain(some).chain([i64::MIN, i64::MAX]) {
            let mut out = b"before".to_vec();
            header(&mut out, b':', n);
            assert_eq!(String::from_utf8_lossy(&out), format!("before:{n}\r\n"));
        }
    }
}
