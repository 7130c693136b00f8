//! Running scripts against a target.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

use super::{Script, Step};
use crate::{Frame, Target, frame::quoted};

/// Failures reported for one file; more would only repeat the first.
const MOST_FAILURES: usize = 20;

/// A reply that was not as expected, or a file that could not be run to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The file, below the directory of the scripts.
    pub file: String,
    /// The line of the expectation.
    pub line: usize,
    /// What was asked, expected and answered.
    pub what: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.what)
    }
}

/// What came of running scripts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Files run.
    pub files: usize,
    /// Replies that were as expected.
    pub pairs: usize,
    /// Replies that were left out by `@skip` and `@only`.
    pub skipped: usize,
    /// The others.
    pub failures: Vec<Failure>,
}

impl Summary {
    /// Panics with all failures if there are any, and if nothing was run.
    pub fn assert(&self) {
        let failures: Vec<String> = self.failures.iter().map(Failure::to_string).collect();
        assert!(failures.is_empty(), "{} replies differ:\n\n{}\n", failures.len(), failures.join("\n\n"));
        assert!(self.pairs > 0, "no script was run; is SCRIPT={:?} right?", std::env::var("SCRIPT").ok());
    }

    fn add(&mut self, other: Self) {
        self.files += other.files;
        self.pairs += other.pairs;
        self.skipped += other.skipped;
        self.failures.extend(other.failures);
    }
}

/// Runs every `.txt` file below `directory` in order of their names, printing a line for each. The environment
/// variable `SCRIPT` chooses files by a part of their path (`SCRIPT=hash/`).
///
/// # Errors
/// When a file cannot be read. Everything else is in the summary.
pub fn run_dir(target: &mut dyn Target, directory: &Path) -> io::Result<Summary> {
    let wanted = std::env::var("SCRIPT").unwrap_or_default();
    let mut files = Vec::new();
    collect(directory, &mut files)?;
    files.sort();
    let mut total = Summary::default();
    for file in files {
        let name = file.strip_prefix(directory).unwrap_or(&file).to_string_lossy().replace('\\', "/");
        if !name.contains(&wanted) {
            continue;
        }
        let one = run_script(target, &name, &fs::read_to_string(&file)?);
        let skipped = if one.skipped > 0 { format!(", {} skipped", one.skipped) } else { String::new() };
        let failed = one.failures.len();
        let verdict = if failed > 0 { format!(", {failed} FAILED") } else { String::new() };
        println!("{} {name}: {} pairs{skipped}{verdict}", target.name(), one.pairs);
        total.add(one);
    }
    println!("{}: {} files, {} pairs, {} skipped", target.name(), total.files, total.pairs, total.skipped);
    Ok(total)
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|e| e == "txt") {
            files.push(path);
        }
    }
    Ok(())
}

/// Runs one script; `name` stands for it in messages.
pub fn run_script(target: &mut dyn Target, name: &str, text: &str) -> Summary {
    let mut summary = Summary { files: 1, ..Summary::default() };
    let fail = |line: usize, what: String| vec![Failure { file: name.to_owned(), line, what }];
    let script = match Script::parse(text) {
        Ok(script) => script,
        Err((line, what)) => return Summary { failures: fail(line, what), ..summary },
    };
    if let Err(error) = target.begin() {
        return Summary { failures: fail(1, format!("the session did not begin: {error}")), ..summary };
    }
    let mut session = Session { target, name, former: Vec::new(), summary: &mut summary };
    session.run(&script);
    let former = std::mem::take(&mut session.former);
    for (line, setting, value) in former.into_iter().rev() {
        if let Err(error) = target.configure(&setting, &value) {
            summary.failures.extend(fail(line, format!("'{setting}' could not be set back: {error}")));
        }
    }
    summary
}

/// One file being run.
struct Session<'a> {
    target: &'a mut dyn Target,
    name: &'a str,
    /// Settings to undo: the line, the name, the former value.
    former: Vec<(usize, String, String)>,
    summary: &'a mut Summary,
}

impl Session<'_> {
    fn run(&mut self, script: &Script) {
        let mut skipping = false;
        for step in &script.steps {
            if let Step::Skip(targets, _) | Step::Only(targets, _) = step {
                let named = targets.iter().any(|t| t == self.target.name());
                skipping |= named == matches!(step, Step::Skip(..));
            }
            if skipping {
                self.summary.skipped +=
                    if let Step::Request { replies, .. } = step { replies.len() } else { 0 };
            } else if !self.step(step) || self.summary.failures.len() >= MOST_FAILURES {
                return;
            }
        }
    }

    /// Whether the script can go on.
    fn step(&mut self, step: &Step) -> bool {
        let (line, done) = match step {
            Step::Skip(..) | Step::Only(..) => return true,
            Step::Speak(line, version) => (*line, self.target.speak(*version)),
            Step::Config(line, setting, value) => {
                let old = self.target.configure(setting, value);
                (*line, old.map(|old| self.former.push((*line, setting.clone(), old))))
            }
            Step::Request { line, args, replies } => (*line, self.request(args, replies)),
        };
        if let Err(error) = &done {
            self.fail(line, format!("{error}; the rest of the file is not run"));
        }
        done.is_ok()
    }

    fn request(&mut self, args: &[Vec<u8>], replies: &[(usize, super::Expect)]) -> io::Result<()> {
        for (i, (line, expected)) in replies.iter().enumerate() {
            let got = if i == 0 { self.target.call(args)? } else { self.target.receive()? };
            if expected.matches(&got) {
                self.summary.pairs += 1;
            } else {
                self.fail(*line, difference(args, &expected.to_string(), &got));
            }
        }
        Ok(())
    }

    fn fail(&mut self, line: usize, what: String) {
        self.summary.failures.push(Failure { file: self.name.to_owned(), line, what });
    }
}

fn difference(args: &[Vec<u8>], expected: &str, got: &Frame) -> String {
    let words: Vec<String> = args.iter().map(|arg| word(arg)).collect();
    let block = |text: &str| text.replace('\n', "\n            ");
    format!("{}\n  expected: {}\n  got:      {}", words.join(" "), block(expected), block(&got.to_string()))
}

fn word(arg: &[u8]) -> String {
    let plain =
        !arg.is_empty() && arg.iter().all(|c| c.is_ascii_graphic() && !matches!(c, b'"' | b'\'' | b'\\'));
    if plain { String::from_utf8_lossy(arg).into_owned() } else { quoted(arg) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers each command with its last argument, read as RESP.
    struct Parrot(Vec<String>);

    impl Target for Parrot {
        fn name(&self) -> &str {
            "parrot"
        }
        fn begin(&mut self) -> io::Result<()> {
            Ok(())
        }
        fn call(&mut self, args: &[Vec<u8>]) -> io::Result<Frame> {
            Frame::parse(args.last().map_or(b"", Vec::as_slice))
        }
        fn configure(&mut self, name: &str, value: &str) -> io::Result<String> {
            self.0.push(format!("{name} {value}"));
            Ok("old".to_owned())
        }
    }

    #[test]
    fn pairs_are_counted_and_differences_are_shown() {
        let text = "> X \"+OK\\r\\n\"\n< +OK\n> X \"*1\\r\\n:2\\r\\n\"\n< *1\n<   :3\n@skip parrot why\n> X ':1'\n< :1\n";
        let summary = run_script(&mut Parrot(vec![]), "a.txt", text);
        assert_eq!((summary.pairs, summary.skipped, summary.failures.len()), (1, 1, 1));
        let shown = summary.failures[0].to_string();
        let wanted = "a.txt:4: X \"*1\\r\\n:2\\r\\n\"\n  expected: *1\n              :3\n  got:      *1\n              :2";
        assert_eq!(shown, wanted);
    }

    #[test]
    fn settings_are_undone_in_reverse_order() {
        let mut parrot = Parrot(vec![]);
        let summary = run_script(&mut parrot, "a.txt", "@config a 1\n@config b '2 3'\n");
        assert!(summary.failures.is_empty());
        assert_eq!(parrot.0, ["a 1", "b 2 3", "b old", "a old"]);
    }

    #[test]
    fn only_means_not_the_others() {
        let summary = run_script(
            &mut Parrot(vec![]),
            "a",
            "@only parrot x\n> X \":1\\r\\n\"\n< :1\n@only core x\n> X x\n< :1\n",
        );
        assert_eq!((summary.pairs, summary.skipped, summary.failures.len()), (1, 1, 0));
    }

    #[test]
    fn a_broken_target_ends_the_file() {
        let summary = run_script(&mut Parrot(vec![]), "a", "> X nonsense\n< :1\n> X nonsense\n< :1\n");
        assert_eq!(summary.failures.len(), 1);
    }
}
