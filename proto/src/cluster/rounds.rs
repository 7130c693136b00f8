//! How somebody who knows a view empties the whole cluster, which may be changing meanwhile.
//!
//! All members are asked to empty what they serve. If slots are under way, some may leave their owner before that is asked and come to
//! their target after that was: then all are asked twice, since a slot changes hands once in a view.
//!
//! All must have the view by which they are asked, and be in it, before and afterwards: who has a later one may have given slots to somebody who
//! was not asked; who has an earlier one may yet go on with its copies of slots whose owner is gone, after it has emptied the others, and so may
//! others if a process that answers is not the member that it is taken for, but another one at the same address.

use super::mutant::{self, Mutant};

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Ask all members to empty what they serve.
    Empty,
    /// Ask all members for their views.
    Ask,
    /// Say that it is done.
    Done,
    /// Begin anew as soon as there is a newer view.
    Newer,
    /// Begin anew after a while, by the newest view there is then.
    Later,
}

/// What a node says of its view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    /// The epoch of the view that it knows.
    pub epoch: u64,
    /// The same if it is a member, else 0.
    pub mine: u64,
}

/// See the module's documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rounds {
    epoch: u64,
    again: bool,
    emptied: bool,
}

impl Rounds {
    /// By the view of this epoch; to begin with [`Next::Ask`]. `moves`: slots are under way in it.
    pub fn new(epoch: u64, moves: bool) -> Self {
        Self { epoch, again: moves, emptied: false }
    }

    /// All is begun anew by this view, as above, and what was under way may still be.
    pub fn restart(&mut self, epoch: u64, moves: bool) {
        (self.epoch, self.emptied) = (epoch, false);
        self.again |= moves;
    }

    /// All members have emptied what they serve.
    pub fn on_emptied(&mut self) -> Next {
        self.emptied = true;
        let again = std::mem::take(&mut self.again) && !mutant::off(Mutant::EmptyOnce);
        if again { Next::Empty } else { Next::Ask }
    }

    /// All members have said what views they have; `None` is an answer that says nothing.
    pub fn on_views(&self, all: impl IntoIterator<Item = Option<Told>>) -> Next {
        let done = if self.emptied { Next::Done } else { Next::Empty };
        let mut next = done;
        for told in all {
            match told {
                Some(told) if told.epoch > self.epoch => {
                    return if mutant::off(Mutant::EmptyByOldView) { done } else { Next::Newer };
                }
                Some(told) if (told.epoch, told.mine) == (self.epoch, self.epoch) => {}
                _ if mutant::off(Mutant::EmptyAheadOfOthers) => {}
                Some(_) | None => next = Next::Later,
            }
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_is_emptied_twice() {
        let mut rounds = Rounds::new(3, false);
        assert_eq!(rounds.on_emptied(), Next::Ask);
        rounds.restart(4, true);
        assert_eq!([rounds.on_emptied(), rounds.on_emptied()], [Next::Empty, Next::Ask]);
        rounds.restart(5, true);
        rounds.restart(6, false);
        assert_eq!(rounds.on_emptied(), Next::Empty, "it may be under way still");
    }

    #[test]
    fn all_must_have_the_view_and_be_in_it() {
        let mut rounds = Rounds::new(3, false);
        let told = |epoch, mine| Some(Told { epoch, mine });
        let (same, newer) = (told(3, 3), told(4, 4));
        for good in [Next::Empty, Next::Done] {
            assert_eq!(rounds.on_views([same, same]), good);
            for behind in [told(2, 2), told(3, 0), told(0, 0), None] {
                assert_eq!(rounds.on_views([same, behind]), Next::Later);
                assert_eq!(rounds.on_views([behind, newer, same]), Next::Newer);
            }
            assert_eq!(rounds.on_views([same, told(4, 0)]), Next::Newer);
            assert_eq!(rounds.on_emptied(), Next::Ask);
        }
        rounds.restart(4, false);
        assert_eq!(rounds.on_views([newer, newer]), Next::Empty, "they were emptied when they had another");
    }
}
