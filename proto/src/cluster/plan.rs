//! The next view, from what the members keep and who shall be in it.

use std::collections::{BTreeMap, BTreeSet};

use super::message::Report;
use super::mutant::{self, Mutant};
use super::slots::{Slots, of_ranges};
use crate::view::{Member, NOBODY, NodeId, View};

/// Who shall be in the next view.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Wanted {
    /// Members of the view that stay in it; each must have reported.
    pub keep: BTreeSet<NodeId>,
    /// Those who come in.
    pub join: Vec<Member>,
    /// Members that hand over what they have and are left out once they have nothing.
    pub leave: BTreeSet<NodeId>,
}

impl Wanted {
    /// Members of `view` that stay, the oldest first.
    pub fn keep_order<'a>(&'a self, view: &'a View) -> impl Iterator<Item = NodeId> + 'a {
        view.members.iter().map(|m| m.id).filter(|id| self.keep.contains(id))
    }
}

/// The view that follows `view`.
///
/// A slot stays with whoever reported that it owns it; one that was offered stays with its owner if the target is there
/// to say that it has not taken it. What nobody has is made anew, at once where it shall be. Then shares are computed
/// anew and become targets.
pub fn next(view: &View, reports: &BTreeMap<NodeId, Report>, wanted: &Wanted) -> View {
    let owners = settled(view, reports, &wanted.keep);
    let owns = |id: NodeId| owners.iter().any(|o| o.map(|place| view.members[place].id) == Some(id));
    // Somebody must be there: if all who stay want to go, they may not yet.
    let all_leave = wanted.join.is_empty() && wanted.keep.is_subset(&wanted.leave);
    let mut members: Vec<Member> = view
        .members
        .iter()
        .filter(|m| wanted.keep.contains(&m.id))
        .filter(|m| all_leave || !wanted.leave.contains(&m.id) || owns(m.id))
        .chain(&wanted.join)
        .cloned()
        .collect();
    members.sort_by_key(|m| (m.id.boot, m.id.node));
    let place: BTreeMap<NodeId, u16> = members.iter().enumerate().map(|(i, m)| (m.id, i as u16)).collect();
    let leaving: Vec<NodeId> = members.iter().map(|m| m.id).filter(|id| wanted.leave.contains(id)).collect();

    let owners: Vec<u16> = owners
        .iter()
        .map(|o| o.and_then(|at| place.get(&view.members[at].id)).copied().unwrap_or(NOBODY))
        .collect();
    let shares = shares(view, &owners, &members, &leaving);
    let epoch = view.epoch + 1;
    let mut born = view.births();
    let mut table = owners.clone();
    let mut targets = vec![NOBODY; owners.len()];
    for slot in 0..owners.len() {
        if owners[slot] == NOBODY {
            table[slot] = shares[slot];
            born[slot] = epoch;
        } else if shares[slot] != owners[slot] {
            targets[slot] = shares[slot];
        }
    }
    let mut next = View::new(view.cluster, epoch, members, &table).with_targets(&targets).born_at(&born);
    next.leaving = leaving;
    next
}

/// For each slot the place in `view` of who has it, by the reports of those who stay.
fn settled(view: &View, reports: &BTreeMap<NodeId, Report>, keep: &BTreeSet<NodeId>) -> Vec<Option<usize>> {
    let kept = |place: usize| view.members.get(place).is_some_and(|m| keep.contains(&m.id));
    let slots = view.slots();
    let (targets, mut owners) = (view.targets(), vec![None; usize::from(slots)]);
    let reported: Vec<(usize, Slots, Slots)> = view
        .members
        .iter()
        .enumerate()
        .filter(|(_, m)| keep.contains(&m.id))
        .filter_map(|(i, m)| {
            reports.get(&m.id).map(|r| (i, of_ranges(&r.owned, slots), of_ranges(&r.sent, slots)))
        })
        .collect();
    for (place, _, sent) in &reported {
        for slot in sent.iter() {
            // Whether a target that is gone took it, nobody knows: then what the source has may be old.
            if kept(usize::from(targets[usize::from(slot)])) || mutant::off(Mutant::KeepIndeterminate) {
                owners[usize::from(slot)] = Some(*place);
            }
        }
    }
    for (place, owned, _) in &reported {
        for slot in owned.iter() {
            owners[usize::from(slot)] = Some(*place);
        }
    }
    owners
}

/// Who shall have each slot: a place in `members`. Those who leave get none, and a plan that is under way is kept.
fn shares(view: &View, owners: &[u16], members: &[Member], leaving: &[NodeId]) -> Vec<u16> {
    let active: Vec<Member> = members.iter().filter(|m| !leaving.contains(&m.id)).cloned().collect();
    if active.is_empty() {
        // The last ones cannot hand over to anybody.
        return owners.iter().map(|o| if *o == NOBODY { 0 } else { *o }).collect();
    }
    let is_active = |place: u16| members.get(usize::from(place)).is_some_and(|m| !leaving.contains(&m.id));
    let place = |member: &Member| members.iter().position(|m| m.id == member.id).map(|i| i as u16);
    let planned: Vec<Option<u16>> = {
        let by_old: Vec<Option<u16>> = view.members.iter().map(place).collect();
        view.targets().iter().map(|t| by_old.get(usize::from(*t)).copied().flatten()).collect()
    };
    let base: Vec<u16> = owners
        .iter()
        .zip(&planned)
        .map(|(owner, planned)| match planned {
            Some(target) if *owner != NOBODY && is_active(*target) => *target,
            _ => *owner,
        })
        .collect();
    let base = View::new(view.cluster, view.epoch, members.to_vec(), &base);
    let of_active: Vec<u16> = active.iter().filter_map(place).collect();
    base.shares(&active).into_iter().map(|share| of_active[usize::from(share)]).collect()
}
