//! Walking over all keys with a stateless cursor.
//!
//! A cursor is `mark << 48 | slot << 34 | place within the slot`: slots are walked in order, and a router can hand the cursor to
//! whichever node owns the slot by then. Places depend on how a node hashes, and the mark says whose they are: elsewhere the slot
//! begins anew, so that keys may come twice but none is left out.

use shoal_proto::slot::SLOTS;

use super::{Scanned, Store, keyspace::local, shard::Found, shard_of};
use crate::value::Value;

const PLACE_BITS: u32 = 34;
const MARK_BIT: u32 = 48;
/// Cursors stay below this, in what clients take for a signed number, too.
const END: u64 = 1 << 62;

/// The slot at which a scan with this cursor goes on; past the last for what is none.
pub fn cursor_slot(cursor: u64) -> u16 {
    if cursor < END { (cursor >> PLACE_BITS) as u16 % SLOTS } else { SLOTS }
}

/// The cursor that begins at `slot`; 0 past the last.
pub fn slot_cursor(slot: u16) -> u64 {
    if slot >= SLOTS { 0 } else { u64::from(slot) << PLACE_BITS }
}

/// A set of slots: one bit for each.
pub type SlotSet = [u64; SLOTS as usize / 64];

/// Whether `slot` is in the set.
#[inline]
pub fn contains(set: &SlotSet, slot: u16) -> bool {
    set[usize::from(slot) / 64] & (1 << (slot % 64)) != 0
}

impl Store {
    /// Visits about `count` keys from `cursor` on, whole buckets at a time, and says where to go on (0: all
    /// was seen). A key that exists during a whole round is visited at least once. With `within`, the walk ends
    /// before the first slot that is not in the set, with the cursor of that slot. `f` gets key and type.
    pub fn scan(
        &self,
        (db, now): (u8, u64),
        cursor: u64,
        count: usize,
        within: Option<&SlotSet>,
        mut f: impl FnMut(&[u8], &'static str),
    ) -> Scanned {
        let first = cursor_slot(cursor);
        let mut slot = first;
        let mark = self.scan_mark();
        let ours = cursor >> MARK_BIT << MARK_BIT == mark;
        let mut place = if ours { (cursor & ((1 << PLACE_BITS) - 1)) as u32 } else { 0 };
        let mut seen = 0;
        // Like Redis, look at no more than ten times as many buckets as keys were asked for.
        let mut buckets = count.saturating_mul(10).max(10);
        while slot < SLOTS && within.is_none_or(|set| contains(set, slot)) {
            let shard = self.shards[shard_of(slot)].lock();
            if within.is_some() && !shard.shows(local(slot)) {
                // Handed over since the set was made.
                break;
            }
            if let Some(keys) = shard.keyspace(shard.space(db)).filter(|_| shard.shows(local(slot))) {
                let index = keys.slot(slot);
                while index.len() > 0 {
                    place = index.visit(place, |handle| {
                        seen += 1;
                        if !shard.item(handle).expired(now) {
                            f(shard.key(handle), shard.found(handle).type_name());
                        }
                    });
                    buckets = buckets.saturating_sub(1);
                    if place == 0 {
                        break;
                    }
                    if seen >= count || buckets == 0 {
                        let cursor = mark | u64::from(slot) << PLACE_BITS | u64::from(place);
                        return Scanned { cursor, elsewhere: None };
                    }
                }
            }
            place = 0;
            slot += 1;
            if seen >= count || buckets == 0 {
                break;
            }
        }
        // The cursor of slot 0 is also the one that says that all was seen.
        Scanned { cursor: slot_cursor(slot), elsewhere: (slot == first && slot < SLOTS).then_some(slot) }
    }

    /// What is in cursors of this store: others hash otherwise.
    fn scan_mark(&self) -> u64 {
        (u64::from(self.hash(b"")) << MARK_BIT) % END
    }

    /// Visits every key of a database that is not expired, one shard's lock at a time.
    pub fn each_key(&self, db: u8, now: u64, mut f: impl FnMut(&[u8])) {
        self.each_found(db, now, |key, _, _| f(key));
    }

    /// The same, with the value and the time at which the key expires (0: never).
    pub fn each_entry(&self, db: u8, now: u64, mut f: impl FnMut(&[u8], &Value, u64)) {
        self.each_found(db, now, |key, found, expires_at| f(key, &found.value(), expires_at));
    }

    fn each_found(&self, db: u8, now: u64, mut f: impl FnMut(&[u8], Found<'_>, u64)) {
        self.each_shard(|_, shard| {
            let Some(keys) = shard.keyspace(shard.space(db)) else { return };
            let shown = keys.slots.iter().enumerate().filter(|(i, _)| shard.shows(*i));
            for handle in shown.flat_map(|(_, slot)| slot.handles()) {
                let item = shard.item(handle);
                if !item.expired(now) {
                    f(shard.key(handle), shard.found(handle), item.expires_at());
                }
            }
        });
    }
}
