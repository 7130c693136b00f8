//! When to trim, and what to hold against the limit.

use super::{Patience, SLACK, SLACK_SHARE, allowed};
use crate::store::far_above;

/// Looks between two trims, at least and, where they gain little, at most.
const FEWEST_LOOKS: u32 = 2;
const MOST_LOOKS: u32 = 128;
/// The most that is held against `maxmemory`: one in so many bytes of it.
const MOST_PADDING_SHARE: u64 = 2;
/// The index is moved together when one in so many bytes has gone since it was so last, and if as many are lost as one in so
/// many of its own.
const GONE_SHARE: u64 = 4;
const INDEX_SHARE: u64 = 2;
/// The same between two moves because much is held against the limit.
const FEWEST_BETWEEN_MOVES: u32 = 32;
const MOST_BETWEEN_MOVES: u32 = 4096;
/// Between looks, only what is above the bound by more than one in so many bytes of the limit is acted on.
pub(crate) const GLANCE_SHARE: u64 = 64;

/// Decides, from what is resident, when to trim and what to hold against the limit. No clock, no system calls.
#[derive(Debug)]
pub(crate) struct Keeper {
    /// Resident before there was a key.
    base: u64,
    padding: u64,
    trims: Patience,
    /// What was resident at the last trim.
    before: u64,
    held: u64,
    /// Of the index.
    moves: Patience,
    /// The most that was held since the last of them.
    peak: u64,
    /// What was resident before the last, until it is known what it gained.
    moved_at: Option<u64>,
    /// It will be moved when nothing is going any more.
    pending: bool,
}

impl Keeper {
    pub(crate) fn new(base: u64) -> Self {
        Self {
            base,
            padding: 0,
            trims: Patience::new(FEWEST_LOOKS, MOST_LOOKS),
            before: 0,
            held: 0,
            moves: Patience::new(FEWEST_BETWEEN_MOVES, MOST_BETWEEN_MOVES),
            peak: 0,
            moved_at: None,
            pending: false,
        }
    }

    /// Bytes to hold against the limit.
    pub(crate) fn padding(&self) -> u64 {
        self.padding
    }

    /// One look; whether to trim now. `held` is without the padding.
    pub(super) fn look(&mut self, resident: u64, held: u64, maxmemory: u64) -> bool {
        let resident = resident.saturating_sub(self.base);
        let goal = self.goal(maxmemory);
        if maxmemory == 0 {
            self.padding = 0;
        } else if resident > goal {
            self.ask_for(resident - goal, held, maxmemory);
        } else {
            self.let_go(goal - resident);
        }
        if held + SLACK < self.held {
            // Much has just gone: there will be something to gain.
            self.trims.end();
        }
        self.held = held;
        let trim = self.trims.is_over() && resident > held + held / SLACK_SHARE + SLACK;
        if trim {
            self.trims.done(resident + SLACK / 2 < self.before || resident > self.before + SLACK);
            self.before = resident;
        }
        trim
    }

    /// What may be resident beside the process itself.
    fn goal(&self, maxmemory: u64) -> u64 {
        allowed(self.base, maxmemory) - self.base
    }

    /// So much should go.
    fn ask_for(&mut self, excess: u64, held: u64, maxmemory: u64) {
        // What was asked for before may not have been done yet: little is evicted while nobody writes.
        let done = held + self.padding <= far_above(maxmemory);
        // Where much has just gone its memory will follow.
        if done && !self.pending {
            self.add(excess / 2, maxmemory);
        }
    }

    /// So much more could be resident.
    fn let_go(&mut self, spare: u64) {
        self.padding -= self.padding.min(spare / 2);
    }

    /// So much more is held against the limit.
    pub(crate) fn add(&mut self, bytes: u64, maxmemory: u64) {
        self.padding = (self.padding + bytes).min(maxmemory / MOST_PADDING_SHARE);
    }

    /// A look between others, at what is below the bound or far above it only.
    pub(super) fn glance(&mut self, resident: u64, held: u64, maxmemory: u64) {
        let bound = self.base + self.goal(maxmemory);
        if maxmemory == 0 || resident <= bound {
            self.let_go(bound.saturating_sub(resident));
        } else if resident - bound > maxmemory / GLANCE_SHARE {
            self.ask_for(resident - bound, held, maxmemory);
        }
    }

    /// Whether the index, of that many bytes, should be moved together: to be asked before each [`look`](Self::look). Not while
    /// much is going, as it would only be scattered anew.
    pub(super) fn is_scattered(&mut self, resident: u64, held: u64, index: u64) -> bool {
        self.peak = self.peak.max(held);
        if let Some(before) = self.moved_at.take() {
            self.moves.done(resident + SLACK / 2 < before);
        }
        let rested = self.moves.is_over();
        let worth = SLACK + index / INDEX_SHARE;
        let going = held + SLACK < self.held;
        let gone = self.peak - held > SLACK + self.peak / GONE_SHARE;
        let lost = gone && resident.saturating_sub(self.base + held) > worth;
        self.pending = lost && going;
        let scattered = !going && (lost || (self.padding > worth && rested));
        if scattered {
            (self.peak, self.moved_at) = (held, Some(resident));
        }
        scattered
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: u64 = 1 << 20;

    #[test]
    fn what_cannot_be_given_back_is_held_against_the_limit() {
        let mut keeper = Keeper::new(7 * MB);
        assert!(!keeper.look(100 * MB, 95 * MB, 100 * MB) && keeper.padding == 0);
        // Of what is accounted for, three times as much is resident, whatever is trimmed.
        let mut held = 100 * MB;
        for _ in 0..100 {
            keeper.look(7 * MB + held / 10 * 30, held, 100 * MB);
            held = 100 * MB - keeper.padding;
        }
        assert_eq!(keeper.padding, 50 * MB, "no more than half");
        for _ in 0..100 {
            keeper.look(7 * MB + held / 10 * 12, held, 100 * MB);
            held = 100 * MB - keeper.padding;
        }
        assert!((107 * MB..=112 * MB).contains(&(held / 10 * 12)), "{held}");
        for _ in 0..100 {
            keeper.look(7 * MB + held, held, 100 * MB);
            held = 100 * MB - keeper.padding;
        }
        assert_eq!(keeper.padding, 0);
        assert!(keeper.look(300 * MB, 95 * MB, 0), "without a limit it trims only");
        assert_eq!(keeper.padding, 0);
    }

    /// While nobody writes, nothing is evicted: looking again and again must not cost more and more of what there is.
    #[test]
    fn no_more_is_asked_for_before_it_was_done() {
        let mut keeper = Keeper::new(8 * MB);
        for _ in 0..1000 {
            keeper.look(29 * MB, 16 * MB, 16 * MB);
        }
        let asked = keeper.padding;
        assert!((MB / 2..2 * MB).contains(&asked), "{asked}");
        // When it was done and is not enough, more is asked for.
        keeper.look(29 * MB, 16 * MB - asked, 16 * MB);
        assert!(keeper.padding > asked);
    }

    #[test]
    fn a_glance_acts_on_what_is_far_above() {
        let mut keeper = Keeper::new(8 * MB);
        let bound = 8 * MB + keeper.goal(100 * MB);
        keeper.glance(bound + MB, 100 * MB, 100 * MB);
        keeper.glance(bound + 50 * MB, 100 * MB, 0);
        assert_eq!(keeper.padding, 0);
        keeper.glance(bound + 8 * MB, 100 * MB, 100 * MB);
        keeper.glance(bound + 8 * MB, 100 * MB, 100 * MB);
        assert_eq!(keeper.padding, 4 * MB, "no more before it was done");
        keeper.glance(bound + 4 * MB, 96 * MB, 100 * MB);
        assert_eq!(keeper.padding, 6 * MB);
        keeper.glance(bound - 8 * MB, 90 * MB, 100 * MB);
        assert_eq!(keeper.padding, 2 * MB, "it has come back");
    }

    #[test]
    fn the_index_is_moved_once_after_much_has_gone() {
        let mut keeper = Keeper::new(8 * MB);
        let look = |keeper: &mut Keeper, resident, held| {
            let scattered = keeper.is_scattered(resident, held, 2 * MB);
            keeper.look(resident, held, 0);
            scattered
        };
        assert!(!look(&mut keeper, 140 * MB, 128 * MB));
        assert!(!look(&mut keeper, 100 * MB, 60 * MB), "it is still going");
        assert!(!look(&mut keeper, 44 * MB, 20 * MB), "it is still going");
        assert!(look(&mut keeper, 44 * MB, 20 * MB));
        assert!(!look(&mut keeper, 44 * MB, 20 * MB), "once");
        // It comes and goes little by little.
        (20..=40).for_each(|held| assert!(!look(&mut keeper, 60 * MB, held * MB)));
        let moves = (10..=40).rev().filter(|held| look(&mut keeper, 60 * MB, held * MB)).count();
        assert!((1..=3).contains(&moves), "{moves}");
        // Nothing is lost.
        (2..=9).rev().for_each(|held| assert!(!look(&mut keeper, (9 + held) * MB, held * MB)));
    }

    /// Where much is held against the limit it is moved again, but rarely if that gains nothing.
    #[test]
    fn moves_that_gain_nothing_become_rare() {
        let mut keeper = Keeper::new(8 * MB);
        let moves = |keeper: &mut Keeper, looks: u32, resident: u64| {
            let moved = |_: &u32| {
                let held = 20 * MB - keeper.padding;
                let scattered = keeper.is_scattered(resident, held, 2 * MB);
                keeper.look(resident, held, 20 * MB);
                scattered
            };
            (0..looks).filter(moved).count()
        };
        let few = moves(&mut keeper, 4096, 40 * MB);
        assert!((4..=9).contains(&few), "{few}");
        assert_eq!(moves(&mut keeper, 10_000, 28 * MB), 0, "nothing is held against the limit");
    }

    #[test]
    fn trims_that_gain_nothing_become_rare() {
        let mut keeper = Keeper::new(0);
        let trims = |keeper: &mut Keeper, looks: u32, resident: u64| {
            (0..looks).filter(|_| keeper.look(resident, 100 * MB, 0)).count()
        };
        assert!(trims(&mut keeper, 1000, 200 * MB) <= 15);
        assert_eq!(trims(&mut keeper, 1000, 104 * MB), 0);
        // At once when much has gone, and anew when something has changed.
        assert!(keeper.look(200 * MB, 50 * MB, 0));
        assert!(trims(&mut keeper, 2 * MOST_LOOKS, 300 * MB) >= 4);
    }
}
