//! Which of the copies at one member may be read.
//!
//! If answers wait for copies (`--replica-ack all`), a copy is never older than what was answered when the read began, because:
//!
//! - the view in force lists it, so its owner answers nothing that it does not have until a later view does not list it;
//! - no slot that has a target is read: whoever takes it over within the view knows nothing of its other copies;
//! - nothing is read from the promise for the next view on until that is in force: whatever is made of the slot in it
//!   cannot have been answered before all who stay have promised;
//! - nothing is read without a lease, and whoever is left out of the next view has none when that is chosen.
//!
//! If answers do not wait, a copy is as old as its stream is late, and one whose stream broke is not read.

use std::sync::Arc;

use super::mutant::{self, Mutant};
use super::slots::Slots;

/// The copies that may be read here. All of it under the lease only.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Readable {
    /// Slots of others of which a copy is here.
    pub slots: Slots,
    /// Whether they may be read now; if not, reads wait for the next view.
    pub open: bool,
}

/// See the module's documentation.
#[derive(Debug, Clone, Default, Hash)]
pub(super) struct Reading {
    now: Arc<Readable>,
    changed: bool,
}

impl Reading {
    /// These may be read in the view that is in force from now on.
    pub(super) fn on_view(&mut self, slots: Slots) {
        let new = Readable { open: !slots.is_empty(), slots };
        if *self.now != new {
            self.now = Arc::new(new);
            self.changed = true;
        }
    }

    /// A view is being made.
    pub(super) fn close(&mut self) {
        if self.now.open && !mutant::off(Mutant::ReadWedged) {
            Arc::make_mut(&mut self.now).open = false;
            self.changed = true;
        }
    }

    /// What is here of a slot is not to be read any more.
    pub(super) fn remove(&mut self, slot: u16) {
        if self.now.slots.has(slot) {
            Arc::make_mut(&mut self.now).slots.remove(slot);
            self.changed = true;
        }
    }

    /// Nothing is here any more.
    pub(super) fn end(&mut self) {
        self.on_view(Slots::default());
    }

    /// What changed since this was asked last.
    pub(super) fn poll(&mut self) -> Option<Arc<Readable>> {
        std::mem::take(&mut self.changed).then(|| self.now.clone())
    }
}
