//! Does the steps, one after the other, on the thread that calls it, which must be the main one (see
//! [`super::guard`]). Whatever happens, the servers are gone when it comes back, unless they are to be kept.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::claim::Claim;
use super::cluster::Cluster;
use super::condition::Condition;
use super::file::Scenario;
use super::load::{Driver, Live, Log, Verified};
use super::outcome::{ClaimReport, Report, StepReport};
use super::record::{Record, TICK, Window};
use super::step::{Action, Span, Step};
use crate::procfs::Usage;
use crate::report::figures::{ClaimFigures, EventFigures};
use crate::report::progress::Progress;
use crate::report::scenario::VerifyFigures;
use crate::report::verify::kinds;

/// How often the engine looks up while it waits.
const LOOK: Duration = Duration::from_millis(10);
/// How long a server may take at the beginning.
const START: Duration = Duration::from_secs(30);

/// How to do a scenario.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where logs and the servers' own files go.
    pub folder: PathBuf,
    /// Leave the servers running at the end.
    pub keep: bool,
    /// Show no progress of the load.
    pub quiet: bool,
}

/// Why a step failed.
#[derive(Debug)]
enum Failure {
    Told(String),
    Interrupted,
}

impl From<String> for Failure {
    fn from(text: String) -> Self {
        Self::Told(text)
    }
}

/// Does a scenario. Latencies of the load go to `log`, `say` gets the lines for the terminal. An error means that it could not begin.
pub fn run(
    scenario: &Scenario,
    options: &Options,
    log: &Log,
    stop: &Arc<AtomicBool>,
    say: &mut dyn FnMut(&str),
) -> Result<Report, String> {
    let began = Instant::now();
    let go_on = || !stop.load(Ordering::Relaxed);
    let mut cluster = Cluster::new(scenario, &options.folder, options.keep)?;
    let count = scenario.nodes.as_ref().map_or(0, |nodes| nodes.count);
    cluster.start_all(count, START, &go_on)?;
    let started: Vec<String> =
        cluster.list().into_iter().map(|(name, at, _)| format!("{name} {at}")).collect();
    say(&format!("started after {:.2} s: {}", began.elapsed().as_secs_f64(), started.join(", ")));
    let live: Live = Arc::new(Mutex::new(Progress::new(options.quiet)));
    let record = Record::new(Instant::now());
    let driver = scenario.load.clone().map(|load| {
        Driver::new(load, cluster.client_namespace(), record.clone(), Arc::clone(&live), Arc::clone(log))
    });
    let mut engine =
        Engine { scenario, stop, cluster, driver, record, before: Before::default(), done: Vec::new() };
    for step in &scenario.steps {
        let (report, ends) = engine.step(step);
        live.lock().unwrap_or_else(PoisonError::into_inner).end();
        say(&report.lines());
        engine.done.push(report);
        if ends {
            break;
        }
    }
    if options.keep {
        for (name, address, id) in engine.cluster.list() {
            say(&format!("{name} stays at {address}, pid {id}"));
        }
    }
    let report = engine.finish(began, options);
    live.lock().unwrap_or_else(PoisonError::into_inner).end();
    Ok(report)
}

struct Engine<'a> {
    scenario: &'a Scenario,
    stop: &'a Arc<AtomicBool>,
    cluster: Cluster,
    driver: Option<Driver>,
    record: Record,
    before: Before,
    done: Vec<StepReport>,
}

/// The servers when the load was put on.
#[derive(Debug, Default)]
struct Before {
    used: Usage,
    /// The processes that ran.
    running: Vec<u32>,
    /// How many had been started.
    started: usize,
}

impl Engine<'_> {
    /// Does a step; true if the scenario ends with it.
    fn step(&mut self, step: &Step) -> (StepReport, bool) {
        let waited = match step.at {
            Some(at) => self.wait_until(at.as_nanos() as u64),
            None => Ok(()),
        };
        let from = self.record.now();
        let mut report = StepReport {
            name: step.name.clone(),
            step: step.action.to_string(),
            place: self.scenario.place(step.line),
            at_s: from as f64 / 1e9,
            took_s: 0.0,
            passed: true,
            detail: String::new(),
            claims: Vec::new(),
            window: None,
        };
        let done = waited.and_then(|()| self.act(&step.action, &mut report));
        let done = done.and_then(|text| Ok(self.cluster.check().map(|()| text)?));
        report.took_s = (self.record.now() - from) as f64 / 1e9;
        let late = step.at.map_or(0.0, |at| report.at_s - at.as_secs_f64());
        match done {
            Ok(text) => report.detail = text,
            Err(Failure::Told(text)) => (report.passed, report.detail) = (false, text),
            Err(Failure::Interrupted) => (report.passed, report.detail) = (false, "interrupted".into()),
        }
        if late > 0.1 {
            report.detail = format!("{} ({late:.1} s late)", report.detail).trim_start().to_owned();
        }
        report.passed &= report.claims.iter().all(|claim| claim.passed);
        let interrupted = self.stop.load(Ordering::Relaxed);
        let ends = interrupted || !report.passed && !step.go_on;
        (report, ends)
    }

    /// Waits until that time since the scenario began, watching the servers.
    fn wait_until(&mut self, until: u64) -> Result<(), Failure> {
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return Err(Failure::Interrupted);
            }
            self.cluster.check()?;
            let now = self.record.now();
            if now >= until {
                return Ok(());
            }
            std::thread::sleep(LOOK.min(Duration::from_nanos(until - now)));
        }
    }

    fn wait(&mut self, time: Duration) -> Result<(), Failure> {
        self.wait_until(self.record.now() + time.as_nanos() as u64)
    }

    /// Does what a step says; returns what there is to say about it.
    fn act(&mut self, action: &Action, report: &mut StepReport) -> Result<String, Failure> {
        let stop = Arc::clone(self.stop);
        let go_on = move || !stop.load(Ordering::Relaxed);
        match action {
            Action::Load(true) => return Ok(self.load_on()?),
            Action::Load(false) => self.load_off()?,
            Action::Wait(time) => self.wait(*time)?,
            Action::WaitUntil { conditions, limit } => return self.wait_for(conditions, *limit),
            Action::Scale { count, limit } => return Ok(self.scale(*count, *limit, &go_on)?),
            Action::Stop { name, limit } => return Ok(self.cluster.stop(name, *limit, &go_on)?),
            Action::Kill { name } => return Ok(self.cluster.kill(name)?),
            Action::Pause { name, time } => {
                self.cluster.freeze(name, true)?;
                if let Some(time) = time {
                    let waited = self.wait(*time);
                    self.cluster.freeze(name, false)?;
                    waited?;
                }
            }
            Action::Resume { name } => self.cluster.freeze(name, false)?,
            Action::Start { name, limit } => return Ok(self.cluster.start(name, *limit, &go_on)?),
            Action::RollingRestart { name, between, limit } => {
                let names = self.cluster.resolve(name);
                for (index, name) in names.iter().enumerate() {
                    if index > 0 {
                        self.wait(*between)?;
                    }
                    self.cluster.stop(name, *limit, &go_on)?;
                    self.cluster.start(name, *limit, &go_on)?;
                }
                return Ok(names.join(", "));
            }
            Action::Partition { .. } | Action::Heal | Action::Loss { .. } | Action::Delay { .. } => {
                self.disturb(action)?;
            }
            Action::Send { command, to } => {
                let replies =
                    self.cluster.resolve(to).into_iter().map(|name| self.cluster.send(&name, command));
                return Ok(replies.collect::<Result<Vec<_>, _>>()?.join(", "));
            }
            Action::Assert { claims, window } => self.assert(claims, window, report),
        }
        Ok(String::new())
    }

    fn load_on(&mut self) -> Result<String, String> {
        let Some(load) = &self.scenario.load else { return Err("there is no [load]".into()) };
        let names = load.targets.iter().flat_map(|name| self.cluster.resolve(name));
        let servers: Vec<_> =
            names.filter_map(|name| Some((name.clone(), self.cluster.address(&name)?))).collect();
        let Some(driver) = &mut self.driver else { return Err("there is no [load]".into()) };
        let text = driver.on(&servers, self.stop)?;
        let running = self.cluster.list().into_iter().map(|(_, _, id)| id).collect();
        self.before = Before { used: self.cluster.usage(), running, started: self.cluster.started().len() };
        Ok(text)
    }

    fn load_off(&mut self) -> Result<(), String> {
        let (before, cluster) = (&self.before, &mut self.cluster);
        let used = || {
            let after = cluster.usage();
            let later = cluster.started().iter().skip(before.started);
            let processes = before.running.iter().chain(later).copied().collect();
            let (cpu, switches) = (after.cpu - before.used.cpu, after.switches - before.used.switches);
            (Usage { cpu, switches, resident: after.resident }, processes)
        };
        self.driver.as_mut().map_or(Ok(()), |driver| driver.off(used))
    }

    fn wait_for(&mut self, conditions: &[Condition], limit: Duration) -> Result<String, Failure> {
        let began = Instant::now();
        loop {
            let failed = conditions.iter().find_map(|one| Some((one, self.cluster.holds(one).err()?)));
            let Some((condition, why)) = failed else {
                return Ok(format!("after {:.2} s", began.elapsed().as_secs_f64()));
            };
            if began.elapsed() >= limit {
                return Err(Failure::Told(format!("'{condition}' does not hold after {limit:?}: {why}")));
            }
            self.wait(LOOK)?;
        }
    }

    /// Starts or stops nodes; those with the highest numbers go first.
    fn scale(&mut self, count: u32, limit: Duration, go_on: &dyn Fn() -> bool) -> Result<String, String> {
        let mut did = Vec::new();
        loop {
            let running = self.cluster.nodes();
            if running.len() < count as usize {
                let name = self.cluster.next_node().ok_or("there are no more nodes to start")?;
                self.cluster.start(&name, limit, go_on)?;
                did.push(format!("started {name}"));
            } else if let (true, Some(name)) = (running.len() > count as usize, running.last()) {
                let how = self.cluster.stop(name, limit, go_on)?;
                did.push(format!("stopped {name} ({how})"));
            } else {
                return Ok(did.join(", "));
            }
        }
    }

    fn disturb(&mut self, action: &Action) -> Result<(), String> {
        let resolve =
            |names: &[String]| names.iter().flat_map(|name| self.cluster.resolve(name)).collect::<Vec<_>>();
        let (groups, on) = match action {
            Action::Partition { groups } => (groups.iter().map(|group| resolve(group)).collect(), Vec::new()),
            Action::Loss { on, .. } | Action::Delay { on, .. } => (Vec::new(), resolve(on)),
            _ => (Vec::new(), Vec::new()),
        };
        let network = self.cluster.network().ok_or("there are no network namespaces")?;
        match action {
            Action::Loss { share, .. } => network.lose(*share, &on),
            Action::Delay { time, .. } => network.delay(*time, &on),
            Action::Heal => network.heal(),
            _ => network.partition(&groups),
        }
    }

    /// When a step took place that was done.
    fn time_of(&self, name: &str) -> Option<(u64, u64)> {
        let step = self.done.iter().find(|step| step.name.as_deref() == Some(name))?;
        let nanos = |seconds: f64| (seconds * 1e9) as u64;
        Some((nanos(step.at_s), nanos(step.at_s + step.took_s)))
    }

    /// The window of a step: the ticks that lie in it as a whole, so that what came before and after does not count.
    /// Windows up to now take every tick they touch instead, so that nothing is missed.
    fn window_of(&self, name: &str) -> Option<(u64, u64)> {
        let (from, until) = self.time_of(name)?;
        Some((self.record.snap(from, true), self.record.snap(until, false)))
    }

    fn assert(&mut self, claims: &[Claim], window: &Span, report: &mut StepReport) {
        let now = self.record.now();
        let since = |from: u64| (self.record.snap(from, false), self.record.snap(now, true));
        let (from, until) = match window {
            Span::Load => since(self.record.last_load().unwrap_or(0)),
            Span::Last(time) => since(now.saturating_sub(time.as_nanos() as u64)),
            // Names were checked when the file was read.
            Span::Of(name) => self.window_of(name).unwrap_or((now, now)),
            Span::Since(name) => since(self.time_of(name).map_or(now, |(from, _)| from)),
        };
        // A tick is handed over when the next one begins.
        let deadline = Instant::now() + 4 * TICK;
        while !self.record.is_complete(until) && Instant::now() < deadline {
            std::thread::sleep(LOOK);
        }
        let figures = self.record.window(from, until);
        if let Some(driver) = &mut self.driver
            && claims.iter().any(Claim::wants_checker)
        {
            driver.check_now();
        }
        let nothing = Verified::default();
        for claim in claims {
            let baseline = claim.baseline().and_then(|name| self.window_of(name));
            let baseline: Option<Window> = baseline.map(|(from, until)| self.record.window(from, until));
            let verified = self.driver.as_ref().map_or(&nothing, |driver| &driver.verified);
            let verdict = claim.judge(&figures, baseline.as_ref(), verified);
            let (claim, passed, measured) = (claim.to_string(), verdict.passed, verdict.measured);
            report.claims.push(ClaimReport { claim, passed, measured });
        }
        report.window = Some(figures);
    }

    /// Ends the load and puts the report together.
    fn finish(mut self, began: Instant, options: &Options) -> Report {
        let mut passed =
            self.done.len() == self.scenario.steps.len() && self.done.iter().all(|step| step.passed);
        if let Err(text) = self.load_off() {
            passed = false;
            eprintln!("the load failed: {text}");
        }
        let mut figures = self.driver.as_mut().and_then(Driver::figures);
        if let Some(figures) = &mut figures {
            figures.events = events(&self.done, self.record.first_load().unwrap_or(0) as f64 / 1e9);
            figures.claims = self.done.iter().flat_map(claims).collect();
        }
        let checked = self.scenario.load.as_ref().is_some_and(|load| load.verify.is_some());
        let steps = self.scenario.steps.iter();
        let claimed = steps.filter_map(|step| match &step.action {
            Action::Assert { claims, .. } => Some(claims),
            _ => None,
        });
        let claims_made: Vec<&Claim> = claimed.flatten().collect();
        let claimed = claims_made.iter().any(|claim| claim.wants_checker());
        let is_claimed = |kind: &str| claims_made.iter().any(|claim| claim.is_about(kind));
        let verify = self.driver.as_ref().filter(|_| checked).map(|driver| VerifyFigures {
            claimed,
            not_claimed: kinds(&driver.verified.violations)
                .into_iter()
                .map(|(kind, _)| kind)
                .filter(|kind| claimed && !is_claimed(kind))
                .collect(),
            operations: driver.verified.operations,
            answered: driver.verified.answered,
            failures: driver.verified.failures,
            first_failure: driver.verified.first_failure.clone(),
            violations: kinds(&driver.verified.violations),
            unread: driver.verified.unread,
            full: driver.verified.full,
            doubt: driver.verified.says_nothing(),
            histories: driver.histories(),
        });
        Report {
            scenario: self.scenario.name.clone(),
            about: self.scenario.about.clone(),
            passed,
            interrupted: self.stop.load(Ordering::Relaxed),
            took_s: began.elapsed().as_secs_f64(),
            skipped: self.scenario.steps.len() - self.done.len(),
            steps: self.done,
            verify,
            figures,
            logs: options.folder.display().to_string(),
        }
    }
}

/// Marks for the plots: what was done to the servers since the load was put on for the first time.
fn events(steps: &[StepReport], first_load_s: f64) -> Vec<EventFigures> {
    let shown = steps.iter().filter(|step| !step.step.starts_with("wait ") && step.claims.is_empty());
    let marks = shown.filter(|step| step.at_s >= first_load_s);
    marks.map(|step| EventFigures { at_s: step.at_s, text: step.step.clone() }).collect()
}

/// A step's claims and their windows.
fn claims(step: &StepReport) -> impl Iterator<Item = ClaimFigures> {
    let window = step.window.as_ref();
    let (from_s, until_s) = window.map_or((step.at_s, step.at_s), |window| (window.from_s, window.until_s));
    step.claims.iter().map(move |claim| ClaimFigures {
        claim: claim.claim.clone(),
        from_s,
        until_s,
        measured: claim.measured.clone(),
        passed: claim.passed,
    })
}
