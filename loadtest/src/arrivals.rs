//! When the requests of an open loop are due.
//!
//! Times are nanoseconds since the start of the run and come out in order. They are computed from the seed
//! alone, never from what the server did: a server that stalls changes nothing in the plan, so the wait shows
//! up in the latencies (no coordinated omission).

use crate::random::Random;

/// How the gaps between requests are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spacing {
    /// The same gap between any two requests.
    Even,
    /// Exponential gaps, as independent users make them.
    Poisson,
}

/// One piece of the rate plan: `rate` requests per second until `until` nanoseconds after the start.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// Requests per second, above zero.
    pub rate: f64,
    /// When the next step takes over; the last step goes on for ever.
    pub until: u64,
}

/// Pieces of a step, each of which stands for all of its due times in [`Arrivals::expected`].
const SLICES: u64 = 1000;

/// The due times of one thread's requests.
#[derive(Clone, Debug)]
pub struct Arrivals {
    steps: Vec<Step>,
    step: usize,
    spacing: Spacing,
    /// The last due time.
    last: f64,
    /// Even due times are counted from here, so that rounding does not add up over millions of requests.
    origin: f64,
    counted: u64,
}

impl Arrivals {
    /// Due times at the rates of `steps` (not empty). A thread that is `part` of `parts` equal ones is given
    /// its share of the rate by the caller; `part` only shifts even spacing, so that threads do not fire at
    /// the same instants.
    pub fn new(steps: Vec<Step>, spacing: Spacing, part: u64, parts: u64) -> Self {
        let gap = steps.first().map_or(0.0, |step| 1e9 / step.rate);
        let shift = gap * part as f64 / parts.max(1) as f64;
        let last = match spacing {
            Spacing::Even => shift - gap,
            Spacing::Poisson => 0.0,
        };
        Self { steps, step: 0, spacing, last, origin: last, counted: 0 }
    }

    /// These requests dealt out in turn to so many servers, at least one: as even as they are all together.
    pub fn dealt(&self, servers: usize) -> Vec<Self> {
        let gap = self.steps.first().map_or(0.0, |step| 1e9 / step.rate);
        let share = |step: &Step| Step { rate: step.rate / servers as f64, ..*step };
        let one = |server: usize| {
            let last = match self.spacing {
                Spacing::Even => self.last + gap * (1.0 + server as f64 - servers as f64),
                Spacing::Poisson => self.last,
            };
            Self { steps: self.steps.iter().map(share).collect(), last, origin: last, ..self.clone() }
        };
        (0..servers).map(one).collect()
    }

    /// The next due time.
    #[inline]
    pub fn next(&mut self, random: &mut Random) -> u64 {
        let mut gap = match self.spacing {
            Spacing::Even => {
                let step = self.steps[self.step];
                self.counted += 1;
                let due = self.origin + self.counted as f64 * 1e9 / step.rate;
                if due < step.until as f64 {
                    self.last = due;
                    return due.max(0.0) as u64;
                }
                1.0
            }
            Spacing::Poisson => random.exponential(),
        };
        // A gap that reaches over the end of a step is stretched or squeezed beyond it by the new rate.
        loop {
            let step = self.steps[self.step];
            let due = self.last + gap * 1e9 / step.rate;
            if due < step.until as f64 || self.step + 1 == self.steps.len() {
                (self.last, self.origin, self.counted) = (due, due, 0);
                return due.max(0.0) as u64;
            }
            gap -= (step.until as f64 - self.last) / 1e9 * step.rate;
            self.last = step.until as f64;
            self.step += 1;
        }
    }
}

impl Arrivals {
    /// How many requests are due between two times, by the rates alone and without drawing them: times, and about
    /// how many are due around each.
    pub fn expected(&self, from: u64, until: u64) -> Vec<(u64, u64)> {
        let mut expected = Vec::new();
        let (mut from, mut sum, mut told) = (from, 0.0, 0);
        for (index, step) in self.steps.iter().enumerate() {
            let end = if index + 1 == self.steps.len() { until } else { step.until.min(until) };
            let length = end.saturating_sub(from);
            let slices = SLICES.min(length);
            for slice in 0..slices {
                sum += step.rate * length as f64 / 1e9 / slices as f64;
                let count = sum.round() as u64 - told;
                told += count;
                let middle = (length as u128 * (2 * u128::from(slice) + 1) / (2 * u128::from(slices))) as u64;
                expected.push((from + middle, count));
            }
            from = from.max(end);
        }
        expected
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_drawn_is_expected() {
        let steps = vec![Step { rate: 1e9, until: 1_000_000_000 }, Step { rate: 10.0, until: u64::MAX }];
        let arrivals = Arrivals::new(steps, Spacing::Even, 0, 1);
        let expected = arrivals.expected(500_000_000, 3_000_000_000);
        let count = |slow: bool| -> u64 {
            expected.iter().filter(|(at, _)| (*at > 1_000_000_000) == slow).map(|(_, count)| count).sum()
        };
        assert_eq!((count(false), count(true)), (500_000_000, 20));
        assert!(expected.windows(2).all(|pair| pair[0].0 <= pair[1].0));
        assert!(expected.iter().all(|(at, _)| (500_000_000..3_000_000_000).contains(at)));
        assert!(arrivals.expected(5, 5).is_empty());
    }

    fn due(rate: f64, spacing: Spacing, seed: u64, count: usize) -> Vec<u64> {
        let steps = vec![Step { rate, until: u64::MAX }];
        let mut arrivals = Arrivals::new(steps, spacing, 0, 1);
        let mut random = Random::new(seed);
        (0..count).map(|_| arrivals.next(&mut random)).collect()
    }

    #[test]
    fn even_gaps_do_not_drift() {
        let times = due(3.0, Spacing::Even, 1, 300_001);
        assert_eq!(times[0], 0);
        let last = times[300_000];
        assert!(last.abs_diff(100_000_000_000_000) < 10_000, "{last}");
    }

    #[test]
    fn poisson_gaps_pass_a_kolmogorov_smirnov_test() {
        let times = due(1000.0, Spacing::Poisson, 9, 50_001);
        let mut gaps: Vec<f64> = times.windows(2).map(|pair| (pair[1] - pair[0]) as f64 / 1e6).collect();
        gaps.sort_by(f64::total_cmp);
        let n = gaps.len() as f64;
        let distance = gaps.iter().enumerate().fold(0.0f64, |worst, (i, gap)| {
            let exact = 1.0 - (-gap).exp();
            worst.max((exact - i as f64 / n).abs()).max((exact - (i + 1) as f64 / n).abs())
        });
        // 1.95 / sqrt(n) is exceeded once in a thousand seeds.
        assert!(distance < 1.95 / n.sqrt(), "{distance}");
    }

    #[test]
    fn servers_get_even_shares_between_each_other() {
        let steps = vec![Step { rate: 1000.0, until: u64::MAX }];
        let whole = Arrivals::new(steps, Spacing::Even, 1, 2);
        let times = |mut arrivals: Arrivals, count: usize| -> Vec<u64> {
            let mut random = Random::new(1);
            (0..count).map(|_| arrivals.next(&mut random)).collect()
        };
        let mut dealt: Vec<u64> = whole.dealt(3).into_iter().flat_map(|one| times(one, 10)).collect();
        dealt.sort_unstable();
        let apart = dealt.iter().zip(times(whole, 30)).map(|(one, other)| one.abs_diff(other)).max();
        assert!(apart.is_some_and(|apart| apart < 10), "{dealt:?}");
    }

    #[test]
    fn steps_change_the_rate() {
        let steps = vec![Step { rate: 10.0, until: 1_000_000_000 }, Step { rate: 100.0, until: u64::MAX }];
        let mut arrivals = Arrivals::new(steps, Spacing::Even, 0, 1);
        let mut random = Random::new(1);
        let times: Vec<u64> = (0..110).map(|_| arrivals.next(&mut random)).collect();
        assert_eq!(times.iter().filter(|t| **t < 1_000_000_000).count(), 10);
        assert_eq!(times.iter().filter(|t| **t < 2_000_000_000).count(), 110);
        assert!(times.windows(2).all(|pair| pair[0] <= pair[1]));
    }

    #[test]
    fn same_seed_same_times() {
        assert_eq!(due(5e5, Spacing::Poisson, 4, 1000), due(5e5, Spacing::Poisson, 4, 1000));
        assert_ne!(due(5e5, Spacing::Poisson, 4, 1000), due(5e5, Spacing::Poisson, 5, 1000));
    }
}
