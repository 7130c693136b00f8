//! `SORT` and `SORT_RO`.
//!
//! `BY` and `GET` patterns may name any key, so a request with such patterns runs with every shard locked, and
//! a node that does not own all slots refuses it ([`patterns_in_slot`], asked by the server).

use std::{cmp::Ordering, ops::Range};

use shoal_proto::{
    Error,
    error::Result,
    number,
    resp::{Args, Reply},
    slot::key_slot,
};

use super::{Family, Handler::AnyKey};
use crate::{
    store::{Db, Expiry},
    value::{List, Value, list::Fill, packed::Elem},
};

pub(super) const HANDLERS: Family = &[("sort", AnyKey(sort, any_key)), ("sort_ro", AnyKey(sort_ro, any_key))];

/// What the arguments ask for.
#[derive(Debug)]
struct Options<'a> {
    descending: bool,
    alpha: bool,
    /// `BY` without a `*`: the elements stay in their own order.
    unsorted: bool,
    offset: i64,
    count: i64,
    by: Option<&'a [u8]>,
    get: Vec<&'a [u8]>,
    store: Option<&'a [u8]>,
}

impl<'a> Options<'a> {
    /// Reads the options; `check` sees each pattern that may name keys, in order.
    fn parse(
        args: Args<'a>,
        read_only: bool,
        check: impl Fn(&'static str, &'a [u8]) -> Result,
    ) -> Result<Self> {
        let mut options = Self {
            descending: false,
            alpha: false,
            unsorted: false,
            offset: 0,
            count: -1,
            by: None,
            get: Vec::new(),
            store: None,
        };
        let mut i = 2;
        while i < args.len() {
            let left = args.len() - i - 1;
            if args.is(i, "asc") {
                options.descending = false;
            } else if args.is(i, "desc") {
                options.descending = true;
            } else if args.is(i, "alpha") {
                options.alpha = true;
            } else if args.is(i, "limit") && left >= 2 {
                options.offset = number::parse_i64(args.at(i + 1)).ok_or(Error::NotInteger)?;
                options.count = number::parse_i64(args.at(i + 2)).ok_or(Error::NotInteger)?;
                i += 2;
            } else if args.is(i, "store") && left >= 1 && !read_only {
                i += 1;
                options.store = Some(args.at(i));
            } else if args.is(i, "by") && left >= 1 {
                i += 1;
                options.by = Some(args.at(i));
                if args.at(i).contains(&b'*') {
                    check("BY", args.at(i))?;
                } else {
                    options.unsorted = true;
                }
            } else if args.is(i, "get") && left >= 1 {
                i += 1;
                if args.at(i) != b"#" {
                    check("GET", args.at(i))?;
                }
                options.get.push(args.at(i));
            } else {
                return Err(Error::Syntax);
            }
            i += 1;
        }
        Ok(options)
    }

    /// Which of `len` elements are answered.
    fn window(&self, len: usize) -> Range<usize> {
        let start = usize::try_from(self.offset).unwrap_or(0).min(len);
        let count = usize::try_from(self.count).unwrap_or(len);
        start..start.saturating_add(count).min(len)
    }

    fn compare(&self, a: &Row, b: &Row) -> Ordering {
        let order = if !self.alpha {
            // Equal scores are ordered by the elements, so that the answer does not depend on chance.
            let by_score = a.score.partial_cmp(&b.score).unwrap_or(Ordering::Equal);
            by_score.then_with(|| a.element.cmp(&b.element))
        } else if self.by.is_some() {
            a.text.cmp(&b.text)
        } else {
            a.element.cmp(&b.element)
        };
        if self.descending { order.reverse() } else { order }
    }
}

/// One element with what it is sorted by.
#[derive(Debug)]
struct Row {
    element: Vec<u8>,
    score: f64,
    text: Option<Vec<u8>>,
}

impl Row {
    fn new(element: Elem<'_>) -> Self {
        Self { element: element.to_vec(), score: 0.0, text: None }
    }
}

/// Refuses `BY` and `GET` patterns that may name keys of other slots than the sorted key's: for nodes that do
/// not own every slot.
///
/// # Errors
/// Redis's text; or what `SORT` itself answers to its arguments, if that comes first.
pub fn patterns_in_slot(args: Args<'_>) -> Result {
    let slot = key_slot(args.at(1));
    let check = |option: &str, pattern: &[u8]| match pattern_slot(pattern) {
        Some(found) if found == slot => Ok(()),
        _ => Err(Error::owned(format!(
            "ERR {option} option of SORT denied in cluster mode when keys formed by the pattern may be in \
             different slots."
        ))),
    };
    Options::parse(args, args.is(0, "sort_ro"), check).map(drop)
}

/// The one slot of all keys that match `pattern`, if there is one: it has a hash tag in front of all that
/// may vary, or nothing that may.
fn pattern_slot(pattern: &[u8]) -> Option<u16> {
    let varies = pattern.iter().position(|c| b"*?[\\".contains(c)).unwrap_or(pattern.len());
    let fixed = &pattern[..varies];
    let tagged = memchr::memchr(b'{', fixed)
        .and_then(|open| memchr::memchr(b'}', &fixed[open + 1..]))
        .is_some_and(|len| len > 0);
    (tagged || varies == pattern.len()).then(|| key_slot(pattern))
}

/// Whether a request may touch other keys than those that the command table finds.
fn any_key(args: Args<'_>) -> bool {
    // A pattern called `store` misleads the table.
    let options = Options::parse(args, false, |_, _| Ok(()));
    let store = |pattern: &&[u8]| pattern.eq_ignore_ascii_case(b"store");
    patterns_in_slot(args).is_err()
        || options.is_ok_and(|o| o.by.as_ref().is_some_and(store) || o.get.iter().any(store))
}

fn sort(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    run(db, args, out, false)
}

fn sort_ro(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    run(db, args, out, true)
}

fn run(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>, read_only: bool) -> Result {
    let mut options = Options::parse(args, read_only, |_, _| Ok(()))?;
    let value = db.read(args.at(1));
    if options.unsorted && options.store.is_some() && matches!(value, Some(Value::Set(_))) {
        // A set has no order of its own that could be kept in a list.
        options.unsorted = false;
        options.alpha = true;
        options.by = None;
    }
    let mut rows = load(value, &options)?;
    if !options.unsorted {
        weigh(db, &options, &mut rows)?;
        rows.sort_by(|a, b| options.compare(a, b));
        let window = options.window(rows.len());
        rows.truncate(window.end);
        rows.drain(..window.start);
    }
    match options.store {
        None => answer(db, &options, &rows, out),
        Some(key) => store(db, &options, &rows, key, out),
    }
    Ok(())
}

/// The elements of a collection: all of them, or those that are answered if nothing is to be sorted.
fn load(value: Option<&Value>, options: &Options<'_>) -> Result<Vec<Row>> {
    let backwards = options.unsorted && options.descending;
    let window = |len| if options.unsorted { options.window(len) } else { 0..len };
    Ok(match value {
        None => Vec::new(),
        Some(Value::List(list)) => {
            let window = window(list.len());
            let first = if backwards { list.len().wrapping_sub(window.start + 1) } else { window.start };
            list.iter_from(first, backwards).take(window.len()).map(Row::new).collect()
        }
        Some(Value::Set(set)) => {
            let (window, mut rows, mut i) = (window(set.len()), Vec::new(), 0);
            set.each_while(|member| {
                if window.contains(&i) {
                    rows.push(Row::new(member));
                }
                i += 1;
                i < window.end
            });
            rows
        }
        Some(Value::Zset(zset)) => {
            let Range { start, end } = window(zset.len());
            let ranks = if backwards { zset.len() - end..zset.len() - start } else { start..end };
            zset.iter(ranks, backwards).map(|(member, _)| Row::new(member)).collect()
        }
        Some(_) => return Err(Error::WrongType),
    })
}

/// Finds out what each row is sorted by.
fn weigh(db: &mut Db<'_>, options: &Options<'_>, rows: &mut [Row]) -> Result {
    let mut bad = false;
    for row in rows {
        let by = match options.by.map(|pattern| look_up(db, pattern, &row.element)) {
            // What is missing weighs nothing.
            Some(None) => continue,
            found => found.flatten(),
        };
        if options.alpha {
            row.text = by;
        } else {
            let score = score(by.as_ref().unwrap_or(&row.element));
            bad |= score.is_none();
            row.score = score.unwrap_or_default();
        }
    }
    if bad { Err(Error::text("ERR One or more scores can't be converted into double")) } else { Ok(()) }
}

/// A number as C's `strtod` reads it, if that is all of the text and the number is in range.
fn score(text: &[u8]) -> Option<f64> {
    // Redis reads a C string.
    let text = memchr::memchr(0, text).map_or(text, |end| &text[..end]);
    if text.is_empty() {
        return Some(0.0);
    }
    let space = |c: &u8| c.is_ascii_whitespace() || *c == 0x0b;
    let digits = text.iter().position(|c| !space(c)).map(|start| &text[start..])?;
    let value = number::parse_f64(digits)?;
    let spelled = digits.iter().any(|c| matches!(c, b'n' | b'N'));
    let overflow = value.is_infinite() && !spelled;
    let mantissa = digits.split(|c| matches!(c, b'e' | b'E')).next().unwrap_or(digits);
    let underflow = value == 0.0 && mantissa.iter().any(|c| matches!(c, b'1'..=b'9'));
    (!overflow && !underflow).then_some(value)
}

/// What `pattern` stands for with `element` in the place of its `*`: the element itself (`#`), a string, or
/// a field of a hash (`key->field`).
fn look_up(db: &mut Db<'_>, pattern: &[u8], element: &[u8]) -> Option<Vec<u8>> {
    if pattern == b"#" {
        return Some(element.to_vec());
    }
    let star = memchr::memchr(b'*', pattern)?;
    let behind = &pattern[star + 1..];
    let arrow = memchr::memmem::find(behind, b"->").filter(|at| at + 2 < behind.len());
    let (behind, field) = match arrow {
        Some(at) => (&behind[..at], Some(&behind[at + 2..])),
        None => (behind, None),
    };
    let key = [&pattern[..star], element, behind].concat();
    match (db.read(&key)?, field) {
        (Value::Str(string), None) => Some(string.bytes().to_vec()),
        (Value::Hash(hash), Some(field)) => hash.get(field).map(Elem::to_vec),
        _ => None,
    }
}

fn answer(db: &mut Db<'_>, options: &Options<'_>, rows: &[Row], out: &mut Reply<'_>) {
    out.array(rows.len() * options.get.len().max(1));
    for row in rows {
        if options.get.is_empty() {
            out.bulk(&row.element);
        }
        for pattern in &options.get {
            out.bulk_or_null(look_up(db, pattern, &row.element).as_deref());
        }
    }
}

fn store(db: &mut Db<'_>, options: &Options<'_>, rows: &[Row], key: &[u8], out: &mut Reply<'_>) {
    let fill = Fill::new(db.encodings().list_size);
    let mut values: Vec<Vec<u8>> = Vec::with_capacity(rows.len());
    for row in rows {
        if options.get.is_empty() {
            values.push(row.element.clone());
        }
        for pattern in &options.get {
            values.push(look_up(db, pattern, &row.element).unwrap_or_default());
        }
    }
    out.int(values.len() as i64);
    if values.is_empty() {
        db.remove(key);
    } else {
        db.set(key, List::build(values.iter().map(Vec::as_slice), fill), Expiry::Never);
    }
}

#[cfg(test)]
mod tests {
    use shoal_proto::resp::{inline, request::OwnedArgs};

    use super::*;

    fn owned(line: &str) -> OwnedArgs {
        OwnedArgs::new(inline::split(line.as_bytes()).expect("balanced quotes"))
    }

    #[test]
    fn patterns_that_may_leave_the_slot_are_refused() {
        for (line, refused) in [
            ("sort {a}l", None),
            ("sort {a}l by nosort", None),
            ("sort {a}l by {a}w_* get #", None),
            ("sort {a}l by w_{a}_* get {a}v_*->f", None),
            ("sort {a}l by w_*", Some("BY")),
            ("sort {a}l by {}{a}_*", Some("BY")),
            ("sort {a}l by ?{a}_*", Some("BY")),
            ("sort_ro {a}l get w_*->{a}", Some("GET")),
            ("sort {a}l get elsewhere", Some("GET")),
            ("sort l get l", None),
        ] {
            let args = owned(line);
            let got = patterns_in_slot(args.args()).map_err(|e| e.to_string());
            let want = refused.map_or(Ok(()), |option| {
                Err(format!(
                    "ERR {option} option of SORT denied in cluster mode when keys formed by the pattern may \
                     be in different slots."
                ))
            });
            assert_eq!(got, want, "{line}");
        }
    }

    #[test]
    fn only_free_patterns_lock_everything() {
        for (line, all) in [
            ("sort {a}l limit 0 5 store {a}d", false),
            ("sort {a}l by {a}w_*", false),
            ("sort {a}l by w_*", true),
            ("sort {a}l by store alpha", true),
            ("sort {a}l store {a}d get store", true),
        ] {
            assert_eq!(any_key(owned(line).args()), all, "{line}");
        }
    }

    #[test]
    fn scores_are_read_as_strtod_does() {
        for (text, want) in [
            ("", Some(0.0)),
            ("1.5", Some(1.5)),
            (" -3e2", Some(-300.0)),
            ("inf", Some(f64::INFINITY)),
            ("0x10", Some(16.0)),
            ("12\0junk", Some(12.0)),
            ("0e5", Some(0.0)),
            ("1e400", None),
            ("1e-400", None),
            ("nan", None),
            ("1 ", None),
            ("abc", None),
            (" ", None),
        ] {
            assert_eq!(score(text.as_bytes()), want, "{text:?}");
        }
    }
}
