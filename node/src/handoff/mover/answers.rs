//! What goes back to the peer that slots come from, until it is written.
//!
//! Bounded whatever the peer reads: of positions only the latest counts, and a peer that leaves more answers unread than there
//! are slots has asked for more than it may.

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::wire;

/// Bytes of answers that may wait: several for each slot.
const MOST: usize = 1 << 20;

/// Frames of one stream that wait to be written.
#[derive(Debug, Default)]
pub(super) struct Answers {
    waiting: Mutex<Waiting>,
    added: Notify,
}

/// What follows what was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// More, some time.
    More,
    /// Nothing: that was the end.
    Last,
    /// Nothing: more waited than may.
    TooMuch,
}

#[derive(Debug, Default)]
struct Waiting {
    pending: Option<u64>,
    answers: Vec<u8>,
    applied: Option<u64>,
    settled: Option<u64>,
    slow: bool,
    full: bool,
    too_much: bool,
}

impl Waiting {
    fn is_empty(&self) -> bool {
        let Self { pending, answers, applied, settled, slow, full, too_much } = self;
        answers.is_empty() && pending.or(*applied).or(*settled).is_none() && !(*slow || *full || *too_much)
    }
}

impl Answers {
    fn add(&self, change: impl FnOnce(&mut Waiting)) {
        change(&mut self.waiting.lock());
        self.added.notify_one();
    }

    /// One that [`wire::answer`] made.
    pub(super) fn send(&self, answer: &[u8]) {
        self.add(|waiting| {
            waiting.too_much |= waiting.answers.len() + answer.len() > MOST;
            if !waiting.too_much {
                waiting.answers.extend_from_slice(answer);
            }
        });
    }

    /// The stream was applied up to here.
    pub(super) fn applied(&self, position: u64) {
        self.add(|waiting| waiting.applied = Some(position));
    }

    /// Something before this is not yet with our copies. To be said before it counts as applied.
    pub(super) fn pending(&self, position: u64) {
        self.add(|waiting| waiting.pending = Some(position));
    }

    /// What was pending before this is with them.
    pub(super) fn settled(&self, position: u64) {
        self.add(|waiting| waiting.settled = Some(position));
    }

    /// Commands take long here.
    pub(super) fn slow(&self) {
        self.add(|waiting| waiting.slow = true);
    }

    /// No memory is left here. Nothing follows.
    pub(super) fn full(&self) {
        self.add(|waiting| waiting.full = true);
    }

    /// Puts all that waits into `frames`, in place of what they held.
    pub(super) fn take(&self, frames: &mut Vec<u8>) -> Next {
        let waiting = &mut *self.waiting.lock();
        frames.clear();
        // First what must be known before the rest counts.
        frames.extend(waiting.pending.take().map(wire::pending).unwrap_or_default());
        frames.append(&mut waiting.answers);
        frames.extend(waiting.applied.take().map(wire::applied).unwrap_or_default());
        frames.extend(waiting.settled.take().map(wire::settled).unwrap_or_default());
        if std::mem::take(&mut waiting.slow) {
            frames.extend(wire::slow());
        }
        let full = std::mem::take(&mut waiting.full);
        if full {
            frames.extend(wire::full());
        }
        match (waiting.too_much, full) {
            (true, _) => Next::TooMuch,
            (false, true) => Next::Last,
            (false, false) => Next::More,
        }
    }

    /// Waits until there is something to write. For one task only.
    pub(super) async fn added(&self) {
        while self.waiting.lock().is_empty() {
            self.added.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handoff::mover::wire::Back;

    fn taken(answers: &Answers) -> Vec<Back> {
        let (mut frames, mut all) = (b"old".to_vec(), Vec::new());
        let next = answers.take(&mut frames);
        let mut at = 0;
        while let Some((back, len)) = wire::next(&frames[at..]).unwrap() {
            all.push(back);
            at += len;
        }
        assert_eq!(at, frames.len());
        assert_eq!(next == Next::Last, all.last() == Some(&Back::Full));
        all
    }

    #[test]
    fn the_latest_of_each_is_written_in_an_order_in_which_all_is_true() {
        let answers = Answers::default();
        let taken_over = shoal_proto::cluster::Transfer::Taken { slot: 1, id: 2 };
        answers.settled(5);
        answers.applied(6);
        answers.applied(9);
        answers.send(&wire::answer(&taken_over));
        answers.pending(8);
        answers.slow();
        answers.full();
        assert_eq!(
            taken(&answers),
            [
                Back::Pending(8),
                Back::Answer(taken_over),
                Back::Applied(9),
                Back::Settled(5),
                Back::Slow,
                Back::Full
            ]
        );
        assert_eq!(taken(&answers), []);
    }

    #[test]
    fn a_peer_that_leaves_too_much_unread_ends_its_stream() {
        let answers = Answers::default();
        let one = wire::answer(&shoal_proto::cluster::Transfer::Taken { slot: 1, id: 2 });
        let fit = MOST / one.len();
        (0..fit).for_each(|_| answers.send(&one));
        let mut frames = Vec::new();
        assert_eq!((answers.take(&mut frames), frames.len()), (Next::More, fit * one.len()));
        (0..=fit).for_each(|_| answers.send(&one));
        (0..fit).for_each(|n| answers.applied(n as u64));
        assert_eq!(answers.take(&mut frames), Next::TooMuch);
        assert!(frames.len() < MOST + 100, "no more is kept");
    }
}
