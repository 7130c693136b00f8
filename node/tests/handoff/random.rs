//! Slots move between two stores while threads change them: afterwards both hold the same, key by key.
//!
//! `HANDOFF_SEED=n` replays one run, `HANDOFF_RUNS=n` sets how many there are.

use std::{
    ops::RangeInclusive,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use shoal_node::{
    handoff::{ApplyError, record},
    store::{Copied, Gate, Policy, Settings, Sweep},
};
use shoal_proto::slot::key_slot;

use crate::core::{Core, Meddle, NOW, Random, Stream, compare};

const TAGS: [&str; 3] = ["a", "b", "c"];

/// A key of one slot; names mostly belong to a type, so that commands mostly find what they expect.
fn key(random: &mut Random, tag: &str, kind: &str) -> Vec<u8> {
    let kind = if random.below(20) == 0 { random.one(&["s", "l", "h", "z", "t"]) } else { kind };
    format!("{{{tag}}}{kind}{}", random.below(40)).into_bytes()
}

/// What the random commands are made of: `@s` is a key of the kind, `#` a small number, `$` a word.
const COMMANDS: &[&str] = &[
    "SET @s $",
    "SET @s $ PX #00",
    "SETEX @s 1 $",
    "GET @s",
    "GETEX @s PX #000",
    "GETEX @s PERSIST",
    "APPEND @s $",
    "INCRBY @n #",
    "INCRBYFLOAT @n 1.#",
    "DECR @n",
    "SETRANGE @s # $",
    "SETBIT @s # 1",
    "BITFIELD @s INCRBY u8 # 3",
    "GETDEL @s",
    "GETSET @s $",
    "SETNX @s $",
    "BITOP XOR @s @s @s",
    "MSET @s $ @s $",
    "MSETNX @s $ @s $",
    "DEL @s",
    "UNLINK @l @h",
    "EXPIRE @l 1",
    "PEXPIRE @h #0",
    "PEXPIREAT @s 1700000000#00",
    "PERSIST @s",
    "PEXPIRE @t #00",
    "EXPIRE @z -1",
    "RENAME @s @s",
    "RENAMENX @l @l",
    "COPY @h @h REPLACE",
    "COPY @z @z DB 1",
    "MOVE @s 1",
    "MOVE @h 0",
    "TOUCH @s",
    "RPUSH @l $ $ $",
    "LPUSH @l $",
    "LPUSHX @l $",
    "LPOP @l",
    "RPOP @l 2",
    "LINSERT @l BEFORE $ $",
    "LREM @l 0 $",
    "LSET @l # $",
    "LTRIM @l 0 #",
    "LMOVE @l @l LEFT RIGHT",
    "RPOPLPUSH @l @l",
    "LMPOP 2 @l @l RIGHT COUNT 2",
    "HSET @h $ $ $ $",
    "HDEL @h $",
    "HINCRBY @h n #",
    "HINCRBYFLOAT @h f 0.#",
    "HSETNX @h $ $",
    "HMSET @h $ $",
    "SADD @t $ $ $",
    "SADD @t # #00 #00000000",
    "SREM @t $",
    "SPOP @t",
    "SPOP @t 3",
    "SMOVE @t @t $",
    "SUNIONSTORE @t @t @t",
    "SINTERSTORE @t @t @t",
    "SDIFFSTORE @t @t @t",
    "ZADD @z # $ 1.5 $",
    "ZADD @z GT CH # $",
    "ZINCRBY @z # $",
    "ZREM @z $",
    "ZPOPMIN @z",
    "ZPOPMAX @z 2",
    "ZMPOP 1 @z MIN",
    "ZREMRANGEBYRANK @z 0 1",
    "ZREMRANGEBYSCORE @z 1 (3",
    "ZUNIONSTORE @z 2 @z @t",
    "ZINTERSTORE @z 2 @z @z",
    "ZDIFFSTORE @z 2 @z @z",
    "ZRANGESTORE @z @z 0 -1",
    "ZREMRANGEBYLEX @z [a [c",
    "SORT @l ALPHA STORE @l",
    "SORT @t BY nosort STORE @l",
    "SORT @z ALPHA DESC STORE @l",
    "LRANGE @l 0 -1",
    "SMEMBERS @t",
    "RPUSH @big $",
    "ZADD @bigz # $",
    "HSET @bigh $ $",
    "SADD @bigt $",
    "APPEND @bigs $",
    "LMOVE @big @l LEFT LEFT",
    "SMOVE @bigt @t m7",
    "SPOP @bigt",
    "RENAME @bigh @bigh",
    "ZUNIONSTORE @bigz 2 @bigz @z",
    "COPY @bigs @bigs REPLACE",
    "SUNIONSTORE @bigt @bigt @t",
    "DEL @bigs",
    "LPUSH @big $",
    "PEXPIRE @bigt #0000",
];

/// A random command on keys of one slot, or rarely of two.
fn command(random: &mut Random) -> Vec<Vec<u8>> {
    let tag = random.one(&TAGS);
    if random.below(60) == 0 {
        let other = random.one(&TAGS);
        let mut words = vec![random.one(&["DEL", "MSET", "MSETNX"]).as_bytes().to_vec()];
        let set = words[0] != b"DEL";
        for tag in [tag, other] {
            words.push(key(random, tag, "s"));
            words.extend(set.then(|| random.below(9).to_string().into_bytes()));
        }
        return words;
    }
    let mut words = Vec::new();
    for part in random.one(COMMANDS).split(' ') {
        words.push(match part.strip_prefix('@') {
            Some(big) if big.starts_with("big") => format!("{{{tag}}}{big}{}", random.below(2)).into_bytes(),
            Some(kind) => key(random, tag, kind),
            None if part == "$" => match random.below(8) {
                0 => vec![b'x'; random.below(300) as usize],
                1 => random.below(1000).to_string().into_bytes(),
                _ => vec![b'a' + random.below(6) as u8],
            },
            None => part.replace('#', &random.below(10).to_string()).into_bytes(),
        });
    }
    words
}

/// Fills large keys, of 0.3 to 1 MB.
fn fill(core: &Core) {
    for tag in TAGS {
        for n in 0..2 {
            let mut words: [Vec<Vec<u8>>; 4] =
                [("RPUSH", "big"), ("ZADD", "bigz"), ("HSET", "bigh"), ("SADD", "bigt")]
                    .map(|(name, kind)| vec![name.into(), format!("{{{tag}}}{kind}{n}").into_bytes()]);
            for i in 0..6000 {
                let element = format!("m{i}").into_bytes();
                words[0].push([element.clone(), vec![b'.'; 60]].concat());
                words[1]
                    .extend([(i % 100).to_string().into_bytes(), [element.clone(), vec![b'.'; 40]].concat()]);
                words[2].extend([element.clone(), vec![b'v'; 60]]);
                words[3].push(if i == 7 { element } else { [element, vec![b'.'; 60]].concat() });
            }
            words.iter().for_each(|words| assert_eq!(core.run(0, NOW, words)[0], b':'));
            let string = ["SET".into(), format!("{{{tag}}}bigs{n}").into_bytes(), vec![b'y'; 400_000]];
            core.run(0, NOW, &string);
        }
    }
}

/// Both ends, and a stream between them.
struct Pair {
    cores: [Core; 2],
    clock: AtomicU64,
    over: AtomicBool,
    /// What is emptied while a slot is held reaches the other end only by what this test does not have, the offer. So that waits.
    held: Mutex<()>,
}

impl Pair {
    fn new(settings: Settings) -> Self {
        let cores = [Core::new(settings, Gate::Open), Core::new(Settings::default(), Gate::Away)];
        Self { cores, clock: AtomicU64::new(NOW), over: AtomicBool::new(false), held: Mutex::default() }
    }

    /// Random commands at whichever node takes them.
    fn load(&self, seed: u64) -> u64 {
        let mut random = Random(seed);
        let mut executed = 0;
        while !self.over.load(Ordering::Relaxed) {
            let words = command(&mut random);
            let db = u8::from(random.below(5) == 0);
            let now = self.clock.fetch_add(random.below(2), Ordering::Relaxed);
            let words = match random.below(3000) {
                0 => vec![b"FLUSHDB".to_vec()],
                1 => vec![b"SWAPDB".to_vec(), b"0".to_vec(), b"1".to_vec()],
                _ => words,
            };
            let _none_is_held = (words[0] == b"FLUSHDB").then(|| self.held.lock());
            for core in &self.cores {
                let reply = core.run(db, now, &words);
                if !reply.starts_with(b"-CLUSTERDOWN") && !reply.starts_with(b"-TRYAGAIN") {
                    executed += 1;
                    break;
                }
            }
        }
        executed
    }

    fn sweep(&self) {
        let mut sweep = Sweep::default();
        while !self.over.load(Ordering::Relaxed) {
            let now = self.clock.load(Ordering::Relaxed);
            for core in &self.cores {
                core.store.sweep(&mut sweep, now.max(core.store.clock_floor()), 10);
            }
            std::thread::yield_now();
        }
    }

    /// Copies a slot and follows it until it is held and the other end has everything. It counts as held until what is returned
    /// is dropped.
    fn transfer(
        &self,
        from: usize,
        slot: u16,
        random: &mut Random,
        meddle: Meddle<'_>,
    ) -> Result<MutexGuard<'_, ()>, ApplyError> {
        let mut stream = Stream::new(64 << 20);
        let outbox = stream.outbox.clone();
        let source = &self.cores[from].store;
        source.tap(slot, &outbox, false);
        let mut rounds = 0;
        loop {
            // Often a bucket at a time, so that much happens between two.
            let budget = if random.below(3) > 0 { 1 } else { random.below(20_000) as usize + 1 };
            let copied = source.copy_slot(slot, &outbox, budget);
            stream.pump(&self.cores[1 - from], random, meddle)?;
            assert_ne!(copied, Copied::Nothing);
            rounds += u64::from(copied == Copied::All);
            if rounds == 20 {
                break;
            }
        }
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        source.set_gate(slot, Gate::Held);
        while source.copy_slot(slot, &outbox, 1 << 20) != Copied::All {}
        let last = source.tapped_to(slot, &outbox).expect("it is tapped");
        stream.pump(&self.cores[1 - from], random, meddle)?;
        assert_eq!(
            (outbox.acked(), source.tapped_to(slot, &outbox)),
            (last, Some(last)),
            "nothing comes later"
        );
        assert!(source.untap(slot, &outbox) && !source.untap(slot, &outbox));
        Ok(held)
    }

    /// The other end serves from now on.
    fn take(&self, from: usize, slot: u16) {
        let [source, target] = [&self.cores[from].store, &self.cores[1 - from].store];
        source.set_gate(slot, Gate::Away);
        source.drop_slot(slot, None);
        assert_eq!(source.slot_stats(slot).keys, 0);
        target.set_gate(slot, Gate::Open);
    }
}

struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Moves slots to and fro while others change them.
pub(crate) fn run(seed: u64, meddle: Meddle<'_>) -> Result<(), String> {
    let mut random = Random(seed);
    let mut settings = Settings::default();
    if random.below(3) == 0 {
        (settings.maxmemory, settings.policy) = (12 << 20, Policy::AllkeysS3FifoSize);
    }
    let pair = Pair::new(settings);
    fill(&pair.cores[0]);
    let pair = &pair;
    std::thread::scope(|scope| {
        let loads: Vec<_> = (0..2).map(|i| scope.spawn(move || pair.load(seed ^ (i + 1) << 32))).collect();
        scope.spawn(|| pair.sweep());
        // Ends the others also if something here fails.
        let over = Over(&pair.over);
        let mut moves = || {
            for (round, slot) in (0..2).flat_map(|round| TAGS.map(|tag| (round, key_slot(tag.as_bytes())))) {
                let held =
                    pair.transfer(round, slot, &mut random, meddle).map_err(|error| error.to_string())?;
                let [source, target] = [0, 1].map(|i| pair.cores[i].slot(slot));
                compare(&source, &target)?;
                pair.take(round, slot);
                drop(held);
            }
            Ok(())
        };
        let result = moves();
        drop(over);
        let executed: u64 = loads.into_iter().map(|load| load.join().expect("the load does not panic")).sum();
        pair.cores.iter().for_each(|core| core.store.audit());
        assert!(executed > 0 || result.is_err());
        result
    })
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[cfg_attr(not(feature = "mutants"), test)]
fn both_ends_hold_the_same_whatever_happens_meanwhile() {
    let seeds = match number("HANDOFF_SEED", 0) {
        0 => 1..1 + number("HANDOFF_RUNS", 12),
        seed => seed..seed + 1,
    };
    for seed in seeds {
        if let Err(difference) = run(seed, &mut |_| {}) {
            panic!("HANDOFF_SEED={seed}: {difference}");
        }
    }
}

/// Removes one effect from the stream, as if a change were not told.
fn lose_one(kinds: RangeInclusive<u8>, mut nth: u64) -> impl FnMut(&mut Vec<u8>) {
    move |bytes| {
        let mut at = 0;
        while let Ok(Some((_, _, len))) = record::read(&bytes[at..]) {
            if kinds.contains(&bytes[at + 4]) {
                nth = nth.wrapping_sub(1);
                if nth == 0 {
                    bytes.drain(at..at + len);
                    return;
                }
            }
            at += len;
        }
    }
}

#[cfg_attr(not(feature = "mutants"), test)]
fn a_lost_effect_is_noticed() {
    // Most lost effects are made up for by later ones; some are not.
    let caught = (1..13).filter(|seed| run(100 + seed, &mut lose_one(5..=6, seed * 17)).is_err()).count();
    assert!(caught >= 3, "only {caught} of 12 were noticed");
}

#[cfg_attr(not(feature = "mutants"), test)]
fn a_lost_key_is_noticed() {
    // Where keys lie differs from process to process, so nearly every second loss is made up for by a later write.
    let caught = (1..25).filter(|seed| run(200 + seed, &mut lose_one(1..=1, seed * 7)).is_err()).count();
    assert!(caught >= 2, "only {caught} of 24 were noticed");
}
