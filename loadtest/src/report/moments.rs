//! The run over time as plots show it: seconds, or several of them together where there would be too many points.
//!
//! Seconds that nobody counted anything in are there too, with a rate of zero and without latencies: a stall must
//! not be drawn as a line between its neighbours.

use super::figures::Figures;
use crate::series::Second;

/// One point in time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Moment {
    /// Its middle, in seconds from the end of the warm-up; of a scenario since that began.
    pub at_s: f64,
    /// Answered requests per second.
    pub per_s: f64,
    /// Errors per second, as the run's list has them.
    pub errors_per_s: f64,
    /// Requests per second whose connection broke before the answer came.
    pub lost_per_s: f64,
    /// Median latency in microseconds; of several seconds the mean of theirs.
    pub p50_us: Option<f64>,
    /// 99th percentile in microseconds; of several seconds the largest of theirs.
    pub p99_us: Option<f64>,
    /// Longest latency in microseconds, or wait so far of what waits at a second's end.
    pub max_us: Option<f64>,
    /// The share of looked-up keys that were found.
    pub hit_ratio: Option<f64>,
    /// Answered requests per second and endpoint.
    pub endpoints_per_s: Vec<f64>,
    /// How much more the busiest endpoint answered than the average one of those that were there; 1 is even.
    pub imbalance: Option<f64>,
}

/// The largest part to the mean of all, if there are several parts and any of them is more than nothing.
fn imbalance(parts: &[f64]) -> Option<f64> {
    let sum: f64 = parts.iter().sum();
    let most = parts.iter().copied().fold(0.0, f64::max);
    (parts.len() > 1 && sum > 0.0).then(|| most * parts.len() as f64 / sum)
}

/// When each endpoint was there: from its first to its last second with answers, silent ones between them included.
/// One that never answered counts as there all the time: it was known, and asked in vain.
struct Lives(Vec<Option<(u64, u64)>>);

impl Lives {
    fn of(seconds: &[Second]) -> Self {
        let count = seconds.iter().map(|second| second.endpoints.len()).max().unwrap_or(0);
        let mut lives = vec![None; count];
        for second in seconds {
            for (life, _) in lives.iter_mut().zip(&second.endpoints).filter(|(_, answered)| **answered > 0) {
                let (first, last) = life.unwrap_or((second.second, second.second));
                *life = Some((first.min(second.second), last.max(second.second)));
            }
        }
        Self(lives)
    }

    /// The places of those that were there in some of these seconds.
    fn between(&self, from: u64, until: u64) -> impl Iterator<Item = usize> {
        let is_there =
            move |life: &Option<(u64, u64)>| life.is_none_or(|(first, last)| first < until && from <= last);
        self.0.iter().enumerate().filter(move |(_, life)| is_there(life)).map(|(place, _)| place)
    }
}

/// How much more the busiest endpoint answered in the whole run than its even share of what was answered while it was
/// there; 1 is even. None if there never were two endpoints at once.
pub fn whole_imbalance(figures: &Figures) -> Option<f64> {
    let lives = Lives::of(&figures.seconds);
    if lives.0.is_empty() {
        // Files of older versions do not say who answered when.
        let answered: Vec<f64> = figures.endpoints.iter().map(|endpoint| endpoint.answered as f64).collect();
        return imbalance(&answered);
    }
    let mut parts = vec![(0.0, 0.0); lives.0.len()];
    let mut several = false;
    for second in &figures.seconds {
        let there: Vec<usize> = lives.between(second.second, second.second + 1).collect();
        let answered = |place: usize| second.endpoints.get(place).copied().unwrap_or(0) as f64;
        let share = there.iter().map(|place| answered(*place)).sum::<f64>() / there.len().max(1) as f64;
        several |= there.len() > 1;
        for place in there {
            parts[place].0 += answered(place);
            parts[place].1 += share;
        }
    }
    let most =
        parts.iter().filter(|(_, share)| *share > 0.0).map(|(own, share)| own / share).fold(0.0, f64::max);
    (several && most > 0.0).then_some(most)
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
    let lives = Lives::of(&figures.seconds);
    let mut groups: Vec<Vec<&Second>> = Vec::new();
    for second in &figures.seconds {
        let group = (second.second.saturating_sub(first) / together) as usize;
        while groups.len() <= group {
            groups.push(Vec::new());
        }
        groups[group].push(second);
    }
    let mut moments = Vec::new();
    // How much earlier than its number says a second began, after rounds that ended within one.
    let mut shift = 0.0;
    for (index, group) in groups.iter().enumerate() {
        let from = first + index as u64 * together;
        if let Some(second) = group.first() {
            shift = second.begin_s() - second.second as f64;
        }
        let start = from as f64 + shift;
        let known: f64 = group.iter().map(|second| length(figures, second)).sum();
        // Silent seconds are whole; those behind the last one never were.
        let until = figures.seconds.last().map_or(from, |last| last.second + 1).min(from + together);
        let length = known + (until - from).saturating_sub(group.len() as u64) as f64;
        if length >= SHORTEST || groups.len() == 1 {
            let there: Vec<usize> = lives.between(from, from + together).collect();
            moments.push(moment(start, length, group, &there));
        }
    }
    moments
}

/// When there was no answer for whole seconds, as spans of time: from when the oldest request waits that waited then, to
/// the end of the last of these seconds. While no load was on there are no seconds.
pub fn silences(figures: &Figures) -> Vec<(f64, f64)> {
    let mut silences: Vec<(f64, f64)> = Vec::new();
    let mut before: Option<&Second> = None;
    for second in &figures.seconds {
        let (begin, end) = (second.begin_s(), second.begin_s() + length(figures, second));
        if second.answered == 0 {
            let before = before.filter(|before| before.second + 1 == second.second);
            match silences.last_mut().filter(|_| before.is_some_and(|before| before.answered == 0)) {
                Some(last) => last.1 = end,
                None => {
                    // It was answering in the second before, so nothing older than that tells when it ceased to.
                    let least = before.map_or(begin, Second::begin_s).min(begin);
                    silences.push(((end - second.waiting_us / 1e6).clamp(least, begin), end));
                }
            }
        }
        before = Some(second);
    }
    silences.retain(|(from, until)| until - from >= SHORTEST_SILENCE_S);
    silences
}

/// A shorter time without an answer, as that of a run's last part of a second, is none worth drawing.
const SHORTEST_SILENCE_S: f64 = 0.5;

/// How long a second was. Files of older versions do not say how short the last one was, but how long the run was.
fn length(figures: &Figures, second: &Second) -> f64 {
    let rest = figures.elapsed_s - second.begin_s();
    let is_last = figures.seconds.last().is_some_and(|last| last.second == second.second);
    // A log that begins late counts its seconds from elsewhere than its elapsed time.
    if second.length_s == 0.0 && is_last && rest > 0.0 { rest.min(1.0) } else { second.length() }
}

/// Some seconds as one moment; `there` are the places of the endpoints that count.
fn moment(start: f64, length: f64, seconds: &[&Second], there: &[usize]) -> Moment {
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
        errors_per_s: sum(Second::all_errors) / length,
        lost_per_s: sum(|second| second.lost) / length,
        p50_us: (answered > 0.0).then(|| weighted / answered),
        p99_us: most(|second| second.p99_us),
        max_us: seconds.iter().filter_map(|second| second.longest_us()).reduce(f64::max),
        hit_ratio: (asked > 0.0).then(|| hits / asked),
        endpoints_per_s: (0..endpoints).map(|index| answered_by(index) as f64 / length).collect(),
        imbalance: imbalance(&there.iter().map(|place| answered_by(*place) as f64).collect::<Vec<_>>()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::figures::EndpointFigures;

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
        assert_eq!((moments[0].imbalance, moments[1].imbalance), (Some(2.0), None));
    }

    #[test]
    fn what_hangs_is_the_longest_whoever_else_is_answered() {
        let mut figures = figures(&[(0, 10), (1, 10), (2, 0)], 3.0);
        for (second, waiting_us) in figures.seconds.iter_mut().zip([0.0, 7e5, 1.7e6]) {
            (second.max_us, second.waiting_us) = (20.0, waiting_us);
        }
        let longest: Vec<Option<f64>> = moments(&figures, 100).iter().map(|moment| moment.max_us).collect();
        assert_eq!(longest, [Some(20.0), Some(7e5), Some(1.7e6)]);
    }

    #[test]
    fn a_node_counts_while_it_is_there() {
        // The first is there from the beginning to the end, and silent for a second; the second leaves, the third joins.
        let counts =
            [[10, 10, 0], [10, 10, 0], [0, 20, 0], [10, 10, 0], [20, 0, 0], [20, 0, 20], [10, 0, 10]];
        let second = |(second, counts): (u64, &[u64; 3])| Second {
            second,
            answered: counts.iter().sum(),
            endpoints: counts.to_vec(),
            ..Second::default()
        };
        let seconds: Vec<Second> = (0..).zip(&counts).map(second).collect();
        let figures = Figures { seconds, elapsed_s: 7.0, ..Figures::default() };
        let even = Some(1.0);
        let shown: Vec<Option<f64>> = moments(&figures, 100).iter().map(|moment| moment.imbalance).collect();
        assert_eq!(shown, [even, even, Some(2.0), even, None, even, even]);
        // Two seconds together: a node that is there in one of them is there.
        assert_eq!(moments(&figures, 4)[2].imbalance, Some(4.0 / 3.0));
        // The second one answered 50 of 40; those before and after it do not make it busier.
        assert_eq!(whole_imbalance(&figures), Some(1.25));
    }

    #[test]
    fn the_whole_is_the_largest_part_where_all_were_there() {
        assert_eq!(whole_imbalance(&figures(&[(0, 10), (2, 30)], 3.0)), Some(2.0));
        let endpoint = |answered| EndpointFigures { answered, ..EndpointFigures::default() };
        let old = Figures { endpoints: vec![endpoint(30), endpoint(10)], ..Figures::default() };
        assert_eq!(whole_imbalance(&old), Some(1.5));
        // One after the other is no imbalance.
        let second = |second, endpoints: [u64; 2]| Second {
            second,
            endpoints: endpoints.to_vec(),
            ..Second::default()
        };
        let seconds = vec![second(0, [5, 0]), second(1, [0, 50])];
        assert_eq!(whole_imbalance(&Figures { seconds, ..Figures::default() }), None);
    }

    #[test]
    fn a_second_cut_short_counts_for_its_length() {
        let cut = moments(&figures(&[(0, 10), (1, 5)], 1.5), 100);
        assert_eq!((cut[1].per_s, cut[1].at_s), (10.0, 1.25));
        assert_eq!(moments(&figures(&[(0, 10), (1, 5)], 1.01), 100).len(), 1);
    }

    #[test]
    fn rounds_that_end_within_a_second_follow_each_other_at_once() {
        let second = |second, begin_s, length_s: f64| Second {
            second,
            begin_s,
            length_s,
            answered: (100.0 * length_s) as u64,
            ..Second::default()
        };
        // Two rounds of 1.5 s and one of 1.1 s.
        let seconds = vec![
            second(0, None, 1.0),
            second(1, None, 0.5),
            second(2, Some(1.5), 1.0),
            second(3, Some(2.5), 0.5),
            second(4, Some(3.0), 1.0),
            second(5, Some(4.0), 0.1),
        ];
        let figures = Figures { seconds, elapsed_s: 4.1, ..Figures::default() };
        let rounded = |value: f64| (value * 1000.0).round() / 1000.0;
        let shown = |most: usize| -> Vec<(f64, f64)> {
            moments(&figures, most).iter().map(|m| (rounded(m.at_s), rounded(m.per_s))).collect()
        };
        assert_eq!(shown(100), [(0.5, 100.0), (1.25, 100.0), (2.0, 100.0), (2.75, 100.0), (3.5, 100.0)]);
        assert_eq!(shown(3), [(0.75, 100.0), (2.25, 100.0), (3.55, 100.0)]);
    }

    #[test]
    fn many_seconds_are_put_together() {
        let seconds: Vec<(u64, u64)> = (0..1000).map(|second| (second, second)).collect();
        let moments = moments(&figures(&seconds, 1000.0), 300);
        assert_eq!(moments.len(), 250);
        assert_eq!((moments[0].per_s, moments[0].p99_us, moments[0].at_s), (1.5, Some(3.0), 2.0));
        assert!(super::moments(&Figures::default(), 10).is_empty());
    }

    #[test]
    fn silences_begin_when_the_oldest_request_was_due() {
        let second = |second, answered, waiting_s: f64| Second {
            second,
            answered,
            waiting_us: waiting_s * 1e6,
            length_s: 1.0,
            ..Second::default()
        };
        let seconds = vec![
            second(0, 10, 0.0),
            second(1, 5, 0.5),
            second(2, 0, 1.5),
            second(3, 0, 2.5),
            second(4, 7, 0.0),
            // Nothing waits: connections are refused at once.
            second(5, 0, 0.0),
            // No load for two seconds.
            second(8, 0, 9.0),
            Second { length_s: 0.1, ..second(9, 7, 0.0) },
            Second { length_s: 0.1, ..second(10, 0, 0.05) },
        ];
        let figures = Figures { seconds, elapsed_s: 10.1, ..Figures::default() };
        assert_eq!(silences(&figures), [(1.5, 4.0), (5.0, 6.0), (8.0, 9.0)]);
    }
}
