//! How long values live: one distribution of seconds, or a mix of several; a key keeps its time.
//!
//! As with sizes, the time is a function of the key's number and not of chance: objects of one kind live equally
//! long in real caches. Called by the templates where a line says `{ttl}`.

use std::fmt;
use std::str::FromStr;

use crate::random::mix;
use crate::sizes::Sizes;

/// Times to live in seconds: `3600`, `60-3600`, `normal:600:60`, or a mix of these and `none` such as
/// `60*3,600-900*4,none`, where the number behind the star is the weight.
#[derive(Clone, Debug, PartialEq)]
pub struct Ttls {
    choices: Vec<Choice>,
    /// All weights together, above zero.
    total: u64,
}

#[derive(Clone, Debug, PartialEq)]
struct Choice {
    /// `None` for values that live for ever.
    seconds: Option<Sizes>,
    weight: u32,
}

impl Ttls {
    /// The time to live of key `key` in seconds, at least 1; `None` when it has none.
    #[inline]
    pub fn seconds(&self, key: u64) -> Option<u64> {
        // Neither the length of the key nor the size of its value may tell its time to live.
        let hash = mix(key ^ 0x0074_746c);
        let mut drawn = ((u128::from(hash) * u128::from(self.total)) >> 64) as u64;
        for choice in &self.choices {
            match drawn.checked_sub(u64::from(choice.weight)) {
                Some(rest) => drawn = rest,
                None => return choice.seconds.as_ref().map(|seconds| seconds.size(mix(hash)).max(1) as u64),
            }
        }
        None
    }

    /// True if some values have no time to live.
    pub fn may_be_none(&self) -> bool {
        self.choices.iter().any(|choice| choice.seconds.is_none() && choice.weight > 0)
    }
}

impl FromStr for Ttls {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let choices =
            text.split(',').map(|part| part.trim().parse()).collect::<Result<Vec<Choice>, String>>()?;
        let total = choices.iter().map(|choice| u64::from(choice.weight)).sum();
        if total == 0 {
            return Err(format!("no time in '{text}' has a weight above zero"));
        }
        Ok(Self { choices, total })
    }
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (time, weight) = text.split_once('*').unwrap_or((text, "1"));
        let weight = weight.parse().map_err(|_| format!("'{weight}' in '{text}' is no weight"))?;
        let seconds = match time {
            "none" => None,
            time => Some(time.parse::<Sizes>().map_err(|_| {
                format!("'{time}' is no time to live: use SECONDS, LOW-HIGH, normal:MEAN:DEVIATION or none")
            })?),
        };
        if seconds == Some(Sizes::Fixed(0)) {
            return Err("a time to live must be at least 1 second".into());
        }
        Ok(Self { seconds, weight })
    }
}

impl fmt::Display for Ttls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, choice) in self.choices.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            match &choice.seconds {
                Some(seconds) => write!(f, "{comma}{seconds}")?,
                None => write!(f, "{comma}none")?,
            }
            if choice.weight != 1 {
                write!(f, "*{}", choice.weight)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_written() {
        for text in ["60", "60-3600", "normal:600:60", "60*3,600-900*4,none", "none"] {
            assert_eq!(text.parse::<Ttls>().unwrap().to_string(), text);
        }
        for text in ["", "x", "0", "60*x", "60*-1", "60*0", "60,", "9-1", "none*0"] {
            assert!(text.parse::<Ttls>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_mix_has_its_shares() {
        let ttls: Ttls = "60*3,600-601*4,3600*2,none".parse().unwrap();
        assert!(ttls.may_be_none());
        let mut counts = [0u32; 5];
        for key in 0..100_000 {
            assert_eq!(ttls.seconds(key), ttls.seconds(key));
            match ttls.seconds(key) {
                Some(60) => counts[0] += 1,
                Some(600) => counts[1] += 1,
                Some(601) => counts[2] += 1,
                Some(3600) => counts[3] += 1,
                None => counts[4] += 1,
                other => panic!("{other:?}"),
            }
        }
        for (count, expected) in counts.into_iter().zip([30_000, 20_000, 20_000, 20_000, 10_000]) {
            assert!(count.abs_diff(expected) < 600, "{counts:?}");
        }
    }
}
