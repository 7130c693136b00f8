//! The words of a command line and the places in them, before they are encoded.

use crate::sizes::Sizes;
use crate::ttl::Ttls;

/// The most keys of one request (`{keys:N}`), so that a slip of the finger does not eat the memory.
pub(super) const MAX_KEYS: usize = 100_000;

/// A word of a line.
#[derive(Debug)]
pub(super) enum Word {
    Constant(String),
    /// Several keys, each with its value behind it or not.
    Keys {
        count: Count,
        with_values: bool,
    },
    /// `EX {ttl}` or `PX {ttl}`, which are two words or none.
    Expire {
        word: String,
        per_second: u64,
    },
    Parts(Vec<Part>),
}

/// How many keys there are at a place for several.
#[derive(Debug)]
pub(super) enum Count {
    Fixed(usize),
    Drawn(Sizes),
}

/// A part of a word.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Part {
    Text(Vec<u8>),
    Key,
    /// The key, which is a new one.
    New,
    Value,
    Ttl,
    /// The key's number divided by this.
    Group(u64),
    Number {
        low: u64,
        high: u64,
    },
}

impl Word {
    /// Splits a line and checks its places.
    pub(super) fn parse_line(line: &str, ttls: Option<&Ttls>) -> Result<Vec<Self>, String> {
        let mut words: Vec<Self> = Vec::new();
        for text in line.split_whitespace() {
            let word = Self::parse(text)?;
            if let Self::Parts(parts) = &word
                && parts.contains(&Part::Ttl)
            {
                let ttls = ttls.ok_or_else(|| format!("'{text}' is used, but there are no times to live"))?;
                let before = match words.last() {
                    Some(Self::Constant(before)) if parts.len() == 1 => before.clone(),
                    _ => String::new(),
                };
                if let Some(per_second) = units_per_second(&before) {
                    words.pop();
                    words.push(Self::Expire { word: before, per_second });
                    continue;
                }
                if ttls.may_be_none() {
                    return Err(format!("the time to live may be none, so '{text}' must follow EX or PX"));
                }
            }
            words.push(word);
        }
        Ok(words)
    }

    fn parse(text: &str) -> Result<Self, String> {
        for (start, with_values) in [("{keys:", false), ("{pairs:", true)] {
            if let Some(count) = text.strip_prefix(start).and_then(|rest| rest.strip_suffix('}')) {
                return Ok(Self::Keys { count: Count::parse(count, text)?, with_values });
            }
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(start) = rest.find('{') {
            let length = rest[start..].find('}').ok_or_else(|| format!("'{text}' lacks a closing brace"))?;
            if start > 0 {
                parts.push(Part::Text(rest.as_bytes()[..start].to_vec()));
            }
            parts.push(Part::parse(&rest[start + 1..start + length], text)?);
            rest = &rest[start + length + 1..];
        }
        if parts.is_empty() {
            return Ok(Self::Constant(text.to_owned()));
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.as_bytes().to_vec()));
        }
        Ok(Self::Parts(parts))
    }
}

/// How many units of the option's time are a second, if it is an option that takes a time to live.
fn units_per_second(option: &str) -> Option<u64> {
    match option.to_ascii_uppercase().as_str() {
        "EX" => Some(1),
        "PX" => Some(1000),
        _ => None,
    }
}

impl Count {
    fn parse(text: &str, word: &str) -> Result<Self, String> {
        let most = MAX_KEYS as u64;
        let wrong = || {
            format!(
                "the count in '{word}' must be from 1 to {MAX_KEYS}, written N, LOW-HIGH or normal:MEAN:DEVIATION"
            )
        };
        match text.parse::<Sizes>().map_err(|_| wrong())? {
            Sizes::Fixed(count) if (1..=most).contains(&count) => Ok(Self::Fixed(count as usize)),
            Sizes::Uniform(low, high) if low >= 1 && high <= most => {
                Ok(Self::Drawn(Sizes::Uniform(low, high)))
            }
            Sizes::Normal(mean, deviation) if mean <= most as f64 => {
                Ok(Self::Drawn(Sizes::Normal(mean, deviation)))
            }
            _ => Err(wrong()),
        }
    }
}

impl Part {
    /// True if this part makes words of one length from keys of one length.
    pub(super) fn is_text_or_key(&self) -> bool {
        matches!(self, Self::Text(_) | Self::Key | Self::New)
    }

    fn parse(place: &str, word: &str) -> Result<Self, String> {
        match place {
            "key" => return Ok(Self::Key),
            "new" => return Ok(Self::New),
            "value" => return Ok(Self::Value),
            "ttl" => return Ok(Self::Ttl),
            _ => {}
        }
        if let Some(range) = place.strip_prefix("int:") {
            let bounds =
                range.split_once('-').and_then(|(low, high)| Some((low.parse().ok()?, high.parse().ok()?)));
            return match bounds {
                Some((low, high)) if low <= high && high < u64::MAX => Ok(Self::Number { low, high }),
                _ => Err(format!("the range in '{word}' must be LOW-HIGH")),
            };
        }
        if let Some(size) = place.strip_prefix("group:") {
            return match size.parse() {
                Ok(size) if size > 0 => Ok(Self::Group(size)),
                _ => Err(format!("the size in '{word}' must be a number above zero")),
            };
        }
        Err(format!(
            "unknown place '{{{place}}}' in '{word}': use {{key}}, {{new}}, {{value}}, {{ttl}}, {{int:LOW-HIGH}}, \
             {{group:N}}, or {{keys:N}} or {{pairs:N}} as a whole word"
        ))
    }
}
