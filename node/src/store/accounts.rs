//! What a shard takes of memory, and how the store comes to know of it.

use super::{
    keyspace,
    shard::{INDEX_SHARE, Shard},
};

/// What the store knows of one shard.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Settled {
    used: i64,
    lost: i64,
    /// What [`tells_of_changes`](Shard::tells_of_changes) was then.
    at: (i64, u64, u64),
}

impl Shard {
    /// Bytes charged here.
    pub(super) fn used(&self) -> i64 {
        self.used
    }

    /// Bytes that hold no key and no value.
    #[inline]
    pub(super) fn lost(&self) -> i64 {
        // Slots of few items have no lines: what these are charged with is a part of what the slots take.
        let index = (self.index_lines * 64 - (self.hand.items * INDEX_SHARE) as i64).max(0);
        // The first database's is part of the process.
        let spaces = self.held_spaces.saturating_sub(1) * keyspace::EMPTY;
        self.log.waste() as i64 + index + (self.hand.memory() + spaces + self.leftovers.memory()) as i64
    }

    /// Changes of charged bytes and of lost ones since the last call.
    #[inline]
    pub(super) fn settle(&mut self) -> (i64, i64) {
        let lost = self.lost();
        let delta = (self.used - self.settled.used, lost - self.settled.lost);
        self.settled = Settled { used: self.used, lost, at: self.tells_of_changes() };
        delta
    }

    /// Whether nothing was changed since, as mostly after a command that reads.
    #[inline]
    pub(super) fn is_settled(&self) -> bool {
        let known = &self.settled;
        let settled = known.at == self.tells_of_changes();
        debug_assert!(
            !settled || (known.used, known.lost) == (self.used, self.lost()),
            "what is lost changes with something"
        );
        settled
    }

    /// Whatever is written or removed changes one of these; what is only read changes none.
    #[inline]
    fn tells_of_changes(&self) -> (i64, u64, u64) {
        (self.used, self.stats.dirty, self.log.gone())
    }
}
