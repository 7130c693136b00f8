//! How long to leave alone what gained little.

/// Lets something be done at every so many turns, and more and more rarely while it gains nothing.
#[derive(Debug)]
pub(super) struct Patience {
    /// Turns to let pass: still, and after it was done next if that gains nothing.
    left: u32,
    pause: u32,
    least: u32,
    most: u32,
}

impl Patience {
    /// At once the first time. Between two times at least `least` turns pass; twice as many after each that gained nothing, at
    /// most `most`.
    pub(super) const fn new(least: u32, most: u32) -> Self {
        Self { left: 0, pause: least, least, most }
    }

    /// One turn; whether it may be done. It may until [`done`](Self::done) says that it was.
    pub(super) fn is_over(&mut self) -> bool {
        let over = self.left == 0;
        self.left = self.left.saturating_sub(1);
        over
    }

    /// It was done.
    pub(super) fn done(&mut self, gained: bool) {
        self.pause = if gained { self.least } else { (2 * self.pause + 1).min(self.most) };
        self.left = self.pause;
    }

    /// There will be something to gain.
    pub(super) fn end(&mut self) {
        (self.left, self.pause) = (0, self.least);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_gains_nothing_becomes_rare() {
        let mut patience = Patience::new(2, 100);
        let turns_until = |patience: &mut Patience, gained| {
            let turns = (0..1000).position(|_| patience.is_over());
            patience.done(gained);
            turns
        };
        let nothing = [(); 8].map(|()| turns_until(&mut patience, false));
        assert_eq!(nothing, [0, 5, 11, 23, 47, 95, 100, 100].map(Some));
        assert_eq!(turns_until(&mut patience, true), Some(100));
        assert_eq!(turns_until(&mut patience, false), Some(2));
        patience.end();
        assert_eq!([(); 2].map(|()| turns_until(&mut patience, false)), [0, 5].map(Some));
    }
}
