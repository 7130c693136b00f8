//! One or several runs put side by side, as `compare` measures them and `report` reads them; also their JSON.

use serde::{Deserialize, Serialize};

use super::figures::Figures;
use crate::compare::Comparison;

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
    fn names_differ() {
        let run = |name: &str| Run { name: name.into(), figures: Figures::default() };
        let mut runs = Runs { runs: ["a", "b", "a", "a"].map(run).to_vec(), ..Runs::default() };
        runs.tell_apart();
        let names: Vec<&str> = runs.runs.iter().map(|run| run.name.as_str()).collect();
        assert_eq!(names, ["a", "b", "a (2)", "a (3)"]);
    }
}
