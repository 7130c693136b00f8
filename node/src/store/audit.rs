//! A full walk that recomputes what the store keeps count of: for tests.

use super::{DATABASES, Store, index::SlotIndex, log::Queue, shard::Shard};

impl Store {
    /// Compares all accounts with what is there.
    ///
    /// # Panics
    /// When they differ: that is a defect of the store.
    pub fn audit(&self) {
        let (mut used, mut lost) = (0, 0);
        for shard in &self.shards {
            let mut shard = shard.lock();
            self.settle(&mut shard);
            let (here, lost_here) = shard.audit();
            used += here;
            lost += lost_here;
        }
        assert_eq!(self.used_memory() as i64, used, "used memory");
        assert_eq!((self.held_memory() as i64 - used), lost, "lost memory");
    }
}

impl Store {
    /// Calls `f` with every key of a slot whatever its gate and whether expired or not: database, key, value, expiry.
    pub fn inspect_slot(&self, slot: u16, mut f: impl FnMut(u8, &[u8], &crate::value::Value, u64)) {
        let shard = self.shards[super::shard_of(slot)].lock();
        for db in 0..DATABASES as u8 {
            let Some(keys) = shard.keyspace(shard.space(db)) else { continue };
            for handle in keys.slot(slot).handles() {
                let item = shard.item(handle);
                f(db, shard.key(handle), &shard.found(handle).value(), item.expires_at());
            }
        }
    }
}

impl Shard {
    fn audit(&self) -> (i64, i64) {
        let spaces = (0..DATABASES as u8).filter(|space| self.keyspace(*space).is_some()).count();
        assert_eq!(self.held_spaces(), spaces, "databases");
        let (mut charged, mut weights, mut items, mut living) = (0i64, [0i64; 2], 0, 0);
        for space in 0..DATABASES as u8 {
            let Some(keys) = self.keyspace(space) else { continue };
            let (mut len, mut expires) = (0, 0);
            for handle in keys.slots.iter().flat_map(SlotIndex::handles) {
                let item = self.item(handle);
                assert!(!item.is_dead(), "a dead item is in the index");
                assert_eq!(item.space(), space);
                let place = self.place_of(handle);
                let slot = keys.slot(place.slot);
                assert!(slot.find(place.hash, |other| other == handle).is_some(), "in the wrong bucket");
                if item.expires_at() != 0 {
                    expires += 1;
                    assert!(slot.min_expiry <= item.expires_at());
                    // The sweep passes by slots that are not open.
                    assert!(!self.rules(place.slot) || keys.min_expiry <= item.expires_at());
                }
                len += 1;
                living += item.len();
                let charge = self.charge(handle) as i64;
                charged += charge;
                weights[self.log.queue_of(handle) as usize] += charge;
            }
            assert_eq!((keys.len, keys.expires), (len, expires), "keys of space {space}");
            let counted: usize = keys.slots.iter().map(SlotIndex::expires).sum();
            assert_eq!(counted, expires, "keys with an expiry in slots of space {space}");
            items += len;
        }
        for handle in self.leftovers.handles() {
            assert!(!self.item(handle).is_dead(), "a dead item is in an index that a flush left");
            living += self.item(handle).len();
            let charge = self.charge(handle) as i64;
            charged += charge;
            weights[self.log.queue_of(handle) as usize] += charge;
        }
        items += self.leftovers.keys();
        assert_eq!(self.leftovers.handles().count(), self.leftovers.keys(), "keys that flushes left");
        assert_eq!(self.used(), charged, "charged bytes");
        assert_eq!(self.hand.items, items, "items");
        assert_eq!([self.hand.weight(Queue::Small), self.hand.weight(Queue::Main)], weights, "weights");
        assert_eq!(self.log.audit(), living, "living bytes in the log");
        (charged, self.lost())
    }
}
