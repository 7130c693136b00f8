//! One measured run: starts the generator threads, watches the server's processes, gathers the figures.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::arrivals::{Arrivals, Spacing, Step};
use crate::cluster::{Layout, Nodes};
use crate::error::Error;
use crate::generator::{Channel, Generator, OwnUsage, Pace, Plan};
use crate::limits;
use crate::report::number::counted;
use crate::requests::Requests;
use crate::series::{Second, Series};
use crate::tally::Tally;
use crate::target::{Opening, Target};
use crate::watch::{Watch, Watched};
use crate::workload::Workload;

/// What to run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The servers; connections are dealt out to them in turn.
    pub targets: Vec<Target>,
    /// The servers are a cluster: requests go to the owner of their key.
    pub cluster: bool,
    /// What connections say first.
    pub opening: Opening,
    /// Connections in all.
    pub connections: usize,
    /// Requests under way per connection.
    pub pipeline: usize,
    /// Generator threads.
    pub threads: usize,
    /// How long to count.
    pub duration: Duration,
    /// How long to run before counting.
    pub warmup: Duration,
    /// How long to wait for late answers of an open loop.
    pub grace: Duration,
    /// How many requests to make at most.
    pub limit: u64,
    /// After so long without any answer a run of a number of requests is given up: it would never end.
    pub give_up: Duration,
    /// The rates of an open loop, each for its time (the last one to the end); none for a closed loop.
    pub rates: Vec<(f64, Duration)>,
    /// How an open loop spaces requests.
    pub spacing: Spacing,
    /// What is asked.
    pub workload: Workload,
    /// The server's processes on this machine.
    pub processes: Vec<u32>,
}

/// How long a run of a number of requests goes on without any answer.
pub const GIVE_UP: Duration = Duration::from_secs(10);

/// What came of a run.
#[derive(Debug)]
pub struct Outcome {
    /// The commands' labels, in the order of the tally.
    pub labels: Vec<String>,
    /// The servers' names, in the order of the tally; as many as it has, or more.
    pub endpoints: Vec<String>,
    /// All counts after the warm-up.
    pub tally: Tally,
    /// The run second by second.
    pub seconds: Vec<Second>,
    /// How long was counted.
    pub elapsed: Duration,
    /// What the generator's threads used.
    pub own: Vec<OwnUsage>,
    /// What the server's processes used, if there are any on this machine.
    pub server: Option<ServerUsage>,
    /// The server's processes that ended while it was counted.
    pub ended: Vec<u32>,
    /// The share of the machine's CPU time that its host took away.
    pub stolen: f64,
}

/// What the server's processes used while the run was counted.
#[derive(Clone, Copy, Debug)]
pub struct ServerUsage {
    /// CPU time in nanoseconds.
    pub cpu: u64,
    /// Context switches.
    pub switches: u64,
    /// Resident memory at the end, in bytes.
    pub resident: u64,
    /// Requests answered meanwhile that are not the run's own, such as those of a scenario's checker.
    pub others: u64,
}

impl ServerUsage {
    /// Of two runs, the later one behind. Figures of one of them only would be wrong for both.
    pub fn both(first: Option<Self>, later: Option<Self>) -> Option<Self> {
        let (first, later) = first.zip(later)?;
        Some(Self {
            cpu: first.cpu + later.cpu,
            switches: first.switches + later.switches,
            resident: later.resident,
            others: first.others + later.others,
        })
    }
}

/// Which requests the run makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Those of the workload.
    Measure,
    /// Each key written once.
    Preload,
}

/// Who looks on while a run goes on.
pub trait Observer {
    /// How long a tally shall cover: a second, or a part of which a second holds a whole number.
    const INTERVAL: Duration;
    /// Whether to measure how long slots are without service, which costs a little per request.
    const OUTAGES: bool = false;
    /// The generators' clock starts.
    fn on_start(&mut self, _start: Instant) {}
    /// A thread has finished an interval; its number counts from the end of the warm-up.
    fn on_tally(&mut self, _tally: &Tally) {}
    /// A second is over, or cut short by the run's end; with all that was counted in it.
    fn on_second(&mut self, second: &Second, counted: &Tally);
}

/// Looks on second by second.
struct BySecond<F>(F);

impl<F: FnMut(&Second, &Tally)> Observer for BySecond<F> {
    const INTERVAL: Duration = Duration::from_secs(1);

    fn on_second(&mut self, second: &Second, counted: &Tally) {
        (self.0)(second, counted);
    }
}

/// Runs to the end or until `stop` is set; `on_second` is told of each second and gets all that was counted in it.
pub fn run(
    settings: &Settings,
    purpose: Purpose,
    stop: &Arc<AtomicBool>,
    on_second: impl FnMut(&Second, &Tally),
) -> Result<Outcome, Error> {
    observe(settings, purpose, stop, &mut BySecond(on_second))
}

/// Runs to the end or until `stop` is set, observed.
pub fn observe<O: Observer>(
    settings: &Settings,
    purpose: Purpose,
    stop: &Arc<AtomicBool>,
    observer: &mut O,
) -> Result<Outcome, Error> {
    let interval = O::INTERVAL.as_nanos() as u64;
    let servers = Servers::find(settings, stop)?;
    limits::want_files(settings.connections)?;
    let (finished, tallies) = mpsc::channel();
    let mut threads = Vec::new();
    let mut returns = Vec::new();
    let mut labels = Vec::new();
    for part in 0..settings.threads {
        let (give_back, empty) = mpsc::channel();
        let channel = Channel { finished: finished.clone(), empty, stop: Arc::clone(stop) };
        let requests = requests(settings, purpose, part)?;
        labels = requests.commands().iter().map(|command| command.label.clone()).collect();
        if settings.cluster {
            requests.check_for_cluster(&settings.workload.key_prefix).map_err(Error::Usage)?;
        }
        let plan = Plan { interval, outages: O::OUTAGES, ..plan(settings, &servers, purpose, part) };
        threads.push(Generator::new(plan, requests, channel)?);
        returns.push(give_back);
    }
    drop(finished);
    let start = Instant::now();
    observer.on_start(start);
    let threads = threads.into_iter().map(|generator| std::thread::spawn(move || generator.run(start)));
    let threads: Vec<_> = threads.collect();
    let mut watch = Watch::new(&settings.processes, start + settings.warmup, settings.duration);
    let parts = SECOND / interval;
    let series = Series::new(settings.threads * parts as usize, labels.len());
    let (tally, seconds) = gather(&tallies, &returns, (series, parts), &mut watch, observer);
    let own = join(threads)?;
    let elapsed = own.iter().map(|own| own.counted).max().unwrap_or(0);
    let Watched { server, ended, stolen, all_ended } = watch.finish();
    // What others used that took the place of processes that have ended is not known.
    let went_on = |(_, last): (u64, u64)| all_ended.is_some_and(|at| start + Duration::from_nanos(last) > at);
    let server = server.filter(|_| !tally.served.is_some_and(went_on));
    let elapsed = Duration::from_nanos(elapsed).min(settings.duration);
    let endpoints = servers.nodes.all().iter().map(|endpoint| endpoint.name.to_string()).collect();
    Ok(Outcome { labels, endpoints, tally, seconds, elapsed, own, server, ended, stolen })
}

/// The servers of a run and, if they are a cluster, who owns what.
struct Servers {
    nodes: Arc<Nodes>,
    layout: Option<Layout>,
    count: usize,
}

impl Servers {
    fn find(settings: &Settings, stop: &Arc<AtomicBool>) -> Result<Self, Error> {
        if !settings.cluster {
            let endpoints: Vec<_> = settings.targets.iter().map(Target::endpoint).collect();
            let count = endpoints.len();
            return Ok(Self { nodes: Arc::new(Nodes::new(endpoints)), layout: None, count });
        }
        let nodes = Nodes::default();
        let layout = Layout::read(&settings.targets, &settings.opening, &nodes, stop)?;
        let count = nodes.all().len();
        if settings.connections < count * settings.threads {
            return Err(Error::Usage(format!(
                "each thread needs a connection to each node: {} and {} want at least {}",
                counted(count as u64, "node", "nodes"),
                counted(settings.threads as u64, "thread", "threads"),
                counted((count * settings.threads) as u64, "connection", "connections")
            )));
        }
        Ok(Self { nodes: Arc::new(nodes), layout: Some(layout), count })
    }
}

fn requests(settings: &Settings, purpose: Purpose, part: usize) -> Result<Requests, Error> {
    let (part, parts) = (part as u64, settings.threads as u64);
    let requests = match purpose {
        Purpose::Measure => Requests::new(&settings.workload, part, parts),
        Purpose::Preload => Requests::preload(&settings.workload, part, parts),
    };
    requests.map_err(Error::Usage)
}

fn plan(settings: &Settings, servers: &Servers, purpose: Purpose, part: usize) -> Plan {
    let threads = settings.threads;
    let share = |count: u64| count / threads as u64 + u64::from((part as u64) < count % threads as u64);
    // Each thread deals its own connections out, beginning elsewhere than the others.
    let connections =
        (0..share(settings.connections as u64) as usize).map(|own| (own + part) % servers.count);
    let warmup = settings.warmup.as_nanos() as u64;
    let limited = settings.limit < u64::MAX;
    let base = Plan {
        nodes: Arc::clone(&servers.nodes),
        connections: connections.collect(),
        layout: servers.layout.clone(),
        reconnect_every: settings.workload.reconnect_every.unwrap_or(u64::MAX),
        pipeline: settings.pipeline,
        pace: Pace::Closed,
        outages: false,
        interval: SECOND,
        warmup,
        end: warmup.saturating_add(settings.duration.as_nanos().min(u128::from(u64::MAX)) as u64),
        limit: if limited { share(settings.limit) } else { u64::MAX },
        grace: settings.grace.as_nanos() as u64,
        give_up: if limited { settings.give_up.as_nanos() as u64 } else { u64::MAX },
        opening: settings.opening.commands(),
        seed: settings.workload.seed.wrapping_add(part as u64),
    };
    match purpose {
        Purpose::Preload => {
            let pipeline = settings.pipeline.max(PRELOAD_PIPELINE);
            let limit = share(settings.workload.keys);
            let give_up = settings.give_up.as_nanos() as u64;
            Plan { pipeline, warmup: 0, end: u64::MAX, limit, give_up, reconnect_every: u64::MAX, ..base }
        }
        Purpose::Measure if settings.rates.is_empty() => base,
        Purpose::Measure => {
            // The warm-up goes on at the first rate; steps count from its end.
            let mut until = warmup;
            let steps = settings.rates.iter().map(|(rate, time)| {
                until = until.saturating_add(time.as_nanos().min(u128::from(u64::MAX)) as u64);
                Step { rate: rate / threads as f64, until }
            });
            let arrivals = Arrivals::new(steps.collect(), settings.spacing, part as u64, threads as u64);
            Plan { pace: Pace::Open(arrivals), ..base }
        }
    }
}

/// Nanoseconds.
const SECOND: u64 = 1_000_000_000;

/// Keys are written in batches of this many, whatever the run's own pipeline: nothing is measured.
const PRELOAD_PIPELINE: usize = 32;

/// Takes tallies until all threads have ended; the series gets so many of each thread per second.
fn gather<O: Observer>(
    tallies: &Receiver<Box<Tally>>,
    returns: &[Sender<Box<Tally>>],
    (mut series, parts): (Series, u64),
    watch: &mut Watch,
    observer: &mut O,
) -> (Tally, Vec<Second>) {
    let mut turn = 0;
    loop {
        match tallies.recv_timeout(watch.wait()) {
            Err(RecvTimeoutError::Disconnected) => {
                while let Some((second, counted)) = series.rest() {
                    observer.on_second(&second, &counted);
                }
                return series.finish();
            }
            Err(RecvTimeoutError::Timeout) => watch.look(),
            Ok(mut tally) => {
                watch.look();
                observer.on_tally(&tally);
                tally.interval = tally.interval.map(|interval| interval / parts);
                if let Some((second, counted)) = series.add(&tally) {
                    observer.on_second(&second, &counted);
                }
                tally.clear();
                turn = (turn + 1) % returns.len();
                // A thread that has ended takes none back.
                let _ = returns[turn].send(tally);
            }
        }
    }
}

fn join(threads: Vec<JoinHandle<Result<OwnUsage, Error>>>) -> Result<Vec<OwnUsage>, Error> {
    threads.into_iter().map(|thread| thread.join().map_err(|_| Error::Thread)?).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_count_from_the_end_of_the_warm_up() {
        let second = Duration::from_secs(1);
        let settings = Settings {
            targets: vec![Target::resolve("127.0.0.1:1").unwrap()],
            cluster: false,
            opening: Opening::default(),
            connections: 1,
            pipeline: 1,
            threads: 1,
            duration: 3 * second,
            warmup: 2 * second,
            grace: second,
            limit: u64::MAX,
            give_up: GIVE_UP,
            rates: vec![(100.0, second), (10.0, Duration::MAX)],
            spacing: Spacing::Even,
            workload: Workload::default(),
            processes: Vec::new(),
        };
        let servers = Servers::find(&settings, &Arc::default()).unwrap();
        let plan = plan(&settings, &servers, Purpose::Measure, 0);
        assert_eq!((plan.give_up, plan.end), (u64::MAX, 5 * SECOND));
        let Pace::Open(arrivals) = plan.pace else { panic!("rates make an open loop") };
        let due = |from: u64, until: u64| -> u64 {
            arrivals.expected(from * SECOND, until * SECOND).iter().map(|(_, count)| count).sum()
        };
        assert_eq!([due(0, 2), due(2, 3), due(3, 5)], [200, 100, 20]);
    }
}
