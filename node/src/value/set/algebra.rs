//! Union, intersection and difference.
//!
//! Each chooses its order of work by the sizes of the sets, as Redis does, so that the cost is that of the smaller
//! side.

use super::Set;
use crate::value::{Encodings, packed::Elem};

/// Adds the members of all `sets` to `into`.
pub fn union(sets: &[&Set], mut into: Set, limits: &Encodings) -> Set {
    for set in sets {
        set.each(|member| {
            into.add_elem(member, limits);
        });
    }
    into
}

/// Visits the members that all `sets` have, until `visit` answers false. There is at least one set.
pub fn intersect<'a>(sets: &[&'a Set], mut visit: impl FnMut(Elem<'a>) -> bool) {
    let mut sets = sets.to_vec();
    sets.sort_by_key(|set| set.len());
    let smallest = sets.remove(0);
    sets.retain(|set| !std::ptr::eq(*set, smallest));
    smallest.each_while(
        |member| {
            if sets.iter().all(|set| set.contains_elem(member)) { visit(member) } else { true }
        },
    );
}

/// Adds to `into` the members of `first` that none of `others` has.
pub fn difference(first: &Set, others: &[&Set], mut into: Set, limits: &Encodings) -> Set {
    if others.iter().any(|set| std::ptr::eq(*set, first)) {
        return into;
    }
    // Either look each member up in the others, or take a copy and remove the others' members from it. The first
    // way does less for members that others have, so its work counts half.
    let by_lookup = first.len() * (others.len() + 1) / 2;
    let by_removal = first.len() + others.iter().map(|set| set.len()).sum::<usize>();
    if by_lookup <= by_removal {
        // The largest set is the likeliest to have a member.
        let mut others = others.to_vec();
        others.sort_by_key(|set| std::cmp::Reverse(set.len()));
        first.each(|member| {
            if !others.iter().any(|set| set.contains_elem(member)) {
                into.add_elem(member, limits);
            }
        });
        return into;
    }
    let mut text = itoa::Buffer::new();
    into = union(&[first], into, limits);
    for other in others {
        other.each(|member| {
            into.remove(member.text(&mut text));
        });
        if into.is_empty() {
            break;
        }
    }
    into
}
