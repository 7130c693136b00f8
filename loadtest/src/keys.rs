//! Which key a request is about: distributions over key numbers, and the text of a key.
//!
//! The generator draws a number per request and the encoder turns it into bytes. Nothing here knows of
//! commands or connections. The text of a key is `key:` and the number, filled up with zeroes to the wanted
//! length, so one number is one key whatever the distribution, and hash slots spread evenly.

use std::fmt;
use std::str::FromStr;

use crate::random::Random;
use crate::zipf::Zipf;

/// How often which of the keys is asked for, as written by the user: `uniform`, `zipf:0.99`, `sequential`,
/// `hotset:0.1:0.9` (a tenth of the keys takes nine tenths of the requests), `latest:0.99` (zipf counted back
/// from the key written last).
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
    /// Zipf over the distance to the key written last; each write appends a key.
    Latest(f64),
}

/// The largest zipf exponent taken: beyond it one key gets almost everything and the test says nothing.
pub const MAX_EXPONENT: f64 = 4.0;

impl FromStr for KeyDistribution {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split(':');
        let name = parts.next().unwrap_or_default();
        let mut number = |what: &str, default: f64, min: f64, max: f64| match parts.next() {
            None => Ok(default),
            Some(part) => match part.parse::<f64>() {
                Ok(value) if value >= min && value <= max => Ok(value),
                _ => Err(format!("{what} in '{text}' must be a number from {min} to {max}")),
            },
        };
        let distribution = match name {
            "uniform" => Self::Uniform,
            "sequential" => Self::Sequential,
            "zipf" => Self::Zipf(number("the exponent", 0.99, 0.01, MAX_EXPONENT)?),
            "latest" => Self::Latest(number("the exponent", 0.99, 0.01, MAX_EXPONENT)?),
            "hotset" => Self::HotSet {
                keys: number("the share of keys", 0.1, 0.0, 1.0)?,
                requests: number("the share of requests", 0.9, 0.0, 1.0)?,
            },
            _ => {
                return Err(format!(
                    "unknown distribution '{text}': use uniform, sequential, zipf:EXPONENT, latest:EXPONENT \
                     or hotset:KEYS:REQUESTS"
                ));
            }
        };
        match parts.next() {
            Some(extra) => Err(format!("'{extra}' in '{text}' is one number too many")),
            None => Ok(distribution),
        }
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
        }
    }
}

/// Draws key numbers below a count.
#[derive(Clone, Debug)]
pub struct KeyChooser {
    count: u64,
    choice: Choice,
}

#[derive(Clone, Debug)]
enum Choice {
    Uniform,
    Zipf(Zipf),
    Sequential { next: u64, step: u64 },
    HotSet { hot: u64, requests: f64 },
    Latest { zipf: Zipf, newest: u64, step: u64 },
}

impl KeyChooser {
    /// A chooser over `count` keys (not zero). `part` of `parts` is the thread's place among all: sequential
    /// choosers take every `parts`-th key, so that together they go through all keys once.
    pub fn new(distribution: KeyDistribution, count: u64, part: u64, parts: u64) -> Self {
        let choice = match distribution {
            KeyDistribution::Uniform => Choice::Uniform,
            KeyDistribution::Zipf(exponent) => Choice::Zipf(Zipf::new(count, exponent)),
            KeyDistribution::Sequential => Choice::Sequential { next: part, step: parts },
            KeyDistribution::HotSet { keys, requests } => {
                Choice::HotSet { hot: ((count as f64 * keys).ceil() as u64).clamp(1, count), requests }
            }
            KeyDistribution::Latest(exponent) => Choice::Latest {
                zipf: Zipf::new(count, exponent),
                newest: count - 1 - part % count,
                step: parts,
            },
        };
        Self { count, choice }
    }

    /// The key of the next request.
    #[inline]
    pub fn next(&mut self, random: &mut Random) -> u64 {
        match &mut self.choice {
            Choice::Uniform => random.below(self.count),
            Choice::Zipf(zipf) => zipf.sample(random) - 1,
            Choice::Sequential { next, step } => {
                let key = *next % self.count;
                *next = next.wrapping_add(*step);
                key
            }
            Choice::HotSet { hot, requests } => {
                if *hot == self.count || random.unit() < *requests {
                    random.below(*hot)
                } else {
                    *hot + random.below(self.count - *hot)
                }
            }
            Choice::Latest { zipf, newest, .. } => {
                newest.wrapping_add(self.count).wrapping_sub(zipf.sample(random) - 1) % self.count
            }
        }
    }

    /// The key of the next request that creates something: `latest` moves on to the next key, the others draw
    /// as ever.
    #[inline]
    pub fn next_written(&mut self, random: &mut Random) -> u64 {
        if let Choice::Latest { newest, step, .. } = &mut self.choice {
            *newest = (*newest + *step) % self.count;
            return *newest;
        }
        self.next(random)
    }
}

/// Writes the text of keys.
#[derive(Clone, Debug)]
pub struct KeyText {
    /// The key whose number is zero; other keys differ in their last bytes.
    zero: Vec<u8>,
}

impl KeyText {
    /// Keys that start with `prefix` and are `length` bytes long, or longer where `prefix` and the digits of
    /// `count` do not fit.
    pub fn new(prefix: &str, length: usize, count: u64) -> Self {
        let digits = itoa::Buffer::new().format(count.saturating_sub(1)).len();
        let length = length.max(prefix.len() + digits);
        let mut zero = prefix.as_bytes().to_vec();
        zero.resize(length, b'0');
        Self { zero }
    }

    /// The length of every key in bytes.
    pub fn length(&self) -> usize {
        self.zero.len()
    }

    /// The key number zero. Copied and then given to [`KeyText::number`] it becomes any other key.
    pub fn zero(&self) -> &[u8] {
        &self.zero
    }

    /// Turns a copy of [`KeyText::zero`] that ends with `text` into key `number`, which is below the count.
    #[inline]
    pub fn number(number: u64, text: &mut [u8]) {
        let mut rest = number;
        let mut at = text.len();
        while rest >= 100 {
            at -= 2;
            text[at..at + 2].copy_from_slice(&PAIRS[(rest % 100) as usize]);
            rest /= 100;
        }
        if rest >= 10 {
            text[at - 2..at].copy_from_slice(&PAIRS[rest as usize]);
        } else {
            text[at - 1] = b'0' + rest as u8;
        }
    }

    /// Appends the text of key `number`.
    #[inline]
    pub fn append(&self, number: u64, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.zero);
        Self::number(number, out);
    }
}

/// The numbers from 0 to 99 with two digits.
const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[b'0'; 2]; 100];
    let mut number = 0;
    while number < 100 {
        pairs[number] = [b'0' + (number / 10) as u8, b'0' + (number % 10) as u8];
        number += 1;
    }
    pairs
};

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(distribution: &str, keys: u64, draws: usize) -> Vec<u64> {
        let mut chooser = KeyChooser::new(distribution.parse().unwrap(), keys, 0, 1);
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
            let mut chooser = KeyChooser::new(KeyDistribution::Sequential, 9, part, 3);
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
        let mut chooser = KeyChooser::new(KeyDistribution::Latest(0.99), 1000, 0, 1);
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
        for text in ["uniform", "sequential", "zipf:1.2", "latest:0.5", "hotset:0.2:0.8"] {
            assert_eq!(text.parse::<KeyDistribution>().unwrap().to_string(), text);
        }
        for text in ["", "zip", "zipf:x", "zipf:9", "zipf:1:2", "hotset:2", "uniform:1"] {
            assert!(text.parse::<KeyDistribution>().is_err(), "{text}");
        }
    }

    #[test]
    fn key_text_has_its_length() {
        let text = KeyText::new("key:", 16, 1_000_000);
        let mut out = Vec::new();
        text.append(42, &mut out);
        assert_eq!(out, b"key:000000000042");
        for number in [0, 9, 10, 99, 100, 999_999] {
            out.clear();
            text.append(number, &mut out);
            assert_eq!(out, format!("key:{number:012}").as_bytes());
        }
        let short = KeyText::new("key:", 1, 1000);
        assert_eq!(short.length(), 7);
        let long = KeyText::new("", 200, 10);
        out.clear();
        long.append(3, &mut out);
        assert_eq!(out.len(), 200);
    }
}
