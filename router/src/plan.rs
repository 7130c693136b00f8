//! What to do with a request: pure, from the command table and the request's keys alone.
//!
//! The worker calls [`Planner::plan`] for every request and carries the plan out. Which node owns a slot is
//! not decided here, so a plan stays valid when the view changes.

use shoal_proto::{
    Error,
    command::{Begin, Entry, Find, Merge, Route, Status, table},
    resp::Args,
    slot::key_slot,
};

/// What the router does with one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plan {
    /// Forward to the owner of the slot.
    Slot(u16),
    /// Forward to any node: the request has no keys, or is malformed in a way that a node explains.
    Any,
    /// The keys from argument 1 on, `step` arguments each, may be in several slots.
    Split { step: u8, merge: Merge },
    /// Forward to every node that serves slots, and merge.
    AllNodes(Merge),
    /// Answer here.
    Local,
}

/// Where a command's keys are, reduced to what planning needs.
#[derive(Debug, Clone, Copy)]
enum Shape {
    /// Exactly one key, at this argument.
    One(u8),
    /// Several keys or positions that need a look at the arguments.
    Several,
    /// The route does not depend on keys.
    Fixed(Plan),
    /// Not executed: the error is [`Entry::unsupported`]'s or the route's own.
    Refused,
}

/// Plans requests; made once per process.
#[derive(Debug)]
pub(crate) struct Planner {
    /// By the entry's number.
    shapes: Vec<Shape>,
}

impl Planner {
    pub(crate) fn new() -> Self {
        Self { shapes: table().entries().iter().map(shape).collect() }
    }

    /// The plan for a request of this command.
    ///
    /// # Errors
    /// `CROSSSLOT`, or why the command is not executed through the router.
    #[inline]
    pub(crate) fn plan(&self, entry: &Entry, args: Args<'_>) -> Result<Plan, Error> {
        match self.shapes[usize::from(entry.id)] {
            Shape::One(at) => Ok(Plan::Slot(key_slot(args.at(usize::from(at))))),
            Shape::Fixed(Plan::AllNodes(Merge::Special)) if entry.name == "debug" => Ok(debug(args)),
            Shape::Fixed(plan) => Ok(plan),
            Shape::Several => one_slot(entry, args),
            Shape::Refused => Err(refusal(entry)),
        }
    }
}

fn shape(entry: &Entry) -> Shape {
    let command = entry.command;
    if command.status != Status::Built {
        return Shape::Refused;
    }
    match command.route {
        Route::Refused(_) => Shape::Refused,
        Route::Local => match entry.name.as_str() {
            "cluster|countkeysinslot" | "cluster|getkeysinslot" => Shape::Several,
            _ => Shape::Fixed(Plan::Local),
        },
        Route::AllNodes(merge) => Shape::Fixed(Plan::AllNodes(merge)),
        Route::Split { step, merge } => Shape::Fixed(Plan::Split { step, merge }),
        Route::Slot => match command.keys {
            [key] => match (key.begin, key.find) {
                (Begin::Index(at @ 1..), Find::Range { last: 0, .. })
                    if i16::from(command.arity).abs() > at =>
                {
                    Shape::One(at as u8)
                }
                _ => Shape::Several,
            },
            _ => Shape::Several,
        },
    }
}

fn one_slot(entry: &Entry, args: Args<'_>) -> Result<Plan, Error> {
    if entry.name.starts_with("cluster|") {
        // The slot itself is the argument; a node words the error if it is none.
        let slot = args.get(2).and_then(shoal_proto::number::parse_i64);
        return Ok(slot
            .and_then(|s| u16::try_from(s).ok())
            .filter(|s| *s < 16384)
            .map_or(Plan::Any, Plan::Slot));
    }
    let mut slot = None;
    let mut crossed = false;
    let found = entry.each_key(args, |i| {
        let this = key_slot(args.at(i));
        crossed |= *slot.get_or_insert(this) != this;
    });
    match slot {
        // A malformed count: the node's own check gives the text.
        _ if found.is_err() => Ok(slot.map_or(Plan::Any, Plan::Slot)),
        _ if crossed => Err(Error::CrossSlot),
        Some(slot) => Ok(Plan::Slot(slot)),
        None => Ok(Plan::Any),
    }
}

/// Subcommands of `DEBUG` that look at a key go to its owner; the others to every node.
fn debug(args: Args<'_>) -> Plan {
    const BY_KEY: [&str; 8] = [
        "object",
        "sdslen",
        "ziplist",
        "listpack",
        "quicklist",
        "htstats-key",
        "digest-value",
        "stringmatch-len",
    ];
    match args.get(2) {
        // That of whom the client talks to, as with Redis: not of the whole cluster.
        None if args.is(1, "panic") => Plan::Local,
        Some(key) if BY_KEY.iter().any(|name| args.is(1, name)) => Plan::Slot(key_slot(key)),
        _ => Plan::AllNodes(Merge::Special),
    }
}

fn refusal(entry: &Entry) -> Error {
    match (entry.command.status, entry.command.route) {
        (Status::Built, Route::Refused(why)) => {
            let name = entry.name.replace('|', " ").to_ascii_uppercase();
            Error::owned(format!("ERR {name} is not available through the router: {why}"))
        }
        _ => entry.unsupported(),
    }
}

#[cfg(test)]
mod tests {
    use shoal_proto::resp::request::OwnedArgs;

    use super::*;

    fn plan(line: &str) -> Result<Plan, String> {
        let owned = OwnedArgs::new(line.split(' '));
        let args = owned.args();
        let entry = table().find(args).map_err(|e| e.to_string())?;
        Planner::new().plan(entry, args).map_err(|e| e.to_string())
    }

    #[test]
    fn by_slot() {
        assert_eq!(plan("GET foo"), Ok(Plan::Slot(12182)));
        assert_eq!(plan("set foo 1"), Ok(Plan::Slot(12182)));
        assert_eq!(plan("RENAME {foo}a {foo}b"), Ok(Plan::Slot(12182)));
        assert_eq!(plan("RENAME a b").unwrap_err(), "CROSSSLOT Keys in request don't hash to the same slot");
        assert_eq!(plan("OBJECT ENCODING foo"), Ok(Plan::Slot(12182)));
        assert_eq!(plan("MEMORY USAGE foo"), Ok(Plan::Slot(12182)));
        assert_eq!(plan("DEBUG OBJECT foo"), Ok(Plan::Slot(12182)));
        assert_eq!(plan("CLUSTER COUNTKEYSINSLOT 7"), Ok(Plan::Slot(7)));
        assert_eq!(plan("CLUSTER COUNTKEYSINSLOT 16384"), Ok(Plan::Any));
        assert_eq!(plan("ZUNIONSTORE {a}d 2 {a}1 {a}2"), Ok(Plan::Slot(key_slot(b"a"))));
        assert_eq!(plan("SINTERCARD x a"), Ok(Plan::Any));
    }

    #[test]
    fn others() {
        assert_eq!(plan("MGET a b"), Ok(Plan::Split { step: 1, merge: Merge::Values }));
        assert_eq!(plan("MSET a 1 b 2"), Ok(Plan::Split { step: 2, merge: Merge::AllOk }));
        assert_eq!(plan("DBSIZE"), Ok(Plan::AllNodes(Merge::Sum)));
        assert_eq!(plan("PING"), Ok(Plan::Local));
        assert_eq!(plan("DEBUG SLEEP 0"), Ok(Plan::AllNodes(Merge::Special)));
        assert_eq!(plan("debug panic"), Ok(Plan::Local));
        assert_eq!(plan("DEBUG PANIC x"), Ok(Plan::AllNodes(Merge::Special)));
    }

    #[test]
    fn errors_are_the_tables() {
        assert_eq!(plan("GET").unwrap_err(), "ERR wrong number of arguments for 'get' command");
        assert_eq!(
            plan("DPING 1").unwrap_err(),
            "ERR unknown command 'DPING', with args beginning with: '1' "
        );
        assert!(plan("SAVE").unwrap_err().starts_with("ERR SAVE is not supported by Shoal"));
        assert!(
            plan("SUBSCRIBE a").unwrap_err().starts_with("ERR SUBSCRIBE is not supported by this version")
        );
    }
}
