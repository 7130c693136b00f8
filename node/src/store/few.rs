//! The items of a slot that has very few: they lie in the slot's index itself, which then needs no lines.
//!
//! A line of its own costs a slot 128 bytes with what the allocator loses, and a node with little memory has one item or two in
//! most of its slots.

use super::{line::EMPTY, log::Handle};

/// The most there are.
pub(super) const FEW: usize = 3;

/// Tags and handles.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Few {
    tags: [u8; FEW],
    handles: [Handle; FEW],
}

impl Few {
    /// All items.
    #[inline]
    pub(super) fn items(&self) -> impl Iterator<Item = (u8, Handle)> + use<> {
        self.tags.into_iter().zip(self.handles).filter(|(tag, _)| *tag != EMPTY)
    }

    /// The first item with this tag for which `is` holds.
    #[inline]
    pub(super) fn find(&self, tag: u8, mut is: impl FnMut(Handle) -> bool) -> Option<Handle> {
        self.items().find(|(other, handle)| *other == tag && is(*handle)).map(|(_, handle)| handle)
    }

    fn place(&self, wanted: (u8, Handle)) -> usize {
        let places = self.tags.into_iter().zip(self.handles);
        places.into_iter().position(|place| place == wanted).expect("the item is in the index")
    }

    /// Adds an item, whose tag is not 0; whether there was a place for it.
    pub(super) fn put(&mut self, tag: u8, handle: Handle) -> bool {
        let Some(at) = self.tags.iter().position(|tag| *tag == EMPTY) else { return false };
        (self.tags[at], self.handles[at]) = (tag, handle);
        true
    }

    /// An item that is there has moved.
    pub(super) fn moved(&mut self, tag: u8, from: Handle, to: Handle) {
        let at = self.place((tag, from));
        self.handles[at] = to;
    }

    /// Takes an item out that is there.
    pub(super) fn remove(&mut self, tag: u8, handle: Handle) {
        let at = self.place((tag, handle));
        self.tags[at] = EMPTY;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_items_come_and_go() {
        let mut few = Few::default();
        assert!([(2, 7), (9, 8), (2, 9)].into_iter().all(|(tag, handle)| few.put(tag, handle)));
        assert!(!few.put(5, 1), "there are no more places");
        assert_eq!(
            (few.find(2, |_| true), few.find(2, |handle| handle > 7), few.find(3, |_| true)),
            (Some(7), Some(9), None)
        );
        few.moved(2, 7, 70);
        few.remove(9, 8);
        assert_eq!(few.items().collect::<Vec<_>>(), [(2, 70), (2, 9)]);
        assert!(few.put(5, 1));
        assert_eq!(few.items().collect::<Vec<_>>(), [(2, 70), (5, 1), (2, 9)]);
    }
}
