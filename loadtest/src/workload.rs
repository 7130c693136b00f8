//! What is asked of the server: keys, sizes and a mix of commands, from a small TOML file or built in.
//!
//! Only reading and checking happens here; [`crate::requests`] makes requests of it. Errors name the file and
//! the line, since a workload is written by hand.

use std::fmt;
use std::ops::Range;
use std::path::Path;

use serde::Deserialize;
use toml::Spanned;

use crate::error::{Error, in_plain_words};
use crate::input;
use crate::key_text::{KeyText, MAX_KEY_LENGTH, digits};
use crate::keys::KeyDistribution;
use crate::report::number::counted;
use crate::sizes::{Histogram, MAX_SIZE, Of, Sizes, ValueText};
use crate::template::{Filling, Template};
use crate::ttl::Ttls;

/// A workload, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    /// What it is called in reports.
    pub name: String,
    /// One sentence on what it stands for.
    pub about: String,
    /// How many keys there are, above zero.
    pub keys: u64,
    /// The least lengths of keys.
    pub key_lengths: Sizes,
    /// What every key starts with.
    pub key_prefix: String,
    /// Which keys are asked for how often.
    pub distribution: KeyDistribution,
    /// How long values are.
    pub sizes: Sizes,
    /// How long values live, for lines with `{ttl}`.
    pub ttls: Option<Ttls>,
    /// The commands and their weights.
    pub commands: Vec<CommandSpec>,
    /// The command that writes one key before the run, for `--preload`.
    pub preload: Option<CommandSpec>,
    /// Each connection is closed and opened again after this many requests.
    pub reconnect_every: Option<u64>,
    /// The seed of all chance.
    pub seed: u64,
    /// Whether keys are added, if that is not to be told from the commands.
    pub added_keys: Option<bool>,
}

/// One command of a workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandSpec {
    /// The command line with its places.
    pub line: String,
    /// How often it comes, relative to the others.
    pub weight: u32,
    /// The command line that follows a null reply, about the same key.
    pub on_miss: Option<String>,
    /// The command line that follows any reply but an error, about the same key.
    pub then: Option<String>,
}

impl CommandSpec {
    /// A command that nothing follows.
    pub fn new(line: &str, weight: u32) -> Self {
        Self { line: line.into(), weight, on_miss: None, then: None }
    }
}

impl Default for CommandSpec {
    fn default() -> Self {
        Self::new("PING", 1)
    }
}

impl Default for Workload {
    /// Nine reads for one write of 100 bytes over a million keys, the hot ones asked for more often.
    fn default() -> Self {
        Self {
            name: "default".into(),
            about: "nine GETs for one SET".into(),
            keys: 1_000_000,
            key_lengths: Sizes::Fixed(32),
            key_prefix: "key:".into(),
            distribution: KeyDistribution::Uniform,
            sizes: Sizes::Fixed(100),
            reconnect_every: None,
            ttls: None,
            commands: vec![CommandSpec::new("GET {key}", 9), CommandSpec::new("SET {key} {value}", 1)],
            preload: Some(CommandSpec::new("SET {key} {value}", 1)),
            seed: 1,
            added_keys: None,
        }
    }
}

/// The most keys of a workload.
pub const MAX_KEYS: u64 = 1 << 40;

/// Places that stand for keys.
pub const KEY_PLACES: &[&str] = &["key", "new", "keys", "pairs", "group"];
/// Places that stand for values.
pub const VALUE_PLACES: &[&str] = &["value", "pairs"];

/// How many keys there is room for in the texts of keys when some are added during the run.
const MAX_ADDED: u64 = 1_000_000_000_000;

/// The built-in workloads by name.
pub const BUILT_IN: &[(&str, &str)] = &[
    ("all-types", include_str!("../workloads/all-types.toml")),
    ("cache-aside", include_str!("../workloads/cache-aside.toml")),
    ("connection-churn", include_str!("../workloads/connection-churn.toml")),
    ("counters", include_str!("../workloads/counters.toml")),
    ("flash-crowd", include_str!("../workloads/flash-crowd.toml")),
    ("large-values", include_str!("../workloads/large-values.toml")),
    ("leaderboard", include_str!("../workloads/leaderboard.toml")),
    ("multi-get", include_str!("../workloads/multi-get.toml")),
    ("multi-set", include_str!("../workloads/multi-set.toml")),
    ("queue", include_str!("../workloads/queue.toml")),
    ("rate-limiter", include_str!("../workloads/rate-limiter.toml")),
    ("session-store", include_str!("../workloads/session-store.toml")),
    ("ycsb-a", include_str!("../workloads/ycsb-a.toml")),
    ("ycsb-b", include_str!("../workloads/ycsb-b.toml")),
    ("ycsb-c", include_str!("../workloads/ycsb-c.toml")),
    ("ycsb-d", include_str!("../workloads/ycsb-d.toml")),
    ("ycsb-e", include_str!("../workloads/ycsb-e.toml")),
    ("ycsb-f", include_str!("../workloads/ycsb-f.toml")),
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    about: Option<String>,
    seed: Option<u64>,
    #[serde(default)]
    keys: Keys,
    #[serde(default)]
    values: Values,
    #[serde(default)]
    connections: Connections,
    #[serde(default)]
    command: Vec<FileCommand>,
    preload: Option<Spanned<String>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    count: Option<Spanned<u64>>,
    length: Option<Spanned<Length>>,
    histogram: Option<Spanned<String>>,
    prefix: Option<Spanned<String>>,
    distribution: Option<Spanned<String>>,
}

/// A number of bytes or a distribution of them.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a number of bytes or a text such as \"16-64\"")]
enum Length {
    Bytes(u64),
    Distribution(String),
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Values {
    size: Option<Spanned<Length>>,
    histogram: Option<Spanned<String>>,
    ttl: Option<Spanned<Length>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Connections {
    reconnect_every: Option<Spanned<u64>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileCommand {
    line: Spanned<String>,
    #[serde(default = "one")]
    weight: u32,
    on_miss: Option<Spanned<String>>,
    then: Option<Spanned<String>>,
}

fn one() -> u32 {
    1
}

impl Workload {
    /// The built-in workload of this name, or else the file at this path.
    pub fn find(name: &str) -> Result<Self, Error> {
        if let Some((name, text)) = BUILT_IN.iter().find(|(built_in, _)| *built_in == name) {
            return Self::parse(name, text, Path::new("."));
        }
        let path = Path::new(name);
        if !path.exists() {
            let names: Vec<&str> = BUILT_IN.iter().map(|(name, _)| *name).collect();
            return Err(Error::Usage(format!(
                "there is no workload '{name}', neither a file nor one of the built-in {}",
                names.join(", ")
            )));
        }
        let text = input::text(path)?;
        Self::parse(name, &text, path.parent().unwrap_or(Path::new(".")))
    }

    /// Reads a workload's text. `name` is used in errors; files it names are looked for in `folder`.
    pub fn parse(name: &str, text: &str, folder: &Path) -> Result<Self, Error> {
        let wrong = |fault: Fault| match fault {
            Fault::Here(span, message) => Error::File {
                file: name.to_owned(),
                line: text[..span.start.min(text.len())].matches('\n').count() + 1,
                message: in_plain_words(&message),
            },
            Fault::Elsewhere(error) => error,
        };
        let file: File = toml::from_str(text).map_err(|error| {
            wrong(Fault::Here(error.span().unwrap_or_default(), error.message().to_owned()))
        })?;
        let mut workload = file.check(folder).map_err(wrong)?;
        workload.name =
            Path::new(name).file_stem().map_or(name.into(), |stem| stem.to_string_lossy().into_owned());
        Ok(workload)
    }

    /// What the places of its command lines are filled with.
    pub fn filling(&self) -> Filling {
        Filling {
            keys: KeyText::varied(&self.key_prefix, &self.key_lengths, self.key_numbers()),
            values: ValueText::new(self.seed),
            sizes: self.sizes.clone(),
            ttls: self.ttls.clone(),
        }
    }

    /// How many numbers the texts of keys have room for. Added keys are as long as the others.
    fn key_numbers(&self) -> u64 {
        if self.adds_keys() { self.keys.max(MAX_ADDED) } else { self.keys }
    }

    /// The least length that every key can have: that of the prefix and of the digits of the largest number.
    pub fn least_key_length(&self) -> u64 {
        (self.key_prefix.len() + digits(self.key_numbers() - 1)) as u64
    }

    /// Says why keys cannot be as short as wanted, if they cannot. Lengths by a normal distribution or a histogram may
    /// be shorter: such keys are as long as they must be.
    pub fn check_key_lengths(&self) -> Result<(), String> {
        let least = self.least_key_length();
        match self.key_lengths.bounds() {
            Some((low, _)) if low < least => Err(format!(
                "keys of {} have no room for the prefix '{}' and {}, which need {least}",
                counted(low, "byte", "bytes"),
                self.key_prefix,
                counted(digits(self.key_numbers() - 1) as u64, "digit", "digits")
            )),
            _ => Ok(()),
        }
    }

    /// True if some command line has one of these places, that of the preload included.
    pub fn has_place(&self, places: &[&str]) -> bool {
        has_place(self.commands.iter().chain(&self.preload), places)
    }

    /// True if what is measured has one of these places: the preload's command is not looked at.
    pub fn asks_with(&self, places: &[&str]) -> bool {
        has_place(&self.commands, places)
    }

    /// True if some command adds keys.
    pub fn adds_keys(&self) -> bool {
        let adds = || self.commands.iter().any(|command| command.line.contains("{new}"));
        self.added_keys.unwrap_or_else(adds)
    }
}

fn has_place<'a>(commands: impl IntoIterator<Item = &'a CommandSpec>, places: &[&str]) -> bool {
    let lines = commands.into_iter().flat_map(|command| {
        [Some(&command.line), command.on_miss.as_ref(), command.then.as_ref()].into_iter().flatten()
    });
    let has = |line: &String, place: &&str| {
        line.contains(&format!("{{{place}}}")) || line.contains(&format!("{{{place}:"))
    };
    lines.into_iter().any(|line| places.iter().any(|place| has(line, place)))
}

/// A mistake in a workload's text, or in a file that it names.
enum Fault {
    Here(Range<usize>, String),
    Elsewhere(Error),
}

impl File {
    fn check(self, folder: &Path) -> Result<Workload, Fault> {
        let defaults = Workload::default();
        let here = |span: Range<usize>| move |message: String| Fault::Here(span, message);
        let length = self.keys.length.as_ref().map(Spanned::span);
        let is_default = length.is_none() && self.keys.histogram.is_none();
        let every = in_range(self.connections.reconnect_every, 1, MAX_KEYS, "reconnect_every", 0)?;
        let mut workload = Workload {
            keys: in_range(self.keys.count, 1, MAX_KEYS, "the number of keys", defaults.keys)?,
            distribution: match self.keys.distribution {
                None => defaults.distribution,
                Some(text) => text.get_ref().parse().map_err(here(text.span()))?,
            },
            key_lengths: sizes(self.keys.length, self.keys.histogram, Of::Keys, folder)?
                .unwrap_or(Sizes::Fixed(16)),
            sizes: sizes(self.values.size, self.values.histogram, Of::Values, folder)?
                .unwrap_or(defaults.sizes),
            ttls: match self.values.ttl {
                None => None,
                Some(ttl) => Some(ttl.get_ref().to_string().parse().map_err(here(ttl.span()))?),
            },
            name: String::new(),
            about: self.about.unwrap_or_default(),
            key_prefix: match self.keys.prefix {
                None => defaults.key_prefix,
                Some(prefix) if prefix.get_ref().len() > MAX_KEY_LENGTH => {
                    return Err(Fault::Here(
                        prefix.span(),
                        format!("the prefix must not be longer than {MAX_KEY_LENGTH} bytes"),
                    ));
                }
                Some(prefix) => prefix.into_inner(),
            },
            commands: Vec::new(),
            preload: None,
            reconnect_every: (every > 0).then_some(every),
            seed: self.seed.unwrap_or(defaults.seed),
            added_keys: None,
        };
        let filling = workload.filling();
        for command in self.command {
            workload.commands.push(command.check(&filling)?);
        }
        match (workload.check_key_lengths(), length) {
            (Err(short), Some(span)) => return Err(Fault::Here(span, short)),
            (Err(_), None) if is_default => workload.key_lengths = Sizes::Fixed(workload.least_key_length()),
            _ => {}
        }
        if workload.commands.iter().all(|command| command.weight == 0) {
            return Err(Fault::Here(0..0, "there is no [[command]] with a weight above zero".into()));
        }
        workload.preload = match self.preload {
            Some(line) => Some(CommandSpec::new(&checked_line(line, &filling)?, 1)),
            None => None,
        };
        Ok(workload)
    }
}

impl FileCommand {
    fn check(self, filling: &Filling) -> Result<CommandSpec, Fault> {
        if let (Some(_), Some(then)) = (&self.on_miss, &self.then) {
            return Err(Fault::Here(then.span(), "give either on_miss or then, not both".into()));
        }
        let follows = |line: Option<Spanned<String>>| match line {
            Some(line) if line.get_ref().contains("{new}") => Err(Fault::Here(
                line.span(),
                "what follows is about the same key, so it cannot be {new}".into(),
            )),
            Some(line) => checked_line(line, filling).map(Some),
            None => Ok(None),
        };
        Ok(CommandSpec {
            line: checked_line(self.line, filling)?,
            weight: self.weight,
            on_miss: follows(self.on_miss)?,
            then: follows(self.then)?,
        })
    }
}

fn checked_line(line: Spanned<String>, filling: &Filling) -> Result<String, Fault> {
    match Template::compile(line.get_ref(), filling) {
        Ok(_) => Ok(line.into_inner()),
        Err(message) => Err(Fault::Here(line.span(), message)),
    }
}

/// The sizes given as a distribution or by a histogram's file, if any are given.
fn sizes(
    size: Option<Spanned<Length>>,
    histogram: Option<Spanned<String>>,
    of: Of,
    folder: &Path,
) -> Result<Option<Sizes>, Fault> {
    let most = if of == Of::Keys { MAX_KEY_LENGTH as u64 } else { MAX_SIZE };
    match (size, histogram) {
        (None, None) => Ok(None),
        (Some(_), Some(both)) => {
            Err(Fault::Here(both.span(), "give either a length or size, or a histogram, not both".into()))
        }
        (None, Some(path)) => match Histogram::read(&folder.join(path.get_ref()), of) {
            Ok(histogram) => Ok(Some(Sizes::Histogram(histogram))),
            // A file that cannot be read is the fault of the line that names it.
            Err(error @ Error::Path { .. }) => Err(Fault::Here(path.span(), error.to_string())),
            Err(error) => Err(Fault::Elsewhere(error)),
        },
        (Some(size), None) => {
            let span = size.span();
            let sizes: Sizes =
                size.get_ref().to_string().parse().map_err(|message| Fault::Here(span.clone(), message))?;
            let least = u64::from(of == Of::Keys);
            match sizes.bounds() {
                Some((low, high)) if low < least || high > most => {
                    Err(Fault::Here(span, format!("a length must be from {least} to {most}")))
                }
                _ => Ok(Some(sizes)),
            }
        }
    }
}

impl fmt::Display for Length {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => bytes.fmt(f),
            Self::Distribution(text) => text.fmt(f),
        }
    }
}

/// The value if it is within the bounds, the default if there is none, or where and why it is wrong.
fn in_range(
    value: Option<Spanned<u64>>,
    low: u64,
    high: u64,
    what: &str,
    default: u64,
) -> Result<u64, Fault> {
    match value {
        None => Ok(default),
        Some(value) if (low..=high).contains(value.get_ref()) => Ok(value.into_inner()),
        Some(value) => Err(Fault::Here(value.span(), format!("{what} must be from {low} to {high}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::requests::Requests;

    fn error(text: &str) -> String {
        Workload::parse("w.toml", text, Path::new(".")).unwrap_err().to_string()
    }

    #[test]
    fn built_in_workloads_are_right() {
        for (name, _) in BUILT_IN {
            let workload = Workload::find(name).unwrap_or_else(|error| panic!("{error}"));
            assert!(!workload.about.is_empty(), "{name}");
            assert_eq!(workload.name, *name);
            Requests::new(&workload, 0, 1).unwrap();
            if workload.preload.is_some() {
                Requests::preload(&workload, 0, 1).unwrap();
            }
        }
    }

    #[test]
    fn errors_name_file_and_line() {
        let unknown = error("[keys]\ncount = 5\ncuont = 6\n");
        assert!(unknown.starts_with("w.toml:3: unknown field `cuont`"), "{unknown}");
        let template = error("[[command]]\nline = \"GET {key}\"\n\n[[command]]\nline = \"GET {kee}\"\n");
        assert!(template.starts_with("w.toml:5: unknown place '{kee}'"), "{template}");
        let range = error("[keys]\n\ncount = 0\n");
        assert!(range.starts_with("w.toml:3: the number of keys must be from 1"), "{range}");
        let distribution = error("[keys]\ndistribution = \"zopf\"\n");
        assert!(distribution.starts_with("w.toml:2: unknown distribution"), "{distribution}");
        let kind = error("[keys]\ncount = \"many\"\n");
        assert!(kind.starts_with("w.toml:2: invalid type"), "{kind}");
        let broken = error("about = \"x\"\n[keys\n");
        assert!(broken.starts_with("w.toml:2: "), "{broken}");
        assert!(error("").contains("no [[command]]"));
        assert!(error("[values]\nsize = \"1\"\nhistogram = \"f\"").starts_with("w.toml:3: "));
    }

    #[test]
    fn a_missing_workload_says_which_there_are() {
        let error = Workload::find("no-such-workload").unwrap_err().to_string();
        assert!(error.contains("ycsb-a"), "{error}");
    }
}
