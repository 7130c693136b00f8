//! One shard's lock, kept from command to command while a worker executes on the same shard.
//!
//! A client that pipelines commands on one key pays for one lock. Whoever holds it never takes another shard's: what needs
//! one releases this first.

use parking_lot::MutexGuard;
use smallvec::SmallVec;

use super::{
    Db, Located, Store,
    log::Handle,
    shard::{Key, Place, Shard},
    shard_of,
};
use crate::same::same;

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
    /// the key is the one of the command that was executed before this with the same `held`, in the same database; else `seen`
    /// may be its item.
    #[inline]
    pub fn lock_held<'s: 'a, 'a>(
        &'s self,
        (db, now): (u8, u64),
        (key, again, seen): (&'a Located<'a>, bool, Seen),
        held: &'a mut Held<'s>,
    ) -> Db<'a> {
        let number = shard_of(key.slot);
        let (was_held, shard) = held.lock(self, number);
        if !(was_held && again) {
            shard.recent = seen;
        }
        let guards = Guards::Lent(number, shard);
        Db::on(self, guards, (db, now), (Some(key.slot), std::slice::from_ref(key)))
    }
}

/// An item that was in the index at some time.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    handle: Handle,
    /// How many items had gone from where they were by then.
    gone: u64,
}

impl Default for Seen {
    /// None.
    fn default() -> Self {
        Self { handle: 0, gone: u64::MAX }
    }
}

impl Shard {
    /// An item that is in the index.
    #[inline]
    pub(super) fn seen(&self, handle: Handle) -> Seen {
        Seen { handle, gone: self.log.gone() }
    }

    /// Finds a key. If it is that of the item seen last, and nothing has left the index or moved since, it need not be looked up.
    #[inline(always)]
    pub(super) fn find_seen(&self, key: &Key<'_>) -> Option<Place> {
        let Seen { handle, gone } = self.recent;
        if gone == self.log.gone()
            && self.item(handle).space() == key.space
            && same(self.key(handle), key.bytes)
        {
            return Some(Place { space: key.space, slot: key.slot, hash: key.hash, handle });
        }
        self.find(key)
    }
}

/// The locked shards of one command, ascending.
#[derive(Debug)]
pub(crate) enum Guards<'a> {
    /// One, by a lock that somebody else holds.
    Lent(usize, &'a mut Shard),
    /// By their locks, which are released with this.
    Locked(SmallVec<[(usize, MutexGuard<'a, Shard>); 1]>),
}

impl Guards<'_> {
    #[inline]
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Lent(..) => 1,
            Self::Locked(locked) => locked.len(),
        }
    }

    /// The `i`th of them.
    #[inline]
    pub(super) fn get(&self, i: usize) -> &Shard {
        match self {
            Self::Lent(_, shard) => shard,
            Self::Locked(locked) => &locked[i].1,
        }
    }

    /// The same, to be changed.
    #[inline]
    pub(super) fn get_mut(&mut self, i: usize) -> &mut Shard {
        match self {
            Self::Lent(_, shard) => shard,
            Self::Locked(locked) => &mut locked[i].1,
        }
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Shard> {
        (0..self.len()).map(|i| self.get(i))
    }

    /// Which of them this shard is, if it is locked.
    #[inline]
    pub(super) fn position(&self, shard: usize) -> Option<usize> {
        match self {
            Self::Lent(number, _) => (*number == shard).then_some(0),
            Self::Locked(locked) => locked.binary_search_by_key(&shard, |(number, _)| *number).ok(),
        }
    }
}
