//! Expiry in the background: memory of expired keys comes back without being touched.
//!
//! Each slot knows a lower bound of its expiry times, so slots with nothing due cost one comparison.

use smallvec::SmallVec;

use super::{Reclaim, Store, keyspace::Keyspace, shard::Shard};

/// Buckets looked at under one hold of a shard's lock.
const BUCKETS_PER_HOLD: usize = 512;

/// A walk over all shards that goes on where it stopped.
#[derive(Debug, Default)]
pub struct Sweep {
    shard: usize,
    /// Shards finished in this round.
    finished: usize,
}

impl Store {
    /// Removes expired keys from the next shards, for at most `holds` holds of a lock. Returns how many
    /// keys went, and whether the round over all shards has more to do; if not, the next call begins another.
    pub fn sweep(&self, sweep: &mut Sweep, now: u64, holds: usize) -> (u64, bool) {
        let mut removed = 0;
        for _ in 0..holds {
            let mut shard = self.shards[sweep.shard].lock();
            let (gone, more) = sweep_shard(&mut shard, &self.reclaim, now);
            removed += gone;
            self.settle(&mut shard);
            if !more {
                sweep.shard = (sweep.shard + 1) % self.shards.len();
                sweep.finished += 1;
                if sweep.finished == self.shards.len() {
                    sweep.finished = 0;
                    return (removed, false);
                }
            }
        }
        (removed, true)
    }
}

fn sweep_shard(shard: &mut Shard, reclaim: &Reclaim, now: u64) -> (u64, bool) {
    let mut removed = 0;
    let mut left = BUCKETS_PER_HOLD;
    let mut more = false;
    for db in shard.databases() {
        let Some(keys) = shard.keyspace_mut(db) else { continue };
        if keys.min_expiry > now {
            continue;
        }
        let before = keys.charged;
        removed += sweep_keyspace(keys, reclaim, now, &mut left);
        let delta = keys.charged - before;
        shard.unsettled += delta;
        // A walk through a large slot that began earlier may have passed keys that are due by now.
        more |= shard.keyspace(db).is_some_and(|keys| keys.min_expiry <= now);
        if left == 0 {
            more = true;
            break;
        }
    }
    shard.stats.expired += removed;
    (removed, more)
}

fn sweep_keyspace(keys: &mut Keyspace, reclaim: &Reclaim, now: u64, left: &mut usize) -> u64 {
    let mut removed = 0;
    let mut next_due = u64::MAX;
    for i in 0..keys.slots.len() {
        if keys.slots[i].min_expiry <= now {
            if *left == 0 {
                // Come back for this one.
                return removed;
            }
            removed += sweep_slot(keys, i, reclaim, now, left);
        }
        next_due = next_due.min(keys.slots[i].min_expiry);
    }
    keys.min_expiry = next_due;
    removed
}

fn sweep_slot(keys: &mut Keyspace, i: usize, reclaim: &Reclaim, now: u64, left: &mut usize) -> u64 {
    let mut removed = 0;
    // Buckets are walked downwards: a removal may merge the last bucket into one further down.
    let table = &mut keys.slots[i];
    let mut at = match table.sweep_at {
        0 => table.begin_sweep(),
        at => table.buckets().min(at as usize),
    };
    while at > 0 && *left > 0 {
        at -= 1;
        *left -= 1;
        let mut due: SmallVec<[u32; 8]> = SmallVec::new();
        let mut later = u64::MAX;
        for id in keys.slots[i].bucket(&keys.entries, at) {
            let entry = &keys.entries[id as usize];
            if entry.expired(now) {
                due.push(id);
            } else if entry.expires_at != 0 {
                later = later.min(entry.expires_at);
            }
        }
        let table = &mut keys.slots[i];
        table.swept_min = table.swept_min.min(later);
        for id in due {
            reclaim.discard(keys.remove(id).value);
            removed += 1;
        }
    }
    keys.slots[i].sweep_at = at as u32;
    if at == 0 {
        keys.slots[i].finish_sweep();
    }
    removed
}
