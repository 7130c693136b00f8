//! What makes figures doubtful, one sentence each.

use std::time::Duration;

use super::figures::{Figures, StepFigures};
use super::number::{count, counted, micros, percent};
use crate::answer::FULL;
use crate::requests::usual_answer;
use crate::run::{Outcome, Settings};
use crate::tally::Tally;

/// A thread that uses more of its CPU than this is taken for the limit.
pub(super) const BUSY: f64 = 0.9;
/// More waiting for a CPU than this share spoils latencies.
pub(super) const STARVED: f64 = 0.1;
/// Lag below this many microseconds is never worth a word.
const LATE_US: f64 = 1000.0;
/// Standing still for less than this many microseconds is never worth a word.
const STOOD_US: f64 = 10_000.0;
/// An open loop that gets less than this share of its rate answered is told.
const KEPT_UP: f64 = 0.95;
/// A run that ends with so many seconds without a good answer is told, if so many were to be expected meanwhile.
const SILENT_S: f64 = 1.0;
/// See [`SILENT_S`].
const EXPECTED: f64 = 10.0;
/// A server process that uses less of a CPU than this has time for more.
const IDLE: f64 = 0.7;
/// No server answers a request with less CPU time, in microseconds.
const LEAST_US: f64 = 0.02;
/// After fewer requests that is not told.
const MANY: u64 = 1000;
/// Fewer hits than this share without a preload are told.
const FEW_HITS: f64 = 0.1;

/// What makes the figures of an outcome doubtful. `stalled` is how long a request had waited that is shown as the
/// maximum only, in microseconds.
pub(super) fn warnings(
    figures: &Figures,
    settings: &Settings,
    outcome: &Outcome,
    stalled: Option<f64>,
) -> Vec<String> {
    let mut warnings = generator(figures);
    warnings.extend(useless(&outcome.tally));
    warnings.extend(processes(settings, outcome));
    warnings.extend(idle(figures));
    warnings.extend(answers(figures, settings, outcome));
    warnings.extend(hanging(figures, outcome.tally.connections, stalled));
    let moved: u64 =
        figures.errors.iter().filter(|error| error.word == "MOVED").map(|error| error.count).sum();
    if !settings.cluster && moved * 2 > figures.total.errors {
        warnings.push("most errors are MOVED: the server is a node of a cluster, use --cluster".into());
    }
    warnings
}

/// Who waited for an answer when a closed loop ended, and for how long. `connections` are those of all runs together.
fn hanging(figures: &Figures, connections: u64, stalled: Option<f64>) -> Option<String> {
    let own = figures.connections as u64;
    let (when, connections) = if connections >= 2 * own.max(1) {
        ("when runs ended", connections)
    } else {
        ("when the run ended", own.max(connections))
    };
    let shown = match stalled {
        Some(_) => "shown as the maximum, not in the percentiles",
        None => "not in the percentiles",
    };
    match figures.hanging {
        0 => stalled.filter(|_| figures.unanswered == 0).map(|wait| {
            format!("{when} a request had waited for {} without an answer: {shown}", micros(wait))
        }),
        hanging => {
            let all = counted(connections, "connection", "connections");
            let longest = micros(figures.hanging_longest_us);
            Some(if hanging == 1 {
                format!("{when} 1 of {all} hung: it had waited for an answer for {longest}, {shown}")
            } else {
                format!(
                    "{when} {} of {all} hung: they waited for an answer, the longest for {longest}, \
                     {shown}",
                    count(hanging)
                )
            })
        }
    }
}

/// True if most of the requests that took longest waited for the generator.
fn is_late(figures: &Figures) -> bool {
    let late = figures.generator.lag_p99_us;
    late > LATE_US && late > figures.total.p99_us / 10.0
}

/// True if it did not run for a time that the longest latencies show.
fn stood_still(figures: &Figures) -> bool {
    figures.generator.stood_us > STOOD_US.max(figures.total.max_us / 2.0)
}

/// True if what was not answered in time may be the generator's fault.
fn is_disturbed(figures: &Figures) -> bool {
    figures.generator.starved > STARVED || is_late(figures) || stood_still(figures)
}

/// What the generator and the machine did to the figures.
fn generator(figures: &Figures) -> Vec<String> {
    let mut warnings = Vec::new();
    let own = &figures.generator;
    if own.busiest > BUSY {
        warnings.push(format!(
            "a generator thread used {:.0} % of a CPU: the generator is the limit, not the server; use more --threads",
            own.busiest * 100.0
        ));
    }
    if own.starved > STARVED {
        warnings.push(format!(
            "a generator thread waited for a CPU {:.0} % of the time: other programs disturb this machine, trust CPU \
             per operation rather than latencies",
            own.starved * 100.0
        ));
    }
    if is_late(figures) {
        warnings.push(format!(
            "the generator itself was late by {:.1} ms at the 99th percentile; that is part of the latencies shown",
            own.lag_p99_us / 1e3
        ));
    } else if stood_still(figures) {
        warnings.push(format!(
            "the generator itself stood still for {}: what came or was due meanwhile is shown with that time",
            micros(own.stood_us)
        ));
    }
    if own.stolen > STARVED {
        warnings.push(format!("the machine's host took away {:.0} % of its CPU time", own.stolen * 100.0));
    }
    warnings
}

/// How many connections never brought anything, and so were not there: the load was that of the others.
pub(super) fn useless(tally: &Tally) -> Option<String> {
    let (useless, all) = (tally.useless, tally.connections);
    if useless == 0 {
        return None;
    }
    let which = match (useless, all) {
        (1, 1) => "the only connection was never of any use".into(),
        (1, all) => format!("1 of {} connections was never of any use", count(all)),
        _ if useless == all => format!("none of the {} connections was of any use", count(all)),
        _ => format!("{} of {} connections were never of any use", count(useless), count(all)),
    };
    let full = tally.error_kinds.iter().find(|kind| kind.example.contains(FULL));
    let why = full.map_or(String::new(), |kind| format!(" ({})", kind.example));
    let rest = if useless == all { "" } else { ", so that the load is that of the others" };
    Some(format!("{which}: the server refused them or closed them at once{why}{rest}"))
}

/// What is not known of what the server used.
fn processes(settings: &Settings, outcome: &Outcome) -> Option<String> {
    let unknown = outcome.server.is_none();
    let which = match (outcome.ended.len(), settings.processes.len()) {
        (0, 0) => return None,
        (0, _) => {
            let text = "what the server used cannot be told: its processes could not be read all the time";
            return (unknown && !outcome.elapsed.is_zero()).then(|| text.into());
        }
        (_, 1) => "the server's process ended".into(),
        (ended, all) => format!("{ended} of the server's {all} processes ended"),
    };
    let known = if unknown {
        "what the server used cannot be told"
    } else {
        "what it used is known up to its last reading, and nothing of a process started in its place"
    };
    Some(format!("{which} before the run did: {known}"))
}

/// Says that the processes that count as the server's did nothing while it answered.
fn idle(figures: &Figures) -> Option<String> {
    let server = figures.server.as_ref()?;
    let all: Vec<String> = server.processes.iter().map(ToString::to_string).collect();
    let (whose, are) = if all.len() == 1 { ("process", "it is") } else { ("processes", "they are") };
    (figures.total.answered >= MANY && server.cpu_us < LEAST_US).then(|| {
        format!(
            "{whose} {} used next to no CPU while {} requests were answered: {are} not the server (--pid)",
            all.join(", "),
            count(figures.total.answered)
        )
    })
}

/// What was not answered.
fn answers(figures: &Figures, settings: &Settings, outcome: &Outcome) -> Vec<String> {
    let mut warnings = Vec::new();
    let whose =
        if figures.commands.len() > 1 { "percentiles of all commands together" } else { "percentiles" };
    if outcome.tally.gave_up {
        let patience = micros(settings.give_up.as_secs_f64() * 1e6);
        warnings.push(format!("given up: no server has answered for {patience}"));
    }
    if figures.elapsed_s <= 0.0 {
        warnings.push("the run ended before anything was counted".into());
        return warnings;
    }
    if figures.total.answered == 0 {
        warnings.push("no request was answered while the run was counted".into());
    }
    let mut missing = Vec::new();
    let unreached = unreached(figures, settings);
    if let Some(asked) = unreached {
        let (came, asked) = (rate(figures.total.per_s), rate(asked));
        missing.push(if is_disturbed(figures) {
            format!("{came} of {asked} requests/s were answered")
        } else {
            format!("the server kept up with {came} of {asked} requests/s")
        });
    }
    if figures.unanswered > 0 {
        missing.push(format!(
            "{} had no answer when the run ended, counted in the {whose} with the wait so far",
            counted(figures.unanswered, "request", "requests")
        ));
    }
    if !missing.is_empty() {
        warnings.push(missing.join("; "));
    }
    let silent = silence(figures, settings, outcome);
    if outcome.tally.full && silent.is_none() && !is_disturbed(figures) && unreached.is_some() {
        warnings.extend(full(figures));
    }
    if figures.lost > 0 {
        warnings.push(format!(
            "{} lost the connection, counted in the percentiles with the wait until then: answers would have taken longer",
            counted(figures.lost, "request", "requests")
        ));
    }
    for command in figures.commands.iter().filter(|command| command.neither > 0) {
        let were = if command.neither == 1 { "was" } else { "were" };
        warnings.push(format!(
            "{} to {} {were} neither a string nor nil: neither a hit nor a miss",
            counted(command.neither, "answer", "answers"),
            command.command
        ));
    }
    for command in figures.commands.iter().filter(|command| command.odd > 0) {
        let were = if command.odd == 1 { "was" } else { "were" };
        warnings.push(format!(
            "{} to {} {were} neither {} nor an error: the server has not done it, or answers are out of step",
            counted(command.odd, "answer", "answers"),
            command.command,
            usual_answer(&command.command)
        ));
    }
    if let Some(silent) = silent {
        let but = if figures.all_errors() > 0 { " but errors" } else { "" };
        warnings.push(format!("there was no answer{but} in the last {silent:.1} s"));
    }
    warnings
}

/// Says that connections are the limit of an open loop in which all were in use, if the server had time for more.
fn full(figures: &Figures) -> Option<String> {
    let all = format!(
        "all of {} (-c) with pipeline {} (-P) were in use at the end",
        counted(figures.connections as u64, "connection", "connections"),
        figures.pipeline
    );
    match &figures.server {
        Some(server) if server.cpus > IDLE * server.processes.len().max(1) as f64 => None,
        Some(server) => Some(format!(
            "{all} and the server used {:.0} % of a CPU: they are the limit rather than the server",
            server.cpus * 100.0
        )),
        None => Some(format!("{all}: if the server had time for more, they are the limit")),
    }
}

/// The rate that was asked for in the counted time, if much less of it was answered.
fn unreached(figures: &Figures, settings: &Settings) -> Option<f64> {
    // Several rounds put together: only one rate is the same in all of them.
    let is_one_run = figures.elapsed_s <= settings.duration.as_secs_f64() + 0.001;
    if figures.steps.is_empty() || (figures.steps.len() > 1 && !is_one_run) || outcome_is_limited(settings) {
        return None;
    }
    let due = due(&figures.steps, figures.elapsed_s);
    let missing = due - figures.total.per_s * figures.elapsed_s;
    // Chance makes some more or less of them due.
    let chance = if figures.poisson { 3.0 * due.sqrt() } else { 1.0 };
    (missing > chance.max(due * (1.0 - KEPT_UP))).then_some(due / figures.elapsed_s)
}

/// A rate in requests per second.
fn rate(per_s: f64) -> String {
    if per_s > 0.0 && per_s < 10.0 { format!("{per_s:.1}") } else { count(per_s.round() as u64) }
}

fn outcome_is_limited(settings: &Settings) -> bool {
    settings.limit < u64::MAX
}

/// How many requests are due in so many seconds.
fn due(steps: &[StepFigures], until: f64) -> f64 {
    let (mut at, mut sum) = (0.0, 0.0);
    for step in steps {
        let end = step.seconds.map_or(until, |seconds| at + seconds).min(until);
        sum += step.per_s * (end - at).max(0.0);
        at = end;
    }
    // The last one goes on.
    sum + steps.last().map_or(0.0, |last| last.per_s * (until - at).max(0.0))
}

/// For how many seconds before the end there was no good answer, if that is strange.
fn silence(figures: &Figures, settings: &Settings, outcome: &Outcome) -> Option<f64> {
    let (_, last) = outcome.tally.served?;
    let last = last as f64 / 1e9 - settings.warmup.as_secs_f64();
    // Several runs put together have clocks of their own.
    let silent = figures.elapsed_s - last;
    let is_one_run = outcome.own.len() == settings.threads && last <= figures.elapsed_s;
    let good = figures.total.answered.saturating_sub(figures.total.errors) as f64;
    let expected = good / last.max(0.001) * silent;
    (is_one_run && silent > SILENT_S && expected > EXPECTED).then_some(silent)
}

impl Figures {
    /// Says how far a run came that the user ended early.
    pub fn note_interrupted(&mut self, settings: &Settings) {
        let mut came = Vec::new();
        if settings.duration < Duration::MAX {
            let (of, all) = (self.elapsed_s, settings.duration.as_secs_f64());
            came.push((of < all, format!("{of:.1} of {all:.1} s")));
        }
        if outcome_is_limited(settings) {
            let made = self.total.answered + self.lost;
            let all = counted(settings.limit, "request", "requests");
            came.push((made < settings.limit, format!("{} of {all}", count(made))));
        }
        // One of them may have been reached when the interrupt came.
        if came.iter().all(|(is_short, _)| *is_short) {
            self.interrupted = true;
            let came: Vec<String> = came.into_iter().map(|(_, text)| text).collect();
            self.warnings.insert(0, format!("interrupted after {}", came.join(", ")));
        }
    }

    /// Says that few keys were there to be found, after a run without a preload.
    pub fn hint_at_preload(&mut self) {
        if let Some(ratio) = self.total.hit_ratio.filter(|ratio| *ratio < FEW_HITS) {
            self.warnings.push(format!(
                "only {} of the looked-up keys were there: --preload writes them first",
                percent(ratio)
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::figures::ServerFigures;

    #[test]
    fn steps_say_how_much_is_due() {
        let step = |per_s, seconds| StepFigures { per_s, seconds, ..StepFigures::default() };
        let steps = [step(10.0, Some(2.0)), step(100.0, None)];
        assert_eq!((due(&steps, 1.0), due(&steps, 3.0)), (10.0, 120.0));
        assert_eq!(due(&[step(10.0, Some(2.0))], 5.0), 50.0);
    }

    #[test]
    fn full_connections_are_the_limit_of_an_idle_server_only() {
        let server = |cpus| ServerFigures { cpus, processes: vec![1, 2], ..ServerFigures::default() };
        let figures = |server| Figures { connections: 2, pipeline: 1, server, ..Figures::default() };
        assert_eq!(full(&figures(Some(server(1.5)))), None);
        assert_eq!(
            full(&figures(Some(server(0.1)))).unwrap(),
            "all of 2 connections (-c) with pipeline 1 (-P) were in use at the end and the server used 10 % of a CPU: \
             they are the limit rather than the server"
        );
        assert!(
            full(&figures(None)).unwrap().ends_with("if the server had time for more, they are the limit")
        );
    }

    #[test]
    fn a_server_without_cpu_time_is_another_process() {
        let figures = |answered, cpu_us| {
            let server = Some(ServerFigures { cpu_us, processes: vec![7], ..ServerFigures::default() });
            let mut figures = Figures { server, ..Figures::default() };
            figures.total.answered = answered;
            figures
        };
        assert_eq!((idle(&figures(999, 0.0)), idle(&figures(100_000, 0.1))), (None, None));
        assert_eq!(
            idle(&figures(5000, 0.001)).unwrap(),
            "process 7 used next to no CPU while 5,000 requests were answered: it is not the server (--pid)"
        );
    }

    #[test]
    fn connections_without_use_are_told_with_their_reason() {
        let mut tally = Tally::new(1);
        tally.connections = 50;
        assert_eq!(useless(&tally), None);
        tally.useless = 1;
        assert!(useless(&tally).unwrap().starts_with("1 of 50 connections was never"));
        tally.useless = 20;
        assert_eq!(
            useless(&tally).unwrap(),
            "20 of 50 connections were never of any use: the server refused them or closed them at once, so that the \
             load is that of the others"
        );
        tally.useless = 50;
        tally.count_break(0, "ERR max number of clients reached");
        assert_eq!(
            useless(&tally).unwrap(),
            "none of the 50 connections was of any use: the server refused them or closed them at once (ERR max \
             number of clients reached)"
        );
    }

    #[test]
    fn connections_that_hung_are_of_all_that_there_were() {
        let figures = Figures { connections: 5, hanging: 10, hanging_longest_us: 2e6, ..Figures::default() };
        let told = hanging(&figures, 30, None).unwrap();
        assert!(told.starts_with("when runs ended 10 of 30 connections hung: they waited"), "{told}");
        let told = hanging(&Figures { hanging: 3, ..figures }, 5, None).unwrap();
        assert!(told.starts_with("when the run ended 3 of 5 connections hung: they waited"), "{told}");
    }

    #[test]
    fn few_hits_without_a_preload_are_told() {
        let mut figures = Figures::default();
        figures.hint_at_preload();
        figures.total.hit_ratio = Some(0.5);
        figures.hint_at_preload();
        assert!(figures.warnings.is_empty());
        figures.total.hit_ratio = Some(0.02);
        figures.hint_at_preload();
        assert_eq!(
            figures.warnings,
            ["only 2.00 % of the looked-up keys were there: --preload writes them first"]
        );
    }
}
