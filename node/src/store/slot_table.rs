//! The index of one slot: linear hashing with chains through the entries.
//!
//! It grows and shrinks by one bucket at a time, so no insertion ever pays for a resize, and its order is
//! stable enough for stateless cursors: a bucket's entries move only between it and its one partner.

use super::keyspace::Entries;
use crate::value::linear::{bucket, next_cursor, partner, visited};

/// No entry.
pub(super) const NONE: u32 = u32::MAX;

/// The index of one slot.
#[derive(Debug, Default)]
pub(super) struct SlotTable {
    heads: Vec<u32>,
    len: u32,
    /// No entry of this slot expires before this time (ms); `u64::MAX` if none expires at all.
    pub(super) min_expiry: u64,
    /// Where the next sweep goes on.
    pub(super) sweep_at: u32,
    /// The earliest expiry among entries that the sweep under way has seen or will not see; becomes `min_expiry`
    /// when it is through.
    pub(super) swept_min: u64,
}

impl SlotTable {
    pub(super) fn new() -> Self {
        Self { min_expiry: u64::MAX, swept_min: u64::MAX, ..Self::default() }
    }

    pub(super) fn len(&self) -> usize {
        self.len as usize
    }

    pub(super) fn buckets(&self) -> usize {
        self.heads.len()
    }

    /// Where the chain begins in which an entry with this hash would be.
    #[inline]
    pub(super) fn head(&self, hash: u32) -> Option<&u32> {
        if self.heads.is_empty() { None } else { Some(&self.heads[bucket(hash, self.heads.len())]) }
    }

    #[inline]
    pub(super) fn find(&self, entries: &Entries, hash: u32, key: &[u8]) -> Option<u32> {
        if self.heads.is_empty() {
            return None;
        }
        let mut at = self.heads[bucket(hash, self.heads.len())];
        while at != NONE {
            let entry = &entries[at as usize];
            if entry.hash == hash && *entry.key == *key {
                return Some(at);
            }
            at = entry.next;
        }
        None
    }

    /// Links an entry that is not in the table.
    pub(super) fn insert(&mut self, entries: &mut Entries, id: u32) {
        self.len += 1;
        if self.len as usize > self.heads.len() {
            self.grow(entries);
        }
        let b = bucket(entries[id as usize].hash, self.heads.len());
        entries[id as usize].next = self.heads[b];
        self.heads[b] = id;
    }

    /// Unlinks an entry that is in the table.
    pub(super) fn remove(&mut self, entries: &mut Entries, id: u32) {
        let b = bucket(entries[id as usize].hash, self.heads.len());
        let next = entries[id as usize].next;
        if self.heads[b] == id {
            self.heads[b] = next;
        } else {
            let mut at = self.heads[b];
            while entries[at as usize].next != id {
                at = entries[at as usize].next;
            }
            entries[at as usize].next = next;
        }
        self.len -= 1;
        // Two buckets for one entry: with one, the buckets would never catch up with a table that is emptied.
        for _ in 0..2 {
            if self.heads.len() > 4 && (self.len as usize) < self.heads.len() / 2 {
                self.shrink(entries);
            }
        }
    }

    fn grow(&mut self, entries: &mut Entries) {
        let n = self.heads.len();
        self.heads.push(NONE);
        if n == 0 {
            return;
        }
        let mut at = std::mem::replace(&mut self.heads[partner(n)], NONE);
        while at != NONE {
            let entry = &mut entries[at as usize];
            let b = bucket(entry.hash, n + 1);
            // It may have left a bucket that the sweep has yet to reach for one that it has passed.
            if entry.expires_at != 0 {
                self.swept_min = self.swept_min.min(entry.expires_at);
            }
            let next = std::mem::replace(&mut entry.next, self.heads[b]);
            self.heads[b] = at;
            at = next;
        }
    }

    fn shrink(&mut self, entries: &mut Entries) {
        let n = self.heads.len() - 1;
        let mut at = self.heads.pop().unwrap_or(NONE);
        let b = partner(n);
        while at != NONE {
            let next = std::mem::replace(&mut entries[at as usize].next, self.heads[b]);
            self.heads[b] = at;
            at = next;
        }
        if self.heads.capacity() > 2 * self.heads.len() + 8 {
            self.heads.shrink_to_fit();
        }
    }

    /// Takes notice of an entry's new expiry.
    pub(super) fn note_expiry(&mut self, expires_at: u64) {
        self.min_expiry = self.min_expiry.min(expires_at);
        self.swept_min = self.swept_min.min(expires_at);
    }

    /// A sweep begins: it has learnt nothing yet. The bucket behind the first that it looks at.
    pub(super) fn begin_sweep(&mut self) -> usize {
        self.swept_min = u64::MAX;
        self.heads.len()
    }

    /// A sweep came through: what it has learnt is the new bound.
    pub(super) fn finish_sweep(&mut self) {
        self.min_expiry = self.swept_min;
    }

    /// The entries of bucket `b`.
    pub(super) fn bucket<'a>(&'a self, entries: &'a Entries, b: usize) -> impl Iterator<Item = u32> + 'a {
        let mut at = self.heads.get(b).copied().unwrap_or(NONE);
        std::iter::from_fn(move || {
            let id = at;
            (id != NONE).then(|| {
                at = entries[id as usize].next;
                id
            })
        })
    }

    /// All entries.
    pub(super) fn ids<'a>(&'a self, entries: &'a Entries) -> impl Iterator<Item = u32> + 'a {
        self.ids_from(0, entries)
    }

    /// All entries, from bucket `first` on and around.
    pub(super) fn ids_from<'a>(
        &'a self,
        first: usize,
        entries: &'a Entries,
    ) -> impl Iterator<Item = u32> + 'a {
        (first..self.heads.len()).chain(0..first).flat_map(move |b| self.bucket(entries, b))
    }

    /// Visits the buckets that `cursor` stands for and returns the next cursor; 0 when the round is
    /// complete. An entry that stays in the table for a whole round is visited however the table grows and shrinks.
    pub(super) fn visit(&self, entries: &Entries, cursor: u32, mut f: impl FnMut(u32)) -> u32 {
        let n = self.heads.len();
        if n == 0 {
            return 0;
        }
        let (first, second) = visited(cursor, n);
        self.bucket(entries, first).for_each(&mut f);
        if let Some(second) = second {
            self.bucket(entries, second).for_each(&mut f);
        }
        next_cursor(cursor, n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        store::{key::Key, keyspace::Entry},
        value::Str,
    };

    fn entry(hash: u32) -> Entry {
        Entry {
            next: NONE,
            hash,
            expires_at: 0,
            accessed: 0,
            slot: 0,
            frequency: 0,
            key: Key::new(&hash.to_le_bytes()),
            value: Str::default().into(),
            charged: 0,
        }
    }

    #[test]
    fn an_empty_table_has_given_its_buckets_back() {
        let (mut table, mut entries) = (SlotTable::new(), Entries::new());
        let ids: Vec<u32> = (0..10_000u32)
            .map(|i| {
                let id = entries.insert(entry(i.wrapping_mul(0x9e37_79b9))) as u32;
                table.insert(&mut entries, id);
                id
            })
            .collect();
        assert_eq!(table.buckets(), 10_000);
        for id in ids {
            table.remove(&mut entries, id);
            entries.remove(id as usize);
            assert!(table.len() >= 5_000 || table.buckets() <= 2 * table.len() + 4);
        }
        assert!(table.buckets() <= 4, "{} buckets are left", table.buckets());
    }
}
