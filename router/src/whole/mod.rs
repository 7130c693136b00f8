//! Commands about the whole cluster: what each node is asked, and one reply made of all.
//!
//! Pure: [`Whole::start`] says what to send, [`Whole::finish`] what to do with the replies. Rules that need more than a
//! few lines have files of their own.

mod config;
mod info;
mod latency;
mod slowlog;
mod stats;

pub(crate) use info::Own;
use rand::RngExt;
use shoal_proto::{
    command::{Entry, Merge},
    error::Result,
    resp::{Args, Protocol, Reply, frame, request::OwnedArgs},
};

use crate::{
    gather::Target,
    merge::{self, UNEXPECTED},
    scan,
};

/// Tries to find a key in the node that was drawn before the cluster is called empty: keys may expire meanwhile.
const RANDOM_TRIES: u8 = 4;

/// What to send next.
pub(crate) type Next = Vec<(Target, Vec<u8>)>;

#[derive(Debug)]
enum Rule {
    Sum,
    Alike,
    /// Emptying. If slots are under way, some may leave their owner before that is asked and come to their target after that
    /// was: then all are asked twice, since a slot changes hands once in a view.
    Flush {
        again: bool,
    },
    Concat,
    /// Keys per member are asked first.
    Random {
        counts: Vec<u64>,
        tries: u8,
    },
    Scan {
        hops: u8,
    },
    Info(Box<Own>),
    /// One reply that is no error.
    Any,
    /// Texts for people, one node after another.
    Texts,
    MemoryStats,
    ConfigGet,
    Slowlog,
    LatencyLatest,
    LatencyHistory,
    LatencyHistogram,
}

/// One request about the whole cluster.
#[derive(Debug)]
pub(crate) struct Whole {
    rule: Rule,
    request: OwnedArgs,
    members: u16,
}

impl Whole {
    /// For a request of this command, in a view of so many members, and whether slots are to move in it. `own` is what the router says of itself in `INFO`.
    pub(crate) fn new(
        entry: &Entry,
        merge: Merge,
        args: Args<'_>,
        (members, moves): (u16, bool),
        own: impl FnOnce() -> Own,
    ) -> Self {
        let rule = match merge {
            Merge::AllOk if entry.name.starts_with("flush") => Rule::Flush { again: moves },
            Merge::Sum => Rule::Sum,
            Merge::AllOk | Merge::Values => Rule::Alike,
            Merge::Concat => Rule::Concat,
            Merge::Scan => Rule::Scan { hops: 0 },
            Merge::Random => Rule::Random { counts: Vec::new(), tries: 0 },
            Merge::Info => Rule::Info(Box::new(own())),
            Merge::Special => match entry.name.as_str() {
                "slowlog|get" => Rule::Slowlog,
                "latency|latest" => Rule::LatencyLatest,
                "latency|history" => Rule::LatencyHistory,
                "latency|histogram" => Rule::LatencyHistogram,
                "memory|stats" => Rule::MemoryStats,
                "memory|doctor" | "memory|malloc-stats" | "latency|doctor" | "latency|graph" => Rule::Texts,
                "config|get" => Rule::ConfigGet,
                // DEBUG: whoever has something to say.
                _ => Rule::Any,
            },
        };
        Self { rule, request: OwnedArgs::new(args.iter()), members }
    }

    /// The first requests.
    pub(crate) fn start(&self) -> Next {
        match &self.rule {
            Rule::Scan { .. } => {
                vec![(Target::Slot(scan::slot(self.request.args()).unwrap_or(0)), self.raw())]
            }
            Rule::Random { .. } => self.everybody(&OwnedArgs::new(["DBSIZE"])),
            _ => self.everybody(&self.request),
        }
    }

    /// Forgets what was learned so far: there are so many members now, and slots are to move or not.
    pub(crate) fn restart(&mut self, (members, moves): (u16, bool)) {
        self.members = members;
        match &mut self.rule {
            Rule::Flush { again } => *again |= moves,
            Rule::Random { counts, tries } => {
                counts.clear();
                *tries = 0;
            }
            Rule::Scan { hops } => *hops = 0,
            _ => {}
        }
    }

    fn raw(&self) -> Vec<u8> {
        self.request.args().raw().to_vec()
    }

    fn everybody(&self, request: &OwnedArgs) -> Next {
        (0..self.members).map(|place| (Target::Member(place), request.args().raw().to_vec())).collect()
    }

    /// Writes the reply, or says what else to send.
    ///
    /// # Errors
    /// When replies fit no rule; `out` may then hold garbage.
    pub(crate) fn finish(
        &mut self,
        replies: &[&[u8]],
        protocol: Protocol,
        out: &mut Vec<u8>,
    ) -> Result<Option<Next>> {
        if let Rule::Any = self.rule {
            let good = replies.iter().find(|r| !merge::is_error(r));
            out.extend_from_slice(good.or(replies.first()).ok_or(UNEXPECTED)?);
            return Ok(None);
        }
        if let Some(error) = merge::first_error(replies) {
            out.extend_from_slice(error);
            return Ok(None);
        }
        if let Rule::Flush { again } = &mut self.rule
            && std::mem::take(again)
        {
            return Ok(Some(self.start()));
        }
        let args = self.request.args();
        match &mut self.rule {
            Rule::Sum => merge::sum(replies, out)?,
            Rule::Alike | Rule::Flush { .. } | Rule::Any => merge::alike(replies, out)?,
            Rule::Concat => merge::concat(replies, out),
            Rule::Scan { hops } => {
                let reply = replies.first().ok_or(UNEXPECTED)?;
                *hops += 1;
                match scan::step(args, reply, *hops)? {
                    scan::Step::Done => out.extend_from_slice(reply),
                    scan::Step::On(slot, request) => return Ok(Some(vec![(Target::Slot(slot), request)])),
                }
            }
            Rule::Random { .. } => return self.random(replies, protocol, out),
            Rule::Info(own) => Reply::new(out, protocol).verbatim(&info::merge(replies, own)?),
            Rule::Texts => {
                let mut text: Vec<u8> = Vec::new();
                for reply in replies {
                    let part = frame::text(reply).ok_or(UNEXPECTED)?;
                    // Nodes that all say the same are heard once.
                    if text != part {
                        text.extend_from_slice(part);
                    }
                }
                Reply::new(out, protocol).verbatim(&String::from_utf8_lossy(&text));
            }
            Rule::MemoryStats => stats::memory(replies, &mut Reply::new(out, protocol)),
            Rule::ConfigGet => config::get(replies.first().ok_or(UNEXPECTED)?, out),
            Rule::Slowlog => slowlog::get(args, replies, out),
            Rule::LatencyLatest => latency::latest(replies, out),
            Rule::LatencyHistory => latency::history(replies, out),
            Rule::LatencyHistogram => latency::histogram(replies, &mut Reply::new(out, protocol)),
        }
        Ok(None)
    }

    /// `RANDOMKEY`: a node drawn by its number of keys, and any of its keys.
    fn random(&mut self, replies: &[&[u8]], protocol: Protocol, out: &mut Vec<u8>) -> Result<Option<Next>> {
        let Rule::Random { counts, tries } = &mut self.rule else { return Err(UNEXPECTED) };
        if counts.is_empty() {
            let sizes: Option<Vec<u64>> =
                replies.iter().map(|r| frame::integer(r).and_then(|n| u64::try_from(n).ok())).collect();
            *counts = sizes.ok_or(UNEXPECTED)?;
        } else if let Some(reply) = replies.first().filter(|r| frame::text(r).is_some()) {
            out.extend_from_slice(reply);
            return Ok(None);
        }
        let total: u64 = counts.iter().sum();
        *tries += 1;
        if total == 0 || *tries > RANDOM_TRIES {
            Reply::new(out, protocol).null();
            return Ok(None);
        }
        let place = drawn(counts, rand::rng().random_range(0..total));
        Ok(Some(vec![(Target::Member(place), self.raw())]))
    }
}

/// The place in whose share `point` lies.
fn drawn(counts: &[u64], mut point: u64) -> u16 {
    for (place, count) in counts.iter().enumerate() {
        if point < *count {
            return place as u16;
        }
        point -= count;
    }
    0
}

#[cfg(test)]
mod tests {
    use shoal_proto::command::{Route, table};

    use super::*;

    pub(super) fn whole(line: &str, members: u16) -> Whole {
        let request = OwnedArgs::new(line.split(' '));
        let entry = table().find(request.args()).unwrap();
        let Route::AllNodes(merge) = entry.command.route else { panic!("{line} is not for all nodes") };
        Whole::new(entry, merge, request.args(), (members, false), Own::default)
    }

    pub(super) fn finished(line: &str, replies: &[&str]) -> String {
        let replies: Vec<&[u8]> = replies.iter().map(|r| r.as_bytes()).collect();
        let mut out = Vec::new();
        let next = whole(line, replies.len() as u16).finish(&replies, Protocol::Resp2, &mut out).unwrap();
        assert_eq!(next, None);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn simple_rules() {
        assert_eq!(finished("DBSIZE", &[":1\r\n", ":2\r\n"]), ":3\r\n");
        assert_eq!(finished("FLUSHALL", &["+OK\r\n", "+OK\r\n"]), "+OK\r\n");
        assert_eq!(finished("FLUSHALL", &["+OK\r\n", "-ERR syntax error\r\n"]), "-ERR syntax error\r\n");
        assert_eq!(finished("KEYS *", &["*1\r\n$1\r\na\r\n", "*0\r\n"]), "*1\r\n$1\r\na\r\n");
        assert_eq!(finished("DEBUG SET-ACTIVE-EXPIRE 0", &["-ERR no\r\n", "+OK\r\n"]), "+OK\r\n");
        assert_eq!(finished("MEMORY DOCTOR", &["$2\r\nhi\r\n", "$2\r\nhi\r\n"]), "$2\r\nhi\r\n");
    }

    #[test]
    fn while_slots_move_everything_is_emptied_twice() {
        let mut flush = whole("FLUSHALL", 2);
        flush.restart((2, true));
        let mut out = Vec::new();
        let ok: [&[u8]; 2] = [b"+OK\r\n", b"+OK\r\n"];
        let next = flush.finish(&ok, Protocol::Resp2, &mut out).unwrap();
        assert_eq!(next.map(|next| next.len()), Some(2));
        assert_eq!(flush.finish(&ok, Protocol::Resp2, &mut out).unwrap(), None);
        assert_eq!(out, b"+OK\r\n");
    }

    #[test]
    fn random_keys_are_drawn_by_share() {
        let mut random = whole("RANDOMKEY", 3);
        assert_eq!(random.start().len(), 3);
        let mut out = Vec::new();
        let next =
            random.finish(&[b":0\r\n", b":5\r\n", b":0\r\n"], Protocol::Resp2, &mut out).unwrap().unwrap();
        assert_eq!(next[0].0, Target::Member(1));
        assert_eq!(random.finish(&[b"$1\r\na\r\n"], Protocol::Resp2, &mut out).unwrap(), None);
        assert_eq!(out, b"$1\r\na\r\n");
        assert_eq!(drawn(&[3, 0, 2], 2), 0);
        assert_eq!(drawn(&[3, 0, 2], 3), 2);
        let mut empty = whole("RANDOMKEY", 1);
        out.clear();
        assert_eq!(empty.finish(&[b":0\r\n"], Protocol::Resp3, &mut out).unwrap(), None);
        assert_eq!(out, b"_\r\n");
    }
}
