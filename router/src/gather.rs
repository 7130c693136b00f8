//! A request that several nodes answer: the replies so far, and the rule that makes one of them.
//!
//! Lives in its client's ticket. Pure: the worker feeds it replies and does what it returns.

use shoal_proto::{Error, command::Merge, resp::Protocol};

use crate::{merge, split::Parts, whole::Whole};

/// What to do when the last reply is in.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// This is the reply.
    Reply(Vec<u8>),
    /// Send these first; their replies take the numbers 0, 1, ...
    Again(Vec<(Target, Vec<u8>)>),
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
}

impl Gather {
    /// For a request that was split by key.
    pub(crate) fn split(merge: Merge, parts: &Parts, muted: bool) -> Self {
        let (rule, order) = match merge {
            Merge::Values => (Rule::Values, parts.order.clone()),
            Merge::Sum => (Rule::Sum, Vec::new()),
            _ => (Rule::Alike, Vec::new()),
        };
        let left = parts.parts.len();
        Self { rule, order, replies: vec![None; left], left, muted }
    }

    /// For a request about the whole cluster, sent to `left` nodes.
    pub(crate) fn whole(whole: Whole, left: usize, muted: bool) -> Self {
        Self { rule: Rule::Whole(Box::new(whole)), order: Vec::new(), replies: vec![None; left], left, muted }
    }

    /// Takes the reply to one part; `true` when it was the last one missing.
    pub(crate) fn answer(&mut self, part: u16, reply: &[u8]) -> bool {
        let place = &mut self.replies[usize::from(part)];
        if place.is_none() {
            *place = Some(reply.to_vec());
            self.left -= 1;
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

    /// To be called once all replies are in.
    pub(crate) fn finish(&mut self, protocol: Protocol) -> Outcome {
        let replies: Vec<&[u8]> = self.replies.iter().map(|r| r.as_deref().unwrap_or_default()).collect();
        let asked: Vec<&[u8]> = replies.iter().copied().filter(|r| !r.is_empty()).collect();
        let mut out = Vec::new();
        let result = match &mut self.rule {
            Rule::Whole(whole) => match whole.finish(&asked, protocol, &mut out) {
                Ok(Some(next)) => {
                    self.replies = vec![None; next.len()];
                    self.left = next.len();
                    return Outcome::Again(next);
                }
                Ok(None) => Ok(()),
                Err(error) => Err(error),
            },
            rule => match merge::first_error(&asked) {
                Some(error) => {
                    out.extend_from_slice(error);
                    Ok(())
                }
                None => match rule {
                    Rule::Values => merge::values(&self.order, &replies, &mut out),
                    Rule::Sum => merge::sum(&asked, &mut out),
                    _ => merge::alike(&asked, &mut out),
                },
            },
        };
        Outcome::Reply(result.map_or_else(|e: Error| merge::error(&e), |()| out))
    }
}

#[cfg(test)]
mod tests {
    use shoal_proto::resp::request::OwnedArgs;

    use super::*;

    fn reply(outcome: Outcome) -> Vec<u8> {
        match outcome {
            Outcome::Reply(bytes) => bytes,
            Outcome::Again(_) => panic!("no second round expected"),
        }
    }

    #[test]
    fn a_part_that_moves_is_split_again() {
        let mut parts = Parts::default();
        let keys = ["mget", "a", "b", "c", "d"];
        let to = |key: &[u8]| Ok::<u16, ()>(u16::from(key == b"b"));
        parts.group(OwnedArgs::new(keys).args(), 1, to).unwrap();
        let mut gather = Gather::split(Merge::Values, &parts, false);
        assert!(!gather.answer(1, b"*1\r\n+B\r\n"));
        // Part 0 was a, c, d; c has another owner now.
        let to = |key: &[u8]| Ok::<u16, ()>(u16::from(key == b"c"));
        parts.group(OwnedArgs::new(["mget", "a", "c", "d"]).args(), 1, to).unwrap();
        assert_eq!(gather.split_again(0, &parts), Some(2));
        assert!(!gather.answer(3, b"*1\r\n+C\r\n"));
        assert!(gather.answer(2, b"*2\r\n+A\r\n+D\r\n"));
        assert_eq!(reply(gather.finish(Protocol::Resp2)), b"*4\r\n+A\r\n+B\r\n+C\r\n+D\r\n");
    }

    #[test]
    fn one_failed_part_fails_all() {
        let mut parts = Parts::default();
        let to = |key: &[u8]| Ok::<u16, ()>(u16::from(key == b"b"));
        parts.group(OwnedArgs::new(["del", "a", "b"]).args(), 1, to).unwrap();
        let mut gather = Gather::split(Merge::Sum, &parts, false);
        gather.answer(0, b":1\r\n");
        assert!(gather.answer(1, b"-OOM x\r\n"));
        assert_eq!(reply(gather.finish(Protocol::Resp2)), b"-OOM x\r\n");
    }
}
