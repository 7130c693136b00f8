//! The run over time as plots show it: seconds, or several of them together where there would be too many points.
//!
//! Seconds that nobody counted anything in are there too, with a rate of zero and without latencies: a stall must
//! not be drawn as a line between its neighbours.

use super::figures::Figures;
use crate::series::Second;

/// One point in time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Moment {
    /// Its middle, in seconds from the end of the warm-up.
    pub at_s: f64,
    /// Answered requests per second.
    pub per_s: f64,
    /// Errors per second.
    pub errors_per_s: f64,
    /// Median latency in microseconds; of several seconds the mean of theirs.
    pub p50_us: Option<f64>,
    /// 99th percentile in microseconds; of several seconds the largest of theirs.
    pub p99_us: Option<f64>,
    /// Longest latency in microseconds.
    pub max_us: Option<f64>,
    /// The share of looked-up keys that were found.
    pub hit_ratio: Option<f64>,
    /// Answered requests per second and endpoint.
    pub endpoints_per_s: Vec<f64>,
}

impl Moment {
    /// How much more the busiest endpoint answered than the average one; 1 is even.
    pub fn imbalance(&self) -> Option<f64> {
        imbalance(&self.endpoints_per_s)
    }
}

/// The largest part to the mean of all, if there are several parts and any of them is more than nothing.
pub fn imbalance(parts: &[f64]) -> Option<f64> {
    let sum: f64 = parts.iter().sum();
    let most = parts.iter().copied().fold(0.0, f64::max);
    (parts.len() > 1 && sum > 0.0).then(|| most * parts.len() as f64 / sum)
}

/// A last second shorter than this says nothing about the rate.
const SHORTEST: f64 = 0.2;

/// How many seconds go into one moment so that there are `most` moments at most.
pub fn seconds_per_moment(figures: &Figures, most: usize) -> usize {
    let (first, last) = (figures.seconds.first(), figures.seconds.last());
    let seconds = first.zip(last).map_or(0, |(first, last)| last.second.saturating_sub(first.second) + 1);
    (seconds as usize).div_ceil(most.max(1)).max(1)
}

/// The run's moments in order, `most` at most.
pub fn moments(figures: &Figures, most: usize) -> Vec<Moment> {
    let Some(first) = figures.seconds.first().map(|second| second.second) else { return Vec::new() };
    let together = seconds_per_moment(figures, most) as u64;
    let mut groups: Vec<Vec<&Second>> = Vec::new();
    for second in &figures.seconds {
        let group = (second.second.saturating_sub(first) / together) as usize;
        while groups.len() <= group {
            groups.push(Vec::new());
        }
        groups[group].push(second);
    }
    let mut moments = Vec::new();
    for (index, group) in groups.iter().enumerate() {
        let start = (first + index as u64 * together) as f64;
        let length = (figures.elapsed_s - start).clamp(0.0, together as f64);
        // A log that begins late counts its seconds from elsewhere than its elapsed time.
        let length = if length > 0.0 { length } else { together as f64 };
        if length >= SHORTEST || groups.len() == 1 {
            moments.push(moment(start, length, group));
        }
    }
    moments
}

fn moment(start: f64, length: f64, seconds: &[&Second]) -> Moment {
    let sum = |part: fn(&Second) -> u64| seconds.iter().map(|second| part(second)).sum::<u64>() as f64;
    let answered = sum(|second| second.answered);
    let counted = seconds.iter().any(|second| second.has_latencies());
    let most = |part: fn(&Second) -> f64| {
        counted.then(|| seconds.iter().map(|second| part(second)).fold(0.0, f64::max))
    };
    let weighted: f64 = seconds.iter().map(|second| second.p50_us * second.answered as f64).sum();
    let (hits, asked) = (sum(|second| second.hits), sum(|second| second.hits + second.misses));
    let endpoints = seconds.iter().map(|second| second.endpoints.len()).max().unwrap_or(0);
    let answered_by = |index: usize| -> u64 {
        seconds.iter().map(|second| second.endpoints.get(index).copied().unwrap_or(0)).sum()
    };
    Moment {
        at_s: start + length / 2.0,
        per_s: answered / length,
        errors_per_s: sum(Second::failed) / length,
        p50_us: (answered > 0.0).then(|| weighted / answered),
        p99_us: most(|second| second.p99_us),
        max_us: most(|second| second.max_us),
        hit_ratio: (asked > 0.0).then(|| hits / asked),
        endpoints_per_s: (0..endpoints).map(|index| answered_by(index) as f64 / length).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(seconds: &[(u64, u64)], elapsed_s: f64) -> Figures {
        let second = |(second, answered): &(u64, u64)| Second {
            second: *second,
            answered: *answered,
            p50_us: 10.0,
            p99_us: *answered as f64,
            endpoints: vec![*answered, 0],
            ..Second::default()
        };
        Figures { seconds: seconds.iter().map(second).collect(), elapsed_s, ..Figures::default() }
    }

    #[test]
    fn a_gap_is_a_rate_of_zero_without_latencies() {
        let moments = moments(&figures(&[(0, 10), (2, 30)], 3.0), 100);
        let rates: Vec<(f64, f64, Option<f64>)> =
            moments.iter().map(|moment| (moment.at_s, moment.per_s, moment.p50_us)).collect();
        assert_eq!(rates, [(0.5, 10.0, Some(10.0)), (1.5, 0.0, None), (2.5, 30.0, Some(10.0))]);
        assert_eq!((moments[0].imbalance(), moments[1].imbalance()), (Some(2.0), None));
    }

    #[test]
    fn a_second_cut_short_counts_for_its_length() {
        let cut = moments(&figures(&[(0, 10), (1, 5)], 1.5), 100);
        assert_eq!((cut[1].per_s, cut[1].at_s), (10.0, 1.25));
        assert_eq!(moments(&figures(&[(0, 10), (1, 5)], 1.01), 100).len(), 1);
    }

    #[test]
    fn many_seconds_are_put_together() {
        let seconds: Vec<(u64, u64)> = (0..1000).map(|second| (second, second)).collect();
        let moments = moments(&figures(&seconds, 1000.0), 300);
        assert_eq!(moments.len(), 250);
        assert_eq!((moments[0].per_s, moments[0].p99_us, moments[0].at_s), (1.5, Some(3.0), 2.0));
        assert!(super::moments(&Figures::default(), 10).is_empty());
    }
}
