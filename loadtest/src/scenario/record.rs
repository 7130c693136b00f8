//! What the load saw, in tenths of seconds, and the figures of any window of it.
//!
//! The load's threads write, the engine reads. Times are nanoseconds since the scenario began. A window takes the
//! ticks whose middle lies in it; [`Record::snap`] finds edges that cut none. What waits for an answer when a window ends
//! counts in its latencies with its wait so far: left out, a server would look the better the less it answers.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::report::figures::usual;
use crate::report::known;
use crate::standing::Standing;
use crate::tally::{Tally, histogram};

/// How long a tick is.
pub const TICK: Duration = Duration::from_millis(100);
const TICK_NS: u64 = TICK.as_nanos() as u64;

/// A request that has waited for less than this, in nanoseconds, is on its way.
const LEAST_UNANSWERED: u64 = 500_000_000;
/// The waits of requests that a connection would have made are told apart so far.
const SLICES: u64 = 32;

/// One tenth of a second of load.
#[derive(Clone, Debug, Default)]
struct Tick {
    /// The number of its phase.
    phase: usize,
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
    /// What had no answer when it ended.
    standing: Standing,
}

/// A time during which the load was on.
#[derive(Clone, Debug)]
struct Phase {
    from: u64,
    until: Option<u64>,
    /// The next request of a connection waits for the answer to the one before.
    closed: bool,
    /// What had no answer when it ended.
    left: Standing,
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
    /// Requests that had waited without an answer for half a second or longer, and for unusually long, when it ended or
    /// the load was put off.
    pub unanswered: u64,
    /// Those of them that nobody waits for any more, since the load was put off.
    pub abandoned: u64,
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

    /// The load is on since then, a closed loop or an open one.
    pub fn begin(&self, at: Instant, closed: bool) {
        let from = self.since_epoch(at);
        self.inner().phases.push(Phase { from, until: None, closed, left: Standing::default() });
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
        let Some(phase) = inner.phases.len().checked_sub(1) else { return };
        let from = inner.phases[phase].from;
        let at = from + interval * TICK_NS;
        let near = inner.ticks.iter().rposition(|tick| tick.at == at);
        let index = near.unwrap_or_else(|| {
            inner.ticks.push(Tick { phase, at, ..Tick::default() });
            inner.ticks.len() - 1
        });
        // A thread tells of its connections at its end.
        if tally.connections > 0 {
            inner.phases[phase].left.add(&tally.standing);
        }
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
        tick.standing.add(&tally.standing);
        // Without what is left at the end, which stands there, too.
        let latencies = total.ended();
        let latencies = latencies.iter_recorded();
        tick.latency.extend(latencies.map(|value| (value.value_iterated_to(), value.count_at_value())));
    }

    /// True when all ticks until then have come, or none will.
    pub fn is_complete(&self, until: u64) -> bool {
        let inner = self.inner();
        match inner.phases.last() {
            Some(Phase { until: None, from, .. }) => {
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
        for tick in inner.within(from, until) {
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
        inner.add_waiting(&mut window, &mut latency, (from, until));
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
    /// The ticks of a window. The last one of a phase ends with it.
    fn within(&self, from: u64, until: u64) -> impl Iterator<Item = &Tick> {
        self.ticks.iter().filter(move |tick| {
            let end = self.phases[tick.phase].until.unwrap_or(u64::MAX).min(tick.at + TICK_NS);
            (from..until).contains(&tick.at.midpoint(end.max(tick.at)))
        })
    }

    /// Counts what has no answer at the end of the window, or at the end of the load in it.
    fn add_waiting(&self, window: &mut Window, latency: &mut Histogram<u64>, (from, until): (u64, u64)) {
        let (median, unusual) = (latency.value_at_quantile(0.5), usual(latency).max(LEAST_UNANSWERED));
        for (number, phase) in self.phases.iter().enumerate() {
            let ticks = self.within(from, until).filter(|tick| tick.phase == number);
            let Some(last) = ticks.max_by_key(|tick| tick.at) else { continue };
            let has_ended = phase.until.is_some_and(|end| end <= until);
            let standing = if has_ended { &phase.left } else { &last.standing };
            for (waited, count) in standing.each() {
                // What has just been sent says nothing of how long answers take.
                if waited > median {
                    latency.saturating_record_n(waited, count);
                }
                if waited > unusual {
                    window.unanswered += count;
                    window.abandoned += if has_ended { count } else { 0 };
                    if phase.closed {
                        add_unasked(latency, waited, count, median);
                    }
                }
            }
        }
    }

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

/// Adds the requests that would have been made while others waited, and would wait as well.
fn add_unasked(latency: &mut Histogram<u64>, waited: u64, count: u64, median: u64) {
    let unasked = waited.checked_div(median).map_or(0, |asked| asked.saturating_mul(count));
    for slice in 1..=SLICES {
        latency.saturating_record_n(waited / SLICES * slice, unasked / SLICES);
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

    /// Error replies, requests lost with their connection, and those without an answer when the load was put off.
    pub fn errors(&self) -> u64 {
        self.error_replies + self.lost + self.abandoned
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
        record.begin(epoch + Duration::from_millis(1000), false);
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
        record.begin(epoch, false);
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
        record.begin(epoch, false);
        let mut tally = Tally::new(1);
        tally.interval = Some(0);
        tally.commands[0].latency.saturating_record_n(MS, 10);
        (0..10).for_each(|_| tally.count_lost(0, 0, 800 * MS));
        record.add(&tally);
        let window = record.window(0, 100 * MS);
        assert_eq!((window.answered, window.lost), (10, 10));
        assert!(window.p90_us > 790_000.0, "{}", window.p90_us);
    }

    /// What a thread tells of an interval in which so many were answered and, at its end, so many had waited so long.
    fn waiting(record: &Record, interval: u64, answered: u64, waits: &[(u64, u64)], is_last: bool) {
        let mut tally = Tally::new(1);
        (tally.interval, tally.connections) = (Some(interval), u64::from(is_last));
        tally.commands[0].latency.saturating_record_n(MS, answered);
        waits.iter().for_each(|(waited, count)| tally.standing.record(*waited * MS, *count));
        record.add(&tally);
    }

    #[test]
    fn what_waits_at_the_end_of_a_window_counts_with_its_wait() {
        let epoch = Instant::now();
        let record = Record::new(epoch);
        record.begin(epoch, false);
        waiting(&record, 0, 100, &[(0, 3)], false);
        for interval in 1..21 {
            let oldest = interval * 100;
            waiting(&record, interval, 0, &[(oldest, 1), (oldest / 2, oldest / 2)], false);
        }
        let at = |until: u64| record.window(0, until * MS);
        let calm = at(100);
        assert_eq!((calm.unanswered, calm.errors()), (0, 0));
        assert!(calm.max_us < 1001.0 && calm.p50_us > 999.0, "what was just sent says nothing: {calm:?}");
        let hung = at(2000);
        assert!((hung.max_us - 1_900_000.0).abs() < 2000.0, "{}", hung.max_us);
        assert!(hung.p99_us > 900_000.0 && hung.p50_us > 900_000.0, "{hung:?}");
        assert_eq!(
            (hung.answered, hung.unanswered, hung.errors()),
            (100, 951, 0),
            "they may be answered yet"
        );
        let silent = record.window(1000 * MS, 2000 * MS);
        assert!((silent.max_us - 1_900_000.0).abs() < 2000.0, "{}", silent.max_us);
        // The last tick is cut by the end of the load, and belongs to it.
        waiting(&record, 21, 0, &[(2110, 1), (700, 1000)], true);
        record.inner().phases[0].until = Some(2110 * MS);
        let over = at(2115);
        assert_eq!((over.unanswered, over.abandoned, over.errors()), (1001, 1001, 1001));
        assert!((over.max_us - 2_110_000.0).abs() < 2100.0, "{}", over.max_us);
        let before = at(2000);
        assert_eq!((before.unanswered, before.errors()), (951, 0));
        assert_eq!(record.window(2200 * MS, 3000 * MS).unanswered, 0, "there is no load any more");
    }

    #[test]
    fn a_load_that_goes_on_later_has_abandoned_what_waited() {
        let epoch = Instant::now();
        let record = Record::new(epoch);
        record.begin(epoch, false);
        waiting(&record, 0, 10, &[(900, 2)], true);
        // Another thread had no turn after that.
        waiting(&record, 1, 10, &[(800, 3)], true);
        record.inner().phases[0].until = Some(150 * MS);
        record.begin(epoch + Duration::from_millis(400), false);
        waiting(&record, 0, 10, &[(600, 5)], false);
        let window = record.window(0, 500 * MS);
        assert_eq!((window.answered, window.unanswered, window.abandoned), (30, 10, 5));
        let second = record.window(300 * MS, 500 * MS);
        assert_eq!((second.unanswered, second.abandoned), (5, 0));
    }

    #[test]
    fn a_connection_that_hangs_in_a_closed_loop_would_have_asked() {
        let p99 = |closed| {
            let epoch = Instant::now();
            let record = Record::new(epoch);
            record.begin(epoch, closed);
            waiting(&record, 0, 10_000, &[(2000, 5)], true);
            record.inner().phases[0].until = Some(90 * MS);
            let window = record.window(0, 100 * MS);
            assert_eq!(window.errors(), 5);
            window.p99_us
        };
        // Five connections could have made 2,000 requests each meanwhile.
        assert!(p99(true) > 1_900_000.0 && p99(false) < 1100.0, "{} {}", p99(true), p99(false));
    }

    #[test]
    fn a_slow_server_leaves_nothing_unanswered() {
        let epoch = Instant::now();
        let record = Record::new(epoch);
        record.begin(epoch, true);
        let mut tally = Tally::new(1);
        (tally.interval, tally.connections) = (Some(0), 1);
        tally.commands[0].latency.saturating_record_n(1000 * MS, 20);
        tally.standing.record(990 * MS, 20);
        record.add(&tally);
        record.inner().phases[0].until = Some(90 * MS);
        let window = record.window(0, 100 * MS);
        assert_eq!((window.unanswered, window.errors()), (0, 0));
    }

    #[test]
    fn gaps_are_measured_between_answers_and_at_the_ends() {
        let epoch = Instant::now();
        let record = Record::new(epoch);
        record.begin(epoch, false);
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
