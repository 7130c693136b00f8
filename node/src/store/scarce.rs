//! Evicting keys that are few among many which must stay: `volatile-ttl`, and the other `volatile-*` policies when few keys
//! have an expiry.
//!
//! The queues would be walked in vain, so the index is searched instead: its lines say whether anything in them expires. The search
//! goes on where it stopped, so every key with an expiry comes up, and a hold of the lock looks at a bounded number of lines.

use super::{
    Gate, Reclaim, SLOTS_PER_SHARD,
    eviction::{Policy, Task, evict_item},
    shard::{Place, Shard},
};

/// Keys among which the one that goes is chosen.
const SAMPLES: usize = 16;
/// Lines of the index that cost about as much as looking at one item.
const LINES_PER_LOOK: usize = 4;

/// Where a search goes on.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Search {
    space: usize,
    slot: usize,
    bucket: usize,
}

/// Evicts from one shard, which has keys with an expiry, until enough has gone or enough was looked at.
pub(super) fn evict(shard: &mut Shard, policy: Policy, reclaim: &Reclaim, now: u64, task: &mut Task) {
    while task.wanted > 0 && task.left > 0 {
        let Some(place) = choose(shard, policy, now, &mut task.left) else { continue };
        task.wanted -= shard.charge(place.handle) as i64;
        task.evicted += 1;
        evict_item(shard, place, reclaim, now);
        if shard.expires() == 0 {
            return;
        }
    }
}

/// Of the next few keys with an expiry, the one that goes first; `None` if `left` ran out before there was any.
fn choose(shard: &mut Shard, policy: Policy, now: u64, left: &mut usize) -> Option<Place> {
    let spaces = shard.used_spaces();
    let mut at = shard.hand.search;
    let (mut best, mut seen, mut lines) = (None, 0, 0);
    while seen < SAMPLES && *left > 0 {
        lines += 1;
        if lines % LINES_PER_LOOK == 0 {
            *left -= 1;
        }
        at.space %= spaces.len();
        let keys = shard.keyspace(spaces[at.space])?;
        let slot = &keys.slots[at.slot];
        let rules = shard.gates.gate_at(at.slot) == Gate::Open;
        if rules && at.bucket < slot.buckets() && slot.min_expiry != u64::MAX {
            if slot.due_of(at.bucket) != u64::MAX {
                for handle in slot.bucket(at.bucket) {
                    let item = shard.item(handle);
                    if item.expires_at() == 0 {
                        continue;
                    }
                    seen += 1;
                    let rank = match item.expires_at() {
                        at if policy == Policy::VolatileTtl => at,
                        // It is gone for all who ask.
                        at if at <= now => 0,
                        _ => 1 + u64::from(item.credit()),
                    };
                    if best.is_none_or(|(least, _)| rank < least) {
                        best = Some((rank, handle));
                    }
                }
            }
            at.bucket += 1;
        } else {
            (at.slot, at.bucket) = (at.slot + 1, 0);
            if at.slot == SLOTS_PER_SHARD {
                (at.space, at.slot) = (at.space + 1, 0);
            }
        }
    }
    shard.hand.search = at;
    best.map(|(_, handle)| shard.place_of(handle))
}
