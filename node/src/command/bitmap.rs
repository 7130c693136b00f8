//! Bitmaps: single bits, counts, searches and operations on whole strings.

use shoal_proto::{
    Error,
    error::Result,
    number::parse_i64,
    resp::{Args, Reply},
};

use super::{
    Family,
    Handler::{Changes, Data},
};
use crate::{
    store::{Db, Edit, Expiry},
    value::{
        Str,
        bits::{self, Operation},
    },
};

pub(super) const HANDLERS: Family = &[
    ("bitcount", Data(bitcount)),
    ("bitop", Data(bitop)),
    ("bitpos", Data(bitpos)),
    ("getbit", Data(getbit)),
    ("setbit", Changes(setbit)),
];

/// Reads a bit's offset; `limit` is the longest string in bytes.
pub(super) fn parse_offset(text: &[u8], limit: usize) -> Result<u64> {
    parse_i64(text).and_then(|n| in_string(n, limit)).ok_or(BAD_OFFSET)
}

/// The offset, if a string of `limit` bytes has such a bit.
pub(super) fn in_string(offset: i64, limit: usize) -> Option<u64> {
    u64::try_from(offset).ok().filter(|n| n / 8 < limit as u64)
}

/// What a bad offset answers.
pub(super) const BAD_OFFSET: Error = Error::text("ERR bit offset is not an integer or out of range");

/// The string at `key`, to change bits up to `last` in it: made or lengthened with zeros if need be.
/// Also whether it had to be.
pub(super) fn edit_bits<'a>(db: &'a mut Db<'_>, key: &'a [u8], last: u64) -> Result<(Edit<'a, Str>, bool)> {
    let mut string = db.edit_or_new::<Str>(key)?;
    let len = (last / 8) as usize + 1;
    let short = string.bytes().len() < len;
    string.bytes_mut(len);
    Ok((string, short))
}

fn setbit(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let offset = parse_offset(args.at(2), db.settings().max_string)?;
    let on = match parse_i64(args.at(3)) {
        Some(0) => false,
        Some(1) => true,
        _ => return Err(Error::text("ERR bit is not an integer or out of range")),
    };
    let (mut string, lengthened) = edit_bits(db, args.at(1), offset)?;
    let old = bits::get(string.bytes(), offset);
    bits::set(string.bytes_mut(0), offset, on);
    if old == on && !lengthened {
        string.unchanged();
    }
    out.flag(old);
    Ok(())
}

fn getbit(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let offset = parse_offset(args.at(2), db.settings().max_string)?;
    let value = db.read_str(args.at(1))?;
    out.flag(value.is_some_and(|bytes| bits::get(bytes, offset)));
    Ok(())
}

/// What the numbers of a range count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Byte,
    Bit,
}

impl Unit {
    /// Reads the unit at argument `i`; bytes if there is none.
    fn parse(args: Args<'_>, i: usize) -> Result<Self> {
        match () {
            () if i >= args.len() || args.is(i, "byte") => Ok(Self::Byte),
            () if args.is(i, "bit") => Ok(Self::Bit),
            () => Err(Error::Syntax),
        }
    }

    /// The first and the last bit of the range from `start` to `end` inclusive in a string of `len`
    /// bytes, negative numbers counting from the end; `None` if it is empty.
    fn bits(self, start: i64, end: i64, len: usize) -> Option<(u64, u64)> {
        let scale = if self == Self::Bit { 1 } else { 8 };
        let total = len as i64 * 8 / scale;
        let from_left = |i: i64| if i < 0 { (total + i).max(0) } else { i };
        let (start, end) = (from_left(start), from_left(end).min(total - 1));
        (start <= end).then(|| ((start * scale) as u64, (end * scale + scale - 1) as u64))
    }
}

fn bitcount(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let Some(bytes) = db.read_str(args.at(1))? else {
        // Before the arguments are looked at, as in Redis 7.
        out.int(0);
        return Ok(());
    };
    let counted = match args.len() {
        2 => bits::count(bytes),
        4 | 5 => {
            let start = parse_i64(args.at(2)).ok_or(Error::NotInteger)?;
            let end = parse_i64(args.at(3)).ok_or(Error::NotInteger)?;
            if start < 0 && end < 0 && start > end {
                0
            } else {
                let range = Unit::parse(args, 4)?.bits(start, end, bytes.len());
                range.map_or(0, |(first, last)| bits::count_range(bytes, first, last))
            }
        }
        _ => return Err(Error::Syntax),
    };
    out.int(counted as i64);
    Ok(())
}

fn bitpos(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let bit = match parse_i64(args.at(2)).ok_or(Error::NotInteger)? {
        0 => false,
        1 => true,
        _ => return Err(Error::text("ERR The bit argument must be 1 or 0.")),
    };
    let Some(bytes) = db.read_str(args.at(1))? else {
        // An endless row of zeros, whatever the range.
        out.int(if bit { -1 } else { 0 });
        return Ok(());
    };
    let (start, end, unit) = match args.len() {
        3 => (0, -1, Unit::Byte),
        4..=6 => {
            let start = parse_i64(args.at(3)).ok_or(Error::NotInteger)?;
            let unit = Unit::parse(args, 5)?;
            let end = args.get(4).map_or(Some(-1), parse_i64).ok_or(Error::NotInteger)?;
            (start, end, unit)
        }
        _ => return Err(Error::Syntax),
    };
    let range = unit.bits(start, end, bytes.len());
    let found = range.and_then(|(first, last)| bits::find(bytes, bit, first, last));
    out.int(match found {
        Some(at) => at as i64,
        // Without an end, the string counts as continued with zeros.
        None if !bit && args.len() < 5 && range.is_some() => bytes.len() as i64 * 8,
        None => -1,
    });
    Ok(())
}

fn bitop(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let operation = match () {
        () if args.is(1, "and") => Operation::And,
        () if args.is(1, "or") => Operation::Or,
        () if args.is(1, "xor") => Operation::Xor,
        () if args.is(1, "not") => Operation::Not,
        () => return Err(Error::Syntax),
    };
    if operation == Operation::Not && args.len() != 4 {
        return Err(Error::text("ERR BITOP NOT must be called with a single source key."));
    }
    let target = args.at(2);
    let mut result = Vec::new();
    for (i, key) in args.iter().skip(3).enumerate() {
        let bytes = db.read_str(key)?.unwrap_or_default();
        if i == 0 && operation != Operation::Not {
            result.extend_from_slice(bytes);
        } else {
            bits::combine(operation, &mut result, bytes);
        }
    }
    out.int(result.len() as i64);
    if result.is_empty() {
        db.discard(target);
    } else {
        db.set(target, Str::from_raw(result), Expiry::Never);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::Core;

    #[test]
    fn a_bit_far_out_is_accounted() {
        let mut core = Core::new();
        let before = core.store.used_memory();
        assert_eq!(core.run("SETBIT far 4294967295 1"), ":0\r\n");
        assert!(core.store.used_memory() - before >= 512 << 20);
        assert_eq!(
            core.run("SETBIT far 4294967296 1"),
            "-ERR bit offset is not an integer or out of range\r\n"
        );
        assert_eq!(core.run("STRLEN far"), ":536870912\r\n");
        assert_eq!(core.run("GETDEL other"), "$-1\r\n");
        assert_eq!(core.run("SET far x"), "+OK\r\n");
        assert!(core.store.used_memory() - before < 1000);
    }

    #[test]
    fn errors_change_nothing() {
        let mut core = Core::new();
        for line in
            ["SETBIT k -1 1", "SETBIT k 1 2", "SETBIT k x 1", "BITFIELD k SET u8 0 x", "BITOP NOT k a b"]
        {
            assert!(core.run(line).starts_with("-ERR"), "{line}");
            assert_eq!(core.store.len(0), (0, 0), "{line}");
            assert_eq!(core.store.used_memory(), 0, "{line}");
        }
    }
}
