//! `BITFIELD`: integers of 1 to 64 bits at any bit offset of a string.

use shoal_proto::{
    Error,
    error::Result,
    number::parse_i64,
    resp::{Args, Reply},
};
use smallvec::SmallVec;

use super::{
    Family,
    Handler::{Changes, Data},
    bitmap::{BAD_OFFSET, edit_bits, in_string, parse_offset},
};
use crate::{store::Db, value::bits};

pub(super) const HANDLERS: Family = &[("bitfield", Changes(bitfield)), ("bitfield_ro", Data(bitfield_ro))];

/// An integer type: `u1`..`u63`, `i1`..`i64`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Kind {
    signed: bool,
    width: u32,
}

impl Kind {
    fn parse(text: &[u8]) -> Result<Self> {
        let (signed, width) = match text {
            [b'i', width @ ..] => (true, width),
            [b'u', width @ ..] => (false, width),
            _ => return Err(BAD_KIND),
        };
        let most = if signed { 64 } else { 63 };
        let width = parse_i64(width).filter(|n| (1..=most).contains(n)).ok_or(BAD_KIND)?;
        Ok(Self { signed, width: width as u32 })
    }

    fn min(self) -> i128 {
        if self.signed { -(1 << (self.width - 1)) } else { 0 }
    }

    fn max(self) -> i128 {
        if self.signed { (1 << (self.width - 1)) - 1 } else { (1 << self.width) - 1 }
    }

    /// The number that `bits` stand for.
    fn value(self, bits: u64) -> i128 {
        let value = i128::from(bits) & ((1 << self.width) - 1);
        if value > self.max() { value - (1 << self.width) } else { value }
    }

    /// What is stored for `exact`; `None` if it does not fit and may not be stored. Where Redis's own arithmetic
    /// overflows (`OVERFLOW SAT SET` of numbers near -2^63, which it saturates at the upper end), this is
    /// what Redis documents.
    fn fit(self, exact: i128, overflow: Overflow) -> Option<i128> {
        if (self.min()..=self.max()).contains(&exact) {
            return Some(exact);
        }
        match overflow {
            Overflow::Wrap => Some(self.value(exact as u64)),
            Overflow::Saturate => Some(exact.clamp(self.min(), self.max())),
            Overflow::Fail => None,
        }
    }
}

const BAD_KIND: Error = Error::text(
    "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.",
);

/// What happens to a number that does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Overflow {
    Wrap,
    Saturate,
    Fail,
}

#[derive(Debug, Clone, Copy)]
enum Action {
    Get,
    Set(i64, Overflow),
    Add(i64, Overflow),
}

/// One subcommand.
#[derive(Debug, Clone, Copy)]
struct Step {
    kind: Kind,
    offset: u64,
    action: Action,
}

impl Step {
    /// The last bit it touches.
    fn last(&self) -> u64 {
        self.offset + u64::from(self.kind.width) - 1
    }

    fn get(&self, bytes: &[u8]) -> i64 {
        // Unsigned ones have at most 63 bits.
        self.kind.value(bits::read(bytes, self.offset, self.kind.width)) as i64
    }

    /// Executes a writing step; what it answers.
    fn write(&self, bytes: &mut [u8]) -> Option<i64> {
        let old = self.get(bytes);
        let (exact, overflow) = match self.action {
            Action::Get => return Some(old),
            // A negative number for an unsigned field is a very large one.
            Action::Set(n, overflow) if self.kind.signed => (i128::from(n), overflow),
            Action::Set(n, overflow) => (i128::from(n as u64), overflow),
            Action::Add(n, overflow) => (i128::from(old) + i128::from(n), overflow),
        };
        let new = self.kind.fit(exact, overflow)? as i64;
        bits::write(bytes, self.offset, self.kind.width, new as u64);
        Some(if matches!(self.action, Action::Set(..)) { old } else { new })
    }
}

type Steps = SmallVec<[Step; 4]>;

/// Reads all subcommands; `limit` is the longest string in bytes.
fn parse(args: Args<'_>, limit: usize) -> Result<Steps> {
    let mut steps = Steps::new();
    let mut overflow = Overflow::Wrap;
    let mut i = 2;
    while i < args.len() {
        let more = args.len() - i - 1;
        if args.is(i, "overflow") && more >= 1 {
            overflow = parse_overflow(args, i + 1)?;
            i += 2;
            continue;
        }
        let action: Option<fn(i64, Overflow) -> Action> = match () {
            () if args.is(i, "get") && more >= 2 => None,
            () if args.is(i, "set") && more >= 3 => Some(Action::Set),
            () if args.is(i, "incrby") && more >= 3 => Some(Action::Add),
            () => return Err(Error::Syntax),
        };
        let kind = Kind::parse(args.at(i + 1))?;
        let offset = parse_field_offset(args.at(i + 2), kind, limit)?;
        i += 3;
        let action = match action {
            None => Action::Get,
            Some(action) => {
                i += 1;
                action(parse_i64(args.at(i - 1)).ok_or(Error::NotInteger)?, overflow)
            }
        };
        steps.push(Step { kind, offset, action });
    }
    Ok(steps)
}

fn parse_overflow(args: Args<'_>, i: usize) -> Result<Overflow> {
    match () {
        () if args.is(i, "wrap") => Ok(Overflow::Wrap),
        () if args.is(i, "sat") => Ok(Overflow::Saturate),
        () if args.is(i, "fail") => Ok(Overflow::Fail),
        () => Err(Error::text("ERR Invalid OVERFLOW type specified")),
    }
}

/// A bit's offset, or `#n` for that of the n-th integer of this type.
fn parse_field_offset(text: &[u8], kind: Kind, limit: usize) -> Result<u64> {
    let Some(index) = text.strip_prefix(b"#") else { return parse_offset(text, limit) };
    parse_i64(index)
        .and_then(|n| n.checked_mul(i64::from(kind.width)))
        .and_then(|n| in_string(n, limit))
        .ok_or(BAD_OFFSET)
}

fn bitfield(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let steps = parse(args, db.settings().max_string)?;
    let writing = steps.iter().filter(|step| !matches!(step.action, Action::Get));
    let Some(last) = writing.map(Step::last).max() else {
        return read_all(db, args, &steps, out);
    };
    let (mut string, mut changed) = edit_bits(db, args.at(1), last)?;
    let bytes = string.bytes_mut(0);
    out.array(steps.len());
    for step in &steps {
        let before = step.get(bytes);
        match step.write(bytes) {
            Some(n) => out.int(n),
            None => out.null(),
        }
        changed |= step.get(bytes) != before;
    }
    if !changed {
        string.unchanged();
    }
    Ok(())
}

fn bitfield_ro(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let steps = parse(args, db.settings().max_string)?;
    if steps.iter().any(|step| !matches!(step.action, Action::Get)) {
        return Err(Error::text("ERR BITFIELD_RO only supports the GET subcommand"));
    }
    read_all(db, args, &steps, out)
}

fn read_all(db: &mut Db<'_>, args: Args<'_>, steps: &[Step], out: &mut Reply<'_>) -> Result {
    let bytes = db.read_str(args.at(1))?.unwrap_or_default();
    out.array(steps.len());
    for step in steps {
        out.int(step.get(bytes));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn kinds() -> impl Strategy<Value = Kind> {
        any::<bool>().prop_flat_map(|signed| {
            (1..=if signed { 64u32 } else { 63 }).prop_map(move |width| Kind { signed, width })
        })
    }

    proptest! {
        #[test]
        fn what_fits_is_kept(kind in kinds(), exact in any::<i128>()) {
            let modulus = 1i128 << kind.width;
            let exact = exact % (4 * modulus);
            let wrapped = kind.fit(exact, Overflow::Wrap).expect("wraps");
            prop_assert_eq!((wrapped - exact).rem_euclid(modulus), 0);
            prop_assert!((kind.min()..=kind.max()).contains(&wrapped));
            prop_assert_eq!(kind.fit(exact, Overflow::Saturate), Some(exact.clamp(kind.min(), kind.max())));
            prop_assert_eq!(kind.fit(exact, Overflow::Fail).is_some(), wrapped == exact);
        }

        #[test]
        fn what_was_written_is_read(kind in kinds(), offset in 0u64..100, n: i64) {
            let mut bytes = [0xa5; 32];
            let set = Step { kind, offset, action: Action::Set(n, Overflow::Wrap) };
            let exact = if kind.signed { i128::from(n) } else { i128::from(n as u64) };
            set.write(&mut bytes);
            prop_assert_eq!(Some(i128::from(set.get(&bytes))), kind.fit(exact, Overflow::Wrap));
        }
    }
}
