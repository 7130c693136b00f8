//! The view as requests need it: for each slot the place of its owner. Made once per view, shared by all workers.

use std::sync::Arc;

use shoal_proto::view::{Member, View};

/// No owner.
pub(crate) const NOBODY: u16 = u16::MAX;

/// A view, ready for one look-up per request.
#[derive(Debug)]
pub(crate) struct Routing {
    pub(crate) view: Arc<View>,
    /// By slot: the owner's place among the view's members, or [`NOBODY`].
    owners: Vec<u16>,
    /// Places of members that own a slot, in the order of their first slot.
    pub(crate) serving: Vec<u16>,
}

impl Routing {
    pub(crate) fn new(view: Arc<View>) -> Self {
        let owners = view.owners();
        let mut serving = Vec::new();
        for (_, _, owner) in view.runs() {
            let place = owner.and_then(|m| view.place(m.id)).map(|p| p as u16);
            if let Some(place) = place.filter(|p| !serving.contains(p)) {
                serving.push(place);
            }
        }
        Self { view, owners, serving }
    }

    /// The place of the slot's owner, or [`NOBODY`].
    #[inline]
    pub(crate) fn owner(&self, slot: u16) -> u16 {
        self.owners[usize::from(slot)]
    }

    pub(crate) fn members(&self) -> &[Member] {
        &self.view.members
    }
}

#[cfg(test)]
mod tests {
    use shoal_proto::view::NodeId;

    use super::*;

    fn member(n: u16) -> Member {
        Member {
            id: NodeId { node: u64::from(n), boot: 1 },
            name: format!("n{n}"),
            host: "127.0.0.1".to_owned(),
            resp_port: 7000 + n,
            gossip_port: 17000 + n,
            weight: 100,
            zone: String::new(),
            replication: Default::default(),
        }
    }

    #[test]
    fn members_without_slots_do_not_serve() {
        let owners: Vec<u16> = (0..16384).map(|s| if s < 100 { 2 } else { 0 }).collect();
        let routing = Routing::new(Arc::new(View::new(1, 1, (0..3).map(member).collect(), &owners)));
        assert_eq!(routing.serving, [2, 0]);
        assert_eq!((routing.owner(99), routing.owner(100)), (2, 0));
        let nobody = Routing::new(Arc::new(View::new(1, 1, Vec::new(), &[])));
        assert_eq!(nobody.owner(5), NOBODY);
    }
}
