//! How long workers' turns take: what a request waits at most before it is looked at, and so what clients notice when
//! something else takes locks or the processor.
//!
//! Measured only while somebody wants to know: slots on their way adapt their pace to it. A request that comes during a turn waits for its
//! end, one that comes before waits for the worker to be run, so both are looked at.

use std::{
    fs::File,
    os::unix::fs::FileExt,
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

/// How long one thread waited for a processor before its turns: what others take from it shows there, not in the turns.
#[derive(Debug, Default)]
pub(crate) struct Delay {
    /// The system's account of this thread, if there is one.
    account: Option<Option<File>>,
    /// What it said last.
    seen: Option<Duration>,
    /// When the turn before ended.
    ended: Option<Instant>,
}

impl Delay {
    /// How long the thread was ready and not run before the turn that begins. Only looked at if that can be more than `limit`.
    pub(crate) fn before(&mut self, begun: Instant, limit: Duration) -> Duration {
        let gap = self.ended.map_or(Duration::ZERO, |ended| begun.saturating_duration_since(ended));
        if gap <= limit && self.seen.is_some() {
            return Duration::ZERO;
        }
        self.note(gap, Self::read)
    }

    /// The same from what the account says now.
    fn note(&mut self, gap: Duration, read: impl FnOnce(&mut Self) -> Option<Duration>) -> Duration {
        let now = read(self);
        let before = std::mem::replace(&mut self.seen, now);
        // Turns that were too near to each other for a look are in it: at most what there was between the last two.
        now.zip(before).map_or(Duration::ZERO, |(now, before)| now.saturating_sub(before).min(gap))
    }

    /// A turn ends, or none is measured.
    pub(crate) fn ended(&mut self, at: Option<Instant>) {
        self.ended = at;
        if at.is_none() {
            self.seen = None;
        }
    }

    fn read(&mut self) -> Option<Duration> {
        let account = self.account.get_or_insert_with(|| File::open("/proc/thread-self/schedstat").ok());
        let mut text = [0; 64];
        let len = account.as_ref()?.read_at(&mut text, 0).ok()?;
        delay(&text[..len])
    }
}

/// The second of three numbers: ns that the thread has run, waited for a processor, and how often it ran.
fn delay(account: &[u8]) -> Option<Duration> {
    let waited = std::str::from_utf8(account).ok()?.split_ascii_whitespace().nth(1)?;
    Some(Duration::from_nanos(waited.parse().ok()?))
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

    /// A turn that was measured ends, for which its thread had `waited`. `limit`: from when on that is long together.
    pub(crate) fn end(&self, counts: &TurnCounts, (waited, begun): (Duration, Instant), limit: Duration) {
        counts.add(waited + begun.elapsed() > limit);
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
        turns.end(&counts, (Duration::ZERO, begun), Duration::from_millis(49));
        turns.end(&counts, (Duration::ZERO, begun), Duration::from_secs(3600));
        assert_eq!(counts.read(), [2, 1]);
        turns.end(&counts, (Duration::from_secs(3600), begun), Duration::from_secs(3600));
        assert_eq!(counts.read(), [3, 2], "with the wait before it");
    }

    #[test]
    fn waiting_for_a_processor_counts_as_far_as_there_was_time_for_it() {
        let ms = Duration::from_millis;
        let mut watch = Delay::default();
        let mut note = |gap, said| watch.note(gap, |_| said);
        assert_eq!(note(ms(5), Some(ms(700))), ms(0), "nothing to compare it with");
        assert_eq!(note(ms(5), Some(ms(703))), ms(3));
        assert_eq!(note(ms(5), Some(ms(800))), ms(5), "not all of it was just now");
        assert_eq!((note(ms(5), None), note(ms(5), Some(ms(900)))), (ms(0), ms(0)));
        assert_eq!(delay(b"8012345 3000000 17\n"), Some(ms(3)));
        assert_eq!((delay(b"8012345"), delay(b"")), (None, None));
    }
}
