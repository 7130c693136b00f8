//! The final table on the terminal.

use std::fmt::Write;

use super::figures::{CommandFigures, ErrorFigures, Figures};
use super::number::{bytes, count, counted, latency, micros, percent, plain};
use crate::tally::OTHER;

/// Everything a person wants to know of a run, as text.
pub fn run(figures: &Figures) -> String {
    if figures.only_latencies() {
        return latencies(figures);
    }
    let mut out = String::new();
    let line = |out: &mut String, text: String| {
        out.push_str(&text);
        out.push('\n');
    };
    let servers = if figures.servers.iter().all(String::is_empty) {
        String::new()
    } else {
        format!(" ({})", plain(&figures.servers.join(", ")))
    };
    line(&mut out, format!("{}{servers}", figures.targets.join(", ")));
    line(&mut out, format!("{}: {}", figures.workload, figures.asked));
    line(
        &mut out,
        format!(
            "{} on {}, pipeline {}, {}, {:.1} s counted\n",
            counted(figures.connections as u64, "connection", "connections"),
            counted(figures.threads as u64, "thread", "threads"),
            figures.pipeline,
            figures.pace(),
            figures.elapsed_s
        ),
    );
    out.push_str(&commands(figures));
    out.push_str(&steps(figures));
    out.push_str(&endpoints(figures));
    out.push_str(&connect(figures));
    line(
        &mut out,
        format!(
            "\nnetwork    {}/s sent, {}/s received",
            bytes(figures.sent_per_s),
            bytes(figures.received_per_s)
        ),
    );
    if let Some(server) = &figures.server {
        let mut text = format!(
            "server     {} CPU and {:.3} context switches per operation, {:.0} % of a CPU, {} resident",
            latency(server.cpu_us),
            server.switches,
            server.cpus * 100.0,
            bytes(server.resident as f64)
        );
        if server.others > 0 {
            let others = counted(server.others, "operation", "operations");
            text.push_str(&format!(" ({others} of the checker included)"));
        }
        if server.ended > 0 {
            let all = counted(server.processes.len() as u64, "process", "processes");
            text.push_str(&format!(" ({} of {all} ended meanwhile)", server.ended));
        }
        line(&mut out, text);
    }
    let own = &figures.generator;
    let text = format!(
        "generator  {} CPU per operation, {:.0} % of a CPU in the busiest thread, late by {} at p99, {} at most",
        latency(own.cpu_us),
        own.busiest * 100.0,
        micros(own.lag_p99_us),
        micros(own.lag_max_us)
    );
    line(&mut out, text);
    if figures.redirects > 0 {
        line(&mut out, format!("redirects  {}", count(figures.redirects)));
    }
    if figures.broken > 0 {
        let text = format!(
            "broken     {}, {} lost",
            counted(figures.broken, "connection", "connections"),
            counted(figures.lost, "request", "requests")
        );
        line(&mut out, text);
    }
    for error in &figures.errors {
        line(&mut out, format!("error      {}", self::error(error)));
    }
    for warning in &figures.warnings {
        line(&mut out, format!("warning    {}", plain(warning)));
    }
    out
}

/// How often an error came and what it says.
pub(super) fn error(error: &ErrorFigures) -> String {
    let example = plain(&error.example);
    match (error.mixed && error.count > 1, error.word.as_str()) {
        (false, _) => format!("{} x {example}", count(error.count)),
        (true, OTHER) => format!("{}, the first: {example}", counted(error.count, "other", "others")),
        (true, word) => format!("{} x {}, the first: {example}", count(error.count), plain(word)),
    }
}

/// All that a log of latencies tells.
fn latencies(figures: &Figures) -> String {
    let head = ["command", "requests", "per s", "mean", "p50", "p90", "p99", "p99.9", "p99.99", "max"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    let commands = figures.commands.iter();
    for command in commands.chain((figures.commands.len() > 1).then_some(&figures.total)) {
        let mut cells = row(command);
        // Errors and hits, which a log does not hold.
        cells.drain(3..6);
        rows.push(cells);
    }
    format!(
        "{}: a log of {:.1} s, which holds latencies only\n\n{}",
        figures.workload,
        figures.elapsed_s,
        table(&rows)
    )
}

/// The table of commands, the sum last. Errors that are the answer to no request have a row of their own, so that the
/// sum is that of the list.
fn commands(figures: &Figures) -> String {
    let head: [&str; COLUMNS] = [
        "command", "requests", "per s", "errors", "lost", "hits", "mean", "p50", "p90", "p99", "p99.9",
        "p99.99", "max",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(figures.commands.iter().map(row));
    if figures.connection_errors > 0 {
        rows.push(connections(figures));
    }
    if rows.len() > 2 {
        rows.push(row(&CommandFigures { errors: figures.all_errors(), ..figures.total.clone() }));
    }
    if figures.lost == 0 {
        rows.iter_mut().for_each(|row| drop(row.remove(4)));
    }
    table(&rows)
}

/// Only errors can be said of what is the answer to no request.
fn connections(figures: &Figures) -> Vec<String> {
    let mut row = vec!["-".to_owned(); COLUMNS];
    row[0] = NO_COMMAND.into();
    row[3] = count(figures.connection_errors);
    row
}

/// The row of errors that are the answer to no request.
pub(super) const NO_COMMAND: &str = "(connections)";
/// The columns of the table of commands.
const COLUMNS: usize = 13;

fn row(command: &CommandFigures) -> Vec<String> {
    let mut row = vec![
        command.command.clone(),
        count(command.answered),
        count(command.per_s.round() as u64),
        count(command.errors),
        count(command.lost),
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
}

/// The table of servers or nodes, if there are several.
fn endpoints(figures: &Figures) -> String {
    if figures.endpoints.is_empty() {
        return String::new();
    }
    let head = [
        "endpoint", "requests", "per s", "errors", "lost", "mean", "p50", "p90", "p99", "p99.9", "p99.99",
        "max",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for server in &figures.endpoints {
        let mut row = vec![
            server.endpoint.clone(),
            count(server.answered),
            count(server.per_s.round() as u64),
            count(server.errors),
            count(server.lost),
        ];
        let latencies = [
            server.mean_us,
            server.p50_us,
            server.p90_us,
            server.p99_us,
            server.p999_us,
            server.p9999_us,
            server.max_us,
        ];
        row.extend(latencies.map(latency));
        rows.push(row);
    }
    if figures.endpoints.iter().all(|endpoint| endpoint.lost == 0) {
        rows.iter_mut().for_each(|row| drop(row.remove(4)));
    }
    format!("\n{}", table(&rows))
}

/// The steps of the rate, if there are several.
fn steps(figures: &Figures) -> String {
    let head = [
        "step", "from", "counted", "requests", "per s", "errors", "lost", "p50", "p90", "p99", "p99.9", "max",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for step in figures.told_steps() {
        let mut row = vec![
            step.name(),
            format!("{:.1} s", step.from_s),
            format!("{:.1} s", step.counted_s),
            count(step.answered),
            count(step.answered_per_s.round() as u64),
            count(step.errors),
            count(step.lost),
        ];
        row.extend([step.p50_us, step.p90_us, step.p99_us, step.p999_us, step.max_us].map(latency));
        rows.push(row);
    }
    if figures.told_steps().all(|step| step.lost == 0) {
        rows.iter_mut().for_each(|row| drop(row.remove(6)));
    }
    if rows.len() > 1 { format!("\n{}", table(&rows)) } else { String::new() }
}

/// How long connections took, if some were opened.
fn connect(figures: &Figures) -> String {
    let Some(connect) = &figures.connect else { return String::new() };
    let head = ["", "opened", "per s", "mean", "p50", "p90", "p99", "p99.9", "p99.99", "max"];
    let mut row = vec!["connect".to_owned(), count(connect.opened), count(connect.per_s.round() as u64)];
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
    format!("\n{}", table(&[head.map(str::to_owned).to_vec(), row]))
}

/// Sets rows in columns, the first one to the left, the others to the right.
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let mut out = String::new();
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            let width = widths[column];
            // Writing to a string cannot fail.
            let _ = if column == 0 { write!(out, "{cell:<width$}") } else { write!(out, "  {cell:>width$}") };
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::figures::StepFigures;

    #[test]
    fn what_has_no_answer_has_no_latencies() {
        let command =
            |name: &str, lost| CommandFigures { command: name.into(), lost, ..CommandFigures::default() };
        let mut figures =
            Figures { targets: vec!["a:1".into()], total: command("all", 0), ..Figures::default() };
        figures.commands = vec![command("GET", 0), CommandFigures { max_us: 5e6, ..command("SET", 0) }];
        let text = commands(&figures);
        let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(rows[1], ["GET", "0", "0", "0", "-", "-", "-", "-", "-", "-", "-", "-"]);
        assert_eq!(rows[2][10..], ["-", "5.00", "s"]);
        figures.connection_errors = 7;
        figures.total.errors = 2;
        let text = commands(&figures);
        let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(rows[3], ["(connections)", "-", "-", "7", "-", "-", "-", "-", "-", "-", "-", "-"]);
        assert_eq!(rows[4][..4], ["all", "0", "0", "9"]);
        figures.commands.truncate(1);
        assert_eq!(commands(&figures).lines().count(), 4, "one command and connections have a sum, too");
        figures.connection_errors = 0;
        figures.lost = 3;
        figures.commands[0].lost = 3;
        let text = commands(&figures);
        assert!(text.starts_with("command  requests  per s  errors  lost  hits"), "{text}");
        assert_eq!(text.lines().nth(1).unwrap().split_whitespace().nth(4), Some("3"));
    }

    #[test]
    fn the_steps_of_a_rate_have_a_row_each() {
        let step = |per_s, answered| StepFigures {
            per_s,
            counted_s: 2.0,
            answered,
            answered_per_s: answered as f64 / 2.0,
            p99_us: 7.0,
            ..StepFigures::default()
        };
        let mut figures = Figures { steps: vec![step(1000.0, 2000), step(5.0, 10)], ..Figures::default() };
        let text = steps(&figures);
        let rows: Vec<Vec<&str>> =
            text.trim().lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(rows[0][..6], ["step", "from", "counted", "requests", "per", "s"]);
        assert_eq!(
            rows[1],
            ["1,000/s", "0.0", "s", "2.0", "s", "2,000", "1,000", "0", "-", "-", "7.00", "us", "-", "-"]
        );
        assert_eq!(rows[2][0], "5/s");
        // One rate is told by the other rows.
        figures.steps = vec![StepFigures { per_s: 5.0, ..StepFigures::default() }];
        assert_eq!(steps(&figures), "");
    }

    #[test]
    fn errors_are_told_by_their_text() {
        let error = |word: &str, count, mixed| {
            super::error(&ErrorFigures { word: word.into(), count, example: format!("{word} 1\x07"), mixed })
        };
        assert_eq!(error("ERR", 2, false), r"2 x ERR 1\u{7}");
        assert_eq!(error("MOVED", 9, true), r"9 x MOVED, the first: MOVED 1\u{7}");
        assert_eq!(error(OTHER, 9, true), r"9 others, the first: other 1\u{7}");
    }

    #[test]
    fn columns_line_up() {
        let rows = vec![vec!["a".into(), "1".into()], vec!["bcd".into(), "234".into()]];
        assert_eq!(table(&rows), "a      1\nbcd  234\n");
    }
}
