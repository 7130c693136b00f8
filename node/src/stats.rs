//! What a node counts: commands, bytes, errors, slow commands, latency spikes.
//!
//! Counters of the hot path belong to one worker each and are summed when somebody asks.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use parking_lot::Mutex;
use shoal_proto::{Error, command::table, resp::Args, session::Record};

use crate::{config::is_secret as is_secret_parameter, server::TurnCounts};

/// Counts of one command.
#[derive(Debug, Default)]
pub(crate) struct PerCommand {
    calls: AtomicU64,
    nanos: AtomicU64,
    /// Of the calls, those for which `nanos` holds a time.
    covered: AtomicU64,
    failed: AtomicU64,
    rejected: AtomicU64,
}

/// Counters of one worker. Only its worker writes, so a plain load and store is enough.
#[derive(Debug)]
pub(crate) struct Counters {
    commands: AtomicU64,
    input: AtomicU64,
    output: AtomicU64,
    reads: AtomicU64,
    writes: AtomicU64,
    calls: Box<[PerCommand]>,
    pub(crate) turns: TurnCounts,
}

#[inline]
fn add(counter: &AtomicU64, n: u64) {
    counter.store(counter.load(Relaxed) + n, Relaxed);
}

impl Counters {
    fn new() -> Self {
        Self {
            commands: AtomicU64::new(0),
            input: AtomicU64::new(0),
            output: AtomicU64::new(0),
            reads: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            calls: (0..table().entries().len()).map(|_| PerCommand::default()).collect(),
            turns: TurnCounts::default(),
        }
    }

    #[inline]
    pub(crate) fn commands(&self, n: u64) {
        add(&self.commands, n);
    }

    /// One read of so many bytes.
    #[inline]
    pub(crate) fn received(&self, bytes: usize) {
        add(&self.input, bytes as u64);
        add(&self.reads, 1);
    }

    /// So many bytes of replies, which took so many writes.
    #[inline]
    pub(crate) fn sent(&self, bytes: u64, writes: u64) {
        add(&self.output, bytes);
        add(&self.writes, writes);
    }

    /// A request that was not executed: wrong arity, no password, no memory, not this node's slot.
    pub(crate) fn rejected(&self, id: u16) {
        add(&self.calls[usize::from(id)].rejected, 1);
    }

    #[inline]
    pub(crate) fn called(&self, id: u16, failed: bool) {
        let command = &self.calls[usize::from(id)];
        add(&command.calls, 1);
        if failed {
            add(&command.failed, 1);
        }
    }

    /// How long the call took that was counted last.
    pub(crate) fn timed(&self, id: u16, took: Duration) {
        let command = &self.calls[usize::from(id)];
        add(&command.nanos, took.as_nanos() as u64);
        add(&command.covered, 1);
    }

    /// How long the call took that was counted last, which was chosen by chance: it stands for all others since the one
    /// before that was.
    pub(crate) fn sampled(&self, id: u16, took: Duration) {
        let command = &self.calls[usize::from(id)];
        let calls = command.calls.load(Relaxed);
        let since = calls.saturating_sub(command.covered.load(Relaxed));
        add(&command.nanos, since.saturating_mul(took.as_nanos() as u64));
        command.covered.store(calls, Relaxed);
    }

    /// Whether the time of any call is known.
    pub(crate) fn is_timed(&self, id: u16) -> bool {
        self.calls[usize::from(id)].covered.load(Relaxed) > 0
    }
}

/// Sums of one command over all workers.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Calls {
    pub(crate) calls: u64,
    /// Of the calls, those whose time is known or was estimated.
    pub(crate) covered: u64,
    pub(crate) nanos: u64,
    pub(crate) failed: u64,
    pub(crate) rejected: u64,
}

impl Calls {
    /// Microseconds that all calls took whose time is known or was estimated. Never less than before.
    pub(crate) fn micros(&self) -> u64 {
        self.nanos / 1000
    }

    /// Microseconds that one took on average.
    pub(crate) fn mean(&self) -> f64 {
        self.nanos as f64 / 1000.0 / self.covered.max(1) as f64
    }
}

/// Error replies by their code.
#[derive(Debug, Default)]
pub(crate) struct Errors(Mutex<BTreeMap<String, u64>>);

/// Codes kept apart; scripts can invent any number.
const MOST_CODES: usize = 128;

impl Errors {
    pub(crate) fn note(&self, error: &Error) {
        let mut codes = self.0.lock();
        let code = error.code();
        let full = codes.len() >= MOST_CODES && !codes.contains_key(&code);
        *codes.entry(if full { "ERRORSTAT_OVERFLOW".to_owned() } else { code }).or_default() += 1;
    }

    pub(crate) fn all(&self) -> BTreeMap<String, u64> {
        self.0.lock().clone()
    }
}

/// Everything a node counts apart from keys.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    workers: Mutex<Vec<Arc<Counters>>>,
    pub(crate) connections: AtomicU64,
    pub(crate) rejected: AtomicU64,
    /// Clients closed because of `client-output-buffer-limit`, and of `client-query-buffer-limit`.
    pub(crate) output_limit: AtomicU64,
    pub(crate) query_limit: AtomicU64,
    pub(crate) errors: Errors,
    /// When the rates were last asked for, the counts then, and the rates found.
    rates: Mutex<(u64, [u64; 3], Rates)>,
}

/// What happened per second of late.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Rates {
    pub(crate) commands: u64,
    /// Bytes.
    pub(crate) input: u64,
    /// Bytes.
    pub(crate) output: u64,
}

impl Totals {
    /// The rates since this was last asked, at least 100 ms ago; at first since `started`.
    pub(crate) fn rates(&self, now: u64, started: u64) -> Rates {
        let counts = [self.commands(), self.input(), self.output()];
        let mut rates = self.rates.lock();
        let (asked, before, last) = *rates;
        let then = asked.max(started);
        if now < then + 100 {
            return last;
        }
        let per_second = |i: usize| counts[i].saturating_sub(before[i]) * 1000 / (now - then);
        let found = Rates { commands: per_second(0), input: per_second(1), output: per_second(2) };
        *rates = (now, counts, found);
        found
    }

    /// Counters for a new worker.
    pub(crate) fn worker(&self) -> Arc<Counters> {
        let counters = Arc::new(Counters::new());
        self.workers.lock().push(counters.clone());
        counters
    }

    fn sum(&self, pick: impl Fn(&Counters) -> &AtomicU64) -> u64 {
        self.workers.lock().iter().map(|c| pick(c).load(Relaxed)).sum()
    }

    pub(crate) fn commands(&self) -> u64 {
        self.sum(|c| &c.commands)
    }

    pub(crate) fn input(&self) -> u64 {
        self.sum(|c| &c.input)
    }

    pub(crate) fn output(&self) -> u64 {
        self.sum(|c| &c.output)
    }

    pub(crate) fn reads(&self) -> u64 {
        self.sum(|c| &c.reads)
    }

    pub(crate) fn writes(&self) -> u64 {
        self.sum(|c| &c.writes)
    }

    /// Turns that were measured, and those that took long.
    pub(crate) fn turns(&self) -> [u64; 2] {
        let each = self.workers.lock().iter().map(|c| c.turns.read()).collect::<Vec<_>>();
        each.iter().fold([0, 0], |sum, turns| [sum[0] + turns[0], sum[1] + turns[1]])
    }

    /// Calls of the command with this number.
    pub(crate) fn calls(&self, id: u16) -> Calls {
        let mut total = Calls::default();
        for counters in self.workers.lock().iter() {
            let command = &counters.calls[usize::from(id)];
            total.calls += command.calls.load(Relaxed);
            total.covered += command.covered.load(Relaxed);
            total.nanos += command.nanos.load(Relaxed);
            total.failed += command.failed.load(Relaxed);
            total.rejected += command.rejected.load(Relaxed);
        }
        total
    }

    /// `CONFIG RESETSTAT`. Workers that count meanwhile may keep a few.
    pub(crate) fn reset(&self) {
        for counters in self.workers.lock().iter() {
            for counter in
                [&counters.commands, &counters.input, &counters.output, &counters.reads, &counters.writes]
            {
                counter.store(0, Relaxed);
            }
            for command in &counters.calls {
                for counter in
                    [&command.calls, &command.nanos, &command.covered, &command.failed, &command.rejected]
                {
                    counter.store(0, Relaxed);
                }
            }
        }
        self.connections.store(0, Relaxed);
        for counter in [&self.rejected, &self.output_limit, &self.query_limit] {
            counter.store(0, Relaxed);
        }
        let mut rates = self.rates.lock();
        (rates.1, rates.2) = <_>::default();
        drop(rates);
        self.errors.0.lock().clear();
    }
}

/// One entry of `SLOWLOG GET`.
#[derive(Debug, Clone)]
pub(crate) struct SlowEntry {
    pub(crate) id: u64,
    pub(crate) seconds: u64,
    pub(crate) micros: u64,
    pub(crate) args: Vec<Vec<u8>>,
    pub(crate) client: String,
    pub(crate) name: String,
}

/// Commands that took longer than `slowlog-log-slower-than`.
#[derive(Debug)]
pub(crate) struct SlowLog {
    entries: Mutex<(u64, VecDeque<SlowEntry>)>,
    /// Microseconds; negative: off.
    pub(crate) threshold: AtomicI64,
    pub(crate) most: AtomicU64,
}

impl Default for SlowLog {
    fn default() -> Self {
        Self { entries: Mutex::default(), threshold: AtomicI64::new(10_000), most: AtomicU64::new(128) }
    }
}

/// Arguments and bytes of an argument that an entry keeps, as in Redis.
const SLOW_ARGS: usize = 32;
const SLOW_ARG_BYTES: usize = 128;

impl SlowLog {
    /// Whether even fast commands have to be timed one by one.
    #[inline]
    pub(crate) fn times_everything(&self) -> bool {
        (0..1000).contains(&self.threshold.load(Relaxed))
    }

    pub(crate) fn note(&self, args: Args<'_>, took: Duration, client: &Record, now: u64) {
        let threshold = self.threshold.load(Relaxed);
        if threshold < 0 || (took.as_micros() as i64) < threshold {
            return;
        }
        let most = self.most.load(Relaxed) as usize;
        let mut guard = self.entries.lock();
        let (next_id, entries) = &mut *guard;
        entries.push_front(SlowEntry {
            id: *next_id,
            seconds: now / 1000,
            micros: took.as_micros() as u64,
            args: shortened(args),
            client: client.addr.clone(),
            name: client.name(),
        });
        *next_id += 1;
        entries.truncate(most);
    }

    pub(crate) fn newest(&self, count: usize) -> Vec<SlowEntry> {
        self.entries.lock().1.iter().take(count).cloned().collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.lock().1.len()
    }

    pub(crate) fn reset(&self) {
        self.entries.lock().1.clear();
    }

    /// Applies `slowlog-max-len` to what is there.
    pub(crate) fn set_most(&self, most: u64) {
        self.most.store(most, Relaxed);
        self.entries.lock().1.truncate(most as usize);
    }
}

/// Whether an argument is a password, or who has it: as in Redis nobody is shown that.
fn is_secret(args: Args<'_>, i: usize) -> bool {
    if args.is(0, "auth") {
        return i > 0;
    }
    if args.is(0, "hello") {
        return (2..i).rev().take(2).any(|before| args.is(before, "auth"));
    }
    args.is(0, "config") && args.is(1, "set") && i > 2 && i % 2 == 1 && is_secret_parameter(args.at(i - 1))
}

fn shortened(args: Args<'_>) -> Vec<Vec<u8>> {
    let mut kept: Vec<Vec<u8>> = Vec::new();
    let shown = if args.len() > SLOW_ARGS { SLOW_ARGS - 1 } else { args.len() };
    for (i, arg) in args.iter().enumerate().take(shown) {
        if is_secret(args, i) {
            kept.push(b"(redacted)".to_vec());
        } else if arg.len() > SLOW_ARG_BYTES {
            let mut text = arg[..SLOW_ARG_BYTES].to_vec();
            text.extend(format!("... ({} more bytes)", arg.len() - SLOW_ARG_BYTES).into_bytes());
            kept.push(text);
        } else {
            kept.push(arg.to_vec());
        }
    }
    if args.len() > SLOW_ARGS {
        kept.push(format!("... ({} more arguments)", args.len() - shown).into_bytes());
    }
    kept
}

/// Spikes of one event: (second, ms), newest last.
pub(crate) type Spikes = VecDeque<(u64, u64)>;

/// `LATENCY`: events slower than `latency-monitor-threshold`.
#[derive(Debug, Default)]
pub(crate) struct Latency {
    events: Mutex<BTreeMap<&'static str, (Spikes, u64)>>,
    /// Milliseconds; 0: off.
    pub(crate) threshold: AtomicU64,
}

/// Spikes kept of one event, as in Redis.
const SPIKES: usize = 160;

impl Latency {
    pub(crate) fn note(&self, event: &'static str, took: Duration, now: u64) {
        let threshold = self.threshold.load(Relaxed);
        let millis = took.as_millis() as u64;
        if threshold == 0 || millis < threshold {
            return;
        }
        let mut events = self.events.lock();
        let (spikes, worst) = events.entry(event).or_default();
        *worst = (*worst).max(millis);
        match spikes.back_mut() {
            Some((second, ms)) if *second == now / 1000 => *ms = (*ms).max(millis),
            _ => spikes.push_back((now / 1000, millis)),
        }
        if spikes.len() > SPIKES {
            spikes.pop_front();
        }
    }

    pub(crate) fn all(&self) -> BTreeMap<&'static str, (Spikes, u64)> {
        self.events.lock().clone()
    }

    /// Forgets these events, or all; how many there were.
    pub(crate) fn reset(&self, names: &[&[u8]]) -> usize {
        let mut events = self.events.lock();
        let before = events.len();
        events.retain(|name, _| {
            !names.is_empty() && !names.iter().any(|n| n.eq_ignore_ascii_case(name.as_bytes()))
        });
        before - events.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_not_shown() {
        let shown = |line: &str| {
            let args = shoal_proto::resp::request::OwnedArgs::new(line.split(' '));
            shortened(args.args()).join(&b" "[..])
        };
        for (line, want) in [
            ("AUTH pw", "AUTH (redacted)"),
            ("auth default pw", "auth (redacted) (redacted)"),
            ("HELLO 3 AUTH default pw SETNAME me", "HELLO 3 AUTH (redacted) (redacted) SETNAME me"),
            ("HELLO 2 SETNAME me AUTH default pw", "HELLO 2 SETNAME me AUTH (redacted) (redacted)"),
            ("CONFIG SET maxmemory 0 requirepass pw", "CONFIG SET maxmemory 0 requirepass (redacted)"),
            ("CONFIG GET requirepass", "CONFIG GET requirepass"),
            ("SET auth value", "SET auth value"),
        ] {
            assert_eq!(String::from_utf8_lossy(&shown(line)), want);
        }
    }

    #[test]
    fn a_sample_stands_for_the_calls_since_the_last() {
        let totals = Totals::default();
        let counters = totals.worker();
        let call = |times: u64| (0..times).for_each(|_| counters.called(3, false));
        let micros = Duration::from_micros;
        assert!(!counters.is_timed(3));
        call(1);
        counters.sampled(3, micros(2));
        call(9);
        assert_eq!((totals.calls(3).micros(), totals.calls(3).mean()), (2, 2.0));
        // One among them was timed for itself.
        counters.timed(3, micros(100));
        call(1);
        counters.sampled(3, micros(4));
        let calls = totals.calls(3);
        assert_eq!((calls.calls, calls.covered, calls.micros()), (11, 11, 2 + 100 + 9 * 4));
        assert!(counters.is_timed(3));
        totals.reset();
        call(1);
        counters.sampled(3, micros(5));
        assert_eq!(totals.calls(3).micros(), 5);
    }
}
