//! The load beside the steps: [`crate::run`] and the checker, each on a thread of its own, put on and off by steps.
//!
//! Every time the load is put on is a run; at the end they are put together into the figures of one.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::file::Load;
use super::guard::enter;
use super::record::{Record, TICK};
use crate::arrivals::Spacing;
use crate::error::Error;
use crate::patience::Patience;
use crate::procfs::Usage;
use crate::report::figures::Figures;
use crate::report::number::{count, counted};
use crate::report::progress::Progress;
use crate::report::recorder;
use crate::report::scenario::HistoryFigures;
use crate::report::verify::histories;
use crate::rounds::align;
use crate::run::{GIVE_UP, Observer, Outcome, Purpose, ServerUsage, Settings, observe, run};
use crate::series::Second;
use crate::tally::Tally;
use crate::target::{Opening, Target, look_at};
use crate::transport::Endpoint;
use crate::verify::check::check;
use crate::verify::driver::{self, MOST_OPERATIONS, Session, Watch};
use crate::verify::history::Violation;
use crate::verify::new_run;

/// Longer than any scenario.
const ENDLESS: Duration = Duration::from_secs(365 * 86_400);
/// How long the checker waits for an answer before it counts as lost.
const PATIENCE: Duration = Duration::from_secs(2);

/// How many violations are told with their history.
const MOST_HISTORIES: usize = 3;

/// The live line, shared with the thread that fills it.
pub type Live = Arc<Mutex<Progress>>;

/// The log of latencies, if one is wanted, shared with that thread as well.
pub type Log = Arc<Mutex<recorder::Recorder>>;

/// The load of a scenario.
#[derive(Debug)]
pub struct Driver {
    load: Load,
    namespace: Option<String>,
    record: Record,
    live: Live,
    log: Log,
    servers: Vec<String>,
    settings: Option<Settings>,
    loaded: bool,
    running: Option<JoinHandle<Result<Outcome, Error>>>,
    stop: Arc<AtomicBool>,
    /// Set when the user wants an end: nobody is waited for any more then.
    interrupted: Arc<AtomicBool>,
    checker: Option<Checker>,
    /// What the checker has done, while it rests: its keys stay watched to the end.
    session: Option<Session>,
    outcomes: Vec<(u64, Outcome)>,
    /// The servers' processes while the load was on.
    processes: Vec<u32>,
    /// How many operations of the checker had been answered when the load was put on.
    answered_before: u64,
    /// What the checker has found so far.
    pub verified: Verified,
}

/// What the checker has done.
#[derive(Clone, Debug, Default)]
pub struct Verified {
    /// Operations written down.
    pub operations: u64,
    /// Those of them that were answered.
    pub answered: u64,
    /// Error replies and broken connections.
    pub failures: u64,
    /// The first of them.
    pub first_failure: Option<String>,
    /// What is wrong.
    pub violations: Vec<Violation>,
    /// Keys that could not be read back when it was looked at for the last time.
    pub unread: u64,
    /// It ended early since it keeps no more operations.
    pub full: bool,
    /// Why it could not do its work.
    pub broken: Option<String>,
}

impl Verified {
    /// Why that nothing wrong was found would prove nothing, if that is so. What is wrong stays wrong.
    pub fn says_nothing(&self) -> Option<String> {
        if let Some(why) = &self.broken {
            return Some(format!("nothing checked: {why}"));
        }
        if !self.violations.is_empty() {
            return None;
        }
        if self.answered == 0 {
            return Some("nothing checked: no operation of the checker was answered".into());
        }
        // Scenarios break things on purpose, so much may fail; but not most.
        (self.failures > self.answered).then(|| {
            let failures = counted(self.failures, "operation", "operations");
            let answered = count(self.answered);
            format!("too much went unanswered: {failures} of the checker failed, {answered} did not")
        })
    }
}

/// The checker's thread.
#[derive(Debug)]
struct Checker {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Session, Error>>,
}

/// Tells the record what the load sees.
struct Recorder {
    record: Record,
    live: Live,
    log: Log,
    /// The load is a closed loop.
    closed: bool,
    /// When it was put on, in seconds since the scenario began.
    began_s: f64,
}

impl Observer for Recorder {
    const INTERVAL: Duration = TICK;
    const OUTAGES: bool = true;

    fn on_start(&mut self, start: Instant) {
        self.record.begin(start, self.closed);
        self.began_s = self.record.since_epoch(start) as f64 / 1e9;
        let first = self.record.first_load().unwrap_or(0);
        let offset = self.record.since_epoch(start).saturating_sub(first);
        self.log
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .begin_at((offset + 500_000_000) / 1_000_000_000);
    }

    fn on_tally(&mut self, tally: &Tally) {
        self.record.add(tally);
    }

    fn on_second(&mut self, second: &Second, counted: &Tally) {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).second(second, counted);
        self.live
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .show(&Second { begin_s: Some(self.began_s + second.begin_s()), ..second.clone() });
    }
}

impl Driver {
    /// A load that is off. Its threads will run in `namespace`.
    pub fn new(load: Load, namespace: Option<String>, record: Record, live: Live, log: Log) -> Self {
        Self {
            load,
            namespace,
            record,
            live,
            log,
            servers: Vec::new(),
            settings: None,
            loaded: false,
            running: None,
            stop: Arc::default(),
            interrupted: Arc::default(),
            checker: None,
            session: None,
            outcomes: Vec::new(),
            processes: Vec::new(),
            answered_before: 0,
            verified: Verified::default(),
        }
    }

    /// Puts the load on, towards these servers.
    pub fn on(&mut self, servers: &[(String, SocketAddr)], stop: &Arc<AtomicBool>) -> Result<String, String> {
        let targets = servers.iter();
        let targets =
            targets.map(|(name, address)| Target { name: name.clone(), address: *address, tls: None });
        let settings = self.settings(targets.collect());
        let preload = self.load.preload && !std::mem::replace(&mut self.loaded, true);
        let text =
            format!("to {}", servers.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", "));
        self.servers = self.inside({
            let (settings, stop) = (settings.clone(), Arc::clone(stop));
            move || prepare(&settings, preload, &stop)
        })?;
        (self.stop, self.interrupted) = (Arc::default(), Arc::clone(stop));
        let (live, log) = (Arc::clone(&self.live), Arc::clone(&self.log));
        let closed = self.load.rate.is_none();
        let mut recorder = Recorder { record: self.record.clone(), live, log, closed, began_s: 0.0 };
        let (namespace, stop, own) = (self.namespace.clone(), Arc::clone(&self.stop), settings.clone());
        let before = self.record.last_load();
        let running = std::thread::spawn(move || {
            move_in(namespace)?;
            observe(&own, Purpose::Measure, &stop, &mut recorder)
        });
        while self.record.last_load() == before && !running.is_finished() {
            std::thread::sleep(Duration::from_millis(1));
        }
        if self.record.last_load() == before {
            return Err(running
                .join()
                .map_err(|_| Error::Thread)
                .and_then(|outcome| outcome)
                .err()
                .unwrap_or(Error::Thread)
                .to_string());
        }
        self.running = Some(running);
        self.settings = Some(settings);
        self.answered_before = self.verified.answered;
        self.start_checker();
        Ok(text)
    }

    /// Takes the load off and takes in what came of it. `used` tells which processes served it and what they used since
    /// it was put on; it is asked when the checker rests as well.
    pub fn off(&mut self, used: impl FnOnce() -> (Usage, Vec<u32>)) -> Result<(), String> {
        let Some(running) = self.running.take() else { return Ok(()) };
        self.stop.store(true, Ordering::Relaxed);
        let from = self.record.last_load().unwrap_or(0);
        let outcome = running.join().map_err(|_| Error::Thread).and_then(|outcome| outcome);
        self.record.end();
        self.stop_checker();
        let mut outcome = outcome.map_err(|error| error.to_string())?;
        let (Usage { cpu, switches, resident }, processes) = used();
        self.processes.extend(processes);
        self.processes.sort_unstable();
        self.processes.dedup();
        let others = self.verified.answered.saturating_sub(self.answered_before);
        outcome.server = (cpu > 0).then_some(ServerUsage { cpu, switches, resident, others });
        self.outcomes.push((from, outcome));
        Ok(())
    }

    /// True while the load is on.
    pub fn is_on(&self) -> bool {
        self.running.is_some()
    }

    /// Takes in what the checker has found up to now, all its keys read once more; it goes on with the same keys if the
    /// load is on.
    pub fn check_now(&mut self) {
        if self.checker.is_some() {
            self.stop_checker();
            self.start_checker();
        } else if let Some(mut session) = self.session.take() {
            let read = self.inside(move || {
                session.read_back();
                Ok(session)
            });
            self.take_in(read);
        }
    }

    /// The figures of all times that the load was on, as one run; its seconds begin where they did in the scenario.
    pub fn figures(&mut self) -> Option<Figures> {
        let settings = self.settings.as_ref()?;
        let mut outcomes = std::mem::take(&mut self.outcomes).into_iter();
        let (first, mut whole) = outcomes.next()?;
        begin_at(&mut whole, first);
        for (from, mut outcome) in outcomes {
            begin_at(&mut outcome, from);
            let offset = (from - first + 500_000_000) / 1_000_000_000;
            outcome.seconds.iter_mut().for_each(|second| second.second += offset);
            align(&mut whole, &mut outcome);
            whole.tally.add(&outcome.tally);
            whole.seconds.append(&mut outcome.seconds);
            whole.elapsed += outcome.elapsed;
            whole.own.append(&mut outcome.own);
            whole.stolen = whole.stolen.max(outcome.stolen);
            whole.server = ServerUsage::both(whole.server, outcome.server);
        }
        let settings = Settings { processes: self.processes.clone(), ..settings.clone() };
        Some(Figures::new(&settings, &self.servers, &whole))
    }

    /// Some of what is wrong, with what was done to the keys around it.
    pub fn histories(&self) -> Vec<HistoryFigures> {
        let Some(session) = &self.session else { return Vec::new() };
        histories(session.recorded(), &self.verified.violations, MOST_HISTORIES)
    }

    fn settings(&self, targets: Vec<Target>) -> Settings {
        let load = &self.load;
        Settings {
            targets,
            cluster: load.cluster,
            opening: Opening::default(),
            connections: load.connections,
            pipeline: load.pipeline,
            threads: load.threads,
            duration: ENDLESS,
            warmup: Duration::ZERO,
            grace: Duration::ZERO,
            limit: u64::MAX,
            give_up: GIVE_UP,
            rates: load.rate.map(|rate| (rate, Duration::MAX)).into_iter().collect(),
            spacing: if load.poisson { Spacing::Poisson } else { Spacing::Even },
            workload: load.workload.clone(),
            // Processes come and go: who starts them knows what they used.
            processes: Vec::new(),
        }
    }

    /// Does something on a thread in the load's namespace.
    fn inside<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<T, String> {
        let namespace = self.namespace.clone();
        let thread = std::thread::spawn(move || move_in(namespace).and_then(|()| work()));
        thread
            .join()
            .map_err(|_| Error::Thread)
            .and_then(|outcome| outcome)
            .map_err(|error| error.to_string())
    }

    fn start_checker(&mut self) {
        let (Some((clients, keys)), Some(settings)) = (self.load.verify, &self.settings) else { return };
        if self.verified.broken.is_some() {
            return;
        }
        let servers: Vec<Endpoint> = settings.targets.iter().map(Target::endpoint).collect();
        let settings = driver::Settings {
            servers: servers.clone(),
            cluster: settings.cluster,
            opening: Vec::new(),
            clients,
            pipeline: 1,
            keys,
            value_size: 64,
            duration: ENDLESS,
            limit: MOST_OPERATIONS,
            patience: Patience::until(PATIENCE, Arc::clone(&self.interrupted)),
            give_up: GIVE_UP,
            seed: settings.workload.seed,
            run: new_run(),
        };
        let mut session = self.session.take().unwrap_or_else(|| Session::new(settings));
        session.move_to(servers);
        let (namespace, stop) = (self.namespace.clone(), Arc::new(AtomicBool::new(false)));
        let flag = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            move_in(namespace)?;
            session.load(&flag, &Watch::default())?;
            session.read_back();
            Ok(session)
        });
        self.checker = Some(Checker { stop, thread });
    }

    fn stop_checker(&mut self) {
        let Some(checker) = self.checker.take() else { return };
        checker.stop.store(true, Ordering::Relaxed);
        let done = checker.thread.join().map_err(|_| Error::Thread).and_then(|done| done);
        self.take_in(done.map_err(|error| error.to_string()));
    }

    /// Judges all that the checker has seen so far.
    fn take_in(&mut self, done: Result<Session, String>) {
        let session = match done {
            Ok(session) => session,
            Err(why) => {
                self.verified.broken = Some(why);
                return;
            }
        };
        let recorded = session.recorded();
        let answered = recorded.operations.iter().filter(|operation| operation.is_answered());
        self.verified = Verified {
            operations: recorded.operations.len() as u64,
            answered: answered.count() as u64,
            failures: recorded.failures,
            first_failure: recorded.first_failure.clone().or_else(|| recorded.why_unread.clone()),
            violations: check(recorded.operations.clone()),
            unread: recorded.unread,
            full: recorded.full,
            broken: None,
        };
        self.session = Some(session);
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(checker) = &self.checker {
            checker.stop.store(true, Ordering::Relaxed);
        }
    }
}

/// Tells the seconds of a run that began then, in nanoseconds since the scenario began, by the scenario's clock.
fn begin_at(outcome: &mut Outcome, from: u64) {
    let began_s = from as f64 / 1e9;
    outcome.seconds.iter_mut().for_each(|second| second.begin_s = Some(began_s + second.begin_s()));
}

fn move_in(namespace: Option<String>) -> Result<(), Error> {
    let failed = |source| Error::System { what: "cannot enter the load's network namespace", source };
    namespace.map_or(Ok(()), |namespace| enter(&namespace).map_err(failed))
}

/// Looks who is there, and writes every key once if that is wanted.
fn prepare(settings: &Settings, preload: bool, stop: &Arc<AtomicBool>) -> Result<Vec<String>, Error> {
    let servers = settings.targets.iter().map(|target| look_at(target, &settings.opening, stop));
    let servers = servers.collect::<Result<Vec<_>, _>>()?;
    if preload {
        let outcome = run(settings, Purpose::Preload, stop, |_, _| {})?;
        if outcome.tally.gave_up {
            let patience = settings.give_up.as_secs();
            let text = format!("no server has answered for {patience} s while the keys were written");
            return Err(Error::Usage(text));
        }
        if let Some(kind) = outcome.tally.error_kinds.first() {
            let errors = counted(outcome.tally.all_errors(), "error", "errors");
            return Err(Error::Usage(format!("{errors} while the keys were written: {}", kind.example)));
        }
    }
    Ok(servers)
}
