//! Several runs as text: what was measured in turns as ratios, everything else as one row per run.

use super::number::{count, counted, latency, micros, percent, plain};
use super::runs::{Other, Run, Runs};
use super::table::{error, run, table};
use crate::compare::Figure;

/// All runs; one alone is shown as `run` shows it.
pub fn runs(runs: &Runs) -> String {
    if let [alone] = runs.runs.as_slice() {
        return run(&alone.figures);
    }
    if runs.others.is_empty() {
        return rows(&runs.runs);
    }
    let mut tables: Vec<String> = runs.others.iter().map(|other| ratios(runs, other)).collect();
    tables.push(counts(&runs.runs));
    tables.join("\n")
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
    table(&rows) + &warnings(runs)
}

/// What makes the runs' figures doubtful.
fn warnings(runs: &[Run]) -> String {
    let of = |run: &Run| -> String {
        let warnings = run.figures.warnings.iter();
        warnings.map(|warning| format!("warning    {}: {}\n", run.name, plain(warning))).collect()
    };
    runs.iter().map(of).collect()
}

fn ratio_row(first: &Run, other: &Run) -> Vec<String> {
    let ratio = |first: Option<f64>, other: Option<f64>| match (first, other) {
        (Some(first), Some(other)) if first > 0.0 && other > 0.0 => format!("{:.3}", other / first),
        _ => "-".into(),
    };
    let cpu = |run: &Run| run.figures.server.as_ref().map(|server| server.cpu_us);
    let (a, b) = (&first.figures.total, &other.figures.total);
    let mut row = vec![format!("{}/{}", other.name, first.name), String::new()];
    row.push(ratio(Some(a.per_s), Some(b.per_s)));
    row.extend([String::new(), String::new(), String::new()]);
    row.push(ratio(cpu(first), cpu(other)));
    let latencies = [
        (a.p50_us, b.p50_us),
        (a.p99_us, b.p99_us),
        (a.p999_us, b.p999_us),
        (a.p9999_us, b.p9999_us),
        (a.max_us, b.max_us),
    ];
    row.extend(latencies.map(|(a, b)| ratio(Some(a), Some(b))));
    row
}

/// What was measured in turns.
fn ratios(runs: &Runs, other: &Other) -> String {
    let ratio = format!("{}/{}", other.name, runs.first);
    let head = ["", &runs.first, &other.name, &ratio, "smallest", "largest", "below 1", "sign test"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    if other.comparisons.is_empty() {
        return format!("no ratios of {}: there is no figure of both in every round\n", other.name);
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
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::figures::{CommandFigures, ErrorFigures, Figures};

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
}
