//! Whether another view is wanted, which, and whose turn it is to make it.
//!
//! The oldest member that is up makes views; the others only if it does not, each a while after the one before. That is
//! for quickness: whoever makes a view must have it agreed. Whom gossip holds for dead is called once more before.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use super::mutant::{self, Mutant};
use super::plan::Wanted;
use super::proposer::{Proposer, RESEND};
use crate::view::{Member, NodeId, View};

/// How long newcomers are collected before a view takes them in together.
pub(super) const BATCH: Duration = Duration::from_millis(300);

/// How long a member that gossip holds for dead has to answer the last call.
pub(super) const LAST_CALL: Duration = Duration::from_millis(100);

/// How long an answer to it counts.
const PRESENT: Duration = Duration::from_secs(1);

/// How long each member in the line waits for those before it.
pub(super) const TURN: Duration = Duration::from_millis(250);

/// How long members that are up may take to report before the view is made without them.
pub(super) const REPORT: Duration = Duration::from_secs(1);

/// How often what has moved goes into a view while there is more to move.
pub(super) const CHECKPOINT: Duration = Duration::from_secs(1);

/// How long after a view copies may make the next one: those that are lost, and those that have come.
const LOST_COPY: Duration = Duration::from_millis(100);
const NEW_COPY: Duration = Duration::from_millis(200);

/// What a member says of its slots; see [`super::Message::Progress`].
#[derive(Debug, Clone, Copy, Hash)]
pub(super) struct Progress {
    pub(super) moved: u16,
    pub(super) left: u16,
    pub(super) copying: bool,
    pub(super) copied: u16,
    pub(super) broken: bool,
}

/// See the module's documentation.
#[derive(Debug, Clone, Hash)]
pub(super) struct Want {
    me: NodeId,
    up: BTreeSet<NodeId>,
    /// What processes outside the view said about themselves: their data, and whether they were ever inside.
    records: BTreeMap<NodeId, (Member, bool)>,
    leaving: BTreeSet<NodeId>,
    /// Members that gossip lost, and since when.
    down: BTreeMap<NodeId, Duration>,
    /// When each of them was called last.
    called: BTreeMap<NodeId, Duration>,
    /// Members that answered a last call, or whose silence was proven: until when that counts.
    present: BTreeMap<NodeId, Duration>,
    /// Members that did not report though gossip holds them to be up: until when they count as down.
    silent: BTreeMap<NodeId, Duration>,
    differs_since: Option<Duration>,
    /// When the last attempt of somebody else began.
    wedged_since: Option<Duration>,
    /// Until when we stand back, because somebody else was quicker.
    back_until: Duration,
    progress: BTreeMap<NodeId, Progress>,
    view_since: Duration,
}

impl Want {
    /// For `me`.
    pub(super) fn new(me: NodeId) -> Self {
        Self {
            me,
            up: BTreeSet::new(),
            records: BTreeMap::new(),
            leaving: BTreeSet::new(),
            down: BTreeMap::new(),
            called: BTreeMap::new(),
            present: BTreeMap::new(),
            silent: BTreeMap::new(),
            differs_since: None,
            wedged_since: None,
            back_until: Duration::ZERO,
            progress: BTreeMap::new(),
            view_since: Duration::ZERO,
        }
    }

    /// For `me`, which was somebody else: what gossip says of the others stays.
    pub(super) fn of_another(me: NodeId, before: &Self) -> Self {
        Self { up: before.up.clone(), ..Self::new(me) }
    }

    /// A view is in force.
    pub(super) fn on_view(&mut self, now: Duration, view: &View) {
        self.records.retain(|id, _| view.place(*id).is_none());
        self.leaving.extend(&view.leaving);
        self.leaving.retain(|id| view.place(*id).is_some());
        self.down.retain(|id, _| view.place(*id).is_some());
        self.present.retain(|id, until| view.place(*id).is_some() && now < *until);
        self.silent.retain(|id, until| view.place(*id).is_some() && now < *until);
        self.note_down(now, view);
        self.differs_since = None;
        self.wedged_since = None;
        self.back_until = Duration::ZERO;
        self.progress.clear();
        self.view_since = now;
    }

    /// Gossip's opinion.
    pub(super) fn on_up(&mut self, now: Duration, up: BTreeSet<NodeId>, view: &View) {
        self.records.retain(|id, _| up.contains(id));
        self.up = up;
        self.note_down(now, view);
    }

    fn note_down(&mut self, now: Duration, view: &View) {
        let (me, up) = (self.me, &self.up);
        self.down.retain(|id, _| !up.contains(id));
        for member in view.members.iter().filter(|m| m.id != me && !up.contains(&m.id)) {
            self.down.entry(member.id).or_insert(now);
        }
        let down = &self.down;
        self.called.retain(|id, _| down.contains_key(id));
    }

    /// What a process said about itself.
    pub(super) fn on_record(&mut self, member: Member, admitted: bool, view: &View) {
        if self.up.contains(&member.id) && view.place(member.id).is_none() {
            self.records.insert(member.id, (member, admitted));
        }
    }

    /// A member wants to go.
    pub(super) fn on_leave(&mut self, id: NodeId, view: &View) {
        if view.place(id).is_some() {
            self.leaving.insert(id);
        }
    }

    /// A member answered a last call.
    pub(super) fn on_present(&mut self, now: Duration, id: NodeId) {
        self.present.insert(id, now + PRESENT);
    }

    /// We promised for the first time to an attempt at the next view: its maker gets time to finish it.
    pub(super) fn on_wedged(&mut self, now: Duration) {
        self.wedged_since = Some(now);
    }

    /// Our attempt came too late. We stand back for a while, each member for another one: without that, two who
    /// think that it is their turn would outbid each other for ever.
    pub(super) fn on_outbid(&mut self, now: Duration, view: &View) {
        let place = view.place(self.me).unwrap_or_default() as u32;
        self.back_until = now + RESEND * (1 + place);
    }

    /// How far a member's slots have come.
    pub(super) fn on_progress(&mut self, from: NodeId, progress: Progress) {
        self.progress.insert(from, progress);
    }

    /// Whether gossip holds a member to be up.
    pub(super) fn is_up(&self, id: NodeId) -> bool {
        id == self.me || self.up.contains(&id)
    }

    /// See [`super::Core::strangers`].
    pub(super) fn strangers(&self, view: &View) -> impl Iterator<Item = NodeId> {
        let outside = self.up.iter().filter(move |id| view.place(**id).is_none());
        outside.filter(|id| self.records.get(id).is_none_or(|(_, admitted)| *admitted)).copied()
    }

    /// What the processes have said that run under a newer boot of this member's node. Gossip alone could be wrong.
    fn successors<'a>(&'a self, of: &Member) -> impl Iterator<Item = &'a Member> {
        let NodeId { node, boot } = of.id;
        self.records.values().map(|(record, _)| record).filter(move |m| m.id.node == node && m.id.boot > boot)
    }

    /// Members whose node runs again under a newer boot: they are to be left out.
    fn superseded(&self, view: &View) -> BTreeSet<NodeId> {
        view.members.iter().filter(|m| self.successors(m).next().is_some()).map(|m| m.id).collect()
    }

    /// Of these the ones whose successor listens where they did: they are certainly gone, and their leases need not be waited
    /// for. One whose successor runs elsewhere may only be cut off from us, and still serve.
    pub(super) fn proven_dead(&self, view: &View) -> BTreeSet<NodeId> {
        if mutant::off(Mutant::TrustSuccessors) {
            return self.superseded(view);
        }
        // A name may lead somewhere else by now.
        let is_address = |m: &Member| m.host.parse::<IpAddr>().is_ok();
        let place = |m: &Member| (m.host.clone(), m.resp_port, m.gossip_port);
        let replaced = |m: &&Member| is_address(m) && self.successors(m).any(|new| place(new) == place(m));
        view.members.iter().filter(replaced).map(|m| m.id).collect()
    }

    /// Whom to call before they are excluded: as long as gossip holds them for dead, in case it is wrong for long.
    pub(super) fn last_calls(&mut self, now: Duration, view: &View) -> Vec<NodeId> {
        let dead = self.superseded(view);
        let called = &self.called;
        let due = |id: &NodeId| called.get(id).is_none_or(|at| now >= *at + PRESENT / 2);
        let calls: Vec<NodeId> =
            self.down.keys().copied().filter(|id| !dead.contains(id) && due(id)).collect();
        self.called.extend(calls.iter().map(|id| (*id, now)));
        calls
    }

    /// Whether a member is to be left out.
    fn is_lost(&self, now: Duration, id: NodeId, dead: &BTreeSet<NodeId>) -> bool {
        let silent = self.silent.get(&id).is_some_and(|until| now < *until);
        let present = self.is_present(now, id);
        let lost = self.down.get(&id).is_some_and(|since| now >= *since + LAST_CALL);
        dead.contains(&id) || silent || (lost && !present)
    }

    /// Who would be in the next view if it were made now, without `lost`.
    pub(super) fn wanted(&self, view: &View, lost: &BTreeSet<NodeId>) -> Wanted {
        let keep: BTreeSet<NodeId> =
            view.members.iter().map(|m| m.id).filter(|id| !lost.contains(id)).collect();
        let is_new = |m: &Member| !keep.iter().any(|id| id.node == m.id.node);
        let join = self.records.values().filter(|(m, admitted)| !admitted && is_new(m));
        Wanted {
            join: join.map(|(m, _)| m.clone()).collect(),
            leave: self.leaving.intersection(&keep).copied().collect(),
            keep,
        }
    }

    /// Whether nothing is wanted, nor will be because time passes. `now`: of the last [`poll`](Self::poll).
    pub(super) fn is_calm(&self, now: Duration) -> bool {
        now >= self.view_since + CHECKPOINT
            && self.differs_since.is_none()
            && self.down.is_empty()
            && self.silent.is_empty()
            && self.records.is_empty()
    }

    /// The next view's members if it is time for us to make it. `busy`: somebody else is at it.
    pub(super) fn poll(&mut self, now: Duration, view: &View, wedged: bool, busy: bool) -> Option<Wanted> {
        let lost = self.lost(now, view);
        let wanted = self.wanted(view, &lost);
        let joins = !wanted.join.is_empty();
        let leaves = wanted.leave.iter().any(|id| !view.leaving.contains(id));
        if lost.is_empty() && !joins && !leaves && !wedged && !self.is_finished(now, view) {
            self.differs_since = None;
            return None;
        }
        let since = *self.differs_since.get_or_insert(now);
        let batch = if joins && lost.is_empty() && !leaves { BATCH } else { Duration::ZERO };
        let turn = TURN * wanted.keep_order(view).position(|id| id == self.me)? as u32;
        let due = match self.wedged_since {
            // If nothing comes of what the other does, everyone tries in turn.
            Some(wedged) if busy => (since + batch).max(wedged + REPORT),
            _ => since + batch,
        };
        (now >= (due + turn).max(self.back_until)).then_some(wanted)
    }

    /// Members that are to be left out.
    pub(super) fn lost(&self, now: Duration, view: &View) -> BTreeSet<NodeId> {
        let dead = self.superseded(view);
        view.members.iter().map(|m| m.id).filter(|id| self.is_lost(now, *id, &dead)).collect()
    }

    /// Members that gossip does not hold to be up.
    pub(super) fn not_up(&self, view: &View) -> BTreeSet<NodeId> {
        view.members.iter().map(|m| m.id).filter(|id| !self.is_up(*id)).collect()
    }

    /// Whether what has moved or was copied should go into a view: all of it, or some for a while; at once if writes wait
    /// for a copy that is gone.
    fn is_finished(&mut self, now: Duration, view: &View) -> bool {
        let (all, since) = (&self.progress, self.view_since);
        let any = |what: fn(&Progress) -> bool| all.values().any(what);
        let long = now >= since + CHECKPOINT;
        let copied = any(|p| p.copied > 0) && (long || (now >= since + NEW_COPY && !any(|p| p.copying)));
        let several = view.members.len() > 1 && view.members.len() != view.leaving.len() + 1;
        let none = view.replication().replicas > 0 && several && !view.has_copies();
        let copied = copied || (none && now >= since + NEW_COPY);
        if copied || (now >= since + LOST_COPY && any(|p| p.broken)) {
            return true;
        }
        let moved = || view.members.iter().all(|m| all.get(&m.id).is_some_and(|p| p.left == 0));
        view.moves() && (moved() || (long && any(|p| p.moved > 0)))
    }

    /// Whether an attempt should be given up for another: somebody is gone who was to stay, or there who was to be left
    /// out. A member that has not reported for long counts as lost from now on.
    pub(super) fn is_outdated(&mut self, now: Duration, view: &View, proposer: &Proposer) -> bool {
        // Not at every word that comes, or answers to last calls would each begin an attempt.
        if !proposer.collects() || now < proposer.begun() + LAST_CALL / 2 {
            return false;
        }
        if now >= proposer.begun() + REPORT {
            for id in proposer.silent().filter(|id| *id != self.me) {
                self.silent.insert(id, now + 4 * REPORT);
            }
        }
        let lost = self.lost(now, view);
        let out = |id: &NodeId| !proposer.wanted().keep.contains(id);
        proposer.silent().any(|id| lost.contains(&id))
            || view.members.iter().any(|m| out(&m.id) && !lost.contains(&m.id) && self.is_present(now, m.id))
    }

    fn is_present(&self, now: Duration, id: NodeId) -> bool {
        self.present.get(&id).is_some_and(|until| now < *until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(node: u64, boot: u64, host: &str) -> Member {
        Member { host: host.to_owned(), ..Member::sample(NodeId { node, boot }) }
    }

    /// A process that was started elsewhere under a name says nothing about the one that had it: that may be cut off, and serve
    /// until its lease ends.
    #[test]
    fn only_a_successor_at_the_same_address_proves_that_a_process_is_gone() {
        for (host, successor, proven) in [
            ("10.0.0.2", "10.0.0.2", true),
            ("10.0.0.2", "10.0.0.3", false),
            ("n2.cache.svc", "n2.cache.svc", false),
        ] {
            let view = View::first(7, vec![member(1, 1, "10.0.0.1"), member(2, 2, host)]);
            let mut want = Want::new(view.members[0].id);
            let new = member(2, 9, successor);
            want.on_up(Duration::ZERO, [new.id].into(), &view);
            want.on_record(new.clone(), false, &view);
            assert_eq!(want.proven_dead(&view).contains(&view.members[1].id), proven, "{host} {successor}");
            // It is left out in any case, and its successor taken in.
            let lost = want.lost(Duration::ZERO, &view);
            assert_eq!(lost, [view.members[1].id].into());
            assert_eq!(want.wanted(&view, &lost).join, [new]);
        }
    }
}
