//! The options that say what load to make, shared by all subcommands that make some.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use clap::Args;

use super::access::AccessArguments;
use super::foreign;
use crate::arrivals::Spacing;
use crate::cluster::{Layout, Nodes};
use crate::error::Error;
use crate::key_text::MAX_KEY_LENGTH;
use crate::keys::KeyDistribution;
use crate::procfs;
use crate::run::{GIVE_UP, Settings};
use crate::sizes::Sizes;
use crate::target::Target;
use crate::ttl::Ttls;
use crate::workload::{CommandSpec, MAX_KEYS, Workload};

/// How long to count where nothing says so.
const DURATION: Duration = Duration::from_secs(10);
/// How long to run before.
const WARMUP: Duration = Duration::from_secs(1);
/// How long to wait for late answers.
const GRACE: Duration = Duration::from_secs(2);

/// What load to make.
#[derive(Clone, Debug, Args)]
pub(super) struct LoadArguments {
    /// Connections in all.
    #[arg(short, long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    connections: u32,
    /// Requests under way per connection.
    #[arg(short = 'P', long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pipeline: u32,
    /// Generator threads.
    #[arg(short, long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    threads: u32,
    /// How long to count (10s, 500ms, 2m); with --requests whichever ends first [default: 10s, to the end of the steps of
    /// a --rate if all have a time, with --requests until they are made]
    #[arg(short, long, value_parser = some_time)]
    duration: Option<Duration>,
    /// How long to run before counting; the steps of a --rate begin behind it [default: 1s, with --requests none]
    #[arg(long, value_parser = duration)]
    pub(super) warmup: Option<Duration>,
    /// How long to wait for late answers after an open loop has ended [default: 2s]
    #[arg(long, value_parser = duration)]
    pub(super) grace: Option<Duration>,
    /// Stop after this many requests; those that follow one (on_miss, then) come on top. Given up when no server has
    /// answered for 10 seconds.
    #[arg(short = 'n', long, value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) requests: Option<u64>,
    /// Open loop: requests per second whatever the server does, latency counted from the intended time. Those that
    /// follow one (on_miss, then) come on top, when it is answered. Steps are written RATE@TIME,RATE@TIME,...
    /// [default: a closed loop, as fast as answers come]
    #[arg(short, long, value_name = "RATE", value_parser = rates)]
    rate: Option<Rates>,
    /// Space the requests of an open loop at random, as independent users would.
    #[arg(long, requires = "rate")]
    poisson: bool,

    /// A built-in workload or a TOML file; the options below change it [default: GETs and SETs by --ratio]
    #[arg(short, long)]
    workload: Option<String>,
    /// GETs to SETs, in this order (memtier_benchmark has the other) [default: 9:1]
    #[arg(long, value_name = "GET:SET", conflicts_with_all = ["workload", "command"], value_parser = ratio)]
    ratio: Option<(u32, u32)>,
    /// A command with places in it: {key}, {new}, {value}, {ttl} (as in SET {key} {value} EX {ttl}), {keys:N}, {pairs:N},
    /// {int:LOW-HIGH}, {group:N}. May be given several times.
    #[arg(long, conflicts_with = "workload")]
    command: Vec<String>,
    /// How often each --command comes, in the same order [default: 1]
    #[arg(long, requires = "command")]
    weight: Vec<u32>,
    /// Number of keys [default: 1000000, with -w that of the workload]
    #[arg(short, long, value_parser = clap::value_parser!(u64).range(1..=MAX_KEYS))]
    pub(super) keys: Option<u64>,
    /// Length of keys: BYTES, LOW-HIGH or normal:MEAN:DEVIATION; the prefix and the digits of every key must fit
    /// [default: 32, with -w that of the workload]
    #[arg(long, value_parser = key_size)]
    pub(super) key_size: Option<Sizes>,
    /// What every key starts with [default: key:, with -w that of the workload]
    #[arg(long)]
    pub(super) key_prefix: Option<String>,
    /// Size of values: BYTES, LOW-HIGH or normal:MEAN:DEVIATION [default: 100, with -w that of the workload]
    #[arg(long)]
    pub(super) value_size: Option<Sizes>,
    /// Seconds for {ttl}, which some command must have: N, LOW-HIGH, normal:MEAN:DEVIATION or a mix such as 60*3,600-900*4,none
    /// [default: none, with -w that of the workload]
    #[arg(long)]
    pub(super) ttl: Option<Ttls>,
    /// Which keys: uniform, sequential, zipf:EXPONENT, latest:EXPONENT, hotset:KEYS:REQUESTS,
    /// flash:REQUESTS:EVERY:EXPONENT (the hot key moves EVERY so many requests, or seconds as in 10s)
    /// [default: uniform, with -w that of the workload]
    #[arg(long)]
    pub(super) distribution: Option<KeyDistribution>,
    /// The seed of all chance; the same seed makes the same requests [default: 1, with -w that of the workload]
    #[arg(long)]
    seed: Option<u64>,

    /// The target is a node of a cluster: ask it for the others, send each request to the owner of its key, follow
    /// redirects.
    #[arg(long)]
    cluster: bool,
    /// Close and open each connection after this many requests [default: never, with -w that of the workload]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    reconnect_every: Option<u64>,
    #[command(flatten)]
    access: AccessArguments,

    /// Processes of the server whose CPU time is counted, as PID,PID,...; of several servers as NAME=PID,PID,... and once
    /// for each [default: those on this machine that listen at the target]
    #[arg(long = "pid", value_name = "PID", value_parser = processes)]
    processes: Vec<Processes>,
}

impl LoadArguments {
    /// The settings of a run against these targets. Once `stop` is set nobody is waited for.
    pub(super) fn settings(&self, targets: &[String], stop: &Arc<AtomicBool>) -> Result<Settings, Error> {
        if let Some(name) = self.processes.iter().find_map(|some| some.of.as_ref()) {
            return Err(Error::Usage(format!(
                "--pid {name}=...: names are for the servers of a comparison, here write --pid PID,PID,..."
            )));
        }
        self.make(None, targets, stop)
    }

    /// The settings of a run against the server called `name`, one of several.
    pub(super) fn settings_of(
        &self,
        name: &str,
        targets: &[String],
        stop: &Arc<AtomicBool>,
    ) -> Result<Settings, Error> {
        self.make(Some(name), targets, stop)
    }

    /// Refuses processes that are not said to be of one of these servers.
    pub(super) fn check_processes(&self, names: &[&str]) -> Result<(), Error> {
        for some in &self.processes {
            match &some.of {
                Some(of) if names.contains(&of.as_str()) => {}
                Some(of) => {
                    let names = names.join(", ");
                    return Err(Error::Usage(format!(
                        "--pid {of}=...: there is no server {of}, but {names}"
                    )));
                }
                None => {
                    let example: Vec<String> = names.iter().map(|name| format!("--pid {name}=PID")).collect();
                    return Err(Error::Usage(format!(
                        "--pid {some} does not say whose process that is, and would count it for each of {} servers: \
                         write {}",
                        names.len(),
                        example.join(" ")
                    )));
                }
            }
        }
        Ok(())
    }

    fn make(
        &self,
        name: Option<&str>,
        targets: &[String],
        stop: &Arc<AtomicBool>,
    ) -> Result<Settings, Error> {
        let targets = self.access.targets(targets)?;
        if self.threads > self.connections {
            let (threads, connections) = (self.threads, self.connections);
            return Err(Error::Usage(format!(
                "each thread needs a connection: {threads} --threads and {connections} --connections"
            )));
        }
        let own = self.processes.iter().filter(|some| some.of.as_deref() == name);
        let own: Vec<u32> = own.flat_map(|some| some.numbers.iter().copied()).collect();
        if let Some(absent) = own.iter().find(|process| !procfs::is_running(**process)) {
            return Err(Error::Usage(format!("there is no process {absent} (--pid)")));
        }
        let processes = if own.is_empty() { self.local_processes(&targets, stop)? } else { own };
        let processes = BTreeSet::from_iter(processes).into_iter().collect();
        let mut rates = self.rate.clone().unwrap_or_default().0;
        let steps = rates.iter().map(|(_, time)| *time).reduce(Duration::saturating_add);
        let steps = steps.filter(|steps| *steps < Duration::MAX).unwrap_or(DURATION);
        // The last rate goes on to the end.
        if let Some((_, time)) = rates.last_mut() {
            *time = Duration::MAX;
        }
        Ok(Settings {
            cluster: self.cluster,
            opening: self.access.opening(),
            connections: self.connections as usize,
            pipeline: self.pipeline as usize,
            threads: self.threads as usize,
            duration: self.duration.unwrap_or(if self.requests.is_some() { Duration::MAX } else { steps }),
            warmup: if self.requests.is_some() { Duration::ZERO } else { self.warmup.unwrap_or(WARMUP) },
            grace: self.grace.unwrap_or(GRACE),
            limit: self.requests.unwrap_or(u64::MAX),
            give_up: GIVE_UP,
            rates,
            spacing: if self.poisson { Spacing::Poisson } else { Spacing::Even },
            workload: self.workload()?,
            processes,
            targets,
        })
    }

    /// The processes on this machine that listen where the targets are, or the nodes of their cluster.
    fn local_processes(&self, targets: &[Target], stop: &Arc<AtomicBool>) -> Result<Vec<u32>, Error> {
        let nodes = if self.cluster {
            let nodes = Nodes::default();
            Layout::read(targets, &self.access.opening(), &nodes, stop)?;
            nodes
        } else {
            Nodes::new(targets.iter().map(Target::endpoint).collect())
        };
        let local =
            nodes.all().into_iter().map(|node| node.address).filter(|address| address.ip().is_loopback());
        let mut processes: Vec<u32> = local.flat_map(procfs::listeners).collect();
        processes.sort_unstable();
        processes.dedup();
        Ok(processes)
    }

    /// The workload's file, if it may be one.
    pub(super) fn workload_file(&self) -> Option<&Path> {
        self.workload.as_deref().map(Path::new)
    }

    /// The workload with the options' changes.
    fn workload(&self) -> Result<Workload, Error> {
        let mut workload = match &self.workload {
            Some(name) => Workload::find(name)?,
            None => Workload { name: "commands".into(), ..Workload::default() },
        };
        if let Some((gets, sets)) = self.ratio {
            workload.commands[0].weight = gets;
            workload.commands[1].weight = sets;
        }
        if let Some(foreign) = self.command.iter().find_map(|line| foreign::place(line)) {
            return Err(Error::Usage(foreign));
        }
        if !self.command.is_empty() {
            if self.weight.len() > self.command.len() {
                return Err(Error::Usage("there are more --weight than --command".into()));
            }
            let weights = self.weight.iter().copied().chain(std::iter::repeat(1));
            let specs = self.command.iter().zip(weights);
            workload.commands = specs.map(|(line, weight)| CommandSpec::new(line, weight)).collect();
        }
        workload.commands.retain(|command| command.weight > 0);
        workload.keys = self.keys.unwrap_or(workload.keys);
        workload.key_lengths = self.key_size.clone().unwrap_or(workload.key_lengths);
        workload.ttls = self.ttl.clone().or(workload.ttls);
        workload.key_prefix = self.key_prefix.clone().unwrap_or(workload.key_prefix);
        workload.sizes = self.value_size.clone().unwrap_or(workload.sizes);
        workload.distribution = self.distribution.unwrap_or(workload.distribution);
        workload.reconnect_every = self.reconnect_every.or(workload.reconnect_every);
        workload.seed = self.seed.unwrap_or(workload.seed);
        self.fit_keys(&mut workload)?;
        Ok(workload)
    }

    /// Refuses keys that would be longer than was said. Where nothing was said they are as long as they must be.
    fn fit_keys(&self, workload: &mut Workload) -> Result<(), Error> {
        let Err(short) = workload.check_key_lengths() else { return Ok(()) };
        if self.key_size.is_some() {
            return Err(Error::Usage(format!("--key-size: {short}")));
        }
        if self.workload.is_some() {
            let name = &workload.name;
            return Err(Error::Usage(format!(
                "{short}; the length is that of {name}, change it by --key-size"
            )));
        }
        workload.key_lengths = Sizes::Fixed(workload.least_key_length());
        Ok(())
    }
}

/// Processes, and the name of their server where there are several.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Processes {
    of: Option<String>,
    numbers: Vec<u32>,
}

impl fmt::Display for Processes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers: Vec<String> = self.numbers.iter().map(ToString::to_string).collect();
        f.write_str(&numbers.join(","))
    }
}

/// `PID,PID,...`, or `NAME=PID,PID,...`.
fn processes(text: &str) -> Result<Processes, String> {
    let (of, numbers) = match text.rsplit_once('=') {
        Some((name, numbers)) => (Some(name.to_owned()), numbers),
        None => (None, text),
    };
    let number = |text: &str| text.trim().parse::<u32>().ok();
    let numbers: Option<Vec<u32>> = numbers.split(',').map(number).collect();
    let numbers = numbers.filter(|_| of.as_deref() != Some(""));
    let numbers =
        numbers.ok_or_else(|| format!("'{text}' is no process: write PID, PID,PID or NAME=PID,PID"))?;
    Ok(Processes { of, numbers })
}

/// The steps of an open loop.
#[derive(Clone, Debug, Default, PartialEq)]
struct Rates(Vec<(f64, Duration)>);

fn key_size(text: &str) -> Result<Sizes, String> {
    let sizes: Sizes = text.parse()?;
    match sizes.bounds() {
        Some((low, high)) if low == 0 || high > MAX_KEY_LENGTH as u64 => {
            Err(format!("the length of keys must be from 1 to {MAX_KEY_LENGTH}"))
        }
        _ => Ok(sizes),
    }
}

fn ratio(text: &str) -> Result<(u32, u32), String> {
    let parts = text.split_once(':').and_then(|(gets, sets)| Some((gets.parse().ok()?, sets.parse().ok()?)));
    match parts {
        Some((gets, sets)) if (gets, sets) != (0, 0) => Ok((gets, sets)),
        _ => Err(format!("'{text}' is no ratio: write GETs:SETs, such as 9:1")),
    }
}

/// The steps of an open loop: `RATE`, or `RATE@TIME` several times.
fn rates(text: &str) -> Result<Rates, String> {
    let wrong = |part: &str| format!("'{part}' is no rate: write RATE or RATE@TIME,RATE@TIME,...");
    let mut rates = Vec::new();
    let parts = text.split(',').count();
    for (place, part) in text.split(',').enumerate() {
        let (rate, time) = match part.split_once('@') {
            None if place + 1 < parts => {
                return Err(format!("the rate {part} has no end: write {part}@TIME, as in {part}@10s"));
            }
            None => (part, Duration::MAX),
            Some((rate, time)) => (rate, duration(time).map_err(|_| wrong(part))?),
        };
        match rate.parse::<f64>() {
            Ok(rate) if (0.001..=1e9).contains(&rate) => rates.push((rate, time)),
            _ => return Err(wrong(part)),
        }
    }
    Ok(Rates(rates))
}

/// A time above zero.
pub(super) fn some_time(text: &str) -> Result<Duration, String> {
    duration(text).and_then(|time| {
        if time.is_zero() { Err("there is nothing to count in no time".into()) } else { Ok(time) }
    })
}

/// A time such as `10s`, `1.5m`, `500ms`; a number alone means seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| c != '.' && !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let scale = match unit {
        "ms" => 1e-3,
        "s" | "" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return Err(format!("'{unit}' is no unit of time: use ms, s, m or h")),
    };
    let seconds = number.parse::<f64>().map_err(|_| format!("'{text}' is no time"))? * scale;
    if seconds > 1e8 { Err(format!("'{text}' is too long")) } else { Ok(Duration::from_secs_f64(seconds)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        assert_eq!(duration("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(duration("1.5m"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("3"), Ok(Duration::from_secs(3)));
        for text in ["", "s", "10x", "1.2.3s", "-1s", "999999999999h"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn rates_are_read() {
        assert_eq!(rates("1000").unwrap().0, [(1000.0, Duration::MAX)]);
        let steps = rates("1000@5s,2000@10s").unwrap().0;
        assert_eq!(steps, [(1000.0, Duration::from_secs(5)), (2000.0, Duration::from_secs(10))]);
        assert_eq!(rates("1000@5s,2000").unwrap().0[1], (2000.0, Duration::MAX));
        assert!(rates("0").is_err() && rates("x@5s").is_err() && rates("5@y").is_err());
        let error = rates("1000,2000@1s").unwrap_err();
        assert!(error.contains("1000@TIME"), "{error}");
    }

    #[test]
    fn processes_are_read() {
        let read = |text: &str| processes(text).map(|some| (some.of, some.numbers));
        assert_eq!(read("12,345"), Ok((None, vec![12, 345])));
        assert_eq!(read("x=7"), Ok((Some("x".into()), vec![7])));
        assert_eq!(read("a=b=7, 8"), Ok((Some("a=b".into()), vec![7, 8])));
        for text in ["", "x", "x=", "=5", "5,", "-1", "x=y"] {
            assert!(processes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn ratios_are_read() {
        assert_eq!(ratio("9:1").unwrap(), (9, 1));
        assert!(ratio("0:0").is_err() && ratio("9").is_err() && ratio("a:b").is_err());
    }
}
