//! Copies: which members keep a slot besides its owner, and which of them have all that was answered.
//!
//! Sticky: who has a copy keeps it. New ones go to the members that have the fewest for their weight, away from the
//! owner's zone if there is another, in pieces, so that the slots of one owner are spread over all others and tables stay
//! short. A pure function, like the placement of owners.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Member, NOBODY};

/// Most copies of a slot besides its owner's.
pub const MAX_REPLICAS: u8 = 2;

/// Most that one slot can have: as many that are wanted, and as many that count until those have come.
const MOST: usize = 2 * MAX_REPLICAS as usize;

/// How often the copies are gone through to even them out; what is left then is done with the next view.
const PASSES: usize = 8;

/// By so much loads are multiplied before they are divided by weights, so that they can be compared as whole numbers.
const LOAD_SCALE: u64 = 1 << 16;

/// Who has copies of a slot: places among a view's members, in order of preference, and who is in sync: whatever the owner
/// has answered, they have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Copies {
    at: [u16; MOST],
    /// A bit for each that is in sync.
    synced: u8,
}

impl Default for Copies {
    fn default() -> Self {
        Self { at: [NOBODY; MOST], synced: 0 }
    }
}

impl Copies {
    /// Adds a member behind the others, unless it is there or there is no room.
    pub fn add(&mut self, place: u16, synced: bool) {
        if self.has(place).is_none()
            && let Some(free) = self.at.iter().position(|at| *at == NOBODY)
        {
            self.at[free] = place;
            self.synced |= u8::from(synced) << free;
        }
    }

    /// The members and whether each is in sync.
    pub fn iter(&self) -> impl Iterator<Item = (u16, bool)> + Clone {
        let synced = self.synced;
        let all = self.at.into_iter().enumerate().filter(|(_, at)| *at != NOBODY);
        all.map(move |(i, at)| (at, synced >> i & 1 == 1))
    }

    /// Those in sync.
    pub fn synced(&self) -> impl Iterator<Item = u16> + Clone {
        self.iter().filter(|(_, synced)| *synced).map(|(at, _)| at)
    }

    /// Whether a member is in sync; `None` if it is not among them.
    pub fn has(&self, place: u16) -> Option<bool> {
        self.iter().find(|(at, _)| *at == place).map(|(_, synced)| synced)
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.at[0] == NOBODY
    }
}

/// Where the copies of all slots shall be.
pub(crate) struct Choice<'a> {
    members: &'a [Member],
    active: Vec<bool>,
    homes: &'a [u16],
    known: Vec<Copies>,
    /// The number of each member's zone, and how many of the active are in each zone.
    zones: Vec<usize>,
    inside: Vec<usize>,
}

impl<'a> Choice<'a> {
    /// `active` says which of the members may have copies; `homes` for each slot the member that has it or is to get it, as a
    /// copy elsewhere is wanted; `known` the members that have a copy or are about to, the best first.
    pub(crate) fn new(
        members: &'a [Member],
        active: Vec<bool>,
        homes: &'a [u16],
        known: Vec<Copies>,
    ) -> Self {
        let mut names: Vec<&str> = members.iter().map(|member| &*member.zone).collect();
        names.sort_unstable();
        names.dedup();
        let number = |member: &Member| names.binary_search(&&*member.zone).expect("it is among them");
        let zones: Vec<usize> = members.iter().map(number).collect();
        let mut inside = vec![0; names.len()];
        zones.iter().zip(&active).for_each(|(zone, active)| inside[*zone] += usize::from(*active));
        Self { members, active, homes, known, zones, inside }
    }
}

impl Choice<'_> {
    /// For each slot as many members as are wanted, or as there can be. Costs O(copies x slots x members).
    pub(crate) fn choose(&self, replicas: u8) -> Vec<Copies> {
        let most = self.active.iter().filter(|active| **active).count().saturating_sub(1);
        let mut chosen = vec![Copies::default(); self.homes.len()];
        for _ in 0..most.min(replicas.into()) {
            let mut picks = self.kept(&chosen);
            self.fill(&chosen, &mut picks);
            self.balance(&chosen, &mut picks);
            self.even_out(&chosen, &mut picks);
            chosen.iter_mut().zip(picks).for_each(|(copies, pick)| copies.add(pick, false));
        }
        chosen
    }

    /// Whether a member may have this copy. In the zone of the owner only if nobody outside of it may.
    fn fits(&self, slot: usize, chosen: &Copies, at: u16) -> bool {
        let (home, at_place) = (usize::from(self.homes[slot]), usize::from(at));
        if !self.active[at_place] || at_place == home || chosen.has(at).is_some() {
            return false;
        }
        let Some(zone) = self.zones.get(home) else { return true };
        if self.zones[at_place] != *zone {
            return true;
        }
        let elsewhere = |place: usize| self.active[place] && self.zones[place] != *zone;
        let taken = chosen.iter().filter(|(place, _)| elsewhere(usize::from(*place))).count();
        self.inside.iter().sum::<usize>() - self.inside[*zone] == taken
    }

    /// What is there and may stay.
    fn kept(&self, chosen: &[Copies]) -> Vec<u16> {
        let best = |(slot, known): (usize, &Copies)| {
            let mut places = known.iter().map(|(at, _)| at);
            places.find(|at| self.fits(slot, &chosen[slot], *at)).unwrap_or(NOBODY)
        };
        self.known.iter().enumerate().map(best).collect()
    }

    /// The share of each member, rounded down and up.
    fn quotas(&self) -> Vec<(usize, usize)> {
        let weight = |at: usize| if self.active[at] { u64::from(self.members[at].weight) } else { 0 };
        let total: u64 = (0..self.members.len()).map(weight).sum();
        let slots = self.homes.len() as u64;
        let share = |at: usize| match total {
            0 => (0, slots as usize),
            total => ((slots * weight(at) / total) as usize, (slots * weight(at)).div_ceil(total) as usize),
        };
        (0..self.members.len()).map(share).collect()
    }

    fn loads(&self, picks: &[u16]) -> Vec<usize> {
        let mut loads = vec![0; self.members.len()];
        for pick in picks.iter().filter(|pick| **pick != NOBODY) {
            loads[usize::from(*pick)] += 1;
        }
        loads
    }

    /// The member that has the fewest pieces of this owner's and then the least for its share, among those that may have
    /// this copy.
    fn neediest(&self, slot: usize, chosen: &Copies, needs: impl Fn(usize) -> (usize, i64)) -> Option<u16> {
        let may = (0..self.members.len() as u16).filter(|at| self.fits(slot, chosen, *at));
        may.min_by_key(|at| needs(usize::from(*at)))
    }

    /// Gives out what nobody has, in pieces of one owner's slots.
    fn fill(&self, chosen: &[Copies], picks: &mut [u16]) {
        let (quotas, mut loads) = (self.quotas(), self.loads(picks));
        let mut owned = vec![0usize; self.members.len()];
        for home in self.homes.iter().filter(|home| usize::from(**home) < self.members.len()) {
            owned[usize::from(*home)] += 1;
        }
        let others = self.active.iter().filter(|active| **active).count().saturating_sub(1).max(1);
        // How many pieces of each owner's slots each member has got.
        let mut pieces: BTreeMap<(u16, u16), usize> = BTreeMap::new();
        // To whom the piece goes that is being given out, of whose slots it is, and how much of it is left.
        let (mut to, mut of, mut left) = (NOBODY, NOBODY, 0usize);
        for slot in (0..picks.len()).filter(|slot| picks[*slot] == NOBODY).collect::<Vec<_>>() {
            let home = self.homes[slot];
            if home != of || left == 0 || !self.fits(slot, &chosen[slot], to) {
                let needs = |at: usize| {
                    let has = pieces.get(&(home, at as u16)).copied().unwrap_or(0);
                    (has, loads[at] as i64 - quotas[at].0 as i64)
                };
                let Some(next) = self.neediest(slot, &chosen[slot], needs) else { continue };
                *pieces.entry((home, next)).or_default() += 1;
                let all = owned.get(usize::from(home)).copied().unwrap_or(0);
                (to, of, left) = (next, home, all.div_ceil(others).max(1));
            }
            picks[slot] = to;
            loads[usize::from(to)] += 1;
            left -= 1;
        }
    }

    /// Moves copies from members that have more than their share to those that have less.
    fn balance(&self, chosen: &[Copies], picks: &mut [u16]) {
        let (quotas, mut loads) = (self.quotas(), self.loads(picks));
        let better =
            |loads: &[usize], at: usize, to: usize| loads[at] > quotas[at].1 && loads[to] < quotas[to].0;
        self.shift(chosen, picks, &mut loads, better, |_, _| 0);
    }

    /// Where zones keep members from having their share, others have more or less of it than they need: moves copies to
    /// members that have less for their weight. Nothing if all have their share.
    fn even_out(&self, chosen: &[Copies], picks: &mut [u16]) {
        let (quotas, mut loads) = (self.quotas(), self.loads(picks));
        let weight = |at: usize| u64::from(self.members[at].weight);
        // One of the two has to need it.
        let better = |loads: &[usize], at: usize, to: usize| {
            (loads[at] > quotas[at].1 || loads[to] < quotas[to].0)
                && loads[at] as u64 * weight(to) > (loads[to] as u64 + 1) * weight(at)
        };
        let load = |loads: &[usize], to: usize| loads[to] as u64 * LOAD_SCALE / weight(to);
        for _ in 0..PASSES {
            if !self.shift(chosen, picks, &mut loads, better, load) {
                break;
            }
        }
    }

    /// Goes through the slots once and moves each copy for which it is `better` to be at another member, of several to the one with the
    /// lowest `rank`, but to the one before as long as that is better, too: tables stay short. Whether anything was moved.
    fn shift(
        &self,
        chosen: &[Copies],
        picks: &mut [u16],
        loads: &mut [usize],
        better: impl Fn(&[usize], usize, usize) -> bool,
        rank: impl Fn(&[usize], usize) -> u64,
    ) -> bool {
        let (mut moved, mut last) = (false, usize::MAX);
        for (slot, pick) in picks.iter_mut().enumerate().filter(|(_, pick)| **pick != NOBODY) {
            let at = usize::from(*pick);
            let may = |loads: &[usize], to: usize| {
                better(loads, at, to) && self.fits(slot, &chosen[slot], to as u16)
            };
            if last == usize::MAX || !may(loads, last) {
                let others = (0..self.members.len()).filter(|to| may(loads, *to));
                let Some(next) = others.min_by_key(|to| rank(loads, *to)) else { continue };
                last = next;
            }
            *pick = last as u16;
            loads[at] -= 1;
            loads[last] += 1;
            moved = true;
        }
        moved
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::{NodeId, View};

    fn member(node: u64, weight: u16, zone: &str) -> Member {
        Member { weight, zone: zone.to_owned(), ..Member::sample(NodeId { node, boot: node }) }
    }

    fn choose(members: &[Member], homes: &[u16], known: Vec<Copies>, replicas: u8) -> Vec<Copies> {
        Choice::new(members, vec![true; members.len()], homes, known).choose(replicas)
    }

    fn loads(chosen: &[Copies], members: usize) -> Vec<usize> {
        let mut loads = vec![0; members];
        chosen.iter().flat_map(Copies::iter).for_each(|(at, _)| loads[usize::from(at)] += 1);
        loads
    }

    #[test]
    fn copies_are_elsewhere_even_and_spread_over_all_others() {
        let members: Vec<Member> = (1..=5).map(|n| member(n, 100, "")).collect();
        let homes = View::first(1, members.clone()).owners();
        for replicas in [1, 2] {
            let chosen = choose(&members, &homes, vec![Copies::default(); homes.len()], replicas);
            for (copies, home) in chosen.iter().zip(&homes) {
                assert_eq!(copies.len(), usize::from(replicas));
                assert!(copies.has(*home).is_none());
            }
            let even = homes.len() * usize::from(replicas) / 5;
            assert!(loads(&chosen, 5).iter().all(|n| n.abs_diff(even) <= 700), "{:?}", loads(&chosen, 5));
            for home in 0..5u16 {
                let of: Vec<Copies> =
                    (0..homes.len()).filter(|s| homes[*s] == home).map(|s| chosen[s]).collect();
                let others = loads(&of, 5);
                assert_eq!(others.iter().filter(|n| **n > 0).count(), 4, "{others:?}");
            }
            let view = View::new(1, 1, members.clone(), &homes).with_copies(&chosen);
            assert!(view.copies.len() < 60, "{} runs", view.copies.len());
            assert_eq!(view.check(), Ok(()));
            assert_eq!(view.all_copies(), chosen);
            assert_eq!(
                chosen,
                choose(&members, &homes, chosen.clone(), replicas),
                "nothing moves without need"
            );
        }
    }

    #[test]
    fn another_zone_is_preferred_and_one_member_has_no_copies() {
        let zones = ["a", "a", "b"];
        let members: Vec<Member> = (1..=3).map(|n| member(n, 100, zones[n as usize - 1])).collect();
        let homes = View::first(1, members.clone()).owners();
        let none = vec![Copies::default(); homes.len()];
        let chosen = choose(&members, &homes, none.clone(), 1);
        for (copies, home) in chosen.iter().zip(&homes) {
            let (at, _) = copies.iter().next().unwrap();
            assert_ne!(members[usize::from(at)].zone, members[usize::from(*home)].zone);
        }
        assert_eq!(chosen, choose(&members, &homes, chosen.clone(), 1));
        // The second copy has to take what is left.
        assert!(choose(&members, &homes, none.clone(), 2).iter().all(|copies| copies.len() == 2));
        let alone = View::first(1, members[..1].to_vec()).owners();
        assert!(choose(&members[..1], &alone, none, 2).iter().all(Copies::is_empty));
    }

    #[test]
    fn a_newcomer_gets_its_share_by_weight_and_the_others_move_nothing_among_themselves() {
        let mut members: Vec<Member> = (1..=3).map(|n| member(n, 100, "")).collect();
        let homes = View::first(1, members.clone()).owners();
        let before = choose(&members, &homes, vec![Copies::default(); homes.len()], 1);
        members.push(member(4, 300, ""));
        let after = choose(&members, &homes, before.clone(), 1);
        let all = homes.len();
        assert!(loads(&after, 4)[3].abs_diff(all / 2) <= 1, "{:?}", loads(&after, 4));
        let changed = before.iter().zip(&after).filter(|(a, b)| a != b);
        assert!(changed.clone().all(|(_, b)| b.has(3).is_some()));
        assert_eq!(changed.count(), loads(&after, 4)[3]);
        assert_eq!(after, choose(&members, &homes, after.clone(), 1));
    }

    /// Zones that cannot have equal shares, and clusters that grew one by one: no member has much more for its weight than another
    /// that could have had it.
    #[test]
    fn copies_are_as_even_as_zones_allow() {
        for (zones, weights, replicas, most) in [
            ("xxyx", [100, 100, 100, 100, 0], 2, vec![6828, 6828, 12288, 6828]),
            ("xyxxy", [100, 100, 100, 100, 100], 1, vec![2185, 4916, 2185, 2185, 4916]),
            ("xyy", [100, 100, 300, 0, 0], 1, vec![13107, 819, 2458]),
        ] {
            let mut known = Vec::new();
            let mut members: Vec<Member> = Vec::new();
            for (n, zone) in zones.chars().enumerate() {
                members.push(member(n as u64 + 1, weights[n], &zone.to_string()));
                let homes = View::first(1, members.clone()).owners();
                known.resize(homes.len(), Copies::default());
                known = choose(&members, &homes, known, replicas);
                assert_eq!(
                    known,
                    choose(&members, &homes, known.clone(), replicas),
                    "nothing moves without need"
                );
            }
            let loads = loads(&known, members.len());
            assert!(loads.iter().zip(&most).all(|(load, most)| load <= most), "{zones}: {loads:?}");
        }
    }

    #[test]
    fn copies_are_a_short_list() {
        let mut copies = Copies::default();
        assert!(copies.is_empty() && copies.has(NOBODY).is_none());
        for (place, synced) in [(3, true), (1, false), (3, false), (9, true), (7, false), (8, true)] {
            copies.add(place, synced);
        }
        assert_eq!(copies.iter().collect::<Vec<_>>(), [(3, true), (1, false), (9, true), (7, false)]);
        assert_eq!(copies.synced().collect::<Vec<_>>(), [3, 9]);
        assert_eq!((copies.has(1), copies.has(9), copies.has(8)), (Some(false), Some(true), None));
    }
}
