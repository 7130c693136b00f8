//! The next view, from what the members keep and who shall be in it.

use std::collections::{BTreeMap, BTreeSet};

use super::message::{Copied, Report};
use super::mutant::{self, Mutant};
use super::slots::{Slots, of_ranges};
use crate::view::copies::Choice;
use crate::view::{Copies, Member, NOBODY, NodeId, Ranges, View};

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
/// to say that it has not taken it, or if it leaves a copy in sync behind. What was of somebody who is gone goes to a copy in
/// sync. What nobody has is made anew, at once where it shall be. Then shares are computed anew and become targets.
pub fn next(view: &View, reports: &BTreeMap<NodeId, Report>, wanted: &Wanted) -> View {
    let owners = settled(view, reports, &wanted.keep);
    let synced = in_sync(view, reports, &owners);
    // Somebody must be there: if all who stay want to go, they may not yet.
    let all_leave = wanted.join.is_empty() && wanted.keep.is_subset(&wanted.leave);
    let settled = Settled { view, owners: &owners, synced: &synced };
    let stays = view.members.iter().filter(|m| wanted.keep.contains(&m.id));
    let mut members: Vec<Member> = stays.chain(&wanted.join).cloned().collect();
    members.sort_by_key(|m| (m.id.boot, m.id.node));
    let next = settled.with(members, wanted);
    if all_leave {
        return next;
    }
    // Who wants to go may once it has nothing that others need.
    let places: BTreeSet<u16> = (next.owners().into_iter())
        .chain(next.all_copies().iter().flat_map(|copies| copies.synced().collect::<Vec<_>>()))
        .collect();
    let needed = |(place, m): &(usize, &Member)| {
        !wanted.leave.contains(&m.id)
            || owned_before(view, &owners, m.id)
            || places.contains(&(*place as u16))
    };
    let needed: Vec<Member> =
        next.members.iter().enumerate().filter(needed).map(|(_, m)| m.clone()).collect();
    if needed.len() == next.members.len() { next } else { settled.with(needed, wanted) }
}

/// The view that would follow `view`, whose owners are those at present, if these came and these wanted to go: its targets are where slots
/// would go, its copies that are not in sync those that would be made. Who leaves already goes on doing so. If nobody would stay, nothing
/// moves.
pub fn imagined(view: &View, join: Vec<Member>, leave: &BTreeSet<NodeId>) -> View {
    let copies = view.all_copies();
    let (owners, member) = (view.owners(), |place: u16| view.members.get(usize::from(place)).map(|m| m.id));
    let report = |(place, id): (u16, NodeId)| {
        let slots = || (0..view.slots()).filter(|slot| owners[usize::from(*slot)] == place);
        // Streams have no numbers here: both ends say the same.
        let copied = |peer: NodeId, slots: Slots| Copied { peer, stream: 0, slots: slots.ranges() };
        let others = || {
            (0..view.members.len() as u16)
                .filter_map(|at| Some((at, member(at)?)))
                .filter(|(at, _)| *at != place)
        };
        let has = |slot: u16, at: u16| copies[usize::from(slot)].has(at) == Some(true);
        let claims = others().map(|(at, peer)| copied(peer, slots().filter(|slot| has(*slot, at)).collect()));
        let owners = &owners;
        let of = |at: u16| (0..view.slots()).filter(move |slot| owners[usize::from(*slot)] == at);
        let holds =
            others().map(|(at, peer)| copied(peer, of(at).filter(|slot| has(*slot, place)).collect()));
        let owned: Slots = slots().collect();
        let report = Report {
            owned: owned.ranges(),
            sent: Ranges::new(),
            claims: claims.filter(|copied| !copied.slots.is_empty()).collect(),
            holds: holds.filter(|copied| !copied.slots.is_empty()).collect(),
        };
        (id, report)
    };
    let everybody = || (0..view.members.len() as u16).filter_map(|at| Some((at, member(at)?)));
    let reports = everybody().map(report).collect();
    let keep = everybody().map(|(_, id)| id).collect();
    let leave = leave.iter().chain(&view.leaving).copied().collect();
    next(view, &reports, &Wanted { keep, join, leave })
}

fn owned_before(view: &View, owners: &[Option<usize>], id: NodeId) -> bool {
    view.place(id).is_some_and(|place| owners.contains(&Some(place)))
}

/// What is known of the view that ends: for each slot who has it, and which copies are in sync; places in it.
struct Settled<'a> {
    view: &'a View,
    owners: &'a [Option<usize>],
    synced: &'a [Copies],
}

impl Settled<'_> {
    /// The next view with these members.
    fn with(&self, members: Vec<Member>, wanted: &Wanted) -> View {
        let Self { view, owners, .. } = *self;
        let leaving: Vec<NodeId> =
            members.iter().map(|m| m.id).filter(|id| wanted.leave.contains(id)).collect();
        let places: Vec<Option<u16>> = view.members.iter().map(|m| place_in(&members, m.id)).collect();
        let owners: Vec<u16> =
            owners.iter().map(|owner| owner.and_then(|at| places[at]).unwrap_or(NOBODY)).collect();
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
        let replicas = next.replication().replicas;
        if replicas == 0 {
            return next;
        }
        let copies = self.copies(&next, &places, replicas);
        next.with_copies(&copies)
    }

    /// Who shall have copies of each slot in the next view. `places` are those of the old members in it.
    fn copies(&self, next: &View, places: &[Option<u16>], replicas: u8) -> Vec<Copies> {
        let (owners, targets, before) = (next.owners(), next.targets(), self.view.all_copies());
        let renamed = |copies: &Copies| {
            let mut new = Copies::default();
            let all = copies.iter().filter_map(|(at, synced)| Some((places[usize::from(at)]?, synced)));
            all.for_each(|(at, synced)| new.add(at, synced));
            new
        };
        let synced: Vec<Copies> = self.synced.iter().map(renamed).collect();
        let before: Vec<Copies> = before.iter().map(renamed).collect();
        let homes: Vec<u16> =
            owners.iter().zip(&targets).map(|(o, t)| if *t == NOBODY { *o } else { *t }).collect();
        let old = self.view.owners();
        let known = (0..owners.len()).map(|slot| {
            let stays = places.get(usize::from(old[slot])).copied().flatten() == Some(owners[slot]);
            let mut known = if stays { before[slot] } else { synced[slot] };
            let rest = if stays { synced[slot] } else { before[slot] };
            rest.iter().for_each(|(at, _)| known.add(at, false));
            if targets[slot] != NOBODY {
                // It follows the new owner.
                known.add(owners[slot], false);
            }
            known
        });
        // If all want to go, they stay.
        let all_leave = next.leaving.len() == next.members.len();
        let active: Vec<bool> =
            next.members.iter().map(|m| all_leave || !next.leaving.contains(&m.id)).collect();
        // As many as there can be.
        let others = active.iter().filter(|active| **active).count().saturating_sub(1);
        let replicas = replicas.min(others.try_into().unwrap_or(replicas));
        let choice = Choice::new(&next.members, active, &homes, known.collect());
        let mut chosen = choice.choose(replicas);
        for (slot, chosen) in chosen.iter_mut().enumerate() {
            *chosen = listed(chosen, &synced[slot], (owners[slot], targets[slot]), replicas);
        }
        chosen
    }
}

/// The copies of a slot in the next view: those that are chosen, and others that are in sync as long as they are needed. The
/// target's is: it has only to take the slot.
fn listed(chosen: &Copies, synced: &Copies, (owner, target): (u16, u16), replicas: u8) -> Copies {
    let mut copies = Copies::default();
    let is_synced = |at: u16| synced.has(at).is_some();
    let chosen = chosen.iter().map(|(at, _)| at).filter(|at| *at != owner);
    chosen.for_each(|at| copies.add(at, is_synced(at)));
    let others = synced.iter().map(|(at, _)| at).filter(|at| *at != owner && *at != target);
    for at in Some(target).into_iter().filter(|at| is_synced(*at)).chain(others) {
        if at == target || copies.synced().count() < usize::from(replicas) {
            copies.add(at, true);
        }
    }
    copies
}

fn place_in(members: &[Member], id: NodeId) -> Option<u16> {
    members.iter().position(|m| m.id == id).map(|place| place as u16)
}

/// For each slot the place in `view` of who has it, by the reports of those who stay.
fn settled(view: &View, reports: &BTreeMap<NodeId, Report>, keep: &BTreeSet<NodeId>) -> Vec<Option<usize>> {
    let kept = |place: u16| view.members.get(usize::from(place)).is_some_and(|m| keep.contains(&m.id));
    let slots = view.slots();
    let (before, targets, copies) = (view.owners(), view.targets(), view.all_copies());
    let mut owners = vec![None; usize::from(slots)];
    let reported = || {
        let stays = view.members.iter().enumerate().filter(|(_, m)| keep.contains(&m.id));
        stays.filter_map(|(place, m)| Some((place, reports.get(&m.id)?)))
    };
    for (place, report) in reported() {
        let held =
            report.holds.iter().flat_map(|holds| of_ranges(&holds.slots, slots).iter().collect::<Vec<_>>());
        let sent = of_ranges(&report.sent, slots);
        for slot in held.chain(sent.iter()) {
            let at = usize::from(slot);
            // Whoever the owner was to hand it over to may have taken it and be gone with it.
            let beside = mutant::off(Mutant::PromoteBesideTarget);
            let gone = !kept(before[at]) && (targets[at] == NOBODY || kept(targets[at]) || beside);
            let listed = copies[at].has(place as u16) == Some(true) || mutant::off(Mutant::PromoteUnlisted);
            if gone && listed && owners[at].is_none() {
                owners[at] = Some(place);
            }
        }
    }
    let copied = view.replication().replicas > 0 && !mutant::off(Mutant::LoseOffered);
    for (place, report) in reported() {
        for slot in
            of_ranges(&report.sent, slots).iter().filter(|s| usize::from(before[usize::from(*s)]) == place)
        {
            // Whether a target that is gone took it, nobody knows: then what the source has may be old. Unless the
            // source had to have whatever the target answered.
            if kept(targets[usize::from(slot)]) || copied || mutant::off(Mutant::KeepIndeterminate) {
                owners[usize::from(slot)] = Some(place);
            }
        }
    }
    for (place, report) in reported() {
        for slot in of_ranges(&report.owned, slots).iter() {
            owners[usize::from(slot)] = Some(place);
        }
    }
    owners
}

/// For each slot the places in `view` of the copies that have whatever its owner has answered: both say so of one stream.
fn in_sync(view: &View, reports: &BTreeMap<NodeId, Report>, owners: &[Option<usize>]) -> Vec<Copies> {
    let slots = view.slots();
    let mut synced = vec![Copies::default(); usize::from(slots)];
    for (place, member) in view.members.iter().enumerate() {
        for claim in reports.get(&member.id).into_iter().flat_map(|report| &report.claims) {
            let (Some(peer), Some(at)) = (reports.get(&claim.peer), view.place(claim.peer)) else { continue };
            let same = |held: &&Copied| held.peer == member.id && held.stream == claim.stream;
            let held =
                peer.holds.iter().find(same).map(|held| of_ranges(&held.slots, slots)).unwrap_or_default();
            // Of what it handed over, the former owner has what there was then, and the new one waits for it.
            let sent = of_ranges(&peer.sent, slots);
            for slot in of_ranges(&claim.slots, slots).iter().filter(|s| held.has(*s) || sent.has(*s)) {
                if owners[usize::from(slot)] == Some(place) || mutant::off(Mutant::ClaimLost) {
                    synced[usize::from(slot)].add(at as u16, true);
                }
            }
        }
    }
    synced
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::Replication;

    fn member(node: u64, zone: &str, replicas: u8) -> Member {
        let replication = Replication { replicas, ack_all: true };
        Member { zone: zone.to_owned(), replication, ..Member::sample(NodeId { node, boot: node }) }
    }

    /// Of each slot its owner and target by name.
    fn moves(view: &View) -> Vec<(u64, Option<u64>)> {
        let node = |place: u16| view.members.get(usize::from(place)).map(|m| m.id.node);
        let both = view.owners().into_iter().zip(view.targets());
        both.map(|(owner, target)| (node(owner).unwrap_or(0), node(target))).collect()
    }

    #[test]
    fn what_is_imagined_goes_on_from_what_is_under_way() {
        let view = View::first(1, vec![member(1, "", 0), member(2, "", 0)]);
        let nobody = BTreeSet::new();
        let grown = imagined(&view, vec![member(3, "", 0)], &nobody);
        assert_eq!(moves(&grown).iter().filter(|(_, to)| *to == Some(3)).count(), 5461);
        assert_eq!(moves(&imagined(&grown, Vec::new(), &nobody)), moves(&grown), "nothing else is wanted");
        let more = imagined(&grown, vec![member(4, "", 0)], &nobody);
        let (before, after) = (moves(&grown), moves(&more));
        let to_third = |slot: &usize| [&before, &after].iter().all(|moves| moves[*slot].1 == Some(3));
        assert_eq!((0..16384).filter(to_third).count(), 4096, "what goes to the third goes on");
        assert_eq!(after.iter().filter(|(_, to)| *to == Some(3)).count(), 4096);
        // Who leaves already gets nothing, nor keeps anything.
        let mut leaving = grown;
        leaving.leaving = vec![NodeId { node: 2, boot: 2 }];
        let left = moves(&imagined(&leaving, vec![member(4, "", 0)], &nobody));
        assert!(left.iter().all(|(owner, to)| *to != Some(2) && (*owner != 2 || to.is_some())));
    }

    #[test]
    fn copies_are_imagined_in_other_zones_and_those_in_sync_are_kept() {
        let view = View::first(1, vec![member(1, "x", 1), member(2, "y", 1)]);
        let synced = |at: u16| {
            let mut copies = Copies::default();
            copies.add(at, true);
            copies
        };
        let copies: Vec<Copies> = view.owners().iter().map(|owner| synced(1 - owner)).collect();
        let view = view.with_copies(&copies);
        let nobody = BTreeSet::new();
        let same = imagined(&view, Vec::new(), &nobody);
        assert_eq!((moves(&same), same.all_copies()), (moves(&view), view.all_copies()));
        let grown = imagined(&view, vec![member(3, "y", 1)], &nobody);
        let (owners, targets) = (grown.owners(), grown.targets());
        for (slot, copies) in grown.all_copies().iter().enumerate() {
            let home = if targets[slot] == NOBODY { owners[slot] } else { targets[slot] };
            let zone = |at: u16| grown.members[usize::from(at)].zone.clone();
            let elsewhere = |at: u16| at != home && zone(at) != zone(home);
            assert!(
                copies.iter().any(|(at, _)| elsewhere(at)) || owners[slot] != home && elsewhere(owners[slot]),
                "{slot}: {copies:?}"
            );
        }
    }
}
