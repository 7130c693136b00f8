//! What `verify` says, for other programs: the JSON of `verify --json`.

use serde::Serialize;

use super::scenario::{HistoryFigures, HistoryLine};
use crate::verify::check::{around, telling};
use crate::verify::driver::{Recorded, Settings};
use crate::verify::history::Violation;

/// How many operations of a key are told with a violation.
pub const HISTORY: usize = 30;

/// Everything that a check found.
#[derive(Clone, Debug, Serialize)]
pub struct VerifyReport {
    /// Nothing wrong was found, and nothing speaks against that.
    pub passed: bool,
    /// The servers as given.
    pub targets: Vec<String>,
    /// Name and version of each.
    pub servers: Vec<String>,
    /// Requests went to the owners of their keys.
    pub cluster: bool,
    /// Connections.
    pub connections: u32,
    /// Requests under way per connection.
    pub pipeline: usize,
    /// Keys.
    pub keys: u32,
    /// The least length of values in bytes.
    pub value_size: usize,
    /// The seed of what was asked.
    pub seed: u64,
    /// How long operations were made and read back, in seconds.
    pub took_s: f64,
    /// How long it took to check them.
    pub checked_s: f64,
    /// The user ended it early.
    pub interrupted: bool,
    /// It ended early since no more operations are kept, in one sentence.
    pub ended_early: Option<String>,
    /// Operations written down: all but reads without an answer.
    pub operations: u64,
    /// Those of them that were answered.
    pub answered: u64,
    /// Requests without an answer, with an error for one, or whose answer is not known to be theirs.
    pub unanswered: u64,
    /// Error replies and broken connections.
    pub failures: u64,
    /// The first of them.
    pub first_failure: Option<String>,
    /// What is wrong: each kind and how often it was found.
    pub violations: Vec<(String, u64)>,
    /// How the first corrupt value differs from what it should be.
    pub first_corruption: Option<String>,
    /// As many of what is wrong as `--show` says, one of each kind first, with what was done to the key around it.
    pub histories: Vec<HistoryFigures>,
    /// Keys that could not be read back at the end.
    pub unread: u64,
    /// Why.
    pub why_unread: Option<String>,
    /// No server answered for so long that it was given up.
    pub gave_up: bool,
    /// Why it is not known that all is well even where nothing wrong was found, one sentence each.
    pub doubts: Vec<String>,
}

impl VerifyReport {
    /// Of what was recorded and found; what the caller knows besides is left empty.
    pub fn new(settings: &Settings, recorded: &Recorded, violations: &[Violation], show: usize) -> Self {
        let answered = recorded.operations.iter().filter(|operation| operation.is_answered()).count();
        Self {
            passed: false,
            targets: settings.servers.iter().map(|server| server.name.to_string()).collect(),
            servers: Vec::new(),
            cluster: settings.cluster,
            connections: settings.clients,
            pipeline: settings.pipeline,
            keys: settings.keys,
            value_size: settings.value_size,
            seed: settings.seed,
            took_s: 0.0,
            checked_s: 0.0,
            interrupted: false,
            ended_early: None,
            operations: recorded.operations.len() as u64,
            answered: answered as u64,
            unanswered: recorded.unanswered,
            failures: recorded.failures,
            first_failure: recorded.first_failure.clone(),
            violations: kinds(violations),
            first_corruption: recorded.first_corruption.clone(),
            histories: histories(recorded, violations, show),
            unread: recorded.unread,
            why_unread: recorded.why_unread.clone(),
            gave_up: recorded.gave_up,
            doubts: Vec::new(),
        }
    }
}

/// Each kind of what is wrong and how often it was found.
pub fn kinds(violations: &[Violation]) -> Vec<(String, u64)> {
    let mut kinds: Vec<_> = violations.iter().map(|violation| violation.wrong).collect();
    kinds.sort();
    kinds.chunk_by(|a, b| a == b).map(|same| (same[0].to_string(), same.len() as u64)).collect()
}

/// At most so many of what is wrong, with what was done to their keys.
pub fn histories(recorded: &Recorded, violations: &[Violation], most: usize) -> Vec<HistoryFigures> {
    let told = telling(violations, most).into_iter().map(|violation| {
        let lines = around(&recorded.operations, violation, HISTORY).into_iter().map(|operation| {
            let guilty = violation.operations.contains(&operation);
            HistoryLine { text: operation.to_string(), guilty }
        });
        let key = violation.operations[0].key;
        HistoryFigures { wrong: violation.wrong.to_string(), key, operations: lines.collect() }
    });
    told.collect()
}
