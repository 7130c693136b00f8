//! What came of a scenario: step by step, claim by claim.

use serde::Serialize;

use super::record::Window;
use crate::report::figures::Figures;
use crate::report::number::{count, plain};
use crate::verify::history::Violation;

/// Everything a report says about a scenario.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
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
    pub steps: Vec<StepReport>,
    /// Steps that were not done.
    pub skipped: usize,
    /// What the checker found, if it ran.
    pub verify: Option<VerifyReport>,
    /// The load's figures over the whole scenario, if there was load.
    pub figures: Option<Figures>,
    /// Where the servers' logs are; empty if they were removed.
    pub logs: String,
}

/// One step.
#[derive(Clone, Debug, Serialize)]
pub struct StepReport {
    /// Its name, if it has one.
    pub name: Option<String>,
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
    /// Its claims.
    pub claims: Vec<ClaimReport>,
    /// The figures that its claims are about.
    pub window: Option<Window>,
}

/// One claim.
#[derive(Clone, Debug, Serialize)]
pub struct ClaimReport {
    /// As written.
    pub claim: String,
    /// It is true.
    pub passed: bool,
    /// What was measured.
    pub measured: String,
}

/// What the checker found.
#[derive(Clone, Debug, Serialize)]
pub struct VerifyReport {
    /// Operations written down.
    pub operations: u64,
    /// Error replies and broken connections.
    pub failures: u64,
    /// The first of them.
    pub first_failure: Option<String>,
    /// What is wrong, by kind.
    pub violations: Vec<(String, u64)>,
    /// Keys that could not be read back when it was looked at for the last time.
    pub unread: u64,
    /// Some claim of the scenario is about it.
    pub claimed: bool,
}

impl StepReport {
    /// The step as lines for a terminal.
    pub fn lines(&self) -> String {
        let mark = if self.passed { "ok  " } else { "FAIL" };
        let mut out = format!("{:>8.2} s  {mark}  {}", self.at_s, self.step);
        if !self.detail.is_empty() {
            out.push_str(&format!(": {}", self.detail));
        }
        if !self.claims.is_empty() {
            out = format!("{:>8.2} s  {mark}  assert{}", self.at_s, self.when());
        }
        for claim in &self.claims {
            let verdict = if claim.passed { "PASS" } else { "FAIL" };
            out.push_str(&format!("\n            {verdict}  {:<28} {}", claim.claim, claim.measured));
        }
        out
    }

    fn when(&self) -> String {
        let window = self.window.as_ref();
        window.map(|w| format!(" from {:.2} s to {:.2} s", w.from_s, w.until_s)).unwrap_or_default()
    }
}

impl Report {
    /// The last lines on a terminal.
    pub fn summary(&self) -> String {
        let claims: Vec<_> = self.steps.iter().flat_map(|step| &step.claims).collect();
        let true_ones = claims.iter().filter(|claim| claim.passed).count();
        let mut out = String::new();
        if let Some(verify) = &self.verify {
            out.push_str(&format!("verify     {} operations", count(verify.operations)));
            if verify.failures > 0 {
                let first = plain(verify.first_failure.as_deref().unwrap_or_default());
                out.push_str(&format!(", {} failures (the first: {first})", count(verify.failures)));
            }
            let kinds: Vec<String> = verify
                .violations
                .iter()
                .map(|(kind, number)| format!("{} x {kind}", count(*number)))
                .collect();
            let found = if kinds.is_empty() { "nothing wrong found".into() } else { kinds.join(", ") };
            let aside = if verify.claimed || kinds.is_empty() {
                ""
            } else {
                " (violations are not claimed here, so they change nothing in the verdict)"
            };
            out.push_str(&format!(", {found}{aside}"));
            if verify.unread > 0 {
                out.push_str(&format!(", {} keys could not be read back", count(verify.unread)));
            }
            out.push('\n');
        }
        let interrupted = if self.interrupted { ", interrupted" } else { "" };
        let skipped =
            if self.skipped > 0 { format!(", {} steps not done", self.skipped) } else { String::new() };
        out.push_str(&format!(
            "{}  {} in {:.1} s: {} steps, {true_ones} of {} claims true{skipped}{interrupted}\n",
            if self.passed { "PASS" } else { "FAIL" },
            self.scenario,
            self.took_s,
            self.steps.len(),
            claims.len(),
        ));
        out
    }
}

/// Violations by kind.
pub fn by_kind(violations: &[Violation]) -> Vec<(String, u64)> {
    let mut kinds: Vec<_> = violations.iter().map(|violation| violation.wrong).collect();
    kinds.sort();
    kinds.chunk_by(|a, b| a == b).map(|same| (same[0].to_string(), same.len() as u64)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn violations_that_nobody_claims_are_told() {
        let verify = |claimed, found: &[(&str, u64)]| VerifyReport {
            operations: 10,
            failures: 0,
            first_failure: None,
            violations: found.iter().map(|(kind, number)| ((*kind).to_owned(), *number)).collect(),
            unread: 7,
            claimed,
        };
        let summary = |verify| {
            let report = Report {
                scenario: "s".into(),
                about: String::new(),
                passed: true,
                interrupted: false,
                took_s: 1.0,
                steps: Vec::new(),
                skipped: 0,
                verify: Some(verify),
                figures: None,
                logs: String::new(),
            };
            report.summary().lines().next().unwrap_or_default().to_owned()
        };
        let aside = "violations are not claimed here";
        assert!(summary(verify(false, &[("stale reads", 2)])).contains(aside));
        assert!(!summary(verify(true, &[("stale reads", 2)])).contains(aside));
        assert!(!summary(verify(false, &[])).contains(aside));
        assert!(
            summary(verify(false, &[])).ends_with(", nothing wrong found, 7 keys could not be read back")
        );
    }
}
