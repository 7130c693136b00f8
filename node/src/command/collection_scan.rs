//! What `HSCAN`, `SSCAN` and `ZSCAN` have in common: cursor, options, steps.

use shoal_proto::{
    Error,
    error::Result,
    glob, number,
    resp::{Args, Reply},
};

/// Reads a cursor.
pub(super) fn cursor(arg: &[u8]) -> Result<u64> {
    number::parse_cursor(arg).ok_or(Error::text("ERR invalid cursor"))
}

/// The reply for a key that does not exist; options are then not even looked at.
pub(super) fn nothing(out: &mut Reply<'_>) {
    out.array(2);
    out.bulk(b"0");
    out.array(0);
}

/// The options, and the elements found so far.
pub(super) struct CollectionScan<'a> {
    pattern: Option<&'a [u8]>,
    count: usize,
    /// Whether elements come with their value or score.
    pub(super) values: bool,
}

impl<'a> CollectionScan<'a> {
    /// Reads the options of `HSCAN`, `SSCAN` or `ZSCAN`, which begin at argument 3.
    pub(super) fn parse(args: Args<'a>) -> Result<Self> {
        let command = args.at(0);
        let mut scan = Self { pattern: None, count: 10, values: true };
        let mut i = 3;
        while i < args.len() {
            let more = i + 1 < args.len();
            if args.is(i, "count") && more {
                let count = number::parse_i64(args.at(i + 1)).ok_or(Error::NotInteger)?;
                scan.count = usize::try_from(count).ok().filter(|n| *n > 0).ok_or(Error::Syntax)?;
                i += 2;
            } else if args.is(i, "match") && more {
                scan.pattern = Some(args.at(i + 1)).filter(|pattern| *pattern != b"*");
                i += 2;
            } else if args.is(i, "novalues") {
                scan.only(command, b"hscan", "ERR NOVALUES option can only be used in HSCAN")?;
                i += 1;
            } else if args.is(i, "noscores") {
                scan.only(command, b"zscan", "ERR NOSCORES option can only be used in ZSCAN")?;
                i += 1;
            } else {
                return Err(Error::Syntax);
            }
        }
        Ok(scan)
    }

    fn only(&mut self, command: &[u8], allowed: &[u8], otherwise: &'static str) -> Result {
        if !command.eq_ignore_ascii_case(allowed) {
            return Err(Error::text(otherwise));
        }
        self.values = false;
        Ok(())
    }

    /// Whether an element is asked for.
    pub(super) fn wants(&self, element: &[u8]) -> bool {
        self.pattern.is_none_or(|pattern| glob::matches(pattern, element))
    }

    /// Takes steps until enough elements were seen. `step` visits some elements from a cursor on, adds to the number
    /// of those it saw, wanted or not, and returns the next cursor.
    pub(super) fn run(&self, mut cursor: u64, mut step: impl FnMut(u64, &mut usize) -> u64) -> u64 {
        let mut seen = 0;
        // As in Redis: a sparse table must not keep others waiting.
        let mut steps = self.count.saturating_mul(10);
        loop {
            cursor = step(cursor, &mut seen);
            if cursor == 0 || steps == 0 || seen >= self.count {
                return cursor;
            }
            steps -= 1;
        }
    }
}

/// Writes the reply of a scan: the next cursor and `written` elements, which were written since `mark`.
pub(super) fn finish(out: &mut Reply<'_>, mark: usize, cursor: u64, written: usize) {
    let elements = out.split_off(mark);
    out.array(2);
    out.bulk(itoa::Buffer::new().format(cursor).as_bytes());
    out.array(written);
    out.raw().extend_from_slice(&elements);
}
