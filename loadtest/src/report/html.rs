//! A run as one HTML file: tables and plots, readable in light and dark, without scripts and without a network.
//!
//! The plots are SVG drawn here, so that the file can be mailed, printed and kept.

use std::fmt::Write;
use std::path::Path;

use super::figures::{CommandFigures, Figures};
use super::number::{bytes, count, micros, percent};
use crate::error::Error;

/// Writes the report.
pub fn write(path: &Path, figures: &Figures) -> Result<(), Error> {
    std::fs::write(path, page(figures)).map_err(|source| Error::Path { path: path.to_path_buf(), source })
}

const STYLE: &str = "
:root { color-scheme: light dark; --text: #1b1f24; --soft: #66707c; --line: #d8dde3; --back: #ffffff; --mark: #1f6feb; }
@media (prefers-color-scheme: dark) {
  :root { --text: #e4e8ee; --soft: #98a2ae; --line: #333a44; --back: #14171b; --mark: #58a6ff; }
}
body { font: 15px/1.5 system-ui, sans-serif; color: var(--text); background: var(--back); max-width: 62rem;
  margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: 0; } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
p.about { color: var(--soft); margin-top: .3rem; } p.warning { border-left: 4px solid #d29922; padding-left: .8rem; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; width: 100%; }
th, td { text-align: right; padding: .25rem .6rem; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } th { color: var(--soft); font-weight: 500; }
svg { width: 100%; height: auto; } svg text { fill: var(--soft); font-size: 12px; }
svg .grid { stroke: var(--line); } svg .curve { fill: none; stroke: var(--mark); stroke-width: 2; }
";

/// The whole page.
pub fn page(figures: &Figures) -> String {
    let mut body = String::new();
    let servers: Vec<&str> =
        figures.servers.iter().map(String::as_str).filter(|name| !name.is_empty()).collect();
    push(&mut body, format_args!("<h1>{}</h1>", escape(&figures.targets.join(", "))));
    let about = format!(
        "{}{}{} connections, pipeline {}, {} threads, {:.1} s; {}",
        servers.join(", "),
        if servers.is_empty() { "" } else { "; " },
        count(figures.connections as u64),
        figures.pipeline,
        figures.threads,
        figures.elapsed_s,
        figures.asked
    );
    push(&mut body, format_args!("<p class=\"about\">{}</p>", escape(&about)));
    for warning in &figures.warnings {
        push(&mut body, format_args!("<p class=\"warning\">{}</p>", escape(warning)));
    }
    body.push_str(&commands(figures));
    body.push_str(&machine(figures));
    body.push_str(&plots(figures));
    let title = escape(&format!("{} on {}", figures.workload, figures.targets.join(", ")));
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" \
         content=\"width=device-width\">\n<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n{body}</body>\n\
         </html>\n"
    )
}

/// Appends a line; writing to a string cannot fail.
fn push(out: &mut String, line: std::fmt::Arguments<'_>) {
    let _ = out.write_fmt(line);
    out.push('\n');
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn row(cells: &[String], tag: &str) -> String {
    let cells: String = cells.iter().map(|cell| format!("<{tag}>{}</{tag}>", escape(cell))).collect();
    format!("<tr>{cells}</tr>\n")
}

fn commands(figures: &Figures) -> String {
    let head = [
        "command",
        "requests",
        "per second",
        "errors",
        "hits",
        "mean",
        "p50",
        "p99",
        "p99.9",
        "p99.99",
        "max",
    ];
    let mut out = String::from("<h2>Commands</h2>\n<div class=\"wide\"><table>\n");
    out.push_str(&row(&head.map(str::to_owned), "th"));
    let cells = |command: &CommandFigures| {
        [
            command.command.clone(),
            count(command.answered),
            count(command.per_s.round() as u64),
            count(command.errors),
            command.hit_ratio.map_or("-".into(), percent),
            micros(command.mean_us),
            micros(command.p50_us),
            micros(command.p99_us),
            micros(command.p999_us),
            micros(command.p9999_us),
            micros(command.max_us),
        ]
    };
    for command in figures.commands.iter().chain([&figures.total]) {
        out.push_str(&row(&cells(command), "td"));
    }
    out.push_str("</table></div>\n");
    out
}

/// What server, network and generator did, and the errors.
fn machine(figures: &Figures) -> String {
    let mut rows = Vec::new();
    if let Some(server) = &figures.server {
        rows.push(("server CPU per operation".to_owned(), micros(server.cpu_us)));
        rows.push(("server CPUs busy".to_owned(), format!("{:.2}", server.cpus)));
        rows.push(("server context switches per operation".to_owned(), format!("{:.3}", server.switches)));
        rows.push(("server memory".to_owned(), bytes(server.resident as f64)));
    }
    rows.push(("generator CPU per operation".to_owned(), micros(figures.generator.cpu_us)));
    rows.push(("generator late at p99".to_owned(), micros(figures.generator.lag_p99_us)));
    rows.push(("sent per second".to_owned(), bytes(figures.sent_per_s)));
    rows.push(("received per second".to_owned(), bytes(figures.received_per_s)));
    for error in &figures.errors {
        rows.push((error.example.clone(), format!("{} errors", count(error.count))));
    }
    let rows: String = rows.into_iter().map(|(name, value)| row(&[name, value], "td")).collect();
    format!("<h2>Machine</h2>\n<div class=\"wide\"><table>\n{rows}</table></div>\n")
}

fn plots(figures: &Figures) -> String {
    let mut out = String::new();
    // Percentiles are drawn by how many nines they have: 90 %, 99 %, 99.9 %, ... at equal distances.
    let nines = |share: f64| -(1.0 - share).log10();
    let curve: Vec<(f64, f64)> = figures.curve.iter().map(|(share, us)| (nines(*share), *us)).collect();
    let share = |x: f64| percent(1.0 - 10f64.powf(-x));
    out.push_str(&plot("Latency by percentile", &curve, share, micros));
    let over_time = |value: fn(&crate::series::Second) -> Option<f64>| -> Vec<(f64, f64)> {
        figures
            .seconds
            .iter()
            .filter_map(|second| Some((second.second as f64 + 1.0, value(second)?)))
            .collect()
    };
    let seconds = |x: f64| format!("{x:.0} s");
    let rate = |y: f64| count(y as u64);
    out.push_str(&plot("Requests per second", &over_time(|s| Some(s.answered as f64)), seconds, rate));
    out.push_str(&plot("p99 over time", &over_time(|s| Some(s.p99_us)), seconds, micros));
    let hits = over_time(|second| second.hit_ratio());
    if !hits.is_empty() {
        out.push_str(&plot("Hit ratio over time", &hits, seconds, percent));
    }
    out
}

/// Size of a plot and the room around it for the numbers.
const SIZE: (f64, f64) = (880.0, 240.0);
const LEFT: f64 = 80.0;
const BOTTOM: f64 = 24.0;
const TOP: f64 = 10.0;

/// A line plot from zero to the largest value.
fn plot(
    title: &str,
    points: &[(f64, f64)],
    x_text: impl Fn(f64) -> String,
    y_text: impl Fn(f64) -> String,
) -> String {
    if points.len() < 2 {
        return String::new();
    }
    let (x_low, x_high) = (points[0].0, points[points.len() - 1].0);
    let top = points.iter().map(|point| point.1).fold(0.0, f64::max).max(1e-9) * 1.05;
    let x = |value: f64| LEFT + (value - x_low) / (x_high - x_low).max(1e-9) * (SIZE.0 - LEFT - 30.0);
    let y = |value: f64| TOP + (1.0 - value / top) * (SIZE.1 - BOTTOM - TOP);
    let mut out = format!(
        "<h2>{title}</h2>\n<svg viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{title}\">\n",
        SIZE.0, SIZE.1
    );
    for step in 0..=4 {
        let value = top / 1.05 * f64::from(step) / 4.0;
        let at = y(value);
        let (right, text) = (SIZE.0 - 30.0, escape(&y_text(value)));
        push(
            &mut out,
            format_args!("<line class=\"grid\" x1=\"{LEFT}\" y1=\"{at:.1}\" x2=\"{right}\" y2=\"{at:.1}\"/>"),
        );
        push(
            &mut out,
            format_args!(
                "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{text}</text>",
                LEFT - 8.0,
                at + 4.0
            ),
        );
        let value = x_low + (x_high - x_low) * f64::from(step) / 4.0;
        let (at, text) = (x(value), escape(&x_text(value)));
        push(
            &mut out,
            format_args!("<text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{text}</text>", SIZE.1 - 4.0),
        );
    }
    let line: Vec<String> =
        points.iter().map(|point| format!("{:.1},{:.1}", x(point.0), y(point.1))).collect();
    push(&mut out, format_args!("<polyline class=\"curve\" points=\"{}\"/>\n</svg>", line.join(" ")));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plot_stays_within_its_frame() {
        let svg = plot("t", &[(0.0, 0.0), (1.0, 5.0), (2.0, 1e9)], |x| x.to_string(), |y| y.to_string());
        let points = svg.split("points=\"").nth(1).unwrap().split('"').next().unwrap();
        for point in points.split(' ') {
            let (x, y) = point.split_once(',').unwrap();
            assert!(
                (0.0..=SIZE.0).contains(&x.parse().unwrap()) && (0.0..=SIZE.1).contains(&y.parse().unwrap())
            );
        }
        assert!(plot("t", &[(0.0, 1.0)], |x| x.to_string(), |y| y.to_string()).is_empty());
    }

    #[test]
    fn text_from_the_server_is_not_markup() {
        assert_eq!(escape("<script>\"&"), "&lt;script&gt;&quot;&amp;");
    }
}
