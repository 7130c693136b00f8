//! Figures of two servers, taken in turns, put side by side.
//!
//! Runs alternate, so what disturbs the machine disturbs both alike; each round gives one ratio per figure, and
//! the ratios are summed up by median, smallest and largest, with a sign test saying how likely as many rounds
//! on one side would be if both servers were the same. A round in which one of the two has no such figure, as a latency
//! without answers, is left out. Pure: the runs themselves are made by the caller.

use serde::{Deserialize, Serialize};

/// One figure of one run, and whether more of it is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Figure {
    /// Requests answered per second.
    Rate,
    /// Server CPU time per operation, in microseconds.
    ServerCpu,
    /// Median latency in microseconds.
    P50,
    /// 99th percentile in microseconds.
    P99,
    /// 99.9th percentile in microseconds.
    P999,
}

impl Figure {
    /// In the order of the table; the steady one first.
    pub const ALL: [Self; 5] = [Self::ServerCpu, Self::Rate, Self::P50, Self::P99, Self::P999];

    /// What the table calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rate => "requests/s",
            Self::ServerCpu => "server CPU/op",
            Self::P50 => "p50",
            Self::P99 => "p99",
            Self::P999 => "p99.9",
        }
    }
}

/// A figure over all rounds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// Which figure.
    pub figure: Figure,
    /// The median of the first server, of the rounds that are compared.
    pub first: f64,
    /// The median of the other server.
    pub other: f64,
    /// The median of the rounds' ratios, other to first.
    pub ratio: f64,
    /// The smallest ratio.
    pub smallest: f64,
    /// The largest ratio.
    pub largest: f64,
    /// In how many rounds the other one was below the first.
    pub below: usize,
    /// How many rounds are compared: those in which both have the figure.
    pub rounds: usize,
    /// How many there were; 0 in files of older versions, which compare all of them.
    #[serde(default)]
    pub of: usize,
    /// The two-sided sign test: the probability of so uneven rounds by chance.
    pub p: f64,
}

/// Compares a figure, one value per round and server where there is one; `None` if there is no round to compare. Nothing
/// is compared with 0.
pub fn compare(figure: Figure, first: &[Option<f64>], other: &[Option<f64>]) -> Option<Comparison> {
    let rounds = first.iter().copied().zip(other.iter().copied());
    let pairs: Vec<(f64, f64)> =
        rounds.filter_map(|(a, b)| Some((a.filter(|a| *a > 0.0)?, b.filter(|b| *b >= 0.0)?))).collect();
    if pairs.is_empty() {
        return None;
    }
    let (firsts, others): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
    let mut ratios: Vec<f64> = pairs.iter().map(|(a, b)| b / a).collect();
    ratios.sort_by(f64::total_cmp);
    let below = ratios.iter().filter(|ratio| **ratio < 1.0).count();
    let above = ratios.iter().filter(|ratio| **ratio > 1.0).count();
    Some(Comparison {
        figure,
        first: median(&firsts),
        other: median(&others),
        ratio: median(&ratios),
        smallest: ratios[0],
        largest: ratios[ratios.len() - 1],
        below,
        rounds: ratios.len(),
        of: first.len().min(other.len()),
        p: sign_test(below, above),
    })
}

/// The middle value, or the mean of the two middle ones; 0 if there is none.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        n if n % 2 == 1 => sorted[n / 2],
        n => (sorted[n / 2 - 1] + sorted[n / 2]) / 2.0,
    }
}

/// The two-sided probability of a split at least as uneven as this when both sides are equally likely.
pub fn sign_test(below: usize, above: usize) -> f64 {
    let n = below + above;
    let fewer = below.min(above);
    // Binomial coefficients times 2^-n, one after the other; n is the number of rounds, so there is no overflow
    // worth fearing: beyond a thousand rounds the first term is zero and so is the answer.
    let mut term = 0.5f64.powi(i32::try_from(n).unwrap_or(i32::MAX));
    let mut sum = term;
    for k in 0..fewer {
        term *= (n - k) as f64 / (k + 1) as f64;
        sum += term;
    }
    (2.0 * sum).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!([median(&[]), median(&[3.0, 1.0, 2.0]), median(&[4.0, 1.0])], [0.0, 2.0, 2.5]);
    }

    #[test]
    fn the_sign_test_is_that_of_the_books() {
        assert!((sign_test(0, 7) - 0.015_625).abs() < 1e-12);
        assert!((sign_test(1, 7) - 0.070_312_5).abs() < 1e-12);
        assert!((sign_test(5, 5) - 1.0).abs() < 1e-12);
        assert!((sign_test(0, 0) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn rounds_are_compared_in_pairs() {
        let all = |values: [f64; 3]| values.map(Some);
        let comparison =
            compare(Figure::Rate, &all([100.0, 200.0, 400.0]), &all([110.0, 180.0, 800.0])).unwrap();
        assert_eq!((comparison.below, comparison.rounds), (1, 3));
        assert!((comparison.ratio - 1.1).abs() < 1e-9 && (comparison.largest - 2.0).abs() < 1e-9);
        assert!((comparison.smallest - 0.9).abs() < 1e-9);
        assert_eq!(compare(Figure::Rate, &[], &[]), None);
    }

    #[test]
    fn a_round_without_the_figure_costs_no_other() {
        let (first, other) =
            ([Some(10.0), Some(20.0), None, Some(40.0)], [Some(5.0), None, Some(9.0), Some(40.0)]);
        let comparison = compare(Figure::P50, &first, &other).unwrap();
        assert_eq!((comparison.rounds, comparison.of, comparison.below), (2, 4, 1));
        assert_eq!((comparison.first, comparison.other, comparison.ratio), (25.0, 22.5, 0.75));
        assert_eq!(compare(Figure::P50, &[Some(1.0)], &[None]), None);
        // Nothing at all is a rate, but nobody is so many times as fast.
        let dead = compare(Figure::Rate, &[Some(100.0), Some(0.0)], &[Some(0.0), Some(7.0)]).unwrap();
        assert_eq!((dead.first, dead.other, dead.ratio, dead.rounds, dead.of), (100.0, 0.0, 0.0, 1, 2));
        let older: Comparison = serde_json::from_str(
            r#"{"figure":"P50","first":1.0,"other":2.0,"ratio":2.0,"smallest":2.0,"largest":2.0,"below":0,"rounds":3,"p":1.0}"#,
        )
        .unwrap();
        assert_eq!((older.rounds, older.of), (3, 0));
    }
}
