//! Latencies written as an HdrHistogram log while they are measured, if one is wanted.

use std::path::{Path, PathBuf};

use super::hlog::{EXTENSION, Log};
use super::steps::Steps;
use crate::error::Error;
use crate::requests::Requests;
use crate::series::Second;
use crate::tally::Tally;
use crate::workload::Workload;

/// A log, or none if none is wanted; the first failure is kept until the run is over. Also the steps of a rate.
#[derive(Debug, Default)]
pub struct Recorder {
    log: Option<Log>,
    failure: Option<Error>,
    /// What was counted in each step of a stepped rate.
    pub steps: Steps,
}

impl Recorder {
    /// Creates the file, if one is wanted, for what `workload` will ask.
    pub fn new(path: Option<&Path>, workload: &Workload) -> Result<Self, Error> {
        let Some(path) = path else { return Ok(Self::default()) };
        let requests = Requests::new(workload, 0, 1).map_err(Error::Usage)?;
        let labels: Vec<String> = requests.commands().iter().map(|command| command.label.clone()).collect();
        Ok(Self { log: Some(Log::create(path, &labels)?), ..Self::default() })
    }

    /// Takes what was counted in a second.
    pub fn second(&mut self, second: &Second, counted: &Tally) {
        self.steps.second(second, counted);
        if let (Some(log), None) = (&mut self.log, &self.failure) {
            self.failure = log.second(second.second, counted).err();
        }
    }

    /// The second with number 0 of the run that begins now is this one of the log.
    pub fn begin_at(&mut self, second: u64) {
        if let Some(log) = &mut self.log {
            log.begin_at(second);
        }
    }

    /// A run is over, and the next one follows in the same log.
    pub fn next_run(&mut self) {
        if let Some(log) = &mut self.log {
            log.next_run();
        }
    }

    /// Ends the log and tells what went wrong with it.
    pub fn finish(self) -> Result<(), Error> {
        match (self.failure, self.log) {
            (Some(failure), _) => Err(failure),
            (None, Some(log)) => log.finish(),
            (None, None) => Ok(()),
        }
    }
}

/// The log of one of several servers: `out.hlog` becomes `out.NAME.hlog`.
pub fn path_for(path: &Path, name: &str) -> PathBuf {
    let plain = |c: char| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '_' };
    let name: String = name.chars().map(plain).collect();
    let extension = path.extension().map_or(EXTENSION.into(), |extension| extension.to_string_lossy());
    path.with_extension(format!("{name}.{extension}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_server_has_a_log() {
        let path = |text: &str, name: &str| path_for(Path::new(text), name).display().to_string();
        assert_eq!(path("d/out.hlog", "redis"), "d/out.redis.hlog");
        assert_eq!(path("out", "a/b c"), "out.a_b_c.hlog");
    }
}
