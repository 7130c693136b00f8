//! Moving the index together.
//!
//! The lines of each slot are an allocation of their own. When most keys of a node have gone, a few lines are left of each, in
//! as many pages as before, which the allocator cannot give back. So a thread from whose part of the heap nothing else comes
//! takes a copy of each in turn: the copies lie side by side, and the pages go.

use super::{SLOTS_PER_SHARD, Store, shard::Shard};

/// Bytes copied under one hold of a shard's lock, and what a slot counts as in addition.
const MOVED_PER_HOLD: usize = 64 << 10;
const SLOT: usize = 512;

/// The next slot to be moved.
#[derive(Debug, Default)]
struct At {
    space: usize,
    slot: usize,
}

impl Shard {
    /// Moves the lines of the next slots; whether there are more.
    fn move_slots(&mut self, at: &mut At) -> bool {
        let mut left = MOVED_PER_HOLD;
        while let Some(space) = self.spaces.get_mut(at.space) {
            let slots = space.as_deref_mut().map(|keys| &mut keys.slots[at.slot..]);
            for slot in slots.into_iter().flatten() {
                if left == 0 {
                    return true;
                }
                at.slot += 1;
                if slot.memory() > 0 {
                    slot.reallocate();
                    left = left.saturating_sub(slot.memory() + SLOT);
                }
            }
            debug_assert!(space.is_none() || at.slot == SLOTS_PER_SHARD);
            *at = At { space: at.space + 1, slot: 0 };
        }
        false
    }
}

impl Store {
    /// Bytes of all lines of the index.
    pub fn index_memory(&self) -> u64 {
        let mut lines = 0;
        self.each_shard(|_, shard| lines += shard.index_lines);
        lines.max(0) as u64 * 64
    }

    /// Allocates the whole index anew, in the calling thread, a bounded part of it under one hold of a lock; `rest` is called behind
    /// each.
    pub fn move_index(&self, mut rest: impl FnMut()) {
        for shard in &self.shards {
            let mut at = At::default();
            while shard.lock().move_slots(&mut at) {
                rest();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Expiry, Settings};

    #[test]
    fn all_is_found_after_a_move() {
        const KEYS: usize = if cfg!(miri) { 300 } else { 150_000 };
        let store = Store::new(Settings::default());
        let key = |n: usize| format!("key{n}").into_bytes();
        let db = |n: usize| if n.is_multiple_of(16) { 7 } else { 0 };
        let at = |n: usize| store.lock_slot(db(n), store.locate(&key(n)).slot, 1);
        for n in 0..KEYS {
            at(n).set_str(&key(n), b"value", if n % 2 == 0 { Expiry::Never } else { Expiry::At(1 << 50) });
        }
        let gone = |n: usize| n % 10 > 4;
        (0..KEYS).filter(|n| gone(*n)).for_each(|n| assert!(at(n).discard(&key(n))));
        let (before, mut rests) = (store.index_memory(), 0);
        store.move_index(|| rests += 1);
        store.audit();
        assert_eq!(store.index_memory(), before);
        assert!(cfg!(miri) || rests >= 64, "{rests}");
        assert!((0..KEYS).all(|n| at(n).contains(&key(n)) != gone(n)));
        // It grows as before.
        (0..KEYS).for_each(|n| at(n).set_str(&key(n), b"value", Expiry::Never));
        store.audit();
    }
}
