//! A request that several nodes answer: the replies so far, and the rule that makes one of them.
//!
//! Lives in its client's ticket. Pure: the worker feeds it replies and does what it returns.

use shoal_proto::{command::Merge, resp::Protocol};
use smallvec::SmallVec;

use crate::{
    merge,
    split::Parts,
    upstream::log::Effect,
    whole::{Scene, Step, Whole},
};

/// What to do when the last reply is in.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The reply was written.
    Done,
    /// Send these first; their replies take the numbers 0, 1, ...
    Again(Vec<(Target, Vec<u8>)>),
    /// Ask all of it again, see [`Gather::restart`].
    Anew,
    /// The same, as soon as there is a newer view than the one that was asked by.
    Outdated,
    /// The same, after a while.
    Changing,
}

/// Where a part goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    /// To the owner of the slot.
    Slot(u16),
    /// To the member at this place of the view.
    Member(u16),
}

#[derive(Debug)]
enum Rule {
    /// Elements go to the places that `order` names.
    Values,
    Sum,
    Alike,
    Whole(Box<Whole>),
}

/// The replies to the parts of one request.
#[derive(Debug)]
pub(crate) struct Gather {
    rule: Rule,
    /// By key, the part that answers it; empty for rules that do not need it.
    order: Vec<u16>,
    replies: Vec<Option<Vec<u8>>>,
    left: usize,
    /// Whether the client wants no reply.
    pub(crate) muted: bool,
    /// When the request was accepted, in the worker's ms.
    pub(crate) at: u32,
    /// The worker's count of views when the parts were sent.
    pub(crate) turn: u16,
    /// What sending it all again would do.
    pub(crate) effect: Effect,
    /// A part went nowhere because its node left: what is there does not tell the whole.
    incomplete: bool,
}

/// What all parts have in common.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Origin {
    pub(crate) muted: bool,
    pub(crate) at: u32,
    pub(crate) turn: u16,
    pub(crate) effect: Effect,
}

impl Gather {
    /// For a request that was split by key.
    pub(crate) fn split(merge: Merge, parts: &Parts, origin: Origin) -> Self {
        let (rule, order) = match merge {
            Merge::Values => (Rule::Values, parts.order.clone()),
            Merge::Sum => (Rule::Sum, Vec::new()),
            _ => (Rule::Alike, Vec::new()),
        };
        Self::new(rule, order, parts.parts.len(), origin)
    }

    /// For a request about the whole cluster, sent to `left` nodes.
    pub(crate) fn whole(whole: Whole, left: usize, origin: Origin) -> Self {
        Self::new(Rule::Whole(Box::new(whole)), Vec::new(), left, origin)
    }

    fn new(rule: Rule, order: Vec<u16>, left: usize, origin: Origin) -> Self {
        let Origin { muted, at, turn, effect } = origin;
        Self { rule, order, replies: vec![None; left], left, muted, at, turn, effect, incomplete: false }
    }

    /// Notes that one part has nobody to answer it, who is gone for good: its reply will be empty.
    pub(crate) fn lacks_one(&mut self) {
        self.incomplete = true;
    }

    /// For a request about the whole cluster: asks all of it again, from the beginning, of a cluster that may be another one.
    pub(crate) fn restart(&mut self, scene: Scene, turn: u16) -> Vec<(Target, Vec<u8>)> {
        let Rule::Whole(whole) = &mut self.rule else { return Vec::new() };
        whole.restart(scene);
        let next = whole.start();
        self.turn = turn;
        self.incomplete = false;
        self.expect(next.len());
        next
    }

    fn expect(&mut self, parts: usize) {
        self.replies = vec![None; parts];
        self.left = parts;
    }

    /// Takes the reply to one part, each part's once; `true` when it was the last one missing. That one is not kept
    /// but passed to [`finish`](Self::finish).
    pub(crate) fn answer(&mut self, part: u16, reply: &[u8]) -> bool {
        self.left -= 1;
        if self.left > 0 {
            self.replies[usize::from(part)] = Some(reply.to_vec());
        }
        self.left == 0
    }

    /// Replaces a part by several: `parts` groups that part's keys. Returns the number of the first new part;
    /// the others follow it. `None` when the request has more parts than can be numbered.
    pub(crate) fn split_again(&mut self, part: u16, parts: &Parts) -> Option<u16> {
        let first = u16::try_from(self.replies.len()).ok()?;
        first.checked_add(u16::try_from(parts.parts.len()).ok()?)?;
        let mut keys = parts.order.iter();
        for place in self.order.iter_mut().filter(|p| **p == part) {
            *place = first + keys.next().copied().unwrap_or(0);
        }
        self.replies.extend((0..parts.parts.len()).map(|_| None));
        self.left += parts.parts.len();
        // The part itself has no reply of its own any more.
        self.replies[usize::from(part)] = Some(Vec::new());
        self.left -= 1;
        Some(first)
    }

    /// To be called once all replies are in, with the last one: appends the reply to `out`, unless more has to be asked.
    pub(crate) fn finish(
        &mut self,
        part: u16,
        last: &[u8],
        protocol: Protocol,
        out: &mut Vec<u8>,
    ) -> Outcome {
        if let Rule::Whole(whole) = &self.rule
            && self.incomplete
            && (self.effect != Effect::Write || whole.needs_all())
        {
            return Outcome::Anew;
        }
        let mark = out.len();
        let kept = self.replies.iter().map(|r| r.as_deref().unwrap_or_default());
        let mut replies: SmallVec<[&[u8]; 8]> = kept.collect();
        replies[usize::from(part)] = last;
        // A part that was split again has no reply of its own, nor has one whose node is gone.
        let asked: SmallVec<[&[u8]; 8]> = replies.iter().copied().filter(|r| !r.is_empty()).collect();
        let result = match (&mut self.rule, merge::first_error(&asked)) {
            (Rule::Whole(whole), _) => whole.finish(&asked, protocol, out),
            (_, Some(error)) => {
                out.extend_from_slice(error);
                Ok(Step::Done)
            }
            (Rule::Values, _) => merge::values(&self.order, &replies, out).map(|()| Step::Done),
            (Rule::Sum, _) => merge::sum(&asked, out).map(|()| Step::Done),
            (Rule::Alike, _) => merge::alike(&asked, out).map(|()| Step::Done),
        };
        drop((replies, asked));
        match result {
            Ok(Step::Done) => {}
            Ok(Step::Ask(next)) => {
                out.truncate(mark);
                self.expect(next.len());
                return Outcome::Again(next);
            }
            Ok(step @ (Step::Outdated | Step::Changing)) => {
                out.truncate(mark);
                return if step == Step::Outdated { Outcome::Outdated } else { Outcome::Changing };
            }
            Err(error) => {
                out.truncate(mark);
                out.extend_from_slice(&merge::error(&error));
            }
        }
        Outcome::Done
    }
}

#[cfg(test)]
mod tests {
    use shoal_proto::{resp::request::OwnedArgs, slot::key_slot};

    use super::*;

    const ORIGIN: Origin = Origin { muted: false, at: 0, turn: 0, effect: Effect::Read };

    fn finished(gather: &mut Gather, part: u16, last: &[u8]) -> Vec<u8> {
        assert!(gather.answer(part, last));
        let mut out = Vec::new();
        assert!(matches!(gather.finish(part, last, Protocol::Resp2, &mut out), Outcome::Done));
        out
    }

    #[test]
    fn a_part_that_moves_is_split_again() {
        let mut parts = Parts::default();
        let keys = ["mget", "a", "b", "c", "d"];
        let to = |slot: u16| u16::from(slot == key_slot(b"b"));
        parts.group(OwnedArgs::new(keys).args(), 1, to);
        let mut gather = Gather::split(Merge::Values, &parts, ORIGIN);
        assert!(!gather.answer(1, b"*1\r\n+B\r\n"));
        // Part 0 was a, c, d; c has another owner now.
        let to = |slot: u16| u16::from(slot == key_slot(b"c"));
        parts.group(OwnedArgs::new(["mget", "a", "c", "d"]).args(), 1, to);
        assert_eq!(gather.split_again(0, &parts), Some(2));
        assert!(!gather.answer(3, b"*1\r\n+C\r\n"));
        let reply = finished(&mut gather, 2, b"*2\r\n+A\r\n+D\r\n");
        assert_eq!(reply, b"*4\r\n+A\r\n+B\r\n+C\r\n+D\r\n");
    }

    #[test]
    fn one_failed_part_fails_all() {
        let mut parts = Parts::default();
        let to = |slot: u16| u16::from(slot == key_slot(b"b"));
        parts.group(OwnedArgs::new(["del", "a", "b"]).args(), 1, to);
        let mut gather = Gather::split(Merge::Sum, &parts, ORIGIN);
        gather.answer(0, b":1\r\n");
        assert_eq!(finished(&mut gather, 1, b"-OOM x\r\n"), b"-OOM x\r\n");
    }
}
