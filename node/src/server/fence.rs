//! What replies have to wait for before they leave.
//!
//! Commands are executed at once; what they answer is true only if this node was still allowed to serve. When
//! the lease has ended meanwhile the replies wait for its renewal, and never leave if another view came first. And what
//! they tell must be with every copy that would take over: replies wait until it is.

use std::{
    sync::{Arc, atomic::Ordering::Acquire},
    time::Duration,
};

use super::{Shared, lease::uptime_ms};
use crate::{
    command::Wait,
    handoff::{Broken, Outbox},
};

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
    /// Peers that must have what the batch saw.
    waits: Vec<Wait>,
}

impl Fence {
    /// The fence for replies of what was executed since `before`, if they need one.
    #[inline]
    pub(super) fn needed(
        shared: &Shared,
        before: Times,
        waits: impl IntoIterator<Item = Wait, IntoIter: ExactSizeIterator>,
    ) -> Option<Self> {
        let waits = waits.into_iter();
        let needed = waits.len() > 0 || !shared.lease.is_valid() || Times::read(shared) != before;
        needed.then(|| Self { before, waits: waits.collect() })
    }

    /// The next peer that does not have it yet, and how many acknowledgements had been told before it was looked at.
    ///
    /// # Errors
    /// One will never have it that must.
    fn next_copy(&mut self) -> Result<Option<(Arc<Outbox>, u64)>, Broken> {
        while let Some(Wait { outbox, position, strict }) = self.waits.last() {
            let seen = outbox.acks().seen();
            let applied = if *strict { outbox.is_settled(*position) } else { outbox.acked() >= *position };
            if *strict && !applied && outbox.is_broken() {
                return Err(Broken);
            }
            if !applied && (*strict || !outbox.is_safe(*position)) {
                return Ok(Some((outbox.clone(), seen)));
            }
            self.waits.pop();
        }
        Ok(None)
    }

    /// Waits until the replies may leave; false if they never may.
    pub(super) async fn passes(mut self, shared: &Shared) -> bool {
        let give_up = uptime_ms().saturating_add(shared.config.hold_timeout().saturating_mul(PATIENCE));
        let mut ended = false;
        loop {
            let seen = shared.changes.seen();
            let leased = shared.lease.is_valid();
            let now = Times::read(shared);
            ended |= !leased || now.lapses != self.before.lapses;
            if now.resets != self.before.resets || (ended && now.views != self.before.views) {
                return false;
            }
            let Ok(copy) = self.next_copy() else { return false };
            if leased && copy.is_none() {
                return true;
            }
            let left = give_up.saturating_sub(uptime_ms());
            if left == 0 {
                return false;
            }
            let left = Duration::from_millis(left);
            match copy {
                Some((outbox, acks)) => tokio::select! {
                    () = outbox.acks().after(acks, left) => {}
                    () = shared.changes.after(seen, left) => {}
                },
                None => shared.changes.after(seen, left).await,
            }
        }
    }
}
