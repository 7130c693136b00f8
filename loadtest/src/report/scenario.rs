//! What a report of a scenario shows besides its load's figures: how it ended, its steps, and what the checker found.
//!
//! These are parts of a scenario's JSON; an older file lacks some of them, which are empty then.

use serde::{Deserialize, Serialize};

use super::figures::ClaimFigures;
use super::number::{count, counted, plain};

/// How a scenario ended.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ScenarioFigures {
    /// The scenario's name.
    pub scenario: String,
    /// One sentence on what it shows.
    pub about: String,
    /// No step and no claim failed, and all were done.
    pub passed: bool,
    /// The user ended it early.
    pub interrupted: bool,
    /// How long all of it took, in seconds.
    pub took_s: f64,
    /// The steps that were done.
    pub steps: Vec<StepFigures>,
    /// Steps that were not done.
    pub skipped: usize,
    /// What the checker found, if it ran.
    pub verify: Option<VerifyFigures>,
}

/// A step that was done.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct StepFigures {
    /// What it did.
    pub step: String,
    /// When it began, in seconds since the scenario began.
    pub at_s: f64,
    /// How long it took.
    pub took_s: f64,
    /// It did what it should, and its claims are true.
    pub passed: bool,
    /// What there is to say about it.
    pub detail: String,
    /// Where it is written, as `FILE:LINE`.
    pub place: String,
}

/// What the checker found.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct VerifyFigures {
    /// Operations written down.
    pub operations: u64,
    /// Those of them that were answered.
    pub answered: u64,
    /// Error replies and broken connections.
    pub failures: u64,
    /// The first of them.
    pub first_failure: Option<String>,
    /// What is wrong, by kind.
    pub violations: Vec<(String, u64)>,
    /// Keys that could not be read back when it was looked at for the last time.
    pub unread: u64,
    /// It ended early since it keeps no more operations.
    pub full: bool,
    /// Why that nothing wrong was found proves nothing, if that is so.
    pub doubt: Option<String>,
    /// Some claim of the scenario is about it.
    pub claimed: bool,
    /// The kinds of what is wrong that no claim is about.
    pub not_claimed: Vec<String>,
    /// Some of what is wrong, one of each kind first.
    pub histories: Vec<HistoryFigures>,
}

/// Something wrong, and what was done to its key around it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HistoryFigures {
    /// What is wrong.
    pub wrong: String,
    /// The key's number.
    pub key: u32,
    /// The operations in order of their beginning.
    pub operations: Vec<HistoryLine>,
}

/// An operation on a key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HistoryLine {
    /// Who sent it and when, what it was and what was answered.
    pub text: String,
    /// It is one of those that cannot all be right.
    pub guilty: bool,
}

impl ScenarioFigures {
    /// The last lines on a terminal.
    pub fn summary(&self, claims: &[ClaimFigures]) -> String {
        let mut out = String::new();
        if let Some(verify) = &self.verify {
            let mut parts = vec![counted(verify.operations, "operation", "operations")];
            parts.extend(verify.failures());
            parts.push(verify.verdict());
            out.push_str(&format!("verify     {}\n", parts.join(", ")));
        }
        let interrupted = if self.interrupted { ", interrupted" } else { "" };
        let skipped = match self.skipped as u64 {
            0 => String::new(),
            skipped => format!(", {} not done", counted(skipped, "step", "steps")),
        };
        out.push_str(&format!(
            "{}  {} in {:.1} s: {}, {} of {} true{skipped}{interrupted}\n",
            if self.passed { "PASS" } else { "FAIL" },
            self.scenario,
            self.took_s,
            counted(self.steps.len() as u64, "step", "steps"),
            claims.iter().filter(|claim| claim.passed).count(),
            counted(claims.len() as u64, "claim", "claims"),
        ));
        out
    }
}

impl VerifyFigures {
    /// True if all was checked and nothing is wrong.
    pub fn is_well(&self) -> bool {
        self.violations.is_empty() && self.doubt.is_none() && self.unread == 0
    }

    /// True if some claim is about this kind of what is wrong.
    pub fn claims(&self, kind: &str) -> bool {
        self.claimed && !self.not_claimed.iter().any(|other| other == kind)
    }

    /// True if all was checked, and nothing is wrong that a claim is about.
    pub fn is_as_claimed(&self) -> bool {
        let counts = |(kind, _): &(String, u64)| !self.claimed || self.claims(kind);
        !self.violations.iter().any(counts) && self.doubt.is_none() && self.unread == 0
    }

    /// What was found, on one line.
    pub fn verdict(&self) -> String {
        let kinds: Vec<String> = self
            .violations
            .iter()
            .map(|(kind, number)| {
                let aside = if self.claimed && !self.claims(kind) { " (not claimed)" } else { "" };
                format!("{} x {kind}{aside}", count(*number))
            })
            .collect();
        let mut text = match &self.doubt {
            Some(doubt) => plain(doubt),
            None if kinds.is_empty() => "nothing wrong found".into(),
            None => kinds.join(", "),
        };
        if !self.claimed && !kinds.is_empty() {
            text.push_str(" (violations are not claimed here, so they change nothing in the verdict)");
        }
        if self.unread > 0 {
            text.push_str(&format!(", {} could not be read back", counted(self.unread, "key", "keys")));
        }
        if self.full {
            text.push_str(", ended early since it keeps no more operations");
        }
        text
    }

    /// What went unanswered, if anything did.
    pub fn failures(&self) -> Option<String> {
        let first = plain(self.first_failure.as_deref().unwrap_or_default());
        let failures = || counted(self.failures, "failure", "failures");
        (self.failures > 0).then(|| format!("{} (the first: {first})", failures()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verdict_tells_what_was_found() {
        let verify = |claimed, found: &[(&str, u64)]| VerifyFigures {
            operations: 10,
            violations: found.iter().map(|(kind, number)| ((*kind).to_owned(), *number)).collect(),
            claimed,
            ..VerifyFigures::default()
        };
        let aside = "violations are not claimed here";
        assert!(
            verify(false, &[("stale read", 2)]).verdict().starts_with("2 x stale read (violations are not")
        );
        assert_eq!(
            verify(true, &[("stale read", 2), ("lost write", 1)]).verdict(),
            "2 x stale read, 1 x lost write"
        );
        assert!(!verify(false, &[]).verdict().contains(aside) && verify(false, &[]).is_well());
        let some = VerifyFigures {
            not_claimed: vec!["lost write".into()],
            ..verify(true, &[("stale read", 2), ("lost write", 1)])
        };
        assert_eq!(some.verdict(), "2 x stale read, 1 x lost write (not claimed)");
        assert!(!some.is_as_claimed() && some.claims("stale read") && !some.claims("lost write"));
        let lost = VerifyFigures { violations: vec![("lost write".into(), 1)], ..some };
        assert!(lost.is_as_claimed() && !lost.is_well());
        let unread = VerifyFigures { unread: 7, ..verify(false, &[]) };
        assert_eq!(unread.verdict(), "nothing wrong found, 7 keys could not be read back");
        let full = VerifyFigures { full: true, ..verify(true, &[]) };
        assert_eq!(full.verdict(), "nothing wrong found, ended early since it keeps no more operations");
        let doubt = VerifyFigures { doubt: Some("nothing checked: no answer".into()), ..verify(true, &[]) };
        assert_eq!(doubt.verdict(), "nothing checked: no answer");
        assert!(!doubt.is_well() && !unread.is_well() && !verify(true, &[("lost write", 1)]).is_well());
        let failed =
            VerifyFigures { failures: 1, first_failure: Some("refused".into()), ..verify(true, &[]) };
        assert_eq!(failed.failures().as_deref(), Some("1 failure (the first: refused)"));
    }
}
