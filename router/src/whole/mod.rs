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
    cluster::{Rounds, Told, rounds},
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

/// What becomes of a request when all have answered.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The reply was written.
    Done,
    /// Ask this.
    Ask(Next),
    /// The cluster has changed: ask all of it again, as soon as the router knows its view.
    Outdated,
    /// The cluster is changing: ask all of it again after a while.
    Changing,
}

/// Of the cluster that is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Scene {
    /// How many members there are.
    pub(crate) members: u16,
    /// Whether slots are to move.
    pub(crate) moves: bool,
    /// The view's epoch.
    pub(crate) epoch: u64,
}

#[derive(Debug)]
enum Rule {
    Sum,
    Alike,
    /// Emptying, see [`Rounds`].
    Flush {
        rounds: Rounds,
        asked_for_view: bool,
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
    ConfigGet(Box<Own>),
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
    scene: Scene,
}

impl Whole {
    /// For a request of this command. `own` is what the router says of itself in `INFO` and `CONFIG GET`.
    pub(crate) fn new(
        entry: &Entry,
        merge: Merge,
        args: Args<'_>,
        scene: Scene,
        own: impl FnOnce() -> Own,
    ) -> Self {
        let rule = match merge {
            Merge::AllOk if entry.name.starts_with("flush") => {
                Rule::Flush { rounds: Rounds::new(scene.epoch, scene.moves), asked_for_view: true }
            }
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
                "config|get" => Rule::ConfigGet(Box::new(own())),
                // DEBUG: whoever has something to say.
                _ => Rule::Any,
            },
        };
        Self { rule, request: OwnedArgs::new(args.iter()), scene }
    }

    /// The first requests.
    pub(crate) fn start(&self) -> Next {
        match &self.rule {
            Rule::Scan { .. } => {
                vec![(Target::Slot(scan::slot(self.request.args()).unwrap_or(0)), self.raw())]
            }
            Rule::Random { .. } => self.everybody(&OwnedArgs::new(["DBSIZE"])),
            Rule::Flush { .. } => self.everybody(&OwnedArgs::new(["CLUSTER", "INFO"])),
            _ => self.everybody(&self.request),
        }
    }

    /// Forgets what was learned so far: the cluster is another one.
    pub(crate) fn restart(&mut self, scene: Scene) {
        self.scene = scene;
        match &mut self.rule {
            Rule::Flush { rounds, asked_for_view } => {
                rounds.restart(scene.epoch, scene.moves);
                *asked_for_view = true;
            }
            Rule::Random { counts, tries } => {
                counts.clear();
                *tries = 0;
            }
            Rule::Scan { hops } => *hops = 0,
            _ => {}
        }
    }

    /// Whether it must not be answered unless all members have taken part.
    pub(crate) fn needs_all(&self) -> bool {
        matches!(self.rule, Rule::Flush { .. })
    }

    fn raw(&self) -> Vec<u8> {
        self.request.args().raw().to_vec()
    }

    fn everybody(&self, request: &OwnedArgs) -> Next {
        (0..self.scene.members).map(|place| (Target::Member(place), request.args().raw().to_vec())).collect()
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
    ) -> Result<Step> {
        if let Rule::Any = self.rule {
            let good = replies.iter().find(|r| !merge::is_error(r));
            out.extend_from_slice(good.or(replies.first()).ok_or(UNEXPECTED)?);
            return Ok(Step::Done);
        }
        if let Some(error) = merge::first_error(replies) {
            out.extend_from_slice(error);
            return Ok(Step::Done);
        }
        if let Rule::Flush { rounds, asked_for_view } = &mut self.rule {
            let next = match asked_for_view {
                true => rounds.on_views(replies.iter().map(|reply| told(reply))),
                false => rounds.on_emptied(),
            };
            *asked_for_view = next == rounds::Next::Ask;
            return Ok(match next {
                rounds::Next::Empty => Step::Ask(self.everybody(&self.request)),
                rounds::Next::Ask => Step::Ask(self.start()),
                rounds::Next::Newer => Step::Outdated,
                rounds::Next::Later => Step::Changing,
                rounds::Next::Done => {
                    Reply::new(out, protocol).ok();
                    Step::Done
                }
            });
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
                    scan::Step::On(slot, request) => {
                        return Ok(Step::Ask(vec![(Target::Slot(slot), request)]));
                    }
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
            Rule::ConfigGet(own) => config::get(replies.first().ok_or(UNEXPECTED)?, own, out),
            Rule::Slowlog => slowlog::get(args, replies, out),
            Rule::LatencyLatest => latency::latest(replies, out),
            Rule::LatencyHistory => latency::history(replies, out),
            Rule::LatencyHistogram => latency::histogram(replies, &mut Reply::new(out, protocol)),
        }
        Ok(Step::Done)
    }

    /// `RANDOMKEY`: a node drawn by its number of keys, and any of its keys.
    fn random(&mut self, replies: &[&[u8]], protocol: Protocol, out: &mut Vec<u8>) -> Result<Step> {
        let Rule::Random { counts, tries } = &mut self.rule else { return Err(UNEXPECTED) };
        if counts.is_empty() {
            let sizes: Option<Vec<u64>> =
                replies.iter().map(|r| frame::integer(r).and_then(|n| u64::try_from(n).ok())).collect();
            *counts = sizes.ok_or(UNEXPECTED)?;
        } else if let Some(reply) = replies.first().filter(|r| frame::text(r).is_some()) {
            out.extend_from_slice(reply);
            return Ok(Step::Done);
        }
        let total: u64 = counts.iter().sum();
        *tries += 1;
        if total == 0 || *tries > RANDOM_TRIES {
            Reply::new(out, protocol).null();
            return Ok(Step::Done);
        }
        let place = drawn(counts, rand::rng().random_range(0..total));
        Ok(Step::Ask(vec![(Target::Member(place), self.raw())]))
    }
}

/// Of what view a node's `CLUSTER INFO` tells.
fn told(reply: &[u8]) -> Option<Told> {
    let text = std::str::from_utf8(frame::text(reply)?).ok()?;
    let number = |name: &str| text.lines().find_map(|line| line.strip_prefix(name))?.trim_end().parse().ok();
    Some(Told { epoch: number("cluster_current_epoch:")?, mine: number("cluster_my_epoch:")? })
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
        let scene = Scene { members, moves: false, epoch: 3 };
        Whole::new(entry, merge, request.args(), scene, Own::default)
    }

    pub(super) fn finished(line: &str, replies: &[&str]) -> String {
        let replies: Vec<&[u8]> = replies.iter().map(|r| r.as_bytes()).collect();
        let mut out = Vec::new();
        let next = whole(line, replies.len() as u16).finish(&replies, Protocol::Resp2, &mut out).unwrap();
        assert_eq!(next, Step::Done);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn simple_rules() {
        assert_eq!(finished("DBSIZE", &[":1\r\n", ":2\r\n"]), ":3\r\n");
        assert_eq!(finished("FLUSHALL", &["+OK\r\n", "-ERR syntax error\r\n"]), "-ERR syntax error\r\n");
        assert_eq!(finished("KEYS *", &["*1\r\n$1\r\na\r\n", "*0\r\n"]), "*1\r\n$1\r\na\r\n");
        assert_eq!(finished("DEBUG SET-ACTIVE-EXPIRE 0", &["-ERR no\r\n", "+OK\r\n"]), "+OK\r\n");
        assert_eq!(finished("MEMORY DOCTOR", &["$2\r\nhi\r\n", "$2\r\nhi\r\n"]), "$2\r\nhi\r\n");
    }

    const OK: [&[u8]; 2] = [b"+OK\r\n", b"+OK\r\n"];
    const OLD: &[u8] = b"$45\r\ncluster_current_epoch:3\r\ncluster_my_epoch:3\r\n\r\n";
    const NEW: &[u8] = b"$45\r\ncluster_current_epoch:4\r\ncluster_my_epoch:4\r\n\r\n";
    const STRANGER: &[u8] = b"$45\r\ncluster_current_epoch:3\r\ncluster_my_epoch:0\r\n\r\n";

    fn asked(step: Step) -> Vec<String> {
        let Step::Ask(next) = step else { panic!("{step:?}") };
        next.into_iter().map(|(_, request)| String::from_utf8(request).unwrap()).collect()
    }

    #[test]
    fn while_slots_move_everything_is_emptied_twice() {
        let mut flush = whole("FLUSHALL", 2);
        flush.restart(Scene { members: 2, moves: true, epoch: 3 });
        let mut out = Vec::new();
        let mut finish = |replies: &[&[u8]]| flush.finish(replies, Protocol::Resp2, &mut out).unwrap();
        assert_eq!(asked(finish(&[OLD, OLD])), ["*1\r\n$8\r\nFLUSHALL\r\n"; 2]);
        assert_eq!(asked(finish(&OK)), ["*1\r\n$8\r\nFLUSHALL\r\n"; 2]);
        assert_eq!(asked(finish(&OK)), ["*2\r\n$7\r\nCLUSTER\r\n$4\r\nINFO\r\n"; 2]);
        assert_eq!(finish(&[OLD, OLD]), Step::Done);
        assert_eq!(out, b"+OK\r\n");
    }

    /// The slots of a node that was asked may be with one that was not, or come to it after it was.
    #[test]
    fn who_has_another_view_was_emptied_in_vain() {
        let mut flush = whole("FLUSHDB", 2);
        let mut out = Vec::new();
        for (epoch, infos, expected) in [
            (3, [OLD, NEW], Step::Outdated),
            (4, [OLD, NEW], Step::Changing),
            (3, [OLD, STRANGER], Step::Changing),
            (3, [OLD, b"$0\r\n\r\n"], Step::Changing),
            (4, [NEW, NEW], Step::Done),
        ] {
            flush.restart(Scene { members: 2, moves: false, epoch });
            let all = if epoch == 3 { [OLD, OLD] } else { [NEW, NEW] };
            asked(flush.finish(&all, Protocol::Resp2, &mut out).unwrap());
            asked(flush.finish(&OK, Protocol::Resp2, &mut out).unwrap());
            assert_eq!(flush.finish(&infos, Protocol::Resp2, &mut out).unwrap(), expected);
        }
    }

    #[test]
    fn random_keys_are_drawn_by_share() {
        let mut random = whole("RANDOMKEY", 3);
        assert_eq!(random.start().len(), 3);
        let mut out = Vec::new();
        let next = random.finish(&[b":0\r\n", b":5\r\n", b":0\r\n"], Protocol::Resp2, &mut out).unwrap();
        assert!(matches!(&next, Step::Ask(next) if next[0].0 == Target::Member(1)), "{next:?}");
        assert_eq!(random.finish(&[b"$1\r\na\r\n"], Protocol::Resp2, &mut out).unwrap(), Step::Done);
        assert_eq!(out, b"$1\r\na\r\n");
        assert_eq!(drawn(&[3, 0, 2], 2), 0);
        assert_eq!(drawn(&[3, 0, 2], 3), 2);
        let mut empty = whole("RANDOMKEY", 1);
        out.clear();
        assert_eq!(empty.finish(&[b":0\r\n"], Protocol::Resp3, &mut out).unwrap(), Step::Done);
        assert_eq!(out, b"_\r\n");
    }
}
