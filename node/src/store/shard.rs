//! What one lock protects: a part of every database, and counters.

use super::{
    DATABASES, Reclaim,
    keyspace::{Keyspace, local},
};

/// Counters of what happened to keys.
#[derive(Debug, Default, Clone, Copy)]
pub struct Stats {
    /// Reads that found their key.
    pub hits: u64,
    /// Reads that did not.
    pub misses: u64,
    /// Keys that expired.
    pub expired: u64,
    /// Keys evicted for memory.
    pub evicted: u64,
    /// Changes of data.
    pub dirty: u64,
}

impl Stats {
    pub(super) fn add(&mut self, other: &Self) {
        self.hits += other.hits;
        self.misses += other.misses;
        self.expired += other.expired;
        self.evicted += other.evicted;
        self.dirty += other.dirty;
    }
}

/// One shard. Database 0 stands apart so that it costs nothing that others exist.
#[derive(Debug)]
pub(crate) struct Shard {
    zero: Box<Keyspace>,
    others: [Option<Box<Keyspace>>; DATABASES - 1],
    pub(super) stats: Stats,
    /// Change of charged memory that the store's total does not know yet.
    pub(super) unsettled: i64,
}

impl Default for Shard {
    fn default() -> Self {
        Self {
            zero: Box::new(Keyspace::new()),
            others: Default::default(),
            stats: Stats::default(),
            unsettled: 0,
        }
    }
}

impl Shard {
    #[inline]
    pub(super) fn keyspace(&self, db: u8) -> Option<&Keyspace> {
        if db == 0 { Some(&self.zero) } else { self.others[usize::from(db) - 1].as_deref() }
    }

    #[inline]
    pub(super) fn keyspace_mut(&mut self, db: u8) -> Option<&mut Keyspace> {
        if db == 0 { Some(&mut self.zero) } else { self.others[usize::from(db) - 1].as_deref_mut() }
    }

    /// The keyspace, made if it is not there.
    #[inline]
    pub(super) fn keyspace_or_new(&mut self, db: u8) -> &mut Keyspace {
        if db == 0 {
            &mut self.zero
        } else {
            self.others[usize::from(db) - 1].get_or_insert_with(|| Box::new(Keyspace::new()))
        }
    }

    /// Each database that exists.
    pub(super) fn databases(&self) -> impl Iterator<Item = u8> + use<> {
        let there: Vec<u8> = (0..DATABASES as u8).filter(|db| self.keyspace(*db).is_some()).collect();
        there.into_iter()
    }

    /// Takes a database out, leaving it empty.
    pub(super) fn take(&mut self, db: u8) -> Option<Box<Keyspace>> {
        let taken = if db == 0 {
            Some(std::mem::replace(&mut self.zero, Box::new(Keyspace::new())))
        } else {
            self.others[usize::from(db) - 1].take()
        };
        if let Some(taken) = &taken {
            self.unsettled -= taken.charged;
            self.stats.dirty += taken.len() as u64;
        }
        taken
    }

    pub(super) fn swap(&mut self, a: u8, b: u8) {
        if a == b {
            return;
        }
        // Both exist from here on.
        self.keyspace_or_new(a);
        self.keyspace_or_new(b);
        let (a, b) = (a.min(b), a.max(b));
        if a == 0 {
            let other = self.others[usize::from(b) - 1].as_mut().expect("made above");
            std::mem::swap(&mut self.zero, other);
        } else {
            self.others.swap(usize::from(a) - 1, usize::from(b) - 1);
        }
    }

    pub(super) fn flush_slots(&mut self, slots: &[u16], reclaim: &Reclaim) {
        for db in self.databases() {
            let Some(keys) = self.keyspace_mut(db) else { continue };
            let before = keys.charged;
            for slot in slots {
                let ids: Vec<u32> = keys.slots[local(*slot)].ids(&keys.entries).collect();
                for id in ids {
                    reclaim.discard(keys.remove(id).value);
                }
            }
            self.unsettled += self.keyspace(db).map_or(0, |k| k.charged) - before;
        }
    }
}
