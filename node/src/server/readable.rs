//! Copies of other nodes' slots that may be read here, as the cluster says ([`shoal_proto::cluster::Readable`]).

use arc_swap::ArcSwap;
use shoal_proto::{Error, error::Result, slot::SLOTS};

use super::Lease;
use crate::store::{SlotSet, contains};

/// One state of it.
#[derive(Debug)]
struct State {
    slots: SlotSet,
    open: bool,
}

/// Which copies may be read.
#[derive(Debug)]
pub(crate) struct Readable(ArcSwap<State>);

impl Readable {
    /// None.
    pub(super) fn none() -> Self {
        Self(ArcSwap::from_pointee(State { slots: [0; SLOTS as usize / 64], open: false }))
    }

    /// These, from now on; if not `open`, they are to be read later or elsewhere.
    pub(super) fn set(&self, slots: impl Iterator<Item = u16>, open: bool) {
        let mut set = [0; SLOTS as usize / 64];
        slots.for_each(|slot| set[usize::from(slot) / 64] |= 1 << (slot % 64));
        self.0.store(State { slots: set, open }.into());
    }

    /// Whether there is such a copy, to be read now or soon.
    pub(super) fn has(&self, slot: u16) -> bool {
        contains(&self.0.load().slots, slot)
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u32 {
        self.0.load().slots.iter().map(|word| word.count_ones()).sum()
    }

    /// Whether the copy may be read at this moment.
    ///
    /// # Errors
    /// [`Error::NotHere`], or [`Error::Held`] while that is undecided.
    pub(super) fn check(&self, slot: u16, lease: &Lease) -> Result {
        let now = self.0.load();
        if !contains(&now.slots, slot) {
            return Err(Error::NotHere(slot));
        }
        if now.open && lease.is_valid() { Ok(()) } else { Err(Error::Held) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_read_while_it_is_open_and_under_a_lease() {
        let (readable, lease) = (Readable::none(), Lease::forever());
        assert_eq!(readable.check(3, &lease), Err(Error::NotHere(3)));
        readable.set([3, 16383].into_iter(), true);
        assert!(readable.has(3) && readable.has(16383) && !readable.has(4) && readable.count() == 2);
        assert_eq!(readable.check(3, &lease), Ok(()));
        readable.set([3].into_iter(), false);
        assert_eq!((readable.check(3, &lease), readable.has(3)), (Err(Error::Held), true));
        readable.set([3].into_iter(), true);
        lease.set(1);
        assert_eq!(readable.check(3, &lease), Err(Error::Held));
    }
}
