//! A small collection as it lies in the store: a packed run without the lengths by which it is walked backwards.
//!
//! ```text
//! 0-1  number of elements (14 bits); two bits say how much room to grow there is: none, one byte, or as the last two bytes say
//! 2-   the elements, then the room, whatever is in it
//! ```
//!
//! The commands that add or remove one element change it where it lies, by a [`Splice`]: to make a value of it, change that
//! and write it down again costs several times as much. What such a change may not do (too large, another form) is left to the value.

use std::ops::Range;

use smallvec::SmallVec;

use super::{
    Encodings,
    list::{End, Fill},
    packed::{Elem, LENGTHS, Written, decode},
    zset::{Put, comes_before, score_of},
};

/// Bytes before the elements.
pub(crate) const COUNT: usize = 2;
/// In these bytes: there is one byte of room.
const ONE: u16 = 1 << 14;
/// There are more, and the last two say how many.
const MORE: u16 = 1 << 15;
/// Bytes of room that hold their number.
const ROOM: usize = 2;

/// The run, to be read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dense<'a>(&'a [u8]);

/// What a change comes to: what has to be spliced, if anything, and what it says.
pub(crate) type Plan<'a, R> = Option<(Option<Splice<'a>>, R)>;

impl<'a> Dense<'a> {
    /// The run that these bytes hold.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    #[inline]
    fn first(self) -> u16 {
        u16::from_le_bytes([self.0[0], self.0[1]])
    }

    /// Number of elements.
    #[inline]
    pub(crate) fn len(self) -> usize {
        usize::from(self.first() & !(ONE | MORE))
    }

    /// The elements' bytes with whatever is behind them.
    pub(crate) fn run(self) -> &'a [u8] {
        &self.0[COUNT..]
    }

    #[inline]
    fn next(self, at: usize) -> usize {
        match LENGTHS[usize::from(self.0[at])] {
            0 => at + decode(&self.0[at..]).1,
            len => at + usize::from(len),
        }
    }

    fn skip(self, at: usize, elements: usize) -> usize {
        (0..elements).fold(at, |at, _| self.next(at))
    }

    /// Bytes up to the end of the last element.
    #[inline]
    pub(crate) fn used(self) -> usize {
        let room = match (self.first() & MORE, self.0.last_chunk::<ROOM>()) {
            (MORE, Some(room)) => usize::from(u16::from_le_bytes(*room)),
            _ => usize::from(self.first() & ONE != 0),
        };
        self.0.len() - room
    }

    /// Where an element begins, looked for among every `step`th.
    #[inline]
    fn search(self, wanted: &Written<'_>, step: usize) -> Option<usize> {
        let used = self.used();
        if used >= LEAST_SCANNED
            && let Some(found) = wanted.scan(&self.0[..used], COUNT)
        {
            // The bytes may be a part of something else.
            return found.and_then(|_| self.walk(wanted, step));
        }
        self.walk(wanted, step)
    }

    fn walk(self, wanted: &Written<'_>, step: usize) -> Option<usize> {
        let mut at = COUNT;
        for _ in 0..self.len() / step {
            if wanted.begins(&self.0[at..]) {
                return Some(at);
            }
            at = self.skip(at, step);
        }
        None
    }

    /// The value of a field.
    pub(crate) fn value_of(self, field: &[u8]) -> Option<Elem<'a>> {
        let at = self.search(&Written::of(field), 2)?;
        Some(decode(&self.0[self.next(at)..]).0)
    }

    /// Whether an element is there.
    pub(crate) fn contains(self, element: &[u8]) -> bool {
        self.search(&Written::of(element), 1).is_some()
    }

    /// Sets the value of a field, as [`Hash::set`](super::Hash::set) does; whether the field is new.
    #[inline]
    pub(crate) fn set_field<'n>(
        self,
        field: &'n [u8],
        value: &'n [u8],
        limits: &Encodings,
    ) -> Plan<'n, bool> {
        if field.len().max(value.len()) > limits.hash_value || limits.hash_entries == 0 {
            return None;
        }
        let (field, value) = (Written::of(field), Written::of(value));
        match self.search(&field, 2) {
            Some(at) => {
                let from = self.next(at);
                Some((Some(self.splice(from..self.next(from), [value], self.len())), false))
            }
            None if self.len() / 2 >= limits.hash_entries => None,
            None => {
                let end = self.used();
                Some((Some(self.splice(end..end, [field, value], self.len() + 2)), true))
            }
        }
    }

    /// Adds a member, as [`Set::add`](super::Set::add) does; whether it is new.
    #[inline]
    pub(crate) fn add<'n>(self, member: &'n [u8], limits: &Encodings) -> Plan<'n, bool> {
        let written = Written::of(member);
        match self.search(&written, 1) {
            Some(_) => (limits.set_entries > 0).then_some((None, false)),
            None if self.len() >= limits.set_entries || member.len() > limits.set_value => None,
            None => {
                let end = self.used();
                Some((Some(self.splice(end..end, [written], self.len() + 1)), true))
            }
        }
    }

    /// Gives a member a score, which is also there as text, as [`Zset::put`](super::Zset::put) does. Members that change their place
    /// are left to the value.
    #[inline]
    pub(crate) fn put<'n>(
        self,
        member: &'n [u8],
        (score, text): (f64, &'n [u8]),
        limits: &Encodings,
    ) -> Plan<'n, Put> {
        let written = Written::of(member);
        match self.search(&written, 2) {
            Some(at) => {
                let old = self.next(at);
                if score_of(decode(&self.0[old..]).0) == score {
                    return Some((None, Put::Unchanged));
                }
                let after = self.next(old);
                // Of the others, those before it still have to come before it, and those behind it behind.
                let place = self.place(member, score);
                let stays = place == at || place == after;
                stays.then(|| (Some(self.splice(old..after, [Written::of(text)], self.len())), Put::Updated))
            }
            None if self.len() / 2 >= limits.zset_entries || member.len() > limits.zset_value => None,
            None => {
                let at = self.place(member, score);
                let splice = self.splice(at..at, [written, Written::of(text)], self.len() + 2);
                Some((Some(splice), Put::Added))
            }
        }
    }

    /// Where the first pair begins that does not come before a member of this score.
    #[inline]
    fn place(self, member: &[u8], score: f64) -> usize {
        let mut at = COUNT;
        for _ in 0..self.len() / 2 {
            let behind = self.next(at);
            let (other, len) = decode(&self.0[behind..]);
            if !comes_before((decode(&self.0[at..]).0, score_of(other)), (member, score)) {
                break;
            }
            at = behind + len;
        }
        at
    }

    /// Removes an element that is found among every `step`th, and the `step - 1` behind it; whether it was there. The last one
    /// is left to the value.
    pub(crate) fn remove<'n>(self, element: &[u8], step: usize) -> Plan<'n, bool> {
        match self.search(&Written::of(element), step) {
            None => Some((None, false)),
            Some(_) if self.len() == step => None,
            Some(at) => Some((Some(self.splice(at..self.skip(at, step), [], self.len() - step)), true)),
        }
    }

    /// Adds an element at one end, as [`List::push`](super::List::push) does; how many there are then.
    #[inline]
    pub(crate) fn push<'n>(self, end: End, element: &'n [u8], fill: Fill) -> Plan<'n, usize> {
        // A little more than the list counts, for the lengths that are not written here.
        let (used, count) = (self.used(), self.len() + 1);
        if !fill.allows(used + element.len() + 2 * count, count) {
            return None;
        }
        let at = if end == End::Front { COUNT } else { used };
        Some((Some(self.splice(at..at, [Written::of(element)], count)), count))
    }

    /// Removes the element at one end and gives it to `visit`. The last one is left to the value.
    pub(crate) fn pop<'n>(self, end: End, visit: impl FnOnce(Elem<'a>)) -> Plan<'n, ()> {
        if self.len() < 2 {
            return None;
        }
        let before = if end == End::Front { 0 } else { self.len() - 1 };
        let at = self.skip(COUNT, before);
        visit(decode(&self.0[at..]).0);
        Some((Some(self.splice(at..self.next(at), [], self.len() - 1)), ()))
    }

    /// `old` gives way to `new`; there are `count` elements then.
    #[inline]
    fn splice<'n, const N: usize>(
        self,
        old: Range<usize>,
        new: [Written<'n>; N],
        count: usize,
    ) -> Splice<'n> {
        let len = new.iter().map(Written::len).sum();
        Splice { old, used: self.used(), count: count as u16, len, new: SmallVec::from_iter(new) }
    }
}

/// From so many bytes on a run is scanned for what is looked for before it is walked: to follow the lengths from element to
/// element takes longer.
const LEAST_SCANNED: usize = 96;

/// A change of a run: some of its bytes give way to other elements.
#[derive(Debug)]
pub(crate) struct Splice<'a> {
    old: Range<usize>,
    /// Where the run ended before.
    used: usize,
    /// Elements afterwards.
    count: u16,
    /// Bytes of the new elements.
    len: usize,
    new: SmallVec<[Written<'a>; 2]>,
}

impl Splice<'_> {
    /// Bytes of the run afterwards.
    #[inline]
    pub(crate) fn used(&self) -> usize {
        self.used - self.old.len() + self.len
    }

    /// Bytes of what is new.
    pub(crate) fn added(&self) -> usize {
        self.len
    }

    /// Changes the run where it lies; `bytes` has room for all of it.
    #[inline]
    pub(crate) fn apply(&self, bytes: &mut [u8]) {
        if self.len != self.old.len() && self.old.end < self.used {
            bytes.copy_within(self.old.end..self.used, self.old.start + self.len);
        }
        self.fill(bytes);
    }

    /// Writes the run as it will be to `to`, which has room for all of it.
    pub(crate) fn write(&self, from: &[u8], to: &mut [u8]) {
        to[..self.old.start].copy_from_slice(&from[..self.old.start]);
        to[self.old.start + self.len..self.used()].copy_from_slice(&from[self.old.end..self.used]);
        self.fill(to);
    }

    /// Writes the number of elements, those that are new, and how much room is left.
    #[inline]
    fn fill(&self, to: &mut [u8]) {
        let mut at = self.old.start;
        for element in &self.new {
            element.put(&mut to[at..at + element.len()]);
            at += element.len();
        }
        note(to, self.count, self.used());
    }
}

/// Writes how many elements there are, and that behind the first `used` bytes there is room.
#[inline]
fn note(to: &mut [u8], count: u16, used: usize) {
    let room = to.len() - used;
    let bits = match room {
        0 => 0,
        1 => ONE,
        _ => MORE,
    };
    to[..COUNT].copy_from_slice(&(count | bits).to_le_bytes());
    if let (MORE, Some(last)) = (bits, to.last_chunk_mut::<ROOM>()) {
        *last = (room as u16).to_le_bytes();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::value::{Hash, List, Set, Zset, packed::Packed, zset::score_text};

    fn text() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            (-5000i64..5000).prop_map(|n| n.to_string().into_bytes()),
            any::<i64>().prop_map(|n| n.to_string().into_bytes()),
            (0u8..20).prop_map(|n| vec![b'x', n]),
            proptest::collection::vec(any::<u8>(), 0..80),
        ]
    }

    fn limits() -> Encodings {
        Encodings { hash_entries: 6, hash_value: 70, set_entries: 6, set_value: 70, ..Encodings::default() }
    }

    /// A run as the store holds it, with `room` bytes behind it.
    fn dense(run: &Packed, room: usize) -> Vec<u8> {
        let mut bytes = (run.len() as u16).to_le_bytes().to_vec();
        run.write_dense(&mut bytes);
        let used = bytes.len();
        bytes.resize(used + room, 0xe5);
        note(&mut bytes, run.len() as u16, used);
        assert_eq!((Dense::new(&bytes).len(), Dense::new(&bytes).used()), (run.len(), used));
        bytes
    }

    fn packed(bytes: &[u8]) -> Packed {
        let dense = Dense::new(bytes);
        Packed::read_dense(dense.run(), dense.len() as u32)
    }

    /// Makes the change in place, if there is room, and anew with some room, and says what comes of it; both must agree.
    fn made<R>(bytes: &[u8], plan: Plan<'_, R>) -> Option<(Packed, R)> {
        let (splice, result) = plan?;
        let Some(splice) = splice else { return Some((packed(bytes), result)) };
        let mut anew = vec![0xa7; splice.used() + bytes.len() % 4];
        splice.write(bytes, &mut anew);
        assert_eq!(Dense::new(&anew).used(), splice.used());
        if splice.used() <= bytes.len() {
            let mut here = bytes.to_vec();
            splice.apply(&mut here);
            assert_eq!((packed(&here), Dense::new(&here).used()), (packed(&anew), splice.used()));
        }
        Some((packed(&anew), result))
    }

    proptest! {
        /// Whatever is changed where it lies becomes what the value would have become; what is not is left to the value
        /// for a reason.
        #[test]
        fn a_hash_changes_as_its_value(
            ops in proptest::collection::vec((any::<bool>(), text(), text(), 0usize..90), 1..60)
        ) {
            let (mut hash, limits) = (Hash::default(), limits());
            for (set, field, value, room) in ops {
                let Some(run) = hash.as_packed() else { break };
                let bytes = dense(run, room);
                prop_assert_eq!(Dense::new(&bytes).value_of(&field).map(Elem::to_vec), hash.get(&field).map(Elem::to_vec));
                let plan = if set {
                    Dense::new(&bytes).set_field(&field, &value, &limits)
                } else {
                    Dense::new(&bytes).remove(&field, 2)
                };
                let made = made(&bytes, plan);
                let result = if set { hash.set(&field, &value, &limits) } else { hash.remove(&field) };
                match made {
                    Some(made) => prop_assert_eq!(made, (hash.as_packed().unwrap().clone(), result)),
                    None => prop_assert!(hash.is_empty() || hash.as_packed().is_none()),
                }
            }
        }

        #[test]
        fn a_set_changes_as_its_value(ops in proptest::collection::vec((any::<bool>(), text(), 0usize..90), 1..60)) {
            let (mut set, limits) = (Set::packed(), limits());
            for (add, member, room) in ops {
                let Some(run) = set.as_packed() else { break };
                let bytes = dense(run, room);
                prop_assert_eq!(Dense::new(&bytes).contains(&member), set.contains(&member));
                let plan = if add {
                    Dense::new(&bytes).add(&member, &limits)
                } else {
                    Dense::new(&bytes).remove(&member, 1)
                };
                let made = made(&bytes, plan);
                let result = if add { set.add(&member, &limits) } else { set.remove(&member) };
                match made {
                    Some(made) => prop_assert_eq!(made, (set.as_packed().unwrap().clone(), result)),
                    None => prop_assert!(set.is_empty() || set.as_packed().is_none()),
                }
            }
        }

        #[test]
        fn a_sorted_set_changes_as_its_value(
            ops in proptest::collection::vec((any::<bool>(), 0u8..8, -4i32..4, any::<bool>(), 0usize..90), 1..60)
        ) {
            let (mut zset, limits) = (Zset::default(), Encodings { zset_entries: 6, zset_value: 70, ..limits() });
            for (put, name, score, whole, room) in ops {
                let Some(run) = zset.as_packed() else { break };
                let score = if whole { f64::from(score) } else { f64::from(score) / 3.0 };
                // Some members read as scores, and one is too long.
                let member = match name {
                    0..4 => name.to_string().into_bytes(),
                    7 => vec![b'x'; 71],
                    _ => vec![b'x', name],
                };
                let bytes = dense(run, room);
                prop_assert_eq!(Dense::new(&bytes).value_of(&member).map(score_of), zset.score(&member));
                if put {
                    let text = score_text(score);
                    let there = zset.score(&member);
                    let made = made(&bytes, Dense::new(&bytes).put(&member, (score, text.as_bytes()), &limits));
                    let result = zset.put(&member, &limits, Some(score), |_| Some(score));
                    match made {
                        Some(made) => prop_assert_eq!(made, (zset.as_packed().unwrap().clone(), result)),
                        None => prop_assert!(there.is_some() || zset.as_packed().is_none()),
                    }
                } else {
                    let made = made(&bytes, Dense::new(&bytes).remove(&member, 2));
                    let result = zset.remove(&member);
                    match made {
                        Some(made) => prop_assert_eq!(made, (zset.as_packed().unwrap().clone(), result)),
                        None => prop_assert!(zset.is_empty()),
                    }
                }
            }
        }

        #[test]
        fn a_list_changes_as_its_value(
            ops in proptest::collection::vec((0u8..4, text(), 0usize..90), 1..60)
        ) {
            let (mut list, fill) = (List::default(), Fill::new(12));
            for (op, element, room) in ops {
                let Some(run) = list.as_packed() else { break };
                let bytes = dense(run, room);
                let end = if op % 2 == 0 { End::Front } else { End::Back };
                if op < 2 {
                    let made = made(&bytes, Dense::new(&bytes).push(end, &element, fill));
                    list.push(end, [&element[..]].into_iter(), fill);
                    match made {
                        Some(made) => prop_assert_eq!(made, (list.as_packed().unwrap().clone(), list.len())),
                        None => prop_assert!(list.as_packed().is_none()),
                    }
                } else {
                    let (mut seen, first) = (None, list.peek(end).map(Elem::to_vec));
                    let made = made(&bytes, Dense::new(&bytes).pop(end, |elem| seen = Some(elem.to_vec())));
                    list.cut(end, 1, fill);
                    match made {
                        Some((run, ())) => {
                            prop_assert_eq!(&run, list.as_packed().unwrap());
                            prop_assert_eq!(seen, first);
                        }
                        None => prop_assert!(list.is_empty()),
                    }
                }
            }
        }
    }
}
