//! One shard's lock, kept from command to command while a worker executes on the same shard.
//!
//! A client that pipelines commands on one key pays for one lock. Whoever holds it never takes another shard's: what needs
//! one releases this first.

use std::ops::{Deref, DerefMut};

use parking_lot::MutexGuard;

use super::{
    Db, Located, Store,
    shard::{Key, Place, Shard},
    shard_of,
};

/// The lock, or none.
#[derive(Debug, Default)]
pub struct Held<'a>(Option<(usize, MutexGuard<'a, Shard>)>);

impl<'a> Held<'a> {
    /// Lets others have the shard.
    #[inline]
    pub fn release(&mut self) {
        self.0 = None;
    }

    /// Locks a shard, unless that is held already, and releases any other before. Whether it was held.
    #[inline]
    fn lock(&mut self, store: &'a Store, shard: usize) -> (bool, &mut Shard) {
        let was_held = self.0.as_ref().is_some_and(|(held, _)| *held == shard);
        if !was_held {
            self.release();
            self.0 = Some((shard, store.shards[shard].lock()));
        }
        (was_held, &mut self.0.as_mut().expect("it has just been locked").1)
    }
}

impl Store {
    /// Locks the shard of one key, as [`lock`](Self::lock) does; the lock is still held when the command is through. `again`:
    /// the key is the one of the command that was executed before this with the same `held`, in the same database.
    #[inline]
    pub fn lock_held<'s: 'a, 'a>(
        &'s self,
        (db, now): (u8, u64),
        (key, again): (&'a Located<'a>, bool),
        held: &'a mut Held<'s>,
    ) -> Db<'a> {
        let number = shard_of(key.slot);
        let (was_held, shard) = held.lock(self, number);
        let again = was_held && again;
        if !again {
            shard.recent = None;
        }
        let guards = Guards::from_buf([(number, Access::Lent(shard))]);
        let mut db = Db::on(self, guards, (db, now), (Some(key.slot), std::slice::from_ref(key)));
        if again {
            db.of_same_key();
        }
        db
    }
}

impl Shard {
    /// Finds the key that all commands were about since the lock was taken, or since [`recent`](Self::recent) was forgotten. It is
    /// where it was found unless something has gone since.
    #[inline]
    pub(super) fn find_again(&self, key: &Key<'_>) -> Option<Place> {
        match self.recent {
            Some((handle, gone)) if gone == self.log.gone() && self.item(handle).space() == key.space => {
                debug_assert_eq!(self.key(handle), key.bytes, "it is the key that was found last");
                Some(Place { space: key.space, slot: key.slot, hash: key.hash, handle })
            }
            _ => self.find(key),
        }
    }
}

/// Access to a locked shard.
#[derive(Debug)]
pub(crate) enum Access<'a> {
    /// By its lock, which is released with it.
    Locked(MutexGuard<'a, Shard>),
    /// By a lock that somebody else holds.
    Lent(&'a mut Shard),
}

/// The locked shards of one command, ascending.
pub(crate) type Guards<'a> = smallvec::SmallVec<[(usize, Access<'a>); 1]>;

impl Deref for Access<'_> {
    type Target = Shard;
    #[inline]
    fn deref(&self) -> &Shard {
        match self {
            Self::Locked(guard) => guard,
            Self::Lent(shard) => shard,
        }
    }
}

impl DerefMut for Access<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut Shard {
        match self {
            Self::Locked(guard) => guard,
            Self::Lent(shard) => shard,
        }
    }
}
