//! Making room: S3-FIFO with size credits.
//!
//! New keys enter a small queue (a tenth of the bytes); those that are used there move on to the main queue, the
//! others leave and are remembered by a fingerprint, so that one that comes back soon enters the main queue at
//! once if its size is worth it. Both queues are clocks: an item leaves when it comes to the hand without credit. (Yang et al., "FIFO
//! queues are all you need for cache eviction", SOSP 2023.) Credit is for how many laps an item stays after it was used: the
//! square of the mean size of items, doubled, divided by its own. (If an item's worth falls with its size and with the square root of
//! the time since it was used, it becomes worth less than the others after a time that goes with that square.) So small items, of
//! which more fit, stay longer; this raises the share of requests that hit at
//! the expense of the share of bytes. The work for one write is bounded; a write that still finds no room is refused.
//!
//! Where a limit was lowered, what is above it goes in the background, a hold of a lock at a time ([`Easing`]); writes go on
//! meanwhile, and each takes away at least what the one before it brought.

use std::sync::atomic::Ordering;

use parking_lot::MutexGuard;
use smallvec::SmallVec;

use super::{
    Reclaim, SHARDS, Settings, Store,
    compaction::Price,
    ghost::Ghost,
    log::Queue,
    prefetch,
    scarce::{self, Search},
    shard::{Place, Shard},
};

/// `maxmemory-policy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names of the setting")]
pub enum Policy {
    NoEviction,
    AllkeysS3FifoSize,
    AllkeysS3Fifo,
    AllkeysLru,
    AllkeysLfu,
    AllkeysRandom,
    VolatileS3FifoSize,
    VolatileS3Fifo,
    VolatileLru,
    VolatileLfu,
    VolatileRandom,
    VolatileTtl,
}

impl Policy {
    /// All of them, with the names of the setting.
    pub const NAMES: [(&'static str, Self); 12] = [
        ("noeviction", Self::NoEviction),
        ("allkeys-s3fifo-size", Self::AllkeysS3FifoSize),
        ("allkeys-s3fifo", Self::AllkeysS3Fifo),
        ("allkeys-lru", Self::AllkeysLru),
        ("allkeys-lfu", Self::AllkeysLfu),
        ("allkeys-random", Self::AllkeysRandom),
        ("volatile-s3fifo-size", Self::VolatileS3FifoSize),
        ("volatile-s3fifo", Self::VolatileS3Fifo),
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

    /// What is done under this name: Redis's sampled policies are accepted and mapped to the better ones.
    pub fn effective(self) -> Self {
        match self {
            Self::AllkeysLru | Self::AllkeysLfu | Self::AllkeysRandom => Self::AllkeysS3FifoSize,
            Self::VolatileLru | Self::VolatileLfu | Self::VolatileRandom => Self::VolatileS3FifoSize,
            other => other,
        }
    }

    /// Whether the user chose LFU, whose counter `OBJECT FREQ` shows.
    pub fn is_lfu(self) -> bool {
        matches!(self, Self::AllkeysLfu | Self::VolatileLfu)
    }

    /// Whether only keys with an expiry may go.
    pub(crate) fn is_volatile(self) -> bool {
        matches!(self.effective(), Self::VolatileS3FifoSize | Self::VolatileS3Fifo | Self::VolatileTtl)
    }

    /// Whether a small item earns more than a large one.
    fn sized(self) -> bool {
        matches!(self.effective(), Self::AllkeysS3FifoSize | Self::VolatileS3FifoSize)
    }
}

/// Items evicted at most for one write, so that no client waits for long.
const MOST_PER_WRITE: usize = 64;
/// Items looked at at most for one write.
const MOST_LOOKED_AT: usize = 1024;
/// The same while memory is far above the limit and above what it was before.
const MOST_LOOKED_AT_EVER: usize = 1 << 20;
/// Memory is far above the limit when it is one in this many above.
const FAR_ABOVE: u64 = 50;
/// And so many bytes: what half-full segments and the like come to.
const FAR_BYTES: u64 = 1 << 20;
/// Items looked at under one hold of a shard's lock.
const LOOKED_AT_PER_HOLD: usize = 256;
/// Items looked at for one write that would be refused otherwise.
const MOST_SQUEEZED: usize = 4096;
/// Calls after which the background looks again whether anything may go.
const EASED_AGAIN_AFTER: u32 = 256;
/// Items whose memory is asked for at the same time.
const AT_ONCE: usize = 16;
/// Bytes by which an eviction goes below the limit, so that not every write begins another.
const AHEAD: i64 = 2 << 10;
/// Bytes that go from a shard whose log is full.
const RELIEVED: i64 = 256 << 10;
/// When keys with an expiry are fewer than one in so many, they are looked for by the index instead.
const SCARCE: usize = 16;
/// When so many have stayed where only keys with an expiry may go, the small queue is looked at whatever its share.
const MOST_STAYING: usize = 1024;
/// The small queue's share of the bytes, one in this many.
const SMALL_SHARE: i64 = 10;
/// The most credit that a hit earns. With it an item moves from the small queue to the main one, and pays all of it for that.
pub(super) const FULL_CREDIT: u8 = 4;
/// How many times as large as the mean an item may be to earn one lap with a hit. One of mean size earns full credit.
const HIT: f32 = 2.0;
/// The same for a key that comes back after it was evicted.
const RETURN: f32 = 1.0;
/// An item that is this much smaller than the mean comes with credit for a second lap in the small queue. Where all are of one
/// size, none does.
const SECOND_LAP: f32 = 1.1;
/// Items over which the mean size is taken.
const MEAN_OVER: u32 = 4096;
/// A large item counts at most as this many of mean size, so that a large collection that is used can stay.
const LARGEST_FACTOR: f32 = 16.0;

/// What a shard knows for its evictions.
#[derive(Debug)]
pub(super) struct Hand {
    pub(super) items: usize,
    ghost: Ghost,
    /// Bytes charged in each queue.
    weights: [i64; 2],
    mean_size: f32,
    seen: u32,
    random: u32,
    /// Whether memory is limited: credits are counted.
    limited: bool,
    sized: bool,
    /// Items that stayed since the last one that went.
    stayed: usize,
    /// Where the search for scarce keys goes on.
    pub(super) search: Search,
}

impl Default for Hand {
    fn default() -> Self {
        Self {
            items: 0,
            ghost: Ghost::default(),
            weights: [0; 2],
            mean_size: 0.0,
            seen: 0,
            random: 0x9e37_79b9,
            limited: false,
            sized: true,
            stayed: 0,
            search: Search::default(),
        }
    }
}

impl Hand {
    /// Adapts to settings.
    pub(super) fn configure(&mut self, settings: &Settings) {
        self.limited = settings.maxmemory > 0 && settings.policy != Policy::NoEviction;
        self.sized = settings.policy.sized();
    }

    #[inline]
    pub(super) fn counts(&self) -> bool {
        self.limited
    }

    pub(super) fn memory(&self) -> usize {
        self.ghost.memory()
    }

    #[inline]
    pub(super) fn weigh(&mut self, queue: Queue, delta: i64) {
        self.weights[queue as usize] += delta;
    }

    /// Bytes charged in a queue.
    pub(super) fn weight(&self, queue: Queue) -> i64 {
        self.weights[queue as usize]
    }

    /// The queue for a key that comes, with a value of that size, and its credit there; whether it was evicted lately.
    #[inline]
    pub(super) fn receive(&mut self, hash: u32, size: usize) -> (Queue, u8, bool) {
        if !self.limited {
            return (Queue::Small, 0, false);
        }
        if !self.ghost.take(hash) {
            let small = self.sized && self.mean_size >= SECOND_LAP * size as f32;
            return (Queue::Small, u8::from(small), false);
        }
        // One that is large has to be used first.
        let credit = self.worth(size, RETURN);
        (if credit > 0 { Queue::Main } else { Queue::Small }, credit, true)
    }

    /// The credit that a hit earns for an item of that size.
    #[inline]
    pub(super) fn earned(&mut self, size: usize) -> u8 {
        self.worth(size, HIT)
    }

    /// Laps for which an item of that size stays.
    #[inline]
    fn worth(&mut self, size: usize, times: f32) -> u8 {
        let relative = if self.sized {
            self.mean_size / (size as f32).min(self.mean_size * LARGEST_FACTOR).max(1.0)
        } else {
            1.0
        };
        // Xorshift; the fraction is paid with its probability.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 17;
        self.random ^= self.random << 5;
        let chance = (self.random >> 8) as f32 / (1 << 24) as f32;
        let laps = times * times * relative * relative;
        (laps + chance).min(f32::from(FULL_CREDIT)) as u8
    }

    /// An item of that size came.
    #[inline]
    pub(super) fn came(&mut self, size: usize) {
        self.items += 1;
        self.seen = (self.seen + 1).min(MEAN_OVER);
        self.mean_size += (size as f32 - self.mean_size) / self.seen as f32;
    }

    #[inline]
    pub(super) fn left(&mut self) {
        self.items -= 1;
    }

    /// All items went.
    pub(super) fn forget_all(&mut self) {
        (self.items, self.weights, self.ghost) = (0, [0; 2], Ghost::default());
    }

    /// The queue from which an item goes next.
    fn queue(&self) -> Queue {
        let [small, main] = self.weights;
        if main <= 0 || small * SMALL_SHARE > small + main { Queue::Small } else { Queue::Main }
    }
}

const QUEUES: [Queue; 2] = [Queue::Small, Queue::Main];

/// What becomes of an item that comes to the hand.
enum Fate {
    Goes,
    /// It stays in this queue, with this credit.
    Stays(Queue, u8),
}

impl Store {
    /// Whether a write has to make room first. One that has not may go on as [`make_room`](Self::make_room) would let it.
    #[inline]
    pub fn is_short(&self) -> bool {
        let limit = self.limit.load(Ordering::Relaxed);
        self.full.load(Ordering::Relaxed) || (limit != 0 && self.held_memory() > limit)
    }

    /// Evicts until memory is within the limit or the work for one write is done. Whether the write may go on.
    #[inline]
    pub fn make_room(&self, now: u64) -> bool {
        if self.full.load(Ordering::Relaxed) && !self.relieve(now) {
            return false;
        }
        let limit = self.limit.load(Ordering::Relaxed);
        limit == 0 || self.held_memory() <= limit || self.evict(&self.settings.load(), now)
    }

    #[cold]
    fn evict(&self, settings: &Settings, now: u64) -> bool {
        if settings.policy == Policy::NoEviction {
            return self.squeeze(settings);
        }
        let mut work = Work::default();
        // Above this, writes bring more than the bounded work takes away: they pay for what they bring.
        let far = far_above(settings.maxmemory);
        // Unless it was there before they came.
        let before = self.ceiling.fetch_min(self.accounted(), Ordering::Relaxed).min(self.accounted());
        let goes_down = |work: &Work| work.gained && self.accounted() <= before;
        // Once is enough: what others write before it is looked at again is theirs.
        let mut within = false;
        while !work.is_fruitless() {
            let held = self.held_memory();
            let endless = work.looked >= MOST_LOOKED_AT_EVER;
            within = held <= settings.maxmemory;
            if within || (work.is_enough() && (held <= far || endless || goes_down(&work))) {
                break;
            }
            self.evict_next(settings, now, &mut work);
        }
        // A little above the limit, the write may go on: the next ones evict further. Items that were looked at and
        // stayed have less credit than before.
        self.ceiling.fetch_min(self.accounted(), Ordering::Relaxed);
        let held = self.held_memory();
        if within || held <= settings.maxmemory || (held <= far && work.looked > 0) || goes_down(&work) {
            return true;
        }
        // Nothing may go, or too little: what is left is what dead items hold.
        self.squeeze(settings)
    }

    /// Evicts under one hold of the lock of the shard that is at its turn.
    fn evict_next(&self, settings: &Settings, now: u64, work: &mut Work) {
        // What is dead and what flushes left go before what lives.
        match self.clear_away(Price::Earned) {
            0 => {}
            met => {
                work.looked += met;
                work.gained = true;
                return;
            }
        }
        let turn = self.next_victim.load(Ordering::Relaxed) % SHARDS;
        let mut shard = self.shards[turn].lock();
        // Shards that hold less than their share are spared at first.
        let used = self.used.load(Ordering::Relaxed);
        let spared = work.fruitless < SHARDS && shard.used() * SHARDS as i64 * 2 < used;
        let above = self.held_memory() as i64 - settings.maxmemory as i64;
        let wanted = above + AHEAD.min(settings.maxmemory as i64 / 64);
        let mut task = Task { wanted, left: LOOKED_AT_PER_HOLD, evicted: 0, spent: 0 };
        if !spared {
            evict_some(&mut shard, settings, &self.reclaim, now, &mut task);
            self.evicted_bytes.fetch_add((wanted - task.wanted).max(0) as u64, Ordering::Relaxed);
        }
        work.fruitless = if task.left == LOOKED_AT_PER_HOLD { work.fruitless + 1 } else { 0 };
        // One segment after the other: all that are begun and not yet given back are resident.
        if work.fruitless > 0 || !QUEUES.into_iter().any(|queue| shard.log.is_begun(queue)) {
            self.next_victim.store(turn + 1, Ordering::Relaxed);
        }
        work.evicted += task.evicted;
        work.looked += LOOKED_AT_PER_HOLD - task.left;
        work.gained |= task.evicted + task.spent > 0;
        self.settle(&mut shard);
        // It may be locked again at once: whoever waits for it comes first.
        MutexGuard::unlock_fair(shard);
    }

    /// Writes need not bring memory below what it is now, however far above the limit that is.
    pub(super) fn tolerate(&self) {
        self.ceiling.fetch_max(self.accounted(), Ordering::Relaxed);
    }

    /// Goes on evicting what is above the limit, under one hold of a lock; whether there is more to do. It begins where memory
    /// is far above the limit and ends where it is within, so that it leaves alone what writes do by themselves.
    pub fn ease(&self, easing: &mut Easing, now: u64) -> bool {
        let settings = self.settings.load();
        let begins = if easing.underway { settings.maxmemory } else { far_above(settings.maxmemory) };
        let above = settings.maxmemory > 0 && self.held_memory() > begins;
        if !above || settings.policy == Policy::NoEviction {
            if std::mem::take(&mut easing.underway) {
                *easing = Easing::default();
                self.fit_ghosts();
            }
            return false;
        }
        if easing.pause > 0 {
            easing.pause -= 1;
            return false;
        }
        easing.underway = true;
        easing.work.gained = false;
        self.evict_next(&settings, now, &mut easing.work);
        self.ceiling.fetch_min(self.accounted(), Ordering::Relaxed);
        if easing.work.gained {
            easing.work.looked = 0;
        } else if easing.work.is_fruitless() || easing.work.looked >= MOST_LOOKED_AT_EVER {
            // Nothing may go; that can change.
            *easing = Easing { pause: EASED_AGAIN_AFTER, ..Easing::default() };
            return false;
        }
        true
    }

    /// What is remembered of keys that went takes no more memory than those that are left are worth.
    fn fit_ghosts(&self) {
        self.each_shard(|_, shard| shard.hand.ghost.fit_closely(shard.hand.items));
    }

    /// Makes room in shards whose logs are nearly full, wherever the limit is. Whether all have room.
    #[cold]
    fn relieve(&self, now: u64) -> bool {
        let settings = self.settings.load();
        if settings.policy == Policy::NoEviction {
            return false;
        }
        let mut room = true;
        for shard in &self.shards {
            let mut shard = shard.lock();
            if shard.log.is_nearly_full() {
                let mut task = Task { wanted: RELIEVED, left: MOST_LOOKED_AT, evicted: 0, spent: 0 };
                evict_some(&mut shard, &settings, &self.reclaim, now, &mut task);
                room &= task.evicted > 0 || !shard.log.is_nearly_full();
                self.settle(&mut shard);
            }
        }
        room
    }

    /// Gives back what dead items and flushed ones hold, a bounded part of it. Whether the write may go on.
    fn squeeze(&self, settings: &Settings) -> bool {
        let mut looked = 0;
        while looked < MOST_SQUEEZED {
            match self.clear_away(Price::Any) {
                0 => return false,
                met => looked += met,
            }
            if self.held_memory() <= settings.maxmemory {
                return true;
            }
        }
        false
    }
}

/// Above this, memory is far above the limit: what is held may be as much while clients write.
pub(crate) fn far_above(limit: u64) -> u64 {
    limit + limit / FAR_ABOVE + FAR_BYTES
}

/// Eviction in the background, that goes on where it stopped.
#[derive(Debug, Default)]
pub struct Easing {
    underway: bool,
    work: Work,
    /// Calls for which it rests, because nothing may go.
    pause: u32,
}

/// What making room has come to so far.
#[derive(Debug, Default)]
struct Work {
    evicted: usize,
    looked: usize,
    /// Shards in a row in which there was nothing to look at.
    fruitless: usize,
    /// Whether anything went, or has less credit than before, so that it will.
    gained: bool,
}

impl Work {
    /// For one write.
    fn is_enough(&self) -> bool {
        self.evicted >= MOST_PER_WRITE || self.looked >= MOST_LOOKED_AT
    }

    fn is_fruitless(&self) -> bool {
        self.fruitless >= 2 * SHARDS
    }
}

/// What there is to do in one shard, and what has been done there.
pub(super) struct Task {
    /// Bytes that should go.
    pub(super) wanted: i64,
    /// Items that may be looked at.
    pub(super) left: usize,
    pub(super) evicted: usize,
    /// Items that stayed for credit, of which they have less now.
    pub(super) spent: usize,
}

/// Evicts from one shard until enough has gone, enough was looked at, or a segment has come to its end.
fn evict_some(shard: &mut Shard, settings: &Settings, reclaim: &Reclaim, now: u64, task: &mut Task) {
    if settings.policy.is_volatile() {
        let expires = shard.expires();
        if expires == 0 {
            return;
        }
        if settings.policy == Policy::VolatileTtl || expires * SCARCE < shard.hand.items {
            return scarce::evict(shard, settings.policy, reclaim, now, task);
        }
    }
    if shard.hand.items == 0 {
        // What is left is the memory of what went.
        shard.hand.ghost = Ghost::default();
        return;
    }
    shard.hand.ghost.fit(shard.hand.items);
    while task.left > 0 && task.wanted > 0 {
        // The main queue may hold nothing but keys that never expire.
        let stuck = settings.policy.is_volatile() && shard.hand.stayed > MOST_STAYING;
        let queue = QUEUES.into_iter().find(|queue| shard.log.is_begun(*queue));
        let queue = queue.unwrap_or_else(|| if stuck { Queue::Small } else { shard.hand.queue() });
        let other = if queue == Queue::Small { Queue::Main } else { Queue::Small };
        let Some((queue, segment)) = [queue, other].into_iter().find_map(|q| Some((q, shard.log.oldest(q)?)))
        else {
            return;
        };
        for place in next_items(shard, segment, task) {
            let charge = shard.charge(place.handle) as i64;
            if shard.drop_if_left(&place, |value| reclaim.discard(value)) {
                task.wanted -= charge;
                task.evicted += 1;
                continue;
            }
            match fate(shard, place, queue, settings, now) {
                Fate::Goes => {
                    shard.hand.stayed = 0;
                    task.wanted -= charge;
                    task.evicted += 1;
                    evict_item(shard, place, reclaim, now);
                }
                Fate::Stays(to, credit) => {
                    let spends = credit < shard.item(place.handle).credit();
                    task.spent += usize::from(spends);
                    stay(shard, place, to, credit);
                }
            }
        }
        if !shard.log.is_underway(segment) {
            return;
        }
    }
}

/// The next items of a segment, at most as many as may have to go, with what their going touches on its way into the
/// cache: nobody has used them for long, so each would be waited for.
fn next_items(shard: &mut Shard, segment: u16, task: &mut Task) -> SmallVec<[Place; AT_ONCE]> {
    let mut places = SmallVec::new();
    let mut charged = 0;
    while places.len() < AT_ONCE && task.left > 0 && charged < task.wanted {
        let Some(handle) = shard.log.walk(segment) else { break };
        task.left -= 1;
        charged += shard.charge(handle) as i64;
        let place = shard.place_of(handle);
        prefetch::slot_of(shard, &place);
        places.push(place);
    }
    for place in &places {
        prefetch::line_of(shard, place);
        shard.hand.ghost.prefetch(place.hash);
    }
    places
}

/// An item stays, in another queue or at the end of its own.
fn stay(shard: &mut Shard, place: Place, to: Queue, credit: u8) {
    shard.hand.stayed += 1;
    let place = shard.relocate(place, to);
    shard.log.item_mut(place.handle).set_credit(credit);
}

fn fate(shard: &Shard, place: Place, queue: Queue, settings: &Settings, now: u64) -> Fate {
    let item = shard.item(place.handle);
    if !shard.rules(place.slot) {
        return Fate::Stays(queue, item.credit());
    }
    if item.expired(now) {
        return Fate::Goes;
    }
    let credit = item.credit();
    if settings.policy.is_volatile() && item.expires_at() == 0 {
        return Fate::Stays(Queue::Main, credit);
    }
    match queue {
        Queue::Small if credit >= FULL_CREDIT => Fate::Stays(Queue::Main, credit - FULL_CREDIT),
        queue if credit > 0 => Fate::Stays(queue, credit - 1),
        _ => Fate::Goes,
    }
}

/// Removes an item that has come to its end. One that had expired was not evicted: if it comes back, that says nothing about its use.
pub(super) fn evict_item(shard: &mut Shard, place: Place, reclaim: &Reclaim, now: u64) {
    if shard.item(place.handle).expired(now) {
        shard.stats.expired += 1;
    } else {
        shard.hand.ghost.add(place.hash);
        shard.stats.evicted += 1;
    }
    shard.note_gone(place);
    if let Some(value) = shard.remove(place) {
        reclaim.discard(value);
    }
}

#[cfg(test)]
mod tests {
    use shoal_proto::slot::key_slot;

    use super::*;
    use crate::store::Expiry;

    const MEAN: usize = 1000;
    const ROUNDS: u32 = 1000;

    fn hand(sized: bool) -> Hand {
        let mut hand = Hand { limited: true, sized, ..Hand::default() };
        hand.ghost.fit(ROUNDS as usize);
        hand.came(MEAN);
        hand
    }

    /// How many keys of that size that were evicted come back into the main queue, and their credit in all.
    fn come_back(hand: &mut Hand, size: usize) -> (u32, u32) {
        let (mut main, mut sum) = (0, 0);
        for n in 0..ROUNDS {
            let hash = n.wrapping_mul(0x9e37_79b9) ^ n;
            hand.ghost.add(hash);
            let (queue, credit, known) = hand.receive(hash, size);
            assert!(known && (queue == Queue::Main) == (credit > 0));
            assert!(!hand.receive(hash, size).2, "it is known once");
            main += u32::from(queue == Queue::Main);
            sum += u32::from(credit);
        }
        (main, sum)
    }

    #[test]
    fn of_what_comes_back_the_main_queue_takes_what_its_size_is_worth() {
        let mut sized = hand(true);
        assert_eq!(come_back(&mut sized, MEAN), (ROUNDS, ROUNDS));
        assert_eq!(come_back(&mut sized, MEAN / 2), (ROUNDS, 4 * ROUNDS));
        assert_eq!(come_back(&mut sized, 1), (ROUNDS, u32::from(FULL_CREDIT) * ROUNDS));
        let (main, credit) = come_back(&mut sized, 2 * MEAN);
        assert!((200..300).contains(&main) && credit == main, "{main} {credit}");
        assert_eq!(come_back(&mut hand(false), 2 * MEAN), (ROUNDS, ROUNDS), "sizes do not count");
    }

    #[test]
    fn a_hit_earns_the_square_of_how_small_an_item_is() {
        let mut sized = hand(true);
        let mut sum = |size: usize| (0..ROUNDS).map(|_| u32::from(sized.earned(size))).sum::<u32>();
        assert_eq!((sum(1), sum(MEAN), sum(2 * MEAN)), (4 * ROUNDS, 4 * ROUNDS, ROUNDS));
        assert!((200..300).contains(&sum(4 * MEAN)));
        // However large it is, a hit may earn something.
        let large = sum(1000 * MEAN);
        assert!((8..30).contains(&large), "{large}");
        assert_eq!(hand(false).earned(1000 * MEAN), FULL_CREDIT);
    }

    #[test]
    fn what_nobody_knows_gets_one_more_lap_if_it_is_small() {
        let mut hand = hand(true);
        for (size, credit) in [(MEAN, 0), (MEAN * 95 / 100, 0), (MEAN / 2, 1), (1, 1)] {
            assert_eq!(hand.receive(7, size), (Queue::Small, credit, false));
        }
        hand.ghost.add(7);
        hand.limited = false;
        assert_eq!(hand.receive(7, 1), (Queue::Small, 0, false), "memory has no limit");
    }

    /// What others write between two looks of one that makes room is not held against it.
    #[test]
    fn who_finds_room_while_others_write_may_write() {
        const LIMIT: u64 = 4 << 20;
        let policy = Policy::AllkeysS3FifoSize;
        let store = Store::new(Settings { policy, maxmemory: LIMIT, ..Settings::default() });
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                (0..1_000_000_u32).find(|n| {
                    let (key, room) = (n.to_be_bytes(), store.make_room(1));
                    store.lock_slot(0, key_slot(&key), 1).set_str(&key, &[0; 100], Expiry::Never);
                    !room
                })
            });
            // Memory is above the limit and within it from one look to the next.
            while !writer.is_finished() {
                store.padding.store(LIMIT / 64, Ordering::Relaxed);
                store.padding.store(0, Ordering::Relaxed);
            }
            assert_eq!(writer.join().expect("it ends"), None);
        });
    }
}
