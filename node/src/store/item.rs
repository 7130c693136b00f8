//! An item as it lies in the log: header, expiry, key, value, nothing between them.
//!
//! ```text
//! 0    form (4 bits), width of the expiry (2 bits: 0, 5 or 8 bytes), dead
//! 1    credit (3 bits), space (4 bits)
//! 2-5  length of the key (11 bits; all set: the key lies with the value, outside the log), length of the value
//!      (13 bits), high byte of the clock
//! 6-7  rest of the clock: the second in which it was used last, modulo 2^24 (194 days), as Redis keeps it
//! 8-   expiry (ms: in 5 bytes since 2020, in 8 bytes since 1970), key, value
//! ```
//!
//! All numbers are little-endian. Nothing here knows segments or the index.

/// Bytes before the expiry.
pub(super) const HEADER: usize = 8;
/// Bits of a key's length, and of a value's.
const KEY_BITS: u32 = 11;
const VALUE_BITS: u32 = 13;
/// Instead of a key's length: the key lies with the value. No key in the log is that long.
pub(super) const LONG_KEY: usize = (1 << KEY_BITS) - 1;
/// Longest value in the log.
pub(super) const LONGEST_VALUE: usize = (1 << VALUE_BITS) - 1;
/// Most credit an item can have.
const MOST_CREDIT: u8 = 7;

/// By the two bits that say so; one number is never written.
const EXPIRY_WIDTHS: [usize; 4] = [0, 5, 8, 8];
/// From when the short expiries count: the beginning of 2020. They reach to 2054.
const EPOCH: u64 = 1_577_836_800_000;
const SHORT: std::ops::Range<u64> = EPOCH + 1..EPOCH + (1 << 40);
const DEAD: u8 = 1 << 6;

/// What the value's bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Form {
    /// A string as `SET` stores it.
    Whole,
    /// A string that was computed as a text.
    Text,
    /// A string that was computed as bytes.
    Raw,
    /// A packed hash.
    Hash,
    /// A set of integers.
    Ints,
    /// A packed set.
    Set,
    /// A packed sorted set.
    Zset,
    /// A packed list.
    List,
    /// The number of a value outside the log.
    Boxed,
}

impl Form {
    /// The form with this number.
    #[inline]
    fn of(number: u8) -> Self {
        match number {
            0 => Self::Whole,
            1 => Self::Text,
            2 => Self::Raw,
            3 => Self::Hash,
            4 => Self::Ints,
            5 => Self::Set,
            6 => Self::Zset,
            7 => Self::List,
            _ => Self::Boxed,
        }
    }
}

/// Seconds modulo this are kept.
const CLOCK: u32 = 1 << 24;

/// The time as an item keeps it.
#[inline]
pub(super) fn clock(now: u64) -> u32 {
    (now / 1000) as u32 % CLOCK
}

/// Bytes for an expiry; 0 means never.
#[inline]
fn expiry_code(expires_at: u64) -> u8 {
    match expires_at {
        0 => 0,
        at if SHORT.contains(&at) => 1,
        _ => 2,
    }
}

/// Writes an expiry into the bytes that are there for it; 0 stands for never at both widths.
#[inline]
fn write_expiry(expires_at: u64, to: &mut [u8]) {
    let number = if to.len() == 5 && expires_at != 0 { expires_at - EPOCH } else { expires_at };
    let width = to.len();
    to.copy_from_slice(&number.to_le_bytes()[..width]);
}

/// What a new item is made of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parts<'a> {
    pub(super) form: Form,
    pub(super) space: u8,
    /// ms since 1970; 0 never.
    pub(super) expires_at: u64,
    pub(super) accessed: u32,
    /// `None` if it lies with the value.
    pub(super) key: Option<&'a [u8]>,
    pub(super) value: &'a [u8],
}

impl Parts<'_> {
    /// Bytes in the log.
    #[inline]
    pub(super) fn len(&self) -> usize {
        let expiry = EXPIRY_WIDTHS[usize::from(expiry_code(self.expires_at))];
        HEADER + expiry + self.key.map_or(0, <[u8]>::len) + self.value.len()
    }

    /// Writes the item; `to` has exactly its length.
    #[inline]
    pub(super) fn write(&self, to: &mut [u8]) {
        let code = expiry_code(self.expires_at);
        to[0] = self.form as u8 | code << 4;
        to[1] = self.space << 3;
        debug_assert!(self.key.is_none_or(|key| key.len() < LONG_KEY) && self.value.len() <= LONGEST_VALUE);
        let lengths = self.key.map_or(LONG_KEY, <[u8]>::len) | self.value.len() << KEY_BITS;
        to[2..6].copy_from_slice(&(lengths as u32 | self.accessed >> 16 << 24).to_le_bytes());
        to[6..8].copy_from_slice(&(self.accessed as u16).to_le_bytes());
        let mut at = HEADER;
        let width = EXPIRY_WIDTHS[usize::from(code)];
        write_expiry(self.expires_at, &mut to[at..at + width]);
        at += width;
        if let Some(key) = self.key {
            to[at..at + key.len()].copy_from_slice(key);
            at += key.len();
        }
        to[at..].copy_from_slice(self.value);
    }
}

/// An item to be read: a slice that begins with it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Item<'a>(pub(super) &'a [u8]);

impl<'a> Item<'a> {
    #[inline]
    pub(super) fn form(self) -> Form {
        Form::of(self.0[0] & 15)
    }

    #[inline]
    pub(super) fn is_dead(self) -> bool {
        self.0[0] & DEAD != 0
    }

    #[inline(always)]
    fn expiry_width(self) -> usize {
        EXPIRY_WIDTHS[usize::from(self.0[0] >> 4 & 3)]
    }

    /// When it expires, ms since 1970; 0 never.
    #[inline(always)]
    pub(super) fn expires_at(self) -> u64 {
        let width = self.expiry_width();
        if width == 0 {
            return 0;
        }
        let mut le = [0; 8];
        le[..width].copy_from_slice(&self.0[HEADER..HEADER + width]);
        match u64::from_le_bytes(le) {
            0 => 0,
            number if width == 5 => number + EPOCH,
            number => number,
        }
    }

    /// Whether it is past its time.
    #[inline]
    pub(super) fn expired(self, now: u64) -> bool {
        let at = self.expires_at();
        at != 0 && at <= now
    }

    pub(super) fn credit(self) -> u8 {
        self.0[1] & MOST_CREDIT
    }

    #[inline]
    pub(super) fn space(self) -> u8 {
        self.0[1] >> 3 & 15
    }

    /// The second in which it was used last, as it is kept.
    pub(super) fn accessed(self) -> u32 {
        u32::from(self.0[5]) << 16 | u32::from(u16::from_le_bytes([self.0[6], self.0[7]]))
    }

    /// Seconds since it was used last, modulo 194 days.
    pub(super) fn idle_seconds(self, now: u64) -> u64 {
        u64::from(clock(now).wrapping_sub(self.accessed()) % CLOCK)
    }

    #[inline]
    fn lengths(self) -> usize {
        u32::from_le_bytes([self.0[2], self.0[3], self.0[4], 0]) as usize
    }

    #[inline]
    fn key_field(self) -> usize {
        self.lengths() & LONG_KEY
    }

    #[inline]
    fn key_len(self) -> usize {
        match self.key_field() {
            LONG_KEY => 0,
            len => len,
        }
    }

    #[inline]
    fn value_len(self) -> usize {
        self.lengths() >> KEY_BITS
    }

    /// Bytes in the log.
    #[inline]
    pub(super) fn len(self) -> usize {
        HEADER + self.expiry_width() + self.key_len() + self.value_len()
    }

    /// The key, unless it lies with the value.
    #[inline(always)]
    pub(super) fn key(self) -> Option<&'a [u8]> {
        if self.key_field() == LONG_KEY {
            return None;
        }
        let start = HEADER + self.expiry_width();
        Some(&self.0[start..start + self.key_len()])
    }

    #[inline(always)]
    pub(super) fn value(self) -> &'a [u8] {
        let start = HEADER + self.expiry_width() + self.key_len();
        &self.0[start..start + self.value_len()]
    }
}

/// An item to be changed where it is.
#[derive(Debug)]
pub(super) struct ItemMut<'a>(pub(super) &'a mut [u8]);

impl ItemMut<'_> {
    fn read(&self) -> Item<'_> {
        Item(self.0)
    }

    pub(super) fn kill(&mut self) {
        self.0[0] |= DEAD;
    }

    pub(super) fn set_space(&mut self, space: u8) {
        self.0[1] = self.0[1] & MOST_CREDIT | space << 3;
    }

    #[inline]
    pub(super) fn set_credit(&mut self, credit: u8) {
        self.0[1] = self.0[1] & !MOST_CREDIT | credit.min(MOST_CREDIT);
    }

    #[inline]
    pub(super) fn set_accessed(&mut self, accessed: u32) {
        self.0[5] = (accessed >> 16) as u8;
        self.0[6..8].copy_from_slice(&(accessed as u16).to_le_bytes());
    }

    /// Sets the expiry if there is room for it; whether there was.
    #[inline]
    pub(super) fn set_expiry(&mut self, expires_at: u64) -> bool {
        let width = self.read().expiry_width();
        // Eight bytes hold any expiry; five those that are not too far away.
        if width < 8 && EXPIRY_WIDTHS[usize::from(expiry_code(expires_at))] > width {
            return false;
        }
        write_expiry(expires_at, &mut self.0[HEADER..HEADER + width]);
        true
    }

    /// The value's bytes.
    #[inline]
    pub(super) fn value_mut(&mut self) -> &mut [u8] {
        let (end, len) = (self.read().len(), self.read().value_len());
        &mut self.0[end - len..end]
    }

    /// Writes another value of the same length over one that is here and not outside the log; whether it was possible.
    #[inline]
    pub(super) fn overwrite(&mut self, form: Form, value: &[u8]) -> bool {
        self.read().form() != Form::Boxed && self.set_value(form, value)
    }

    /// Writes another value of the same length; whether the lengths were the same.
    #[inline]
    pub(super) fn set_value(&mut self, form: Form, value: &[u8]) -> bool {
        let item = self.read();
        if item.value_len() != value.len() {
            return false;
        }
        let end = item.len();
        self.0[0] = self.0[0] & !15 | form as u8;
        self.0[end - value.len()..end].copy_from_slice(value);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(parts: Parts<'_>) -> Vec<u8> {
        let mut bytes = vec![0; parts.len()];
        parts.write(&mut bytes);
        bytes
    }

    #[test]
    fn an_item_reads_back() {
        for expires_at in [0, 1, EPOCH, EPOCH + 1, 1_700_000_000_000, SHORT.end - 1, SHORT.end, u64::MAX] {
            for key in [Some(&b""[..]), Some(&b"a key"[..]), None] {
                let parts = Parts {
                    form: Form::Zset,
                    space: 15,
                    expires_at,
                    accessed: 0x12_3456,
                    key,
                    value: b"value",
                };
                let bytes = written(parts);
                let item = Item(&bytes);
                assert_eq!((item.form(), item.space(), item.expires_at()), (Form::Zset, 15, expires_at));
                assert_eq!((item.key(), item.value(), item.len()), (key, &b"value"[..], bytes.len()));
                assert_eq!((item.accessed(), item.credit(), item.is_dead()), (0x12_3456, 0, false));
                let then = 0x12_3456 * 1000;
                assert_eq!((item.idle_seconds(then + 9999), item.idle_seconds(then)), (9, 0));
            }
        }
    }

    #[test]
    fn changes_in_place_leave_the_rest_alone() {
        let parts = Parts {
            form: Form::Whole,
            space: 3,
            expires_at: EPOCH + 5,
            accessed: 0x12_3456,
            key: Some(b"k"),
            value: b"abc",
        };
        let mut bytes = written(parts);
        let mut item = ItemMut(&mut bytes);
        assert!(item.set_value(Form::Raw, b"xyz") && !item.set_value(Form::Raw, b"xy"));
        assert!(item.set_expiry(0) && item.set_expiry(EPOCH + 9) && !item.set_expiry(u64::MAX));
        item.set_credit(200);
        item.set_accessed(0xff_0008);
        let item = Item(&bytes);
        assert_eq!((item.form(), item.space(), item.expires_at()), (Form::Raw, 3, EPOCH + 9));
        assert_eq!((item.key(), item.value()), (Some(&b"k"[..]), &b"xyz"[..]));
        assert_eq!((item.accessed(), item.credit(), item.is_dead()), (0xff_0008, 7, false));
        ItemMut(&mut bytes).kill();
        assert!(Item(&bytes).is_dead());
    }

    #[test]
    fn no_expiry_takes_no_room() {
        let parts = Parts {
            form: Form::Whole,
            space: 0,
            expires_at: 0,
            accessed: 0,
            key: Some(b"key"),
            value: b"value",
        };
        assert_eq!(parts.len(), HEADER + 8);
        let mut bytes = written(parts);
        assert!(ItemMut(&mut bytes).set_expiry(0) && !ItemMut(&mut bytes).set_expiry(1));
    }
}
