//! Trims while memory is taken faster than anybody looks at it.

use super::{NODES, Patience, Relaxed, SLACK, SLACK_SHARE, allowed, base, resident, trim};

/// After a trim that gained less than one in so many bytes of [`SLACK`], more requests pass, at most the second number.
const GAIN_SHARE: u64 = 4;
const MOST_PASSED: u32 = 64;

/// When to trim at the next request. Unlike the [`Keeper`](super::Keeper), that looks at all that is resident beside what is held,
/// it acts on what is above the limit only, where a process can come to its end.
#[derive(Debug)]
pub(crate) struct Trims {
    /// Turns are requests.
    patience: Patience,
}

impl Default for Trims {
    fn default() -> Self {
        Self { patience: Patience::new(0, MOST_PASSED) }
    }
}

impl Trims {
    /// Trims if the process is above a node's limit of so many bytes and what goes with it. Bytes above what may be resident
    /// with that limit afterwards, as far as they can be said to be that node's.
    pub(crate) fn request(&mut self, limit: u64) -> u64 {
        let (nodes, before) = (NODES.load(Relaxed) as u64, resident());
        let mut after = before;
        if nodes > 0 && self.is_due(before.saturating_sub(base()), limit * nodes) {
            trim();
            after = resident();
            self.trimmed(before.saturating_sub(after));
        }
        if nodes == 1 { after.saturating_sub(allowed(base(), limit)) } else { 0 }
    }

    fn is_due(&mut self, resident: u64, limit: u64) -> bool {
        resident > limit + limit / SLACK_SHARE + SLACK && self.patience.is_over()
    }

    fn trimmed(&mut self, gained: u64) {
        self.patience.done(gained > SLACK / GAIN_SHARE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: u64 = 1 << 20;

    #[test]
    fn what_is_above_is_trimmed_at_once_while_that_gains() {
        let mut trims = Trims::default();
        assert!(!trims.is_due(106 * MB, 100 * MB));
        for _ in 0..10 {
            assert!(trims.is_due(108 * MB, 100 * MB));
            trims.trimmed(MB);
        }
    }

    #[test]
    fn trims_that_gain_nothing_become_rare() {
        let mut trims = Trims::default();
        let count = |trims: &mut Trims, requests: u32, gained| {
            let due = |_: &u32| {
                let due = trims.is_due(120 * MB, 100 * MB);
                if due {
                    trims.trimmed(gained);
                }
                due
            };
            (0..requests).filter(due).count()
        };
        let few = count(&mut trims, 1000, 0);
        assert!((15..25).contains(&few), "{few}");
        let many = count(&mut trims, 200, 2 * MB);
        assert!(many > 130, "{many}");
    }
}
