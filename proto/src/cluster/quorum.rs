//! Who votes, and how many votes decide.

use std::collections::BTreeSet;

use super::mutant::{self, Mutant};
use crate::view::{NodeId, View};

/// Most voters. Each member asks each voter for its lease some times a second, so there are few; a crashed voter is
/// replaced with the next view. (The design paper has up to 63, and with 100 nodes six times the messages.)
pub const MAX_VOTERS: usize = 9;

/// The voters of a view: its oldest members.
pub fn voters(view: &View) -> impl Iterator<Item = NodeId> {
    view.members.iter().take(MAX_VOTERS).map(|m| m.id)
}

/// Whether `node` votes in `view`.
pub fn votes(view: &View, node: NodeId) -> bool {
    voters(view).any(|v| v == node)
}

/// Whether these are enough of `view`'s voters: more than half, or half with the oldest. Any two such sets have a
/// member in common.
pub fn decides(view: &View, who: &BTreeSet<NodeId>) -> bool {
    let (mut all, mut count, mut oldest) = (0, 0, false);
    for (i, voter) in voters(view).enumerate() {
        all += 1;
        if who.contains(&voter) {
            count += 1;
            oldest |= i == 0;
        }
    }
    2 * count + usize::from(oldest || mutant::off(Mutant::HalfDecides)) > all
}
