//! What a scenario claims of the figures: `errors = 0`, `p99 <= 5ms`, `p99 <= 3 x steady`.

use std::cmp::Ordering;
use std::fmt;

use super::load::Verified;
use super::record::{TICK, Window};
use crate::report::number::{count, counted, micros, percent};
use crate::verify::history::Wrong;

/// A figure that can be claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Figure {
    /// Of the load's window.
    Load(LoadFigure),
    /// Violations found by the checker, all of them or those of one kind.
    Violations(Option<Wrong>),
}

/// A figure of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadFigure {
    /// Error replies, requests lost with their connection, and those without an answer when the load was put off.
    Errors,
    /// Requests lost with their connection.
    Lost,
    /// Requests without an answer at the window's end.
    Unanswered,
    /// Errors by requests.
    ErrorRatio,
    /// Requests answered.
    Answered,
    /// Requests answered per second.
    Throughput,
    /// Share of looked-up keys that were found.
    HitRatio,
    /// A latency in microseconds.
    P50,
    /// A latency in microseconds.
    P90,
    /// A latency in microseconds.
    P99,
    /// A latency in microseconds.
    P999,
    /// A latency in microseconds.
    Max,
    /// The longest time without a good answer, in microseconds.
    LongestGap,
    /// The longest time that a slot gave no good answer to those who asked, in microseconds.
    LongestOutage,
}

const FIGURES: &[(&str, Figure)] = &[
    ("errors", Figure::Load(LoadFigure::Errors)),
    ("lost", Figure::Load(LoadFigure::Lost)),
    ("unanswered", Figure::Load(LoadFigure::Unanswered)),
    ("error_ratio", Figure::Load(LoadFigure::ErrorRatio)),
    ("answered", Figure::Load(LoadFigure::Answered)),
    ("throughput", Figure::Load(LoadFigure::Throughput)),
    ("hit_ratio", Figure::Load(LoadFigure::HitRatio)),
    ("p50", Figure::Load(LoadFigure::P50)),
    ("p90", Figure::Load(LoadFigure::P90)),
    ("p99", Figure::Load(LoadFigure::P99)),
    ("p999", Figure::Load(LoadFigure::P999)),
    ("max", Figure::Load(LoadFigure::Max)),
    ("longest_gap", Figure::Load(LoadFigure::LongestGap)),
    ("longest_outage", Figure::Load(LoadFigure::LongestOutage)),
    ("violations", Figure::Violations(None)),
    ("stale_reads", Figure::Violations(Some(Wrong::StaleRead))),
    ("lost_writes", Figure::Violations(Some(Wrong::LostWrite))),
    ("resurrected", Figure::Violations(Some(Wrong::Resurrected))),
    ("swapped_replies", Figure::Violations(Some(Wrong::SwappedReply))),
    ("lost_increments", Figure::Violations(Some(Wrong::LostIncrement))),
];

/// What a figure is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Count,
    Micros,
    Share,
}

impl Figure {
    fn unit(self) -> Unit {
        match self {
            Self::Violations(_) => Unit::Count,
            Self::Load(figure) => match figure {
                LoadFigure::Errors
                | LoadFigure::Lost
                | LoadFigure::Unanswered
                | LoadFigure::Answered
                | LoadFigure::Throughput => Unit::Count,
                LoadFigure::ErrorRatio | LoadFigure::HitRatio => Unit::Share,
                _ => Unit::Micros,
            },
        }
    }
}

impl LoadFigure {
    /// The figure of a step that others are compared with, if there is one: nothing is better or worse than a window
    /// without any good answer.
    fn of_baseline(self, window: &Window) -> Option<f64> {
        if window.answered > window.error_replies { self.of(window) } else { None }
    }

    /// True if every window that has load has the figure.
    fn is_always_there(self) -> bool {
        matches!(
            self,
            Self::Errors
                | Self::Lost
                | Self::Unanswered
                | Self::Answered
                | Self::Throughput
                | Self::LongestGap
                | Self::LongestOutage
        )
    }

    /// The figure of a window, if there is one: latencies need answers or waits, ratios something to divide by, and all of
    /// them load.
    fn of(self, window: &Window) -> Option<f64> {
        if window.loaded_s <= 0.0 {
            return None;
        }
        let answered = window.answered as f64;
        let latency =
            |value: f64| (window.answered + window.lost > 0 || window.max_us > 0.0).then_some(value);
        match self {
            Self::Errors => Some(window.errors() as f64),
            Self::Lost => Some(window.lost as f64),
            Self::Unanswered => Some(window.unanswered as f64),
            Self::ErrorRatio => {
                let asked = answered + (window.lost + window.abandoned) as f64;
                (asked > 0.0).then(|| window.errors() as f64 / asked)
            }
            Self::Answered => Some(answered),
            Self::Throughput => Some(window.throughput()),
            Self::HitRatio => window.hit_ratio(),
            Self::P50 => latency(window.p50_us),
            Self::P90 => latency(window.p90_us),
            Self::P99 => latency(window.p99_us),
            Self::P999 => latency(window.p999_us),
            Self::Max => latency(window.max_us),
            Self::LongestGap => Some(window.longest_gap_s * 1e6),
            Self::LongestOutage => Some(window.longest_outage_s * 1e6),
        }
    }
}

/// How a figure must stand to the bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// `=`
    Equal,
    /// `<=`
    AtMost,
    /// `>=`
    AtLeast,
    /// `<`
    Below,
    /// `>`
    Above,
}

impl Relation {
    /// The relation written like this.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "=" | "==" => Self::Equal,
            "<=" => Self::AtMost,
            ">=" => Self::AtLeast,
            "<" => Self::Below,
            ">" => Self::Above,
            _ => return None,
        })
    }

    /// True if it holds.
    pub fn holds<T: PartialOrd>(self, value: &T, bound: &T) -> bool {
        match value.partial_cmp(bound) {
            None => false,
            Some(Ordering::Equal) => matches!(self, Self::Equal | Self::AtMost | Self::AtLeast),
            Some(Ordering::Less) => matches!(self, Self::AtMost | Self::Below),
            Some(Ordering::Greater) => matches!(self, Self::AtLeast | Self::Above),
        }
    }
}

/// What a figure is held against.
#[derive(Clone, Debug, PartialEq)]
enum Bound {
    Value(f64),
    /// So many times the same figure of the step with this name.
    Times(f64, String),
}

impl Bound {
    /// Refuses a bound that the record cannot tell.
    fn not_finer_than_measured(self, figure: Figure) -> Result<Self, String> {
        let least = TICK.as_secs_f64() * 1e6;
        match (figure, &self) {
            (Figure::Load(LoadFigure::LongestGap), Self::Value(value)) if *value < least => {
                Err(format!("gaps shorter than {} are not told apart", micros(least)))
            }
            _ => Ok(self),
        }
    }

    /// Refuses a bound that no figure, or every figure, is on the right side of: such a claim says nothing.
    fn that_can_fail(self, figure: Figure, relation: Relation) -> Result<Self, String> {
        let always_there = match figure {
            Figure::Load(figure) => figure.is_always_there(),
            Figure::Violations(_) => true,
        };
        match (&self, relation) {
            (Self::Value(0.0), Relation::Below) => Err("nothing is below 0, so this is never true".into()),
            (Self::Value(0.0), Relation::AtLeast) if always_there => {
                Err("everything is at least 0, so this is always true".into())
            }
            (Self::Times(factor, _), _) if !(factor.is_finite() && *factor > 0.0) => {
                Err(format!("'{factor} x' compares with nothing: the factor must be above 0"))
            }
            _ => Ok(self),
        }
    }
}

/// One claim.
#[derive(Clone, Debug, PartialEq)]
pub struct Claim {
    text: String,
    figure: Figure,
    relation: Relation,
    bound: Bound,
}

impl Claim {
    /// Reads a claim.
    pub fn parse(text: &str) -> Result<Self, String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let [name, relation, bound @ ..] = words.as_slice() else {
            return Err(format!("'{text}' is no claim: write one such as 'p99 <= 5ms'"));
        };
        let known = || FIGURES.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
        let figure = FIGURES.iter().find(|(known, _)| known == name).map(|(_, figure)| *figure);
        let figure = figure.ok_or_else(|| format!("there is no figure '{name}'; there are {}", known()))?;
        let relation = Relation::parse(relation)
            .ok_or_else(|| format!("'{relation}' is no relation: use =, <=, >=, < or >"))?;
        let bound = match bound {
            [value] => Bound::Value(amount(value, figure.unit())?).not_finer_than_measured(figure)?,
            [factor, "x", step] => {
                let factor = factor.parse().map_err(|_| format!("'{factor}' is no number"))?;
                if matches!(figure, Figure::Violations(_)) {
                    return Err("violations have no window of their own to compare with".into());
                }
                Bound::Times(factor, (*step).to_owned())
            }
            _ => return Err(format!("'{text}' has no bound: write a value, or N x STEP")),
        };
        let bound = bound.that_can_fail(figure, relation)?;
        Ok(Self { text: text.to_owned(), figure, relation, bound })
    }

    /// The step whose window the figure is compared with.
    pub fn baseline(&self) -> Option<&str> {
        match &self.bound {
            Bound::Times(_, step) => Some(step),
            Bound::Value(_) => None,
        }
    }

    /// True if the checker must have run.
    pub fn wants_checker(&self) -> bool {
        matches!(self.figure, Figure::Violations(_))
    }

    /// True if it is about this kind of violation.
    pub fn is_about(&self, kind: &str) -> bool {
        match self.figure {
            Figure::Violations(None) => true,
            Figure::Violations(Some(wrong)) => wrong.to_string() == kind,
            Figure::Load(_) => false,
        }
    }

    /// Holds the claim against the figures; says what was measured. `baseline` is the window of the step it names.
    pub fn judge(&self, window: &Window, baseline: Option<&Window>, verified: &Verified) -> Verdict {
        if let (Figure::Violations(_), Some(why)) = (self.figure, verified.says_nothing()) {
            return Verdict { passed: false, measured: why };
        }
        let unit = self.figure.unit();
        let measured = match self.figure {
            Figure::Load(figure) => figure.of(window),
            Figure::Violations(kind) => {
                let counted =
                    verified.violations.iter().filter(|found| kind.is_none_or(|kind| found.wrong == kind));
                Some(counted.count() as f64)
            }
        };
        let compared = match (&self.bound, self.figure) {
            (Bound::Times(factor, _), Figure::Load(figure)) => {
                baseline.and_then(|window| figure.of_baseline(window)).map(|base| (factor * base, Some(base)))
            }
            (Bound::Value(value), _) => Some((*value, None)),
            (Bound::Times(..), Figure::Violations(_)) => None,
        };
        let mut passed = matches!((measured, compared), (Some(value), Some((bound, _))) if self.relation.holds(&value, &bound));
        // A step without what is claimed to be so much of is no bound.
        passed &=
            !matches!((self.relation, compared), (Relation::AtLeast, Some((_, Some(base)))) if base <= 0.0);
        let mut text = measured.map_or("nothing to measure".to_owned(), |value| written(value, unit));
        let least = TICK.as_secs_f64() * 1e6;
        if self.figure == Figure::Load(LoadFigure::LongestGap) && measured.is_some_and(|gap| gap < least) {
            text = format!("under {}", micros(least));
        }
        let counts_them = matches!(self.figure, Figure::Load(LoadFigure::Errors | LoadFigure::ErrorRatio));
        if counts_them && window.abandoned > 0 {
            let requests = counted(window.abandoned, "request", "requests");
            text = format!("{text}, with {requests} that had no answer when the load ended");
        }
        match (measured, compared) {
            (Some(value), Some((_, Some(base)))) if base > 0.0 => {
                text = format!("{text}, {:.2} x {}", value / base, written(base, unit));
            }
            (Some(_), None) => text.push_str(", nothing to compare with"),
            (Some(_), Some((_, Some(base)))) => {
                text = format!("{text}, compared with {}", written(base, unit))
            }
            _ => {}
        }
        // There may be more of them than were found; that there are so many is certain.
        if matches!(self.figure, Figure::Violations(_)) && verified.unread > 0 {
            passed &= matches!(self.relation, Relation::AtLeast | Relation::Above);
            text = format!(
                "{text}, but {} of the checker's keys could not be read back",
                count(verified.unread)
            );
        }
        Verdict { passed, measured: text }
    }
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What came of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The claim is true.
    pub passed: bool,
    /// What was measured.
    pub measured: String,
}

/// Reads the value of a bound.
fn amount(text: &str, unit: Unit) -> Result<f64, String> {
    let number = |text: &str| {
        let digits = text.replace('_', "");
        digits.parse::<f64>().ok().filter(|value| value.is_finite() && *value >= 0.0)
    };
    let wrong = |want: &str| format!("'{text}' is no {want}");
    match unit {
        Unit::Count => number(text).ok_or_else(|| wrong("number")),
        Unit::Share => {
            let (digits, scale) = text.strip_suffix('%').map_or((text, 1.0), |digits| (digits, 0.01));
            let share = number(digits).map(|value| value * scale).filter(|share| *share <= 1.0);
            share.ok_or_else(|| wrong("share: write one such as 95% or 0.95"))
        }
        Unit::Micros => {
            let scales = [("us", 1.0), ("ms", 1e3), ("s", 1e6)];
            let parsed = scales
                .iter()
                .find_map(|(suffix, scale)| number(text.strip_suffix(suffix)?).map(|value| value * scale));
            parsed.ok_or_else(|| wrong("time: write one such as 500us, 5ms or 2s"))
        }
    }
}

fn written(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Count => count(value.round() as u64),
        Unit::Micros => micros(value),
        Unit::Share => percent(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::history::Violation;

    fn checked() -> Verified {
        Verified { operations: 100, answered: 100, ..Verified::default() }
    }

    #[test]
    fn claims_are_about_kinds_of_violations() {
        let is_about = |claim: &str, kind: Wrong| Claim::parse(claim).unwrap().is_about(&kind.to_string());
        assert!(
            is_about("stale_reads = 0", Wrong::StaleRead) && !is_about("stale_reads = 0", Wrong::LostWrite)
        );
        assert!(is_about("violations = 0", Wrong::LostWrite) && !is_about("errors = 0", Wrong::LostWrite));
    }

    #[test]
    fn a_checker_without_answers_proves_nothing() {
        let judged = |verified: &Verified| {
            let verdicts = ["violations = 0", "stale_reads = 0", "lost_writes <= 3"].map(|claim| {
                let verdict = Claim::parse(claim).unwrap().judge(&Window::default(), None, verified);
                (verdict.passed, verdict.measured)
            });
            assert!(verdicts.iter().all(|verdict| *verdict == verdicts[0]), "{verdicts:?}");
            verdicts[0].clone()
        };
        assert_eq!(judged(&checked()), (true, "0".into()));
        let failed = Verified { operations: 50, failures: 80, ..Verified::default() };
        assert_eq!(
            judged(&failed),
            (false, "nothing checked: no operation of the checker was answered".into())
        );
        let mostly = Verified { answered: 79, ..failed };
        let (passed, measured) = judged(&mostly);
        assert!(!passed && measured.starts_with("too much went unanswered"), "{measured}");
        assert_eq!(judged(&Verified { answered: 80, ..mostly }), (true, "0".into()));
    }

    fn judge(claim: &str, window: &Window) -> (bool, String) {
        let baseline = Window { answered: 1, p99_us: 1000.0, loaded_s: 1.0, ..Window::default() };
        let verdict = Claim::parse(claim).unwrap().judge(window, Some(&baseline), &checked());
        (verdict.passed, verdict.measured)
    }

    #[test]
    fn claims_are_judged() {
        let window = Window {
            answered: 100,
            error_replies: 1,
            lost: 2,
            hits: 9,
            misses: 1,
            loaded_s: 2.0,
            p99_us: 2500.0,
            longest_gap_s: 1.25,
            longest_outage_s: 0.04,
            ..Window::default()
        };
        for (claim, passed, measured) in [
            ("errors = 3", true, "3"),
            ("errors = 0", false, "3"),
            ("lost < 2", false, "2"),
            ("p99 <= 2.5ms", true, "2.50 ms"),
            ("p99 < 2500us", false, "2.50 ms"),
            ("p99 <= 3 x steady", true, "2.50 ms, 2.50 x 1.00 ms"),
            ("p99 <= 2 x steady", false, "2.50 ms, 2.50 x 1.00 ms"),
            ("throughput >= 50", true, "50"),
            ("hit_ratio >= 95%", false, "90.00 %"),
            ("longest_gap <= 1.3s", true, "1.25 s"),
            ("longest_outage <= 40ms", true, "40.0 ms"),
            ("violations = 0", true, "0"),
        ] {
            assert_eq!(judge(claim, &window), (passed, measured.to_owned()), "{claim}");
        }
    }

    #[test]
    fn nothing_measured_passes_nothing() {
        let window = Window { loaded_s: 1.0, ..Window::default() };
        assert_eq!(judge("p99 <= 5s", &window), (false, "nothing to measure".into()));
        assert!(judge("errors = 0", &window).0 && !judge("errors = 0", &Window::default()).0);
        assert!(!judge("hit_ratio >= 0%", &window).0);
        let claim = Claim::parse("p99 <= 3 x steady").unwrap();
        let verdict = claim.judge(&Window { answered: 1, ..window }, None, &checked());
        assert_eq!((verdict.passed, verdict.measured.as_str()), (false, "0 ns, nothing to compare with"));
    }

    #[test]
    fn requests_without_an_answer_are_errors_once_the_load_is_off() {
        let on = Window { answered: 8, unanswered: 2, loaded_s: 1.0, ..Window::default() };
        let off = Window { abandoned: 2, ..on.clone() };
        assert_eq!(judge("unanswered = 0", &on), (false, "2".into()));
        assert!(judge("errors = 0", &on).0 && judge("error_ratio = 0", &on).0);
        let told = ", with 2 requests that had no answer when the load ended";
        assert_eq!(judge("errors = 0", &off), (false, format!("2{told}")));
        assert_eq!(judge("error_ratio <= 0.2", &off), (true, format!("20.00 %{told}")));
        assert_eq!(judge("lost = 0", &off), (true, "0".into()));
        // Nothing was answered, but something waits.
        let silent = Window { answered: 0, p99_us: 2e6, max_us: 2e6, ..on };
        assert_eq!(judge("p99 <= 1s", &silent), (false, "2.00 s".into()));
        assert!(judge("max >= 2s", &silent).0);
    }

    #[test]
    fn nothing_is_compared_with_a_window_without_answers() {
        let answered = Window { answered: 100, loaded_s: 1.0, longest_gap_s: 0.2, ..Window::default() };
        let mute = Window { loaded_s: 1.0, longest_gap_s: 1.0, longest_outage_s: 1.0, ..Window::default() };
        let refusing = Window { answered: 9, error_replies: 9, ..mute.clone() };
        for claim in [
            "throughput >= 0.9 x steady",
            "longest_gap <= 3 x steady",
            "longest_outage <= 3 x steady",
            "errors <= 2 x steady",
            "answered >= 0.5 x steady",
        ] {
            let claim = Claim::parse(claim).unwrap();
            for base in [&mute, &refusing] {
                for window in [&mute, &answered] {
                    let verdict = claim.judge(window, Some(base), &checked());
                    assert!(!verdict.passed, "{claim}");
                    assert!(verdict.measured.ends_with(", nothing to compare with"), "{}", verdict.measured);
                }
            }
        }
        let none_lost = Claim::parse("lost >= 0.5 x steady").unwrap();
        let verdict = none_lost.judge(&answered, Some(&answered), &checked());
        assert_eq!((verdict.passed, verdict.measured.as_str()), (false, "0, compared with 0"));
    }

    #[test]
    fn keys_that_were_not_read_back_leave_room_for_more() {
        let judged = |claim: &str, lost: usize| {
            let lost_write = Violation { wrong: Wrong::LostWrite, operations: Vec::new() };
            let verified = Verified { violations: vec![lost_write; lost], unread: 1200, ..checked() };
            let verdict = Claim::parse(claim).unwrap().judge(&Window::default(), None, &verified);
            assert!(
                verdict.measured.ends_with(", but 1,200 of the checker's keys could not be read back"),
                "{}",
                verdict.measured
            );
            verdict.passed
        };
        for claim in ["violations = 0", "lost_writes = 0", "lost_writes <= 5", "stale_reads < 1"] {
            assert!(!judged(claim, 0) && !judged(claim, 2), "{claim}");
        }
        assert!(judged("lost_writes >= 2", 2) && !judged("lost_writes > 2", 2));
    }

    #[test]
    fn a_checker_that_failed_proves_nothing() {
        let verified = Verified { broken: Some("a generator thread failed".into()), ..checked() };
        let verdict = Claim::parse("violations = 0").unwrap().judge(&Window::default(), None, &verified);
        assert_eq!(
            (verdict.passed, verdict.measured.as_str()),
            (false, "nothing checked: a generator thread failed")
        );
    }

    #[test]
    fn wrong_claims_are_explained() {
        for (text, part) in [
            ("p99", "is no claim"),
            ("p98 <= 5ms", "there is no figure 'p98'"),
            ("p99 ~ 5ms", "'~' is no relation"),
            ("p99 <= 5", "is no time"),
            ("longest_gap <= 50ms", "not told apart"),
            ("errors = none", "is no number"),
            ("hit_ratio >= 95", "is no share"),
            ("p99 <= 3 x", "has no bound"),
            ("violations <= 3 x steady", "no window"),
            ("errors >= 0", "always true"),
            ("violations >= 0", "always true"),
            ("unanswered >= 0", "always true"),
            ("longest_outage >= 0s", "always true"),
            ("p99 < 0s", "never true"),
            ("p99 <= 0 x steady", "compares with nothing"),
            ("throughput >= -1 x steady", "compares with nothing"),
            ("throughput >= nan x steady", "compares with nothing"),
        ] {
            let error = Claim::parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
