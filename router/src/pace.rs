//! When a worker may write: at once, or a moment later together with what comes meanwhile.
//!
//! With many clients that wait for one reply each, a worker that answers every event at once settles in a state of
//! tiny turns: two or three sockets each, and a wake-up of another process for every write. A short rest between
//! turns turns that into few large turns, which cost less per request *and* answer sooner (figures in
//! `docs/benchmarks`). It is the interrupt moderation of network cards applied to turns: the first turn after a quiet
//! moment never waits.

use std::time::{Duration, Instant};

/// Shortest time from one writing to the next small one. Bounds what a request can be delayed by, in each direction.
const GAP: Duration = Duration::from_micros(100);

/// A turn with so many sockets to write is large enough.
const FULL: usize = 32;

/// With fewer busy clients there is nobody to wait for.
const CROWD: u32 = 32;

/// How long a client that asked counts as busy: to twice as long, in powers of two of a millisecond.
const WINDOW_SHIFT: u32 = 2;

/// How many different clients asked lately.
#[derive(Debug, Default)]
pub(crate) struct Crowd {
    window: u32,
    seen: u32,
    seen_before: u32,
}

impl Crowd {
    /// A client asks. `now` in ms; `last` belongs to the client and is only used here.
    #[inline]
    pub(crate) fn saw(&mut self, last: &mut u32, now: u32) {
        let window = now >> WINDOW_SHIFT;
        if window != self.window {
            self.seen_before = if window == self.window.wrapping_add(1) { self.seen } else { 0 };
            (self.window, self.seen) = (window, 0);
        }
        if *last != window {
            *last = window;
            self.seen += 1;
        }
    }

    fn is_large(&self) -> bool {
        self.seen.max(self.seen_before) >= CROWD
    }
}

/// When the worker wrote last.
#[derive(Debug)]
pub(crate) struct Pace {
    wrote: Instant,
}

impl Pace {
    pub(crate) fn new() -> Self {
        Self { wrote: Instant::now() }
    }

    /// How long to rest before `sockets` are written; `None` to write at once.
    #[inline]
    pub(crate) fn rest(&self, crowd: &Crowd, sockets: usize, now: Instant) -> Option<Duration> {
        if sockets >= FULL || !crowd.is_large() {
            return None;
        }
        GAP.checked_sub(now.saturating_duration_since(self.wrote)).filter(|rest| !rest.is_zero())
    }

    /// A writing begins.
    #[inline]
    pub(crate) fn wrote(&mut self, now: Instant) {
        self.wrote = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crowd(clients: u32, now: u32) -> Crowd {
        let mut crowd = Crowd::default();
        for _ in 0..clients {
            crowd.saw(&mut u32::MAX.clone(), now);
        }
        crowd
    }

    #[test]
    fn few_clients_never_wait() {
        let pace = Pace::new();
        assert_eq!(pace.rest(&crowd(CROWD - 1, 1000), 1, pace.wrote), None);
    }

    #[test]
    fn one_busy_client_is_one_client() {
        let (mut crowd, mut last) = (Crowd::default(), u32::MAX);
        for now in 0..1000 {
            crowd.saw(&mut last, 4000 + now % 4);
        }
        assert!(!crowd.is_large());
    }

    #[test]
    fn a_rest_ends_a_gap_after_the_last_writing() {
        let (pace, crowd) = (Pace::new(), crowd(CROWD, 1000));
        let at = |us| pace.wrote + Duration::from_micros(us);
        assert_eq!(pace.rest(&crowd, 1, at(30)), Some(Duration::from_micros(70)));
        assert_eq!(pace.rest(&crowd, 1, at(100)), None);
        assert_eq!(pace.rest(&crowd, 1, at(900)), None);
        assert_eq!(pace.rest(&crowd, FULL, at(1)), None);
    }

    #[test]
    fn a_crowd_that_went_is_forgotten() {
        let mut crowd = crowd(CROWD, 1000);
        assert!(crowd.is_large());
        crowd.saw(&mut 0, 1004);
        assert!(crowd.is_large(), "the window before counts");
        crowd.saw(&mut 0, 1008);
        assert!(!crowd.is_large());
    }
}
