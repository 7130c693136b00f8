//! How long keys have left, from a sample.

use super::Store;

/// Keys with an expiry that are looked at in each shard, and keys that are looked at in each slot to find them.
const KEYS_PER_SHARD: usize = 16;
const KEYS_PER_SLOT: usize = 256;

impl Store {
    /// Milliseconds that keys of database `db` which have an expiry have left on average, from a few keys of each shard; 0
    /// if there are none.
    pub fn average_ttl(&self, db: u8, now: u64) -> u64 {
        let (mut sum, mut found) = (0u64, 0);
        self.each_shard(|_, shard| {
            let Some(keys) = shard.keyspace(shard.space(db)).filter(|keys| keys.expires > 0) else { return };
            let slots =
                keys.slots.iter().enumerate().filter(|(i, slot)| slot.expires() > 0 && shard.shows(*i));
            let handles = slots.flat_map(|(_, slot)| slot.handles().take(KEYS_PER_SLOT));
            let times = handles.map(|handle| shard.item(handle).expires_at()).filter(|at| *at > now);
            for expires_at in times.take(KEYS_PER_SHARD) {
                sum = sum.saturating_add(expires_at - now);
                found += 1;
            }
        });
        sum / found.max(1)
    }
}

#[cfg(test)]
mod tests {
    use shoal_proto::slot::key_slot;

    use super::*;
    use crate::store::{Expiry, Settings};

    #[test]
    fn keys_without_an_expiry_and_expired_ones_do_not_count() {
        let store = Store::new(Settings::default());
        let set = |key: &str, expiry| {
            store.lock_slot(0, key_slot(key.as_bytes()), 1000).set_str(key.as_bytes(), b"x", expiry);
        };
        assert_eq!(store.average_ttl(0, 1000), 0);
        set("a", Expiry::Never);
        set("b", Expiry::At(61_000));
        assert_eq!(store.average_ttl(0, 1000), 60_000);
        set("c", Expiry::At(21_000));
        set("d", Expiry::At(1500));
        assert_eq!((store.average_ttl(0, 2000), store.average_ttl(1, 2000)), (39_000, 0));
    }
}
