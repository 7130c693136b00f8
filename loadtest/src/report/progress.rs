//! The live line: on a terminal one line rewritten every second and cut to its width, elsewhere a line every few
//! seconds, so that the log of a long run stays short.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use super::number::{count, micros, percent};
use crate::series::Second;

/// Prints seconds to the standard error output as they pass.
#[derive(Debug)]
pub struct Progress {
    output: Output,
    quiet: bool,
    label: String,
    /// How many seconds the run is to take, if that is known.
    until: Option<u64>,
    rates: Vec<f64>,
    tails: Vec<f64>,
    /// Seconds not yet printed.
    waiting: Vec<Second>,
}

/// What the standard error output is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Output {
    /// A terminal; with colours or without.
    Terminal { colours: bool },
    /// A file or a pipe.
    Lines,
}

/// How many seconds a sparkline shows at most.
const SPARKS: usize = 60;
/// A sparkline narrower than this says nothing.
const FEWEST_SPARKS: usize = 8;
/// The width of a terminal that does not tell.
const WIDTH: usize = 80;
/// Seconds per line where lines stay: a few at first, then so many.
const PER_LINE: usize = 5;
/// After so many seconds lines come less often.
const SOON: u64 = 60;
/// Seconds per line from then on.
const PER_LATE_LINE: usize = 30;

impl Progress {
    /// Finds out what the standard error output is.
    pub fn new(quiet: bool) -> Self {
        let variable = |name| std::env::var(name).unwrap_or_default();
        let terminal = io::stderr().is_terminal() && variable("TERM") != "dumb";
        let output = if terminal {
            Output::Terminal { colours: variable("NO_COLOR").is_empty() }
        } else {
            Output::Lines
        };
        let (rates, tails, waiting) = (Vec::new(), Vec::new(), Vec::new());
        Self { output, quiet, label: String::new(), until: None, rates, tails, waiting }
    }

    /// Says of what this is the progress.
    pub fn label(mut self, label: &str) -> Self {
        self.label = format!("{label}  ");
        self
    }

    /// Says how long the run is to take.
    pub fn until(mut self, duration: Duration) -> Self {
        self.until = Some(duration.as_secs()).filter(|seconds| *seconds < 100_000_000);
        self
    }

    /// Shows a second.
    pub fn show(&mut self, second: &Second) {
        if self.quiet {
            return;
        }
        for (values, value) in [(&mut self.rates, second.rate()), (&mut self.tails, second.p99_us)] {
            values.push(value);
            values.drain(..values.len().saturating_sub(SPARKS));
        }
        match self.output {
            Output::Terminal { colours } => {
                let line = self.line(second, width(), colours);
                print(&format!("\r\x1b[K{line}"));
            }
            Output::Lines => {
                self.waiting.push(second.clone());
                let enough = if second.second < SOON { PER_LINE } else { PER_LATE_LINE };
                if self.waiting.len() >= enough {
                    self.flush();
                }
            }
        }
    }

    /// Makes way for what is printed next.
    pub fn end(&mut self) {
        if !self.quiet && !self.rates.is_empty() {
            match self.output {
                Output::Terminal { .. } => print("\r\x1b[K"),
                Output::Lines => self.flush(),
            }
        }
    }

    /// Prints the waiting seconds as one line.
    fn flush(&mut self) {
        let Some(last) = self.waiting.last() else { return };
        let text = format!("{}{}\n", self.label, summary(&self.waiting, self.time(last)));
        self.waiting.clear();
        print(&text);
    }

    fn time(&self, second: &Second) -> String {
        let end = second.begin_s() + second.length();
        // A part of a second is told as such.
        let end = if end.fract() == 0.0 { end.to_string() } else { format!("{end:.1}") };
        match self.until {
            Some(until) if second.second < until => format!("{end}/{until} s"),
            _ => format!("{end} s"),
        }
    }

    /// The line for a terminal of so many columns: what matters least goes first when there is no room.
    fn line(&self, second: &Second, width: usize, colours: bool) -> String {
        let time = |time: f64| if second.has_latencies() { micros(time) } else { "-".into() };
        let hits = second.hit_ratio().map(|ratio| format!("hits {}", percent(ratio)));
        // From the most to the least important; the order of printing is that of the numbers.
        let parts = [
            (0, Some(format!("{}{:>8}", self.label, self.time(second)))),
            (1, Some(format!("{:>9}/s", count(second.rate().round() as u64)))),
            (7, silence(second)),
            (3, Some(format!("p99 {:>7}", time(second.p99_us)))),
            (5, (second.all_errors() + second.lost > 0).then(|| failures(second.all_errors(), second.lost))),
            (2, Some(format!("p50 {:>7}", time(second.p50_us)))),
            (4, Some(format!("max {:>7}", second.longest_us().map_or("-".into(), micros)))),
            (6, hits),
        ];
        // One column stays free: some terminals begin a new line after the last one.
        let room = width.saturating_sub(1);
        let mut used = 0;
        let mut taken: Vec<(usize, String)> = Vec::new();
        for (place, text) in parts {
            let Some(text) = text else { continue };
            let columns = text.chars().count() + if taken.is_empty() { 0 } else { GAP };
            if used + columns > room {
                break;
            }
            used += columns;
            taken.push((place, text));
        }
        taken.sort_by_key(|(place, _)| *place);
        let colour = |place: usize, text: String| match (place, colours) {
            (0, true) => format!("\x1b[2m{text}\x1b[0m"),
            (1, true) => format!("\x1b[1m{text}\x1b[0m"),
            (5 | 7, true) => format!("\x1b[31m{text}\x1b[0m"),
            _ => text,
        };
        let parts: Vec<String> = taken.into_iter().map(|(place, text)| colour(place, text)).collect();
        parts.join(&" ".repeat(GAP)) + &self.sparks(room - used, colours)
    }

    /// Sparklines for the columns that are left: the rate, and the p99 if there is room for both.
    fn sparks(&self, room: usize, colours: bool) -> String {
        const NAMES: [&str; 2] = ["rate ", "p99 "];
        let both = room / 2 >= FEWEST_SPARKS + GAP + NAMES[0].len();
        let each = if both { room / 2 } else { room };
        let mut out = String::new();
        for (name, values) in NAMES.iter().zip([&self.rates, &self.tails]).take(if both { 2 } else { 1 }) {
            let name = if both { name } else { "" };
            let bars = each.saturating_sub(GAP + name.len()).min(SPARKS);
            if bars < FEWEST_SPARKS {
                break;
            }
            let bars = sparkline(&values[values.len().saturating_sub(bars)..]);
            let (dim, bright, end) = if colours { ("\x1b[2m", "\x1b[36m", "\x1b[0m") } else { ("", "", "") };
            out.push_str(&format!("{}{dim}{name}{end}{bright}{bars}{end}", " ".repeat(GAP)));
        }
        out
    }
}

/// Says what there is instead of answers, if none came.
fn silence(second: &Second) -> Option<String> {
    let wait = (second.waiting_us > 0.0).then(|| micros(second.waiting_us));
    (second.answered == 0).then(|| wait.map_or("nothing waits".into(), |wait| format!("oldest waits {wait}")))
}

/// Errors as the list has them, and requests that lost their connection if there are any.
fn failures(errors: u64, lost: u64) -> String {
    if lost > 0 {
        format!("errors {}  lost {}", count(errors), count(lost))
    } else {
        format!("errors {}", count(errors))
    }
}

/// Spaces between the parts of a line.
const GAP: usize = 2;

/// Some seconds as one line. Percentiles of several seconds are at most the largest of theirs.
fn summary(seconds: &[Second], time: String) -> String {
    let sum = |part: fn(&Second) -> u64| seconds.iter().map(part).sum::<u64>();
    let counted = seconds.iter().any(Second::has_latencies);
    let length: f64 = seconds.iter().map(Second::length).sum();
    let largest = |part: fn(&Second) -> f64| micros(seconds.iter().map(part).fold(0.0, f64::max));
    let most = |part| if counted { largest(part) } else { "-".into() };
    let longest = seconds.iter().filter_map(Second::longest_us).reduce(f64::max).map_or("-".into(), micros);
    let (hits, asked) = (sum(|second| second.hits), sum(|second| second.hits + second.misses));
    let hits =
        if asked > 0 { format!("  hits {}", percent(hits as f64 / asked as f64)) } else { String::new() };
    let sign = if seconds.len() > 1 && counted { "<=" } else { "" };
    let answered = sum(|second| second.answered) > 0;
    let silence = seconds
        .last()
        .filter(|_| !answered)
        .and_then(silence)
        .map(|text| format!("  {text}"))
        .unwrap_or_default();
    format!(
        "{time:>9}  {:>10}/s  p50 {sign}{:>8}  p99 {sign}{:>8}  max {longest:>8}  {}{hits}{silence}",
        count((sum(|second| second.answered) as f64 / length.max(1e-3)).round() as u64),
        most(|second| second.p50_us),
        most(|second| second.p99_us),
        failures(sum(Second::all_errors), sum(|second| second.lost))
    )
}

/// Bars of eight heights, from zero to the largest value.
pub fn sparkline(values: &[f64]) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let top = values.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
    values.iter().map(|value| BARS[((value / top * 8.0) as usize).min(7)]).collect()
}

/// The columns of the terminal.
pub(super) fn width() -> usize {
    let told = rustix::termios::tcgetwinsize(io::stderr()).map_or(0, |size| usize::from(size.ws_col));
    if told > 0 { told } else { WIDTH }
}

/// Writes to standard error.
pub(super) fn print(text: &str) {
    // A closed terminal must not end the run.
    let _ = io::stderr().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(second: u64) -> Second {
        Second {
            second,
            answered: 104_238,
            p50_us: 50.0,
            p99_us: 80.0,
            max_us: 1500.0,
            hits: 3,
            misses: 1,
            ..Second::default()
        }
    }

    fn progress(seconds: usize) -> Progress {
        Progress {
            output: Output::Lines,
            quiet: false,
            label: String::new(),
            until: Some(60),
            rates: (0..seconds).map(|rate| rate as f64).collect(),
            tails: (0..seconds).map(|tail| (seconds - tail) as f64).collect(),
            waiting: Vec::new(),
        }
    }

    #[test]
    fn bars_follow_the_values() {
        assert_eq!(sparkline(&[0.0, 50.0, 100.0]), "▁▅█");
        assert_eq!(sparkline(&[0.0]), "▁");
        assert_eq!(sparkline(&[1e18, 1.0]), "█▁");
    }

    #[test]
    fn the_line_fits_the_terminal() {
        let progress = progress(10);
        let line = |width| progress.line(&second(9), width, false);
        let plain = " 10/60 s    104,238/s  p50 50.0 us  p99 80.0 us  max 1.50 ms  hits 75.00 %";
        assert_eq!(line(80), plain);
        assert_eq!(line(120), format!("{plain}  rate ▁▁▂▃▄▅▆▇██  p99 ██▇▆▅▅▄▃▂▁"));
        assert_eq!(line(40), " 10/60 s    104,238/s  p99 80.0 us");
        for width in 0..200 {
            assert!(line(width).chars().count() < width.max(1), "{width}");
        }
    }

    #[test]
    fn errors_stand_out() {
        let failed = Second { errors: 1200, connection_errors: 34, ..second(0) };
        let line = progress(1).line(&failed, 100, true);
        assert!(line.contains("\x1b[31merrors 1,234\x1b[0m"), "{line}");
        assert!(progress(1).line(&failed, 60, false).contains("errors 1,234"));
        assert!(summary(&[failed.clone(), failed], "2 s".into()).contains("errors 2,468"));
        let refused = Second { answered: 0, connection_errors: 1, ..Second::default() };
        assert!(progress(1).line(&refused, 100, false).contains("errors 1"));
    }

    #[test]
    fn a_silent_server_shows_no_latencies() {
        let silent =
            Second { answered: 0, p50_us: 0.0, p99_us: 0.0, max_us: 0.0, waiting_us: 3.2e6, ..second(4) };
        let line = progress(1).line(&silent, 100, false);
        assert_eq!(
            line,
            "  5/60 s          0/s  p50       -  p99       -  max  3.20 s  hits 75.00 %  oldest waits 3.20 s"
        );
        let text = summary(&[silent.clone(), silent], "5/60 s".into());
        assert!(
            text.contains("p50        -  p99        -  max   3.20 s")
                && text.ends_with("oldest waits 3.20 s"),
            "{text}"
        );
        let lost = Second { answered: 0, lost: 7, waiting_us: 0.0, hits: 0, misses: 0, ..second(4) };
        assert!(summary(&[lost], "5 s".into()).ends_with("errors 0  lost 7  nothing waits"));
    }

    #[test]
    fn a_request_that_hangs_beside_others_shows() {
        let hangs = Second { waiting_us: 3.2e6, ..second(4) };
        let line = progress(1).line(&hangs, 100, false);
        assert!(line.contains("p99 80.0 us  max  3.20 s"), "{line}");
        let text = summary(&[second(3), hangs], "5/60 s".into());
        assert!(text.contains("p99 <= 80.0 us  max   3.20 s"), "{text}");
        let scenario = Second { begin_s: Some(4.3), length_s: 1.0, ..second(0) };
        assert_eq!(progress(1).time(&scenario), "5.3/60 s");
    }

    #[test]
    fn several_seconds_as_a_line() {
        let slow = Second { p99_us: 200.0, errors: 2, answered: 0, ..second(1) };
        assert_eq!(
            summary(&[second(0), slow], "2/60 s".into()),
            "   2/60 s      52,119/s  p50 <= 50.0 us  p99 <=  200 us  max  1.50 ms  errors 2  hits 75.00 %"
        );
        assert!(summary(&[second(0)], "1 s".into()).contains("p50  50.0 us"));
        // A part of a second counts for its length.
        let part = Second { length_s: 0.02, answered: 2000, ..second(1) };
        assert!(summary(std::slice::from_ref(&part), "1 s".into()).contains(" 100,000/s"));
        let text = summary(&[Second { answered: 100_000, ..second(0) }, part.clone()], "1 s".into());
        assert!(text.contains(" 100,000/s"), "{text}");
        assert_eq!(progress(1).time(&Second { length_s: 0.3, ..part }), "1.3/60 s");
    }
}
