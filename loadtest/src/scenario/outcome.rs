//! What came of a scenario: step by step, claim by claim.

use serde::Serialize;

use super::record::Window;
use crate::report::figures::{ClaimFigures, Figures};
use crate::report::scenario::{ScenarioFigures, StepFigures, VerifyFigures};

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
    pub verify: Option<VerifyFigures>,
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
    /// Where it is written, as `FILE:LINE`.
    pub place: String,
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
        if !self.passed {
            out.push_str(&format!(" ({})", self.place));
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
    /// What a report says of it besides the load's figures.
    fn ended(&self) -> ScenarioFigures {
        let step = |step: &StepReport| StepFigures {
            step: step.step.clone(),
            at_s: step.at_s,
            took_s: step.took_s,
            passed: step.passed,
            detail: step.detail.clone(),
            place: step.place.clone(),
        };
        ScenarioFigures {
            scenario: self.scenario.clone(),
            about: self.about.clone(),
            passed: self.passed,
            interrupted: self.interrupted,
            took_s: self.took_s,
            steps: self.steps.iter().map(step).collect(),
            skipped: self.skipped,
            verify: self.verify.clone(),
        }
    }

    /// The load's figures with what a page of them says of the scenario, if there was load.
    pub fn page(&self) -> Option<Figures> {
        self.figures.clone().map(|figures| Figures { scenario: Some(Box::new(self.ended())), ..figures })
    }

    /// The last lines on a terminal.
    pub fn summary(&self) -> String {
        let claim = |claim: &ClaimReport| ClaimFigures {
            claim: claim.claim.clone(),
            measured: claim.measured.clone(),
            passed: claim.passed,
            ..ClaimFigures::default()
        };
        let claims: Vec<_> = self.steps.iter().flat_map(|step| &step.claims).map(claim).collect();
        self.ended().summary(&claims)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_is_told_with_its_place() {
        let step = StepReport {
            name: None,
            step: "kill redis".into(),
            place: "s.toml:7".into(),
            at_s: 1.0,
            took_s: 0.5,
            passed: false,
            detail: "redis does not run".into(),
            claims: Vec::new(),
            window: None,
        };
        assert_eq!(step.lines(), "    1.00 s  FAIL  kill redis: redis does not run (s.toml:7)");
        assert!(!StepReport { passed: true, ..step.clone() }.lines().contains("s.toml"));
        let claim = |passed| ClaimReport { claim: "errors = 0".into(), passed, measured: "1".into() };
        let failed = StepReport { claims: vec![claim(false)], ..step.clone() };
        assert!(failed.lines().starts_with("    1.00 s  FAIL  assert (s.toml:7)\n"), "{}", failed.lines());
        let report = Report {
            scenario: "s".into(),
            about: String::new(),
            passed: false,
            interrupted: false,
            took_s: 1.0,
            steps: vec![StepReport { claims: vec![claim(true)], ..step }],
            skipped: 1,
            verify: Some(VerifyFigures { operations: 1, failures: 2, unread: 7, ..VerifyFigures::default() }),
            figures: Some(Figures::default()),
            logs: String::new(),
        };
        let summary = report.summary();
        let lines: Vec<&str> = summary.lines().collect();
        assert_eq!(
            lines,
            [
                "verify     1 operation, 2 failures (the first: ), nothing wrong found, 7 keys could not be read back",
                "FAIL  s in 1.0 s: 1 step, 1 of 1 claim true, 1 step not done"
            ]
        );
        let page = report.page().unwrap().scenario.unwrap();
        assert_eq!((page.steps[0].place.as_str(), page.verify.unwrap().unread), ("s.toml:7", 7));
    }
}
