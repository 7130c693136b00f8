//! The time as a worker knows it, and which of its quick commands are timed.

use super::Shared;

/// Quick commands executed on one reading of the clock: at most so many, half of them on average.
const COMMANDS_PER_CLOCK: u32 = 48;
/// Of the readings between commands, one in so many times the next command.
const READINGS_PER_SAMPLE: u32 = 8;
/// What a turn counts for: where little is done in a turn, more of it can be timed at the same cost.
const TURN: u32 = 16;

/// The time as a worker knows it: read once a turn, and again when much was done since.
///
/// The commands before which it is read again are drawn by chance, so that those which are timed are of all kinds, however
/// regular a client's requests are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    /// Ms since 1970.
    pub(super) now: u64,
    /// Quick commands until it is read again.
    left: u32,
    /// Never 0.
    dice: u32,
}

impl Clock {
    pub(super) fn new(shared: &Shared) -> Self {
        Self { now: shared.now_ms(), left: 0, dice: rand::random::<u32>() | 1 }
    }

    /// A turn begins.
    pub(super) fn turn(&mut self, shared: &Shared) {
        self.read(shared);
        self.left = self.left.saturating_sub(TURN);
    }

    pub(super) fn read(&mut self, shared: &Shared) {
        self.now = shared.now_ms();
    }

    /// Counts a quick command; whether to [`look`](Self::look) before it.
    #[inline]
    pub(super) fn pass(&mut self) -> bool {
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                false
            }
            None => true,
        }
    }

    /// Reads the clock again; whether the command at hand is to be timed.
    pub(super) fn look(&mut self, shared: &Shared) -> bool {
        self.read(shared);
        self.draw()
    }

    fn draw(&mut self) -> bool {
        // Marsaglia's xorshift.
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 17;
        self.dice ^= self.dice << 5;
        self.left = (self.dice >> 8) % COMMANDS_PER_CLOCK;
        self.dice.is_multiple_of(READINGS_PER_SAMPLE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Requests that come round every 16 commands, as pipelines do.
    #[test]
    fn every_place_of_a_regular_pattern_is_timed_alike() {
        let mut clock = Clock { now: 0, left: 0, dice: 1 };
        let mut timed = [0u32; 16];
        for command in 0..1_600_000 {
            if clock.pass() && clock.draw() {
                timed[command % 16] += 1;
            }
        }
        let all: u32 = timed.iter().sum();
        let interval = 1_600_000 / all;
        assert!((180..220).contains(&interval), "one in {interval}");
        for n in timed {
            assert!((all / 16 * 4 / 5..all / 16 * 6 / 5).contains(&n), "{timed:?}");
        }
    }
}
