//! Small collections as one run of bytes: no pointer, no allocation per element.
//!
//! The element encoding is that of listpack (the published specification, "Listpack specification" by
//! S. Sanfilippo): integers take 1 to 9 bytes, strings a 1 to 5 byte header; each element ends with its own
//! length, written backwards, so that the run can be walked from either end. A [`Packed`] is the body
//! only; the element count is kept beside it. Lists, hashes, sets and sorted sets use it while they are small.

mod iter;
#[cfg(test)]
mod tests;

pub use iter::Iter;
use shoal_proto::number;

/// One element: a string, or the integer whose canonical text it is.
#[derive(Debug, Clone, Copy)]
pub enum Elem<'a> {
    /// Any bytes.
    Bytes(&'a [u8]),
    /// Stored as a number; reads as its decimal text.
    Int(i64),
}

impl<'a> Elem<'a> {
    /// How `bytes` are stored.
    pub fn of(bytes: &'a [u8]) -> Self {
        if bytes.len() <= 20
            && let Some(n) = number::parse_i64(bytes)
        {
            return Self::Int(n);
        }
        Self::Bytes(bytes)
    }

    /// The text, in `buffer` if it must be formatted.
    pub fn text<'b>(self, buffer: &'b mut itoa::Buffer) -> &'b [u8]
    where
        'a: 'b,
    {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Int(n) => buffer.format(n).as_bytes(),
        }
    }

    /// The text, copied.
    pub fn to_vec(self) -> Vec<u8> {
        self.text(&mut itoa::Buffer::new()).to_vec()
    }

    /// The number, if the text is a canonical integer.
    pub fn as_int(self) -> Option<i64> {
        match self {
            Self::Bytes(_) => None,
            Self::Int(n) => Some(n),
        }
    }
}

impl PartialEq for Elem<'_> {
    fn eq(&self, other: &Self) -> bool {
        // Canonical: a text that is an integer is always stored as one.
        match (self, other) {
            (Self::Bytes(a), Elem::Bytes(b)) => a == b,
            (Self::Int(a), Elem::Int(b)) => a == b,
            _ => false,
        }
    }
}

/// A run of elements. Positions are byte offsets of elements; `end()` is one past the last.
///
/// There may be room before the first element, so that removing there does not move the others each time.
#[derive(Debug, Clone, Default)]
pub struct Packed {
    buffer: Vec<u8>,
    count: u32,
    /// Bytes of the buffer before the first element.
    room: u32,
}

impl PartialEq for Packed {
    fn eq(&self, other: &Self) -> bool {
        self.count == other.count && self.bytes() == other.bytes()
    }
}

impl Eq for Packed {}

/// Shorter runs are moved: that costs less than keeping room.
const LEAST_ROOMY: usize = 256;
/// The longest text with a head of one byte.
const SHORT_TEXT: usize = 63;
/// The longest element whose length behind it is one byte.
const SHORT: usize = 127;
/// More room is not kept.
const MOST_ROOMY: usize = 1 << 20;
/// What is free at one end serves the other if it is at least this part of the run: a byte that is added moves so many at most.
const FAIR: usize = 16;

/// How much a run of so many bytes grows at once: a small one doubles, others grow by about a quarter.
pub(super) fn growth(len: usize) -> usize {
    len.clamp(8, 64 + len / 4)
}

impl Packed {
    /// An empty run.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends the run to `out` in its densest form: without the lengths at the elements' ends.
    pub(crate) fn write_dense(&self, out: &mut Vec<u8>) {
        let bytes = self.bytes();
        let mut at = 0;
        while at < bytes.len() {
            let (_, len) = decode(&bytes[at..]);
            out.extend_from_slice(&bytes[at..at + len]);
            at += len + back_len_size(len);
        }
    }

    /// Reads what [`write_dense`](Self::write_dense) wrote for `count` elements, whatever is behind them.
    pub(crate) fn read_dense(dense: &[u8], count: u32) -> Self {
        let mut bytes = Vec::with_capacity(dense.len() + 2 * count as usize);
        let mut at = 0;
        for _ in 0..count {
            let (_, len) = decode(&dense[at..]);
            bytes.extend_from_slice(&dense[at..at + len]);
            bytes.extend_from_slice(back_len(len, &mut [0; 5]));
            at += len;
        }
        Self { buffer: bytes, count, room: 0 }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Length of the run in bytes.
    pub fn byte_len(&self) -> usize {
        self.buffer.len() - self.room as usize
    }

    /// Bytes of memory held.
    pub fn memory(&self) -> usize {
        self.buffer.capacity()
    }

    /// The run itself.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[self.room as usize..]
    }

    /// Position past the last element.
    pub fn end(&self) -> usize {
        self.byte_len()
    }

    /// The element at position `at`, and the position of the next. `None` at the end.
    #[inline]
    pub fn read(&self, at: usize) -> Option<(Elem<'_>, usize)> {
        let bytes = self.bytes();
        if at >= bytes.len() {
            return None;
        }
        let (elem, len) = decode(&bytes[at..]);
        Some((elem, at + len + back_len_size(len)))
    }

    /// The element at one end.
    #[inline]
    pub(super) fn peek(&self, at_front: bool) -> Option<Elem<'_>> {
        let at = if at_front { 0 } else { self.before(self.end())? };
        self.read(at).map(|(elem, _)| elem)
    }

    /// The position of the element before position `at`. `None` at the start.
    pub fn before(&self, at: usize) -> Option<usize> {
        if at == 0 {
            return None;
        }
        let mut len = 0usize;
        let mut shift = 0;
        let mut p = at - 1;
        let bytes = self.bytes();
        loop {
            let byte = bytes[p];
            len |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
            shift += 7;
            p -= 1;
        }
        Some(p - len)
    }

    /// Position of element `index`; negative counts from the end.
    pub fn position(&self, index: i64) -> Option<usize> {
        let len = self.len() as i64;
        let index = if index < 0 { len + index } else { index };
        if !(0..len).contains(&index) {
            return None;
        }
        if index <= len / 2 {
            let mut at = 0;
            for _ in 0..index {
                at = self.read(at)?.1;
            }
            Some(at)
        } else {
            let mut at = self.end();
            for _ in index..len {
                at = self.before(at)?;
            }
            Some(at)
        }
    }

    /// The elements in order.
    pub fn iter(&self) -> Iter<'_> {
        Iter { packed: self, at: 0, end: self.end() }
    }

    /// The elements between two positions.
    pub fn slice(&self, from: usize, to: usize) -> Iter<'_> {
        Iter { packed: self, at: from, end: to }
    }

    /// Position of the first element equal to `bytes`, looking at every `step`th from position `at`.
    pub fn find(&self, bytes: &[u8], mut at: usize, step: usize) -> Option<usize> {
        let wanted = Written::of(bytes);
        let bytes = self.bytes();
        while at < bytes.len() {
            if wanted.begins(&bytes[at..]) {
                return Some(at);
            }
            at = (0..step).fold(at, |at, _| self.next(at));
        }
        None
    }

    /// Position of the element behind the one at position `at`.
    #[inline]
    fn next(&self, at: usize) -> usize {
        match self.bytes().get(at).map(|first| LENGTHS[usize::from(*first)]) {
            // Short ones end with a length of one byte.
            Some(len @ 1..) => at + usize::from(len) + 1,
            _ => self.read(at).map_or(at, |(_, next)| next),
        }
    }

    /// Inserts before position `at` (which may be `end()`).
    #[inline]
    pub fn insert(&mut self, at: usize, bytes: &[u8]) {
        self.count += 1;
        let elem = Elem::of(bytes);
        if matches!(elem, Elem::Bytes(_)) && self.insert_short(at, bytes) {
            return;
        }
        let mut head = [0u8; 16];
        let encoded = encode(elem, &mut head);
        self.splice(at, at, &head[..encoded.head], encoded.body, bytes);
    }

    /// Inserts a text at an end where there is room, if its length behind it takes one byte. Whether it did.
    #[inline]
    fn insert_short(&mut self, at: usize, text: &[u8]) -> bool {
        let (len, head) = (text.len(), 1 + usize::from(text.len() > SHORT_TEXT));
        if head + len > SHORT {
            return false;
        }
        let first = if head == 1 { 0x80 | len as u8 } else { 0xe0 };
        let (back, total, room) = ((head + len) as u8, head + len + 1, self.room as usize);
        if at == 0 && room >= total {
            self.room = (room - total) as u32;
            let to = &mut self.buffer[room - total..room];
            (to[0], to[1]) = (first, len as u8);
            to[head..head + len].copy_from_slice(text);
            to[head + len] = back;
            return true;
        }
        if at == self.end() {
            self.reserve(total);
            self.buffer.push(first);
            if head == 2 {
                self.buffer.push(len as u8);
            }
            self.buffer.extend_from_slice(text);
            self.buffer.push(back);
            return true;
        }
        false
    }

    /// Appends.
    pub fn push(&mut self, bytes: &[u8]) {
        self.insert(self.end(), bytes);
    }

    /// Replaces the element at position `at`.
    pub fn replace(&mut self, at: usize, bytes: &[u8]) {
        let next = self.read(at).map_or(at, |(_, next)| next);
        let mut head = [0u8; 16];
        let encoded = encode(Elem::of(bytes), &mut head);
        self.splice(at, next, &head[..encoded.head], encoded.body, bytes);
    }

    /// Removes `n` elements from position `at` on.
    pub fn remove(&mut self, at: usize, n: usize) {
        let mut end = at;
        for _ in 0..n {
            match self.read(end) {
                Some((_, next)) => end = next,
                None => break,
            }
            self.count -= 1;
        }
        if at > 0 || self.end() < LEAST_ROOMY {
            let room = self.room as usize;
            self.buffer.drain(room + at..room + end);
            return;
        }
        let room = self.room as usize + end;
        // What is left is moved when that is less than the room.
        if room > self.buffer.len() - room + LEAST_ROOMY || room > MOST_ROOMY {
            self.buffer.drain(..room);
            self.room = 0;
        } else {
            self.room = room as u32;
        }
    }

    /// Splits off the elements from position `at` on; there are `n` of them.
    pub fn split_off(&mut self, at: usize, n: usize) -> Self {
        self.count -= n as u32;
        Self { buffer: self.buffer.split_off(self.room as usize + at), count: n as u32, room: 0 }
    }

    /// Appends all of `other`.
    pub fn append(&mut self, other: &Self) {
        self.reserve(other.byte_len());
        self.buffer.extend_from_slice(other.bytes());
        self.count += other.count;
    }

    /// Free bytes at an end.
    #[inline]
    pub(super) fn room(&self, at_front: bool) -> usize {
        if at_front { self.room as usize } else { self.buffer.capacity() - self.buffer.len() }
    }

    /// Makes room for so many bytes more behind the last element.
    #[inline]
    fn reserve(&mut self, bytes: usize) {
        if self.room(false) < bytes {
            self.make_room(false, bytes, growth(self.byte_len()));
        }
    }

    /// Makes room for so many bytes more at an end that has less: of what is free at the other end if that is a fair share of the
    /// run, so that a queue stays as large as it was; or else the run grows, by `spare` bytes if that is more.
    #[cold]
    pub(super) fn make_room(&mut self, at_front: bool, bytes: usize, spare: usize) {
        let (len, room, other) = (self.byte_len(), self.room as usize, self.room(!at_front));
        let shifts = other >= bytes.max(len / FAIR);
        match at_front {
            true if shifts => {
                // Half of it: it may be needed at the end again, when elements come at both.
                let to = bytes.max((room + other) / 2);
                self.buffer.resize(to + len, 0);
                self.buffer.copy_within(room..room + len, to);
                self.room = to as u32;
            }
            true => {
                let roomy = len + bytes.max(spare);
                let mut buffer = vec![0; roomy];
                buffer[roomy - len..].copy_from_slice(self.bytes());
                (self.buffer, self.room) = (buffer, (roomy - len) as u32);
            }
            false => {
                self.close_up();
                if !shifts {
                    self.buffer.reserve_exact(bytes.max(spare));
                }
            }
        }
    }

    /// Moves the run to the beginning of its buffer.
    fn close_up(&mut self) {
        self.buffer.drain(..self.room as usize);
        self.room = 0;
    }

    /// Gives spare memory back when it is more than a quarter, but for an eighth: runs that shrink may grow again.
    pub fn shrink(&mut self) {
        self.shrink_to(self.byte_len() / 8);
    }

    /// The same, all of it.
    pub(super) fn shrink_to_fit(&mut self) {
        self.shrink_to(0);
    }

    fn shrink_to(&mut self, spare: usize) {
        let len = self.byte_len();
        if self.buffer.capacity() > len + len / 4 + 16 {
            self.close_up();
            self.buffer.shrink_to(len + spare);
        }
    }

    fn splice(&mut self, from: usize, to: usize, head: &[u8], body: bool, text: &[u8]) {
        let body: &[u8] = if body { text } else { &[] };
        let len = head.len() + body.len();
        let mut back = [0u8; 5];
        let back = back_len(len, &mut back);
        let total = len + back.len();
        let small = self.byte_len() < LEAST_ROOMY;
        if to == 0 && !small && self.room(true) < total {
            self.make_room(true, total, growth(self.byte_len()));
        }
        let roomy = to == 0 && self.room(true) >= total;
        if from == self.end() && !roomy {
            self.reserve(total);
            self.buffer.extend_from_slice(head);
            self.buffer.extend_from_slice(body);
            self.buffer.extend_from_slice(back);
            return;
        }
        let place = if roomy {
            self.room -= total as u32;
            self.room as usize
        } else {
            self.reserve(total.saturating_sub(to - from));
            let (from, to, end) = (self.room as usize + from, self.room as usize + to, self.buffer.len());
            let old = to - from;
            if total > old {
                self.buffer.resize(end + total - old, 0);
            }
            self.buffer.copy_within(to..end, from + total);
            if total < old {
                self.buffer.truncate(end + total - old);
            }
            from
        };
        let place = &mut self.buffer[place..place + total];
        place[..head.len()].copy_from_slice(head);
        place[head.len()..len].copy_from_slice(body);
        place[len..].copy_from_slice(back);
    }
}

/// An element as it is written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Written<'a> {
    head: [u8; 16],
    head_len: u8,
    body: &'a [u8],
    /// The last bytes of the body, if it has so many: names of one collection mostly begin alike.
    tail: Option<[u8; 8]>,
}

impl<'a> Written<'a> {
    pub(super) fn of(text: &'a [u8]) -> Self {
        let mut head = [0; 16];
        let encoded = encode(Elem::of(text), &mut head);
        let body: &[u8] = if encoded.body { text } else { &[] };
        Self { head, head_len: encoded.head as u8, body, tail: body.last_chunk().copied() }
    }

    #[inline]
    fn head(&self) -> &[u8] {
        &self.head[..usize::from(self.head_len)]
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        usize::from(self.head_len) + self.body.len()
    }

    /// Whether it is what these bytes begin with. Each text has but one form.
    #[inline]
    pub(super) fn begins(&self, run: &[u8]) -> bool {
        if run[0] != self.head[0] {
            return false;
        }
        let Some(run) = run.get(..self.len()) else { return false };
        (self.tail.is_none() || run.last_chunk() == self.tail.as_ref())
            && run.starts_with(self.head())
            && run[usize::from(self.head_len)..] == *self.body
    }

    /// Where it may begin, at `from` at the earliest, by looking at all of the run's bytes at once; `None` if it is too short
    /// for that, or the processor has no way to do it.
    #[inline]
    pub(super) fn scan(&self, run: &[u8], from: usize) -> Option<Option<usize>> {
        #[cfg(target_arch = "x86_64")]
        {
            use memchr::arch::{all::packedpair::Pair, x86_64::avx2::packedpair::Finder};
            // What names of one collection differ in stands at their ends.
            let last = u8::try_from(self.body.len()).ok()?.checked_sub(2)?;
            let finder = Finder::with_pair(self.body, Pair::with_indices(self.body, last, last + 1)?)?;
            let from = from + usize::from(self.head_len);
            let run = run.get(from..)?;
            if run.len() < finder.min_haystack_len() {
                return None;
            }
            let found = finder.find(run, self.body);
            Some(found.map(|at| from + at - usize::from(self.head_len)))
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            let _ = (run, from);
            None
        }
    }

    pub(super) fn put(&self, to: &mut [u8]) {
        let (head, body) = to.split_at_mut(usize::from(self.head_len));
        head.copy_from_slice(self.head());
        body.copy_from_slice(self.body);
    }
}

/// Lengths of elements by their first byte; 0: it takes more to tell.
pub(super) const LENGTHS: [u8; 256] = {
    let mut lengths = [0; 256];
    let mut first = 0;
    while first < 256 {
        lengths[first] = match first as u8 {
            0..=0x7f => 1,
            short @ 0x80..=0xbf => 1 + (short & 0x3f),
            0xc0..=0xdf => 2,
            0xe0..=0xf0 => 0,
            0xf1 => 3,
            0xf2 => 4,
            0xf3 => 5,
            _ => 9,
        };
        first += 1;
    }
    lengths
};

/// The bytes before a text, and whether the text follows.
struct Encoded {
    head: usize,
    body: bool,
}

fn encode(elem: Elem<'_>, head: &mut [u8; 16]) -> Encoded {
    let mut put = |bytes: &[u8]| {
        head[..bytes.len()].copy_from_slice(bytes);
        bytes.len()
    };
    match elem {
        Elem::Int(n @ 0..=127) => Encoded { head: put(&[n as u8]), body: false },
        Elem::Int(n @ -4096..=4095) => {
            let n = (n as u16) & 0x1fff;
            Encoded { head: put(&[0xc0 | (n >> 8) as u8, n as u8]), body: false }
        }
        Elem::Int(n) => {
            let le = n.to_le_bytes();
            let (tag, size) = match n {
                -0x8000..=0x7fff => (0xf1, 2),
                -0x80_0000..=0x7f_ffff => (0xf2, 3),
                -0x8000_0000..=0x7fff_ffff => (0xf3, 4),
                _ => (0xf4, 8),
            };
            let mut bytes = [0u8; 9];
            bytes[0] = tag;
            bytes[1..=size].copy_from_slice(&le[..size]);
            Encoded { head: put(&bytes[..=size]), body: false }
        }
        Elem::Bytes(text) => {
            let len = text.len();
            let head = if len <= SHORT_TEXT {
                put(&[0x80 | len as u8])
            } else if len < 4096 {
                put(&[0xe0 | (len >> 8) as u8, len as u8])
            } else {
                let le = (len as u32).to_le_bytes();
                put(&[0xf0, le[0], le[1], le[2], le[3]])
            };
            Encoded { head, body: true }
        }
    }
}

/// The element at the start of `b`, and its length without the trailing length field.
#[inline]
pub(super) fn decode(b: &[u8]) -> (Elem<'_>, usize) {
    let int = |size: usize| {
        let mut le = [0u8; 8];
        le[8 - size..].copy_from_slice(&b[1..=size]);
        (Elem::Int(i64::from_le_bytes(le) >> (64 - 8 * size)), 1 + size)
    };
    match b[0] {
        n @ 0..=0x7f => (Elem::Int(i64::from(n)), 1),
        h @ 0x80..=0xbf => {
            let len = usize::from(h & 0x3f);
            (Elem::Bytes(&b[1..1 + len]), 1 + len)
        }
        h @ 0xc0..=0xdf => {
            let n = u16::from_be_bytes([h & 0x1f, b[1]]);
            (Elem::Int(i64::from((n << 3) as i16 >> 3)), 2)
        }
        h @ 0xe0..=0xef => {
            let len = usize::from(h & 0x0f) << 8 | usize::from(b[1]);
            (Elem::Bytes(&b[2..2 + len]), 2 + len)
        }
        0xf0 => {
            let len = u32::from_le_bytes([b[1], b[2], b[3], b[4]]) as usize;
            (Elem::Bytes(&b[5..5 + len]), 5 + len)
        }
        0xf1 => int(2),
        0xf2 => int(3),
        0xf3 => int(4),
        _ => int(8),
    }
}

fn back_len_size(len: usize) -> usize {
    match len {
        0..=SHORT => 1,
        128..=16_382 => 2,
        16_383..=2_097_150 => 3,
        2_097_151..=268_435_454 => 4,
        _ => 5,
    }
}

/// The length, 7 bits a byte, most significant first; every byte but the first has the high bit set, so that
/// it can be read backwards.
fn back_len(len: usize, buffer: &mut [u8; 5]) -> &[u8] {
    let size = back_len_size(len);
    for (i, byte) in buffer[..size].iter_mut().enumerate() {
        let shift = 7 * (size - 1 - i);
        *byte = (len >> shift) as u8 & 0x7f | if i == 0 { 0 } else { 0x80 };
    }
    &buffer[..size]
}
