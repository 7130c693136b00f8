//! What replies have to wait for before they leave.
//!
//! Commands are executed at once; what they answer is true only if this node was still allowed to serve. When
//! the lease has ended meanwhile the replies wait for its renewal, and never leave if another view came first.

use std::{sync::atomic::Ordering::Acquire, time::Duration};

use super::{Shared, lease::uptime_ms};

/// How many times as long as a command replies may wait: what was executed must not fail lightly.
const PATIENCE: u64 = 4;

/// Counters of what makes earlier answers doubtful.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Times {
    views: u64,
    resets: u64,
    lapses: u64,
}

impl Times {
    /// As they are.
    #[inline]
    pub(super) fn read(shared: &Shared) -> Self {
        let (views, resets) = (shared.views.load(Acquire), shared.resets.load(Acquire));
        Self { views, resets, lapses: shared.lease.lapses() }
    }
}

/// The replies of one batch wait for this.
#[derive(Debug)]
pub(super) struct Fence {
    /// Before the batch was executed.
    before: Times,
}

impl Fence {
    /// The fence for replies of what was executed since `before`, if they need one.
    #[inline]
    pub(super) fn needed(shared: &Shared, before: Times) -> Option<Self> {
        (!shared.lease.is_valid() || Times::read(shared) != before).then_some(Self { before })
    }

    /// Waits until the replies may leave; false if they never may.
    pub(super) async fn passes(self, shared: &Shared) -> bool {
        let give_up = uptime_ms() + PATIENCE * shared.config.hold_timeout();
        let mut ended = false;
        loop {
            let seen = shared.changes.seen();
            let leased = shared.lease.is_valid();
            let now = Times::read(shared);
            ended |= !leased || now.lapses != self.before.lapses;
            if now.resets != self.before.resets || (ended && now.views != self.before.views) {
                return false;
            }
            if leased {
                return true;
            }
            let left = give_up.saturating_sub(uptime_ms());
            if left == 0 {
                return false;
            }
            shared.changes.after(seen, Duration::from_millis(left)).await;
        }
    }
}
