//! How long values are: fixed, uniform, normal, or a measured histogram; a key keeps its size.
//!
//! A size is a function of the key's number and the distribution, not of chance: the value that is set twice
//! has the same length both times, as objects in real caches mostly have, and the memory a key space needs
//! can be computed.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use serde::Deserialize;

use crate::error::Error;
use crate::input;
use crate::random::{Random, mix};

/// The longest value made, that of redis (`proto-max-bulk-len`).
pub const MAX_SIZE: u64 = 512 << 20;

/// A distribution of sizes in bytes: `100`, `10-1000`, `normal:MEAN:DEVIATION`, or a histogram from a file.
#[derive(Clone, Debug, PartialEq)]
pub enum Sizes {
    /// Always this many.
    Fixed(u64),
    /// Any number from the first to the second.
    Uniform(u64, u64),
    /// Normal with this mean and standard deviation, at least 1.
    Normal(f64, f64),
    /// Measured.
    Histogram(Histogram),
}

/// Ranges of sizes and how often each is met.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    /// Lower bounds, ascending; a range ends where the next one starts.
    bounds: Vec<u64>,
    /// The share of sizes in this range or a lower one.
    cumulated: Vec<f64>,
}

/// What a histogram's file is read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// The sizes of values.
    Values,
    /// The lengths of keys.
    Keys,
}

/// The file format CacheLib's benchmarks use for sizes; other fields are left alone.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SizeFile {
    val_size_range: Option<Vec<f64>>,
    val_size_range_probability: Option<Vec<f64>>,
    key_size_range: Option<Vec<f64>>,
    key_size_range_probability: Option<Vec<f64>>,
}

impl Histogram {
    /// Reads a histogram in the format of CacheLib's `*.sizes.json`: `valSizeRange` and
    /// `valSizeRangeProbability`, or for keys `keySizeRange` and `keySizeRangeProbability` if the file has them.
    pub fn read(path: &Path, of: Of) -> Result<Self, Error> {
        let text = input::text(path)?;
        let wrong =
            |line: usize, message: String| Error::File { file: path.display().to_string(), line, message };
        let file: SizeFile =
            serde_json::from_str(&text).map_err(|error| wrong(error.line(), error.to_string()))?;
        let values = file.val_size_range.zip(file.val_size_range_probability);
        let keys = file.key_size_range.zip(file.key_size_range_probability);
        let chosen = if of == Of::Keys { keys.or(values) } else { values };
        let (bounds, weights) = chosen.ok_or_else(|| {
            wrong(1, "a size histogram needs the lists valSizeRange and valSizeRangeProbability".into())
        })?;
        Self::new(&bounds, &weights).map_err(|message| wrong(1, message))
    }

    /// A histogram from lower bounds and weights of the ranges that start there.
    pub fn new(bounds: &[f64], weights: &[f64]) -> Result<Self, String> {
        let total: f64 = weights.iter().sum();
        if bounds.is_empty() || weights.is_empty() || weights.len() > bounds.len() {
            return Err("a size histogram needs a lower bound for each of its probabilities".into());
        }
        if !total.is_finite() || total <= 0.0 || weights.iter().any(|weight| *weight < 0.0) {
            return Err("the probabilities of a size histogram must not be negative nor all zero".into());
        }
        if bounds.windows(2).any(|pair| pair[0] > pair[1]) || bounds[0] < 0.0 {
            return Err("the bounds of a size histogram must ascend".into());
        }
        if bounds[bounds.len() - 1] > MAX_SIZE as f64 {
            return Err(format!("the bounds of a size histogram must not exceed {MAX_SIZE}"));
        }
        let mut sum = 0.0;
        let cumulated = weights.iter().map(|weight| {
            sum += weight / total;
            sum
        });
        Ok(Self {
            cumulated: cumulated.collect(),
            bounds: bounds.iter().map(|bound| *bound as u64).collect(),
        })
    }

    fn size(&self, key: u64) -> u64 {
        let hash = mix((key ^ 0xabcd).wrapping_add(0x9e37_79b9_7f4a_7c15));
        let unit = (hash >> 11) as f64 / (1u64 << 53) as f64;
        let index = self.cumulated.partition_point(|share| *share < unit).min(self.cumulated.len() - 1);
        let low = self.bounds[index];
        let high = self.bounds.get(index + 1).map_or(low + 1, |bound| (*bound).max(low + 1));
        low + mix(hash.wrapping_add(0x9e37_79b9_7f4a_7c15)) % (high - low)
    }
}

impl Sizes {
    /// The smallest and the largest size, where the distribution's text says them.
    pub fn bounds(&self) -> Option<(u64, u64)> {
        match self {
            Self::Fixed(size) => Some((*size, *size)),
            Self::Uniform(low, high) => Some((*low, *high)),
            Self::Normal(..) | Self::Histogram(_) => None,
        }
    }

    /// The size of the value of key `key`.
    #[inline]
    pub fn size(&self, key: u64) -> usize {
        let size = match self {
            Self::Fixed(size) => *size,
            Self::Uniform(low, high) => low + Random::new(key).below(high - low + 1),
            Self::Normal(mean, deviation) => normal_size(*mean, *deviation, key),
            Self::Histogram(histogram) => histogram.size(key).max(1),
        };
        size.min(MAX_SIZE) as usize
    }
}

/// Not inlined: the compiler would compute logarithms and cosines ahead of knowing whether they are needed.
#[inline(never)]
fn normal_size(mean: f64, deviation: f64, key: u64) -> u64 {
    (mean + deviation * Random::new(key).normal()).round().max(1.0) as u64
}

impl FromStr for Sizes {
    type Err = String;

    /// Histograms are not read here but by [`Histogram::read`].
    fn from_str(text: &str) -> Result<Self, String> {
        let usage = || format!("'{text}' is no size: use BYTES, LOW-HIGH or normal:MEAN:DEVIATION");
        if let Some(rest) = text.strip_prefix("normal:") {
            let (mean, deviation) = rest.split_once(':').ok_or_else(usage)?;
            return match (mean.parse::<f64>(), deviation.parse::<f64>()) {
                (Ok(mean), Ok(deviation))
                    if (0.0..=MAX_SIZE as f64).contains(&mean)
                        && (0.0..=MAX_SIZE as f64).contains(&deviation) =>
                {
                    Ok(Self::Normal(mean, deviation))
                }
                _ => Err(usage()),
            };
        }
        let bytes = |part: &str| match part.parse::<u64>() {
            Ok(bytes) if bytes > MAX_SIZE => Err(format!("{bytes} bytes are more than {MAX_SIZE}, the most")),
            Ok(bytes) => Ok(bytes),
            Err(_) => Err(usage()),
        };
        match text.split_once('-') {
            None => Ok(Self::Fixed(bytes(text)?)),
            Some((low, high)) => {
                let (low, high) = (bytes(low)?, bytes(high)?);
                if low > high { Err(usage()) } else { Ok(Self::Uniform(low, high)) }
            }
        }
    }
}

impl fmt::Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(size) => write!(f, "{size}"),
            Self::Uniform(low, high) => write!(f, "{low}-{high}"),
            Self::Normal(mean, deviation) => write!(f, "normal:{mean}:{deviation}"),
            Self::Histogram(histogram) => write!(f, "a histogram of {} ranges", histogram.cumulated.len()),
        }
    }
}

/// Bytes for values: one random text that slices are taken from, so that making a value costs one copy.
#[derive(Clone, Debug)]
pub struct ValueText {
    text: Vec<u8>,
}

impl ValueText {
    /// Long enough that values of different keys differ, short enough to stay in the second-level cache.
    const LENGTH: usize = 64 << 10;

    /// Values up to this size never go beyond the end of the text.
    pub const SHORT: usize = Self::LENGTH / 2;

    /// The text of this seed: letters and digits, so that values can be read in a terminal.
    pub fn new(seed: u64) -> Self {
        const LETTERS: &[u8; 64] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";
        let mut random = Random::part(seed, 0x7e87);
        Self { text: (0..Self::LENGTH).map(|_| LETTERS[random.below(64) as usize]).collect() }
    }

    /// Appends `size` bytes, which ones depending on `key`.
    #[inline]
    pub fn append(&self, key: u64, size: usize, out: &mut Vec<u8>) {
        let start = Self::start(key);
        let first = size.min(Self::LENGTH - start);
        out.extend_from_slice(&self.text[start..start + first]);
        let mut left = size - first;
        while left > 0 {
            let some = left.min(Self::LENGTH);
            out.extend_from_slice(&self.text[..some]);
            left -= some;
        }
    }

    /// The same bytes in place of those that are there, [`ValueText::SHORT`] at most.
    #[inline]
    pub fn write(&self, key: u64, place: &mut [u8]) {
        let start = Self::start(key);
        place.copy_from_slice(&self.text[start..start + place.len()]);
    }

    #[inline]
    fn start(key: u64) -> usize {
        (mix(key) % (Self::LENGTH as u64 / 2)) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        assert_eq!("100".parse(), Ok(Sizes::Fixed(100)));
        assert_eq!("10-20".parse(), Ok(Sizes::Uniform(10, 20)));
        assert_eq!("normal:100:5".parse(), Ok(Sizes::Normal(100.0, 5.0)));
        for text in ["", "x", "20-10", "normal:1", "normal:-1:2", "1-2-3", "536870913"] {
            assert!(text.parse::<Sizes>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_key_keeps_its_size_and_sizes_follow_the_distribution() {
        let uniform = Sizes::Uniform(10, 19);
        let mut counts = [0u32; 10];
        for key in 0..10_000 {
            assert_eq!(uniform.size(key), uniform.size(key));
            counts[uniform.size(key) - 10] += 1;
        }
        let chi: f64 = counts.iter().map(|c| (f64::from(*c) - 1000.0).powi(2) / 1000.0).sum();
        assert!(chi < 27.9, "{chi}");

        let normal = Sizes::Normal(200.0, 20.0);
        let mean = (0..10_000).map(|key| normal.size(key) as f64).sum::<f64>() / 10_000.0;
        assert!((mean - 200.0).abs() < 1.0, "{mean}");
    }

    #[test]
    fn a_histogram_is_followed() {
        let histogram = Histogram::new(&[1.0, 100.0, 1000.0, 2000.0], &[0.5, 0.25, 0.25]).unwrap();
        let sizes = Sizes::Histogram(histogram);
        let mut counts = [0u32; 3];
        for key in 0..100_000 {
            match sizes.size(key) {
                1..100 => counts[0] += 1,
                100..1000 => counts[1] += 1,
                1000..2000 => counts[2] += 1,
                other => panic!("{other}"),
            }
        }
        assert!(counts[0].abs_diff(50_000) < 600 && counts[1].abs_diff(25_000) < 600, "{counts:?}");
        assert!(Histogram::new(&[2.0, 1.0], &[1.0, 1.0]).is_err());
        assert!(Histogram::new(&[1.0], &[0.0]).is_err());
        assert!(Histogram::new(&[], &[]).is_err());
    }

    #[test]
    fn values_have_their_size() {
        let text = ValueText::new(1);
        for size in [0, 1, 100, 65_536, 200_000] {
            let mut out = Vec::new();
            text.append(7, size, &mut out);
            assert_eq!(out.len(), size);
            let mut place = vec![0; size.min(ValueText::SHORT)];
            text.write(7, &mut place);
            assert!(out.starts_with(&place));
        }
        let (mut a, mut b) = (Vec::new(), Vec::new());
        text.append(1, 20, &mut a);
        text.append(2, 20, &mut b);
        assert_ne!(a, b);
    }
}
