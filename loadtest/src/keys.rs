//! Which key a request is about: distributions over key numbers.
//!
//! The generator draws a number per request and [`crate::key_text`] turns it into bytes. Nothing here knows of
//! commands or connections. Time matters to one distribution only, whose hot key moves; it is told, never asked.

use std::fmt;
use std::str::FromStr;

use crate::random::{Random, mix};
use crate::zipf::Zipf;

/// How often which of the keys is asked for, as written by the user: `uniform`, `zipf:0.99`, `sequential`,
/// `hotset:0.1:0.9` (a tenth of the keys takes nine tenths of the requests), `latest:0.99` (zipf counted back
/// from the newest key), `flash:0.3:10s` (three tenths of the requests go to one key, another one every ten
/// seconds).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum KeyDistribution {
    /// Every key equally often.
    Uniform,
    /// Key number n with a probability proportional to 1 / (n + 1) ^ exponent.
    Zipf(f64),
    /// One after the other, from the start again after the last.
    Sequential,
    /// The first `keys` (a share) of the keys get `requests` (a share) of the requests.
    HotSet {
        /// Share of the keys that is hot, between 0 and 1.
        keys: f64,
        /// Share of the requests that goes to the hot keys, between 0 and 1.
        requests: f64,
    },
    /// Zipf over the distance to the newest key.
    Latest(f64),
    /// One key gets `requests` (a share) of the requests, and it moves; the others follow zipf.
    Flash {
        /// Share of the requests that goes to the hot key, between 0 and 1.
        requests: f64,
        /// When another key becomes the hot one.
        every: Every,
        /// The exponent of the other requests.
        exponent: f64,
    },
}

/// How long a flash crowd stays at a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Every {
    /// For so many requests, of all threads together.
    Requests(u64),
    /// For so many nanoseconds.
    Time(u64),
}

/// The largest zipf exponent taken: beyond it one key gets almost everything and the test says nothing.
pub const MAX_EXPONENT: f64 = 4.0;

/// The exponent where none is given, that of YCSB.
const USUAL_EXPONENT: f64 = 0.99;

impl FromStr for KeyDistribution {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split(':');
        let name = parts.next().unwrap_or_default();
        let mut number = |what: &str, default: f64, max: f64| match parts.next() {
            None => Ok(default),
            Some(part) => match part.parse::<f64>() {
                Ok(value) if value >= 0.0 && value <= max => Ok(value),
                _ => Err(format!("{what} in '{text}' must be a number from 0 to {max}")),
            },
        };
        let distribution = match name {
            "uniform" => Self::Uniform,
            "sequential" => Self::Sequential,
            "zipf" => Self::Zipf(number("the exponent", USUAL_EXPONENT, MAX_EXPONENT)?),
            "latest" => Self::Latest(number("the exponent", USUAL_EXPONENT, MAX_EXPONENT)?),
            "hotset" => Self::HotSet {
                keys: number("the share of keys", 0.1, 1.0)?,
                requests: number("the share of requests", 0.9, 1.0)?,
            },
            "flash" => Self::Flash {
                requests: number("the share of requests", 0.5, 1.0)?,
                every: parts.next().unwrap_or("10s").parse().map_err(|()| {
                    format!("the time in '{text}' must be a number of requests or a time such as 10s")
                })?,
                exponent: match parts.next().unwrap_or("0.99").parse::<f64>() {
                    Ok(value) if (0.0..=MAX_EXPONENT).contains(&value) => value,
                    _ => {
                        return Err(format!(
                            "the exponent in '{text}' must be a number from 0 to {MAX_EXPONENT}"
                        ));
                    }
                },
            },
            _ => {
                return Err(format!(
                    "unknown distribution '{text}': use uniform, sequential, zipf:EXPONENT, latest:EXPONENT, \
                     hotset:KEYS:REQUESTS or flash:REQUESTS:EVERY:EXPONENT"
                ));
            }
        };
        match parts.next() {
            Some(extra) => Err(format!("'{extra}' in '{text}' is one number too many")),
            None => Ok(distribution),
        }
    }
}

impl FromStr for Every {
    type Err = ();

    /// A number of requests, or a time in ms, s or m.
    fn from_str(text: &str) -> Result<Self, ()> {
        let unit = |suffix: &str| text.strip_suffix(suffix).and_then(|number| number.parse::<f64>().ok());
        let nanos = match (unit("ms"), unit("s"), unit("m")) {
            (Some(number), _, _) => number * 1e6,
            (_, Some(number), _) => number * 1e9,
            (_, _, Some(number)) => number * 60e9,
            _ => return text.parse().ok().filter(|count| *count > 0).map(Self::Requests).ok_or(()),
        };
        if (1e6..1e17).contains(&nanos) { Ok(Self::Time(nanos as u64)) } else { Err(()) }
    }
}

impl fmt::Display for KeyDistribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uniform => f.write_str("uniform"),
            Self::Sequential => f.write_str("sequential"),
            Self::Zipf(exponent) => write!(f, "zipf:{exponent}"),
            Self::Latest(exponent) => write!(f, "latest:{exponent}"),
            Self::HotSet { keys, requests } => write!(f, "hotset:{keys}:{requests}"),
            Self::Flash { requests, every, exponent } => write!(f, "flash:{requests}:{every}:{exponent}"),
        }
    }
}

impl fmt::Display for Every {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Requests(count) => write!(f, "{count}"),
            Self::Time(nanos) => write!(f, "{}s", *nanos as f64 / 1e9),
        }
    }
}

/// What becomes of the key space when a key is added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Added {
    /// It grows.
    Grows,
    /// The oldest key is overwritten.
    GoesRound,
}

/// Draws key numbers.
#[derive(Clone, Debug)]
pub struct KeyChooser {
    count: u64,
    choice: Choice,
    added: Added,
    /// The key added last, by this thread.
    newest: u64,
    /// The next key to be added, before it goes round.
    next_new: u64,
    /// How many threads add keys in turn.
    step: u64,
}

#[derive(Clone, Debug)]
enum Choice {
    Uniform,
    Zipf(Zipf),
    Sequential { next: u64 },
    HotSet { hot: u64, requests: f64 },
    Latest { zipf: Zipf },
    Flash(Flash),
}

/// A hot key that moves.
#[derive(Clone, Debug)]
struct Flash {
    zipf: Zipf,
    requests: f64,
    every: Every,
    /// Requests drawn by this thread.
    drawn: u64,
    hot: u64,
}

impl KeyChooser {
    /// A chooser over `count` keys (not zero). `part` of `parts` is the thread's place among all: sequential
    /// choosers take every `parts`-th key, so that together they go through all keys once, and so do added keys.
    pub fn new(distribution: KeyDistribution, count: u64, added: Added, part: u64, parts: u64) -> Self {
        let choice = match distribution {
            KeyDistribution::Uniform => Choice::Uniform,
            KeyDistribution::Zipf(exponent) => Choice::Zipf(Zipf::new(count, exponent)),
            KeyDistribution::Sequential => Choice::Sequential { next: part },
            KeyDistribution::HotSet { keys, requests } => {
                Choice::HotSet { hot: ((count as f64 * keys).ceil() as u64).clamp(1, count), requests }
            }
            KeyDistribution::Latest(exponent) => Choice::Latest { zipf: Zipf::new(count, exponent) },
            KeyDistribution::Flash { requests, every, exponent } => {
                let every = match every {
                    Every::Requests(all) => Every::Requests((all / parts).max(1)),
                    Every::Time(nanos) => Every::Time(nanos),
                };
                let zipf = Zipf::new(count, exponent);
                Choice::Flash(Flash { zipf, requests, every, drawn: 0, hot: hot_key(0, count) })
            }
        };
        Self { count, choice, added, newest: count - 1, next_new: count + parts - 1 - part, step: parts }
    }

    /// Says what time it is, in nanoseconds since the start.
    #[inline]
    pub fn at(&mut self, now: u64) {
        if let Choice::Flash(Flash { every: Every::Time(time), hot, .. }) = &mut self.choice {
            *hot = hot_key(now / *time, self.count);
        }
    }

    /// The key of the next request.
    #[inline]
    pub fn next(&mut self, random: &mut Random) -> u64 {
        match &mut self.choice {
            Choice::Uniform => random.below(self.count),
            Choice::Zipf(zipf) => zipf.sample(random) - 1,
            Choice::Sequential { next } => {
                let key = *next % self.count;
                *next = next.wrapping_add(self.step);
                key
            }
            Choice::HotSet { hot, requests } => {
                if *hot == self.count || random.unit() < *requests {
                    random.below(*hot)
                } else {
                    *hot + random.below(self.count - *hot)
                }
            }
            Choice::Latest { zipf } => {
                // A rank is at most the count, so going round never needs more than one turn.
                let back = zipf.sample(random) - 1;
                self.newest.checked_sub(back).unwrap_or(self.newest + self.count - back)
            }
            Choice::Flash(flash) => flash.next(self.count, random),
        }
    }

    /// A key that is added now.
    #[inline]
    pub fn add(&mut self) -> u64 {
        self.newest = match self.added {
            Added::Grows => self.next_new,
            Added::GoesRound => self.next_new % self.count,
        };
        self.next_new += self.step;
        self.newest
    }

    /// The key of the next request that writes something: where keys go round, `latest` moves on to the next one.
    #[inline]
    pub fn next_written(&mut self, random: &mut Random) -> u64 {
        match (&self.choice, self.added) {
            (Choice::Latest { .. }, Added::GoesRound) => self.add(),
            _ => self.next(random),
        }
    }
}

impl Flash {
    fn next(&mut self, count: u64, random: &mut Random) -> u64 {
        if let Every::Requests(requests) = self.every {
            if self.drawn.is_multiple_of(requests) {
                self.hot = hot_key(self.drawn / requests, count);
            }
            self.drawn += 1;
        }
        if random.unit() < self.requests { self.hot } else { self.zipf.sample(random) - 1 }
    }
}

/// The hot key of a turn, the same in all threads.
fn hot_key(turn: u64, count: u64) -> u64 {
    mix(turn.wrapping_add(0x9e37_79b9_7f4a_7c15)) % count
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(distribution: &str, keys: u64, draws: usize) -> Vec<u64> {
        let mut chooser = KeyChooser::new(distribution.parse().unwrap(), keys, Added::GoesRound, 0, 1);
        let mut random = Random::new(11);
        let mut counts = vec![0; keys as usize];
        for _ in 0..draws {
            counts[chooser.next(&mut random) as usize] += 1;
        }
        counts
    }

    #[test]
    fn uniform_passes_a_chi_square_test() {
        let draws = 200_000;
        let counts = counts("uniform", 1000, draws);
        let expected = draws as f64 / 1000.0;
        let chi: f64 = counts.iter().map(|c| (*c as f64 - expected).powi(2) / expected).sum();
        // 999 degrees of freedom: 1143 is exceeded once in a thousand seeds.
        assert!(chi < 1143.0, "{chi}");
    }

    #[test]
    fn sequential_threads_share_the_keys() {
        let mut random = Random::new(1);
        let mut seen = Vec::new();
        for part in 0..3 {
            let mut chooser = KeyChooser::new(KeyDistribution::Sequential, 9, Added::GoesRound, part, 3);
            seen.extend((0..3).map(|_| chooser.next(&mut random)));
        }
        seen.sort_unstable();
        assert_eq!(seen, (0..9).collect::<Vec<u64>>());
    }

    #[test]
    fn hot_set_gets_its_share() {
        let counts = counts("hotset:0.1:0.9", 1000, 100_000);
        let hot: u64 = counts[..100].iter().sum();
        assert!((hot as f64 / 100_000.0 - 0.9).abs() < 0.01, "{hot}");
        assert_eq!(counts.iter().sum::<u64>(), 100_000);
    }

    #[test]
    fn latest_follows_the_writes() {
        let mut chooser = KeyChooser::new(KeyDistribution::Latest(0.99), 1000, Added::GoesRound, 0, 1);
        let mut random = Random::new(3);
        let written: Vec<u64> = (0..5).map(|_| chooser.next_written(&mut random)).collect();
        assert_eq!(written, [0, 1, 2, 3, 4]);
        let read: Vec<u64> = (0..1000).map(|_| chooser.next(&mut random)).collect();
        let near = read.iter().filter(|key| **key <= 4 || **key > 990).count();
        assert!(near > 250, "{near}");
        assert!(read.iter().all(|key| *key < 1000));
    }

    #[test]
    fn names_are_read_and_written() {
        for text in [
            "uniform",
            "sequential",
            "zipf:1.2",
            "zipf:0",
            "latest:0.5",
            "hotset:0.2:0.8",
            "flash:0.3:2.5s:0.9",
            "flash:1:5000:0",
        ] {
            assert_eq!(text.parse::<KeyDistribution>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "zip",
            "zipf:x",
            "zipf:9",
            "zipf:1:2",
            "hotset:2",
            "uniform:1",
            "flash:2",
            "flash:1:0",
            "flash:1:x",
            "flash:1:0s",
            "flash:1:5:x",
            "flash:1:5:1:1",
            "zipf:nan",
            "zipf:-1",
        ] {
            assert!(text.parse::<KeyDistribution>().is_err(), "{text}");
        }
    }

    #[test]
    fn added_keys_are_new_and_are_the_latest() {
        let mut random = Random::new(3);
        let mut seen = Vec::new();
        for part in 0..3 {
            let mut chooser = KeyChooser::new(KeyDistribution::Latest(0.99), 10, Added::Grows, part, 3);
            assert!((0..100).all(|_| chooser.next(&mut random) < 10));
            for _ in 0..4 {
                let added = chooser.add();
                seen.push(added);
                let read: Vec<u64> = (0..1000).map(|_| chooser.next(&mut random)).collect();
                assert!(read.iter().all(|key| *key <= added && key + 10 > added));
                assert!(read.iter().filter(|key| **key == added).count() > 200);
            }
        }
        seen.sort_unstable();
        assert_eq!(seen, (10..22).collect::<Vec<u64>>());
    }

    /// The key asked for most in each of the turns.
    fn hottest(chooser: &mut KeyChooser, turns: u64, draws: usize, time: u64) -> Vec<(u64, usize)> {
        let mut random = Random::new(7);
        let turn = |turn: u64| {
            chooser.at(turn * time);
            let mut counts = vec![0; 1000];
            (0..draws).for_each(|_| counts[chooser.next(&mut random) as usize] += 1);
            counts
                .iter()
                .copied()
                .enumerate()
                .max_by_key(|(_, count)| *count)
                .map(|(key, count)| (key as u64, count))
        };
        (0..turns).filter_map(turn).collect()
    }

    #[test]
    fn a_flash_crowd_moves_on() {
        let flash =
            |text: &str, part| KeyChooser::new(text.parse().unwrap(), 1000, Added::GoesRound, part, 2);
        let by_time = hottest(&mut flash("flash:0.5:10s:0.5", 0), 5, 2000, 10_000_000_000);
        assert!(by_time.windows(2).all(|pair| pair[0].0 != pair[1].0), "{by_time:?}");
        assert!(by_time.iter().all(|(_, count)| count.abs_diff(1000) < 120), "{by_time:?}");
        // Two threads share the requests, so each moves on after half of them, and to the same keys.
        let by_count = hottest(&mut flash("flash:0.5:4000:0.5", 0), 5, 2000, 0);
        let other = hottest(&mut flash("flash:0.5:4000:0.5", 1), 5, 2000, 0);
        let keys = |hottest: &[(u64, usize)]| hottest.iter().map(|(key, _)| *key).collect::<Vec<u64>>();
        assert_eq!(keys(&by_count), keys(&other));
        assert_eq!(keys(&by_count), keys(&by_time));
    }
}
