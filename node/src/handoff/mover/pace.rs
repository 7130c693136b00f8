//! How fast the keys of slots are copied to one peer: at a pace that adapts to how long clients wait, within limits.
//!
//! As TCP finds its rate (additive increase, multiplicative decrease): every [`SAMPLE`] the rate grows while commands
//! are quick at both ends, and is halved when they are not. What binds is the copying of keys that lie still. Changes are sent at
//! once, and so is the rest of a slot that clients wait for.
//!
//! Pure: time and what was seen are arguments.

use std::time::Duration;

/// How often it is decided anew.
pub(super) const SAMPLE: Duration = Duration::from_millis(100);

/// Bytes a second at first: neither end has been heard of yet.
const BEGIN: u64 = 64 << 20;

/// Bytes a second by which the rate grows with each sample, once it has been too high.
const STEP: u64 = 4 << 20;

/// What counts as no limit: more than any copying reaches.
const UNLIMITED: u64 = 16 << 30;

/// Time whose bytes may be sent at once after a pause.
const BURST: Duration = Duration::from_millis(10);

/// Bounds of a rate, in bytes a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    least: u64,
    most: u64,
}

impl Bounds {
    /// `most` 0: no limit. A limit wins over a least rate that is above it.
    pub(super) fn new(least: u64, most: u64) -> Self {
        let most = if most == 0 { UNLIMITED } else { most.min(UNLIMITED) };
        Self { least: least.clamp(1, most), most }
    }

    fn hold(self, rate: u64) -> u64 {
        rate.clamp(self.least, self.most)
    }
}

/// The pace of one stream.
#[derive(Debug)]
pub(super) struct Pace {
    bounds: Bounds,
    rate: u64,
    /// Up to here the rate is doubled; beyond, it was too high before.
    known: u64,
    /// Bytes that may be sent at once; less than none after a piece that was larger.
    credit: i64,
    /// When credit was given last.
    credited: Duration,
    /// When this sample began, and the bytes sent since.
    begun: Duration,
    sent: u64,
}

impl Pace {
    /// One that begins now.
    pub(super) fn new(now: Duration, bounds: Bounds) -> Self {
        let rate = bounds.hold(BEGIN);
        Self { bounds, rate, known: bounds.most, credit: 0, credited: now, begun: now, sent: 0 }
    }

    /// Bytes a second.
    pub(super) fn rate(&self) -> u64 {
        self.rate
    }

    /// Whether [`sample`](Self::sample) is due.
    pub(super) fn is_due(&self, now: Duration) -> bool {
        now >= self.begun + SAMPLE
    }

    /// Decides anew. `slow`: whether commands took too long at either end since the last time.
    pub(super) fn sample(&mut self, now: Duration, slow: bool, bounds: Bounds) {
        let passed = now.saturating_sub(self.begun).as_secs_f64().max(f64::EPSILON);
        let reached = (self.sent as f64 / passed) as u64;
        (self.begun, self.sent) = (now, 0);
        if bounds != self.bounds {
            // Nothing is known of what is allowed now.
            (self.bounds, self.known) = (bounds, bounds.most);
        }
        let rate = if slow && reached < bounds.least {
            // That is not its doing.
            self.rate
        } else if slow {
            // A rate that was not reached says nothing: half of it might be no less than before.
            self.known = self.rate.min(reached) / 2;
            self.known
        } else if self.rate < self.known {
            (2 * self.rate).min(self.known)
        } else {
            self.rate + STEP
        };
        self.rate = bounds.hold(rate);
        self.known = bounds.hold(self.known);
    }

    /// So many bytes were copied.
    pub(super) fn spend(&mut self, bytes: u64) {
        self.sent += bytes;
        self.credit -= bytes as i64;
    }

    /// How long to wait before the next piece; zero if it may be copied now.
    pub(super) fn pause(&mut self, now: Duration) -> Duration {
        let rate = self.rate as f64;
        let earned = now.saturating_sub(self.credited).as_secs_f64() * rate;
        let most = BURST.as_secs_f64() * rate;
        self.credited = now;
        self.credit = (self.credit as f64 + earned).min(most) as i64;
        if self.credit >= 0 { Duration::ZERO } else { Duration::from_secs_f64(-self.credit as f64 / rate) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: u64 = 1 << 20;
    const PIECE: u64 = 64 << 10;

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// A stream that is copied for a while on a machine where commands are slow while more than `bearable` bytes a second
    /// are copied, and that copies `fastest` at most. The bytes copied in each sample.
    fn run(pace: &mut Pace, bounds: Bounds, samples: u64, bearable: u64, fastest: u64) -> Vec<u64> {
        let (mut now, mut all) = (pace.begun, Vec::new());
        let work = Duration::from_secs_f64(PIECE as f64 / fastest as f64);
        for _ in 0..samples {
            let mut sent = 0;
            while !pace.is_due(now) {
                let pause = pace.pause(now);
                if pause.is_zero() {
                    pace.spend(PIECE);
                    sent += PIECE;
                    now += work;
                } else {
                    now += pause.min(SAMPLE);
                }
            }
            pace.sample(now, sent * 10 > bearable, bounds);
            all.push(sent * 10);
        }
        all
    }

    #[test]
    fn nothing_holds_it_back_while_commands_are_quick() {
        let bounds = Bounds::new(MB, 0);
        let mut pace = Pace::new(at(0), bounds);
        let rates = run(&mut pace, bounds, 10, u64::MAX, 800 * MB);
        assert!(rates[4..].iter().all(|rate| *rate > 700 * MB), "after half a second: {rates:?}");
    }

    #[test]
    fn it_stays_near_what_commands_bear() {
        let bounds = Bounds::new(MB, 0);
        let mut pace = Pace::new(at(0), bounds);
        let rates = run(&mut pace, bounds, 100, 200 * MB, 800 * MB);
        let late = &rates[20..];
        let mean = late.iter().sum::<u64>() / late.len() as u64;
        assert!((120 * MB..210 * MB).contains(&mean), "{mean}");
        let over = late.iter().filter(|rate| **rate > 200 * MB).count();
        assert!(over <= late.len() / 8, "too fast in {over} samples of {}", late.len());
        assert!(late.iter().all(|rate| *rate <= 220 * MB), "and never by much: {late:?}");
    }

    #[test]
    fn it_never_leaves_its_bounds() {
        let bounds = Bounds::new(8 * MB, 100 * MB);
        let mut pace = Pace::new(at(0), bounds);
        let quick = run(&mut pace, bounds, 20, u64::MAX, 800 * MB);
        // A burst and one piece more than the limit.
        assert!(quick.iter().all(|rate| *rate < 112 * MB) && quick[10] > 90 * MB, "{quick:?}");
        let slow = run(&mut pace, bounds, 20, 0, 800 * MB);
        assert!(slow[10..].iter().all(|rate| (7 * MB..11 * MB).contains(rate)), "it goes on: {slow:?}");
        assert_eq!(pace.rate(), 8 * MB);
    }

    #[test]
    fn one_slow_moment_is_soon_forgotten() {
        let bounds = Bounds::new(MB, 400 * MB);
        let mut pace = Pace::new(at(0), bounds);
        run(&mut pace, bounds, 20, u64::MAX, 800 * MB);
        pace.sample(pace.begun + SAMPLE, true, bounds);
        assert_eq!(pace.rate(), 400 * MB, "nothing was copied meanwhile, so something else was slow");
        run(&mut pace, bounds, 1, 0, 800 * MB);
        assert!(pace.rate() <= 220 * MB);
        let rates = run(&mut pace, bounds, 60, u64::MAX, 800 * MB);
        assert!(rates[59] > 380 * MB, "{rates:?}");
    }

    #[test]
    fn a_rate_that_was_not_reached_is_not_halved_in_vain() {
        let bounds = Bounds::new(MB, 0);
        let mut pace = Pace::new(at(0), bounds);
        run(&mut pace, bounds, 20, u64::MAX, 100 * MB);
        assert!(pace.rate() > 1000 * MB);
        let rates = run(&mut pace, bounds, 3, 60 * MB, 100 * MB);
        assert!(rates[0] > 90 * MB && rates[1] < 60 * MB, "{rates:?}");
    }

    #[test]
    fn settings_count_at_once() {
        let (wide, narrow) = (Bounds::new(MB, 0), Bounds::new(MB, 10 * MB));
        let mut pace = Pace::new(at(0), wide);
        run(&mut pace, wide, 20, u64::MAX, 800 * MB);
        run(&mut pace, narrow, 1, u64::MAX, 800 * MB);
        let rates = run(&mut pace, narrow, 10, u64::MAX, 800 * MB);
        assert!(rates[1..].iter().all(|rate| *rate < 12 * MB), "{rates:?}");
        run(&mut pace, wide, 10, u64::MAX, 800 * MB);
        assert!(pace.rate() > 1000 * MB);
        assert_eq!(Bounds::new(50, 10).hold(70), 10, "the limit wins");
    }

    #[test]
    fn a_pause_gives_no_more_than_a_moments_credit() {
        let mut pace = Pace::new(at(0), Bounds::new(10 * MB, 10 * MB));
        assert_eq!(pace.pause(at(60_000)), Duration::ZERO);
        assert!(pace.credit <= (10 * MB / 100) as i64);
        pace.spend(MB);
        let pause = pace.pause(at(60_000));
        assert!(pause > at(85) && pause < at(100), "{pause:?}");
        assert_eq!(pace.pause(at(60_000) + pause + at(1)), Duration::ZERO);
    }
}
