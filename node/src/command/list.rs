//! Lists.
//!
//! The blocking variants are the server's: they are these commands, tried again when a key changes.

use shoal_proto::{
    Error,
    error::Result,
    number,
    resp::{Args, Reply},
};

use super::{Family, Handler::Data, element::element};
use crate::{
    store::{Db, Small},
    value::{
        List, Typed,
        dense::Dense,
        list::{End, Fill},
        packed::Elem,
    },
};

pub(super) const HANDLERS: Family = &[
    ("lpush", Data(lpush)),
    ("rpush", Data(rpush)),
    ("lpushx", Data(lpushx)),
    ("rpushx", Data(rpushx)),
    ("lpop", Data(lpop)),
    ("rpop", Data(rpop)),
    ("llen", Data(llen)),
    ("lrange", Data(lrange)),
    ("lindex", Data(lindex)),
    ("lset", Data(lset)),
    ("linsert", Data(linsert)),
    ("lrem", Data(lrem)),
    ("ltrim", Data(ltrim)),
    ("lpos", Data(lpos)),
    ("lmove", Data(lmove)),
    ("rpoplpush", Data(rpoplpush)),
    ("lmpop", Data(lmpop)),
];

fn lpush(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    push(db, args, out, End::Front)
}

fn rpush(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    push(db, args, out, End::Back)
}

fn push(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>, end: End) -> Result {
    let fill = fill(db);
    let plan = |small: Dense<'_>| if args.len() == 3 { small.push(end, args.at(2), fill) } else { None };
    let value = |list: &mut List| {
        list.push(end, args.from(2).iter(), fill);
        list.len()
    };
    out.int(db.change_or_new(args.at(1), Small::List, plan, value)? as i64);
    Ok(())
}

fn lpushx(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    pushx(db, args, out, End::Front)
}

fn rpushx(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    pushx(db, args, out, End::Back)
}

fn pushx(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>, end: End) -> Result {
    if is_list(db, args.at(1))? {
        return push(db, args, out, end);
    }
    out.int(0);
    Ok(())
}

fn lpop(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    pop(db, args, out, End::Front)
}

fn rpop(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    pop(db, args, out, End::Back)
}

fn pop(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>, end: End) -> Result {
    if args.len() > 3 {
        return Err(Error::Arity(if end == End::Front { "lpop" } else { "rpop" }.into()));
    }
    let fill = fill(db);
    if args.len() == 2 {
        let plan = |small: Dense<'_>, out: &mut Reply<'_>| small.pop(end, |elem| element(out, elem));
        let value = |list: &mut List, out: &mut Reply<'_>| {
            if let Some(elem) = list.peek(end) {
                element(out, elem);
            }
            list.cut(end, 1, fill);
        };
        if db.change(args.at(1), Small::List, out, plan, value)?.is_none() {
            out.null();
        }
        return Ok(());
    }
    let count = at_least(args, 2, 0, "ERR value is out of range, must be positive")?;
    if !is_list(db, args.at(1))? {
        out.null_array();
    } else if count == 0 {
        out.array(0);
    } else if let Some(mut edit) = db.edit::<List>(args.at(1))? {
        pop_many(&mut edit, end, count, fill, out);
    }
    Ok(())
}

/// Answers with up to `count` elements, from the end inwards, and removes them.
fn pop_many(list: &mut List, end: End, count: usize, fill: Fill, out: &mut Reply<'_>) {
    let count = count.min(list.len());
    out.array(count);
    let elems = match end {
        End::Front => list.iter(),
        End::Back => list.iter_from(list.len() - 1, true),
    };
    elems.visit(count, |elem| element(out, elem));
    list.cut(end, count, fill);
}

fn llen(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let list = db.get::<List>(args.at(1))?;
    out.int(list.map_or(0, List::len) as i64);
    Ok(())
}

fn lrange(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let (start, stop) = (int(args, 2)?, int(args, 3)?);
    let Some(list) = db.get::<List>(args.at(1))? else {
        out.array(0);
        return Ok(());
    };
    let range = range(start, stop, list.len());
    out.array(range.len());
    if !range.is_empty() {
        list.iter_from(range.start, false).visit(range.len(), |elem| element(out, elem));
    }
    Ok(())
}

/// The elements that an inclusive range names in a list of `len`; negative indexes count from the end.
fn range(start: i64, stop: i64, len: usize) -> std::ops::Range<usize> {
    let len = len as i64;
    let from_end = |i: i64| if i < 0 { len + i } else { i };
    let (start, stop) = (from_end(start).max(0), from_end(stop).min(len - 1));
    if start > stop { 0..0 } else { start as usize..stop as usize + 1 }
}

fn lindex(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let Some(list) = db.get::<List>(args.at(1))? else {
        out.null();
        return Ok(());
    };
    let index = int(args, 2)?;
    match list.index(index).and_then(|i| list.get(i)) {
        Some(elem) => element(out, elem),
        None => out.null(),
    }
    Ok(())
}

fn lset(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    if !is_list(db, args.at(1))? {
        return Err(Error::NoSuchKey);
    }
    let index = int(args, 2)?;
    let fill = fill(db);
    if let Some(mut edit) = db.edit::<List>(args.at(1))?
        && !edit.set(index, args.at(3), fill)
    {
        return Err(Error::IndexOutOfRange);
    }
    out.ok();
    Ok(())
}

fn linsert(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let after = args.is(2, "after");
    if !after && !args.is(2, "before") {
        return Err(Error::Syntax);
    }
    let fill = fill(db);
    let Some(mut edit) = db.edit::<List>(args.at(1))? else {
        out.int(0);
        return Ok(());
    };
    let list: &mut List = &mut edit;
    let inserted = list.insert(args.at(3), after, args.at(4), fill);
    out.int(if inserted { list.len() as i64 } else { -1 });
    Ok(())
}

fn lrem(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let count = symmetric(args, 2)?;
    let fill = fill(db);
    let Some(mut edit) = db.edit::<List>(args.at(1))? else {
        out.int(0);
        return Ok(());
    };
    let max = if count == 0 { usize::MAX } else { count.unsigned_abs() as usize };
    let removed = edit.remove(args.at(3), max, count < 0, fill);
    out.int(removed as i64);
    Ok(())
}

fn ltrim(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let (start, stop) = (int(args, 2)?, int(args, 3)?);
    let fill = fill(db);
    if let Some(mut edit) = db.edit::<List>(args.at(1))? {
        let list: &mut List = &mut edit;
        let kept = range(start, stop, list.len());
        list.cut(End::Back, list.len() - kept.end, fill);
        list.cut(End::Front, kept.start, fill);
    }
    out.ok();
    Ok(())
}

/// The options of `LPOS`.
struct Search {
    rank: i64,
    count: Option<usize>,
    /// Elements to look at; all if 0.
    maxlen: usize,
}

impl Search {
    fn parse(args: Args<'_>) -> Result<Self> {
        let mut search = Self { rank: 1, count: None, maxlen: 0 };
        let mut i = 3;
        while i < args.len() {
            if i + 1 == args.len() {
                return Err(Error::Syntax);
            }
            if args.is(i, "rank") {
                search.rank = symmetric(args, i + 1)?;
                if search.rank == 0 {
                    return Err(Error::text(
                        "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second \
                         ... or use negative to start from the end of the list",
                    ));
                }
            } else if args.is(i, "count") {
                search.count = Some(at_least(args, i + 1, 0, "ERR COUNT can't be negative")?);
            } else if args.is(i, "maxlen") {
                search.maxlen = at_least(args, i + 1, 0, "ERR MAXLEN can't be negative")?;
            } else {
                return Err(Error::Syntax);
            }
            i += 2;
        }
        Ok(search)
    }

    /// Indexes of the matches in `list`, in the order of the search.
    fn matches<'a>(&self, list: &'a List, wanted: &'a [u8]) -> impl Iterator<Item = usize> + use<'a> {
        let backwards = self.rank < 0;
        let last = list.len() - 1;
        let looked_at = if self.maxlen == 0 { usize::MAX } else { self.maxlen };
        let wanted = Elem::of(wanted);
        list.iter_from(if backwards { last } else { 0 }, backwards)
            .take(looked_at)
            .enumerate()
            .filter(move |(_, elem)| *elem == wanted)
            .map(move |(i, _)| if backwards { last - i } else { i })
            .skip((self.rank.unsigned_abs() - 1) as usize)
    }
}

fn lpos(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let search = Search::parse(args)?;
    let list = db.get::<List>(args.at(1))?;
    let mut matches = list.map(|list| search.matches(list, args.at(2))).into_iter().flatten();
    match search.count {
        None => match matches.next() {
            Some(i) => out.int(i as i64),
            None => out.null(),
        },
        Some(count) => {
            let mark = out.mark();
            let mut n = 0;
            for i in matches.take(if count == 0 { usize::MAX } else { count }) {
                out.int(i as i64);
                n += 1;
            }
            out.array_from(mark, n);
        }
    }
    Ok(())
}

fn lmove(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let (from, to) = (end(args, 3)?, end(args, 4)?);
    move_one(db, args, out, from, to)
}

fn rpoplpush(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    move_one(db, args, out, End::Back, End::Front)
}

fn move_one(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>, from: End, to: End) -> Result {
    let (source, destination) = (args.at(1), args.at(2));
    if !is_list(db, source)? {
        out.null();
        return Ok(());
    }
    is_list(db, destination)?;
    let fill = fill(db);
    let Some(mut edit) = db.edit::<List>(source)? else { return Ok(()) };
    let elem = if source == destination {
        edit.rotate(from, to, fill)
    } else {
        let elem = edit.peek(from).map(Elem::to_vec).unwrap_or_default();
        edit.cut(from, 1, fill);
        drop(edit);
        db.edit_or_new::<List>(destination)?.push(to, std::iter::once(elem.as_slice()), fill);
        elem
    };
    out.bulk(&elem);
    Ok(())
}

fn lmpop(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let numkeys = at_least(args, 1, 1, "ERR numkeys should be greater than 0")?;
    let side = numkeys.checked_add(2).filter(|i| *i < args.len()).ok_or(Error::Syntax)?;
    let end = end(args, side)?;
    let count = match args.len() - side - 1 {
        0 => 1,
        _ if !args.is(side + 1, "count") || side + 2 >= args.len() => return Err(Error::Syntax),
        options => {
            let count = at_least(args, side + 2, 1, "ERR count should be greater than 0")?;
            if options > 2 {
                return Err(Error::Syntax);
            }
            count
        }
    };
    let fill = fill(db);
    for key in args.iter().take(side).skip(2) {
        if let Some(mut edit) = db.edit::<List>(key)? {
            out.array(2);
            out.bulk(key);
            pop_many(&mut edit, end, count, fill, out);
            return Ok(());
        }
    }
    out.null_array();
    Ok(())
}

fn fill(db: &Db<'_>) -> Fill {
    Fill::new(db.encodings().list_size)
}

/// Whether `key` exists; an error if it is not a list.
fn is_list(db: &mut Db<'_>, key: &[u8]) -> Result<bool> {
    match db.peek(key) {
        None => Ok(false),
        Some(value) => List::of(value).map(|_| true).ok_or(Error::WrongType),
    }
}

fn int(args: Args<'_>, i: usize) -> Result<i64> {
    number::parse_i64(args.at(i)).ok_or(Error::NotInteger)
}

/// An integer whose negation is one too.
fn symmetric(args: Args<'_>, i: usize) -> Result<i64> {
    match int(args, i)? {
        i64::MIN => Err(Error::text(
            "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
        )),
        n => Ok(n),
    }
}

/// An integer of at least `min`, or the error `text`, which also stands for what is not an integer.
fn at_least(args: Args<'_>, i: usize, min: usize, text: &'static str) -> Result<usize> {
    let n = number::parse_i64(args.at(i)).and_then(|n| usize::try_from(n).ok());
    n.filter(|n| *n >= min).ok_or(Error::text(text))
}

fn end(args: Args<'_>, i: usize) -> Result<End> {
    if args.is(i, "left") {
        Ok(End::Front)
    } else if args.is(i, "right") {
        Ok(End::Back)
    } else {
        Err(Error::Syntax)
    }
}

#[cfg(test)]
mod tests {
    use shoal_proto::{resp::Protocol, slot::key_slot};

    use super::super::testing::Core;

    fn encoding(core: &Core, key: &str) -> &'static str {
        let mut db = core.store.lock_slot(0, key_slot(key.as_bytes()), core.now);
        db.peek(key.as_bytes()).expect("the key exists").encoding()
    }

    #[test]
    fn nothing_is_a_null_or_a_null_array() {
        let mut core = Core::new();
        assert_eq!(core.run("LPOP l"), "$-1\r\n");
        assert_eq!(core.run("RPOP l 1"), "*-1\r\n");
        assert_eq!(core.run("LPOP l 0"), "*-1\r\n");
        assert_eq!(core.run("LMPOP 1 l LEFT"), "*-1\r\n");
        assert_eq!(core.run("LPOS l a"), "$-1\r\n");
        assert_eq!(core.run("RPOPLPUSH {l}a {l}b"), "$-1\r\n");
        core.protocol = Protocol::Resp3;
        assert_eq!(core.run("LPOP l"), "_\r\n");
        assert_eq!(core.run("LPOP l 1"), "_\r\n");
        assert_eq!(core.run("LMPOP 1 l LEFT"), "_\r\n");
    }

    #[test]
    fn the_least_integer_has_no_opposite() {
        let mut core = Core::new();
        let error = "-ERR value is out of range, value must between -9223372036854775807 and \
                     9223372036854775807\r\n";
        assert_eq!(core.run("LPOS l c RANK -9223372036854775808"), error);
        assert_eq!(core.run("LREM l -9223372036854775808 a"), error);
    }

    #[test]
    fn an_expiry_outlives_a_rotation_of_one_element() {
        let mut core = Core::new();
        core.run("RPUSH l a");
        let expires_at = Some(core.now + 1000);
        core.store.lock_slot(0, key_slot(b"l"), core.now).set_expiry(b"l", expires_at);
        assert_eq!(core.run("LMOVE l l LEFT RIGHT"), "$1\r\na\r\n");
        assert_eq!(core.store.lock_slot(0, key_slot(b"l"), core.now).expires_at(b"l"), Some(expires_at));
    }

    #[test]
    fn encodings_change_where_redis_changes_them() {
        let mut core = Core::new();
        core.store.configure(|s| s.encodings.list_size = 4);
        core.run("RPUSH l a b c d");
        assert_eq!(encoding(&core, "l"), "listpack");
        core.run("LSET l 0 x");
        assert_eq!(encoding(&core, "l"), "quicklist", "LSET counts as if it added one");
        core.run("RPOP l 2");
        assert_eq!(encoding(&core, "l"), "listpack");
        core.run("RPUSH l c d");
        core.run("LINSERT l BEFORE nothere x");
        assert_eq!(encoding(&core, "l"), "quicklist", "LINSERT converts before it looks for the pivot");
        core.run("SORT l ALPHA STORE {l}d");
        assert_eq!(encoding(&core, "{l}d"), "listpack");
        core.run("LMOVE l l LEFT RIGHT");
        assert_eq!(encoding(&core, "l"), "quicklist");
        core.run("LTRIM l 0 1");
        assert_eq!(encoding(&core, "l"), "listpack");
    }

    #[test]
    fn the_books_balance_when_lists_are_gone() {
        let mut core = Core::new();
        for i in 0..1000 {
            core.run(&format!("RPUSH l {i}"));
        }
        assert!(core.store.used_memory() > 2000);
        core.run("LPOP l 1000");
        assert_eq!(core.store.used_memory(), 0);
    }
}
