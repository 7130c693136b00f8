//! Placement: which node owns which slot, given who owned them before.
//!
//! Sticky and contiguous: every node gets its weighted share within one slot, no slot moves unless a share
//! demands it, and what moves is cut from the edges of runs so that tables stay short. Called by
//! [`View::next`](super::View::next). A pure function of its arguments: no hashing, no randomness, so any two
//! nodes that start from the same view compute the same table.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::{Member, View};
use crate::slot::SLOTS;

/// A run of slots with one owner: a place in `members`, or nobody (a member that is gone).
#[derive(Debug, Clone, Copy)]
struct Run {
    len: usize,
    owner: Option<usize>,
}

/// For each slot the owner's place in `members`; `u16::MAX` everywhere if there are no members.
///
/// A node that comes back under its name (same `node`, newer `boot`) while the previous view still holds it keeps
/// its slots: nobody else has to give any up. Once a view without it was made, it is new like any other. Costs O(moves x runs).
pub(super) fn place(previous: Option<&View>, members: &[Member]) -> Vec<u16> {
    let slots = usize::from(previous.map_or(SLOTS, View::slots));
    if members.is_empty() {
        return vec![u16::MAX; slots];
    }
    let mut runs = inherited(previous, members, slots);
    let mut counts = vec![0usize; members.len()];
    for run in &runs {
        if let Some(owner) = run.owner {
            counts[owner] += run.len;
        }
    }
    let quotas = quotas(members, &counts, slots);
    let mut surplus: Vec<usize> = counts.iter().zip(&quotas).map(|(c, q)| c.saturating_sub(*q)).collect();
    let mut receivers: Vec<(usize, usize)> =
        (0..members.len()).filter(|i| quotas[*i] > counts[*i]).map(|i| (i, quotas[i] - counts[i])).collect();
    // A first table is laid out in order of age; later the largest need chooses first, and with it whole runs.
    if previous.is_some_and(|v| !v.members.is_empty()) {
        receivers.sort_by_key(|(i, need)| (Reverse(*need), *i));
    }
    for (receiver, mut need) in receivers {
        while need > 0 {
            need -= take(&mut runs, &mut surplus, receiver, need);
        }
    }
    let mut owners = Vec::with_capacity(slots);
    for run in &runs {
        let owner = run.owner.expect("the quotas add up to all slots, so every run was given out");
        owners.resize(owners.len() + run.len, owner as u16);
    }
    owners
}

/// The previous table with owners renamed to their places in `members`.
fn inherited(previous: Option<&View>, members: &[Member], slots: usize) -> Vec<Run> {
    let places: BTreeMap<u64, usize> = members.iter().enumerate().map(|(i, m)| (m.id.node, i)).collect();
    let mut runs: Vec<Run> = Vec::new();
    let mut push = |len: usize, owner: Option<usize>| match runs.last_mut() {
        Some(run) if run.owner == owner => run.len += len,
        _ if len > 0 => runs.push(Run { len, owner }),
        _ => {}
    };
    let mut covered = 0;
    for (first, last, owner) in previous.iter().flat_map(|view| view.runs()) {
        push(usize::from(last - first) + 1, owner.and_then(|m| places.get(&m.id.node).copied()));
        covered = usize::from(last) + 1;
    }
    push(slots - covered, None);
    runs
}

/// How many slots each member shall have: the exact share rounded down, and the slots left over to members
/// whose share was rounded, first to those that would otherwise have to give one up.
fn quotas(members: &[Member], counts: &[usize], all: usize) -> Vec<usize> {
    let total: u64 = members.iter().map(|m| u64::from(m.weight)).sum();
    // Weights of zero everywhere say nothing; then all are equal.
    let weight = |m: &Member| if total == 0 { 1 } else { u64::from(m.weight) };
    let total = if total == 0 { members.len() as u64 } else { total };
    let slots = all as u64;
    let mut quotas: Vec<usize> = members.iter().map(|m| (slots * weight(m) / total) as usize).collect();
    let mut rounded: Vec<usize> =
        (0..members.len()).filter(|i| !(slots * weight(&members[*i])).is_multiple_of(total)).collect();
    rounded.sort_by_key(|i| (Reverse(counts[*i] > quotas[*i]), *i));
    let left = all - quotas.iter().sum::<usize>();
    for i in rounded.into_iter().take(left) {
        quotas[i] += 1;
    }
    quotas
}

/// Gives `receiver` at most `need` slots out of one run that may give; returns how many.
///
/// Preferred in this order: what touches a run of the receiver (no new range), a run that is used up (a
/// range less), the longest piece, the lowest slots.
fn take(runs: &mut Vec<Run>, surplus: &mut [usize], receiver: usize, need: usize) -> usize {
    let mut best: Option<((u8, usize), usize)> = None;
    for (i, run) in runs.iter().enumerate() {
        let len = run.owner.map_or(run.len, |o| run.len.min(surplus[o])).min(need);
        if len == 0 {
            continue;
        }
        let touches = touches_left(runs, i, receiver) || touches_right(runs, i, receiver);
        let score = (2 * u8::from(touches) + u8::from(len == run.len), len);
        if best.is_none_or(|(b, _)| score > b) {
            best = Some((score, i));
        }
    }
    let ((_, len), i) = best.expect("what receivers need is what others have too much of");
    if let Some(owner) = runs[i].owner {
        surplus[owner] -= len;
    }
    // Slots that nobody owns are given out from the left, so that a first table is in order of age.
    let unowned = runs[i].owner.is_none() && !touches_right(runs, i, receiver);
    let cut_left = touches_left(runs, i, receiver) || unowned;
    runs[i].len -= len;
    let at = if cut_left { i } else { i + 1 };
    runs.insert(at, Run { len, owner: Some(receiver) });
    merge(runs);
    len
}

fn touches_left(runs: &[Run], i: usize, receiver: usize) -> bool {
    i > 0 && runs[i - 1].owner == Some(receiver)
}

fn touches_right(runs: &[Run], i: usize, receiver: usize) -> bool {
    runs.get(i + 1).is_some_and(|run| run.owner == Some(receiver))
}

/// Drops empty runs and joins neighbours with one owner.
fn merge(runs: &mut Vec<Run>) {
    runs.retain(|run| run.len > 0);
    runs.dedup_by(|next, run| {
        let same = next.owner == run.owner;
        if same {
            run.len += next.len;
        }
        same
    });
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::view::NodeId;

    fn member(node: u64, boot: u64, weight: u16) -> Member {
        Member { weight, ..Member::sample(NodeId { node, boot }) }
    }

    /// The least number of slots that must change hands: slots of members that are gone, and what the others
    /// have beyond their (rounded up, as far as there are slots left over) share.
    fn least_moves(owners: &[Option<u64>], members: &[Member]) -> usize {
        let mut counts: BTreeMap<u64, usize> = members.iter().map(|m| (m.id.node, 0)).collect();
        let mut orphans = 0;
        for owner in owners {
            match owner.and_then(|o| counts.get_mut(&o)) {
                Some(count) => *count += 1,
                None => orphans += 1,
            }
        }
        let counts: Vec<usize> = members.iter().map(|m| counts[&m.id.node]).collect();
        let total: usize = members.iter().map(|m| usize::from(m.weight)).sum();
        let slots = usize::from(SLOTS);
        let floors: Vec<usize> = members.iter().map(|m| slots * usize::from(m.weight) / total).collect();
        let left = slots - floors.iter().sum::<usize>();
        let over: usize = counts.iter().zip(&floors).map(|(c, f)| c.saturating_sub(*f)).sum();
        let savable = members
            .iter()
            .zip(counts.iter().zip(&floors))
            .filter(|(m, (c, f))| c > f && !(slots * usize::from(m.weight)).is_multiple_of(total))
            .count();
        orphans + over - savable.min(left)
    }

    fn owner_nodes(view: &View) -> Vec<Option<u64>> {
        view.owners().iter().map(|o| view.members.get(usize::from(*o)).map(|m| m.id.node)).collect()
    }

    fn assert_quotas(view: &View) {
        let total: u64 = view.members.iter().map(|m| u64::from(m.weight)).sum();
        for (i, m) in view.members.iter().enumerate() {
            let exact = f64::from(SLOTS) * f64::from(m.weight) / total as f64;
            let has: usize = view.ranges(i).iter().map(|(a, b)| usize::from(b - a) + 1).sum();
            assert!((has as f64 - exact).abs() < 1.0, "{has} instead of {exact}");
        }
    }

    #[test]
    fn first_table_is_in_order_of_age() {
        let view = View::first(1, vec![member(9, 2, 100), member(5, 1, 100), member(7, 3, 200)]);
        assert_eq!(view.members.iter().map(|m| m.id.node).collect::<Vec<_>>(), [5, 9, 7]);
        assert_eq!(view.ranges(0), [(0, 4095)]);
        assert_eq!(view.ranges(1), [(4096, 8191)]);
        assert_eq!(view.ranges(2), [(8192, 16383)]);
    }

    #[test]
    fn nobody_owns_anything_without_members() {
        let view = View::first(1, Vec::new());
        assert!(!view.covers_all());
        let view = view.next(vec![member(1, 1, 0)]);
        assert!(view.covers_all(), "weights of zero are equal weights");
    }

    #[test]
    fn a_restarted_node_gets_its_slots_back() {
        let before = View::first(1, (1..=5).map(|n| member(n, n, 100)).collect());
        let after = before.next((1..=5).map(|n| member(n, if n == 2 { 77 } else { n }, 100)).collect());
        assert_eq!(owner_nodes(&before), owner_nodes(&after));
        assert_eq!(after.epoch, before.epoch + 1);
        assert_eq!(after.members[4].id, NodeId { node: 2, boot: 77 });
    }

    #[test]
    fn a_thousand_members_lose_one_and_gain_one() {
        let members: Vec<Member> = (1..=1000).map(|n| member(n, n, 100)).collect();
        let first = View::first(1, members.clone());
        assert_eq!(first.runs().count(), 1000);
        let lost = first.next(members[..999].to_vec());
        let moved = first.owners().iter().zip(lost.owners()).filter(|(a, b)| *a != b).count();
        assert_eq!(moved, first.ranges(999).iter().map(|(a, b)| usize::from(b - a) + 1).sum::<usize>());
        let gained = lost.next([&members[..999], &[member(5000, 5000, 100)]].concat());
        assert_quotas(&gained);
        assert!(gained.runs().count() < 1100);
    }

    #[test]
    fn tables_stay_short_over_many_changes() {
        let mut members: Vec<Member> = (1..=3).map(|n| member(n * 7919 % 1009, n, 100)).collect();
        let mut view = View::first(1, members.clone());
        let (mut sum, mut seed) = (0, 1u64);
        for boot in 10..210 {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let grow = members.len() <= 3 || (members.len() < 12 && seed >> 63 == 1);
            if grow {
                members.push(member(boot * 7919 % 1009, boot, 100));
            } else {
                members.remove((seed >> 33) as usize % members.len());
            }
            view = view.next(members.clone());
            sum += view.runs().count();
        }
        assert!(sum / 200 < 60, "{} runs on average", sum / 200);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn quotas_are_met_with_the_fewest_moves(
            steps in proptest::collection::vec(proptest::collection::btree_map(0u64..24, 1u16..5, 1..16), 2..6),
        ) {
            let members = |s: &BTreeMap<u64, u16>| s.iter().map(|(n, w)| member(*n, 1, w * 50)).collect::<Vec<_>>();
            let mut view = View::first(7, members(&steps[0]));
            assert_quotas(&view);
            for step in &steps[1..] {
                let next = view.next(members(step));
                prop_assert!(next.covers_all());
                prop_assert_eq!(next.check(), Ok(()));
                assert_quotas(&next);
                let (before, after) = (owner_nodes(&view), owner_nodes(&next));
                let moved = before.iter().zip(&after).filter(|(a, b)| a != b).count();
                prop_assert_eq!(moved, least_moves(&before, &next.members));
                prop_assert_eq!(&next, &view.next(members(step)), "the same arguments give the same table");
                view = next;
            }
        }
    }
}
