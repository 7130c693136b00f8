//! What each step of a stepped rate was answered with: one set of percentiles over all of them would hide where a server
//! ceased to keep up.
//!
//! Put together from the seconds of a run, so it costs the generator nothing. A second that belongs to two steps counts
//! in neither.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::figures::{Figures, StepFigures};
use crate::series::Second;
use crate::tally::{Tally, histogram};

/// The seconds of one step.
#[derive(Debug)]
struct Step {
    /// From and until, in seconds from the end of the warm-up.
    span: (f64, f64),
    /// Seconds counted.
    counted_s: f64,
    answered: u64,
    errors: u64,
    lost: u64,
    latencies: Histogram<u64>,
}

/// The steps of a run; none of one that has a single rate, or none.
#[derive(Debug, Default)]
pub struct Steps(Vec<Step>);

impl Steps {
    /// Of these rates, each for its time.
    pub fn new(rates: &[(f64, Duration)]) -> Self {
        if rates.len() < 2 {
            return Self::default();
        }
        let mut begin = Duration::ZERO;
        let steps = rates.iter().map(|(_, time)| {
            let end = begin.saturating_add(*time);
            let span = (std::mem::replace(&mut begin, end).as_secs_f64(), end.as_secs_f64());
            Step { span, counted_s: 0.0, answered: 0, errors: 0, lost: 0, latencies: histogram() }
        });
        Self(steps.collect())
    }

    /// Takes what was counted in a second.
    pub fn second(&mut self, second: &Second, counted: &Tally) {
        let (begin, end) = (second.begin_s(), second.begin_s() + second.length());
        let Some(step) = self.0.iter_mut().find(|step| step.span.0 <= begin && end <= step.span.1) else {
            return;
        };
        step.counted_s += second.length();
        step.answered += second.answered;
        step.errors += second.all_errors();
        step.lost += second.lost;
        step.latencies.add(counted.total().ended()).expect("all have the same bounds");
    }

    /// Puts what was counted to the steps that were asked for.
    pub fn tell(&self, figures: &mut Figures) {
        for (step, figures) in self.0.iter().zip(&mut figures.steps).filter(|(step, _)| step.counted_s > 0.0)
        {
            let quantile = |share| step.latencies.value_at_quantile(share) as f64 / 1e3;
            *figures = StepFigures {
                from_s: step.span.0,
                counted_s: step.counted_s,
                answered: step.answered,
                answered_per_s: step.answered as f64 / step.counted_s,
                errors: step.errors,
                lost: step.lost,
                p50_us: quantile(0.5),
                p90_us: quantile(0.9),
                p99_us: quantile(0.99),
                p999_us: quantile(0.999),
                max_us: step.latencies.max() as f64 / 1e3,
                ..figures.clone()
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn seconds_count_in_the_step_that_holds_them() {
        let rates = [(100.0, Duration::from_millis(2500)), (200.0, seconds(2)), (300.0, Duration::MAX)];
        let mut steps = Steps::new(&rates);
        let mut figures = Figures {
            steps: rates
                .iter()
                .map(|(per_s, _)| StepFigures { per_s: *per_s, ..StepFigures::default() })
                .collect(),
            ..Figures::default()
        };
        for second in 0..7u64 {
            let mut tally = Tally::new(1);
            for _ in 0..=second {
                tally.commands[0].latency.saturating_record((second + 1) * 1_000_000);
            }
            tally.commands[0].errors = 1;
            steps.second(&Second::of(second, &tally), &tally);
        }
        // The last one was cut short.
        let mut tally = Tally::new(1);
        tally.cut = 500_000_000;
        tally.commands[0].latency.saturating_record(9_000_000);
        steps.second(&Second::of(7, &tally), &tally);
        steps.tell(&mut figures);
        let told: Vec<_> = figures
            .steps
            .iter()
            .map(|step| (step.per_s, step.from_s, step.counted_s, step.answered, step.errors))
            .collect();
        // Of the third and the fifth second each belongs to two steps.
        assert_eq!(
            told,
            [(100.0, 0.0, 2.0, 1 + 2, 2), (200.0, 2.5, 1.0, 4, 1), (300.0, 4.5, 2.5, 6 + 7 + 1, 2)]
        );
        let near = |us: f64, ms: f64| (us / 1000.0 / ms - 1.0).abs() < 0.01;
        assert!(near(figures.steps[0].max_us, 2.0) && near(figures.steps[1].p50_us, 4.0));
        assert!(near(figures.steps[2].max_us, 9.0) && (figures.steps[2].answered_per_s - 5.6).abs() < 1e-9);
    }

    #[test]
    fn a_single_rate_has_no_steps() {
        assert!(Steps::new(&[(100.0, Duration::MAX)]).0.is_empty() && Steps::new(&[]).0.is_empty());
    }
}
