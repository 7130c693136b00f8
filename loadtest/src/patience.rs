//! How long somebody waits for one answer after the other: no wait is longer than a given patience, and neither one nor
//! all of them go on for long once there is hurry.

use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// How long a wait may last once there is hurry.
const HURRY: Duration = Duration::from_millis(500);
/// How long after hurry was first felt somebody still waits for anything.
const HURRIED: Duration = Duration::from_secs(2);
/// How often a wait looks whether there is hurry.
const SLICE: Duration = Duration::from_millis(50);

/// How long to wait.
#[derive(Clone, Debug)]
pub struct Patience {
    /// The longest wait.
    pub most: Duration,
    /// Once this is set, waits are cut short.
    pub hurry: Arc<AtomicBool>,
    /// When that was felt.
    felt: Arc<OnceLock<Instant>>,
}

impl Patience {
    /// So much patience, whatever happens.
    pub fn of(most: Duration) -> Self {
        Self::until(most, Arc::default())
    }

    /// So much, until `hurry` is set.
    pub fn until(most: Duration, hurry: Arc<AtomicBool>) -> Self {
        Self { most, hurry, felt: Arc::default() }
    }

    /// The same hurry, but so much patience.
    #[must_use]
    pub fn with(self, most: Duration) -> Self {
        Self { most, ..self }
    }

    /// True if there is hurry.
    pub fn is_hurried(&self) -> bool {
        self.hurry.load(Ordering::Relaxed)
    }

    /// The longest wait as things are.
    pub fn now(&self) -> Duration {
        if !self.is_hurried() {
            return self.most;
        }
        let felt = self.felt.get_or_init(Instant::now);
        self.most.min(HURRY).min(HURRIED.saturating_sub(felt.elapsed()))
    }

    /// The longest time that one attempt of [`Patience::wait`] may last, above zero.
    pub fn slice(&self) -> Duration {
        SLICE.min(self.most).max(Duration::from_millis(1))
    }

    /// The error of a wait that began then, if it has lasted long enough.
    pub fn is_over(&self, began: Instant) -> Option<io::Error> {
        let waited = began.elapsed();
        if waited >= self.most {
            Some(ErrorKind::TimedOut.into())
        } else if waited >= self.now() {
            Some(io::Error::other("interrupted while waiting for the server"))
        } else {
            None
        }
    }

    /// Tries until it is done or patience is over. A signal is no reason to end: it sets `hurry` if it is one.
    pub fn wait<T>(&self, mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        let began = Instant::now();
        loop {
            match attempt() {
                Err(error) if is_not_yet(&error) => {
                    if let Some(error) = self.is_over(began) {
                        return Err(error);
                    }
                }
                done => return done,
            }
        }
    }
}

fn is_not_yet(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Longer than any test may last.
    const LONG: Duration = Duration::from_secs(600);

    #[test]
    fn hurry_is_shared_and_never_lengthens_a_wait() {
        let patience = Patience::of(Duration::from_millis(10));
        patience.clone().hurry.store(true, Ordering::Relaxed);
        assert_eq!((patience.is_hurried(), patience.now()), (true, Duration::from_millis(10)));
        assert!(Patience { most: LONG, ..patience }.now() <= HURRY);
    }

    #[test]
    fn many_short_waits_are_no_long_one_once_there_is_hurry() {
        let hurry = Arc::new(AtomicBool::new(true));
        let mut patience = Patience::until(LONG, Arc::clone(&hurry));
        patience.felt = Arc::new(OnceLock::from(Instant::now() - HURRIED));
        let never = || Err::<(), _>(ErrorKind::WouldBlock.into());
        assert_eq!(patience.wait(never).unwrap_err().to_string(), "interrupted while waiting for the server");
        // What is there at once is taken.
        assert_eq!(patience.wait(|| Ok(7)).unwrap(), 7);
    }

    #[test]
    fn a_signal_that_means_nothing_ends_no_wait() {
        let mut outcomes = [Err(ErrorKind::Interrupted), Err(ErrorKind::WouldBlock), Ok(7)].into_iter();
        let attempt = || outcomes.next().expect("it ends with the last").map_err(io::Error::from);
        assert_eq!(Patience::of(LONG).wait(attempt).unwrap(), 7);
    }
}
