//! How long workers' turns take: what a request waits at most before it is looked at, and so what clients notice when
//! something else takes locks or the processor.
//!
//! Measured only while somebody wants to know: slots on their way adapt their pace to it.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

use parking_lot::Mutex;

/// Time over which turns are looked at together.
pub(crate) const WINDOW: Duration = Duration::from_millis(100);

/// How long turns are measured after somebody has asked, in ms.
const WATCHED: u64 = 1000;

/// One turn of so many may be long.
const RARE: u64 = 100;

/// Turns that were measured, and those of them that took long. One worker's own.
#[derive(Debug, Default)]
pub(crate) struct TurnCounts {
    all: AtomicU64,
    long: AtomicU64,
}

impl TurnCounts {
    fn add(&self, long: bool) {
        // Only its worker writes.
        self.all.store(self.all.load(Relaxed) + 1, Relaxed);
        if long {
            self.long.store(self.long.load(Relaxed) + 1, Relaxed);
        }
    }

    /// Turns, and long ones.
    pub(crate) fn read(&self) -> [u64; 2] {
        [self.all.load(Relaxed), self.long.load(Relaxed)]
    }
}

/// What is found in a window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Which window.
    pub(crate) window: u64,
    /// More than one turn of a hundred took long.
    pub(crate) slow: bool,
}

/// The turns of all workers.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    /// Until when turns are measured, ms since 1970.
    until: AtomicU64,
    /// When the window began, the counts then, and what was found before.
    seen: Mutex<(Option<Instant>, [u64; 2], Verdict)>,
}

impl Turns {
    /// The time, if turns are measured at present. `now`: ms since 1970.
    #[inline]
    pub(crate) fn begin(&self, now: u64) -> Option<Instant> {
        (now < self.until.load(Relaxed)).then(Instant::now)
    }

    /// A turn that was measured ends. `limit`: from when on it is a long one.
    pub(crate) fn end(&self, counts: &TurnCounts, begun: Instant, limit: Duration) {
        counts.add(begun.elapsed() > limit);
    }

    /// Whether turns took long in the last window, none of which is known at first. Has them measured for a while. `counts`
    /// gives those of all workers together; `now`: ms since 1970.
    pub(crate) fn look(&self, now: u64, at: Instant, counts: impl FnOnce() -> [u64; 2]) -> Verdict {
        let before = self.until.fetch_max(now + WATCHED, Relaxed);
        let (begun, then, verdict) = &mut *self.seen.lock();
        if begun.is_none_or(|begun| at.saturating_duration_since(begun) >= WINDOW) {
            let found = counts();
            let [all, long] = [found[0] - then[0], found[1] - then[1]];
            // What was not measured all the time says nothing.
            let slow = before > now && begun.is_some() && long * RARE > all;
            *verdict = Verdict { window: verdict.window + 1, slow };
            (*begun, *then) = (Some(at), found);
        }
        *verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_one_long_turn_of_a_hundred_is_slow() {
        let (turns, counts, start) = (Turns::default(), TurnCounts::default(), Instant::now());
        let look = |n: u32| turns.look(1000, start + n * WINDOW, || counts.read());
        assert!(turns.begin(0).is_none(), "nobody wants to know");
        assert_eq!(look(0), Verdict { window: 1, slow: false });
        assert!(turns.begin(1999).is_some() && turns.begin(2000).is_none());
        let add = |all: usize, long: usize| (0..all).for_each(|n| counts.add(n < long));
        add(200, 2);
        assert_eq!(look(1), Verdict { window: 2, slow: false });
        add(200, 3);
        assert_eq!(turns.look(1000, start + WINDOW, || unreachable!("the window is not over")).window, 2);
        assert_eq!(look(2), Verdict { window: 3, slow: true });
        assert_eq!(look(3), Verdict { window: 4, slow: false }, "there were none");
        add(1, 1);
        assert_eq!(turns.look(1000, start + 3 * WINDOW, || [0; 2]).window, 4);
        assert!(look(4).slow);
    }

    #[test]
    fn turns_from_before_somebody_asked_say_nothing() {
        let (turns, counts, start) = (Turns::default(), TurnCounts::default(), Instant::now());
        counts.add(true);
        assert!(!turns.look(1000, start, || counts.read()).slow);
        counts.add(true);
        assert!(!turns.look(9000, start + 80 * WINDOW, || counts.read()).slow, "nobody measured meanwhile");
        counts.add(true);
        assert!(turns.look(9100, start + 81 * WINDOW, || counts.read()).slow);
    }

    #[test]
    fn a_turn_is_long_when_it_takes_more_than_the_limit() {
        let (turns, counts) = (Turns::default(), TurnCounts::default());
        let begun = Instant::now().checked_sub(Duration::from_millis(50)).unwrap();
        turns.end(&counts, begun, Duration::from_millis(49));
        turns.end(&counts, begun, Duration::from_secs(3600));
        assert_eq!(counts.read(), [2, 1]);
    }
}
