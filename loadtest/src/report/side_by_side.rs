//! Several runs as text: what was measured in turns as ratios, everything else as one row per run.

use super::figures::Figures;
use super::number::{count, counted, latency, micros, percent, plain};
use super::runs::{Other, Run, Runs};
use super::table::{error, run, table};
use crate::compare::Figure;

/// All runs; one alone is shown as `run` shows it.
pub fn runs(runs: &Runs) -> String {
    if let [alone] = runs.runs.as_slice() {
        return run(&alone.figures) + &scenario(&alone.figures);
    }
    if runs.others.is_empty() {
        return rows(&runs.runs);
    }
    let mut tables: Vec<String> = runs.others.iter().map(|other| ratios(runs, other)).collect();
    tables.push(counts(&runs.runs));
    tables.join("\n")
}

/// How a scenario ended and what was claimed of its figures; nothing of what is no scenario.
fn scenario(figures: &Figures) -> String {
    let Some(scenario) = &figures.scenario else { return String::new() };
    let mut out = String::from("\n");
    for step in scenario.steps.iter().filter(|step| !step.passed) {
        let (text, place) = (plain(&step.step), plain(&step.place));
        out.push_str(&format!("FAIL  {text}: {} ({place})\n", plain(&step.detail)));
    }
    for claim in &figures.claims {
        let mark = if claim.passed { "PASS" } else { "FAIL" };
        let (text, measured) = (plain(&claim.claim), plain(&claim.measured));
        let window = format!("{:.1} s to {:.1} s", claim.from_s, claim.until_s);
        out.push_str(&format!("{mark}  {text:<28} {measured:<12} from {window}\n"));
    }
    out.push_str(&scenario.summary(&figures.claims));
    out
}

/// What each server answered, and loudly what it did not: ratios say nothing of it.
fn counts(runs: &[Run]) -> String {
    let head = ["", "requests", "errors", "lost", "unanswered", "hits"].map(str::to_owned).to_vec();
    let row = |run: &Run| {
        let total = &run.figures.total;
        let counts =
            [total.answered, run.figures.all_errors(), run.figures.lost, run.figures.unanswered].map(count);
        let hits = total.hit_ratio.map_or("-".into(), percent);
        std::iter::once(run.name.clone()).chain(counts).chain([hits]).collect()
    };
    let rows: Vec<Vec<String>> = std::iter::once(head).chain(runs.iter().map(row)).collect();
    let mut out = table(&rows);
    for run in runs.iter().filter(|run| run.figures.all_errors() + run.figures.lost > 0) {
        let (errors, lost) = (run.figures.all_errors(), run.figures.lost);
        let what = if run.figures.is_useful() {
            format!(
                "{} and {}",
                counted(errors, "error", "errors"),
                counted(lost, "lost request", "lost requests")
            )
        } else {
            "NOTHING BUT ERRORS, so its figures mean nothing".to_owned()
        };
        let first = run.figures.errors.first().map(|first| format!("; {}", error(first)));
        out.push_str(&format!("ERRORS     {}: {what}{}\n", run.name, first.unwrap_or_default()));
    }
    out + &warnings(runs)
}

/// One row per run, and each one's ratio to the first.
fn rows(runs: &[Run]) -> String {
    let head = [
        "run",
        "requests",
        "per s",
        "errors",
        "lost",
        "hits",
        "server CPU/op",
        "p50",
        "p99",
        "p99.9",
        "p99.99",
        "max",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for run in runs {
        let total = &run.figures.total;
        let mut row = vec![
            run.name.clone(),
            count(total.answered),
            count(total.per_s.round() as u64),
            if run.figures.only_latencies() { "-".into() } else { count(run.figures.all_errors()) },
            if run.figures.only_latencies() { "-".into() } else { count(run.figures.lost) },
            total.hit_ratio.map_or("-".into(), percent),
            run.figures.server.as_ref().map_or("-".into(), |server| micros(server.cpu_us)),
        ];
        let latencies = [total.p50_us, total.p99_us, total.p999_us, total.p9999_us, total.max_us];
        row.extend(latencies.map(latency));
        rows.push(row);
    }
    if let Some((first, others)) = runs.split_first() {
        rows.extend(others.iter().map(|other| ratio_row(first, other)));
    }
    let ended = runs.iter().filter_map(|run| {
        let scenario = run.figures.scenario.as_ref()?;
        let summary = scenario.summary(&run.figures.claims);
        summary.lines().last().map(|line| format!("{}: {line}\n", run.name))
    });
    table(&rows) + &ended.collect::<String>() + &warnings(runs)
}

/// What makes the runs' figures doubtful.
fn warnings(runs: &[Run]) -> String {
    let of = |run: &Run| -> String {
        let warnings = run.figures.warnings.iter();
        warnings.map(|warning| format!("warning    {}: {}\n", run.name, plain(warning))).collect()
    };
    runs.iter().map(of).collect()
}

/// How many times as much a run's figures are as the first one's; a dash where one of the two is not known.
pub(super) struct Ratios {
    pub(super) per_s: String,
    /// CPU time of the server per request.
    pub(super) cpu: String,
    pub(super) p50: String,
    pub(super) p90: String,
    /// From the 99th percentile to the maximum.
    pub(super) tail: [String; 4],
}

impl Ratios {
    pub(super) fn new(first: &Run, other: &Run) -> Self {
        let cpu = |run: &Run| run.figures.server.as_ref().map_or(0.0, |server| server.cpu_us);
        let (a, b) = (&first.figures.total, &other.figures.total);
        let tail =
            [(a.p99_us, b.p99_us), (a.p999_us, b.p999_us), (a.p9999_us, b.p9999_us), (a.max_us, b.max_us)];
        Self {
            per_s: ratio(a.per_s, b.per_s),
            cpu: ratio(cpu(first), cpu(other)),
            p50: ratio(a.p50_us, b.p50_us),
            p90: ratio(a.p90_us, b.p90_us),
            tail: tail.map(|(a, b)| ratio(a, b)),
        }
    }
}

/// Figures that are not known are zero.
fn ratio(first: f64, other: f64) -> String {
    if first > 0.0 && other > 0.0 { format!("{:.3}", other / first) } else { "-".into() }
}

fn ratio_row(first: &Run, other: &Run) -> Vec<String> {
    let ratios = Ratios::new(first, other);
    let mut row = vec![format!("{}/{}", other.name, first.name), String::new(), ratios.per_s];
    row.extend([String::new(), String::new(), String::new()]);
    row.extend([ratios.cpu, ratios.p50]);
    row.extend(ratios.tail);
    row
}

/// What was measured in turns.
fn ratios(runs: &Runs, other: &Other) -> String {
    let ratio = format!("{}/{}", other.name, runs.first);
    let head = ["", &runs.first, &other.name, &ratio, "smallest", "largest", "below 1", "sign test"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    if other.comparisons.is_empty() {
        return format!("no ratios of {}: there is no round in which both have a figure\n", other.name);
    }
    for comparison in &other.comparisons {
        let show = |value: f64| match comparison.figure {
            Figure::Rate => count(value.round() as u64),
            _ => micros(value),
        };
        rows.push(vec![
            comparison.figure.name().to_owned(),
            show(comparison.first),
            show(comparison.other),
            format!("{:.3}", comparison.ratio),
            format!("{:.3}", comparison.smallest),
            format!("{:.3}", comparison.largest),
            format!("{} of {}", comparison.below, comparison.rounds),
            format!("p {:.3}", comparison.p),
        ]);
    }
    let mut out = String::new();
    if let Some([first, second]) = other.rounds.first() {
        let server = |figures: &super::figures::Figures| figures.servers.join(", ");
        out.push_str(&format!(
            "{} ({}) and {} ({})\n",
            runs.first,
            plain(&server(first)),
            other.name,
            plain(&server(second))
        ));
        out.push_str(&format!("{}\n", first.asked));
    }
    out.push_str(&table(&rows));
    out.push_str(&meaning(runs, other));
    out
}

/// What the columns are.
fn meaning(runs: &Runs, other: &Other) -> String {
    let rounds = other.comparisons.iter().map(|comparison| comparison.rounds).max().unwrap_or(0);
    let columns = if rounds == 1 {
        "One round: no figure has a median.\n".into()
    } else {
        format!(
            "{} and {} are medians of {rounds} rounds; {}/{} is the median of the rounds' ratios, which is not the ratio \
             of the medians.\n",
            runs.first, other.name, other.name, runs.first
        )
    };
    other.gaps().into_iter().fold(columns, |text, gap| text + &gap + ".\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::figures::{CommandFigures, ErrorFigures};

    fn run(name: &str, per_s: f64) -> Run {
        let total = CommandFigures { answered: 10, per_s, p50_us: per_s, ..CommandFigures::default() };
        Run { name: name.into(), figures: Figures { total, ..Figures::default() } }
    }

    #[test]
    fn a_comparison_shows_what_failed() {
        let mut bad = run("bad", 5.0);
        bad.figures.total.errors = 10;
        bad.figures.errors =
            vec![ErrorFigures { count: 10, example: "ERR no".into(), ..ErrorFigures::default() }];
        let mut lossy = run("lossy", 5.0);
        lossy.figures.lost = 3;
        let others = vec![Other { name: "bad".into(), ..Other::default() }];
        let all = Runs { first: "good".into(), others, runs: vec![run("good", 5.0), bad, lossy] };
        let text = runs(&all);
        let words = |name: &str| -> Vec<&str> {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().collect()
        };
        assert_eq!(words("good")[..4], ["good", "10", "0", "0"]);
        assert_eq!(words("bad")[..4], ["bad", "10", "10", "0"]);
        assert_eq!(words("lossy")[..4], ["lossy", "10", "0", "3"]);
        assert!(
            text.contains("ERRORS     bad: NOTHING BUT ERRORS, so its figures mean nothing; 10 x ERR no\n"),
            "{text}"
        );
        assert!(text.contains("ERRORS     lossy: 0 errors and 3 lost requests\n"), "{text}");
        assert!(!text.contains("ERRORS     good"));
    }

    #[test]
    fn each_run_has_a_row_and_a_ratio() {
        let text = runs(&Runs { runs: vec![run("a", 100.0), run("b", 150.0)], ..Runs::default() });
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(
            (lines[1][..3].to_vec(), lines[2][..3].to_vec()),
            (vec!["a", "10", "100"], vec!["b", "10", "150"])
        );
        assert_eq!(lines[3][..4], ["b/a", "1.500", "-", "1.500"]);
    }

    #[test]
    fn a_comparison_says_what_its_columns_are() {
        let values = |values: [f64; 3]| values.map(Some);
        let comparison =
            crate::compare::compare(Figure::P50, &values([1.0, 2.0, 3.0]), &values([2.0, 2.0, 2.0]));
        let others =
            vec![Other { name: "b".into(), comparisons: vec![comparison.unwrap()], ..Other::default() }];
        let all = Runs { first: "a".into(), others, runs: vec![run("a", 5.0), run("b", 5.0)] };
        let text = runs(&all);
        assert!(
            text.contains(
                "a and b are medians of 3 rounds; b/a is the median of the rounds' ratios, which is not the ratio of the \
                 medians.\n"
            ),
            "{text}"
        );
    }

    #[test]
    fn a_scenario_shows_its_claims_and_how_it_ended() {
        use crate::report::figures::ClaimFigures;
        use crate::report::scenario::{ScenarioFigures, StepFigures};
        let claim = |claim: &str, passed| ClaimFigures {
            claim: claim.into(),
            measured: "7".into(),
            from_s: 1.0,
            until_s: 2.5,
            passed,
        };
        let step = StepFigures {
            step: "kill redis".into(),
            detail: "redis does not run".into(),
            place: "s.toml:7".into(),
            ..StepFigures::default()
        };
        let scenario = ScenarioFigures {
            scenario: "crash".into(),
            took_s: 3.0,
            steps: vec![step, StepFigures { passed: true, ..StepFigures::default() }],
            ..ScenarioFigures::default()
        };
        let mut one = run("one", 5.0);
        one.figures.targets = vec!["a:1".into()];
        one.figures.claims = vec![claim("errors = 0", false), claim("lost = 7", true)];
        one.figures.scenario = Some(Box::new(scenario));
        let text = runs(&Runs { runs: vec![one.clone()], ..Runs::default() });
        let lines: Vec<&str> = text.lines().rev().take(4).collect();
        assert_eq!(
            lines.into_iter().rev().collect::<Vec<_>>(),
            [
                "FAIL  kill redis: redis does not run (s.toml:7)",
                "FAIL  errors = 0                   7            from 1.0 s to 2.5 s",
                "PASS  lost = 7                     7            from 1.0 s to 2.5 s",
                "FAIL  crash in 3.0 s: 2 steps, 1 of 2 claims true",
            ]
        );
        let text = runs(&Runs { runs: vec![one, run("two", 5.0)], ..Runs::default() });
        assert!(text.contains("\none: FAIL  crash in 3.0 s"), "{text}");
        assert!(!runs(&Runs { runs: vec![run("two", 5.0)], ..Runs::default() }).contains("claims"));
    }
}
