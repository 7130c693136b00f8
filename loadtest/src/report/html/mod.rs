//! Runs as one HTML file: plots and tables, light and dark, for a screen, a telephone or paper.
//!
//! The file needs no network and loads nothing: it can be mailed and kept. Its policy line forbids loading, so
//! that text from a server could not load anything either, even if it were not escaped. The script only reads out
//! values under the pointer; everything is there without it.

mod axis;
mod charts;
mod plot;
mod scenario;
mod settings;
mod tables;

use std::fmt::Write;
use std::path::Path;

use super::figures::Figures;
use super::file;
use super::moments::whole_imbalance;
use super::number::{count, counted, latency, micros, percent};
use super::runs::{Run, Runs};
use crate::error::Error;

/// Writes one run's report.
pub fn write(path: &Path, figures: &Figures) -> Result<(), Error> {
    write_runs(path, &Runs::one(figures.clone()))
}

/// Writes the report of several runs side by side.
pub fn write_runs(path: &Path, runs: &Runs) -> Result<(), Error> {
    file::write(path, page(runs).as_bytes())
        .map_err(|source| Error::Path { path: path.to_path_buf(), source })
}

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("hover.js");
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:";

/// The whole page.
pub fn page(runs: &Runs) -> String {
    let (title, body) = match runs.runs.as_slice() {
        [run] => (title(&run.figures), one(&run.figures)),
        several => {
            let names: Vec<&str> = several.iter().map(|run| run.name.as_str()).collect();
            (names.join(" and "), side_by_side(runs))
        }
    };
    let title = escape(&title);
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\">\n<meta http-equiv=\"Content-Security-Policy\" \
         content=\"{POLICY}\">\n<link rel=\"icon\" href=\"data:,\">\n<title>{title}</title>\n<style>\n{STYLE}</style>\n\
         </head>\n<body>\n<main>\n<h1>{title}</h1>\n{body}</main>\n<script>\n{SCRIPT}</script>\n</body>\n</html>\n"
    )
}

fn title(figures: &Figures) -> String {
    match figures.targets.as_slice() {
        [] => figures.workload.clone(),
        [target] => format!("{} on {target}", figures.workload),
        [first, others @ ..] => format!("{} on {first} and {} more", figures.workload, others.len()),
    }
}

/// A run alone.
fn one(figures: &Figures) -> String {
    let mut body = about(figures);
    body.push_str(&scenario::verdict(figures));
    body.push_str(&tiles(figures));
    body.push_str(&warnings(figures));
    body.push_str(&charts::charts(&[Run { name: String::new(), figures: figures.clone() }]));
    body.push_str(&details(figures));
    body.push_str(&footer(&[figures]));
    body
}

/// Several runs, compared first and then each by itself.
fn side_by_side(runs: &Runs) -> String {
    let (common, differing) = settings::of(&runs.runs);
    let mut body = about_line(&common);
    for other in &runs.others {
        body.push_str(&tables::ratios(&runs.first, other));
    }
    body.push_str(&tables::runs(&runs.runs, !runs.others.is_empty()));
    body.push_str(&tables::differences(&runs.runs, &differing));
    body.push_str(&charts::charts(&runs.runs));
    for run in &runs.runs {
        let name = escape(&run.name);
        push(&mut body, format_args!("<details class=\"run\" open><summary>{name}</summary>"));
        body.push_str(&about(&run.figures));
        body.push_str(&scenario::verdict(&run.figures));
        body.push_str(&warnings(&run.figures));
        body.push_str(&details(&run.figures));
        body.push_str("</details>\n");
    }
    body.push_str(&footer(&runs.runs.iter().map(|run| &run.figures).collect::<Vec<_>>()));
    body
}

/// All tables of a run.
fn details(figures: &Figures) -> String {
    let mut out = scenario::claims(figures);
    out.push_str(&scenario::check(figures));
    out.push_str(&scenario::steps(figures));
    out.push_str("<h2>Commands</h2>\n");
    out.push_str(&tables::commands(figures));
    out.push_str(&tables::rate_steps(figures));
    out.push_str(&tables::endpoints(figures));
    out.push_str(&tables::connects(figures));
    out.push_str("<div class=\"pair\">\n");
    out.push_str(&tables::events(figures));
    out.push_str(&tables::server(figures));
    // Figures from a log know nothing of the generator.
    if figures.connections > 0 {
        out.push_str(&tables::generator(figures));
    }
    out.push_str("</div>\n");
    out.push_str(&tables::error_kinds(figures));
    out.push_str(&how(figures));
    out.push_str(&tables::seconds(figures));
    out
}

/// Who was asked, and when.
fn about(figures: &Figures) -> String {
    let mut parts = vec![settings::servers(figures)];
    parts.retain(|part| !part.is_empty());
    if figures.connections > 0 {
        parts.push(counted(figures.connections as u64, "connection", "connections"));
        parts.push(format!("pipeline {}", figures.pipeline));
        parts.push(figures.pace());
    }
    parts.push(format!("{:.1} s", figures.elapsed_s));
    parts.extend(figures.origin.started());
    about_line(&parts)
}

fn about_line(parts: &[String]) -> String {
    format!("<p class=\"about\">{}</p>\n", escape(&parts.join(" \u{b7} ")))
}

/// The figures that one looks at first.
fn tiles(figures: &Figures) -> String {
    let total = &figures.total;
    let answered = format!("{} in all", count(total.answered));
    let mut tiles = vec![
        ("Requests/s", count(total.per_s.round() as u64), answered),
        ("p50", latency(total.p50_us), format!("mean {}", latency(total.mean_us))),
        ("p99", latency(total.p99_us), "1 in 100 is slower".into()),
        ("p99.9", latency(total.p999_us), format!("p99.99 {}", latency(total.p9999_us))),
        ("Longest", latency(total.max_us), "of all".into()),
    ];
    if let Some(server) = &figures.server {
        tiles.push(("CPU per operation", micros(server.cpu_us), format!("server, {:.2} CPUs", server.cpus)));
    }
    if let Some(ratio) = total.hit_ratio {
        tiles.push(("Hit ratio", percent(ratio), "of looked-up keys".into()));
    }
    if let Some(imbalance) = whole_imbalance(figures) {
        let nodes = format!("busiest of {} nodes to mean", figures.endpoints.len());
        tiles.push(("Imbalance", format!("{imbalance:.2}"), nodes));
    }
    if !figures.only_latencies() {
        tiles.push(("Errors", count(figures.all_errors()), failures(figures)));
    }
    let mut out = String::from("<dl class=\"tiles\">\n");
    for (name, value, more) in tiles {
        let failed = figures.all_errors() + figures.lost > 0;
        let class = if name == "Errors" && failed { " class=\"bad\"" } else { "" };
        push(
            &mut out,
            format_args!(
                "<div><dt>{name}</dt><dd{class} style=\"--n:{}\">{}<small>{}</small></dd></div>",
                // Long values are set smaller, so that they fit their tile.
                value.chars().count(),
                escape(&value),
                escape(&more)
            ),
        );
    }
    out.push_str("</dl>\n");
    out
}

/// What the errors consist of, and the requests that were lost.
fn failures(figures: &Figures) -> String {
    let failed = figures.total.errors + figures.lost;
    let asked = (figures.total.answered + figures.lost).max(1);
    let mut parts = Vec::new();
    if failed > 0 {
        parts.push(format!("{} of requests failed", percent(failed as f64 / asked as f64)));
    }
    if figures.connection_errors > 0 {
        parts.push(counted(figures.connection_errors, "connection error", "connection errors"));
    }
    if figures.lost > 0 {
        parts.push(format!("{} lost", counted(figures.lost, "request", "requests")));
    }
    if parts.is_empty() { "none".into() } else { parts.join(", ") }
}

fn warnings(figures: &Figures) -> String {
    if figures.warnings.is_empty() {
        return String::new();
    }
    let items: String =
        figures.warnings.iter().map(|warning| format!("<li>{}</li>\n", escape(warning))).collect();
    format!("<ul class=\"warnings\">\n{items}</ul>\n")
}

/// What one needs to measure this again.
fn how(figures: &Figures) -> String {
    let origin = &figures.origin;
    let mut rows = Vec::new();
    if !origin.invocation.is_empty() {
        rows.push(("command line", format!("<code>{}</code>", escape(&origin.invocation))));
    }
    if !figures.targets.is_empty() {
        rows.push(("servers", escape(&figures.targets.join(", "))));
    }
    if !figures.asked.is_empty() {
        rows.push(("workload", escape(&format!("{}: {}", figures.workload, figures.asked))));
    }
    if figures.connections > 0 {
        let load = format!(
            "{} on {}, pipeline {}, {}",
            counted(figures.connections as u64, "connection", "connections"),
            counted(figures.threads as u64, "thread", "threads"),
            figures.pipeline,
            figures.pace()
        );
        rows.push(("load", escape(&load)));
    }
    if !origin.machine.is_empty() {
        rows.push(("measured on", escape(&format!("{}, by {}", origin.machine, origin.tool))));
    }
    if rows.is_empty() {
        return String::new();
    }
    format!("<h2>How it was measured</h2>\n{}", tables::facts(&rows))
}

/// From when latencies count, which a log does not tell, and what made the page.
fn footer(runs: &[&Figures]) -> String {
    let has = |wanted: &dyn Fn(&Figures) -> bool| runs.iter().any(|figures| wanted(figures));
    let is_open = |figures: &Figures| !figures.only_latencies() && !figures.rates.is_empty();
    let is_closed = |figures: &Figures| !figures.only_latencies() && figures.rates.is_empty();
    let mut counts = match (has(&is_open), has(&is_closed)) {
        (true, true) => "A request's latency counts from when it was sent, in an open loop from when it should have been, to its answer. ",
        (true, false) => "A request's latency counts from when it should have been sent to its answer. ",
        (false, true) => "A request's latency counts from when it was sent to its answer. ",
        (false, false) => "",
    }
    .to_owned();
    if has(&Figures::only_latencies) {
        counts.push_str("A log holds latencies only, and does not tell from when they count. ");
    }
    let tool = runs.first().map(|figures| figures.origin.tool.as_str()).filter(|tool| !tool.is_empty());
    format!(
        "<footer>{counts}Lines can be read out with the pointer or the arrow keys. Made by {}.</footer>\n",
        escape(tool.unwrap_or("shoal-loadtest"))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::figures::{
        ClaimFigures, CommandFigures, ConnectFigures, EndpointFigures, ErrorFigures, EventFigures,
        StepFigures,
    };
    use crate::series::Second;

    fn figures() -> Figures {
        let endpoint = |name: &str| EndpointFigures {
            endpoint: name.into(),
            answered: 10,
            ..EndpointFigures::default()
        };
        let second = |second: u64| Second {
            second,
            answered: 20,
            errors: 1,
            hits: 3,
            misses: 1,
            endpoints: vec![15, 5],
            p99_us: 100.0,
            ..Second::default()
        };
        Figures {
            targets: vec!["a:1".into()],
            workload: "<w>".into(),
            connections: 1,
            elapsed_s: 3.0,
            seconds: (0..3).map(second).collect(),
            endpoints: vec![endpoint("a:1"), endpoint("b:2")],
            events: vec![EventFigures { at_s: 1.5, text: "kill <b>".into() }],
            claims: vec![
                ClaimFigures { claim: "p99 < 5ms".into(), passed: true, ..ClaimFigures::default() },
                ClaimFigures { claim: "errors = 0".into(), measured: "3".into(), ..ClaimFigures::default() },
            ],
            connect: Some(ConnectFigures { opened: 1234, ..ConnectFigures::default() }),
            redirects: 5678,
            curve: vec![(0.0, 10.0), (0.9, 100.0)],
            ..Figures::default()
        }
    }

    #[test]
    fn all_plots_are_there_and_nothing_is_loaded() {
        let page = page(&Runs::one(figures()));
        for id in ["percentiles", "rate", "latency", "errors", "hits", "endpoints", "imbalance"] {
            assert!(page.contains(&format!("id=\"plot-{id}\"")), "{id}");
        }
        assert!(!page.contains("http://") && !page.contains("https://") && !page.contains("url("));
    }

    #[test]
    fn claims_connections_and_redirects_are_tables() {
        let page = page(&Runs::one(figures()));
        assert!(page.contains("1 of 2 true") && page.contains("p99 &lt; 5ms"));
        assert!(page.contains("<b class=\"bad\">failed</b>"));
        assert!(page.contains("<h2>Connections</h2>") && page.contains("1,234"));
        assert!(page.contains("5,678 requests"));
    }

    #[test]
    fn errors_are_the_same_number_everywhere() {
        let mut figures = figures();
        figures.total.errors = 3;
        (figures.connection_errors, figures.lost) = (42, 1);
        figures.seconds[1].connection_errors = 42;
        figures.seconds[1].lost = 1;
        figures.errors = vec![ErrorFigures { count: 45, example: "ERR".into(), ..ErrorFigures::default() }];
        let page = page(&Runs::one(figures));
        let few = Figures {
            lost: 1,
            total: CommandFigures { answered: 1_000_000, ..CommandFigures::default() },
            ..Figures::default()
        };
        assert_eq!(failures(&few), "0.01 % of requests failed, 1 request lost");
        let red = "<b class=\"bad\">";
        for part in [
            "<dt>Errors</dt><dd class=\"bad\" style=\"--n:2\">45<small>",
            "42 connection errors, 1 request lost</small>",
            &format!("<th scope=\"row\">(connections)</th><td>-</td><td>-</td><td>{red}42</b></td>"),
            &format!("<td>{red}45</b></td>"),
            &format!("<td>{red}43</b></td>"),
            "lost requests/s",
        ] {
            assert!(page.contains(part), "{part}");
        }
    }

    #[test]
    fn what_a_log_does_not_hold_is_not_shown_as_nothing() {
        let log = Figures { targets: Vec::new(), connections: 0, ..figures() };
        let alone = page(&Runs::one(log.clone()));
        assert!(!alone.contains("<dt>Errors</dt>") && !alone.contains("was sent"));
        assert!(alone.contains("A log holds latencies only, and does not tell from when they count."));
        // From, requests, errors, lost.
        assert!(alone.contains("<td>20</td><td>-</td><td>-</td>"), "{alone}");
        let run = |figures| Run { name: "r".into(), figures };
        let both = page(&Runs { runs: vec![run(figures()), run(log)], ..Runs::default() });
        assert!(both.contains("from when it was sent to its answer. A log holds"));
    }

    #[test]
    fn long_values_are_set_smaller_and_one_is_no_plural() {
        let mut figures = figures();
        figures.total.per_s = 12_345_678.0;
        figures.broken = 1;
        let page = page(&Runs::one(figures));
        assert!(page.contains("<dd style=\"--n:10\">12,345,678<small>"));
        assert!(STYLE.contains("/ var(--n)") && page.contains("1 connection, 0 requests lost"));
        assert!(page.contains("1 connection \u{b7} pipeline 0"));
    }

    #[test]
    fn runs_are_laid_over_each_other() {
        let run = |name: &str| Run { name: name.into(), figures: figures() };
        let page = page(&Runs { runs: vec![run("one"), run("two")], ..Runs::default() });
        assert_eq!(page.matches("id=\"plot-rate\"").count(), 1);
        assert!(page.contains("id=\"plot-endpoints-2\"") && page.contains("two p99"));
    }

    #[test]
    fn the_head_of_several_runs_says_what_they_have_in_common_and_a_table_the_rest() {
        let run = |name: &str, pipeline, per_s, p50_us| {
            let total = CommandFigures { per_s, p50_us, ..CommandFigures::default() };
            Run { name: name.into(), figures: Figures { pipeline, total, asked: "<a>".into(), ..figures() } }
        };
        let runs = vec![run("one", 1, 100.0, 50.0), run("<two>", 16, 250.0, 40.0)];
        let page = page(&Runs { runs: runs.clone(), ..Runs::default() });
        let head = page.split("</h1>").nth(1).unwrap().split("<h2>").next().unwrap();
        assert_eq!(
            head,
            "\n<p class=\"about\">a:1 \u{b7} &lt;w&gt;: &lt;a&gt; \u{b7} 1 connection \u{b7} 0 threads \u{b7} closed loop \
             \u{b7} 3.0 s</p>\n"
        );
        assert!(page.contains("<h2>What differs</h2>") && page.contains("<td>pipeline 16</td>"));
        let ratio = "<th scope=\"row\"><b>&lt;two&gt; / one</b></th><td>2.500</td><td></td><td></td><td></td><td>-</td>\
                     <td></td><td>0.800</td>";
        assert!(page.contains(ratio), "{page}");
        // Ratios of rounds take their place, where there are some.
        let others = vec![crate::report::runs::Other { name: "<two>".into(), ..Default::default() }];
        let compared = super::page(&Runs { first: "one".into(), others, runs });
        assert!(!compared.contains("<b>&lt;two&gt; / one</b>"));
    }

    #[test]
    fn the_steps_of_a_rate_are_a_table_and_marks() {
        let step = |per_s, from_s| StepFigures { per_s, from_s, counted_s: 2.0, ..StepFigures::default() };
        let steps = vec![step(1000.0, 0.0), step(2000.0, 2.0)];
        let mut figures = Figures { events: Vec::new(), steps, ..figures() };
        let page_of = |figures: &Figures| page(&Runs::one(figures.clone()));
        let stepped = page_of(&figures);
        assert!(
            stepped.contains("<h2>Steps of the rate</h2>")
                && stepped.contains("<th scope=\"row\">2,000/s</th>")
        );
        assert!(stepped.contains("<b>1</b> 1,000/s</span>") && stepped.contains("<b>2</b> 2,000/s</span>"));
        // Where something happened the marks are for that.
        figures.events = vec![EventFigures { at_s: 1.0, text: "kill".into() }];
        assert!(!page_of(&figures).contains("</b> 1,000/s</span>"));
    }

    #[test]
    fn text_from_outside_is_not_markup() {
        assert_eq!(escape("<script>\"&"), "&lt;script&gt;&quot;&amp;");
        let page = page(&Runs::one(figures()));
        assert!(!page.contains("<w>") && !page.contains("kill <b>"));
    }
}
