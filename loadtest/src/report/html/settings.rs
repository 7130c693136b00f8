//! How runs were measured: what several have in common, and in what they differ.

use crate::report::figures::Figures;
use crate::report::number::counted;
use crate::report::runs::Run;

/// A setting that is not the same in all runs.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Differing {
    /// What it is called.
    pub(super) name: &'static str,
    /// In the order of the runs; empty where it is not known.
    pub(super) values: Vec<String>,
}

/// What all runs have in common, in words, and in what they differ.
pub(super) fn of(runs: &[Run]) -> (Vec<String>, Vec<Differing>) {
    let (mut common, mut differing) = (Vec::new(), Vec::new());
    let all: Vec<[(&'static str, String); SETTINGS]> =
        runs.iter().map(|run| settings(&run.figures)).collect();
    for index in 0..SETTINGS {
        let values: Vec<String> = all.iter().map(|settings| settings[index].1.clone()).collect();
        match values.first() {
            Some(first) if values.iter().all(|value| value == first) => {
                common.extend((!first.is_empty()).then(|| first.clone()));
            }
            Some(_) => differing.push(Differing { name: all[0][index].0, values }),
            None => {}
        }
    }
    (common, differing)
}

/// The servers' names, each once.
pub(super) fn servers(figures: &Figures) -> String {
    let mut servers: Vec<&str> =
        figures.servers.iter().map(String::as_str).filter(|name| !name.is_empty()).collect();
    servers.dedup();
    servers.join(" \u{b7} ")
}

const SETTINGS: usize = 10;

/// Each setting by its name, empty where it is not known: figures from a log know nothing of the generator.
fn settings(figures: &Figures) -> [(&'static str, String); SETTINGS] {
    let of_load = |text: String| if figures.connections > 0 { text } else { String::new() };
    let workload = match figures.asked.as_str() {
        "" => figures.workload.clone(),
        asked => format!("{}: {asked}", figures.workload),
    };
    [
        ("target", figures.targets.join(", ")),
        ("server", servers(figures)),
        ("workload", workload),
        ("connections", of_load(counted(figures.connections as u64, "connection", "connections"))),
        ("threads", of_load(counted(figures.threads as u64, "thread", "threads"))),
        ("pipeline", of_load(format!("pipeline {}", figures.pipeline))),
        ("load", of_load(figures.pace())),
        ("counted", format!("{:.1} s", figures.elapsed_s)),
        ("measured on", figures.origin.machine.clone()),
        ("begun", figures.origin.started().unwrap_or_default()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_told_of_each_run_and_the_rest_once() {
        let run = |connections, rates: &[f64], server: &str| Run {
            name: String::new(),
            figures: Figures {
                targets: vec!["a:1".into()],
                servers: vec![server.into()],
                workload: "w".into(),
                connections,
                threads: 1,
                pipeline: 16,
                rates: rates.to_vec(),
                elapsed_s: 10.0,
                ..Figures::default()
            },
        };
        let same = run(50, &[], "redis 7");
        let (common, differing) = of(&[same.clone(), same.clone()]);
        assert_eq!(
            common,
            ["a:1", "redis 7", "w", "50 connections", "1 thread", "pipeline 16", "closed loop", "10.0 s"]
        );
        assert!(differing.is_empty());
        let (common, differing) = of(&[same, run(1, &[5000.0], "")]);
        assert_eq!(common, ["a:1", "w", "1 thread", "pipeline 16", "10.0 s"]);
        let names: Vec<&str> = differing.iter().map(|setting| setting.name).collect();
        assert_eq!(names, ["server", "connections", "load"]);
        assert_eq!(differing[0].values, ["redis 7", ""]);
        assert_eq!(differing[1].values, ["50 connections", "1 connection"]);
        assert_eq!(differing[2].values, ["closed loop", "open loop at 5,000 requests/s"]);
    }
}
