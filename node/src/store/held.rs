//! One shard's lock, kept from command to command while a worker executes on the same shard.
//!
//! A client that pipelines commands on one key pays for one lock. Whoever holds it never takes another shard's: what needs
//! one releases this first.

use std::ops::{Deref, DerefMut};

use parking_lot::MutexGuard;

use super::{Db, Located, Store, shard::Shard, shard_of};

/// The lock, or none.
#[derive(Debug, Default)]
pub struct Held<'a>(Option<(usize, MutexGuard<'a, Shard>)>);

impl<'a> Held<'a> {
    /// Lets others have the shard.
    #[inline]
    pub fn release(&mut self) {
        self.0 = None;
    }

    /// Locks a shard, unless that is held already, and releases any other before.
    #[inline]
    fn lock(&mut self, store: &'a Store, shard: usize) -> &mut Shard {
        if self.0.as_ref().is_none_or(|(held, _)| *held != shard) {
            self.release();
            self.0 = Some((shard, store.shards[shard].lock()));
        }
        &mut self.0.as_mut().expect("it has just been locked").1
    }
}

impl Store {
    /// Locks the shard of one key, as [`lock`](Self::lock) does; the lock is still held when the command is through.
    #[inline]
    pub fn lock_held<'s: 'a, 'a>(
        &'s self,
        db: u8,
        key: &'a Located<'a>,
        now: u64,
        held: &'a mut Held<'s>,
    ) -> Db<'a> {
        let shard = shard_of(key.slot);
        let mut guards = Guards::new();
        guards.push((shard, Access::Lent(held.lock(self, shard))));
        Db::new(self, guards, db, now).on_slot(key.slot).knowing(std::slice::from_ref(key))
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
