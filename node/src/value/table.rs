//! A large collection: byte-string keys with a payload, by linear hashing.
//!
//! Hashes (field to value), sets (member to nothing) and sorted sets (member to score) use it once they are no longer
//! packed. It keeps three promises that a general-purpose map does not: no operation pays for a resize, a
//! cursor without state visits everything that stays ([`Table::scan`]), and any entry can be addressed by a dense
//! number ([`Table::at`]), so that a fair random choice costs one draw.

use std::sync::LazyLock;

use ahash::RandomState;
use smallvec::SmallVec;

use super::{linear, segments::Segments, short::Short};

/// No entry.
const NONE: u32 = u32::MAX;
/// Keys that are loaded together: enough for their waits to overlap, few enough for what was asked for to stay.
pub(crate) const GROUP: usize = 32;
/// Entries of a bucket that are asked for before a group is loaded. More are rare.
const DEPTH: usize = 3;
/// Seeds of the hash function, drawn anew for every process, so that no client can aim at one bucket.
static SEEDS: LazyLock<RandomState> = LazyLock::new(RandomState::new);

fn hash_of(key: &[u8]) -> u32 {
    SEEDS.hash_one(key) as u32
}

#[derive(Debug, Clone)]
struct Entry<V> {
    key: Short,
    payload: V,
    hash: u32,
    /// The next entry of the same bucket.
    next: u32,
}

/// The collection. Entries are numbered densely from 0; a removal gives the last entry the number that became free,
/// and nothing else ever changes a number.
#[derive(Debug, Clone)]
pub struct Table<V> {
    entries: Segments<Entry<V>>,
    /// The first entry of each bucket. At most one bucket per entry is added, so buckets hold about one entry.
    heads: Segments<u32>,
    /// Heap bytes of keys.
    key_bytes: usize,
}

impl<V> Default for Table<V> {
    fn default() -> Self {
        Self { entries: Segments::default(), heads: Segments::default(), key_bytes: 0 }
    }
}

impl<V> Table<V> {
    /// An empty table. Allocates nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes of heap memory held: the table and its keys, but not what payloads hold on the heap. O(1).
    pub fn memory(&self) -> usize {
        self.entries.memory() + self.heads.memory() + self.key_bytes
    }

    /// The payload of `key`.
    pub fn get(&self, key: &[u8]) -> Option<&V> {
        self.find(hash_of(key), key).map(|id| &self.entries[id as usize].payload)
    }

    /// Names the addresses that looking these keys up will read, each after what leads to it, so that the waits for them
    /// overlap.
    pub(crate) fn lead<'k>(&self, keys: impl Iterator<Item = &'k [u8]>, ask: impl Fn(usize)) {
        if self.heads.is_empty() {
            return;
        }
        let buckets: SmallVec<[usize; 32]> =
            keys.map(|key| linear::bucket(hash_of(key), self.heads.len())).collect();
        buckets.iter().for_each(|bucket| ask(std::ptr::from_ref(&self.heads[*bucket]).addr()));
        for bucket in buckets {
            if let Some(first) = Some(self.heads[bucket]).filter(|first| *first != NONE) {
                let entry = &self.entries[first as usize];
                ask(std::ptr::from_ref(entry).addr());
                ask(std::ptr::from_ref(&entry.hash).addr());
            }
        }
    }

    /// Asks for the bucket of entry `i`.
    pub(crate) fn lead_bucket(&self, i: usize, ask: impl Fn(usize)) {
        let bucket = linear::bucket(self.entries[i].hash, self.heads.len());
        ask(std::ptr::from_ref(&self.heads[bucket]).addr());
    }

    /// Asks for entry `i`.
    pub(crate) fn lead_entry(&self, i: usize, ask: impl Fn(usize)) {
        let entry = &self.entries[i];
        ask(std::ptr::from_ref(entry).addr());
        ask(std::ptr::from_ref(&entry.next).addr());
    }

    /// Asks for the bytes of entry `i`'s key, if they lie elsewhere; the entry was asked for before.
    pub(crate) fn lead_key(&self, i: usize, ask: impl Fn(usize)) {
        let key = &self.entries[i].key;
        if key.heap() > 0 {
            let bytes = key.as_ptr_range();
            ask(bytes.start.addr());
            ask(bytes.end.addr() - 1);
        }
    }

    /// Asks for what giving entry `next` another number, and entry `after` behind it, will read: the first entry of the one's
    /// bucket, for which was asked before, and the other's bucket.
    pub(crate) fn lead_relink(&self, next: usize, after: usize, ask: impl Fn(usize)) {
        let first = self.heads[linear::bucket(self.entries[next].hash, self.heads.len())];
        if first != NONE {
            ask(std::ptr::from_ref(&self.entries[first as usize].next).addr());
        }
        self.lead_bucket(after, ask);
    }

    /// The payload of `key`, to change it.
    pub fn get_mut(&mut self, key: &[u8]) -> Option<&mut V> {
        self.find(hash_of(key), key).map(|id| &mut self.entries[id as usize].payload)
    }

    /// Whether `key` is there.
    pub fn contains(&self, key: &[u8]) -> bool {
        self.find(hash_of(key), key).is_some()
    }

    /// The number of `key`.
    pub fn number(&self, key: &[u8]) -> Option<usize> {
        self.find(hash_of(key), key).map(|id| id as usize)
    }

    /// Sets the payload of `key`; the one it had before.
    pub fn insert(&mut self, key: &[u8], payload: V) -> Option<V> {
        let hash = hash_of(key);
        if let Some(id) = self.find(hash, key) {
            return Some(std::mem::replace(&mut self.entries[id as usize].payload, payload));
        }
        self.add(hash, key, payload);
        None
    }

    /// The payload of `key`, to change it; where it is not there yet it is added with what `payload` gives, and that is
    /// said.
    pub fn get_or_insert(&mut self, key: &[u8], payload: impl FnOnce() -> V) -> (&mut V, bool) {
        let (id, added) = self.number_or_add(hash_of(key), key, payload);
        (&mut self.entries[id].payload, added)
    }

    /// The number of `key` and false; if it is not there, it is added with `payload`: its number and true.
    pub fn number_or_insert(&mut self, key: &[u8], payload: V) -> (usize, bool) {
        self.number_or_add(hash_of(key), key, || payload)
    }

    fn number_or_add(&mut self, hash: u32, key: &[u8], payload: impl FnOnce() -> V) -> (usize, bool) {
        match self.find(hash, key) {
            Some(id) => (id as usize, false),
            None => {
                self.add(hash, key, payload());
                (self.len() - 1, true)
            }
        }
    }

    /// Adds a group of keys, about [`GROUP`] of them, that are most likely not there. What adding them will read is asked
    /// for first, so that the waits for it overlap: an element takes little more than half the time. `put` is called
    /// for each with the table, the number of the key, whether it is new (its payload is then what `payload` gave), and
    /// what belongs to it.
    pub(crate) fn load<T: Copy>(
        &mut self,
        group: &[(&[u8], T)],
        ask: impl Fn(usize),
        payload: impl Fn(T) -> V,
        mut put: impl FnMut(&mut Self, usize, bool, T),
    ) {
        let hashes: SmallVec<[u32; GROUP]> = group.iter().map(|(key, _)| hash_of(key)).collect();
        self.lead_additions(&hashes, ask);
        for ((key, what), hash) in group.iter().zip(hashes) {
            let (number, added) = self.number_or_add(hash, key, || payload(*what));
            put(self, number, added, *what);
        }
    }

    /// Asks for what adding keys with these hashes will read: the buckets that they come into and those that are split
    /// for the buckets that come with them, and what is in these.
    fn lead_additions(&self, hashes: &[u32], ask: impl Fn(usize)) {
        let n = self.heads.len();
        if n == 0 {
            return;
        }
        let into = hashes.iter().map(|hash| linear::bucket(*hash, n));
        // Buckets that are split one after the other lie side by side.
        let split = (n..n + hashes.len()).map(linear::partner).filter(|bucket| *bucket < n);
        let buckets: SmallVec<[usize; 2 * GROUP]> = into.chain(split).collect();
        buckets.iter().for_each(|bucket| ask(std::ptr::from_ref(&self.heads[*bucket]).addr()));
        let mut chains: SmallVec<[u32; 2 * GROUP]> =
            buckets.iter().map(|bucket| self.heads[*bucket]).collect();
        for _ in 0..DEPTH {
            chains.retain(|at| *at != NONE);
            chains.iter().for_each(|at| ask(std::ptr::from_ref(&self.entries[*at as usize].hash).addr()));
            chains.iter_mut().for_each(|at| *at = self.entries[*at as usize].next);
        }
    }

    /// Adds a key that is not there.
    fn add(&mut self, hash: u32, key: &[u8], payload: V) {
        if self.entries.len() == self.heads.len() {
            self.grow();
        }
        let bucket = linear::bucket(hash, self.heads.len());
        let id = self.entries.len() as u32;
        assert_ne!(id, NONE, "a collection holds fewer than 2^32 elements");
        self.key_bytes += Short::heap_of(key.len());
        self.entries.push(Entry { key: key.into(), payload, hash, next: self.heads[bucket] });
        self.heads[bucket] = id;
    }

    /// Removes `key`; its payload.
    pub fn remove(&mut self, key: &[u8]) -> Option<V> {
        let id = self.find(hash_of(key), key)?;
        Some(self.remove_at(id as usize).1)
    }

    /// The entry with number `i`, which is below [`len`](Self::len). A fair draw is a fair draw of a number.
    pub fn at(&self, i: usize) -> (&[u8], &V) {
        let entry = &self.entries[i];
        (&entry.key, &entry.payload)
    }

    /// The payload of the entry with number `i`, to change it.
    pub fn payload_mut(&mut self, i: usize) -> &mut V {
        &mut self.entries[i].payload
    }

    /// Removes the entry with number `i`, which is below [`len`](Self::len); the last entry takes its number.
    pub(crate) fn remove_at(&mut self, i: usize) -> (Short, V) {
        let id = i as u32;
        let next = self.entries[i].next;
        self.relink(id, next);
        let last = self.entries.len() as u32 - 1;
        if id != last {
            self.relink(last, id);
        }
        let entry = self.entries.swap_remove(i);
        self.key_bytes -= entry.key.heap();
        if self.entries.is_empty() {
            *self = Self::default();
        }
        // Two buckets for one entry: with one, the buckets would never catch up with a table that is emptied.
        for _ in 0..2 {
            if self.heads.len() > 4 && self.entries.len() < self.heads.len() / 2 {
                self.shrink();
            }
        }
        (entry.key, entry.payload)
    }

    /// All entries, in the order of their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &V)> {
        self.entries.iter().map(|entry| (&*entry.key, &entry.payload))
    }

    /// Visits a few entries (one or two buckets) and returns the cursor of the next call; 0 when the round that
    /// began with cursor 0 is complete. An entry that stays in the table for a whole round is visited at least
    /// once, however the table grows and shrinks; any number is a valid cursor.
    pub fn scan<'a>(&'a self, cursor: u64, mut visit: impl FnMut(&'a [u8], &'a V)) -> u64 {
        let n = self.heads.len();
        if n == 0 {
            return 0;
        }
        let cursor = cursor as u32;
        let (first, second) = linear::visited(cursor, n);
        for bucket in std::iter::once(first).chain(second) {
            let mut at = self.heads[bucket];
            while at != NONE {
                let entry = &self.entries[at as usize];
                visit(&entry.key, &entry.payload);
                at = entry.next;
            }
        }
        u64::from(linear::next_cursor(cursor, n))
    }

    #[inline]
    fn find(&self, hash: u32, key: &[u8]) -> Option<u32> {
        if self.heads.is_empty() {
            return None;
        }
        let mut at = self.heads[linear::bucket(hash, self.heads.len())];
        while at != NONE {
            let entry = &self.entries[at as usize];
            if entry.hash == hash && *entry.key == *key {
                return Some(at);
            }
            at = entry.next;
        }
        None
    }

    /// Makes whatever points to entry `from` point to `to`.
    fn relink(&mut self, from: u32, to: u32) {
        let bucket = linear::bucket(self.entries[from as usize].hash, self.heads.len());
        let mut at = self.heads[bucket];
        if at == from {
            self.heads[bucket] = to;
            return;
        }
        while self.entries[at as usize].next != from {
            at = self.entries[at as usize].next;
        }
        self.entries[at as usize].next = to;
    }

    /// Adds a bucket, which takes its share of its partner's entries.
    fn grow(&mut self) {
        let n = self.heads.len();
        self.heads.push(NONE);
        if n == 0 {
            return;
        }
        let mut at = std::mem::replace(&mut self.heads[linear::partner(n)], NONE);
        while at != NONE {
            let entry = &mut self.entries[at as usize];
            let bucket = linear::bucket(entry.hash, n + 1);
            let next = std::mem::replace(&mut entry.next, self.heads[bucket]);
            self.heads[bucket] = at;
            at = next;
        }
    }

    /// Merges the last bucket into its partner.
    fn shrink(&mut self) {
        let mut at = self.heads.pop().expect("there are several buckets");
        let partner = linear::partner(self.heads.len());
        while at != NONE {
            let next = std::mem::replace(&mut self.entries[at as usize].next, self.heads[partner]);
            self.heads[partner] = at;
            at = next;
        }
    }
}

impl<V: PartialEq> PartialEq for Table<V> {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().all(|(key, payload)| other.get(key) == Some(payload))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    fn key(n: u32) -> Vec<u8> {
        format!("key:{n}").into_bytes()
    }

    proptest! {
        #[test]
        fn behaves_as_a_map(ops in proptest::collection::vec((0u8..5, 0u32..300, any::<u64>()), 1..2000)) {
            let mut model = BTreeMap::new();
            let mut table = Table::new();
            for (op, n, payload) in ops {
                let key = key(n);
                match op {
                    0 | 1 => prop_assert_eq!(table.insert(&key, payload), model.insert(key, payload)),
                    2 => prop_assert_eq!(table.remove(&key), model.remove(&key)),
                    3 => {
                        // Some twice, some that are there, more than a group.
                        let keys: Vec<_> = (0..n % 50).map(|i| self::key(n + i / 2)).collect();
                        let group: Vec<_> = keys.iter().map(|key| (&key[..], payload)).collect();
                        table.load(&group, |_| {}, |payload| payload, |table, number, added, payload| {
                            let known = model.insert(table.at(number).0.to_vec(), payload);
                            assert_eq!(known.is_none(), added);
                            *table.payload_mut(number) = payload;
                        });
                    }
                    _ if !table.is_empty() => {
                        let (key, payload) = table.remove_at(n as usize % table.len());
                        prop_assert_eq!(model.remove(&*key), Some(payload));
                    }
                    _ => {}
                }
                prop_assert_eq!(table.len(), model.len());
            }
            for n in 0..325 {
                prop_assert_eq!(table.get(&key(n)), model.get(&key(n)));
            }
            let all: BTreeMap<_, _> = table.iter().map(|(k, v)| (k.to_vec(), *v)).collect();
            prop_assert_eq!(all, model);
        }

        /// Between any two steps of a scan the table grows or shrinks; what stays throughout is seen.
        #[test]
        fn a_scan_sees_all_that_stays(stay in 1u32..200, mut size in 0u32..2000, steps in proptest::collection::vec(0u32..3000, 1..200)) {
            let mut table = Table::new();
            (0..stay + size).for_each(|n| { table.insert(&key(n), n); });
            let mut seen = BTreeSet::new();
            let (mut cursor, mut rounds) = (0, 0);
            loop {
                cursor = table.scan(cursor, |_, n| { seen.insert(*n); });
                if cursor == 0 {
                    break;
                }
                // Large jumps at first, then none, so that the round ends.
                if let Some(wanted) = steps.get(rounds) {
                    (size..*wanted).for_each(|n| { table.insert(&key(stay + n), stay + n); });
                    (*wanted..size).for_each(|n| { table.remove(&key(stay + n)); });
                    size = *wanted;
                }
                rounds += 1;
            }
            prop_assert!((0..stay).all(|n| seen.contains(&n)));
        }
    }

    #[test]
    fn a_scan_of_a_table_at_rest_sees_everything_once() {
        let mut table = Table::new();
        for n in 0..1000 {
            table.insert(&key(n), ());
            if n % 77 == 0 {
                let mut seen = 0;
                let mut cursor = 0;
                loop {
                    cursor = table.scan(cursor, |_, ()| seen += 1);
                    if cursor == 0 {
                        break;
                    }
                }
                assert_eq!(seen, table.len());
            }
        }
        // Any number is a valid cursor.
        table.scan(u64::MAX, |_, ()| {});
        assert_eq!(Table::<()>::new().scan(7, |_, ()| {}), 0);
    }

    #[test]
    fn chains_stay_short_and_memory_comes_back() {
        let mut table = Table::new();
        (0..100_000).for_each(|n| {
            table.insert(&key(n), ());
        });
        let longest = (0..table.heads.len()).map(|b| {
            let mut at = table.heads[b];
            let mut n = 0;
            while at != NONE {
                at = table.entries[at as usize].next;
                n += 1;
            }
            n
        });
        assert!(longest.max().unwrap() < 20);
        let full = table.memory();
        (0..99_000).for_each(|n| {
            table.remove(&key(n));
        });
        assert!(table.memory() < full / 40, "{} of {full}", table.memory());
        (99_000..100_000).for_each(|n| {
            table.remove(&key(n));
        });
        assert_eq!(table.memory(), 0);
    }
}
