//! One or several runs put side by side, as `compare` measures them and `report` reads them; also their JSON.

use serde::{Deserialize, Serialize};

use super::figures::Figures;
use crate::compare::{Comparison, Figure, compare};

/// Runs to be shown together.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Runs {
    /// The name of the run that others are compared to, if they were measured in turns.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub first: String,
    /// Those that were measured in turns with it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<Other>,
    /// Each run; of several rounds all of them as if they were one.
    pub runs: Vec<Run>,
}

/// A run with its name.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Run {
    /// What it is called where there are several.
    pub name: String,
    /// What was measured.
    pub figures: Figures,
}

/// A server compared to the first one, round by round.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Other {
    /// Its name.
    pub name: String,
    /// Figure by figure.
    pub comparisons: Vec<Comparison>,
    /// The rounds' figures, the first server's before the other's.
    pub rounds: Vec<[Figures; 2]>,
}

/// A figure of one round, if it has one: nothing answered is a rate, but no latency.
fn value(round: &Figures, figure: Figure) -> Option<f64> {
    let (total, server) = (&round.total, round.server.as_ref());
    let value = match figure {
        Figure::Rate => return Some(total.per_s),
        Figure::ServerCpu => server.map_or(0.0, |server| server.cpu_us),
        Figure::P50 => total.p50_us,
        Figure::P99 => total.p99_us,
        Figure::P999 => total.p999_us,
    };
    (value > 0.0).then_some(value)
}

impl Other {
    /// Compares a server to the first one, round by round.
    pub fn new(name: &str, rounds: Vec<[Figures; 2]>) -> Self {
        let values = |side: usize, figure| -> Vec<Option<f64>> {
            rounds.iter().map(|round| value(&round[side], figure)).collect()
        };
        let comparisons = Figure::ALL
            .into_iter()
            .filter_map(|figure| compare(figure, &values(0, figure), &values(1, figure)))
            .collect();
        Self { name: name.to_owned(), comparisons, rounds }
    }

    /// Which rounds are missing in the comparison, one sentence each, and why.
    pub fn gaps(&self) -> Vec<String> {
        let has = |side: usize, figure| self.rounds.iter().any(|round| value(&round[side], figure).is_some());
        let of = |figure| self.comparisons.iter().find(|comparison| comparison.figure == figure);
        let mut gaps: Vec<(String, Vec<&str>)> = Vec::new();
        let mut add = |why: String, figure: Figure| match gaps.iter_mut().find(|(known, _)| *known == why) {
            Some((_, names)) => names.push(figure.name()),
            None => gaps.push((why, vec![figure.name()])),
        };
        for figure in Figure::ALL {
            match of(figure) {
                Some(Comparison { rounds, of, .. }) if rounds < of => {
                    add(format!("compared in {rounds} of {of} rounds, where both have it"), figure);
                }
                Some(_) => {}
                None if has(0, figure) || has(1, figure) => {
                    add("not compared: there is no round in which both have it".into(), figure);
                }
                // Of servers elsewhere nobody knows what they used.
                None => {}
            }
        }
        gaps.into_iter().map(|(why, names)| format!("{}: {why}", names.join(", "))).collect()
    }
}

impl Runs {
    /// A run alone.
    pub fn one(figures: Figures) -> Self {
        Self { runs: vec![Run { name: String::new(), figures }], ..Self::default() }
    }

    /// Gives names that differ to runs that are called the same.
    pub fn tell_apart(&mut self) {
        for index in 0..self.runs.len() {
            let same = |name: &str| self.runs[..index].iter().any(|run| run.name == name);
            if same(&self.runs[index].name) {
                let numbered = (2..).map(|number| format!("{} ({number})", self.runs[index].name));
                let free = numbered.into_iter().find(|name| !same(name));
                self.runs[index].name = free.expect("numbers do not end");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_told_with_their_figures() {
        use crate::report::figures::{CommandFigures, ServerFigures};
        let round = |per_s: f64, cpu_us: f64| Figures {
            total: CommandFigures {
                per_s,
                p50_us: per_s,
                p99_us: per_s,
                p999_us: per_s,
                ..CommandFigures::default()
            },
            server: (cpu_us > 0.0).then(|| ServerFigures { cpu_us, ..ServerFigures::default() }),
            ..Figures::default()
        };
        let good = || [round(100.0, 1.0), round(50.0, 2.0)];
        let dead = || [round(100.0, 1.0), round(0.0, 0.0)];
        let figures = |other: &Other| -> Vec<(&'static str, usize)> {
            other.comparisons.iter().map(|one| (one.figure.name(), one.rounds)).collect()
        };
        assert_eq!(Other::new("b", vec![good(), good()]).gaps(), [""; 0]);
        let silent = Other::new("b", vec![good(), dead(), good()]);
        let expected = [("server CPU/op", 2), ("requests/s", 3), ("p50", 2), ("p99", 2), ("p99.9", 2)];
        assert_eq!(figures(&silent), expected);
        assert_eq!(
            silent.gaps(),
            ["server CPU/op, p50, p99, p99.9: compared in 2 of 3 rounds, where both have it"]
        );
        let gone = Other::new("b", vec![dead(), dead()]);
        assert_eq!(figures(&gone), [("requests/s", 2)]);
        assert_eq!((gone.comparisons[0].other, gone.comparisons[0].ratio), (0.0, 0.0));
        assert_eq!(
            gone.gaps(),
            ["server CPU/op, p50, p99, p99.9: not compared: there is no round in which both have it"]
        );
    }

    #[test]
    fn names_differ() {
        let run = |name: &str| Run { name: name.into(), figures: Figures::default() };
        let mut runs = Runs { runs: ["a", "b", "a", "a"].map(run).to_vec(), ..Runs::default() };
        runs.tell_apart();
        let names: Vec<&str> = runs.runs.iter().map(|run| run.name.as_str()).collect();
        assert_eq!(names, ["a", "b", "a (2)", "a (3)"]);
    }
}
