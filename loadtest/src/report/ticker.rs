//! A line about work that goes on: rewritten each second on a terminal, elsewhere one every few seconds.
//!
//! For work that has no percentiles to show, as a replay or a check; a run's seconds are [`super::progress`]'.

use std::io::{self, IsTerminal};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::progress::{print, width};

/// Seconds between lines where lines stay: so many at first.
const PER_LINE: u64 = 5;
/// After so many seconds lines come less often.
const SOON: u64 = 60;
/// Seconds between lines from then on.
const PER_LATE_LINE: u64 = 30;

/// Does some work and meanwhile writes what `line` says to the standard error output. `line` is told the seconds since
/// the beginning and those since the line before.
pub fn accompany<T>(
    quiet: bool,
    mut line: impl FnMut(u64, u64) -> String + Send,
    work: impl FnOnce() -> T,
) -> T {
    if quiet {
        return work();
    }
    let is_terminal =
        io::stderr().is_terminal() && std::env::var("TERM").is_ok_and(|terminal| terminal != "dumb");
    std::thread::scope(|scope| {
        let (working, ended) = mpsc::channel::<()>();
        scope.spawn(move || {
            let began = Instant::now();
            let mut last = 0;
            for second in 1.. {
                let next = Duration::from_secs(second).saturating_sub(began.elapsed());
                if ended.recv_timeout(next) != Err(RecvTimeoutError::Timeout) {
                    break;
                }
                if is_terminal {
                    print(&format!("\r\x1b[K{}", cut(&line(second, second - last), width())));
                } else if is_due(second) {
                    print(&format!("{}\n", line(second, second - last)));
                } else {
                    continue;
                }
                last = second;
            }
            if is_terminal && last > 0 {
                print("\r\x1b[K");
            }
        });
        let outcome = work();
        // Its other end is told by this, also when the work panics.
        drop(working);
        outcome
    })
}

/// True for the seconds after which a line comes that stays.
fn is_due(second: u64) -> bool {
    second.is_multiple_of(if second <= SOON { PER_LINE } else { PER_LATE_LINE })
}

/// Whole parts of a line (they are two spaces apart) that fit; one column stays free for the cursor.
fn cut(line: &str, width: usize) -> String {
    let mut out = String::new();
    for part in line.split("  ") {
        if out.chars().count() + 2 + part.chars().count() >= width {
            break;
        }
        if !out.is_empty() {
            out.push_str("  ");
        }
        out.push_str(part);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_stay_come_less_often_after_a_while() {
        let due: Vec<u64> = (1..=150).filter(|second| is_due(*second)).collect();
        assert_eq!(due, [5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 60, 90, 120, 150]);
    }

    #[test]
    fn a_line_is_cut_between_its_parts() {
        let line = "12 s  4,500 accesses  hits 60 %";
        assert_eq!(cut(line, 80), line);
        assert_eq!(cut(line, 25), "12 s  4,500 accesses");
        for width in 0..80 {
            assert!(cut(line, width).chars().count() < width.max(1), "{width}");
        }
    }

    #[test]
    fn the_work_is_done_and_its_outcome_returned() {
        for quiet in [true, false] {
            assert_eq!(accompany(quiet, |_, _| String::new(), || 5), 5);
        }
    }
}
