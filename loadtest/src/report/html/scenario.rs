//! What the page says of a scenario: how it ended, its claims and steps, and what the checker found.

use super::tables::{errors, facts, table};
use super::{escape, push};
use crate::report::figures::{ClaimFigures, Figures};
use crate::report::number::{count, counted};
use crate::report::scenario::{HistoryFigures, StepFigures, VerifyFigures};

/// Whether it passed, in one line; nothing if this is no scenario.
pub(super) fn verdict(figures: &Figures) -> String {
    let Some(scenario) = &figures.scenario else { return String::new() };
    let mark = if scenario.passed { "<b class=\"good\">PASS</b>" } else { "<b class=\"bad\">FAIL</b>" };
    let mut parts = vec![scenario.scenario.clone()];
    parts.extend((!scenario.about.is_empty()).then(|| scenario.about.clone()));
    parts.push(counted(scenario.steps.len() as u64, "step", "steps"));
    if !figures.claims.is_empty() {
        let passed = figures.claims.iter().filter(|claim| claim.passed).count();
        parts.push(format!("{passed} of {} true", counted(figures.claims.len() as u64, "claim", "claims")));
    }
    if scenario.skipped > 0 {
        parts.push(format!("{} not done", counted(scenario.skipped as u64, "step", "steps")));
    }
    if let Some(verify) = &scenario.verify {
        parts.push(format!("checker: {}", verify.verdict()));
    }
    parts.extend(scenario.interrupted.then(|| "interrupted".to_owned()));
    parts.push(format!("{:.1} s", scenario.took_s));
    format!("<p class=\"about\">{mark} {}</p>\n", escape(&parts.join(" \u{b7} ")))
}

/// What was claimed, what was measured and whether that is so; nothing if nothing was claimed.
pub(super) fn claims(figures: &Figures) -> String {
    if figures.claims.is_empty() {
        return String::new();
    }
    let row = |claim: &ClaimFigures| {
        let window = format!("{:.1} s to {:.1} s", claim.from_s, claim.until_s);
        vec![escape(&claim.claim), escape(&claim.measured), window, passed(claim.passed)]
    };
    let rows: Vec<Vec<String>> = figures.claims.iter().map(row).collect();
    let passed = figures.claims.iter().filter(|claim| claim.passed).count();
    format!(
        "<h2>Claims</h2>\n<p class=\"about\">{passed} of {} true</p>\n{}",
        figures.claims.len(),
        table(&["claim", "measured", "of", ""], &rows, false)
    )
}

fn passed(passed: bool) -> String {
    if passed { "passed".into() } else { "<b class=\"bad\">failed</b>".into() }
}

/// What the checker found, with the histories of some of it; nothing if it did not run.
pub(super) fn check(figures: &Figures) -> String {
    let Some(verify) = figures.scenario.as_ref().and_then(|scenario| scenario.verify.as_ref()) else {
        return String::new();
    };
    let class = if verify.is_as_claimed() { "good" } else { "bad" };
    let mut rows = vec![
        ("verdict".to_owned(), format!("<b class=\"{class}\">{}</b>", escape(&verify.verdict()))),
        ("operations".to_owned(), operations(verify)),
    ];
    rows.extend(verify.failures().map(|failures| ("failures".to_owned(), escape(&failures))));
    let kinds = verify.violations.iter();
    rows.extend(kinds.map(|(kind, number)| {
        let aside = !verify.claims(kind);
        (escape(kind), if aside { format!("{} (not claimed)", count(*number)) } else { errors(*number) })
    }));
    let mut out = format!("<h2>Checker</h2>\n{}", facts(&rows));
    verify.histories.iter().for_each(|one| history(&mut out, one));
    out
}

fn operations(verify: &VerifyFigures) -> String {
    format!("{} ({} answered)", count(verify.operations), count(verify.answered))
}

fn history(out: &mut String, history: &HistoryFigures) {
    push(out, format_args!("<h3>{} at key {}</h3>", escape(&history.wrong), history.key));
    out.push_str("<div class=\"card wide\"><pre>");
    for operation in &history.operations {
        let text = escape(&operation.text);
        // A mark as well, for those who see no colours.
        if operation.guilty {
            push(out, format_args!("<b class=\"bad\">&gt; {text}</b>"));
        } else {
            push(out, format_args!("  {text}"));
        }
    }
    out.push_str("</pre></div>\n");
}

/// The steps; nothing if this is no scenario.
pub(super) fn steps(figures: &Figures) -> String {
    let steps = figures.scenario.as_ref().map_or(&[][..], |scenario| &scenario.steps);
    if steps.is_empty() {
        return String::new();
    }
    let row = |step: &StepFigures| {
        let place = if step.passed { "" } else { step.place.as_str() };
        let detail: Vec<&str> =
            [step.detail.as_str(), place].into_iter().filter(|text| !text.is_empty()).collect();
        vec![
            escape(&step.step),
            format!("{:.2} s", step.at_s),
            format!("{:.2} s", step.took_s),
            passed(step.passed),
            escape(&detail.join(" \u{b7} ")),
        ]
    };
    let rows: Vec<Vec<String>> = steps.iter().map(row).collect();
    let table = table(&["step", "at", "took", "", "what happened"], &rows, false);
    format!("<h2>Steps</h2>\n{}", table.replacen("<table>", "<table class=\"steps\">", 1))
}

#[cfg(test)]
mod tests {
    use crate::report::figures::{ClaimFigures, Figures};
    use crate::report::html::page;
    use crate::report::runs::Runs;
    use crate::report::scenario::{HistoryFigures, HistoryLine, ScenarioFigures, StepFigures, VerifyFigures};

    fn figures(verify: VerifyFigures) -> Figures {
        let step = StepFigures {
            step: "kill <redis>".into(),
            detail: "redis does not run".into(),
            place: "s.toml:12".into(),
            ..StepFigures::default()
        };
        let claim =
            |claim: &str, passed| ClaimFigures { claim: claim.into(), passed, ..ClaimFigures::default() };
        let scenario = ScenarioFigures {
            scenario: "crash".into(),
            steps: vec![step],
            skipped: 1,
            verify: Some(verify),
            ..ScenarioFigures::default()
        };
        Figures {
            claims: vec![claim("errors = 0", true), claim("lost_writes = 0", false)],
            scenario: Some(Box::new(scenario)),
            ..Figures::default()
        }
    }

    #[test]
    fn what_the_checker_found_is_on_the_page() {
        let line = |text: &str, guilty| HistoryLine { text: text.into(), guilty };
        let history = HistoryFigures {
            wrong: "lost write".into(),
            key: 7,
            operations: vec![line("client 1 SET 5", true), line("client 2 GET -> <4>", false)],
        };
        let verify = VerifyFigures {
            operations: 12_345,
            answered: 12_340,
            failures: 5,
            first_failure: Some("refused".into()),
            violations: vec![("lost write".into(), 2), ("stale read".into(), 3)],
            histories: vec![history],
            claimed: true,
            ..VerifyFigures::default()
        };
        let page = page(&Runs::one(figures(verify)));
        for part in [
            "<b class=\"bad\">FAIL</b> crash \u{b7} 1 step \u{b7} 1 of 2 claims true \u{b7} 1 step not done \u{b7} checker: 2 x lost write, 3 x stale read",
            "<b class=\"bad\">2 x lost write, 3 x stale read</b>",
            "12,345 (12,340 answered)",
            "5 failures (the first: refused)",
            "<th scope=\"row\">lost write</th><td><b class=\"bad\">2</b></td>",
            "<th scope=\"row\">stale read</th><td><b class=\"bad\">3</b></td>",
            "<h3>lost write at key 7</h3>",
            "<b class=\"bad\">&gt; client 1 SET 5</b>\n  client 2 GET -&gt; &lt;4&gt;\n",
            "<td>passed</td>",
            "<td><b class=\"bad\">failed</b></td>",
            "redis does not run \u{b7} s.toml:12",
        ] {
            assert!(page.contains(part), "{part}");
        }
        assert!(!page.contains("<redis>"));
    }

    #[test]
    fn what_is_not_claimed_is_told_as_that() {
        let verify = VerifyFigures {
            violations: vec![("lost write".into(), 2)],
            not_claimed: vec!["lost write".into()],
            claimed: true,
            ..VerifyFigures::default()
        };
        let page = page(&Runs::one(figures(verify)));
        assert!(page.contains("<b class=\"good\">2 x lost write (not claimed)</b>"));
        assert!(page.contains("<th scope=\"row\">lost write</th><td>2 (not claimed)</td>"));
    }

    #[test]
    fn a_checker_that_found_nothing_is_on_the_page() {
        let page_of = |verify| page(&Runs::one(figures(verify)));
        assert!(page_of(VerifyFigures::default()).contains("<b class=\"good\">nothing wrong found</b>"));
        let doubt = VerifyFigures { doubt: Some("nothing checked".into()), ..VerifyFigures::default() };
        assert!(page_of(doubt).contains("<b class=\"bad\">nothing checked</b>"));
        assert!(!page(&Runs::one(Figures::default())).contains("Checker"));
    }
}
