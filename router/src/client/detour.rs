//! A slot on which one client's requests cannot take the usual way for a while: they queue here, in the client's order.
//!
//! It exists from the first sign of trouble (a node refused a request, a connection broke, the slot got another owner
//! while something was under way) until everything of that client and slot is answered. Until then later requests of the
//! client on that slot are not taken from its socket, so that none overtakes an earlier one at another node.

use std::collections::VecDeque;

use shoal_proto::view::NodeId;

use super::Asker;
use crate::upstream::log::Pending;

/// See the module.
#[derive(Debug)]
pub(crate) struct Detour {
    pub(crate) slot: u16,
    /// What is to be sent, oldest first.
    queue: VecDeque<Held>,
    /// Something of this client and slot is under way: the queue waits for its fate.
    pub(crate) shut: bool,
    /// Not to be tried before, in the worker's ms.
    pub(crate) resume_at: Option<u32>,
    /// Only the first is sent, to see whether the slot is served again: were all sent and the first refused, a later
    /// one might be executed.
    pub(crate) probe: bool,
    /// Times in a row that the node was not ready.
    pub(crate) failures: u8,
}

/// A request that waits.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) pending: Pending,
    pub(crate) request: Vec<u8>,
    /// What its client is told when it has waited for too long.
    pub(crate) why: Vec<u8>,
    /// It was sent and may have been executed.
    pub(crate) doubt: Option<Doubt>,
}

/// Who may have executed a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Doubt {
    /// The node's place on the worker.
    pub(crate) node: u32,
    pub(crate) process: NodeId,
    /// The connections to the node that there had been.
    pub(crate) meetings: u32,
}

impl Detour {
    pub(crate) fn new(slot: u16) -> Self {
        Self { slot, queue: VecDeque::new(), shut: false, resume_at: None, probe: false, failures: 0 }
    }

    pub(crate) fn queue(&self) -> &VecDeque<Held> {
        &self.queue
    }

    /// Adds a request at its place in the client's order.
    pub(crate) fn add(&mut self, held: Held) {
        let at = self.queue.iter().rposition(|h| !held.pending.asker.is_before(h.pending.asker));
        self.queue.insert(at.map_or(0, |at| at + 1), held);
    }

    /// Whether something waits that the client sent before `asker`'s request. Parts of one request do not count: they
    /// have no slots in common.
    pub(crate) fn has_before(&self, asker: Asker) -> bool {
        self.queue.front().is_some_and(|h| h.pending.asker.is_of_earlier(asker))
    }

    pub(crate) fn head(&mut self) -> Option<&mut Held> {
        self.queue.front_mut()
    }

    pub(crate) fn pop(&mut self) -> Option<Held> {
        self.queue.pop_front()
    }

    /// Takes those for which `is` holds.
    pub(crate) fn take(&mut self, is: impl Fn(&Held) -> bool) -> Vec<Held> {
        let (taken, kept) = std::mem::take(&mut self.queue).into_iter().partition(is);
        self.queue = kept;
        Vec::from(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::log::{Effect, Way};

    fn held(seq: u32) -> Held {
        let asker = Asker { client: 0, generation: 0, seq, part: 0 };
        let pending =
            Pending { asker, len: 0, at: 0, way: Way::Slot(0), turn: 0, hops: 0, effect: Effect::Read };
        Held { pending, request: Vec::new(), why: Vec::new(), doubt: None }
    }

    #[test]
    fn the_queue_is_in_the_clients_order_across_the_counters_end() {
        let mut detour = Detour::new(0);
        for seq in [u32::MAX, 1, 0, u32::MAX - 1] {
            detour.add(held(seq));
        }
        let order: Vec<u32> = detour.queue().iter().map(|h| h.pending.asker.seq).collect();
        assert_eq!(order, [u32::MAX - 1, u32::MAX, 0, 1]);
        assert!(detour.has_before(held(u32::MAX).pending.asker));
        assert!(!detour.has_before(held(u32::MAX - 1).pending.asker));
        let taken = detour.take(|h| h.pending.asker.seq > 1);
        assert_eq!(taken.len(), 2);
        assert_eq!(detour.pop().unwrap().pending.asker.seq, 0);
    }
}
