//! The lease: until when this node may serve.
//!
//! A majority of the voters grants it again and again; a node that is cut off or was stopped for a while finds it
//! expired and serves nothing, without having to hear from anybody. Checked once before a batch is
//! executed and once before its replies leave: what was executed too late is not told to anybody.

use std::sync::atomic::{AtomicU64, Ordering};

use rustix::time::{ClockId, clock_gettime};

/// Milliseconds of a clock that no setting of the time moves and that goes on while the machine sleeps. Read without a
/// system call.
#[inline]
pub fn uptime_ms() -> u64 {
    let time = clock_gettime(ClockId::Boottime);
    time.tv_sec as u64 * 1000 + time.tv_nsec as u64 / 1_000_000
}

/// No end: a node without cluster.
const FOREVER: u64 = u64::MAX;

/// Until when this node may serve, by [`uptime_ms`].
#[derive(Debug)]
pub struct Lease {
    until: AtomicU64,
    /// How many times it had ended when it was set anew.
    lapses: AtomicU64,
}

impl Lease {
    /// One that never ends.
    pub(super) fn forever() -> Self {
        Self { until: AtomicU64::new(FOREVER), lapses: AtomicU64::new(0) }
    }

    /// Whether the node may serve now.
    #[inline]
    pub fn is_valid(&self) -> bool {
        let until = self.until.load(Ordering::Acquire);
        until == FOREVER || uptime_ms() < until
    }

    /// When it ends; `u64::MAX`: never.
    pub fn until(&self) -> u64 {
        self.until.load(Ordering::Acquire)
    }

    /// How many times it had ended before it was renewed.
    #[inline]
    pub(super) fn lapses(&self) -> u64 {
        self.lapses.load(Ordering::Acquire)
    }

    /// Sets the end, from one thread only; whether it had ended before.
    pub(super) fn set(&self, until: u64) -> bool {
        let was = self.until.load(Ordering::Acquire);
        let lapsed = was != FOREVER && uptime_ms() >= was;
        // Counted before it is valid again: whoever sees it valid sees that it was not.
        self.lapses.fetch_add(u64::from(lapsed), Ordering::Release);
        self.until.store(until, Ordering::Release);
        lapsed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_ends_and_is_renewed() {
        let lease = Lease::forever();
        assert!(lease.is_valid() && !lease.set(uptime_ms()));
        assert!(!lease.is_valid());
        assert!(lease.set(uptime_ms() + 60_000), "it had ended");
        assert!(lease.is_valid() && !lease.set(u64::MAX));
    }
}
