//! Reads reports back: JSON of `run`, `compare`, `scenario` and `report`, and HdrHistogram logs.
//!
//! Fields that an older version did not write are empty; a file that is something else is told by what it lacks.

use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::figures::Figures;
use super::hlog;
use super::runs::{Run, Runs};
use crate::error::Error;
use crate::input;

/// Reads one file.
pub fn read(path: &Path) -> Result<Runs, Error> {
    let name = path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
    if path.extension().is_some_and(|extension| extension == hlog::EXTENSION) {
        return Ok(Runs { runs: vec![Run { name, figures: hlog::read(path)? }], ..Runs::default() });
    }
    let text = input::text(path)?;
    json(&path.display().to_string(), name, &text)
}

/// Reads several files and puts all their runs side by side.
pub fn read_all(paths: &[impl AsRef<Path>]) -> Result<Runs, Error> {
    let mut all = Runs::default();
    for path in paths {
        let mut runs = read(path.as_ref())?;
        if paths.len() == 1 {
            return Ok(runs);
        }
        all.runs.append(&mut runs.runs);
    }
    all.tell_apart();
    Ok(all)
}

/// What is shown of a scenario's JSON.
#[derive(Deserialize)]
struct Scenario {
    figures: Figures,
}

/// What every report of a run has had from the first version on.
const NEEDED: [&str; 4] = ["targets", "commands", "total", "seconds"];

fn json(file: &str, name: String, text: &str) -> Result<Runs, Error> {
    let wrong = |line: usize, message: String| Error::File { file: file.to_owned(), line, message };
    let value: serde_json::Value = parse(file, text)?;
    let Some(object) = value.as_object() else {
        return Err(wrong(1, "this is no report: it holds no object".into()));
    };
    if object.contains_key("others") || object.contains_key("runs") {
        let mut runs: Runs = parse(file, text)?;
        if runs.runs.is_empty() {
            runs.runs = first_rounds(&runs);
        }
        if runs.runs.is_empty() {
            return Err(wrong(1, "there is no run in this report".into()));
        }
        return Ok(runs);
    }
    if let Some(figures) = object.get("figures") {
        // A scenario: its load is a run, if there was one.
        if figures.is_null() {
            return Err(wrong(1, "there was no load in this scenario".into()));
        }
        let Scenario { mut figures } = parse(file, text)?;
        figures.scenario = Some(Box::new(parse(file, text)?));
        return Ok(Runs { runs: vec![Run { name, figures }], ..Runs::default() });
    }
    if let Some(missing) = NEEDED.iter().find(|key| !object.contains_key(**key)) {
        let message = format!("this is no report of a run or a comparison: it has no '{missing}'");
        return Err(wrong(1, message));
    }
    let figures: Figures = parse(file, text)?;
    Ok(Runs { runs: vec![Run { name, figures }], ..Runs::default() })
}

/// The first round of each server, for comparisons written before all rounds were put together.
fn first_rounds(runs: &Runs) -> Vec<Run> {
    let run = |name: &str, figures: &Figures| Run { name: name.to_owned(), figures: figures.clone() };
    let round = |index: usize| {
        move |other: &super::runs::Other| other.rounds.first().map(|pair| run(&other.name, &pair[index]))
    };
    let first = runs.others.iter().find_map(round(0)).map(|first| Run { name: runs.first.clone(), ..first });
    first.into_iter().chain(runs.others.iter().filter_map(round(1))).collect()
}

fn parse<T: DeserializeOwned>(file: &str, text: &str) -> Result<T, Error> {
    serde_json::from_str(text).map_err(|error| {
        // The position is told as that of every other file.
        let message = error.to_string();
        let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(message, _)| message);
        Error::File { file: file.to_owned(), line: error.line().max(1), message: message.to_owned() }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run() -> String {
        let figures = Figures { workload: "w".into(), elapsed_s: 2.0, ..Figures::default() };
        serde_json::to_string_pretty(&figures).unwrap()
    }

    fn read(text: &str) -> Result<Runs, String> {
        json("f.json", "f".into(), text).map_err(|error| error.to_string())
    }

    #[test]
    fn what_was_written_is_read() {
        let runs = read(&run()).unwrap();
        assert_eq!((runs.runs[0].name.as_str(), runs.runs[0].figures.workload.as_str()), ("f", "w"));
        let again = read(&serde_json::to_string(&runs).unwrap()).unwrap();
        assert_eq!(again.runs[0].figures.workload, "w");
        let verify = r#"{"operations": 5, "violations": [["lost write", 2]]}"#;
        let text = format!(
            r#"{{"passed": true, "steps": [{{"step": "kill"}}], "verify": {verify}, "figures": {}}}"#,
            run()
        );
        let figures = read(&text).unwrap().runs.remove(0).figures;
        assert_eq!(figures.workload, "w");
        let scenario = figures.scenario.unwrap();
        assert!(scenario.passed && scenario.steps[0].step == "kill");
        assert_eq!(
            scenario.verify.unwrap().verdict(),
            "2 x lost write (violations are not claimed here, so they change nothing in the verdict)"
        );
        let older = read(&format!("{{\"passed\": true, \"figures\": {}}}", run())).unwrap();
        assert_eq!(older.runs[0].figures.workload, "w");
    }

    #[test]
    fn older_files_are_read() {
        let old = r#"{"targets": ["a:1"], "commands": [], "total": {"command": "all", "answered": 7}, "seconds":
            [{"second": 0, "answered": 7, "unheard_of": 1}]}"#;
        let figures = read(old).unwrap().runs.remove(0).figures;
        assert_eq!((figures.total.answered, figures.seconds[0].answered), (7, 7));
        assert!(figures.endpoints.is_empty() && figures.events.is_empty());
        let round = format!("[{old}, {old}]");
        let compared = format!(
            r#"{{"first": "x", "others": [{{"name": "y", "comparisons": [], "rounds": [{round}]}}]}}"#
        );
        let names: Vec<String> = read(&compared).unwrap().runs.into_iter().map(|run| run.name).collect();
        assert_eq!(names, ["x", "y"]);
    }

    #[test]
    fn mistakes_are_told() {
        for (text, wanted) in [
            ("", "f.json:1: EOF while parsing a value"),
            ("{\n\"a\": }", "f.json:2: expected value"),
            ("[]", "f.json:1: this is no report: it holds no object"),
            (
                r#"{"lookups": 1}"#,
                "f.json:1: this is no report of a run or a comparison: it has no 'targets'",
            ),
            (r#"{"figures": null}"#, "f.json:1: there was no load in this scenario"),
            (r#"{"runs": []}"#, "f.json:1: there is no run in this report"),
        ] {
            assert_eq!(read(text).unwrap_err(), wanted);
        }
        let wrong = run().replace("\"elapsed_s\": 2.0", "\"elapsed_s\": \"two\"");
        let line = wrong.lines().position(|line| line.contains("two")).unwrap() + 1;
        assert_eq!(
            read(&wrong).unwrap_err(),
            format!("f.json:{line}: invalid type: string \"two\", expected f64")
        );
    }
}
