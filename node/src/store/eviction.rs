//! Making room: sampled eviction by Redis's policies.
//!
//! A victim is the worst of a few entries drawn at random (`maxmemory-samples`). The amount of work for one
//! write is bounded; a write that still finds no room is refused.

use super::{
    Reclaim, SHARDS, Settings, Store,
    keyspace::{Entry, Keyspace},
    shard::Shard,
};
use smallvec::SmallVec;
use std::sync::atomic::Ordering;

/// `maxmemory-policy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "Redis's names")]
pub enum Policy {
    NoEviction,
    AllkeysLru,
    AllkeysLfu,
    AllkeysRandom,
    VolatileLru,
    VolatileLfu,
    VolatileRandom,
    VolatileTtl,
}

impl Policy {
    /// All of them, with the names of the setting.
    pub const NAMES: [(&'static str, Self); 8] = [
        ("noeviction", Self::NoEviction),
        ("allkeys-lru", Self::AllkeysLru),
        ("allkeys-lfu", Self::AllkeysLfu),
        ("allkeys-random", Self::AllkeysRandom),
        ("volatile-lru", Self::VolatileLru),
        ("volatile-lfu", Self::VolatileLfu),
        ("volatile-random", Self::VolatileRandom),
        ("volatile-ttl", Self::VolatileTtl),
    ];

    /// The setting's text.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, p)| *p == self).map_or("noeviction", |(name, _)| name)
    }

    /// The policy of that name, in any case.
    pub fn parse(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, p)| *p)
    }

    /// Whether access counters are kept.
    pub fn is_lfu(self) -> bool {
        matches!(self, Self::AllkeysLfu | Self::VolatileLfu)
    }

    fn volatile(self) -> bool {
        matches!(self, Self::VolatileLru | Self::VolatileLfu | Self::VolatileRandom | Self::VolatileTtl)
    }
}

/// Entries evicted at most for one write, so that no client waits for long.
const MOST_PER_WRITE: usize = 64;

/// Draws tried for each entry that is to be compared.
const DRAWS_PER_SAMPLE: usize = 16;
/// Entries looked at one after another when draws find none.
const MOST_WALKED: usize = 1 << 16;

impl Store {
    /// Evicts until memory is within the limit or the work for one write is done. Whether it is within.
    pub fn make_room(&self, now: u64) -> bool {
        let settings = self.settings.load();
        if settings.maxmemory == 0 || self.used_memory() <= settings.maxmemory {
            return true;
        }
        if settings.policy == Policy::NoEviction {
            return false;
        }
        let mut evicted = 0;
        let mut fruitless = 0;
        while self.used_memory() > settings.maxmemory && evicted < MOST_PER_WRITE && fruitless < 2 * SHARDS {
            let turn = self.next_victim.fetch_add(1, Ordering::Relaxed) % SHARDS;
            let mut shard = self.shards[turn].lock();
            if evict_one(&mut shard, &settings, &self.reclaim, now) {
                evicted += 1;
            } else {
                fruitless += 1;
            }
            self.settle(&mut shard);
        }
        // Still above the limit but getting there: the write may go on, the next ones evict further.
        evicted > 0 || self.used_memory() <= settings.maxmemory
    }
}

fn evict_one(shard: &mut Shard, settings: &Settings, reclaim: &Reclaim, now: u64) -> bool {
    let mut worst: Option<(u64, u8, u32)> = None;
    for db in shard.databases() {
        let Some(keys) = shard.keyspace(db) else { continue };
        if keys.len() == 0 || (settings.policy.volatile() && keys.expires() == 0) {
            continue;
        }
        for id in candidates(keys, settings) {
            let badness = badness(&keys.entries[id as usize], settings, now);
            if worst.is_none_or(|(b, _, _)| badness > b) {
                worst = Some((badness, db, id));
            }
        }
    }
    let Some((_, db, id)) = worst else { return false };
    let keys = shard.keyspace_mut(db).expect("the victim was found in it");
    let entry = keys.remove(id);
    shard.unsettled -= entry.charged as i64;
    shard.stats.evicted += 1;
    reclaim.discard(entry.value);
    true
}

/// A few entries that the policy may evict, drawn at random.
fn candidates(keys: &Keyspace, settings: &Settings) -> SmallVec<[u32; 16]> {
    let allowed = |entry: &Entry| !settings.policy.volatile() || entry.expires_at != 0;
    let mut drawn = SmallVec::new();
    // Empty places of the slab are drawn too: draw on until enough entries were seen.
    for _ in 0..settings.samples * DRAWS_PER_SAMPLE {
        let id = rand::random_range(0..keys.entries.capacity());
        if keys.entries.get(id).is_some_and(allowed) {
            drawn.push(id as u32);
            if drawn.len() == settings.samples {
                break;
            }
        }
    }
    if drawn.is_empty() {
        // They are few among many others or among empty places: take the next ones from some slot on.
        let first = rand::random_range(0..keys.slots.len());
        let slots = keys.slots[first..].iter().chain(&keys.slots[..first]);
        let slots = slots.filter(|slot| !settings.policy.volatile() || slot.min_expiry != u64::MAX);
        let ids = slots.flat_map(|slot| slot.ids_from(rand::random_range(0..=slot.buckets()), &keys.entries));
        let ids = ids.take(MOST_WALKED);
        drawn.extend(ids.filter(|id| allowed(&keys.entries[*id as usize])).take(settings.samples));
    }
    drawn
}

/// How much an entry deserves to go. Expired ones go first.
fn badness(entry: &Entry, settings: &Settings, now: u64) -> u64 {
    if entry.expired(now) {
        return u64::MAX;
    }
    match settings.policy {
        Policy::AllkeysLru | Policy::VolatileLru => {
            u64::from((now / 1000) as u32 - entry.accessed.min((now / 1000) as u32))
        }
        Policy::AllkeysLfu | Policy::VolatileLfu => {
            255 - u64::from(decayed_frequency(entry, (now / 1000) as u32, settings))
        }
        Policy::VolatileTtl => u64::MAX - 1 - entry.expires_at,
        // Even odds, whichever database comes first.
        _ => u64::from(rand::random::<u32>()),
    }
}

/// The access counter, one less for each decay period since the last access.
pub(super) fn decayed_frequency(entry: &Entry, seconds: u32, settings: &Settings) -> u8 {
    if settings.lfu_decay_minutes == 0 {
        return entry.frequency;
    }
    let periods = seconds.saturating_sub(entry.accessed) / 60 / settings.lfu_decay_minutes;
    entry.frequency.saturating_sub(periods.min(255) as u8)
}

/// Counts an access: the higher the counter, the less likely it grows (Morris's counter, as in Redis's LFU).
pub(super) fn touch_frequency(entry: &mut Entry, seconds: u32, settings: &Settings) {
    let frequency = decayed_frequency(entry, seconds, settings);
    let base = f64::from(frequency.saturating_sub(5));
    let grow =
        frequency < 255 && rand::random::<f64>() < 1.0 / (base * f64::from(settings.lfu_log_factor) + 1.0);
    entry.frequency = frequency + u8::from(grow);
}
