//! The page's tables: everything that is plotted or said is also there as numbers.

use std::fmt::Display;

use super::axis::time;
use super::settings::Differing;
use super::{escape, push};
use crate::compare::{Comparison, Figure};
use crate::report::figures::{CommandFigures, EndpointFigures, EventFigures, Figures, StepFigures};
use crate::report::number::{bytes, count, counted, latency, micros, percent, plain};
use crate::report::runs::{Other, Run};
use crate::report::side_by_side::Ratios;
use crate::report::table::NO_COMMAND;

/// A table with a heading over each column; cells are HTML, the first of each row names it.
pub(super) fn table(head: &[&str], rows: &[Vec<String>], last_is_sum: bool) -> String {
    let mut out = String::from("<div class=\"card wide\"><table>\n<thead><tr>");
    for cell in head {
        out.push_str(&format!("<th scope=\"col\">{}</th>", escape(cell)));
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    for (index, row) in rows.iter().enumerate() {
        let sum = last_is_sum && index + 1 == rows.len() && rows.len() > 1;
        let class = if sum { " class=\"sum\"" } else { "" };
        let (name, cells) = row.split_first().map_or(("", &[][..]), |(name, cells)| (name.as_str(), cells));
        let cells: String = cells.iter().map(|cell| format!("<td>{cell}</td>")).collect();
        push(&mut out, format_args!("<tr{class}><th scope=\"row\">{name}</th>{cells}</tr>"));
    }
    out.push_str("</tbody></table></div>\n");
    out
}

/// Names and what belongs to them, one pair per row; both are HTML.
pub(super) fn facts<N: Display>(rows: &[(N, String)]) -> String {
    let rows: String = rows
        .iter()
        .map(|(name, text)| format!("<tr><th scope=\"row\">{name}</th><td>{text}</td></tr>\n"))
        .collect();
    format!("<div class=\"card wide\"><table class=\"facts\"><tbody>\n{rows}</tbody></table></div>\n")
}

/// A share as a bar; a `high` one stands out.
fn bar(share: f64, high: bool) -> String {
    let class = if high { "bar high" } else { "bar" };
    let width = (share * 100.0).clamp(0.0, 100.0);
    format!("<span class=\"{class}\" aria-hidden=\"true\"><i style=\"width:{width:.1}%\"></i></span>")
}

pub(super) fn errors(number: u64) -> String {
    if number == 0 { "0".into() } else { format!("<b class=\"bad\">{}</b>", count(number)) }
}

/// The same of a run, where it is known: a log holds latencies only.
fn errors_of(figures: &Figures, number: u64) -> String {
    if figures.only_latencies() { "-".into() } else { errors(number) }
}

pub(super) fn commands(figures: &Figures) -> String {
    let head = [
        "command",
        "requests",
        "per second",
        "errors",
        "lost",
        "hits",
        "mean",
        "p50",
        "p90",
        "p99",
        "p99.9",
        "p99.99",
        "max",
    ];
    let errors = |number| errors_of(figures, number);
    let row = |command: &CommandFigures| {
        let mut row = vec![
            escape(&command.command),
            count(command.answered),
            count(command.per_s.round() as u64),
            errors(command.errors),
            errors(command.lost),
            command.hit_ratio.map_or("-".into(), percent),
        ];
        let latencies = [
            command.mean_us,
            command.p50_us,
            command.p90_us,
            command.p99_us,
            command.p999_us,
            command.p9999_us,
            command.max_us,
        ];
        row.extend(latencies.map(latency));
        row
    };
    let mut rows: Vec<Vec<String>> = figures.commands.iter().map(row).collect();
    if figures.connection_errors > 0 {
        let mut of_none = vec!["-".to_owned(); head.len()];
        of_none[0] = NO_COMMAND.into();
        of_none[3] = errors(figures.connection_errors);
        rows.push(of_none);
    }
    let several = rows.len() > 1;
    if several {
        rows.push(row(&CommandFigures { errors: figures.all_errors(), ..figures.total.clone() }));
    }
    table(&head, &rows, several)
}

/// The steps of the rate; nothing if there is only one.
pub(super) fn rate_steps(figures: &Figures) -> String {
    let head = [
        "step",
        "from",
        "counted",
        "requests",
        "per second",
        "errors",
        "lost",
        "p50",
        "p90",
        "p99",
        "p99.9",
        "max",
    ];
    let row = |step: &StepFigures| {
        let mut row = vec![
            step.name(),
            time(step.from_s),
            time(step.counted_s),
            count(step.answered),
            count(step.answered_per_s.round() as u64),
            errors(step.errors),
            errors(step.lost),
        ];
        row.extend([step.p50_us, step.p90_us, step.p99_us, step.p999_us, step.max_us].map(latency));
        row
    };
    let rows: Vec<Vec<String>> = figures.told_steps().map(row).collect();
    if rows.is_empty() {
        return String::new();
    }
    format!("<h2>Steps of the rate</h2>\n{}", table(&head, &rows, false))
}

/// Each node's part of the load; nothing if there was only one.
pub(super) fn endpoints(figures: &Figures) -> String {
    if figures.endpoints.len() < 2 {
        return String::new();
    }
    let sum: u64 = figures.endpoints.iter().map(|endpoint| endpoint.answered).sum();
    let most = figures.endpoints.iter().map(|endpoint| endpoint.answered).max().unwrap_or(0);
    let head = [
        "node",
        "requests",
        "per second",
        "share",
        "",
        "errors",
        "lost",
        "mean",
        "p50",
        "p99",
        "p99.9",
        "max",
    ];
    let row = |endpoint: &EndpointFigures| {
        vec![
            escape(&endpoint.endpoint),
            count(endpoint.answered),
            count(endpoint.per_s.round() as u64),
            percent(endpoint.answered as f64 / sum.max(1) as f64),
            bar(endpoint.answered as f64 / most.max(1) as f64, false),
            errors(endpoint.errors),
            errors(endpoint.lost),
            latency(endpoint.mean_us),
            latency(endpoint.p50_us),
            latency(endpoint.p99_us),
            latency(endpoint.p999_us),
            latency(endpoint.max_us),
        ]
    };
    let rows: Vec<Vec<String>> = figures.endpoints.iter().map(row).collect();
    format!("<h2>Nodes</h2>\n{}", table(&head, &rows, false))
}

/// How long connections took to open; nothing if none were opened while it was counted.
pub(super) fn connects(figures: &Figures) -> String {
    let Some(connect) = &figures.connect else { return String::new() };
    let head = ["opened", "per second", "mean", "p50", "p90", "p99", "p99.9", "p99.99", "max"];
    let mut row = vec![count(connect.opened), count(connect.per_s.round() as u64)];
    let times = [
        connect.mean_us,
        connect.p50_us,
        connect.p90_us,
        connect.p99_us,
        connect.p999_us,
        connect.p9999_us,
        connect.max_us,
    ];
    row.extend(times.map(micros));
    format!("<h2>Connections</h2>\n{}", table(&head, &[row], false))
}

/// What the server's processes used; nothing if they are not known.
pub(super) fn server(figures: &Figures) -> String {
    let Some(server) = &figures.server else { return String::new() };
    let processes: Vec<String> = server.processes.iter().map(ToString::to_string).collect();
    let mut rows = vec![
        ("CPU per operation", micros(server.cpu_us)),
        ("CPUs kept busy", format!("{:.2}", server.cpus)),
        ("context switches per operation", format!("{:.3}", server.switches)),
        ("resident memory", bytes(server.resident as f64)),
        ("processes", processes.join(", ")),
    ];
    if server.ended > 0 {
        rows.push(("ended meanwhile", counted(server.ended as u64, "process", "processes")));
    }
    if server.others > 0 {
        let text = format!("{} of the checker", counted(server.others, "operation", "operations"));
        rows.insert(1, ("counted besides the load", text));
    }
    format!("<section><h2>Server</h2>\n{}</section>\n", facts(&rows))
}

/// What the generator itself did: whether it is to be believed.
pub(super) fn generator(figures: &Figures) -> String {
    let own = &figures.generator;
    let share = |value: f64, limit: f64| format!("{:.0} %{}", value * 100.0, bar(value, value > limit));
    let mut rows = vec![
        ("CPU per operation", micros(own.cpu_us)),
        ("busiest thread", share(own.busiest, crate::report::warnings::BUSY)),
        ("waited for a CPU", share(own.starved, crate::report::warnings::STARVED)),
        ("taken by the host", share(own.stolen, crate::report::warnings::STARVED)),
        ("late", format!("{} at p99, {} at most", micros(own.lag_p99_us), micros(own.lag_max_us))),
        (
            "network",
            format!("{}/s sent, {}/s received", bytes(figures.sent_per_s), bytes(figures.received_per_s)),
        ),
    ];
    if figures.broken > 0 {
        let text = format!(
            "{}, {} lost",
            counted(figures.broken, "connection", "connections"),
            counted(figures.lost, "request", "requests")
        );
        rows.push(("broken", text));
    }
    if figures.redirects > 0 {
        rows.push(("redirects", counted(figures.redirects, "request", "requests")));
    }
    if figures.unanswered > 0 {
        rows.push(("unanswered at the end", counted(figures.unanswered, "request", "requests")));
    }
    format!("<section><h2>Generator</h2>\n{}</section>\n", facts(&rows))
}

/// Error replies by kind; nothing if there were none.
pub(super) fn error_kinds(figures: &Figures) -> String {
    if figures.errors.is_empty() {
        return String::new();
    }
    let rows: Vec<Vec<String>> = figures
        .errors
        .iter()
        .map(|error| vec![escape(&plain(&error.example)), errors(error.count)])
        .collect();
    let table = table(&["the first of each kind", "how many"], &rows, false);
    format!("<h2>Errors</h2>\n{}", table.replacen("<table>", "<table class=\"words\">", 1))
}

/// What was done to the servers, with the numbers that the plots show.
pub(super) fn events(figures: &Figures) -> String {
    if figures.events.is_empty() {
        return String::new();
    }
    let row = |(index, event): (usize, &EventFigures)| {
        let name = format!("<b class=\"number\">{}</b>{:.1} s", index + 1, event.at_s);
        (name, escape(&event.text))
    };
    let rows: Vec<(String, String)> = figures.events.iter().enumerate().map(row).collect();
    format!("<section id=\"events\"><h2>Events</h2>\n{}</section>\n", facts(&rows))
}

/// The seconds as numbers.
pub(super) fn seconds(figures: &Figures) -> String {
    let head = ["from", "requests", "errors", "lost", "p50", "p99", "longest", "hits"];
    let mut head = head.to_vec();
    head.extend(
        figures.endpoints.iter().filter(|_| figures.endpoints.len() > 1).map(|e| e.endpoint.as_str()),
    );
    let nodes = head.len() - 8;
    let rows: Vec<Vec<String>> = figures
        .seconds
        .iter()
        .map(|second| {
            let mut row = vec![
                time(second.begin_s()),
                count(second.answered),
                errors_of(figures, second.all_errors()),
                errors_of(figures, second.lost),
                latency(second.p50_us),
                latency(second.p99_us),
                second.longest_us().map_or("-".into(), latency),
                second.hit_ratio().map_or("-".into(), percent),
            ];
            let answered = |node: usize| second.endpoints.get(node).copied().map_or("-".into(), count);
            row.extend((0..nodes).map(answered));
            row
        })
        .collect();
    format!("<details><summary>Second by second</summary>\n{}</details>\n", table(&head, &rows, false))
}

/// Several runs, one per row; `compared` says that there are ratios of rounds, which are better than those of the runs.
pub(super) fn runs(runs: &[Run], compared: bool) -> String {
    let head = [
        "run",
        "requests/s",
        "errors",
        "lost",
        "hits",
        "server CPU/op",
        "",
        "p50",
        "p90",
        "p99",
        "p99.9",
        "p99.99",
        "max",
    ];
    let cpu = |run: &Run| run.figures.server.as_ref().map(|server| server.cpu_us);
    let most = runs.iter().filter_map(cpu).fold(0.0, f64::max);
    let row = |(index, run): (usize, &Run)| {
        let total = &run.figures.total;
        let mut row = vec![
            format!("<i class=\"key c{}\"></i>{}", index % super::plot::COLOURS, escape(&run.name)),
            count(total.per_s.round() as u64),
            errors_of(&run.figures, run.figures.all_errors()),
            errors_of(&run.figures, run.figures.lost),
            total.hit_ratio.map_or("-".into(), percent),
            cpu(run).map_or("-".into(), micros),
            cpu(run).map_or(String::new(), |us| bar(us / most.max(1e-9), false)),
        ];
        let latencies =
            [total.p50_us, total.p90_us, total.p99_us, total.p999_us, total.p9999_us, total.max_us];
        row.extend(latencies.map(latency));
        row
    };
    let mut rows: Vec<Vec<String>> = runs.iter().enumerate().map(row).collect();
    if let Some((first, others)) = runs.split_first().filter(|_| !compared) {
        rows.extend(others.iter().map(|other| ratios_of_runs(first, other)));
    }
    format!("<h2>Runs</h2>\n{}", table(&head, &rows, false))
}

/// The ratios of a run's figures to the first one's, in the columns of [`runs`].
fn ratios_of_runs(first: &Run, other: &Run) -> Vec<String> {
    let ratios = Ratios::new(first, other);
    let mut row = vec![format!("<b>{} / {}</b>", escape(&other.name), escape(&first.name)), ratios.per_s];
    row.extend([String::new(), String::new(), String::new()]);
    row.extend([ratios.cpu, String::new(), ratios.p50, ratios.p90]);
    row.extend(ratios.tail);
    row
}

/// Settings in which runs differ, one row per run; nothing if they do not.
pub(super) fn differences(runs: &[Run], differing: &[Differing]) -> String {
    if differing.is_empty() {
        return String::new();
    }
    let head: Vec<&str> =
        std::iter::once("run").chain(differing.iter().map(|setting| setting.name)).collect();
    let row = |(index, run): (usize, &Run)| {
        let name = format!("<i class=\"key c{}\"></i>{}", index % super::plot::COLOURS, escape(&run.name));
        let cell = |setting: &Differing| match setting.values[index].as_str() {
            "" => "-".to_owned(),
            value => escape(value),
        };
        std::iter::once(name).chain(differing.iter().map(cell)).collect()
    };
    let rows: Vec<Vec<String>> = runs.iter().enumerate().map(row).collect();
    let table = table(&head, &rows, false).replacen("<table>", "<table class=\"settings\">", 1);
    format!("<h2>What differs</h2>\n{table}")
}

/// The ratios of a server to the first one.
pub(super) fn ratios(first: &str, other: &Other) -> String {
    let ratio = format!("{}/{first}", other.name);
    let head = ["", first, &other.name, &ratio, "smallest", "largest", "below 1", "sign test"];
    let row = |comparison: &Comparison| {
        let show = |value: f64| match comparison.figure {
            Figure::Rate => count(value.round() as u64),
            _ => micros(value),
        };
        vec![
            comparison.figure.name().to_owned(),
            show(comparison.first),
            show(comparison.other),
            format!("<b>{:.3}</b>", comparison.ratio),
            format!("{:.3}", comparison.smallest),
            format!("{:.3}", comparison.largest),
            format!("{} of {}", comparison.below, comparison.rounds),
            format!("p {:.3}", comparison.p),
        ]
    };
    let rows: Vec<Vec<String>> = other.comparisons.iter().map(row).collect();
    let gaps: String = other.gaps().iter().map(|gap| format!(" {}.", escape(gap))).collect();
    format!(
        "<h2>{} compared to {}</h2>\n<p class=\"about\">Measured in turns; medians of the rounds and of their \
         ratios.{gaps}</p>\n{}",
        escape(&other.name),
        escape(first),
        table(&head, &rows, false)
    )
}
