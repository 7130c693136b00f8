//! Zipf's distribution over 1..=n for any positive exponent, in constant time per draw and constant memory.
//!
//! Rejection-inversion after W. Hormann and G. Derflinger, "Rejection-inversion to generate variates from
//! monotone discrete distributions" (ACM TOMACS 6, 1996). The shortcut used by YCSB holds only for exponents
//! below 1 and is off for small ranks; this one is exact. A draw needs 1.1 tries on average at most.

use crate::random::Random;

/// A zipf distribution; rank k is drawn with a probability proportional to k ^ -exponent.
#[derive(Clone, Debug)]
pub struct Zipf {
    n: f64,
    exponent: f64,
    integral_first: f64,
    integral_last: f64,
    shortcut: f64,
}

impl Zipf {
    /// The distribution over 1..=n; `n` and `exponent` are above zero.
    pub fn new(n: u64, exponent: f64) -> Self {
        let n = n.max(1) as f64;
        let mut zipf = Self { n, exponent, integral_first: 0.0, integral_last: 0.0, shortcut: 0.0 };
        zipf.integral_first = zipf.integral(1.5) - 1.0;
        zipf.integral_last = zipf.integral(n + 0.5);
        zipf.shortcut = 2.0 - zipf.inverse(zipf.integral(2.5) - zipf.weight(2.0));
        zipf
    }

    /// Draws a rank.
    #[inline]
    pub fn sample(&self, random: &mut Random) -> u64 {
        loop {
            let u = self.integral_last + random.unit() * (self.integral_first - self.integral_last);
            let x = self.inverse(u);
            let k = x.round().clamp(1.0, self.n);
            if k - x <= self.shortcut || u >= self.integral(k + 0.5) - self.weight(k) {
                return k as u64;
            }
        }
    }

    /// The weight of a rank: x ^ -exponent.
    fn weight(&self, x: f64) -> f64 {
        (-self.exponent * x.ln()).exp()
    }

    /// An integral of `weight`: (x ^ (1 - exponent) - 1) / (1 - exponent), which becomes ln x at exponent 1.
    fn integral(&self, x: f64) -> f64 {
        let log = x.ln();
        expm1_over_x((1.0 - self.exponent) * log) * log
    }

    /// The inverse of `integral`.
    fn inverse(&self, y: f64) -> f64 {
        // Rounding may carry the argument a little below the smallest for which an inverse exists.
        let t = (y * (1.0 - self.exponent)).max(-1.0);
        (ln1p_over_x(t) * y).exp()
    }
}

/// (e^x - 1) / x, also near zero.
fn expm1_over_x(x: f64) -> f64 {
    if x.abs() > 1e-8 { x.exp_m1() / x } else { 1.0 + x * 0.5 }
}

/// ln(1 + x) / x, also near zero.
fn ln1p_over_x(x: f64) -> f64 {
    if x.abs() > 1e-8 { x.ln_1p() / x } else { 1.0 - x * 0.5 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The chi-square statistic of draws against the exact probabilities, ranks beyond 50 in bins of equal
    /// weight, so that every bin expects enough draws; returned as standard deviations above its mean.
    fn chi_square_excess(n: u64, exponent: f64, seed: u64) -> f64 {
        let draws = 200_000;
        let zipf = Zipf::new(n, exponent);
        let mut random = Random::new(seed);
        let mut counts = vec![0u64; n as usize];
        for _ in 0..draws {
            counts[zipf.sample(&mut random) as usize - 1] += 1;
        }
        let total: f64 = (1..=n).map(|k| (k as f64).powf(-exponent)).sum();
        let (mut chi, mut bins, mut expected, mut seen) = (0.0, 0, 0.0, 0);
        for k in 1..=n {
            expected += draws as f64 * (k as f64).powf(-exponent) / total;
            seen += counts[k as usize - 1];
            if expected >= 50.0 {
                chi += (seen as f64 - expected).powi(2) / expected;
                (bins, expected, seen) = (bins + 1, 0.0, 0);
            }
        }
        let freedom = f64::from(bins - 1);
        (chi - freedom) / (2.0 * freedom).sqrt()
    }

    #[test]
    fn passes_a_chi_square_test_at_every_exponent() {
        for (index, exponent) in [0.2, 0.5, 0.9, 0.99, 1.0, 1.01, 1.2, 1.5].into_iter().enumerate() {
            for n in [10, 1000, 50_000] {
                let excess = chi_square_excess(n, exponent, 100 + index as u64);
                assert!(excess < 4.0, "n {n}, exponent {exponent}: {excess} deviations too far");
            }
        }
    }

    #[test]
    fn one_key_is_always_drawn() {
        let zipf = Zipf::new(1, 0.99);
        let mut random = Random::new(1);
        assert!((0..100).all(|_| zipf.sample(&mut random) == 1));
    }
}
