//! One plot: lines over an axis, events as marks, a legend and what the script reads out under the pointer.
//!
//! Lines and grid are SVG stretched to whatever room there is; numbers and names are HTML beside it, so that they
//! have the same size on a telephone and on a wall. Everything is there without the script.

use std::fmt::Write as _;

use serde::Serialize;

use super::axis::Axis;
use super::{escape, push};
use crate::report::figures::EventFigures;

/// How a line is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stroke {
    /// A line.
    Solid,
    /// A line with the area under it.
    Filled,
    /// Dashes.
    Dashed,
}

/// One line.
#[derive(Clone, Debug)]
pub(super) struct Line {
    /// What the legend calls it.
    pub(super) name: String,
    /// Which of the page's colours it has.
    pub(super) colour: usize,
    /// How it is drawn.
    pub(super) stroke: Stroke,
    /// From left to right; the line is interrupted where there is no value.
    pub(super) points: Vec<(f64, Option<f64>)>,
}

/// A plot and everything in it.
pub(super) struct Plot<'a> {
    /// What others call it: the element's `id`.
    pub(super) id: &'a str,
    /// What it shows.
    pub(super) title: &'a str,
    /// What one must know to read it; may be empty.
    pub(super) note: String,
    /// To the right.
    pub(super) x: Axis,
    /// Upwards.
    pub(super) y: Axis,
    /// The lines, the last one on top.
    pub(super) lines: Vec<Line>,
    /// What happened meanwhile, if the axis to the right is time.
    pub(super) events: &'a [EventFigures],
    /// Whether events are named here; elsewhere they only have numbers.
    pub(super) names_events: bool,
    /// From where to where there were no answers: shaded, since a gap in a line may be anything.
    pub(super) silences: &'a [(f64, f64)],
    /// A place to the right in words.
    pub(super) x_text: fn(f64) -> String,
    /// A height in words.
    pub(super) y_text: fn(f64) -> String,
}

/// The drawing's own units; it is stretched to the room there is.
const WIDTH: f64 = 1000.0;
const HEIGHT: f64 = 300.0;

/// Colours the style sheet knows; lines beyond begin again.
pub(super) const COLOURS: usize = 8;

/// What the script needs to know of a line, by point: places from the left and from the top, and texts.
#[derive(Serialize)]
struct ReadOut<'a> {
    name: &'a str,
    colour: usize,
    x: Vec<f64>,
    y: Vec<f64>,
    at: Vec<String>,
    text: Vec<String>,
}

impl Plot<'_> {
    /// The plot as HTML; nothing if there is nothing to draw.
    pub(super) fn html(&self) -> String {
        if self.drawn().next().is_none() {
            return String::new();
        }
        let mut out = format!("<figure class=\"plot\" id=\"{}\">\n", self.id);
        let scale = if self.y.is_logarithmic() { "logarithmic" } else { "" };
        let notes: Vec<&str> =
            [self.note.as_str(), scale].into_iter().filter(|note| !note.is_empty()).collect();
        push(
            &mut out,
            format_args!(
                "<figcaption>{} <small>{}</small></figcaption>",
                escape(self.title),
                escape(&notes.join(", "))
            ),
        );
        out.push_str(&self.legend());
        out.push_str("<div class=\"frame\">\n");
        out.push_str(&self.event_names());
        out.push_str(&self.heights());
        push(&mut out, format_args!("<div class=\"field\" tabindex=\"0\">{}</div>", self.svg()));
        out.push_str(&self.places());
        push(
            &mut out,
            format_args!("</div>\n<script type=\"application/json\">{}</script>", self.read_outs()),
        );
        out.push_str("</figure>\n");
        out
    }

    /// The lines that have any points.
    fn drawn(&self) -> impl Iterator<Item = &Line> {
        self.lines.iter().filter(|line| line.points.iter().any(|(_, y)| y.is_some()))
    }

    fn legend(&self) -> String {
        let mut out = String::from("<div class=\"legend\">");
        for line in self.drawn() {
            let dashed = if line.stroke == Stroke::Dashed { " dashed" } else { "" };
            let colour = line.colour % COLOURS;
            let _ = write!(out, "<span><i class=\"key c{colour}{dashed}\"></i>{}</span>", escape(&line.name));
        }
        if !self.silences.is_empty() {
            out.push_str("<span><i class=\"key silent\"></i>no answers</span>");
        }
        out.push_str("</div>\n");
        out
    }

    /// The names of events above the field, each where its mark is, in rows so that they do not overlap.
    fn event_names(&self) -> String {
        if !self.names_events || self.events.is_empty() {
            return String::new();
        }
        let mut rows: Vec<f64> = Vec::new();
        let mut names = String::new();
        for (index, event) in self.events.iter().enumerate() {
            let at = self.x.place(event.at_s);
            let width = (event.text.chars().count() as f64 + 4.0) * LETTER;
            // A name that would leave the field on the right ends at its mark.
            let (from, until) = if at + width > 1.0 { ((at - width).max(0.0), at) } else { (at, at + width) };
            let row = rows.iter().position(|end| *end <= from).unwrap_or(rows.len());
            if row >= MOST_ROWS {
                continue;
            }
            if row == rows.len() {
                rows.push(0.0);
            }
            rows[row] = until;
            let side = if at + width > 1.0 { "left" } else { "right" };
            let _ = write!(
                names,
                "<span class=\"{side}\" style=\"left:{:.2}%;top:{:.1}em\"><b>{}</b> {}</span>",
                at * 100.0,
                row as f64 * 1.3,
                index + 1,
                escape(&event.text)
            );
        }
        let height = rows.len() as f64 * 1.3 + 0.2;
        format!("<div class=\"happened\" style=\"height:{height:.1}em\">{names}</div>\n")
    }

    /// The numbers at the left; the longest one makes the column as wide as it must be.
    fn heights(&self) -> String {
        let longest = self.y.ticks.iter().max_by_key(|(_, text)| text.chars().count());
        let longest = longest.map_or("", |(_, text)| text.as_str());
        let mut out = format!(
            "<div class=\"heights\" aria-hidden=\"true\"><span class=\"room\">{}</span>",
            escape(longest)
        );
        for (value, text) in &self.y.ticks {
            let top = (1.0 - self.y.place(*value)) * 100.0;
            let _ = write!(out, "<span style=\"top:{top:.2}%\">{}</span>", escape(text));
        }
        out.push_str("</div>\n");
        out
    }

    /// The numbers below; every other one can be left out where there is little room.
    fn places(&self) -> String {
        let mut out = String::from("<div class=\"places\" aria-hidden=\"true\">");
        for (index, (value, text)) in self.x.ticks.iter().enumerate() {
            let left = self.x.place(*value) * 100.0;
            let class = if index % 2 == 1 { " class=\"odd\"" } else { "" };
            let _ = write!(out, "<span{class} style=\"left:{left:.2}%\">{}</span>", escape(text));
        }
        out.push_str("</div>\n");
        out
    }

    fn svg(&self) -> String {
        let mut out = format!(
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"{}\">\n<title>{}</title>\n",
            escape(&self.in_words()),
            escape(self.title)
        );
        for (value, _) in &self.y.ticks {
            let y = (1.0 - self.y.place(*value)) * HEIGHT;
            push(
                &mut out,
                format_args!("<line class=\"grid\" x1=\"0\" y1=\"{y:.1}\" x2=\"{WIDTH}\" y2=\"{y:.1}\"/>"),
            );
        }
        for (value, _) in &self.x.ticks {
            let x = self.x.place(*value) * WIDTH;
            push(
                &mut out,
                format_args!("<line class=\"grid\" x1=\"{x:.1}\" y1=\"0\" x2=\"{x:.1}\" y2=\"{HEIGHT}\"/>"),
            );
        }
        for (from, until) in self.silences {
            let (x, end) = (self.x.place(*from) * WIDTH, self.x.place(*until) * WIDTH);
            push(
                &mut out,
                format_args!(
                    "<rect class=\"silent\" x=\"{x:.1}\" y=\"0\" width=\"{:.1}\" height=\"{HEIGHT}\"><title>{}</title></rect>",
                    (end - x).max(1.0),
                    escape(&self.silence(*from, *until))
                ),
            );
        }
        for line in self.drawn() {
            out.push_str(&self.line(line));
        }
        for event in self.events {
            let x = self.x.place(event.at_s) * WIDTH;
            push(
                &mut out,
                format_args!("<line class=\"event\" x1=\"{x:.1}\" y1=\"0\" x2=\"{x:.1}\" y2=\"{HEIGHT}\"/>"),
            );
        }
        out.push_str("</svg>");
        out.push_str(&self.event_numbers());
        out
    }

    fn event_numbers(&self) -> String {
        let mut out = String::new();
        for (index, event) in self.events.iter().enumerate() {
            let left = self.x.place(event.at_s) * 100.0;
            let _ = write!(
                out,
                "<b class=\"number\" style=\"left:{left:.2}%\" title=\"{}\">{}</b>",
                escape(&format!("{}: {}", (self.x_text)(event.at_s), event.text)),
                index + 1
            );
        }
        out
    }

    fn line(&self, line: &Line) -> String {
        let mut out = String::new();
        let colour = line.colour % COLOURS;
        let runs = line.points.split(|(_, y)| y.is_none()).filter(|run| !run.is_empty());
        let (mut path, mut dots, mut area) = (String::new(), String::new(), String::new());
        for run in runs {
            let places: Vec<String> = run
                .iter()
                .filter_map(|(x, y)| Some((self.x.place(*x) * WIDTH, (1.0 - self.y.place((*y)?)) * HEIGHT)))
                .map(|(x, y)| format!("{x:.1} {y:.1}"))
                .collect();
            if let [alone] = places.as_slice() {
                // A line of no length with round ends, and thicker than others, or nobody would see it.
                let _ = write!(dots, "M{alone}h0");
            } else {
                let _ = write!(path, "M{}", places.join("L"));
            }
            let (first, last) = (self.x.place(run[0].0) * WIDTH, self.x.place(run[run.len() - 1].0) * WIDTH);
            let _ = write!(area, "M{first:.1} {HEIGHT}L{}L{last:.1} {HEIGHT}Z", places.join("L"));
        }
        if line.stroke == Stroke::Filled {
            push(&mut out, format_args!("<path class=\"area c{colour}\" d=\"{area}\"/>"));
        }
        let dashed = if line.stroke == Stroke::Dashed { " dashed" } else { "" };
        for (class, path) in [(format!("line c{colour}{dashed}"), path), (format!("point c{colour}"), dots)] {
            if !path.is_empty() {
                push(&mut out, format_args!("<path class=\"{class}\" d=\"{path}\"/>"));
            }
        }
        out
    }

    fn silence(&self, from: f64, until: f64) -> String {
        format!("no answers from {} to {}", (self.x_text)(from), (self.x_text)(until))
    }

    /// The plot for those who do not see it.
    fn in_words(&self) -> String {
        let lines = self.drawn().map(|line| {
            let values = || line.points.iter().filter_map(|(_, y)| *y);
            let (least, most) = (values().fold(f64::INFINITY, f64::min), values().fold(0.0, f64::max));
            format!("{} from {} to {}", line.name, (self.y_text)(least), (self.y_text)(most))
        });
        let silences = self.silences.iter().map(|(from, until)| self.silence(*from, *until));
        format!("{}: {}", self.title, lines.chain(silences).collect::<Vec<_>>().join("; "))
    }

    fn read_outs(&self) -> String {
        let round = |place: f64| (place * 1e4).round() / 1e4;
        let lines: Vec<ReadOut<'_>> = self
            .drawn()
            .map(|line| {
                let points: Vec<(f64, f64)> =
                    line.points.iter().filter_map(|(x, y)| Some((*x, (*y)?))).collect();
                ReadOut {
                    name: &line.name,
                    colour: line.colour % COLOURS,
                    x: points.iter().map(|(x, _)| round(self.x.place(*x))).collect(),
                    y: points.iter().map(|(_, y)| round(1.0 - self.y.place(*y))).collect(),
                    at: points.iter().map(|(x, _)| (self.x_text)(*x)).collect(),
                    text: points.iter().map(|(_, y)| (self.y_text)(*y)).collect(),
                }
            })
            .collect();
        // Inside a script element only `</` could end it early.
        serde_json::to_string(&lines).expect("places are finite numbers").replace('<', "\\u003c")
    }
}

/// The width of a letter of an event's name as a share of a plot's usual width.
const LETTER: f64 = 0.0135;
/// Events beyond so many rows of names have a number only.
const MOST_ROWS: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(points: Vec<(f64, Option<f64>)>, events: &[EventFigures]) -> Plot<'_> {
        let line = Line { name: "</script>".into(), colour: 9, stroke: Stroke::Filled, points };
        Plot {
            id: "plot-test",
            title: "Test",
            note: String::new(),
            x: Axis::time(10.0),
            y: Axis::from_zero(5.0, |value| value.to_string()),
            lines: vec![line],
            events,
            names_events: true,
            silences: &[],
            x_text: |x| format!("{x} s"),
            y_text: |y| y.to_string(),
        }
    }

    #[test]
    fn a_line_stays_within_its_field_and_stops_where_there_is_nothing() {
        let html = plot(vec![(0.0, Some(0.0)), (1.0, Some(1e9)), (2.0, None), (99.0, Some(5.0))], &[]).html();
        let path = |class: &str| {
            let begin = format!("<path class=\"{class} c1\" d=\"");
            html.split(&begin).nth(1).unwrap().split('"').next().unwrap().to_owned()
        };
        assert_eq!(
            (path("line").as_str(), path("point").as_str()),
            ("M0.0 300.0L100.0 0.0", "M1000.0 50.0h0")
        );
        assert!(html.contains("aria-label=\"Test: &lt;/script&gt; from 0 to 1000000000\""));
        assert_eq!(html.matches("</script>").count(), 1);
    }

    #[test]
    fn times_without_answers_are_shaded_and_told() {
        let mut plot = plot(vec![(0.0, Some(1.0)), (1.0, None), (9.0, Some(1.0))], &[]);
        plot.silences = &[(2.5, 7.0)];
        let html = plot.html();
        assert!(html.contains("<rect class=\"silent\" x=\"250.0\" y=\"0\" width=\"450.0\" height=\"300\">"));
        assert!(html.contains("; no answers from 2.5 s to 7 s\">"), "in words as well");
        assert!(html.contains("</i>no answers</span>"));
    }

    #[test]
    fn nothing_to_draw_is_nothing() {
        assert!(plot(vec![(0.0, None)], &[]).html().is_empty());
        assert!(plot(Vec::new(), &[]).html().is_empty());
    }

    #[test]
    fn names_of_events_do_not_overlap() {
        let event = |at_s: f64| EventFigures { at_s, text: "kill -9 node 2".into() };
        let events = [event(1.0), event(1.1), event(9.9), event(4.0)];
        let html = plot(vec![(0.0, Some(1.0))], &events).html();
        assert!(html.contains("class=\"right\" style=\"left:10.00%;top:0.0em\""));
        assert!(html.contains("class=\"right\" style=\"left:11.00%;top:1.3em\""));
        assert!(html.contains("class=\"left\" style=\"left:99.00%;top:0.0em\""));
        assert_eq!(
            (html.matches("class=\"event\"").count(), html.matches("class=\"number\"").count()),
            (4, 4)
        );
    }
}
