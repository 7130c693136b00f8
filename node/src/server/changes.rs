//! Telling those who wait that something has changed: a gate, the lease, a view, an acknowledgement.

use std::{
    pin::pin,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tokio::sync::Notify;

/// Counts changes and wakes all who wait for the next one.
#[derive(Debug, Default)]
pub struct Changes {
    count: AtomicU64,
    notify: Notify,
}

impl Changes {
    /// How many there have been: read before the look at what may change.
    #[inline]
    pub fn seen(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }

    /// Something has changed.
    pub fn tell(&self) {
        self.count.fetch_add(1, Ordering::Release);
        self.notify.notify_waiters();
    }

    /// Waits until there is a change after `seen`, but no longer than `most`.
    pub async fn after(&self, seen: u64, most: Duration) {
        let mut notified = pin!(self.notify.notified());
        // From here on no wake-up is missed.
        notified.as_mut().enable();
        if self.seen() != seen {
            return;
        }
        // Whoever waits looks again, whatever the reason.
        let _ = tokio::time::timeout(most, notified).await;
    }
}
