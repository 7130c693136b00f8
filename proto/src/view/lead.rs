//! Who makes the next view, and which: the thin rule of the first version.
//!
//! The oldest member of the view that gossip holds alive leads. When the nodes that are up are not those of the
//! view for 300 ms, it makes the next view, and its driver pushes that to everyone. Used by the cluster task of
//! every node. It never talks to anybody and decides nothing about data. There is no agreement here: both sides
//! of a partition go on, and the smaller one flushes when they meet. An agreed sequence of views replaces this
//! module without anybody else noticing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Member, NodeId, View};

/// How long changes are collected before they become one view.
pub const BATCH: Duration = Duration::from_millis(300);

/// State of the rule at one node. See the module's documentation.
#[derive(Debug)]
pub struct Lead {
    me: NodeId,
    view: View,
    up: BTreeSet<NodeId>,
    /// What processes outside the view said about themselves: their data, and whether they were ever inside.
    records: BTreeMap<NodeId, (Member, bool)>,
    leaving: BTreeSet<NodeId>,
    differs_since: Option<Duration>,
}

impl Lead {
    /// For the process `me`, which has seen no view.
    pub fn new(me: NodeId) -> Self {
        Self {
            me,
            view: View::empty(),
            up: BTreeSet::new(),
            records: BTreeMap::new(),
            leaving: BTreeSet::new(),
            differs_since: None,
        }
    }

    /// We are another process now.
    pub fn rename(&mut self, me: NodeId) {
        self.me = me;
    }

    /// A view was installed here.
    pub fn on_view(&mut self, view: &View) {
        self.view = view.clone();
        // Whoever is inside must say again what it holds if it is ever outside again.
        self.records.retain(|id, _| view.place(*id).is_none());
        self.leaving.retain(|id| view.place(*id).is_some());
        self.differs_since = None;
    }

    /// These nodes are up, without us.
    pub fn on_up(&mut self, up: BTreeSet<NodeId>) {
        self.records.retain(|id, _| up.contains(id));
        self.up = up;
    }

    /// What a process said about itself.
    pub fn on_record(&mut self, member: Member, admitted: bool) {
        if self.up.contains(&member.id) && self.view.place(member.id).is_none() {
            self.records.insert(member.id, (member, admitted));
        }
    }

    /// A member wants to go.
    pub fn on_leave(&mut self, id: NodeId) {
        if self.view.place(id).is_some() {
            self.leaving.insert(id);
        }
    }

    /// Members of the view that are up, the leader first.
    pub fn line(&self) -> impl Iterator<Item = &Member> {
        self.view.members.iter().filter(|m| self.is_up(m.id))
    }

    /// Whether we make the next view.
    pub fn leads(&self) -> bool {
        self.line().next().is_some_and(|m| m.id == self.me)
    }

    /// Processes that are up but not in the view and cannot be taken in: they have not said who they are, or
    /// they were excluded and have not noticed. The leader should exchange views with them.
    pub fn strangers(&self) -> impl Iterator<Item = NodeId> {
        let outside = self.up.iter().filter(|id| self.view.place(**id).is_none());
        outside.filter(|id| self.records.get(id).is_none_or(|(_, admitted)| *admitted)).copied()
    }

    /// The next view if it is time for one; the driver installs and pushes it.
    pub fn poll(&mut self, now: Duration) -> Option<View> {
        let wanted = self.wanted();
        let ids: BTreeSet<NodeId> = wanted.iter().map(|m| m.id).collect();
        let same =
            ids.len() == self.view.members.len() && self.view.members.iter().all(|m| ids.contains(&m.id));
        if same || wanted.is_empty() || !self.leads() {
            self.differs_since = None;
            return None;
        }
        let since = *self.differs_since.get_or_insert(now);
        if now < since + BATCH && self.leaving.is_empty() {
            return None;
        }
        self.differs_since = None;
        Some(self.view.next(wanted))
    }

    /// When [`poll`](Self::poll) will have something.
    pub fn poll_timeout(&self) -> Option<Duration> {
        self.differs_since.map(|since| since + BATCH)
    }

    fn wanted(&self) -> Vec<Member> {
        let stay = self.view.members.iter().filter(|m| self.is_up(m.id));
        let come = self.records.values().filter(|(_, admitted)| !admitted).map(|(m, _)| m);
        stay.chain(come).filter(|m| !self.leaving.contains(&m.id)).cloned().collect()
    }

    fn is_up(&self, id: NodeId) -> bool {
        id == self.me || self.up.contains(&id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u64) -> NodeId {
        NodeId { node: n, boot: 100 + n }
    }

    fn member(n: u64) -> Member {
        Member {
            id: id(n),
            name: format!("n{n}"),
            host: "127.0.0.1".to_owned(),
            resp_port: 7000,
            gossip_port: 17000,
            weight: 100,
            zone: String::new(),
        }
    }

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    /// Node `me` with a view of `members`, all up.
    fn lead(me: u64, members: &[u64]) -> Lead {
        let mut lead = Lead::new(id(me));
        lead.on_view(&View::first(1, members.iter().map(|n| member(*n)).collect()));
        lead.on_up(members.iter().filter(|n| **n != me).map(|n| id(*n)).collect());
        lead
    }

    fn ids(view: &View) -> Vec<NodeId> {
        view.members.iter().map(|m| m.id).collect()
    }

    #[test]
    fn newcomers_are_taken_in_together_once_they_said_who_they_are() {
        let mut lead = lead(1, &[1]);
        lead.on_up([id(2), id(3)].into());
        assert_eq!(lead.poll(ms(0)), None);
        assert_eq!(lead.strangers().collect::<Vec<_>>(), [id(2), id(3)]);
        lead.on_record(member(2), false);
        assert_eq!(lead.poll(ms(0)), None);
        assert_eq!(lead.poll_timeout(), Some(BATCH));
        lead.on_record(member(3), false);
        assert_eq!(lead.poll(ms(299)), None);
        let view = lead.poll(ms(300)).unwrap();
        assert_eq!((view.epoch, ids(&view)), (2, vec![id(1), id(2), id(3)]));
        lead.on_view(&view);
        assert_eq!(lead.poll(ms(900)), None);
        assert_eq!(lead.strangers().count(), 0);
    }

    #[test]
    fn a_short_absence_changes_nothing() {
        let mut lead = lead(1, &[1, 2]);
        lead.on_up([].into());
        assert_eq!(lead.poll(ms(0)), None);
        lead.on_up([id(2)].into());
        assert_eq!(lead.poll(ms(200)), None);
        lead.on_up([].into());
        assert_eq!(lead.poll(ms(400)), None);
        assert_eq!(ids(&lead.poll(ms(700)).unwrap()), [id(1)]);
    }

    #[test]
    fn the_next_oldest_leads_when_the_oldest_is_gone() {
        let mut lead = lead(2, &[1, 2, 3]);
        assert!(!lead.leads());
        lead.on_up([id(3)].into());
        assert!(lead.leads());
        assert_eq!(lead.poll(ms(0)), None);
        assert_eq!(ids(&lead.poll(ms(300)).unwrap()), [id(2), id(3)]);
    }

    #[test]
    fn a_leaver_need_not_wait_even_if_it_leads() {
        let mut lead = lead(1, &[1, 2]);
        lead.on_leave(id(1));
        assert_eq!(ids(&lead.poll(ms(0)).unwrap()), [id(2)]);
        let mut last = self::lead(1, &[1]);
        last.on_leave(id(1));
        assert_eq!(last.poll(ms(0)), None, "the last one cannot hand over to anybody");
    }

    #[test]
    fn the_excluded_do_not_come_back_as_the_same_process() {
        let mut lead = lead(1, &[1, 2]);
        lead.on_up([].into());
        lead.poll(ms(0));
        let view = lead.poll(ms(300)).unwrap();
        lead.on_view(&view);
        lead.on_up([id(2)].into());
        lead.on_record(member(2), true);
        assert_eq!(lead.poll(ms(400)), None);
        assert_eq!(lead.poll(ms(4000)), None);
        assert_eq!(lead.strangers().collect::<Vec<_>>(), [id(2)]);
        let new = Member { id: NodeId { node: 2, boot: 900 }, ..member(2) };
        lead.on_up([new.id].into());
        lead.on_record(new.clone(), false);
        lead.poll(ms(5000));
        assert_eq!(ids(&lead.poll(ms(5300)).unwrap()), [id(1), new.id]);
    }

    #[test]
    fn who_is_outside_the_view_never_leads() {
        let mut lead = lead(5, &[1, 2]);
        lead.on_up([].into());
        assert!(!lead.leads());
        assert_eq!(lead.poll(ms(0)), None);
        assert_eq!(lead.poll(ms(9000)), None);
    }
}
