//! Which slots this node serves: the part of the view in force that every request is checked against.

use std::sync::{Arc, OnceLock};

use shoal_proto::{
    Error,
    error::Result,
    slot::SLOTS,
    view::{Member, NodeId, View},
};

use crate::store::{SlotSet, contains};

/// The view in force as one node sees it, made for a look-up per request.
#[derive(Debug, Clone)]
pub struct Ownership {
    owned: SlotSet,
    /// Whether this node is the only member: it then serves commands across slots, as a single server does.
    alone: bool,
    /// The view, and this node's place in it.
    view: Option<(Arc<View>, Option<usize>)>,
    /// Of each slot at present.
    owners: Vec<u16>,
    /// Places of members that were here before: this node under another boot, or whoever had its address. Clients that were sent to them
    /// would come back.
    former: Vec<u16>,
    /// The view with these: made when somebody asks for it, since slots change hands by thousands.
    shown: OnceLock<Arc<View>>,
}

impl Ownership {
    /// A node without cluster: it serves everything.
    pub fn everything() -> Self {
        Self::without_view([u64::MAX; SLOTS as usize / 64], true)
    }

    /// A node that has not heard of a view: it serves nothing.
    pub fn nothing() -> Self {
        Self::without_view([0; SLOTS as usize / 64], false)
    }

    fn without_view(owned: SlotSet, alone: bool) -> Self {
        Self { owned, alone, view: None, owners: Vec::new(), former: Vec::new(), shown: OnceLock::new() }
    }

    /// What `view` gives to node `me`.
    pub fn of(view: Arc<View>, me: NodeId) -> Self {
        let place = view.place(me);
        let owners = view.owners();
        let mut owned = [0u64; SLOTS as usize / 64];
        for (slot, owner) in owners.iter().enumerate() {
            if place == Some(usize::from(*owner)) {
                owned[slot / 64] |= 1 << (slot % 64);
            }
        }
        let alone = view.members.len() == 1 && place.is_some();
        let shown = OnceLock::from(view.clone());
        let mut ownership =
            Self { owned, alone, view: Some((view, place)), owners, former: Vec::new(), shown };
        ownership.note_former(|member| member.id.node == me.node);
        ownership
    }

    /// The same, for a node to which clients come at this address.
    #[must_use]
    pub fn at(mut self, host: &str, port: u16) -> Self {
        self.note_former(|member| member.resp_port == port && member.host == host);
        self
    }

    fn note_former(&mut self, is_here: impl Fn(&Member) -> bool) {
        let Some((view, place)) = &self.view else { return };
        let former =
            view.members.iter().enumerate().filter(|(at, member)| Some(*at) != *place && is_here(member));
        self.former.extend(former.map(|(at, _)| at as u16));
    }

    /// The same, but for these slots and the places of their owners.
    #[must_use]
    pub fn moved(&self, slots: &[(u16, u16)]) -> Self {
        let Some((view, place)) = &self.view else { return Self::without_view(self.owned, self.alone) };
        let (mut owners, mut owned) = (self.owners.clone(), self.owned);
        for (slot, owner) in slots {
            owners[usize::from(*slot)] = *owner;
            let bit = 1 << (slot % 64);
            let word = &mut owned[usize::from(*slot) / 64];
            *word = if *place == Some(usize::from(*owner)) { *word | bit } else { *word & !bit };
        }
        let (alone, view) = (self.alone, Some((view.clone(), *place)));
        Self { owned, alone, view, owners, former: self.former.clone(), shown: OnceLock::new() }
    }

    /// Whether this node serves `slot`.
    #[inline]
    pub fn owns(&self, slot: u16) -> bool {
        contains(&self.owned, slot)
    }

    /// The slots that this node serves.
    pub fn slots(&self) -> &SlotSet {
        &self.owned
    }

    /// Whether this node is a cluster of one.
    pub fn alone(&self) -> bool {
        self.alone
    }

    /// The view in force with the owners at present, if there is one.
    pub fn view(&self) -> Option<&Arc<View>> {
        let (view, _) = self.view.as_ref()?;
        Some(self.shown.get_or_init(|| Arc::new(view.with_owners(&self.owners))))
    }

    /// This node's place among the view's members.
    pub fn place(&self) -> Option<usize> {
        self.view.as_ref().and_then(|(_, place)| *place)
    }

    /// Slots served here.
    pub fn count(&self) -> u32 {
        self.owned.iter().map(|bits| bits.count_ones()).sum()
    }

    /// Whether every slot has an owner.
    pub fn covered(&self) -> bool {
        self.view().map_or(self.alone, |view| view.covers_all())
    }

    /// Checks that a request on these slots can be executed here.
    ///
    /// `scattered` allows several slots in one command, if all are served here: for a cluster of one, and for
    /// commands that a router has split.
    ///
    /// # Errors
    /// `CROSSSLOT`, `MOVED` to the owner, or `CLUSTERDOWN` when there is none.
    #[inline]
    pub fn check(&self, slots: &[u16], scattered: bool) -> Result {
        match slots {
            [] => Ok(()),
            [slot, others @ ..] if others.iter().all(|other| other == slot) => self.check_one(*slot),
            _ if !scattered && !self.alone => Err(Error::CrossSlot),
            slots => match slots.iter().find(|slot| !self.owns(**slot)) {
                None => Ok(()),
                Some(slot) => Err(self.elsewhere(*slot)),
            },
        }
    }

    /// Checks that a request on this slot can be executed here.
    ///
    /// # Errors
    /// `MOVED` to the owner, or `CLUSTERDOWN` when there is none.
    #[inline]
    pub fn check_one(&self, slot: u16) -> Result {
        if self.owns(slot) { Ok(()) } else { Err(self.elsewhere(slot)) }
    }

    /// Where the slot is: `MOVED`, or `CLUSTERDOWN` when it is nowhere. [`Error::Held`] if the view names somebody who is here no more: the
    /// next one will not.
    #[cold]
    pub(super) fn elsewhere(&self, slot: u16) -> Error {
        let owner = self.owners.get(usize::from(slot)).copied().unwrap_or(u16::MAX);
        match self.view.as_ref().and_then(|(view, _)| view.members.get(usize::from(owner))) {
            Some(_) if self.former.contains(&owner) => Error::Held,
            Some(member) => Error::Moved { slot, host: member.host.clone(), port: member.resp_port },
            None => Error::ClusterDown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(node: u64, boot: u64, port: u16) -> Member {
        Member {
            id: NodeId { node, boot },
            name: format!("n{node}"),
            host: "here".to_owned(),
            resp_port: port,
            gossip_port: 0,
            weight: 100,
            zone: String::new(),
            replication: Default::default(),
        }
    }

    /// Slot 0 is the first member's, slot 1 the second's, slot 2 nobody's.
    fn view() -> Arc<View> {
        View::new(1, 1, vec![member(1, 1, 7001), member(2, 1, 7002)], &[0, 1, u16::MAX]).into()
    }

    #[test]
    fn nobody_is_sent_to_whom_he_asks() {
        let moved = Err(Error::Moved { slot: 1, host: "here".to_owned(), port: 7002 });
        let restarted = Ownership::of(view(), NodeId { node: 1, boot: 2 });
        let renamed = Ownership::of(view(), NodeId { node: 9, boot: 2 }).at("here", 7001);
        for ownership in [restarted, renamed] {
            for ownership in [ownership.moved(&[]), ownership] {
                assert_eq!(ownership.check_one(0), Err(Error::Held));
                assert_eq!(
                    (ownership.check_one(1), ownership.check_one(2)),
                    (moved.clone(), Err(Error::ClusterDown))
                );
            }
        }
        let member = Ownership::of(view(), NodeId { node: 1, boot: 1 }).at("here", 7001);
        assert_eq!((member.check_one(0), member.check_one(1)), (Ok(()), moved));
        let elsewhere = Ownership::of(view(), NodeId { node: 9, boot: 2 }).at("there", 7001);
        assert!(matches!(elsewhere.check_one(0), Err(Error::Moved { .. })));
    }
}
