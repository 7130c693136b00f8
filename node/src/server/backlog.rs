//! How long a client has left too much unread (`client-output-buffer-limit`).

use crate::config::OutputLimit;

/// How often clients that have something to read are looked at, in ms.
pub(super) const LOOK_EVERY: u64 = 200;

/// Since when a client has exceeded the soft limit.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Backlog(Option<u64>);

impl Backlog {
    /// Whether a client for which `waiting` bytes wait at `now` (ms) has to be closed.
    pub(super) fn is_too_much(&mut self, waiting: usize, limit: OutputLimit, now: u64) -> bool {
        if waiting >= limit.hard {
            return true;
        }
        if waiting < limit.soft {
            self.0 = None;
            return false;
        }
        let since = *self.0.get_or_insert(now);
        now.saturating_sub(since) > limit.soft_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hard_limit_is_immediate_and_the_soft_one_counts_time_in_one_piece() {
        let limit = OutputLimit { hard: 100, soft: 10, soft_ms: 1000 };
        let mut backlog = Backlog::default();
        let mut at = |waiting, now| backlog.is_too_much(waiting, limit, now);
        assert!(!at(99, 0) && !at(10, 1000), "as long as it may");
        assert!(!at(9, 1001), "it read, so the time begins anew");
        assert!(!at(10, 1002) && !at(10, 2002));
        assert!(at(10, 2003));
        assert!(at(100, 0));
        let never = OutputLimit { hard: usize::MAX, soft: usize::MAX, soft_ms: 0 };
        assert!(!Backlog::default().is_too_much(1 << 40, never, 1 << 50));
    }
}
