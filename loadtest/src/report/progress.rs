//! The live line: one second after the other, rewritten in place on a terminal, one line each elsewhere.

use std::io::{self, IsTerminal, Write};

use super::number::{count, micros, percent};
use crate::series::Second;

/// Prints seconds to the standard error output as they pass.
#[derive(Debug)]
pub struct Progress {
    in_place: bool,
    quiet: bool,
    rates: Vec<u64>,
}

/// How many seconds the sparkline shows.
const SPARKS: usize = 30;

impl Progress {
    /// Finds out what the standard error output is.
    pub fn new(quiet: bool) -> Self {
        Self { in_place: io::stderr().is_terminal(), quiet, rates: Vec::new() }
    }

    /// Shows a second.
    pub fn show(&mut self, second: &Second) {
        if self.quiet {
            return;
        }
        self.rates.push(second.answered);
        if self.rates.len() > SPARKS {
            self.rates.remove(0);
        }
        let mut line = text(second);
        if self.in_place {
            line = format!("\r\x1b[K{line}  {}", sparkline(&self.rates));
        } else {
            line.push('\n');
        }
        // A closed terminal must not end the run.
        let _ = io::stderr().write_all(line.as_bytes());
    }

    /// Makes way for what is printed next.
    pub fn end(&self) {
        if self.in_place && !self.quiet && !self.rates.is_empty() {
            let _ = io::stderr().write_all(b"\r\x1b[K");
        }
    }
}

fn text(second: &Second) -> String {
    let hits = second.hit_ratio().map(|ratio| format!("  hits {}", percent(ratio))).unwrap_or_default();
    format!(
        "{:>4} s  {:>11}/s  p50 {:>8}  p99 {:>8}  max {:>8}  errors {}{hits}",
        second.second + 1,
        count(second.answered),
        micros(second.p50_us),
        micros(second.p99_us),
        micros(second.max_us),
        count(second.errors)
    )
}

/// Bars of eight heights, from zero to the largest value.
pub fn sparkline(values: &[u64]) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let top = values.iter().copied().max().unwrap_or(0).max(1);
    values.iter().map(|value| BARS[(u128::from(*value) * 7 / u128::from(top)) as usize]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_follow_the_values() {
        assert_eq!(sparkline(&[0, 50, 100]), "▁▄█");
        assert_eq!(sparkline(&[0]), "▁");
        assert_eq!(sparkline(&[u64::MAX, 1]), "█▁");
    }

    #[test]
    fn a_second_as_a_line() {
        let second = Second {
            second: 0,
            answered: 1234,
            p50_us: 50.0,
            p99_us: 80.0,
            max_us: 1500.0,
            ..Second::default()
        };
        assert_eq!(
            text(&second),
            "   1 s        1,234/s  p50  50.0 us  p99  80.0 us  max  1.50 ms  errors 0"
        );
    }
}
