//! A new view: where requests go from now on, and what becomes of those that were on their way by the old one.

use std::sync::Arc;

use super::{Desk, close};
use crate::{
    routing::{NOBODY, Routing},
    upstream::{
        NONE,
        log::{Pending, Way},
    },
};

impl Desk {
    /// Installs a view: new requests follow it at once, and so does what waited for it.
    pub(crate) fn adopt(&mut self, routing: Arc<Routing>) {
        self.routing = routing;
        self.turn = self.turn.wrapping_add(1);
        let changed = self.readdress();
        let mut elsewhere = Vec::new();
        for place in self.upstreams.iter().map(|(place, _)| place as u32).collect::<Vec<_>>() {
            let upstream = &mut self.upstreams[place as usize];
            let member = self.nodes[upstream.node as usize].member;
            upstream.retired = if member { None } else { Some(upstream.retired.unwrap_or(self.now)) };
            upstream.curious &= member;
            self.waiting |= !member;
            if !upstream.is_ready() {
                if upstream.log.is_empty() && !member {
                    close(upstream);
                } else if !upstream.log.is_empty() {
                    elsewhere.push(place);
                }
                continue;
            }
            let view = &self.routing.view;
            let remade = |p: &Pending| matches!(p.way, Way::Slot(slot) if view.born(slot) == view.epoch);
            // A node whose slots were made anew without it is gone or cut off, whatever its socket says: no answer is
            // worth waiting for. One that left in order handed them over, and still answers.
            if !member && (upstream.log.is_empty() || upstream.log.numbered().any(|(_, p)| remade(p))) {
                close(upstream);
            }
            self.fence(place, &|slot| changed[usize::from(slot)]);
        }
        for place in elsewhere {
            self.replan(place);
        }
        for trouble in self.troubled.iter().copied().collect::<Vec<_>>() {
            if let Some(detour) =
                self.client(trouble.client, trouble.generation).and_then(|c| c.detour(trouble.slot))
            {
                detour.resume_at = None;
                detour.failures = 0;
            }
            self.pump(trouble);
        }
        self.review_strays();
        self.forget_strangers();
    }

    /// Fills the table of owners by the view in force. Returns the slots that changed hands.
    fn readdress(&mut self) -> Vec<bool> {
        let routing = self.routing.clone();
        self.nodes.iter_mut().for_each(|(_, node)| node.member = false);
        self.places = routing.members().iter().map(|m| self.node(&m.host, m.resp_port)).collect();
        for place in &self.places {
            self.nodes[*place as usize].member = true;
        }
        let owner = |slot: u16| match routing.owner(slot) {
            NOBODY => NOBODY,
            member => u16::try_from(self.places[usize::from(member)]).unwrap_or(NOBODY),
        };
        let owners: Vec<u16> = (0..shoal_proto::slot::SLOTS).map(owner).collect();
        let changed = self.owners.iter().zip(&owners).map(|(old, new)| old != new).collect();
        self.owners = owners;
        changed
    }

    /// Forgets nodes that no view names and no connection goes to.
    fn forget_strangers(&mut self) {
        self.nodes.retain(|_, node| node.member || node.lanes.iter().any(|lane| *lane != NONE));
    }
}
