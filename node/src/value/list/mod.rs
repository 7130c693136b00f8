//! Lists: one packed run while small, then a deque of runs.
//!
//! Used by the list commands and `SORT`. Both forms name themselves as Redis 7.2 does (`listpack`, `quicklist`)
//! and change into one another at the same sizes. Never looks at keys or replies.

mod fill;
mod iter;
mod node;
mod quick;
#[cfg(test)]
mod tests;

pub use fill::Fill;
pub use iter::Iter;
use iter::NodeIter;
use quick::Quick;

use super::packed::{Elem, Packed};

/// One end of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// `LEFT`, the head.
    Front,
    /// `RIGHT`, the tail.
    Back,
}

/// A list value.
#[derive(Debug, Clone, PartialEq)]
pub struct List(Form);

#[derive(Debug, Clone, PartialEq)]
enum Form {
    Packed(Packed),
    Quick(Box<Quick>),
}

impl Default for List {
    fn default() -> Self {
        Self(Form::Packed(Packed::new()))
    }
}

impl List {
    /// A packed list.
    pub(crate) fn from_packed(run: Packed) -> Self {
        Self(Form::Packed(run))
    }

    /// An empty list of the long form.
    pub(crate) fn long() -> Self {
        Self(Form::Quick(Box::default()))
    }

    /// The run, if it is packed.
    pub(crate) fn as_packed(&self) -> Option<&Packed> {
        match &self.0 {
            Form::Packed(run) => Some(run),
            Form::Quick(_) => None,
        }
    }

    /// A list built in one go (`SORT .. STORE`): in the smallest form that may hold it.
    pub fn build<'a>(values: impl IntoIterator<Item = &'a [u8]>, fill: Fill) -> Self {
        let mut quick = Quick::default();
        for value in values {
            quick.push(End::Back, value, fill);
        }
        let mut list = Self(Form::Quick(Box::new(quick)));
        list.pack_if(|bytes, count| fill.fits_packed(bytes, count));
        list
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        match &self.0 {
            Form::Packed(packed) => packed.len(),
            Form::Quick(quick) => quick.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `listpack` or `quicklist`.
    pub fn encoding(&self) -> &'static str {
        match &self.0 {
            Form::Packed(_) => "listpack",
            Form::Quick(_) => "quicklist",
        }
    }

    /// Bytes of heap memory.
    pub fn memory(&self) -> usize {
        match &self.0 {
            Form::Packed(packed) => packed.memory(),
            Form::Quick(quick) => quick.memory(),
        }
    }

    /// Adds elements one after another at one end. O(1) each, amortised: what moves is one run at most.
    pub fn push<'a>(
        &mut self,
        end: End,
        values: impl ExactSizeIterator<Item = &'a [u8]> + Clone,
        fill: Fill,
    ) {
        if let Form::Packed(_) = self.0 {
            self.grow(values.clone().map(<[u8]>::len).sum(), values.len(), fill);
        }
        match &mut self.0 {
            Form::Packed(packed) => {
                for value in values {
                    packed.insert(if end == End::Front { 0 } else { packed.end() }, value);
                }
            }
            Form::Quick(quick) => values.for_each(|value| quick.push(end, value, fill)),
        }
    }

    /// The element at one end.
    pub fn peek(&self, end: End) -> Option<Elem<'_>> {
        match &self.0 {
            Form::Packed(packed) => packed.peek(end == End::Front),
            Form::Quick(quick) => quick.peek(end),
        }
    }

    /// Removes up to `n` elements at one end.
    pub fn cut(&mut self, end: End, n: usize, fill: Fill) {
        self.take_off(end, n);
        self.shrink(fill);
    }

    /// Moves the element at one end to an end, the same or the other; a copy of it.
    pub fn rotate(&mut self, from: End, to: End, fill: Fill) -> Vec<u8> {
        let elem = self.peek(from).map(Elem::to_vec).unwrap_or_default();
        self.take_off(from, 1);
        self.push(to, std::iter::once(elem.as_slice()), fill);
        self.shrink(fill);
        elem
    }

    fn take_off(&mut self, end: End, n: usize) {
        match &mut self.0 {
            Form::Packed(packed) => cut_run(packed, end, n),
            Form::Quick(quick) => quick.cut(end, n),
        }
    }

    /// The index that `index` means: negative ones count from the end. `None` when out of range.
    pub fn index(&self, index: i64) -> Option<usize> {
        let len = self.len() as i64;
        let index = if index < 0 { index + len } else { index };
        (0..len).contains(&index).then_some(index as usize)
    }

    /// Element `index`; skips whole runs by their counts.
    pub fn get(&self, index: usize) -> Option<Elem<'_>> {
        self.iter_from(index, false).next()
    }

    /// All elements in order.
    pub fn iter(&self) -> Iter<'_> {
        self.iter_from(0, false)
    }

    /// The elements from `index` on: towards the end, or towards the head.
    pub fn iter_from(&self, index: usize, backwards: bool) -> Iter<'_> {
        match &self.0 {
            Form::Packed(packed) => {
                let run = if index < packed.len() {
                    node::packed_at(packed, index, backwards)
                } else {
                    packed.slice(0, 0)
                };
                Iter::single(NodeIter::Packed(run), backwards)
            }
            Form::Quick(quick) => quick.iter_from(index, backwards),
        }
    }

    /// Replaces element `index`; whether it exists.
    pub fn set(&mut self, index: i64, value: &[u8], fill: Fill) -> bool {
        // As in Redis, the list grows first as if by one element, even if it then turns out not to.
        self.grow(value.len(), 1, fill);
        let Some(index) = self.index(index) else { return false };
        match &mut self.0 {
            Form::Packed(packed) => {
                if let Some(at) = packed.position(index as i64) {
                    packed.replace(at, value);
                }
            }
            Form::Quick(quick) => quick.replace(index, value, fill),
        }
        self.shrink(fill);
        true
    }

    /// Inserts beside the first element equal to `pivot`; whether there is one.
    pub fn insert(&mut self, pivot: &[u8], after: bool, value: &[u8], fill: Fill) -> bool {
        self.grow(value.len(), 1, fill);
        match &mut self.0 {
            Form::Packed(packed) => {
                let Some(mut at) = packed.find(pivot, 0, 1) else { return false };
                if after {
                    at = packed.read(at).map_or(packed.end(), |(_, next)| next);
                }
                packed.insert(at, value);
                true
            }
            Form::Quick(quick) => quick.insert(pivot, after, value, fill),
        }
    }

    /// Removes up to `max` elements equal to `value`, from the head or from the tail; how many.
    pub fn remove(&mut self, value: &[u8], max: usize, backwards: bool, fill: Fill) -> usize {
        let removed = match &mut self.0 {
            Form::Packed(packed) => remove_from_run(packed, value, max, backwards),
            Form::Quick(quick) => quick.remove(value, max, backwards),
        };
        if removed > 0 {
            self.shrink(fill);
        }
        removed
    }

    /// Becomes a deque of runs if `count` more elements of together `bytes` bytes do not fit into one.
    fn grow(&mut self, bytes: usize, count: usize, fill: Fill) {
        if let Form::Packed(packed) = &mut self.0
            && fill.exceeded(packed.byte_len() + bytes, packed.len() + count)
        {
            self.0 = Form::Quick(Box::new(Quick::new(std::mem::take(packed))));
        }
    }

    /// Becomes one packed run again if it fits into half of one.
    fn shrink(&mut self, fill: Fill) {
        self.pack_if(|bytes, count| fill.fits_packed_again(bytes, count));
    }

    fn pack_if(&mut self, fits: impl Fn(usize, usize) -> bool) {
        if let Form::Quick(quick) = &mut self.0
            && quick.single().is_some_and(|packed| fits(packed.byte_len(), packed.len()))
        {
            self.0 = Form::Packed(quick.take_single());
        }
    }
}

/// Removes up to `n` elements at one end of a run.
fn cut_run(packed: &mut Packed, end: End, n: usize) {
    take_off_run(packed, end, n);
    shrink_run(packed);
}

/// The same; keeps all memory.
fn take_off_run(packed: &mut Packed, end: End, n: usize) {
    let n = n.min(packed.len());
    let at = match end {
        End::Front => 0,
        End::Back => packed.position(-(n as i64)).unwrap_or(packed.end()),
    };
    packed.remove(at, n);
}

/// Removes up to `max` elements equal to `value` from a run; how many.
fn remove_from_run(packed: &mut Packed, value: &[u8], max: usize, backwards: bool) -> usize {
    let elem = Elem::of(value);
    let mut removed = 0;
    let mut at = if backwards { packed.end() } else { 0 };
    while removed < max {
        let found = if backwards { before_equal(packed, at, elem) } else { packed.find(value, at, 1) };
        let Some(found) = found else { break };
        packed.remove(found, 1);
        removed += 1;
        at = found;
    }
    if removed > 0 {
        shrink_run(packed);
    }
    removed
}

/// Position of the last element equal to `elem` before position `at`.
fn before_equal(packed: &Packed, mut at: usize, elem: Elem<'_>) -> Option<usize> {
    loop {
        at = packed.before(at)?;
        if packed.read(at).is_some_and(|(found, _)| found == elem) {
            return Some(at);
        }
    }
}

/// Gives memory back when most of it is unused; the gap keeps a queue from reallocating at every turn.
fn shrink_run(packed: &mut Packed) {
    if packed.memory() > 2 * packed.byte_len() + 64 {
        packed.shrink();
    }
}
