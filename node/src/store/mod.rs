//! The store: keys, expiry, eviction, memory accounting, behind one lock per shard.
//!
//! A slot lives wholly in one shard, and a shard's lock is held for one command at a time, so a command on
//! the keys of one slot is atomic. Commands on several slots lock their shards in ascending order
//! ([`Store::lock`]); that is the only order in which two shard locks are ever taken together.
//!
//! This module never parses requests or writes replies.

mod accounts;
mod audit;
mod blob;
mod compaction;
mod db;
mod edit;
mod eviction;
mod few;
mod gate;
mod ghost;
mod growth;
mod held;
mod huge;
mod incoming;
mod index;
mod item;
mod keyspace;
mod landing;
mod leftover;
mod line;
mod lines;
mod litter;
mod log;
mod pool;
mod prefetch;
mod prepared;
mod reclaim;
mod scan;
mod scarce;
mod shard;
mod splice;
mod sweep;
mod tap;
mod taps;
mod text;
mod together;
mod ttl;
mod whole;

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};

use ahash::RandomState;
use arc_swap::ArcSwap;
pub use db::{Db, Expiry, Scanned};
pub use edit::Edit;
pub(crate) use eviction::far_above;
pub use eviction::{Easing, Policy};
pub use gate::Gate;
pub(crate) use held::Guards;
pub use held::{Held, Seen};
pub use incoming::SlotStats;
pub(crate) use incoming::{Charge, Incoming};
pub use landing::{LEAST_LANDED, Landed, Landing};
use parking_lot::Mutex;
pub use prefetch::Ahead;
use prefetch::Hints;
pub(crate) use prefetch::prefetch_at;
pub use prepared::{LEAST_PREPARED, Prepared};
pub use reclaim::Reclaim;
pub use scan::{SlotSet, contains, cursor_slot, slot_cursor};
use shard::Shard;
pub use shard::Stats;
use shoal_proto::{
    cluster::Emptying,
    error::Result,
    slot::{SLOTS, key_slot},
};
use smallvec::SmallVec;
pub(crate) use splice::Small;
use std::sync::Arc;
pub use sweep::Sweep;
pub use tap::Copied;
pub(crate) use tap::{Effect, PIECE};
pub use text::Text;

use crate::{command::Wait, handoff::Outbox, heap::Keeper, value::Encodings};
use whole::Taken;

/// Numbered databases.
pub const DATABASES: usize = 16;
/// Locks. A power of two; slots are spread over shards by their low bits.
pub const SHARDS: usize = 64;

/// Settings that commands read at every turn.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Bytes that keys and values may take; 0 means no limit.
    pub maxmemory: u64,
    /// What is evicted when they would take more.
    pub policy: Policy,
    /// When collections stay packed.
    pub encodings: Encodings,
    /// Longest string (`proto-max-bulk-len`).
    pub max_string: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            maxmemory: 0,
            policy: Policy::NoEviction,
            encodings: Encodings::default(),
            max_string: 512 << 20,
        }
    }
}

/// All keys of one node.
#[derive(Debug)]
pub struct Store {
    shards: Box<[Mutex<Shard>]>,
    hasher: RandomState,
    pool: pool::Pool,
    settings: ArcSwap<Settings>,
    /// Their `maxmemory`, for every write to read.
    limit: AtomicU64,
    /// Bytes held by keys and values of all shards.
    used: AtomicI64,
    used_peak: AtomicU64,
    /// Bytes that hold nothing at the moment: of dead items, of the index where it has room, of ghosts.
    lost: AtomicI64,
    /// Bytes that the process holds beyond these, as measured: they count against the limit as well.
    padding: AtomicU64,
    keeper: Mutex<Keeper>,
    /// Bytes that were evicted, so that others could take their place.
    evicted_bytes: AtomicU64,
    /// What [`taken`](Self::taken) is when what is resident is looked at next.
    next_look: AtomicU64,
    /// Bytes accounted for at the least since the limit was lowered: as much as writes may leave, see [`tolerate`](Self::tolerate).
    ceiling: AtomicU64,
    /// A shard's log is nearly full: writes are refused.
    full: AtomicBool,
    next_victim: AtomicUsize,
    /// Whether memory is not short, as was seen last.
    ample: AtomicBool,
    /// A bit for each shard in which something could be squeezed out.
    littered: AtomicU64,
    /// The shard that is asked first for that.
    next_squeezed: AtomicUsize,
    /// The shard from which [`drop_left`](Self::drop_left) goes on.
    next_left: AtomicUsize,
    reclaim: Reclaim,
    /// Bytes of values on their way in that are in no shard yet.
    incoming: Arc<AtomicI64>,
    /// See [`clock_floor`](Self::clock_floor).
    floor: AtomicU64,
    /// Taps that replies wait for.
    waited: AtomicUsize,
    hints: Hints,
}

/// A key of a request and where it belongs, computed once.
#[derive(Debug, Clone, Copy)]
pub struct Located<'k> {
    pub(crate) bytes: &'k [u8],
    /// Its slot.
    pub slot: u16,
    pub(crate) hash: u32,
}

/// The shard that holds `slot`.
#[inline]
pub fn shard_of(slot: u16) -> usize {
    usize::from(slot) % SHARDS
}

/// Slots per shard.
pub(crate) const SLOTS_PER_SHARD: usize = SLOTS as usize / SHARDS;

impl Store {
    /// An empty store. Hash seeds are drawn anew for every process, so that no client can aim at one bucket.
    pub fn new(settings: Settings) -> Self {
        let hasher = RandomState::new();
        let size = segment_size(settings.maxmemory);
        let pool = pool::Pool::default();
        let reclaim = Reclaim::default();
        let shard = |number| {
            let mut shard = Shard::new(number, hasher.clone(), pool.clone(), size, &reclaim);
            shard.hand.configure(&settings);
            shard.encodings = settings.encodings;
            Mutex::new(shard)
        };
        Self {
            shards: (0..SHARDS).map(shard).collect(),
            hasher,
            pool,
            settings: ArcSwap::from_pointee(settings),
            limit: AtomicU64::new(settings.maxmemory),
            used: AtomicI64::new(0),
            used_peak: AtomicU64::new(0),
            lost: AtomicI64::new(0),
            padding: AtomicU64::new(0),
            keeper: Mutex::new(Keeper::new(0)),
            evicted_bytes: AtomicU64::new(0),
            next_look: AtomicU64::new(0),
            ceiling: AtomicU64::new(0),
            full: AtomicBool::new(false),
            next_victim: AtomicUsize::new(0),
            ample: AtomicBool::new(false),
            littered: AtomicU64::new(0),
            next_squeezed: AtomicUsize::new(0),
            next_left: AtomicUsize::new(0),
            reclaim,
            incoming: Arc::default(),
            floor: AtomicU64::new(0),
            waited: AtomicUsize::new(0),
            hints: Hints::default(),
        }
    }

    /// Whether memory is not short, as far as is known.
    #[inline]
    fn is_ample(&self) -> bool {
        self.ample.load(Ordering::Relaxed)
    }

    /// The settings in force.
    pub fn settings(&self) -> Settings {
        **self.settings.load()
    }

    /// Where large values are dropped.
    pub fn reclaim(&self) -> &Reclaim {
        &self.reclaim
    }

    /// Changes settings while serving.
    pub fn configure(&self, change: impl Fn(&mut Settings)) {
        self.settings.rcu(|old| {
            let mut new = **old;
            change(&mut new);
            Arc::new(new)
        });
        let settings = self.settings();
        self.tolerate();
        self.limit.store(settings.maxmemory, Ordering::Relaxed);
        for shard in &self.shards {
            let mut shard = shard.lock();
            shard.hand.configure(&settings);
            shard.encodings = settings.encodings;
            shard.log.set_segment_size(segment_size(settings.maxmemory));
        }
    }

    #[inline]
    fn hash(&self, key: &[u8]) -> u32 {
        self.hasher.hash_one(key) as u32
    }

    /// Where a key belongs.
    #[inline]
    pub fn locate<'k>(&self, bytes: &'k [u8]) -> Located<'k> {
        Located { bytes, slot: key_slot(bytes), hash: self.hash(bytes) }
    }

    /// Locks the shard of one slot.
    #[inline]
    pub fn lock_slot(&self, db: u8, slot: u16, now: u64) -> Db<'_> {
        Db::on(self, self.guard(slot), (db, now), (Some(slot), &[]))
    }

    #[inline]
    fn guard(&self, slot: u16) -> Guards<'_> {
        let shard = shard_of(slot);
        Guards::Locked(SmallVec::from_buf([(shard, self.shards[shard].lock())]))
    }

    /// Locks the shards of a command's keys, in ascending order. The usual case is one.
    #[inline]
    pub fn lock<'a>(&'a self, db: u8, keys: &'a [Located<'a>], now: u64) -> Db<'a> {
        match keys {
            [key] => Db::on(self, self.guard(key.slot), (db, now), (Some(key.slot), keys)),
            keys => {
                let mut wanted: SmallVec<[usize; 16]> = keys.iter().map(|key| shard_of(key.slot)).collect();
                wanted.sort_unstable();
                wanted.dedup();
                let guards = wanted.into_iter().map(|i| (i, self.shards[i].lock())).collect();
                Db::on(self, Guards::Locked(guards), (db, now), (None, keys))
            }
        }
    }

    /// Locks everything: for commands that may touch any key. Stops all other commands meanwhile.
    pub fn lock_all(&self, db: u8, now: u64) -> Db<'_> {
        let guards = self.shards.iter().enumerate().map(|(i, s)| (i, s.lock())).collect();
        Db::new(self, Guards::Locked(guards), db, now)
    }

    /// Runs `f` on each shard in turn, one lock at a time.
    pub(crate) fn each_shard(&self, mut f: impl FnMut(usize, &mut Shard)) {
        for (i, shard) in self.shards.iter().enumerate() {
            let mut guard = shard.lock();
            f(i, &mut guard);
            self.settle(&mut guard);
        }
    }

    /// Adds a shard's unreported change of memory to the total.
    #[inline]
    pub(crate) fn settle(&self, shard: &mut Shard) {
        let (delta, lost) = shard.settle();
        if delta != 0 {
            let before = self.used.fetch_add(delta, Ordering::Relaxed);
            // While it grows the peak is what is used.
            if delta < 0 && before > self.used_peak.load(Ordering::Relaxed) as i64 {
                self.used_peak.fetch_max(before as u64, Ordering::Relaxed);
            }
        }
        if lost != 0 {
            self.lost.fetch_add(lost, Ordering::Relaxed);
        }
        if shard.log.is_littered(log::LITTERED) != shard.littered {
            self.note_litter(shard);
        }
        if shard.log.is_nearly_full() != self.full.load(Ordering::Relaxed) {
            self.watch_fullness(shard);
        }
    }

    /// One shard's log is nearly full, or may not be any more.
    #[cold]
    fn watch_fullness(&self, shard: &Shard) {
        // The flag is one for all shards: a shard that is not full must not clear what another has set.
        if shard.log.is_nearly_full() {
            self.full.store(true, Ordering::Relaxed);
        } else if self.shards.iter().all(|s| s.try_lock().is_none_or(|s| !s.log.is_nearly_full())) {
            self.full.store(false, Ordering::Relaxed);
        }
    }

    /// Bytes that keys and values take, and bytes lost around them: what is held against the limit.
    #[inline]
    pub fn held_memory(&self) -> u64 {
        self.accounted() + self.padding()
    }

    /// The same without what was measured: of which the store itself knows.
    #[inline]
    pub fn accounted(&self) -> u64 {
        let lost = self.lost.load(Ordering::Relaxed) + self.incoming.load(Ordering::Relaxed);
        (self.used.load(Ordering::Relaxed) + lost).max(0) as u64
    }

    /// Bytes of the pool of segments and large strings that are in use, and those that are kept for new ones.
    pub fn pooled_memory(&self) -> (usize, usize) {
        self.shards[0].lock().log.pool().resident()
    }

    /// Bytes that keys and values take.
    pub fn used_memory(&self) -> u64 {
        self.used.load(Ordering::Relaxed).max(0) as u64
    }

    /// The most that [`used_memory`](Self::used_memory) has been.
    pub fn used_memory_peak(&self) -> u64 {
        self.used_peak.load(Ordering::Relaxed).max(self.used_memory())
    }

    /// Keys in database `db` that commands see, and how many of them have an expiry.
    pub fn len(&self, db: u8) -> (usize, usize) {
        let mut total = (0, 0);
        self.each_shard(|_, shard| {
            let (keys, expires) = shard.visible(db);
            total.0 += keys;
            total.1 += expires;
        });
        total
    }

    /// Keys of `slot` in database `db`.
    pub fn slot_len(&self, db: u8, slot: u16) -> usize {
        let shard = self.shards[shard_of(slot)].lock();
        let keys = shard.keyspace(shard.space(db)).filter(|_| shard.shows(keyspace::local(slot)));
        keys.map_or(0, |keys| keys.slot(slot).len())
    }

    /// Up to `count` keys of `slot` in database `db`.
    pub fn slot_keys(&self, db: u8, slot: u16, count: usize) -> Vec<Vec<u8>> {
        let shard = self.shards[shard_of(slot)].lock();
        let keys = shard.keyspace(shard.space(db)).filter(|_| shard.shows(keyspace::local(slot)));
        let Some(keys) = keys else { return Vec::new() };
        keys.slot(slot).handles().take(count).map(|handle| shard.key(handle).to_vec()).collect()
    }

    /// Counters since the start or the last reset, summed over all shards.
    pub fn stats(&self) -> Stats {
        let mut total = Stats::default();
        self.each_shard(|_, shard| total.add(&shard.stats));
        total
    }

    /// Sets the counters to zero, but not that of changes, which others compare with what they saw before.
    pub fn reset_stats(&self) {
        self.each_shard(|_, shard| shard.stats = Stats { dirty: shard.stats.dirty, ..Stats::default() });
        self.reclaim.reset_freed();
    }

    /// Empties database `db`, or all of them, one shard at a time. What was there is returned, to be dropped where a
    /// long drop disturbs nobody, or left to [`drop_left`](Self::drop_left). Slots that are not served here keep what they hold.
    ///
    /// A slot that is held may be its target's already: it is emptied here, and the target is told to, in the stream
    /// that brought it. `wait` is called with these streams, and up to where the other end must have put each into effect
    /// before the flush is done.
    ///
    /// # Errors
    /// [`Error::Held`](shoal_proto::Error::Held) if a target cannot be told at present: nothing was emptied.
    pub fn flush(&self, db: Option<u8>, mut wait: impl FnMut(&Arc<Outbox>, u64)) -> Result<Flushed> {
        self.shards.iter().try_for_each(|shard| shard.lock().check_held_are_told())?;
        let mut flushed = Vec::new();
        for shard in &self.shards {
            let mut shard = shard.lock();
            shard.tell_clear(db);
            shard.held_taps().for_each(|(outbox, position)| wait(outbox, position));
            flushed.push(shard.take_visible(db));
            self.settle(&mut shard);
        }
        Ok(Flushed(flushed))
    }

    /// Empties a slot that is served here, in one database or all, because whoever handed it over was told to. Whether it is
    /// served, and whoever may have it next can be told. `wait` is called with the streams to its copies and to its target, if it is held, and up
    /// to where each must have been applied before they have it.
    pub fn flush_slot(&self, slot: u16, db: Option<u8>, mut wait: impl FnMut(Wait)) -> bool {
        let mut shard = self.shards[shard_of(slot)].lock();
        let Some(emptying) = shard.emptying_taken(slot) else { return false };
        shard.tell_clear_of(slot, db);
        shard.flush_slot(slot, db, &self.reclaim);
        let strict = emptying == Emptying::Followed;
        let mut wait = |(outbox, position): (&Arc<Outbox>, u64)| {
            wait(Wait { outbox: outbox.clone(), position, strict });
        };
        if strict {
            shard.taps_of(slot).for_each(&mut wait);
        } else {
            shard.waits(slot).for_each(&mut wait);
        }
        self.settle(&mut shard);
        true
    }

    /// Exchanges two databases at one instant, but not in slots that are not served here.
    ///
    /// # Errors
    /// [`Error::Held`](shoal_proto::Error::Held) if it must wait for a slot.
    pub fn swap(&self, a: u8, b: u8) -> Result {
        let mut all = gate::lock_all(&self.shards);
        all.iter().try_for_each(|shard| shard.gates.check_none_held())?;
        for shard in &mut all {
            shard.tell_swap(a, b);
            shard.swap(a, b);
            self.settle(shard);
        }
        Ok(())
    }

    /// A key of database `db`, drawn evenly; expired keys are not drawn.
    pub fn random_key(&self, db: u8, now: u64) -> Option<Vec<u8>> {
        // Expired keys that the sweep has not reached yet can be drawn: draw again, a bounded number of times.
        for _ in 0..100 {
            let mut lens = Vec::with_capacity(SHARDS);
            self.each_shard(|_, shard| lens.push(shard.visible(db).0));
            let total: usize = lens.iter().sum();
            if total == 0 {
                return None;
            }
            let mut pick = rand::random_range(0..total);
            for (i, len) in lens.into_iter().enumerate() {
                if pick < len {
                    let shard = self.shards[i].lock();
                    let drawn = shard.random(shard.space(db));
                    if let Some(handle) = drawn.filter(|handle| !shard.item(*handle).expired(now)) {
                        return Some(shard.key(handle).to_vec());
                    }
                    break;
                }
                pick -= len;
            }
        }
        // Nearly all have expired: take one that has not.
        let mut found = None;
        self.each_key(db, now, |key| {
            found.get_or_insert_with(|| key.to_vec());
        });
        found
    }
}

/// Segments are smaller where memory is little, so that those which are not full take a small part of it.
fn segment_size(maxmemory: u64) -> usize {
    match maxmemory >> 20 {
        _ if maxmemory == 0 => log::LARGEST_SEGMENT,
        0..8 => log::SMALLEST_SEGMENT,
        8..256 => log::LARGEST_SEGMENT / 4,
        256..1024 => log::LARGEST_SEGMENT / 2,
        _ => log::LARGEST_SEGMENT,
    }
}

/// What a flush has taken out.
#[derive(Debug)]
pub struct Flushed(Vec<Taken>);

impl Flushed {
    /// Keys that were flushed.
    pub fn len(&self) -> usize {
        self.0.iter().map(|taken| taken.keys).sum()
    }

    /// Those of them that go when this is dropped.
    pub(crate) fn held(&self) -> usize {
        self.0.iter().map(|taken| taken.keys - taken.left).sum()
    }

    /// Bytes that come back when this is dropped.
    pub(crate) fn bytes(&self) -> usize {
        self.0.iter().map(|taken| taken.bytes).sum()
    }

    /// Drops one part after the other; `freed` is told how many bytes that has brought.
    pub(crate) fn drop_each(self, mut freed: impl FnMut(usize)) {
        for taken in self.0 {
            let bytes = taken.bytes;
            drop(taken);
            freed(bytes);
        }
    }

    /// Whether there were none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
