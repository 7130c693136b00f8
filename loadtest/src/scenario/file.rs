//! Reads a scenario: a TOML file, or built in. Everything that can be known to be wrong before anything is started is
//! told here, with file and line.

mod steps;

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use toml::Spanned;

use super::command_line::CommandLine;
use super::step::{Action, Step};
use crate::error::{Error, in_plain_words};
use crate::workload::Workload;

/// A scenario, checked.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// What it is called in reports.
    pub name: String,
    /// Where it was read, for errors.
    file: String,
    /// One sentence on what it shows.
    pub about: String,
    /// What the servers are connected by.
    pub network: Network,
    /// Servers with names of their own; the router is one called `router`.
    pub processes: Vec<Server>,
    /// The nodes, if there are some.
    pub nodes: Option<Nodes>,
    /// The load, if there is some.
    pub load: Option<Load>,
    /// What is done.
    pub steps: Vec<Step>,
}

/// What servers are connected by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// Ports of the loopback interface.
    #[default]
    Host,
    /// A network namespace for each.
    Namespaces,
}

/// When a server counts as started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ready {
    /// It answers PING.
    #[default]
    Ping,
    /// Its port takes connections.
    Tcp,
    /// At once.
    None,
}

/// A server.
#[derive(Clone, Debug)]
pub struct Server {
    /// Its name.
    pub name: String,
    /// How to start it.
    pub command: CommandLine,
    /// When it counts as started.
    pub ready: Ready,
    /// Its line in the file.
    pub line: usize,
}

/// Numbered nodes, `node-1` and on.
#[derive(Clone, Debug)]
pub struct Nodes {
    /// How many at the start.
    pub count: u32,
    /// How many there may be at any time.
    pub most: u32,
    /// How to start one.
    pub server: Server,
}

/// The load beside the steps.
#[derive(Clone, Debug)]
pub struct Load {
    /// What is asked.
    pub workload: Workload,
    /// The file that it was read from, if it is not a built-in one.
    pub file: Option<PathBuf>,
    /// Processes it goes to, in turn.
    pub targets: Vec<String>,
    /// The targets are nodes of one cluster: each request goes to the owner of its key.
    pub cluster: bool,
    /// Requests per second of an open loop; a closed loop without.
    pub rate: Option<f64>,
    /// An open loop's requests come at random.
    pub poisson: bool,
    /// Connections.
    pub connections: usize,
    /// Requests under way per connection.
    pub pipeline: usize,
    /// Generator threads.
    pub threads: usize,
    /// Write every key before the first step that puts the load on.
    pub preload: bool,
    /// The checker runs beside it, with so many connections on so many keys.
    pub verify: Option<(u32, u32)>,
}

/// The most nodes of a scenario.
const MAX_NODES: u32 = 64;

/// The built-in scenarios by name.
pub const BUILT_IN: &[(&str, &str)] = &[
    ("partition", include_str!("../../scenarios/partition.toml")),
    ("shoal-bad-network", include_str!("../../scenarios/shoal-bad-network.toml")),
    ("shoal-crash", include_str!("../../scenarios/shoal-crash.toml")),
    ("shoal-crash-copies", include_str!("../../scenarios/shoal-crash-copies.toml")),
    ("shoal-partition", include_str!("../../scenarios/shoal-partition.toml")),
    ("shoal-rescale", include_str!("../../scenarios/shoal-rescale.toml")),
    ("shoal-rescale-direct", include_str!("../../scenarios/shoal-rescale-direct.toml")),
    ("shoal-rolling-restart", include_str!("../../scenarios/shoal-rolling-restart.toml")),
    ("stall", include_str!("../../scenarios/stall.toml")),
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    about: Option<String>,
    #[serde(default)]
    cluster: FileCluster,
    #[serde(default)]
    process: Vec<FileProcess>,
    nodes: Option<FileNodes>,
    router: Option<FileRouter>,
    load: Option<Spanned<FileLoad>>,
    #[serde(default)]
    step: Vec<Spanned<steps::FileStep>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileCluster {
    #[serde(default)]
    network: Network,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileProcess {
    name: Spanned<String>,
    command: Spanned<String>,
    #[serde(default)]
    ready: Ready,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileNodes {
    count: Spanned<u32>,
    command: Spanned<String>,
    #[serde(default)]
    ready: Ready,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileRouter {
    command: Spanned<String>,
    #[serde(default)]
    ready: Ready,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileLoad {
    workload: Option<Spanned<String>>,
    target: Option<Spanned<OneOrMany>>,
    #[serde(default)]
    cluster: bool,
    rate: Option<Spanned<f64>>,
    #[serde(default)]
    poisson: bool,
    connections: Option<Spanned<usize>>,
    pipeline: Option<Spanned<usize>>,
    threads: Option<Spanned<usize>>,
    keys: Option<Spanned<u64>>,
    #[serde(default)]
    preload: bool,
    #[serde(default)]
    verify: bool,
    verify_connections: Option<Spanned<u32>>,
    verify_keys: Option<Spanned<u32>>,
}

/// A word, or a list of words on lines of their own.
#[derive(Clone)]
pub(super) enum OneOrMany {
    One(String),
    Many(Vec<Spanned<String>>),
}

impl OneOrMany {
    pub(super) fn into_vec(self) -> Vec<String> {
        match self {
            Self::One(word) => vec![word],
            Self::Many(words) => words.into_iter().map(Spanned::into_inner).collect(),
        }
    }

    /// Each word with its place; `whole` is that of all.
    pub(super) fn spanned(&self, whole: &Range<usize>) -> Vec<(String, Range<usize>)> {
        match self {
            Self::One(word) => vec![(word.clone(), whole.clone())],
            Self::Many(words) => words.iter().map(|word| (word.get_ref().clone(), word.span())).collect(),
        }
    }
}

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Words)
    }
}

/// Reads a word or a list; serde's own way for either of two types forgets where a wrong one is.
struct Words;

impl<'de> Visitor<'de> for Words {
    type Value = OneOrMany;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a word or a list of words")
    }

    fn visit_str<E: de::Error>(self, word: &str) -> Result<OneOrMany, E> {
        Ok(OneOrMany::One(word.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<OneOrMany, A::Error> {
        let mut words = Vec::new();
        while let Some(word) = list.next_element()? {
            words.push(word);
        }
        Ok(OneOrMany::Many(words))
    }
}

/// Makes errors that name file and line.
pub(super) struct Place<'a> {
    file: &'a str,
    text: &'a str,
    folder: &'a Path,
}

impl Place<'_> {
    fn line(&self, span: &Range<usize>) -> usize {
        self.text[..span.start.min(self.text.len())].matches('\n').count() + 1
    }

    pub(super) fn wrong(&self, span: &Range<usize>, message: impl Into<String>) -> Error {
        Error::File { file: self.file.to_owned(), line: self.line(span), message: message.into() }
    }

    /// The value if it is within the bounds, or the default if there is none.
    fn within<T: PartialOrd + Copy + std::fmt::Display>(
        &self,
        value: Option<Spanned<T>>,
        (low, high): (T, T),
        what: &str,
        default: T,
    ) -> Result<T, Error> {
        match value {
            None => Ok(default),
            Some(value) if *value.get_ref() >= low && *value.get_ref() <= high => Ok(value.into_inner()),
            Some(value) => Err(self.wrong(&value.span(), format!("{what} must be from {low} to {high}"))),
        }
    }

    fn command(&self, text: &Spanned<String>) -> Result<CommandLine, Error> {
        CommandLine::parse(text.get_ref()).map_err(|message| self.wrong(&text.span(), message))
    }
}

impl Scenario {
    /// The built-in scenario of this name, or else the file at this path.
    pub fn find(name: &str) -> Result<Self, Error> {
        if let Some((name, text)) = BUILT_IN.iter().find(|(built_in, _)| *built_in == name) {
            return Self::parse(name, text, Path::new("."));
        }
        let path = Path::new(name);
        if !path.exists() {
            let names: Vec<&str> = BUILT_IN.iter().map(|(name, _)| *name).collect();
            return Err(Error::Usage(format!(
                "there is no scenario '{name}', neither a file nor one of the built-in {}",
                names.join(", ")
            )));
        }
        let bytes = crate::input::bytes(path)?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
            Error::File { file: name.to_owned(), line, message: "this is not UTF-8 text".into() }
        })?;
        Self::parse(name, &text, path.parent().unwrap_or(Path::new(".")))
    }

    /// Reads a scenario's text. `name` is used in errors; workloads it names are looked for in `folder`.
    pub fn parse(name: &str, text: &str, folder: &Path) -> Result<Self, Error> {
        let place = Place { file: name, text, folder };
        let file: File = toml::from_str(text)
            .map_err(|error| place.wrong(&error.span().unwrap_or(0..0), in_plain_words(error.message())))?;
        let mut scenario = Self {
            name: Path::new(name).file_stem().map_or(name.into(), |stem| stem.to_string_lossy().into_owned()),
            file: name.to_owned(),
            about: file.about.unwrap_or_default(),
            network: file.cluster.network,
            processes: Vec::new(),
            nodes: None,
            load: None,
            steps: Vec::new(),
        };
        scenario.take_servers(&place, file.process, file.router, file.nodes)?;
        if scenario.processes.is_empty() && scenario.nodes.is_none() {
            return Err(place.wrong(&(0..0), "there is nothing to start: write a [[process]] or [nodes]"));
        }
        let mut steps = steps::check(&place, &scenario, file.step)?;
        if let Some(nodes) = &mut scenario.nodes {
            let most = steps.iter().filter_map(|step| match step.action {
                Action::Scale { count, .. } => Some(count),
                _ => None,
            });
            nodes.most = most.max().unwrap_or(0).max(nodes.count);
        }
        if let Some(load) = file.load {
            scenario.load = Some(scenario.load(&place, load)?);
        }
        scenario.steps.append(&mut steps);
        scenario.check_names(&place)?;
        Ok(scenario)
    }

    fn take_servers(
        &mut self,
        place: &Place<'_>,
        processes: Vec<FileProcess>,
        router: Option<FileRouter>,
        nodes: Option<FileNodes>,
    ) -> Result<(), Error> {
        for process in processes {
            let name = process.name.get_ref();
            let fits = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
            let taken = ["router", "nodes", "client"].contains(&name.as_str()) || name.starts_with("node-");
            if !fits || taken || self.processes.iter().any(|other| other.name == *name) {
                let message = format!(
                    "'{name}' cannot be the name of a process: it is taken, or not of a-z, 0-9 and -"
                );
                return Err(place.wrong(&process.name.span(), message));
            }
            let (command, line) = (place.command(&process.command)?, place.line(&process.command.span()));
            self.processes.push(Server {
                name: process.name.into_inner(),
                command,
                ready: process.ready,
                line,
            });
        }
        if let Some(nodes) = nodes {
            let line = place.line(&nodes.command.span());
            let server = Server {
                name: "node".into(),
                command: place.command(&nodes.command)?,
                ready: nodes.ready,
                line,
            };
            let count = place.within(Some(nodes.count), (1, MAX_NODES), "the number of nodes", 1)?;
            self.nodes = Some(Nodes { count, most: count, server });
        }
        if let Some(router) = router {
            let (command, line) = (place.command(&router.command)?, place.line(&router.command.span()));
            self.processes.push(Server { name: "router".into(), command, ready: router.ready, line });
        }
        Ok(())
    }

    fn load(&self, place: &Place<'_>, load: Spanned<FileLoad>) -> Result<Load, Error> {
        let whole = load.span();
        let load = load.into_inner();
        let mut file = None;
        let mut workload = match load.workload {
            None => Workload { name: "default".into(), ..Workload::default() },
            Some(name) => {
                let found = if crate::workload::BUILT_IN.iter().any(|(known, _)| known == name.get_ref()) {
                    name.get_ref().clone()
                } else {
                    let path = file.insert(place.folder.join(name.get_ref()));
                    path.to_string_lossy().into_owned()
                };
                // What is wrong in the workload's file is told with its own line.
                Workload::find(&found).map_err(|error| match error {
                    Error::File { .. } => error,
                    other => place.wrong(&name.span(), other.to_string()),
                })?
            }
        };
        let most_keys = crate::workload::MAX_KEYS;
        let keys = load.keys.as_ref().map_or(whole.clone(), Spanned::span);
        workload.keys = place.within(load.keys, (1, most_keys), "the number of keys", workload.keys)?;
        workload.check_key_lengths().map_err(|short| {
            let name = &workload.name;
            place.wrong(
                &keys,
                format!("{short}; the length is that of {name}, whose file can say another one"),
            )
        })?;
        let targets = match load.target {
            Some(target) => {
                let names = target.get_ref().spanned(&target.span());
                for (name, span) in &names {
                    self.known(name).map_err(|message| place.wrong(span, message))?;
                }
                names.into_iter().map(|(name, _)| name).collect()
            }
            None => vec![self.default_target()],
        };
        if load.preload && workload.preload.is_none() {
            let message = format!("the workload '{}' has no 'preload' command", workload.name);
            return Err(place.wrong(&whole, message));
        }
        let threads = place.within(load.threads, (1, 64), "the number of threads", 1)?;
        let connections = (threads, 10_000);
        let checked = (
            place.within(load.verify_connections, (1, 256), "the number of the checker's connections", 4)?,
            place.within(load.verify_keys, (1, 1_000_000), "the number of the checker's keys", 200)?,
        );
        Ok(Load {
            workload,
            file,
            targets,
            cluster: load.cluster,
            rate: load.rate.map(|rate| place.within(Some(rate), (0.1, 1e8), "the rate", 1.0)).transpose()?,
            poisson: load.poisson,
            connections: place.within(load.connections, connections, "the number of connections", 50)?,
            pipeline: place.within(load.pipeline, (1, 10_000), "the pipeline", 1)?,
            threads,
            preload: load.preload,
            verify: load.verify.then_some(checked),
        })
    }

    /// The router if there is one, then the nodes, then the first process.
    fn default_target(&self) -> String {
        let router = self.processes.iter().any(|process| process.name == "router");
        match (router, &self.nodes, self.processes.first()) {
            (true, ..) => "router".into(),
            (false, Some(_), _) => "nodes".into(),
            (false, None, first) => first.map(|process| process.name.clone()).unwrap_or_default(),
        }
    }

    /// Whether there is, or may be, a process of this name; `nodes` and `node-N` included.
    pub fn known(&self, name: &str) -> Result<(), String> {
        let number = name.strip_prefix("node-").and_then(|number| number.parse::<u32>().ok());
        let found = match (&self.nodes, number) {
            (Some(nodes), Some(number)) => (1..=nodes.most).contains(&number),
            (Some(_), None) if name == "nodes" => true,
            _ => self.processes.iter().any(|process| process.name == name),
        };
        if found {
            Ok(())
        } else {
            Err(format!("there is no '{name}'; there are {}", self.names().join(", ")))
        }
    }

    /// Where it was read.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// What is on this line, for the people who read what came of it.
    pub fn place(&self, line: usize) -> String {
        format!("{}:{line}", self.file)
    }

    /// The names of all processes.
    pub fn names(&self) -> Vec<String> {
        let nodes = self.nodes.iter().flat_map(|nodes| 1..=nodes.most).map(|number| format!("node-{number}"));
        self.processes.iter().map(|process| process.name.clone()).chain(nodes).collect()
    }

    /// Checks the names that steps use: how many nodes there may be is known only when all steps are read.
    fn check_names(&self, place: &Place<'_>) -> Result<(), Error> {
        for step in &self.steps {
            let wrong = |message| Error::File { file: place.file.to_owned(), line: step.line, message };
            for name in steps::names(&step.action) {
                let single = matches!(
                    step.action,
                    Action::Stop { .. }
                        | Action::Kill { .. }
                        | Action::Pause { .. }
                        | Action::Resume { .. }
                        | Action::Start { .. }
                );
                if single && name == "nodes" {
                    return Err(wrong("name one process, not 'nodes'".into()));
                }
                let client = matches!(
                    step.action,
                    Action::Partition { .. } | Action::Loss { .. } | Action::Delay { .. }
                ) && name == "client";
                if !client {
                    self.known(name).map_err(wrong)?;
                }
            }
            let claims = match &step.action {
                Action::Load(_) if self.load.is_none() => {
                    return Err(wrong("there is no [load] to put on".into()));
                }
                Action::Assert { claims, .. } => claims.as_slice(),
                _ => &[],
            };
            let load = self.load.as_ref();
            if !claims.is_empty() && load.is_none() {
                return Err(wrong("there is no [load] that has figures".into()));
            }
            let checked = load.is_some_and(|load| load.verify.is_some());
            if let Some(claim) = claims.iter().find(|claim| claim.wants_checker() && !checked) {
                return Err(wrong(format!("'{claim}' needs verify = true in [load]")));
            }
        }
        Ok(())
    }

    /// Finds all programs, so that a missing one is told before anything is started.
    pub fn programs(&self) -> Result<Vec<PathBuf>, Error> {
        let servers = self.processes.iter().chain(self.nodes.iter().map(|nodes| &nodes.server));
        let find = |server: &Server| {
            super::command_line::find_program(server.command.program()).map_err(|message| Error::File {
                file: self.file.clone(),
                line: server.line,
                message,
            })
        };
        servers.map(find).collect()
    }

    /// The least time that the steps take.
    pub fn least(&self) -> Duration {
        self.steps
            .iter()
            .fold(Duration::ZERO, |sum, step| sum.max(step.at.unwrap_or_default()) + step.action.least())
    }
}

#[cfg(test)]
mod tests;
