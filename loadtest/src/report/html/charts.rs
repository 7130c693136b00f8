//! Which plots a page has: one run's commands and percentiles, or several runs over each other.

use super::axis::{Axis, nines, round_micros, time};
use super::plot::{COLOURS, Line, Plot, Stroke};
use crate::report::figures::{EventFigures, Figures};
use crate::report::moments::{Moment, moments, seconds_per_moment, silences};
use crate::report::number::{count, micros, percent};
use crate::report::runs::Run;

/// More points than this cannot be told apart.
const MOST_POINTS: usize = 400;

/// All plots of these runs, those without anything in them left out.
pub(super) fn charts(runs: &[Run]) -> String {
    let over_time: Vec<OverTime<'_>> = runs.iter().map(OverTime::new).collect();
    let chart = Charts { runs: over_time, events: events(runs), alone: runs.len() == 1 };
    let mut out = String::from("<div class=\"plots\">\n");
    out.push_str(&percentiles(runs));
    out.push_str(&chart.rate());
    out.push_str(&chart.latency());
    out.push_str(&chart.errors());
    out.push_str(&chart.hits());
    for (index, run) in chart.runs.iter().enumerate() {
        out.push_str(&chart.endpoints(index, run));
    }
    out.push_str(&chart.imbalance());
    out.push_str("</div>\n");
    out
}

/// Latency by share of requests: of several runs, or of the commands of one.
fn percentiles(runs: &[Run]) -> String {
    let curve = |points: &[(f64, f64)]| -> Vec<(f64, Option<f64>)> {
        points.iter().map(|(share, us)| (nines(*share), Some(*us))).collect()
    };
    let line = |name: &str, colour: usize, points: &[(f64, f64)]| Line {
        name: name.to_owned(),
        colour,
        stroke: Stroke::Solid,
        points: curve(points),
    };
    let mut lines = Vec::new();
    match runs {
        [run] => {
            let figures = &run.figures;
            let mut commands: Vec<_> =
                figures.commands.iter().filter(|c| !c.curve.is_empty() && c.answered > 0).collect();
            commands.sort_by_key(|command| std::cmp::Reverse(command.answered));
            if commands.len() > 1 {
                let told_apart = commands.iter().take(COLOURS - 1).enumerate();
                lines.extend(told_apart.map(|(index, c)| line(&c.command, index + 1, &c.curve)));
            }
            lines.push(line("all", 0, &figures.curve));
        }
        runs => lines
            .extend(runs.iter().enumerate().map(|(index, run)| line(&run.name, index, &run.figures.curve))),
    }
    let most = lines.iter().flat_map(|line| &line.points).map(|point| point.0).fold(1.0, f64::max);
    let values = lines.iter().flat_map(|line| &line.points).filter_map(|point| point.1);
    let y = Axis::fitting(values, round_micros);
    Plot {
        id: "plot-percentiles",
        title: "Latency by percentile",
        note: String::new(),
        x: Axis::nines(most),
        y,
        lines,
        events: &[],
        names_events: false,
        silences: &[],
        x_text: share,
        y_text: micros,
    }
    .html()
}

/// A share given by its nines, with as many digits as it takes to tell it from 100 %.
fn share(nines: f64) -> String {
    let digits = (nines.ceil() as usize).max(2) - 1;
    format!("{:.digits$} % of requests", (1.0 - 10f64.powf(-nines)) * 100.0)
}

/// A run's name, colour and moments.
struct OverTime<'a> {
    name: &'a str,
    figures: &'a Figures,
    moments: Vec<Moment>,
    silences: Vec<(f64, f64)>,
}

impl<'a> OverTime<'a> {
    fn new(run: &'a Run) -> Self {
        let (moments, silences) = (moments(&run.figures, MOST_POINTS), silences(&run.figures));
        Self { name: &run.name, figures: &run.figures, moments, silences }
    }

    fn points(&self, value: impl Fn(&Moment) -> Option<f64>) -> Vec<(f64, Option<f64>)> {
        self.moments.iter().map(|moment| (moment.at_s, value(moment))).collect()
    }
}

struct Charts<'a> {
    runs: Vec<OverTime<'a>>,
    events: Vec<EventFigures>,
    alone: bool,
}

/// What differs between plots over time.
struct Part<'a> {
    id: &'a str,
    title: &'a str,
    lines: Vec<Line>,
    names_events: bool,
    text: fn(f64) -> String,
}

impl Charts<'_> {
    fn rate(&self) -> String {
        let stroke = if self.alone { Stroke::Filled } else { Stroke::Solid };
        let lines = self.per_run("requests/s", stroke, |moment| Some(moment.per_s));
        let y = Axis::from_zero(most(&lines), whole);
        self.plot(
            Part { id: "plot-rate", title: "Requests per second", lines, names_events: true, text: whole },
            y,
        )
    }

    fn latency(&self) -> String {
        let mut lines = Vec::new();
        let title = if let [run] = self.runs.as_slice() {
            lines.push(line("longest", 7, Stroke::Solid, run.points(|moment| moment.max_us)));
            lines.push(line("p99", 1, Stroke::Solid, run.points(|moment| moment.p99_us)));
            lines.push(line("p50", 0, Stroke::Solid, run.points(|moment| moment.p50_us)));
            "Latency over time"
        } else {
            for (index, run) in self.runs.iter().enumerate() {
                let name = |percentile: &str| format!("{} {percentile}", run.name);
                lines.push(line(&name("p99"), index, Stroke::Solid, run.points(|moment| moment.p99_us)));
                lines.push(line(&name("p50"), index, Stroke::Dashed, run.points(|moment| moment.p50_us)));
            }
            "p99 and p50 over time"
        };
        let values = lines.iter().flat_map(|line| &line.points).filter_map(|point| point.1);
        let y = Axis::fitting(values, round_micros);
        self.plot(Part { id: "plot-latency", title, lines, names_events: true, text: micros }, y)
    }

    fn errors(&self) -> String {
        let mut lines = self.per_run("errors/s", Stroke::Filled, |moment| Some(moment.errors_per_s));
        for (index, run) in self.runs.iter().enumerate().filter(|(_, run)| run.figures.lost > 0) {
            let name = if self.alone { "lost requests/s".into() } else { format!("{} lost", run.name) };
            let colour = if self.alone { 1 } else { index };
            lines.push(line(&name, colour, Stroke::Dashed, run.points(|moment| Some(moment.lost_per_s))));
        }
        if most(&lines) == 0.0 {
            return String::new();
        }
        let y = Axis::counts(most(&lines), whole);
        self.plot(
            Part { id: "plot-errors", title: "Errors per second", lines, names_events: false, text: whole },
            y,
        )
    }

    fn hits(&self) -> String {
        let lines = self.per_run("hit ratio", Stroke::Solid, |moment| moment.hit_ratio);
        let y = Axis::shares(|share| format!("{:.0} %", share * 100.0));
        self.plot(Part { id: "plot-hits", title: "Hit ratio", lines, names_events: false, text: percent }, y)
    }

    fn endpoints(&self, index: usize, run: &OverTime<'_>) -> String {
        let endpoints = &run.figures.endpoints;
        if endpoints.len() < 2 {
            return String::new();
        }
        let lines: Vec<Line> = endpoints
            .iter()
            .enumerate()
            .map(|(endpoint, figures)| {
                let per_s = |moment: &Moment| moment.endpoints_per_s.get(endpoint).copied();
                line(&figures.endpoint, endpoint, Stroke::Solid, run.points(per_s))
            })
            .collect();
        let (id, title) = if self.alone {
            ("plot-endpoints".to_owned(), "Requests per second and node".to_owned())
        } else {
            (format!("plot-endpoints-{}", index + 1), format!("Requests per second and node: {}", run.name))
        };
        let y = Axis::from_zero(most(&lines), whole);
        self.plot(Part { id: &id, title: &title, lines, names_events: false, text: whole }, y)
    }

    fn imbalance(&self) -> String {
        let lines = self.per_run("busiest node to mean", Stroke::Solid, |moment| moment.imbalance);
        let y = Axis::from_one(most(&lines));
        let text = |value| format!("{value:.2}");
        self.plot(
            Part {
                id: "plot-imbalance",
                title: "Imbalance: busiest node to mean",
                lines,
                names_events: false,
                text,
            },
            y,
        )
    }

    /// A line for each run, called by its name or, if it is alone, by what is shown.
    fn per_run(&self, what: &str, stroke: Stroke, value: fn(&Moment) -> Option<f64>) -> Vec<Line> {
        let lines = self.runs.iter().enumerate().map(|(index, run)| {
            let name = if self.alone { what } else { run.name };
            line(name, index, stroke, run.points(value))
        });
        lines.collect()
    }

    fn plot(&self, part: Part<'_>, y: Axis) -> String {
        Plot {
            id: part.id,
            title: part.title,
            note: self.note(),
            x: Axis::time(self.end()),
            y,
            lines: part.lines,
            events: &self.events,
            names_events: part.names_events,
            silences: self.silences(),
            x_text: time,
            y_text: part.text,
        }
        .html()
    }

    /// Where the axis of time ends.
    fn end(&self) -> f64 {
        let last = |run: &OverTime<'_>| run.moments.last().map_or(0.0, |moment| moment.at_s);
        self.runs.iter().map(|run| run.figures.elapsed_s.max(last(run))).fold(0.0, f64::max)
    }

    /// When a run that is alone had no answers. Those of several would hide each other.
    fn silences(&self) -> &[(f64, f64)] {
        if let [run] = self.runs.as_slice() { &run.silences } else { &[] }
    }

    fn note(&self) -> String {
        let together =
            self.runs.iter().map(|run| seconds_per_moment(run.figures, MOST_POINTS)).max().unwrap_or(1);
        if together == 1 { String::new() } else { format!("one point for {together} s") }
    }
}

/// The events of the first run that has some: a scenario's are the same in each. Where nothing happened, the steps of a
/// rate that all have.
fn events(runs: &[Run]) -> Vec<EventFigures> {
    let mut with_events = runs.iter().map(|run| &run.figures.events).filter(|events| !events.is_empty());
    if let Some(events) = with_events.next() {
        return events.clone();
    }
    let steps = |run: &Run| -> Vec<EventFigures> {
        let steps = run.figures.told_steps();
        steps.map(|step| EventFigures { at_s: step.from_s, text: step.name() }).collect()
    };
    let first = runs.first().map(steps).unwrap_or_default();
    if runs.iter().all(|run| steps(run) == first) { first } else { Vec::new() }
}

fn line(name: &str, colour: usize, stroke: Stroke, points: Vec<(f64, Option<f64>)>) -> Line {
    Line { name: name.to_owned(), colour, stroke, points }
}

fn most(lines: &[Line]) -> f64 {
    lines.iter().flat_map(|line| &line.points).filter_map(|point| point.1).fold(0.0, f64::max)
}

fn whole(value: f64) -> String {
    if value > 0.0 && value < 10.0 && value.fract() != 0.0 {
        format!("{value:.1}")
    } else {
        count(value.round() as u64)
    }
}
