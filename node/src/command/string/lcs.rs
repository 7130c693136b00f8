//! `LCS`: the longest common subsequence of two strings.
//!
//! Dynamic programming over prefixes, as Redis does it, so that of several longest ones the same is found.
//! Only two rows of lengths are kept; the walk back needs one bit for each pair of positions, a 32nd of
//! Redis's table. The limit on the size stays Redis's.

use shoal_proto::{
    Error,
    error::Result,
    number::parse_i64,
    resp::{Args, Reply},
};

use crate::{
    store::Db,
    value::{Str, Typed},
};

#[derive(Debug, Default)]
struct Options {
    len: bool,
    idx: bool,
    with_len: bool,
    min_len: i64,
}

impl Options {
    fn parse(args: Args<'_>) -> Result<Self> {
        let mut options = Self::default();
        let mut i = 3;
        while i < args.len() {
            match () {
                () if args.is(i, "idx") => options.idx = true,
                () if args.is(i, "len") => options.len = true,
                () if args.is(i, "withmatchlen") => options.with_len = true,
                () if args.is(i, "minmatchlen") && i + 1 < args.len() => {
                    i += 1;
                    options.min_len = parse_i64(args.at(i)).ok_or(Error::NotInteger)?;
                }
                () => return Err(Error::Syntax),
            }
            i += 1;
        }
        if options.len && options.idx {
            return Err(Error::text("ERR If you want both the length and indexes, please just use IDX."));
        }
        Ok(options)
    }
}

pub(super) fn lcs(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let limit = db.settings().max_string as u64;
    // Both must be looked at before the options, and cannot be borrowed at once.
    let a = text(db, args.at(1))?.to_vec();
    let b = text(db, args.at(2))?;
    let options = Options::parse(args)?;
    let too_long = u64::from(u32::MAX) - 1;
    if a.len() as u64 >= too_long || b.len() as u64 >= too_long {
        return Err(Error::text("ERR String too long for LCS"));
    }
    let cells = (a.len() as u64 + 1) * (b.len() as u64 + 1);
    if cells.checked_mul(4).is_none_or(|bytes| bytes > limit) {
        return Err(Error::text(
            "ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len",
        ));
    }
    if options.len {
        out.int(i64::from(Table::new(&a, b, false).len));
        return Ok(());
    }
    let table = Table::new(&a, b, true);
    if options.idx {
        reply_matches(&table.matches(&a, b), table.len, &options, out);
    } else {
        let mut common: Vec<u8> = Vec::with_capacity(table.len as usize);
        table.walk_back(&a, b, |i, _| common.push(a[i]));
        common.reverse();
        out.bulk(&common);
    }
    Ok(())
}

/// The string at `key`, empty if there is none.
fn text<'a>(db: &'a mut Db<'_>, key: &[u8]) -> Result<&'a [u8]> {
    match db.read(key) {
        None => Ok(&[]),
        Some(value) => Str::of(value)
            .map(Str::bytes)
            .ok_or(Error::text("ERR The specified keys must contain string values")),
    }
}

fn reply_matches(matches: &[Match], len: u32, options: &Options, out: &mut Reply<'_>) {
    let long_enough = |m: &&Match| i64::from(m.len) >= options.min_len;
    out.map(2);
    out.bulk(b"matches");
    out.array(matches.iter().filter(long_enough).count());
    for m in matches.iter().filter(long_enough) {
        out.array(2 + usize::from(options.with_len));
        for start in [m.a, m.b] {
            out.array(2);
            out.int(i64::from(start));
            out.int(i64::from(start + m.len - 1));
        }
        if options.with_len {
            out.int(i64::from(m.len));
        }
    }
    out.bulk(b"len");
    out.int(i64::from(len));
}

/// A run that both strings have: where it starts in each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Match {
    a: u32,
    b: u32,
    len: u32,
}

/// The computed lengths: the final one, and for each pair of prefixes whether dropping the last byte
/// of the first string loses less than dropping that of the second.
struct Table {
    len: u32,
    drop_first: Vec<u64>,
    columns: usize,
}

impl Table {
    fn new(a: &[u8], b: &[u8], directions: bool) -> Self {
        let columns = b.len();
        let bits = if directions { a.len() * columns } else { 0 };
        let mut drop_first = vec![0u64; bits.div_ceil(64)];
        let mut row = vec![0u32; columns + 1];
        for (i, x) in a.iter().enumerate() {
            // `row` still holds the lengths of the previous prefix to the right of `j`.
            let mut diagonal = 0;
            for (j, y) in b.iter().enumerate() {
                let above = row[j + 1];
                if x == y {
                    row[j + 1] = diagonal + 1;
                } else {
                    let left = row[j];
                    row[j + 1] = above.max(left);
                    if directions && above > left {
                        let bit = i * columns + j;
                        drop_first[bit / 64] |= 1 << (bit % 64);
                    }
                }
                diagonal = above;
            }
        }
        Self { len: row[columns], drop_first, columns }
    }

    /// Calls `found` with the positions of each common byte, last first.
    fn walk_back(&self, a: &[u8], b: &[u8], mut found: impl FnMut(usize, usize)) {
        let (mut i, mut j) = (a.len(), b.len());
        while i > 0 && j > 0 {
            if a[i - 1] == b[j - 1] {
                (i, j) = (i - 1, j - 1);
                found(i, j);
            } else {
                let bit = (i - 1) * self.columns + j - 1;
                if self.drop_first[bit / 64] >> (bit % 64) & 1 == 1 { i -= 1 } else { j -= 1 }
            }
        }
    }

    /// The common bytes as runs, last first.
    fn matches(&self, a: &[u8], b: &[u8]) -> Vec<Match> {
        let mut matches: Vec<Match> = Vec::new();
        self.walk_back(a, b, |i, j| {
            let (i, j) = (i as u32, j as u32);
            match matches.last_mut() {
                Some(run) if run.a == i + 1 && run.b == j + 1 => {
                    *run = Match { a: i, b: j, len: run.len + 1 }
                }
                _ => matches.push(Match { a: i, b: j, len: 1 }),
            }
        });
        matches
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn is_subsequence(part: &[u8], whole: &[u8]) -> bool {
        let mut rest = whole.iter();
        part.iter().all(|c| rest.any(|d| c == d))
    }

    proptest! {
        #[test]
        fn what_is_found_is_common_and_as_long_as_said(
            a in prop::collection::vec(0u8..4, 0..40),
            b in prop::collection::vec(0u8..4, 0..40),
        ) {
            let table = Table::new(&a, &b, true);
            let mut common = Vec::new();
            table.walk_back(&a, &b, |i, j| {
                assert_eq!(a[i], b[j]);
                common.push(a[i]);
            });
            common.reverse();
            prop_assert_eq!(common.len() as u32, table.len);
            prop_assert!(is_subsequence(&common, &a) && is_subsequence(&common, &b));
            prop_assert_eq!(Table::new(&b, &a, false).len, table.len);
            let matches = table.matches(&a, &b);
            prop_assert_eq!(matches.iter().map(|m| m.len).sum::<u32>(), table.len);
        }
    }
}
