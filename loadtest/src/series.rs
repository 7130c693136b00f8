//! The run over time: tallies of all threads put together per second and reduced to a few numbers each.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::report::known;
use crate::tally::Tally;

/// What one second of the run was like.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Second {
    /// Which one, counted from the end of the warm-up.
    pub second: u64,
    /// When it began, in seconds from the end of the warm-up, where its number does not tell: after a round that ended
    /// within a second. In a scenario, in seconds since that began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub begin_s: Option<f64>,
    /// How long it was, in seconds: less than 1 where the run ended in it; 0 in files of older versions.
    pub length_s: f64,
    /// Answered requests.
    pub answered: u64,
    /// Error replies; in files of older versions with broken connections.
    pub errors: u64,
    /// Errors that are the answer to no request: connections that broke or could not be opened, and redirects that lead
    /// nowhere.
    pub connection_errors: u64,
    /// Requests whose connection broke before the answer came.
    pub lost: u64,
    /// How long the oldest request under way had waited at its end, in microseconds; 0 if there was none.
    pub waiting_us: f64,
    /// Median latency in microseconds; as the others 0 if there is none, which is null in files.
    #[serde(with = "known")]
    pub p50_us: f64,
    /// 99th percentile in microseconds.
    #[serde(with = "known")]
    pub p99_us: f64,
    /// Longest latency in microseconds.
    #[serde(with = "known")]
    pub max_us: f64,
    /// Keys looked up and found.
    pub hits: u64,
    /// Keys looked up and not found.
    pub misses: u64,
    /// Answered requests per server, where there are several, in the order of the run's list of servers.
    pub endpoints: Vec<u64>,
}

impl Second {
    /// Of everything that was counted in it.
    pub fn of(second: u64, tally: &Tally) -> Self {
        let total = tally.total();
        // What still waits at the end of the run belongs to no second.
        let latencies = total.ended();
        let quantile = |share| latencies.value_at_quantile(share) as f64 / 1000.0;
        Self {
            second,
            begin_s: None,
            length_s: if tally.cut > 0 { tally.cut as f64 / 1e9 } else { whole() },
            answered: total.in_time(),
            errors: total.errors,
            connection_errors: tally.connection_errors,
            lost: tally.lost,
            waiting_us: tally.waiting as f64 / 1000.0,
            p50_us: quantile(0.5),
            p99_us: quantile(0.99),
            max_us: latencies.max() as f64 / 1000.0,
            hits: total.hits,
            misses: total.misses,
            endpoints: tally
                .endpoints
                .iter()
                .map(|endpoint| endpoint.latency.len() - endpoint.late)
                .collect(),
        }
    }

    /// All errors that the run's list has of it: error replies, and those that are the answer to no request. Lost
    /// requests have no error of their own, their connection has.
    pub fn all_errors(&self) -> u64 {
        self.errors + self.connection_errors
    }

    /// True if latencies are known: of answers, or of the waits of what was lost.
    pub fn has_latencies(&self) -> bool {
        self.answered + self.lost > 0
    }

    /// The longest latency, or the wait so far of the request that had waited longest at its end, whichever is longer;
    /// none if there is neither.
    pub fn longest_us(&self) -> Option<f64> {
        let answered_us = if self.has_latencies() { self.max_us } else { 0.0 };
        let longest_us = answered_us.max(self.waiting_us);
        (longest_us > 0.0).then_some(longest_us)
    }

    /// Answered requests per second.
    pub fn rate(&self) -> f64 {
        self.answered as f64 / self.length().max(SHORTEST_S)
    }

    /// When it began, in seconds from the end of the warm-up, or since the scenario began.
    pub fn begin_s(&self) -> f64 {
        self.begin_s.unwrap_or(self.second as f64)
    }

    /// How long it was, in seconds; taken for whole where that is not known.
    pub fn length(&self) -> f64 {
        if self.length_s > 0.0 { self.length_s } else { whole() }
    }

    /// The share of looked-up keys that were found, if any were looked up.
    pub fn hit_ratio(&self) -> Option<f64> {
        let asked = self.hits + self.misses;
        (asked > 0).then(|| self.hits as f64 / asked as f64)
    }
}

/// The rate of a shorter time says nothing.
const SHORTEST_S: f64 = 0.001;

fn whole() -> f64 {
    1.0
}

/// Puts tallies together.
#[derive(Debug)]
pub struct Series {
    threads: usize,
    total: Tally,
    open: BTreeMap<u64, (usize, Tally)>,
    /// The seconds that all threads have reported, in order.
    pub seconds: Vec<Second>,
}

impl Series {
    /// Of so many threads and commands.
    pub fn new(threads: usize, commands: usize) -> Self {
        Self { threads, total: Tally::new(commands), open: BTreeMap::new(), seconds: Vec::new() }
    }

    /// Takes a thread's tally of one interval; returns the second and all that was counted in it if that was the
    /// last thread's.
    pub fn add(&mut self, tally: &Tally) -> Option<(Second, Tally)> {
        let second = tally.interval?;
        self.total.add(tally);
        let commands = tally.commands.len();
        let (seen, sum) = self.open.entry(second).or_insert_with(|| (0, Tally::new(commands)));
        sum.add(tally);
        *seen += 1;
        if *seen < self.threads {
            return None;
        }
        let (_, sum) = self.open.remove(&second)?;
        Some((self.close(second, &sum), sum))
    }

    /// Takes the seconds that some thread has not reported as they are, one after the other.
    pub fn rest(&mut self) -> Option<(Second, Tally)> {
        let (second, (_, sum)) = self.open.pop_first()?;
        Some((self.close(second, &sum), sum))
    }

    fn close(&mut self, second: u64, sum: &Tally) -> Second {
        let whole = Second::of(second, sum);
        self.seconds.push(whole.clone());
        whole
    }

    /// Ends the series.
    pub fn finish(mut self) -> (Tally, Vec<Second>) {
        while self.rest().is_some() {}
        self.seconds.sort_by_key(|second| second.second);
        (self.total, self.seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(interval: Option<u64>, latency: u64) -> Tally {
        let mut tally = Tally::new(1);
        tally.interval = interval;
        tally.commands[0].latency.saturating_record(latency);
        tally
    }

    #[test]
    fn a_second_counts_what_was_lost_and_not_what_was_late() {
        let mut tally = tally(Some(0), 1000);
        tally.commands[0].latency.saturating_record_n(2000, 3);
        tally.commands[0].late = 3;
        tally.count_lost(0, 0, 9_000_000);
        tally.count_break(0, "connection: refused");
        tally.waiting = 5000;
        let second = Second::of(0, &tally);
        assert_eq!((second.answered, second.errors, second.lost, second.all_errors()), (1, 0, 1, 1));
        assert!(second.max_us > 8990.0 && second.waiting_us == 5.0, "{second:?}");
        assert_eq!(second.longest_us(), Some(second.max_us));
        let waiting = Second { waiting_us: 2e6, ..second };
        assert_eq!(waiting.longest_us(), Some(2e6));
        assert_eq!(Second { answered: 0, lost: 0, ..waiting }.longest_us(), Some(2e6));
        assert_eq!(Second::default().longest_us(), None);
    }

    #[test]
    fn a_second_is_whole_when_all_threads_have_reported() {
        let mut series = Series::new(2, 1);
        assert!(series.add(&tally(None, 5000)).is_none());
        assert!(series.add(&tally(Some(0), 1000)).is_none());
        assert!(series.add(&tally(Some(1), 1000)).is_none());
        let (second, counted) = series.add(&tally(Some(0), 3000)).unwrap();
        assert_eq!((second.answered, counted.answered()), (2, 2));
        let (total, seconds) = series.finish();
        assert_eq!((total.answered(), seconds.len(), seconds[1].answered), (3, 2, 1));
    }

    #[test]
    fn a_second_without_answers_has_no_latencies_in_files() {
        let silent = serde_json::to_value(Second::of(3, &Tally::new(1))).unwrap();
        assert!(["p50_us", "p99_us", "max_us"].iter().all(|field| silent[field].is_null()), "{silent}");
        let counted = serde_json::to_value(Second::of(3, &tally(Some(3), 2000))).unwrap();
        assert!(counted["p50_us"].as_f64().unwrap() > 1.9);
        let read: Second = serde_json::from_value(silent).unwrap();
        assert_eq!((read.p50_us, read.has_latencies()), (0.0, false));
        let older: Second = serde_json::from_str(r#"{"second": 3, "p50_us": 0.0, "p99_us": 7.5}"#).unwrap();
        assert_eq!((older.p50_us, older.p99_us, older.max_us), (0.0, 7.5, 0.0));
    }
}
