//! The stream of requests of one thread: which command, about which key, encoded.
//!
//! The stream depends on the workload, the seed and the thread's number only. What servers answer changes
//! nothing in it: the follow-ups of cache-aside commands draw from a stream of their own.

use crate::cluster::slot;
use crate::keys::{Added, KeyChooser, KeyDistribution};
use crate::random::Random;
use crate::reply::Form;
use crate::template::{Filling, Template};
use crate::workload::Workload;

/// A command of the workload, ready to be encoded.
#[derive(Clone, Debug)]
pub struct Command {
    template: Template,
    /// What it is called in tables; the name, or the name and a number where several share one.
    pub label: String,
    /// True when a null in the reply is a miss.
    pub looks_up: bool,
    /// True when an empty reply is a miss.
    pub reads_all: bool,
    /// The same, and its answer is one value.
    pub looks_up_one: bool,
    /// The word that decides which node of a cluster is asked, if there is one.
    key_word: Option<usize>,
    /// What a reply that is no error looks like; [`Form::Other`] if that depends.
    pub answered_by: Form,
    /// True when it writes a key, which moves the `latest` distribution on.
    writes: bool,
    /// The command that follows it, by its place among the commands, and when it does.
    pub follow_up: Option<(Follows, usize)>,
}

/// Which replies are followed by another request about the same key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follows {
    /// Those with a null in them.
    Misses,
    /// All but errors.
    Always,
}

/// Names of commands that answer a missing key or field with a null.
const LOOK_UPS: &[&str] = &[
    "GET", "MGET", "GETEX", "GETDEL", "GETSET", "HGET", "HMGET", "LPOP", "RPOP", "SPOP", "ZSCORE", "ZMSCORE",
    "LINDEX",
];

/// Names of commands that read a whole key, or some of its members, and answer a missing one with nothing in a list.
const READ_ALL: &[&str] = &["HGETALL", "SMEMBERS", "LRANGE", "ZRANGE"];
/// Those that are answered by one value.
const LOOK_UPS_OF_ONE: &[&str] = &["GET", "GETEX", "GETDEL", "GETSET", "HGET", "ZSCORE", "LINDEX"];

/// Names of commands that are answered by OK, unless one of [`CONDITIONS`] is among their words.
const ANSWERED_BY_OK: &[&str] =
    &["SET", "SETEX", "PSETEX", "MSET", "HMSET", "LSET", "LTRIM", "RENAME", "FLUSHALL", "FLUSHDB"];
/// Names of commands that are answered by an integer, unless one of [`CONDITIONS`] is among their words.
const ANSWERED_BY_INTEGER: &[&str] = &[
    "APPEND",
    "BITCOUNT",
    "DEL",
    "DECR",
    "DECRBY",
    "EXISTS",
    "EXPIRE",
    "GETBIT",
    "HDEL",
    "HEXISTS",
    "HINCRBY",
    "HLEN",
    "HSET",
    "HSETNX",
    "INCR",
    "INCRBY",
    "LLEN",
    "LPUSH",
    "LPUSHX",
    "LREM",
    "MSETNX",
    "PERSIST",
    "PEXPIRE",
    "PFADD",
    "PTTL",
    "PUBLISH",
    "RPUSH",
    "RPUSHX",
    "SADD",
    "SCARD",
    "SETBIT",
    "SETNX",
    "SETRANGE",
    "SISMEMBER",
    "SREM",
    "STRLEN",
    "TOUCH",
    "TTL",
    "UNLINK",
    "ZADD",
    "ZCARD",
    "ZCOUNT",
    "ZREM",
];
/// Words with which a command is answered by something else: SET NX or GET, ZADD INCR.
const CONDITIONS: &[&str] = &["NX", "XX", "GET", "IFEQ", "INCR"];

/// Names of commands that write a key.
const WRITERS: &[&str] =
    &["SET", "SETEX", "PSETEX", "SETNX", "HSET", "SADD", "ZADD", "LPUSH", "RPUSH", "XADD"];

/// What a request was about; kept while its reply is awaited.
///
/// Two whole words: the parts of a smaller one would be written one by one and read back together, for which
/// processors wait until the writes are through. There is one for each request under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct About {
    /// The command in the lowest 16 bits, the number of keys in 32, and on top the slot, counted from 1, if it was
    /// wanted and is known.
    what: u64,
    key: u64,
}

impl About {
    /// A request of this command (by its place in [`Requests::commands`]) for so many keys, of which `key` is the
    /// first one's number.
    #[inline]
    pub fn new(command: u16, keys: u32, key: u64) -> Self {
        Self { what: u64::from(command) | u64::from(keys) << 16, key }
    }

    /// The command's place in [`Requests::commands`].
    #[inline]
    pub fn command(self) -> u16 {
        self.what as u16
    }

    /// How many keys it asked for.
    #[inline]
    pub fn keys(self) -> u32 {
        (self.what >> 16) as u32
    }

    /// The same with the hash slot of its key.
    pub fn with_slot(self, slot: Option<u16>) -> Self {
        let slot = slot.map_or(0, |slot| u64::from(slot) + 1);
        Self { what: self.what & (u64::MAX >> 16) | slot << 48, ..self }
    }

    /// The hash slot of its key, if [`Requests::mark_slots`] has asked for it and there is one.
    #[inline]
    pub fn slot(self) -> Option<u16> {
        ((self.what >> 48) as u16).checked_sub(1)
    }

    /// The key's number, of several the first one's.
    #[inline]
    pub fn key(self) -> u64 {
        self.key
    }
}

/// Draws and encodes requests.
#[derive(Clone, Debug)]
pub struct Requests {
    commands: Vec<Command>,
    /// The weights, summed up; commands that only answer misses have none.
    ceilings: Vec<u64>,
    chooser: KeyChooser,
    filling: Filling,
    random: Random,
    follow_up: Random,
    marks_slots: bool,
}

impl Requests {
    /// The stream of thread `part` of `parts`.
    pub fn new(workload: &Workload, part: u64, parts: u64) -> Result<Self, String> {
        let filling = workload.filling();
        let (commands, ceilings) = compile(workload, &filling)?;
        let added = if workload.adds_keys() { Added::Grows } else { Added::GoesRound };
        Ok(Self {
            commands,
            ceilings,
            chooser: KeyChooser::new(workload.distribution, workload.keys, added, part, parts),
            filling,
            random: Random::part(workload.seed, 2 * part),
            follow_up: Random::part(workload.seed, 2 * part + 1),
            marks_slots: false,
        })
    }

    /// The stream that writes every key of the workload once, spread over the threads.
    pub fn preload(workload: &Workload, part: u64, parts: u64) -> Result<Self, String> {
        let mut once = workload.clone();
        once.distribution = KeyDistribution::Sequential;
        // Keys look alike in both streams, so whether some are added is told by the whole workload.
        once.added_keys = Some(workload.adds_keys());
        once.commands = workload.preload.clone().into_iter().collect();
        Self::new(&once, part, parts)
    }

    /// The commands, in the order of the workload, followed by those that answer misses.
    pub fn commands(&self) -> &[Command] {
        &self.commands
    }

    /// Computes the slot of every request from now on.
    pub fn mark_slots(&mut self) {
        self.marks_slots = true;
    }

    /// Says what time it is, in nanoseconds since the start; only a hot key that moves with time needs it.
    #[inline]
    pub fn at(&mut self, now: u64) {
        self.chooser.at(now);
    }

    /// Draws the next request and appends it.
    #[inline]
    pub fn next(&mut self, out: &mut Vec<u8>) -> About {
        let index = self.draw_command();
        let command = &self.commands[index];
        let key = if command.template.adds() {
            self.chooser.add()
        } else if command.writes {
            self.chooser.next_written(&mut self.random)
        } else {
            self.chooser.next(&mut self.random)
        };
        let chooser = &mut self.chooser;
        let more = |random: &mut Random| chooser.next(random);
        let start = out.len();
        let keys = command.template.encode(key, &self.filling, &mut self.random, more, out);
        let about = About::new(index as u16, keys, key);
        if self.marks_slots { about.with_slot(self.slot_of(index as u16, &out[start..])) } else { about }
    }

    /// Appends the request that follows the answer of `about`, if the workload has one.
    pub fn follow_up(&mut self, about: About, out: &mut Vec<u8>) -> Option<About> {
        let (_, index) = self.commands[usize::from(about.command())].follow_up?;
        let chooser = &mut self.chooser;
        let more = |random: &mut Random| chooser.next(random);
        let template = &self.commands[index].template;
        let start = out.len();
        let keys = template.encode(about.key(), &self.filling, &mut self.follow_up, more, out);
        let next = About::new(index as u16, keys, about.key());
        let slot = if self.marks_slots { self.slot_of(index as u16, &out[start..]) } else { None };
        Some(next.with_slot(slot))
    }

    /// The hash slot of a request that was just encoded; none if it may go to any node.
    #[inline]
    pub fn slot_of(&self, command: u16, request: &[u8]) -> Option<u16> {
        word(request, self.commands[usize::from(command)].key_word?).map(slot::slot)
    }

    /// Says why a cluster could not answer these requests, if it could not.
    pub fn check_for_cluster(&self, key_prefix: &str) -> Result<(), String> {
        let several = self.commands.iter().find(|command| command.template.asks_for_several());
        match several {
            Some(command) if slot::hashed(key_prefix.as_bytes()).len() == key_prefix.len() => Err(format!(
                "the keys of one {} lie in several hash slots, which a cluster refuses: use {{keys:1}}, or put all \
                 keys into one slot by a key prefix with a hash tag, such as '{{tag}}key:'",
                command.label
            )),
            _ => Ok(()),
        }
    }

    #[inline]
    fn draw_command(&mut self) -> usize {
        if self.ceilings.len() == 1 {
            return 0;
        }
        let total = self.ceilings[self.ceilings.len() - 1];
        let drawn = self.random.below(total);
        self.ceilings.iter().position(|ceiling| drawn < *ceiling).expect("the draw is below the last ceiling")
    }
}

/// Compiles the workload's commands and, behind them, those that follow their answers.
fn compile(workload: &Workload, filling: &Filling) -> Result<(Vec<Command>, Vec<u64>), String> {
    let mut commands = Vec::new();
    let mut ceilings = Vec::new();
    let mut total = 0u64;
    for spec in &workload.commands {
        commands.push(command(&spec.line, filling)?);
        total += u64::from(spec.weight);
        ceilings.push(total);
    }
    if total == 0 {
        return Err("the workload has no command with a weight above zero".into());
    }
    for (index, spec) in workload.commands.iter().enumerate() {
        let follow_up = match (&spec.then, &spec.on_miss) {
            (Some(line), _) => (Follows::Always, line),
            (None, Some(line)) => (Follows::Misses, line),
            (None, None) => continue,
        };
        commands[index].follow_up = Some((follow_up.0, commands.len()));
        commands.push(command(follow_up.1, filling)?);
    }
    if commands.len() > usize::from(u16::MAX) {
        return Err("the workload has too many commands".into());
    }
    label(&mut commands);
    Ok((commands, ceilings))
}

fn command(line: &str, filling: &Filling) -> Result<Command, String> {
    let template = Template::compile(line, filling)?;
    let name = template.name().to_owned();
    Ok(Command {
        looks_up: LOOK_UPS.contains(&name.as_str()),
        reads_all: READ_ALL.contains(&name.as_str()),
        looks_up_one: LOOK_UPS_OF_ONE.contains(&name.as_str()),
        answered_by: answered_by(&name, line),
        writes: WRITERS.contains(&name.as_str()),
        label: name,
        template,
        key_word: key_word(line),
        follow_up: None,
    })
}

/// What the command with this label is usually answered by, in words.
pub fn usual_answer(label: &str) -> &'static str {
    let name = label.split(' ').next().unwrap_or_default();
    if ANSWERED_BY_OK.contains(&name) { "OK" } else { "a number" }
}

/// What a command's replies look like that are no errors.
fn answered_by(name: &str, line: &str) -> Form {
    let is_condition = |word: &str| CONDITIONS.iter().any(|condition| word.eq_ignore_ascii_case(condition));
    match name {
        _ if line.split_whitespace().skip(2).any(is_condition) => Form::Other,
        _ if ANSWERED_BY_OK.contains(&name) => Form::Ok,
        _ if ANSWERED_BY_INTEGER.contains(&name) => Form::Integer,
        _ => Form::Other,
    }
}

/// Commands whose first key is not the first word behind the name, and where it is.
const KEY_WORDS: &[(&str, usize)] = &[
    ("BITOP", 2),
    ("BLMPOP", 3),
    ("BZMPOP", 3),
    ("DEBUG", 2),
    ("EVAL", 3),
    ("EVALSHA", 3),
    ("FCALL", 3),
    ("LMPOP", 2),
    ("MEMORY", 2),
    ("OBJECT", 2),
    ("SINTERCARD", 2),
    ("XGROUP", 2),
    ("XINFO", 2),
    ("ZDIFF", 2),
    ("ZINTER", 2),
    ("ZINTERCARD", 2),
    ("ZMPOP", 2),
    ("ZUNION", 2),
];

/// Which word of a line is its first key.
fn key_word(line: &str) -> Option<usize> {
    let words: Vec<String> = line.split_whitespace().map(str::to_ascii_uppercase).collect();
    let place = match KEY_WORDS.iter().find(|(name, _)| *name == words[0]) {
        Some((_, place)) => *place,
        None if words[0].starts_with("XREAD") => words.iter().position(|word| word == "STREAMS")? + 1,
        None => 1,
    };
    (place < words.len()).then_some(place)
}

/// The word at this place of an encoded request.
#[inline]
fn word(request: &[u8], place: usize) -> Option<&[u8]> {
    let mut rest = &request[memchr::memchr(b'\n', request)? + 1..];
    for left in (0..=place).rev() {
        let digits = rest.iter().skip(1).take_while(|byte| byte.is_ascii_digit());
        let (count, length) = digits
            .fold((0, 0), |(count, length), digit| (count + 1, length * 10 + usize::from(digit - b'0')));
        let start = count + 3;
        if left == 0 {
            return rest.get(start..start + length);
        }
        rest = rest.get(start + length + 2..)?;
    }
    None
}

/// Numbers the labels that several commands share.
fn label(commands: &mut [Command]) {
    for index in (1..commands.len()).rev() {
        let name = commands[index].template.name().to_owned();
        let before = commands[..index].iter().filter(|command| command.template.name() == name).count();
        if before > 0 {
            commands[index].label = format!("{name} #{}", before + 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::CommandSpec;

    fn workload() -> Workload {
        Workload { keys: 1000, ..Workload::default() }
    }

    fn stream(workload: &Workload, part: u64, count: usize) -> Vec<u8> {
        let mut requests = Requests::new(workload, part, 2).unwrap();
        let mut out = Vec::new();
        for _ in 0..count {
            requests.next(&mut out);
        }
        out
    }

    #[test]
    fn same_seed_same_requests() {
        let workload = workload();
        assert_eq!(stream(&workload, 0, 1000), stream(&workload, 0, 1000));
        assert_ne!(stream(&workload, 0, 1000), stream(&workload, 1, 1000));
        let other = Workload { seed: 2, ..workload.clone() };
        assert_ne!(stream(&workload, 0, 1000), stream(&other, 0, 1000));
    }

    #[test]
    fn misses_do_not_change_what_comes_next() {
        let mut workload = workload();
        workload.commands = vec![CommandSpec {
            line: "GET {key}".into(),
            on_miss: Some("SET {key} {int:1-1000000}".into()),
            ..CommandSpec::default()
        }];
        let mut plain = Requests::new(&workload, 0, 1).unwrap();
        let mut missing = Requests::new(&workload, 0, 1).unwrap();
        for _ in 0..100 {
            let (mut a, mut b, mut extra) = (Vec::new(), Vec::new(), Vec::new());
            let about = plain.next(&mut a);
            assert_eq!(about, missing.next(&mut b));
            assert_eq!(a, b);
            let set = missing.follow_up(about, &mut extra).unwrap();
            assert_eq!(
                (set.key(), missing.commands()[usize::from(set.command())].label.as_str()),
                (about.key(), "SET")
            );
        }
    }

    #[test]
    fn commands_are_drawn_by_weight() {
        let mut requests = Requests::new(&workload(), 0, 1).unwrap();
        let mut out = Vec::new();
        let sets = (0..100_000).filter(|_| requests.next(&mut out).command() == 1).count();
        assert!(sets.abs_diff(10_000) < 400, "{sets}");
    }

    #[test]
    fn preloading_writes_each_key_once() {
        let workload = workload();
        let mut seen = Vec::new();
        for part in 0..2 {
            let mut requests = Requests::preload(&workload, part, 2).unwrap();
            seen.extend((0..500).map(|_| requests.next(&mut Vec::new()).key()));
        }
        seen.sort_unstable();
        assert_eq!(seen, (0..1000).collect::<Vec<u64>>());
    }

    #[test]
    fn the_first_key_is_found_in_every_command() {
        for (line, expected) in [
            ("PING", None),
            ("zadd board:{group:10} {int:1-9} {key}", Some(1)),
            ("mset {pairs:3}", Some(1)),
            ("EVAL return 1 {key}", Some(3)),
            ("XREAD COUNT 10 STREAMS {key} 0", Some(4)),
            ("XREAD COUNT 10", None),
            ("object freq {key}", Some(2)),
        ] {
            assert_eq!(key_word(line), expected, "{line}");
        }
    }

    #[test]
    fn the_key_decides_the_slot() {
        let mut workload = Workload { keys: 1000, key_prefix: "k".into(), ..Workload::default() };
        let lines = [
            "GET {key}",
            "OBJECT FREQ {key}",
            "SET {key} {value}",
            "LPUSH foo {value}",
            "PING",
            "MGET {keys:2}",
        ];
        workload.commands = lines.map(|line| CommandSpec::new(line, 1)).to_vec();
        let mut requests = Requests::new(&workload, 0, 1).unwrap();
        for _ in 0..200 {
            let mut out = Vec::new();
            let about = requests.next(&mut out);
            let mut key = Vec::new();
            requests.filling.keys.append(about.key(), &mut key);
            let expected = match about.command() {
                3 => Some(12182),
                4 => None,
                _ => Some(slot::slot(&key)),
            };
            assert_eq!(requests.slot_of(about.command(), &out), expected, "{}", out.escape_ascii());
        }
        let refused = requests.check_for_cluster("k").unwrap_err();
        assert!(refused.starts_with("the keys of one MGET"), "{refused}");
        assert_eq!(requests.check_for_cluster("{a}k"), Ok(()));
    }

    #[test]
    fn labels_tell_commands_apart() {
        let mut workload = workload();
        workload.commands =
            ["GET {key}", "GET other:{key}", "PING"].map(|line| CommandSpec::new(line, 1)).to_vec();
        let requests = Requests::new(&workload, 0, 1).unwrap();
        let labels: Vec<&str> = requests.commands().iter().map(|command| command.label.as_str()).collect();
        assert_eq!(labels, ["GET", "GET #2", "PING"]);
    }

    #[test]
    fn added_keys_are_new_in_every_thread() {
        let mut workload = workload();
        workload.commands = vec![CommandSpec::new("GET {key}", 1), CommandSpec::new("SET {new} {value}", 1)];
        workload.distribution = KeyDistribution::Latest(0.99);
        let mut added = Vec::new();
        for part in 0..2 {
            let mut requests = Requests::new(&workload, part, 2).unwrap();
            let abouts: Vec<About> = (0..1000).map(|_| requests.next(&mut Vec::new())).collect();
            added.extend(abouts.iter().filter(|about| about.command() == 1).map(|about| about.key()));
        }
        let count = added.len();
        added.sort_unstable();
        added.dedup();
        assert!(added[0] == 1000 && added.len() == count && count.abs_diff(1000) < 100);
    }

    #[test]
    fn preloaded_keys_are_those_that_are_read() {
        for line in ["SET {key} {value}", "SET {new} {value}"] {
            let mut workload = workload();
            workload.key_lengths = crate::sizes::Sizes::Fixed(5);
            workload.commands = vec![CommandSpec::new(line, 0), CommandSpec::new("DEL {key}", 1)];
            workload.preload = Some(CommandSpec::new("DEL {key}", 1));
            let first = |mut requests: Requests| {
                let mut out = Vec::new();
                while requests.next(&mut out).key() != 0 {
                    out.clear();
                }
                out
            };
            workload.distribution = KeyDistribution::Sequential;
            let read = first(Requests::new(&workload, 0, 1).unwrap());
            assert_eq!(read, first(Requests::preload(&workload, 0, 1).unwrap()));
        }
    }
}
