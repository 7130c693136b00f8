//! What the load saw, in tenths of seconds, and the figures of any window of it.
//!
//! The load's threads write, the engine reads. Times are nanoseconds since the scenario began. A window takes the
//! ticks whose middle lies in it; [`Record::snap`] finds edges that cut none.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::report::known;
use crate::tally::{Tally, histogram};

/// How long a tick is.
pub const TICK: Duration = Duration::from_millis(100);
const TICK_NS: u64 = TICK.as_nanos() as u64;

/// One tenth of a second of load.
#[derive(Clone, Debug, Default)]
struct Tick {
    at: u64,
    answered: u64,
    error_replies: u64,
    lost: u64,
    hits: u64,
    misses: u64,
    served: Option<(u64, u64)>,
    outage: u64,
    /// Latencies and how often they came: a whole histogram per tick would take too much memory.
    latency: Vec<(u64, u64)>,
}

/// A time during which the load was on.
#[derive(Clone, Copy, Debug)]
struct Phase {
    from: u64,
    until: Option<u64>,
}

/// All ticks so far. Clones share them.
#[derive(Clone, Debug)]
pub struct Record {
    epoch: Instant,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    ticks: Vec<Tick>,
    phases: Vec<Phase>,
}

/// The figures of a window.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Window {
    /// When it began, in seconds since the scenario began.
    pub from_s: f64,
    /// When it ended.
    pub until_s: f64,
    /// For how many seconds of it the load was on.
    pub loaded_s: f64,
    /// Requests answered.
    pub answered: u64,
    /// Error replies.
    pub error_replies: u64,
    /// Requests whose connection broke before the answer came.
    pub lost: u64,
    /// Keys looked up and found.
    pub hits: u64,
    /// Keys looked up and not found.
    pub misses: u64,
    /// Median latency in microseconds.
    #[serde(with = "known")]
    pub p50_us: f64,
    /// 90th percentile.
    #[serde(with = "known")]
    pub p90_us: f64,
    /// 99th percentile.
    #[serde(with = "known")]
    pub p99_us: f64,
    /// 99.9th percentile.
    #[serde(with = "known")]
    pub p999_us: f64,
    /// Longest.
    #[serde(with = "known")]
    pub max_us: f64,
    /// The longest time without an answer that is no error, in seconds.
    pub longest_gap_s: f64,
    /// The longest time that a slot was without service that ended in it or had not ended with it, in seconds. Without
    /// any good answer at least the longest gap.
    pub longest_outage_s: f64,
}

impl Record {
    /// An empty record; times count from `epoch`.
    pub fn new(epoch: Instant) -> Self {
        Self { epoch, inner: Arc::default() }
    }

    /// Nanoseconds since the scenario began.
    pub fn now(&self) -> u64 {
        self.since_epoch(Instant::now())
    }

    /// That time in nanoseconds since the scenario began.
    pub fn since_epoch(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.epoch).as_nanos() as u64
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // A tick is added whole, so what a panicked thread left is consistent.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The load is on since then.
    pub fn begin(&self, at: Instant) {
        let from = self.since_epoch(at);
        self.inner().phases.push(Phase { from, until: None });
    }

    /// The load is off now.
    pub fn end(&self) {
        let now = self.now();
        if let Some(phase) = self.inner().phases.last_mut() {
            phase.until.get_or_insert(now);
        }
    }

    /// When the load was put on for the first time.
    pub fn first_load(&self) -> Option<u64> {
        self.inner().phases.first().map(|phase| phase.from)
    }

    /// When the load was put on for the last time.
    pub fn last_load(&self) -> Option<u64> {
        self.inner().phases.last().map(|phase| phase.from)
    }

    /// Takes what one thread counted in one tick.
    pub fn add(&self, tally: &Tally) {
        let Some(interval) = tally.interval else { return };
        let total = tally.total();
        let mut inner = self.inner();
        let Some(from) = inner.phases.last().map(|phase| phase.from) else { return };
        let at = from + interval * TICK_NS;
        let near = inner.ticks.iter().rposition(|tick| tick.at == at);
        let index = near.unwrap_or_else(|| {
            inner.ticks.push(Tick { at, ..Tick::default() });
            inner.ticks.len() - 1
        });
        let tick = &mut inner.ticks[index];
        tick.answered += total.answered();
        tick.error_replies += total.errors;
        tick.lost += tally.lost;
        tick.outage = tick.outage.max(tally.outage);
        tick.hits += total.hits;
        tick.misses += total.misses;
        if let Some((first, last)) = tally.served {
            let (first, last) = (from + first, from + last);
            let (a, b) = tick.served.unwrap_or((first, last));
            tick.served = Some((first.min(a), last.max(b)));
        }
        let latencies = total.latencies();
        let latencies = latencies.iter_recorded();
        tick.latency.extend(latencies.map(|value| (value.value_iterated_to(), value.count_at_value())));
    }

    /// True when all ticks until then have come, or none will.
    pub fn is_complete(&self, until: u64) -> bool {
        let inner = self.inner();
        match inner.phases.last() {
            Some(Phase { until: None, from }) => {
                let last = inner.ticks.last().map_or(*from, |tick| tick.at + TICK_NS);
                last + TICK_NS / 2 >= until
            }
            _ => true,
        }
    }

    /// The nearest edge of a tick at that time or before, or else after. When the load is off there are no ticks.
    pub fn snap(&self, time: u64, after: bool) -> u64 {
        let inner = self.inner();
        let on = |phase: &&Phase| phase.from <= time && phase.until.is_none_or(|until| time < until);
        let Some(phase) = inner.phases.iter().find(on) else { return time };
        let into = (time - phase.from) % TICK_NS;
        if into > 0 && after { time - into + TICK_NS } else { time - into }
    }

    /// The figures from then to then.
    pub fn window(&self, from: u64, until: u64) -> Window {
        let inner = self.inner();
        let seconds = |ns: u64| ns as f64 / 1e9;
        let mut window = Window { from_s: seconds(from), until_s: seconds(until), ..Window::default() };
        let mut latency = histogram();
        for tick in inner.ticks.iter().filter(|tick| (from..until).contains(&(tick.at + TICK_NS / 2))) {
            window.answered += tick.answered;
            window.error_replies += tick.error_replies;
            window.lost += tick.lost;
            window.longest_outage_s = window.longest_outage_s.max(seconds(tick.outage));
            window.hits += tick.hits;
            window.misses += tick.misses;
            for (value, count) in &tick.latency {
                latency.saturating_record_n(*value, *count);
            }
        }
        let quantile = |share| latency.value_at_quantile(share) as f64 / 1e3;
        window.p50_us = quantile(0.5);
        window.p90_us = quantile(0.9);
        window.p99_us = quantile(0.99);
        window.p999_us = quantile(0.999);
        window.max_us = latency.max() as f64 / 1e3;
        for phase in &inner.phases {
            let (from, until) = (phase.from.max(from), phase.until.unwrap_or(until).min(until));
            if from < until {
                window.loaded_s += seconds(until - from);
                window.longest_gap_s = window.longest_gap_s.max(seconds(inner.longest_gap(from, until)));
            }
        }
        if window.answered == window.error_replies {
            window.longest_outage_s = window.longest_outage_s.max(window.longest_gap_s);
        }
        window
    }
}

impl Inner {
    /// The longest time without a good answer between two times of one phase. Times shorter than a tick may be
    /// missed.
    fn longest_gap(&self, from: u64, until: u64) -> u64 {
        let (mut last, mut longest) = (from, 0);
        for (first_served, last_served) in self.ticks.iter().filter_map(|tick| tick.served) {
            if last_served < from || first_served > until {
                continue;
            }
            longest = longest.max(first_served.saturating_sub(last));
            last = last.max(last_served);
        }
        longest.max(until.saturating_sub(last))
    }
}

impl Window {
    /// Requests answered per second of load.
    pub fn throughput(&self) -> f64 {
        self.answered as f64 / self.loaded_s.max(1e-9)
    }

    /// The share of looked-up keys that were found.
    pub fn hit_ratio(&self) -> Option<f64> {
        let asked = self.hits + self.misses;
        (asked > 0).then(|| self.hits as f64 / asked as f64)
    }

    /// Error replies and requests lost with their connection.
    pub fn errors(&self) -> u64 {
        self.error_replies + self.lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn tick(record: &Record, interval: u64, served: Option<(u64, u64)>, latency: u64) {
        let mut tally = Tally::new(1);
        tally.interval = Some(interval);
        tally.served = served;
        if latency > 0 {
            tally.commands[0].latency.saturating_record_n(latency, 10);
        }
        record.add(&tally);
    }

    #[test]
    fn windows_hold_their_own_ticks() {
        let epoch = Instant::now();
        let record = Record::new(epoch);
        record.begin(epoch + Duration::from_millis(1000));
        for interval in 0..10 {
            let latency = if interval < 5 { MS } else { 3 * MS };
            tick(&record, interval, Some((interval * 100 * MS, (interval * 100 + 99) * MS)), latency);
        }
        assert_eq!((record.snap(1230 * MS, false), record.snap(1230 * MS, true)), (1200 * MS, 1300 * MS));
        assert_eq!((record.snap(1200 * MS, true), record.snap(930 * MS, false)), (1200 * MS, 930 * MS));
        let all = record.window(0, 2000 * MS);
        assert_eq!((all.answered, all.loaded_s), (100, 1.0));
        let first = record.window(1000 * MS, 1500 * MS);
        assert_eq!(first.answered, 50);
        assert!((first.p99_us - 1000.0).abs() < 2.0, "{}", first.p99_us);
        assert!((first.throughput() - 100.0).abs() < 0.1);
        assert!(record.window(1500 * MS, 2000 * MS).p50_us > 2900.0);
    }

    #[test]
    fn an_outage_counts_while_it_lasts() {
        let epoch = Instant::now();
        let record = Record::new(epoch);
        record.begin(epoch);
        tick(&record, 0, Some((10 * MS, 90 * MS)), MS);
        for interval in 1..5 {
            let mut tally = Tally::new(1);
            (tally.interval, tally.outage) = (Some(interval), interval * 100 * MS);
            record.add(&tally);
        }
        assert_eq!(record.window(0, 500 * MS).longest_outage_s, 0.4);
        // Nobody answered: every slot that somebody wanted was out all the time, whatever was counted.
        assert_eq!(record.window(300 * MS, 2000 * MS).longest_outage_s, 1.7);
    }

    #[test]
    fn what_was_lost_is_in_the_percentiles() {
        let epoch = Instant::now();
        let record = Record::new(epoch);
        record.begin(epoch);
        let mut tally = Tally::new(1);
        tally.interval = Some(0);
        tally.commands[0].latency.saturating_record_n(MS, 10);
        (0..10).for_each(|_| tally.count_lost(0, 0, 800 * MS));
        record.add(&tally);
        let window = record.window(0, 100 * MS);
        assert_eq!((window.answered, window.lost), (10, 10));
        assert!(window.p90_us > 790_000.0, "{}", window.p90_us);
    }

    #[test]
    fn gaps_are_measured_between_answers_and_at_the_ends() {
        let epoch = Instant::now();
        let record = Record::new(epoch);
        record.begin(epoch);
        tick(&record, 0, Some((10 * MS, 90 * MS)), MS);
        // Two threads: what one of them answers ends the silence of both.
        tick(&record, 1, Some((110 * MS, 150 * MS)), MS);
        tick(&record, 1, Some((120 * MS, 130 * MS)), MS);
        for interval in 2..9 {
            tick(&record, interval, None, 0);
        }
        tick(&record, 9, Some((950 * MS, 990 * MS)), MS);
        assert_eq!(record.window(0, 1000 * MS).longest_gap_s, 0.8);
        assert_eq!(record.window(0, 2000 * MS).longest_gap_s, 1.01);
        assert_eq!(record.window(500 * MS, 990 * MS).longest_gap_s, 0.45);
        record.inner().phases[0].until = Some(1000 * MS);
        assert_eq!(record.window(0, 2000 * MS).longest_gap_s, 0.8);
    }
}
