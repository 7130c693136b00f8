//! Expiry in the background: memory of expired keys comes back without being touched.
//!
//! Each slot and each bucket knows a lower bound of its expiry times, so what has nothing due costs one comparison.

use smallvec::SmallVec;

use super::{Gate, Reclaim, Store, log::Handle, prefetch, shard::Shard};

/// Work under one hold of a shard's lock: buckets passed, because nothing in them is due.
const WORK_PER_HOLD: usize = 1024;
/// Looking at the items of a bucket, all of which may go, is as much work as passing so many.
const BUCKET_WORK: usize = 64;
/// The most items that are moved for those which went, under one hold.
const MOVED_PER_HOLD: usize = 256;

/// A walk over all shards that goes on where it stopped.
#[derive(Debug, Default)]
pub struct Sweep {
    shard: usize,
    /// Shards in a row that had nothing more to do.
    finished: usize,
}

impl Store {
    /// Removes expired keys from the next shards, for at most `holds` holds of a lock. Returns how many
    /// keys went, and whether the round over all shards has more to do; if not, the next call begins another. No shard is
    /// locked twice in a row, so that whoever waits for it gets it.
    pub fn sweep(&self, sweep: &mut Sweep, now: u64, holds: usize) -> (u64, bool) {
        let mut removed = 0;
        for _ in 0..holds {
            let mut shard = self.shards[sweep.shard].lock();
            let (gone, more) = sweep_shard(&mut shard, &self.reclaim, now);
            removed += gone;
            self.settle(&mut shard);
            drop(shard);
            sweep.shard = (sweep.shard + 1) % self.shards.len();
            sweep.finished = if more { 0 } else { sweep.finished + 1 };
            if sweep.finished == self.shards.len() {
                sweep.finished = 0;
                return (removed, false);
            }
        }
        (removed, true)
    }
}

fn sweep_shard(shard: &mut Shard, reclaim: &Reclaim, now: u64) -> (u64, bool) {
    let mut removed = 0;
    let mut left = WORK_PER_HOLD;
    let mut more = false;
    shard.drop_empty_spaces();
    for space in shard.used_spaces() {
        if shard.keyspace(space).is_none_or(|keys| keys.min_expiry > now) {
            continue;
        }
        removed += sweep_space(shard, space, reclaim, now, &mut left);
        // A walk through a large slot that began earlier may have passed keys that are due by now.
        more |= shard.keyspace(space).is_some_and(|keys| keys.min_expiry <= now);
        if left == 0 {
            more = true;
            break;
        }
    }
    shard.stats.expired += removed;
    // Segments are emptied of the others when all that is due has gone, or those would be moved only to go next.
    let done = !more && shard.leftovers.is_empty();
    (removed, more || (done && shard.pay_for_swept(MOVED_PER_HOLD, reclaim)))
}

fn sweep_space(shard: &mut Shard, space: u8, reclaim: &Reclaim, now: u64, left: &mut usize) -> u64 {
    let mut removed = 0;
    let mut next_due = u64::MAX;
    for i in 0..super::SLOTS_PER_SHARD {
        let Some(keys) = shard.keyspace(space) else { break };
        if shard.gates.gate_at(i) != Gate::Open {
            continue;
        }
        if keys.slots[i].min_expiry <= now {
            if *left == 0 {
                // Come back for this one.
                return removed;
            }
            removed += sweep_slot(shard, (space, i), reclaim, now, left);
        }
        next_due = next_due.min(shard.keyspace(space).map_or(u64::MAX, |keys| keys.slots[i].min_expiry));
    }
    if let Some(keys) = shard.keyspace_mut(space) {
        keys.min_expiry = next_due;
    }
    removed
}

fn sweep_slot(
    shard: &mut Shard,
    (space, i): (u8, usize),
    reclaim: &Reclaim,
    now: u64,
    left: &mut usize,
) -> u64 {
    let mut removed = 0;
    let Some(keys) = shard.keyspace_mut(space) else { return 0 };
    let slot = &mut keys.slots[i];
    // Buckets are walked downwards: a removal may merge the last bucket into one further down.
    let mut at = match slot.sweep_at {
        0 => slot.begin_sweep(),
        at => slot.buckets().min(at as usize),
    };
    while at > 0 && *left > 0 {
        at -= 1;
        let Some(keys) = shard.keyspace_mut(space) else { break };
        if keys.slots[i].due_of(at) > now {
            keys.slots[i].skipped(at);
            *left -= 1;
            continue;
        }
        *left = left.saturating_sub(BUCKET_WORK);
        removed += sweep_bucket(shard, (space, i, at), reclaim, now);
    }
    if let Some(keys) = shard.keyspace_mut(space) {
        keys.slots[i].sweep_at = at as u32;
        if at == 0 {
            keys.slots[i].finish_sweep();
        }
    }
    removed
}

/// Removes what is due of one bucket. Neither keys nor hashes are looked at: the bucket says where its items are.
fn sweep_bucket(shard: &mut Shard, (space, i, at): (u8, usize, usize), reclaim: &Reclaim, now: u64) -> u64 {
    let Some(keys) = shard.keyspace(space) else { return 0 };
    let mut due: SmallVec<[Handle; 24]> = keys.slots[i].bucket(at).collect();
    // Nobody has used them for long, so each would be waited for.
    due.iter().for_each(|handle| prefetch::prefetch(&shard.item(*handle).0[0]));
    let mut later = u64::MAX;
    due.retain(|handle| match shard.item(*handle).expires_at() {
        0 => false,
        expires_at if expires_at <= now => true,
        expires_at => {
            later = later.min(expires_at);
            false
        }
    });
    if shard.gates.tapped_at(i) {
        for handle in &due {
            let place = shard.place_of(*handle);
            shard.note_gone(place);
        }
    }
    shard.drop_swept((space, i, at), (&due, later), |value| reclaim.discard(value));
    due.len() as u64
}
