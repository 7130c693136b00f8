//! Axes: where values lie between two ends, and which of them are worth a number.

use crate::report::number::micros;

/// How an axis runs from its low end to its high end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scale {
    Linear,
    Logarithmic,
}

/// An axis with its numbers.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    low: f64,
    high: f64,
    scale: Scale,
    /// Values with a grid line, and what is written there.
    pub(super) ticks: Vec<(f64, String)>,
}

/// Values further apart than this are drawn on a logarithmic axis.
const WIDE: f64 = 8.0;

impl Axis {
    /// From zero to a round number above `most`, about four numbers.
    pub(super) fn from_zero(most: f64, text: impl Fn(f64) -> String) -> Self {
        let most = if most > 0.0 { most } else { 1.0 };
        let step = round_up(most / 4.0);
        let steps = (most / step - 1e-9).ceil();
        let ticks = (0..=steps as u32).map(|index| f64::from(index) * step).map(|value| (value, text(value)));
        Self { low: 0.0, high: step * steps, scale: Scale::Linear, ticks: ticks.collect() }
    }

    /// Counts: no number between 0 and 1.
    pub(super) fn counts(most: f64, text: impl Fn(f64) -> String) -> Self {
        Self::from_zero(most.max(4.0), text)
    }

    /// Zero to one.
    pub(super) fn shares(text: impl Fn(f64) -> String) -> Self {
        let ticks = [0.0, 0.25, 0.5, 0.75, 1.0].map(|share| (share, text(share)));
        Self { low: 0.0, high: 1.0, scale: Scale::Linear, ticks: ticks.to_vec() }
    }

    /// From one to a round number above `most`.
    pub(super) fn from_one(most: f64) -> Self {
        let above = Self::from_zero((most - 1.0).max(0.2), |_| String::new());
        let ticks = above.ticks.iter().map(|(value, _)| (value + 1.0, format!("{:.2}", value + 1.0)));
        Self { low: 1.0, high: above.high + 1.0, scale: Scale::Linear, ticks: ticks.collect() }
    }

    /// Logarithmic if the values are far apart, from zero otherwise.
    pub(super) fn fitting(values: impl Iterator<Item = f64> + Clone, text: impl Fn(f64) -> String) -> Self {
        let least = values.clone().filter(|value| *value > 0.0).fold(f64::INFINITY, f64::min);
        let most = values.fold(0.0, f64::max);
        if most > least * WIDE { Self::logarithmic(least, most, text) } else { Self::from_zero(most, text) }
    }

    fn logarithmic(least: f64, most: f64, text: impl Fn(f64) -> String) -> Self {
        let (low, high) = (round_down(least), round_up(most));
        let decades = (high / low).log10();
        let wanted = |digit: u32| decades < 2.2 || digit == 1;
        let mut ticks = Vec::new();
        for power in (low.log10().floor() as i32)..=(high.log10().ceil() as i32) {
            for digit in [1u32, 2, 5] {
                let value = f64::from(digit) * 10f64.powi(power);
                if wanted(digit) && value >= low * 0.999 && value <= high * 1.001 {
                    ticks.push((value, text(value)));
                }
            }
        }
        Self { low, high, scale: Scale::Logarithmic, ticks }
    }

    /// Seconds from 0 to `end`, in steps that a clock would have.
    pub(super) fn time(end: f64) -> Self {
        const STEPS: [f64; 14] =
            [0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0];
        let end = end.max(1.0);
        let step = STEPS.into_iter().find(|step| end / step <= 8.0).unwrap_or_else(|| round_up(end / 8.0));
        let count = (end / step + 1e-9).floor() as u32;
        let ticks = (0..=count).map(|index| f64::from(index) * step).map(|at| (at, time(at)));
        Self { low: 0.0, high: end, scale: Scale::Linear, ticks: ticks.collect() }
    }

    /// Shares of requests by how many nines they have: 90 %, 99 %, 99.9 % at equal distances.
    pub(super) fn nines(most: f64) -> Self {
        let mut ticks = vec![(nines(0.5), "50 %".to_owned())];
        for count in 1..=(most.floor() as usize) {
            let text = if count < 3 { "9".repeat(count) } else { format!("99.{}", "9".repeat(count - 2)) };
            let text = if count == 1 { "90".to_owned() } else { text };
            ticks.push((count as f64, format!("{text} %")));
        }
        Self { low: 0.0, high: most.max(1.0), scale: Scale::Linear, ticks }
    }

    /// Where a value lies, from 0 at the low end to 1 at the high end.
    pub(super) fn place(&self, value: f64) -> f64 {
        let place = match self.scale {
            Scale::Linear => (value - self.low) / (self.high - self.low),
            Scale::Logarithmic => (value.max(self.low) / self.low).ln() / (self.high / self.low).ln(),
        };
        place.clamp(0.0, 1.0)
    }

    /// Whether it is logarithmic.
    pub(super) fn is_logarithmic(&self) -> bool {
        self.scale == Scale::Logarithmic
    }
}

/// A latency without digits that say nothing: `10 ms` where a table would have `10.0 ms`.
pub(super) fn round_micros(us: f64) -> String {
    micros(us).replacen(".00 ", " ", 1).replacen(".0 ", " ", 1)
}

/// How many nines a share of requests has: 1 for 90 %, 2 for 99 %.
pub(super) fn nines(share: f64) -> f64 {
    -(1.0 - share).log10()
}

/// A time into the run: `2.5 s`, or `3:20` beyond two minutes.
pub(super) fn time(at: f64) -> String {
    if at < 120.0 || at.fract() != 0.0 {
        let text = format!("{at:.1}");
        return format!("{} s", text.strip_suffix(".0").unwrap_or(&text));
    }
    let (hours, rest) = ((at / 3600.0).floor(), at % 3600.0);
    let (minutes, seconds) = ((rest / 60.0).floor(), rest % 60.0);
    if hours > 0.0 {
        format!("{hours:.0}:{minutes:02.0}:{seconds:02.0}")
    } else {
        format!("{minutes:.0}:{seconds:02.0}")
    }
}

/// The next number of the row 1, 2, 5, 10, 20, ... that is not below `value`.
fn round_up(value: f64) -> f64 {
    let base = 10f64.powf(value.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .map(|digit| digit * base)
        .into_iter()
        .find(|round| *round >= value * 0.999_999)
        .unwrap_or(value)
}

/// The last number of that row that is not above `value`.
fn round_down(value: f64) -> f64 {
    let base = 10f64.powf(value.log10().floor());
    [5.0, 2.0, 1.0]
        .map(|digit| digit * base)
        .into_iter()
        .find(|round| *round <= value * 1.000_001)
        .unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|(_, text)| text.as_str()).collect()
    }

    #[test]
    fn ends_are_round_numbers() {
        let axis = Axis::from_zero(104_238.0, |value| value.to_string());
        assert_eq!(texts(&axis), ["0", "50000", "100000", "150000"]);
        assert!((axis.place(75_000.0) - 0.5).abs() < 1e-9);
        assert_eq!(texts(&Axis::from_zero(0.0, |value| value.to_string())), ["0", "0.5", "1"]);
        assert_eq!(texts(&Axis::from_one(1.3)), ["1.00", "1.10", "1.20", "1.30"]);
        assert_eq!(Axis::counts(1.0, |value| value.to_string()).ticks.len(), 5);
    }

    #[test]
    fn far_values_are_logarithmic() {
        let axis = Axis::fitting([150.0, 24_000.0].into_iter(), |value| value.to_string());
        assert!(axis.is_logarithmic());
        assert_eq!(texts(&axis), ["100", "1000", "10000"]);
        assert!(axis.place(0.0).abs() < 1e-9 && (axis.place(1e9) - 1.0).abs() < 1e-9);
        assert!(!Axis::fitting([100.0, 200.0].into_iter(), |value| value.to_string()).is_logarithmic());
        assert!(!Axis::fitting(std::iter::empty(), |value| value.to_string()).is_logarithmic());
    }

    #[test]
    fn time_runs_by_the_clock() {
        assert_eq!(texts(&Axis::time(12.0)), ["0 s", "2 s", "4 s", "6 s", "8 s", "10 s", "12 s"]);
        assert_eq!(texts(&Axis::time(3.0)), ["0 s", "0.5 s", "1 s", "1.5 s", "2 s", "2.5 s", "3 s"]);
        assert_eq!(texts(&Axis::time(600.0)).last(), Some(&"10:00"));
        assert_eq!(time(7325.0), "2:02:05");
        assert_eq!([1e3, 2.5e3, 1e4, 2e6].map(round_micros), ["1 ms", "2.50 ms", "10 ms", "2 s"]);
    }

    #[test]
    fn shares_by_their_nines() {
        let axis = Axis::nines(nines(0.9999));
        assert_eq!(texts(&axis), ["50 %", "90 %", "99 %", "99.9 %", "99.99 %"]);
        assert!((axis.place(nines(0.99)) - 0.5).abs() < 1e-9);
    }
}
