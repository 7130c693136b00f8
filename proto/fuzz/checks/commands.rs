//! What must hold for sequences of commands: the store answers as a naive map of plain collections with a clock would, whatever
//! types, sizes, expiries, databases, sweeps and evictions come together, and its accounts agree with a full walk.

#[path = "odd.rs"]
mod odd;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use shoal_node::{
    command::{Scope, dispatch::Dispatch},
    store::{Policy, Settings, Store, Sweep},
    value::Encodings,
};
use shoal_proto::{
    resp::{Protocol, Reply, request::OwnedArgs},
    slot::key_slot,
};
use shoal_testkit::Frame;

const NOW: u64 = 1_700_000_000_000;
const KEYS: u8 = 14;
const WRONGTYPE: &[u8] = b"WRONGTYPE Operation against a key holding the wrong kind of value";

/// A value as nobody would store it.
#[derive(Debug, Clone, PartialEq)]
enum Naive {
    Text(Vec<u8>),
    List(VecDeque<Vec<u8>>),
    Hash(BTreeMap<Vec<u8>, Vec<u8>>),
    Set(BTreeSet<Vec<u8>>),
    Zset(BTreeMap<Vec<u8>, i64>),
}

type Keys = HashMap<(u8, Vec<u8>), (Naive, Option<u64>)>;

/// The input: one byte for each choice; zeros when it is at its end.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    /// Some keys share a slot, one is too long for the log.
    fn key(&mut self) -> Vec<u8> {
        let n = self.byte() % KEYS;
        let mut key = format!("{{{}}}key{n}", n % 3).into_bytes();
        if n == 6 {
            key.resize(1500, b'k');
        }
        key
    }

    fn member(&mut self) -> Vec<u8> {
        match self.byte() {
            n @ 0..=199 => format!("{}", n % 40).into_bytes(),
            n @ 200..=230 => format!("member{}", n % 12).into_bytes(),
            n @ 231..=240 => format!("{}€", n % 3).into_bytes(),
            n => vec![n; 70],
        }
    }

    /// Mostly short, at times on either side of where a value leaves its packed form or the log.
    fn value(&mut self) -> Vec<u8> {
        let kind = self.byte();
        let len = match kind {
            0..=99 => return i64::from(kind).to_string().into_bytes(),
            100..=199 => usize::from(kind % 50),
            200..=219 => 900 + usize::from(kind) * 2,
            220..=235 => 2500 + usize::from(kind - 220) * 120,
            236..=249 => 7800 + usize::from(kind - 236) * 60,
            _ => 32_700 + usize::from(kind) * 20,
        };
        vec![kind; len]
    }

    fn number(&mut self) -> i64 {
        i64::from(self.byte() as i8)
    }
}

fn bulk(bytes: impl Into<Vec<u8>>) -> Frame {
    Frame::Bulk(bytes.into())
}

fn bulks<'a>(items: impl IntoIterator<Item = &'a Vec<u8>>) -> Frame {
    Frame::Array(items.into_iter().map(|item| bulk(item.clone())).collect())
}

fn ok() -> Frame {
    Frame::Simple(b"OK".to_vec())
}

fn wrong_type() -> Frame {
    Frame::Error(WRONGTYPE.to_vec())
}

/// Start and end of a range in Redis's sense, cut to what is there.
fn range(start: i64, stop: i64, len: usize) -> std::ops::Range<usize> {
    let len = len as i64;
    let from = if start < 0 { (start + len).max(0) } else { start };
    let to = if stop < 0 { stop + len } else { stop.min(len - 1) };
    if from > to || from >= len { 0..0 } else { from as usize..to as usize + 1 }
}

/// The collection of that kind at a key, made if it is not there; leaves the function with an error if it is another.
macro_rules! collection {
    ($model:expr, $key:expr, $kind:ident) => {
        match &mut $model
            .keys
            .entry(($model.db, $key.clone()))
            .or_insert((Naive::$kind(Default::default()), None))
            .0
        {
            Naive::$kind(found) => found,
            _ => return wrong_type(),
        }
    };
}

struct Model {
    keys: Keys,
    db: u8,
    now: u64,
}

impl Model {
    fn tidy(&mut self) {
        let now = self.now;
        self.keys.retain(|_, (value, at)| {
            let empty = match value {
                Naive::Text(_) => false,
                Naive::List(list) => list.is_empty(),
                Naive::Hash(hash) => hash.is_empty(),
                Naive::Set(set) => set.is_empty(),
                Naive::Zset(zset) => zset.is_empty(),
            };
            !empty && at.is_none_or(|at| at > now)
        });
    }

    fn get(&self, key: &[u8]) -> Option<&(Naive, Option<u64>)> {
        self.keys.get(&(self.db, key.to_vec()))
    }

    fn text(&self, key: &[u8]) -> Result<&[u8], Frame> {
        match self.get(key) {
            None => Ok(&[]),
            Some((Naive::Text(text), _)) => Ok(text),
            Some(_) => Err(wrong_type()),
        }
    }

    /// Stores a text and keeps the expiry.
    fn change_text(&mut self, key: &[u8], text: Vec<u8>) {
        let at = self.get(key).and_then(|(_, at)| *at);
        self.keys.insert((self.db, key.to_vec()), (Naive::Text(text), at));
    }

    /// What the command must answer; the model is as it must be afterwards.
    fn execute(&mut self, words: &[Vec<u8>]) -> Frame {
        let name = String::from_utf8_lossy(&words[0]).into_owned();
        let reply = match name.as_str() {
            "SET" | "GET" | "APPEND" | "SETRANGE" | "INCRBY" | "STRLEN" | "GETDEL" => {
                self.string(&name, words)
            }
            "DEL" | "PEXPIREAT" | "PERSIST" | "PEXPIRETIME" | "TYPE" | "RENAME" | "COPY" | "MOVE" => {
                self.generic(&name, words)
            }
            "RPUSH" | "LPUSH" | "LPOP" | "RPOP" | "LRANGE" | "LSET" | "LREM" => self.list(&name, words),
            "HSET" | "HDEL" | "HGETALL" | "HINCRBY" => self.hash(&name, words),
            "SADD" | "SREM" | "SMEMBERS" | "SISMEMBER" => self.set(&name, words),
            "ZADD" | "ZREM" | "ZRANGE" | "ZINCRBY" => self.zset(&name, words),
            "FLUSHDB" => {
                let db = self.db;
                self.keys.retain(|(of, _), _| *of != db);
                ok()
            }
            "DBSIZE" => Frame::Int(self.keys.keys().filter(|(of, _)| *of == self.db).count() as i64),
            other => unreachable!("{other} is not generated"),
        };
        self.tidy();
        reply
    }

    fn string(&mut self, name: &str, words: &[Vec<u8>]) -> Frame {
        let key = &words[1];
        if name == "SET" {
            let at = match words.get(3).map(Vec::as_slice) {
                Some(b"PXAT") => Some(number(&words[4]) as u64),
                Some(b"KEEPTTL") => self.get(key).and_then(|(_, at)| *at),
                _ => None,
            };
            self.keys.insert((self.db, key.clone()), (Naive::Text(words[2].clone()), at));
            return ok();
        }
        let text = match self.text(key) {
            Ok(text) => text.to_vec(),
            Err(error) => return error,
        };
        match name {
            "GET" if self.get(key).is_none() => Frame::NullBulk,
            "GET" => bulk(text),
            "STRLEN" => Frame::Int(text.len() as i64),
            "GETDEL" => match self.keys.remove(&(self.db, key.clone())) {
                Some(_) => bulk(text),
                None => Frame::NullBulk,
            },
            "APPEND" => {
                let whole = [text, words[2].clone()].concat();
                let len = whole.len() as i64;
                self.change_text(key, whole);
                Frame::Int(len)
            }
            "SETRANGE" => {
                let (at, new) = (number(&words[2]) as usize, &words[3]);
                let mut whole = text;
                if !new.is_empty() {
                    whole.resize(whole.len().max(at + new.len()), 0);
                    whole[at..at + new.len()].copy_from_slice(new);
                    self.change_text(key, whole.clone());
                }
                Frame::Int(whole.len() as i64)
            }
            _ => {
                let old = if self.get(key).is_none() { Some(0) } else { integer(&text) };
                let Some(sum) = old.and_then(|old| old.checked_add(number(&words[2]))) else {
                    return Frame::Error(b"ERR value is not an integer or out of range".to_vec());
                };
                self.change_text(key, sum.to_string().into_bytes());
                Frame::Int(sum)
            }
        }
    }

    fn generic(&mut self, name: &str, words: &[Vec<u8>]) -> Frame {
        let place = (self.db, words[1].clone());
        let there = self.keys.contains_key(&place);
        match name {
            "DEL" => Frame::Int(self.keys.remove(&place).is_some().into()),
            "TYPE" => Frame::Simple(
                match self.keys.get(&place) {
                    None => &b"none"[..],
                    Some((Naive::Text(_), _)) => b"string",
                    Some((Naive::List(_), _)) => b"list",
                    Some((Naive::Hash(_), _)) => b"hash",
                    Some((Naive::Set(_), _)) => b"set",
                    Some((Naive::Zset(_), _)) => b"zset",
                }
                .to_vec(),
            ),
            "PEXPIREAT" => {
                let at = number(&words[2]) as u64;
                self.keys.entry(place).and_modify(|(_, old)| *old = Some(at));
                Frame::Int(there.into())
            }
            "PERSIST" => {
                Frame::Int(self.keys.get_mut(&place).is_some_and(|(_, at)| at.take().is_some()).into())
            }
            "PEXPIRETIME" => Frame::Int(match self.keys.get(&place) {
                None => -2,
                Some((_, None)) => -1,
                Some((_, Some(at))) => *at as i64,
            }),
            "RENAME" => match self.keys.remove(&place) {
                None => Frame::Error(b"ERR no such key".to_vec()),
                Some(found) => {
                    self.keys.insert((self.db, words[2].clone()), found);
                    ok()
                }
            },
            "COPY" => {
                let same = words[1] == words[2];
                match self.keys.get(&place).cloned() {
                    _ if same => Frame::Error(b"ERR source and destination objects are the same".to_vec()),
                    None => Frame::Int(0),
                    Some(found) => {
                        self.keys.insert((self.db, words[2].clone()), found);
                        Frame::Int(1)
                    }
                }
            }
            _ => {
                let to = (number(&words[2]) as u8, words[1].clone());
                if to.0 == self.db {
                    return Frame::Error(b"ERR source and destination objects are the same".to_vec());
                }
                if !there || self.keys.contains_key(&to) {
                    return Frame::Int(0);
                }
                let found = self.keys.remove(&place).expect("it is there");
                self.keys.insert(to, found);
                Frame::Int(1)
            }
        }
    }

    fn list(&mut self, name: &str, words: &[Vec<u8>]) -> Frame {
        let there = self.get(&words[1]).is_some();
        let list = collection!(self, words[1], List);
        match name {
            "RPUSH" | "LPUSH" => {
                for value in &words[2..] {
                    if name == "RPUSH" {
                        list.push_back(value.clone())
                    } else {
                        list.push_front(value.clone())
                    }
                }
                Frame::Int(list.len() as i64)
            }
            "LPOP" => list.pop_front().map_or(Frame::NullBulk, Frame::Bulk),
            "RPOP" => list.pop_back().map_or(Frame::NullBulk, Frame::Bulk),
            "LRANGE" => bulks(list.range(range(number(&words[2]), number(&words[3]), list.len()))),
            "LSET" => {
                let at = number(&words[2]);
                let at = if at < 0 { at + list.len() as i64 } else { at };
                match usize::try_from(at).ok().and_then(|at| list.get_mut(at)) {
                    _ if !there => Frame::Error(b"ERR no such key".to_vec()),
                    None => Frame::Error(b"ERR index out of range".to_vec()),
                    Some(old) => {
                        old.clone_from(&words[3]);
                        ok()
                    }
                }
            }
            _ => {
                let before = list.len();
                list.retain(|value| *value != words[3]);
                Frame::Int((before - list.len()) as i64)
            }
        }
    }

    fn hash(&mut self, name: &str, words: &[Vec<u8>]) -> Frame {
        let hash = collection!(self, words[1], Hash);
        match name {
            "HSET" => Frame::Int(hash.insert(words[2].clone(), words[3].clone()).is_none().into()),
            "HDEL" => Frame::Int(hash.remove(&words[2]).is_some().into()),
            "HGETALL" => bulks(hash.iter().flat_map(|(field, value)| [field, value])),
            _ => {
                let Some(old) = hash.get(&words[2]).map_or(Some(0), |value| integer(value)) else {
                    return Frame::Error(b"ERR hash value is not an integer".to_vec());
                };
                let sum = old + number(&words[3]);
                hash.insert(words[2].clone(), sum.to_string().into_bytes());
                Frame::Int(sum)
            }
        }
    }

    fn set(&mut self, name: &str, words: &[Vec<u8>]) -> Frame {
        let set = collection!(self, words[1], Set);
        match name {
            "SADD" => {
                Frame::Int(words[2..].iter().filter(|member| set.insert((*member).clone())).count() as i64)
            }
            "SREM" => Frame::Int(set.remove(&words[2]).into()),
            "SISMEMBER" => Frame::Int(set.contains(&words[2]).into()),
            _ => bulks(set.iter()),
        }
    }

    fn zset(&mut self, name: &str, words: &[Vec<u8>]) -> Frame {
        let zset = collection!(self, words[1], Zset);
        match name {
            "ZADD" => Frame::Int(zset.insert(words[3].clone(), number(&words[2])).is_none().into()),
            "ZREM" => Frame::Int(zset.remove(&words[2]).is_some().into()),
            "ZINCRBY" => {
                let score = zset.entry(words[3].clone()).or_default();
                *score += number(&words[2]);
                bulk(score.to_string())
            }
            _ => {
                let mut members: Vec<(i64, &Vec<u8>)> =
                    zset.iter().map(|(member, score)| (*score, member)).collect();
                members.sort();
                let scored =
                    members.iter().flat_map(|(score, member)| [(*member).clone(), score.to_string().into()]);
                Frame::Array(scored.map(Frame::Bulk).collect())
            }
        }
    }
}

fn number(text: &[u8]) -> i64 {
    String::from_utf8_lossy(text).parse().expect("numbers are generated")
}

/// The number whose shortest text this is.
fn integer(text: &[u8]) -> Option<i64> {
    let number: i64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    (number.to_string().as_bytes() == text).then_some(number)
}

/// The next command; some of its words come from what the input chooses.
fn command(input: &mut Input<'_>, now: u64) -> Vec<Vec<u8>> {
    let kind = input.byte() % 36;
    let key = input.key();
    let text = |n: i64| n.to_string().into_bytes();
    let later = |input: &mut Input<'_>| text(now as i64 + 1 + i64::from(input.byte()) * 13);
    let word = |name: &str| name.as_bytes().to_vec();
    match kind {
        0 => vec![word("SET"), key, input.value()],
        1 => vec![word("SET"), key, input.value(), word("PXAT"), later(input)],
        2 => vec![word("SET"), key, input.value(), word("KEEPTTL")],
        3 => vec![word("GET"), key],
        4 => vec![word("APPEND"), key, input.value()],
        5 => vec![word("SETRANGE"), key, text(i64::from(input.byte()) * 7), input.value()],
        6 => vec![word("INCRBY"), key, text(input.number())],
        7 => vec![word("STRLEN"), key],
        8 => vec![word("GETDEL"), key],
        9 => vec![word("DEL"), key],
        10 => vec![word("PEXPIREAT"), key, later(input)],
        11 => vec![word("PERSIST"), key],
        12 => vec![word("PEXPIRETIME"), key],
        13 => vec![word("TYPE"), key],
        14 => vec![word("RENAME"), key, input.key()],
        15 => vec![word("COPY"), key, input.key(), word("REPLACE")],
        16 => vec![word("MOVE"), key, text(i64::from(input.byte() % 2))],
        17 | 18 => {
            let count = usize::from(input.byte() % 5) + 1;
            let values = (0..count).map(|_| input.value()).collect::<Vec<_>>();
            [vec![word(if kind == 17 { "RPUSH" } else { "LPUSH" }), key], values].concat()
        }
        19 => vec![word("LPOP"), key],
        20 => vec![word("RPOP"), key],
        21 => vec![word("LRANGE"), key, text(input.number()), text(input.number())],
        22 => vec![word("LSET"), key, text(input.number() % 8), input.value()],
        23 => vec![word("LREM"), key, text(0), input.value()],
        24 | 25 => vec![word("HSET"), key, input.member(), input.value()],
        26 => vec![word("HDEL"), key, input.member()],
        27 => vec![word("HGETALL"), key],
        28 => vec![word("HINCRBY"), key, input.member(), text(input.number())],
        29 => {
            let count = usize::from(input.byte() % 20) + 1;
            let members = (0..count).map(|_| input.member()).collect::<Vec<_>>();
            [vec![word("SADD"), key], members].concat()
        }
        30 => vec![word("SREM"), key, input.member()],
        31 => vec![word("SMEMBERS"), key],
        32 => vec![word("ZADD"), key, text(input.number()), input.member()],
        33 => vec![word("ZINCRBY"), key, text(input.number()), input.member()],
        34 => vec![word("ZREM"), key, input.member()],
        _ => vec![word("ZRANGE"), key, text(0), text(-1), word("WITHSCORES")],
    }
}

/// A reply whose order is not promised, put in order.
fn ordered(name: &[u8], frame: Frame) -> Frame {
    let Frame::Array(items) = frame else { return frame };
    let width = match name {
        b"HGETALL" => 2,
        b"SMEMBERS" => 1,
        _ => return Frame::Array(items),
    };
    let mut groups: Vec<Vec<Frame>> = items.chunks(width).map(<[Frame]>::to_vec).collect();
    groups.sort_by_key(|group| group[0].text().map(<[u8]>::to_vec));
    Frame::Array(groups.concat())
}

/// A store, and the model that it must agree with.
struct Pair {
    store: Store,
    dispatch: Dispatch,
    sweep: Sweep,
    model: Model,
}

impl Pair {
    /// What the store answers.
    fn answer(&mut self, words: &[Vec<u8>]) -> Frame {
        self.room();
        let scope = Scope {
            db: self.model.db,
            now: self.model.now,
            touch: true,
            within: None,
            alone: true,
            waits: None,
            landed: None,
        };
        let mut out = Vec::new();
        let request = OwnedArgs::new(words);
        self.dispatch.execute(&self.store, scope, request.args(), &mut Reply::new(&mut out, Protocol::Resp2));
        Frame::parse(&out).expect("a reply is a whole frame")
    }

    fn run(&mut self, words: &[Vec<u8>]) {
        let reply = self.answer(words);
        let expected = self.model.execute(words);
        let reply = ordered(&words[0], reply);
        if reply != expected {
            let shown = |frame: &Frame| format!("{frame:?}").chars().take(300).collect::<String>();
            let command =
                words.iter().map(|w| String::from_utf8_lossy(w).chars().take(40).collect::<String>());
            panic!("{:?}: {} instead of {}", command.collect::<Vec<_>>(), shown(&reply), shown(&expected));
        }
    }

    /// A number that is none is refused, whatever is at the key, and nothing changes.
    fn refused(&mut self, input: &mut Input<'_>) {
        let words = odd::WITH_NUMBERS[usize::from(input.byte()) % odd::WITH_NUMBERS.len()];
        let (key, odd) = (input.key(), odd::no_number(|| input.byte()));
        let words = words.split(' ').map(|word| match word {
            "k" => key.clone(),
            "?" => odd.clone(),
            word => word.as_bytes().to_vec(),
        });
        let words: Vec<Vec<u8>> = words.collect();
        // What is evicted first is not there. As in Redis, some do not look at their numbers if nothing is.
        self.room();
        let there = self.model.get(&key).is_some();
        let reply = self.answer(&words);
        assert!(!there || matches!(reply, Frame::Error(_)), "{words:?}: {reply:?}");
    }

    /// Elements that are no numbers cannot be sorted as numbers; what cannot be sorted is refused in whole.
    fn sorted(&mut self, input: &mut Input<'_>) {
        let key = input.key();
        self.room();
        let elements: Option<Vec<Vec<u8>>> = self.model.get(&key).and_then(|(value, _)| match value {
            Naive::List(list) => Some(list.iter().cloned().collect()),
            Naive::Set(set) => Some(set.iter().cloned().collect()),
            Naive::Zset(zset) => Some(zset.keys().cloned().collect()),
            _ => None,
        });
        let there = self.model.get(&key).is_some();
        match (elements, self.answer(&[b"SORT".to_vec(), key])) {
            (None, reply) if there => assert_eq!(reply, wrong_type()),
            (None, reply) => assert_eq!(reply, Frame::Array(Vec::new())),
            (Some(elements), Frame::Array(sorted)) => {
                // Redis reads a C string.
                let read =
                    |element: &Vec<u8>| element.split(|byte| *byte == 0).next().is_some_and(<[u8]>::is_ascii);
                assert!(elements.iter().all(read), "a number in other letters");
                assert_eq!(sorted.len(), elements.len());
            }
            (Some(elements), Frame::Error(_)) => {
                assert!(elements.iter().any(|element| integer(element).is_none()), "{elements:?}");
            }
            (_, other) => panic!("SORT answers {other:?}"),
        }
    }

    /// Evicts first, so that the command itself evicts nothing; the model forgets what went.
    fn room(&mut self) {
        let before = self.store.stats().evicted;
        while self.store.settings().maxmemory > 0
            && self.store.held_memory() > self.store.settings().maxmemory
            && self.store.make_room(self.model.now)
        {}
        if self.store.stats().evicted > before {
            let (store, now) = (&self.store, self.model.now);
            self.model.keys.retain(|(db, key), _| store.lock_slot(*db, key_slot(key), now).contains(key));
        }
    }

    fn step(&mut self, input: &mut Input<'_>) {
        match input.byte() {
            0..=9 => self.model.now += u64::from(input.byte()) * 5,
            10..=13 => self.model.db ^= 1,
            14..=17 => drop(self.store.sweep(&mut self.sweep, self.model.now, 70)),
            18 | 19 => {
                self.store.swap(0, 1).expect("no slot is held");
                let keys = std::mem::take(&mut self.model.keys);
                self.model.keys = keys.into_iter().map(|((db, key), kept)| ((1 - db, key), kept)).collect();
            }
            20 => self.run(&[b"FLUSHDB".to_vec()]),
            21..=31 => {
                self.model.tidy();
                self.refused(input);
            }
            32..=36 => {
                self.model.tidy();
                self.sorted(input);
            }
            _ => {
                self.model.tidy();
                let words = command(input, self.model.now);
                return self.run(&words);
            }
        }
        self.model.tidy();
    }

    /// Every key, read as its type is read.
    fn compare(&mut self) {
        self.model.tidy();
        for db in 0..2 {
            self.model.db = db;
            for n in 0..KEYS {
                let key = Input(&[n]).key();
                let read: &[&[u8]] = match self.model.get(&key) {
                    None | Some((Naive::Text(_), _)) => &[b"GET"],
                    Some((Naive::List(_), _)) => &[b"LRANGE", b"0", b"-1"],
                    Some((Naive::Hash(_), _)) => &[b"HGETALL"],
                    Some((Naive::Set(_), _)) => &[b"SMEMBERS"],
                    Some((Naive::Zset(_), _)) => &[b"ZRANGE", b"0", b"-1", b"WITHSCORES"],
                };
                let mut words = vec![read[0].to_vec(), key.clone()];
                words.extend(read[1..].iter().map(|word| word.to_vec()));
                self.run(&words);
                self.run(&[b"PEXPIRETIME".to_vec(), key]);
            }
        }
        let now = self.model.now;
        while self.store.sweep(&mut self.sweep, now, 70).1 {}
        let counts = [0, 1].map(|db| self.model.keys.keys().filter(|(of, _)| *of == db).count());
        assert_eq!([self.store.len(0).0, self.store.len(1).0], counts, "keys of each database");
    }
}

/// The first byte chooses the settings; the rest are commands.
pub(crate) fn check(data: &[u8]) {
    let mut input = Input(data);
    let chosen = input.byte();
    let mut settings = Settings::default();
    if chosen & 1 == 1 {
        // Small collections leave their packed form early.
        settings.encodings = Encodings {
            hash_entries: 4,
            set_entries: 4,
            set_intset_entries: 6,
            zset_entries: 4,
            list_size: 4,
            ..settings.encodings
        };
    }
    if chosen & 2 == 2 {
        settings.policy = if chosen & 4 == 4 { Policy::AllkeysS3FifoSize } else { Policy::AllkeysS3Fifo };
        settings.maxmemory = 200_000;
    }
    let model = Model { keys: Keys::new(), db: 0, now: NOW };
    let mut pair =
        Pair { store: Store::new(settings), dispatch: Dispatch::default(), sweep: Sweep::default(), model };
    let mut steps = 0;
    while !input.0.is_empty() {
        pair.step(&mut input);
        steps += 1;
        if steps % 16 == 0 {
            pair.store.audit();
        }
    }
    pair.compare();
    pair.store.audit();
    drop(pair.store.flush(None, |_, _| {}).expect("no slot is held"));
    pair.store.audit();
    assert_eq!(pair.store.used_memory(), 0, "nothing is charged for nothing");
}
