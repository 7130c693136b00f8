//! One process at a time has a name. Whoever lets a process join asks the one that had its name before, if that may still live.
//!
//! A restart and a process that was started elsewhere because its machine is gone look the same as a second process that was given the
//! same name by mistake, but for the answer of the first one. The second is refused for as long as the first answers: were both members in
//! turn, each would throw out the other, with all that it holds.
//!
//! Nor is it let in while no view can be made without the first, which is silent: nobody could be taken in, and if the first was only cut off
//! and comes back, it is a member and knows nothing of the second, and the others hold the second for the one that is up.

use std::collections::BTreeSet;

use crate::cluster::quorum;
use crate::view::{NodeId, View};

/// What the answer to a process begins with whose name another one has: it is not to try again.
pub const NAME_IN_USE: &str = "NAMEINUSE";

/// A process that had the name, as far as is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Former {
    /// Who.
    pub id: NodeId,
    /// Gossip holds it to be up.
    pub up: bool,
    /// It is in the view in force.
    pub listed: bool,
    /// No view can be made without it, see [`is_needed`].
    pub needed: bool,
}

/// What came of asking it who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// Whoever is where it was is this process; boot 0: one that has not joined yet.
    Answered(NodeId),
    /// Nobody is there.
    Nobody,
    /// Nothing.
    Silence,
}

/// Whether a process may have the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It may.
    Free,
    /// It may not: another process has it.
    Taken,
    /// Nobody knows yet.
    Unsure,
}

/// Who is to be asked before `asker`, which says that it is this process (of any boot if it is new), may join: the newest process of its
/// name, unless that is the asker itself, or has left.
pub fn living(asker: NodeId, formers: impl IntoIterator<Item = Former>) -> Option<Former> {
    let formers = formers.into_iter().filter(|former| former.id.node == asker.node);
    let newest = formers.max_by_key(|former| former.id.boot)?;
    (newest.id != asker && (newest.up || newest.listed)).then_some(newest)
}

/// Whether a process is in this view, and those who are up are no majority without it.
pub fn is_needed(view: &View, process: NodeId, up: &BTreeSet<NodeId>) -> bool {
    let others = up.iter().copied().filter(|id| *id != process).collect();
    view.place(process).is_some() && !quorum::decides(view, &others)
}

/// What follows from its answer. If it is silent, gossip decides: it needs a second to notice that a process is gone.
pub fn judge(former: &Former, heard: Heard) -> Verdict {
    match heard {
        // It may have joined anew meanwhile.
        Heard::Answered(id) if id.node == former.id.node && id.boot >= former.id.boot => Verdict::Taken,
        Heard::Answered(_) => Verdict::Free,
        Heard::Nobody | Heard::Silence if former.needed => Verdict::Unsure,
        Heard::Nobody => Verdict::Free,
        Heard::Silence if former.up => Verdict::Unsure,
        Heard::Silence => Verdict::Free,
    }
}

/// Of two processes of one name that both have yet to join, and have met, whether this one gives up. Each drew a number at its start.
pub fn gives_up(own: u64, other: u64) -> bool {
    own > other
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::Member;

    const OLD: NodeId = NodeId { node: 7, boot: 100 };

    fn former(boot: u64, up: bool, listed: bool) -> Former {
        Former { id: NodeId { boot, ..OLD }, up, listed, needed: false }
    }

    fn new(boot: u64) -> NodeId {
        NodeId { boot, ..OLD }
    }

    #[test]
    fn the_newest_of_the_name_is_asked_unless_it_left_or_asks_itself() {
        let other = Former { id: NodeId { node: 8, boot: 900 }, ..former(900, true, true) };
        let known = [former(90, true, true), former(100, true, false), other];
        assert_eq!(living(new(500), known), Some(known[1]));
        assert_eq!(living(new(100), known), None, "it was left out and comes back");
        assert_eq!(living(new(90), known), Some(known[1]), "another one came while it was away");
        assert_eq!(living(new(500), [former(100, false, false), other]), None, "it has left");
        assert!(living(new(500), [former(100, false, true)]).is_some(), "it may have crashed");
        assert_eq!(living(new(500), [other]), None);
    }

    #[test]
    fn who_answers_keeps_the_name() {
        for (up, listed) in [(true, true), (true, false), (false, true)] {
            let former = former(100, up, listed);
            assert_eq!(judge(&former, Heard::Answered(OLD)), Verdict::Taken);
            assert_eq!(judge(&former, Heard::Answered(new(101))), Verdict::Taken);
        }
    }

    #[test]
    fn a_restarted_process_gets_it() {
        let (up, down) = (former(100, true, true), former(100, false, true));
        assert_eq!(
            judge(&up, Heard::Answered(new(0))),
            Verdict::Free,
            "at the same address it answers itself"
        );
        assert_eq!(judge(&up, Heard::Answered(NodeId { node: 8, boot: 200 })), Verdict::Free);
        assert_eq!(judge(&up, Heard::Nobody), Verdict::Free);
        assert_eq!(judge(&up, Heard::Silence), Verdict::Unsure, "its machine may be slow");
        assert_eq!(judge(&down, Heard::Silence), Verdict::Free, "its machine is gone");
    }

    /// Of two members the older one is cut off, and started anew elsewhere: the younger one cannot make a view of itself and the
    /// new process, so it does not let that in.
    #[test]
    fn nobody_is_let_in_for_whom_no_view_can_be_made() {
        let needed = Former { needed: true, ..former(100, false, true) };
        assert_eq!(judge(&needed, Heard::Silence), Verdict::Unsure);
        assert_eq!(judge(&needed, Heard::Nobody), Verdict::Unsure);
        assert_eq!(judge(&needed, Heard::Answered(new(0))), Verdict::Free, "it is gone from its address");
        assert_eq!(judge(&needed, Heard::Answered(OLD)), Verdict::Taken);

        let ids = [1, 2, 3].map(|n| NodeId { node: n, boot: n });
        let view = |n: usize| View::first(1, ids[..n].iter().map(|id| Member::sample(*id)).collect());
        let up = |n: &[usize]| n.iter().map(|n| ids[*n]).collect();
        assert!(is_needed(&view(2), ids[0], &up(&[1])), "the older half decides");
        assert!(is_needed(&view(2), ids[0], &up(&[0, 1])), "whatever gossip still says of it");
        assert!(!is_needed(&view(2), ids[1], &up(&[0])));
        assert!(!is_needed(&view(3), ids[0], &up(&[1, 2])));
        assert!(is_needed(&view(3), ids[0], &up(&[1])));
        assert!(!is_needed(&view(2), ids[2], &up(&[1])), "it is no member");
    }

    #[test]
    fn of_two_new_ones_one_gives_up() {
        assert!(gives_up(2, 1) && !gives_up(1, 2));
    }
}
