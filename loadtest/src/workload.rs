//! What is asked of the server: keys, sizes and a mix of commands, from a small TOML file or built in.
//!
//! Only reading and checking happens here; [`crate::requests`] makes requests of it. Errors name the file and
//! the line, since a workload is written by hand.

use std::ops::Range;
use std::path::Path;

use serde::Deserialize;
use toml::Spanned;

use crate::error::Error;
use crate::keys::{KeyDistribution, KeyText};
use crate::sizes::{Histogram, Sizes};
use crate::template::Template;

/// A workload, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    /// What it is called in reports.
    pub name: String,
    /// One sentence on what it stands for.
    pub about: String,
    /// How many keys there are, above zero.
    pub keys: u64,
    /// The least length of a key.
    pub key_length: usize,
    /// What every key starts with.
    pub key_prefix: String,
    /// Which keys are asked for how often.
    pub distribution: KeyDistribution,
    /// How long values are.
    pub sizes: Sizes,
    /// The commands and their weights.
    pub commands: Vec<CommandSpec>,
    /// The command that writes one key before the run, for `--preload`.
    pub preload: Option<CommandSpec>,
    /// Each connection is closed and opened again after this many requests.
    pub reconnect_every: Option<u64>,
    /// The seed of all chance.
    pub seed: u64,
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
}

impl Default for Workload {
    /// Nine reads for one write of 100 bytes over a million keys, the hot ones asked for more often.
    fn default() -> Self {
        let spec = |line: &str, weight| CommandSpec { line: line.into(), weight, on_miss: None };
        Self {
            name: "default".into(),
            about: "nine GETs for one SET".into(),
            keys: 1_000_000,
            key_length: 32,
            key_prefix: "key:".into(),
            distribution: KeyDistribution::Uniform,
            sizes: Sizes::Fixed(100),
            commands: vec![spec("GET {key}", 9), spec("SET {key} {value}", 1)],
            preload: Some(spec("SET {key} {value}", 1)),
            reconnect_every: None,
            seed: 1,
        }
    }
}

/// The most keys of a workload.
pub const MAX_KEYS: u64 = 1 << 40;

/// The longest key made.
pub const MAX_KEY_LENGTH: usize = 64 << 10;

/// The built-in workloads by name.
pub const BUILT_IN: &[(&str, &str)] = &[
    ("cache-aside", include_str!("../workloads/cache-aside.toml")),
    ("connection-churn", include_str!("../workloads/connection-churn.toml")),
    ("counters", include_str!("../workloads/counters.toml")),
    ("large-values", include_str!("../workloads/large-values.toml")),
    ("leaderboard", include_str!("../workloads/leaderboard.toml")),
    ("multi-get", include_str!("../workloads/multi-get.toml")),
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
    length: Option<Spanned<usize>>,
    prefix: Option<String>,
    distribution: Option<Spanned<String>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Values {
    size: Option<Spanned<String>>,
    histogram: Option<Spanned<String>>,
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
        let text = std::fs::read_to_string(path)
            .map_err(|source| Error::Path { path: path.to_path_buf(), source })?;
        Self::parse(name, &text, path.parent().unwrap_or(Path::new(".")))
    }

    /// Reads a workload's text. `name` is used in errors; files it names are looked for in `folder`.
    pub fn parse(name: &str, text: &str, folder: &Path) -> Result<Self, Error> {
        let wrong = |span: Option<Range<usize>>, message: String| Error::File {
            file: name.to_owned(),
            line: text[..span.map_or(0, |span| span.start.min(text.len()))].matches('\n').count() + 1,
            message,
        };
        let file: File =
            toml::from_str(text).map_err(|error| wrong(error.span(), error.message().replace('\n', " ")))?;
        let defaults = Self::default();
        let keys = in_range(file.keys.count, 1, MAX_KEYS, "the number of keys", defaults.keys)
            .map_err(|(span, message)| wrong(Some(span), message))?;
        let key_length = in_range(file.keys.length, 1, MAX_KEY_LENGTH, "the length of keys", 16)
            .map_err(|(span, message)| wrong(Some(span), message))?;
        let distribution = match file.keys.distribution {
            None => defaults.distribution,
            Some(text) => text.get_ref().parse().map_err(|message| wrong(Some(text.span()), message))?,
        };
        let sizes = match (file.values.size, file.values.histogram) {
            (Some(_), Some(both)) => {
                return Err(wrong(Some(both.span()), "give either a size or a histogram, not both".into()));
            }
            (Some(size), None) => {
                size.get_ref().parse().map_err(|message| wrong(Some(size.span()), message))?
            }
            (None, Some(path)) => Sizes::Histogram(Histogram::read(&folder.join(path.get_ref()))?),
            (None, None) => defaults.sizes,
        };
        let every = in_range(file.connections.reconnect_every, 1, MAX_KEYS, "reconnect_every", 0)
            .map_err(|(span, message)| wrong(Some(span), message))?;
        let mut workload = Self {
            name: Path::new(name).file_stem().map_or(name.into(), |stem| stem.to_string_lossy().into_owned()),
            about: file.about.unwrap_or_default(),
            keys,
            key_length,
            key_prefix: file.keys.prefix.unwrap_or(defaults.key_prefix),
            distribution,
            sizes,
            commands: Vec::new(),
            preload: None,
            reconnect_every: (every > 0).then_some(every),
            seed: file.seed.unwrap_or(defaults.seed),
        };
        let text_of_keys = KeyText::new(&workload.key_prefix, workload.key_length, workload.keys);
        let checked = |line: Spanned<String>| match Template::compile(line.get_ref(), &text_of_keys) {
            Ok(_) => Ok(line.into_inner()),
            Err(message) => Err(wrong(Some(line.span()), message)),
        };
        for command in file.command {
            workload.commands.push(CommandSpec {
                line: checked(command.line)?,
                weight: command.weight,
                on_miss: command.on_miss.map(checked).transpose()?,
            });
        }
        if workload.commands.iter().all(|command| command.weight == 0) {
            return Err(wrong(None, "there is no [[command]] with a weight above zero".into()));
        }
        workload.preload = match file.preload {
            Some(line) => Some(CommandSpec { line: checked(line)?, weight: 1, on_miss: None }),
            None => None,
        };
        Ok(workload)
    }
}

/// The value if it is within the bounds, the default if there is none, or where and why it is wrong.
fn in_range<T: PartialOrd + Copy + std::fmt::Display>(
    value: Option<Spanned<T>>,
    low: T,
    high: T,
    what: &str,
    default: T,
) -> Result<T, (Range<usize>, String)> {
    match value {
        None => Ok(default),
        Some(value) if *value.get_ref() >= low && *value.get_ref() <= high => Ok(value.into_inner()),
        Some(value) => Err((value.span(), format!("{what} must be from {low} to {high}"))),
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
