//! Requests found before the first of them is executed: those of all connections that were read in one round.

use std::{ops::Range, sync::LazyLock};

use shoal_proto::{
    command::{Entry, table},
    resp::{
        Args, Limits, ProtocolError, Request, Scanner, Span,
        request::{arguments, whole},
    },
};

use crate::{
    same::same,
    store::{Ahead, Located, Seen, Store, shard_of},
};

/// Requests of one connection gathered at once; more look-ups than a core can have waiting for memory, and few enough
/// for what they bring in to stay close to it.
const LOOKAHEAD: usize = 32;
/// No entry: a request that is looked up when it is executed, as it may be wrong.
pub(super) const UNKNOWN: u16 = u16::MAX;

/// By the table's numbers, which argument of a command is looked up in the collection at its key; 0: none.
static ELEMENTS: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let element = |name: &str| match name {
        "hdel" | "hexists" | "hget" | "hincrby" | "hincrbyfloat" | "hmget" | "hmset" | "hset" | "hsetnx"
        | "hstrlen" | "sadd" | "sismember" | "smismember" | "srem" | "zmscore" | "zrank" | "zrem"
        | "zrevrank" | "zscore" => 2,
        "zadd" | "zincrby" => 3,
        _ => 0,
    };
    table().entries().iter().map(|entry| element(&entry.name)).collect()
});

/// What stands behind the gathered requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Perhaps more of them.
    More,
    /// Nothing that is complete.
    Incomplete,
    /// An inline command, in the scanner; the input goes on at this place.
    Inline(usize),
    /// Bytes that are no request.
    Error(ProtocolError),
}

/// One gathered request: where it is in its input, its spans, and its key if it has one.
#[derive(Debug, Clone, Copy)]
struct Found {
    start: usize,
    end: usize,
    first_span: u32,
    last_span: u32,
    entry: u16,
    /// Which of the keys is its, if it has one.
    key: u32,
    has_key: bool,
    /// Its key is that of the request before, so what it needs was asked for.
    again: bool,
    /// The argument that is an element of the key's collection, or 0.
    element: u8,
}

/// A command as it was called last.
#[derive(Debug, Clone, Copy)]
struct Usual<'a> {
    /// The bytes before its second argument.
    beginning: &'a [u8],
    name: Span,
    entry: &'static Entry,
    /// With so many arguments.
    len: usize,
    element: u8,
}

impl<'a> Usual<'a> {
    /// What a request calls, unless that is something that has to be looked at more closely.
    fn of(request: &'a [u8], spans: &[Span]) -> Option<Self> {
        let args = Args::new(request, spans);
        let entry = table().usual(args)?;
        let element = ELEMENTS[usize::from(entry.id)].min((args.len() - 1) as u8);
        let name = spans[0];
        let beginning = request.get(..name.end as usize + 2)?;
        Some(Self { beginning, name, entry, len: args.len(), element })
    }

    /// If the input goes on with another call of it, with as many arguments: that request's length. Its spans are appended.
    #[inline]
    fn repeated(&self, input: &[u8], spans: &mut Vec<Span>) -> Option<usize> {
        let at = self.beginning.len();
        if !same(input.get(..at)?, self.beginning) {
            return None;
        }
        spans.push(self.name);
        let end = arguments(input, at, self.len - 1, spans);
        if end.is_none() {
            spans.pop();
        }
        end
    }
}

/// A request about to be executed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ready<'a> {
    pub(super) args: Args<'a>,
    /// The number of what it calls, or [`UNKNOWN`] if that is still to be looked up.
    pub(super) entry: u16,
    /// Its one key, if the entry says that it has one.
    pub(super) key: Option<Located<'a>>,
    /// An item that may be its.
    pub(super) seen: Seen,
    /// Whether that is also the key of the request before, if that was executed with one.
    pub(super) again: bool,
    /// Whether the next request has one too, in the same shard.
    pub(super) keep: bool,
}

/// What was gathered of one input.
#[derive(Debug, Clone)]
pub(super) struct Gathered {
    /// The requests.
    pub(super) range: Range<usize>,
    /// Where the input goes on behind them.
    pub(super) end: usize,
    pub(super) next: Next,
}

impl Gathered {
    /// Whether the input is the beginning of a request.
    pub(super) fn is_nothing_yet(&self) -> bool {
        self.range.is_empty() && self.next == Next::Incomplete
    }
}

/// Gathered requests; reused.
#[derive(Debug, Default)]
pub(super) struct Lookahead {
    found: Vec<Found>,
    spans: Vec<Span>,
    /// Their keys, each once in a run of requests on it.
    wanted: Vec<Ahead>,
}

impl Lookahead {
    /// Forgets all requests, and gives back what one huge request made it hold.
    pub(super) fn clear(&mut self) {
        self.found.clear();
        self.wanted.clear();
        self.spans.clear();
        if self.spans.capacity() > 1 << 16 {
            *self = Self::default();
        }
    }

    /// How many were found since it was cleared.
    pub(super) fn len(&self) -> usize {
        self.found.len()
    }

    /// Finds the next requests of `input` from `at` on, and asks for the memory that each of them needs first.
    /// Before authentication one at a time, as that changes the limits.
    pub(super) fn gather(
        &mut self,
        (store, db): (&Store, u8),
        scanner: &mut Scanner,
        (input, at): (&[u8], usize),
        limits: &Limits,
    ) -> Gathered {
        let first = self.found.len();
        let most = first + if limits.authenticated { LOOKAHEAD } else { 1 };
        let mut end = at;
        let (mut last, mut key): (Option<Usual<'_>>, Option<&[u8]>) = (None, None);
        let next = loop {
            if self.found.len() == most {
                break Next::More;
            }
            let start = end;
            if start == input.len() {
                break Next::Incomplete;
            }
            let first_span = self.spans.len();
            // Pipelines mostly repeat a command.
            let fresh = scanner.is_fresh();
            let repeated = last
                .filter(|_| fresh)
                .and_then(|last| Some((last.repeated(&input[start..], &mut self.spans)?, last)));
            let (quick, mut usual) = match repeated {
                Some((consumed, last)) => (Some(consumed), Some(last)),
                None if fresh => (whole(&input[start..], limits, &mut self.spans), None),
                None => (None, None),
            };
            match quick {
                Some(consumed) => end += consumed,
                None => match scanner.next(&input[start..], limits) {
                    Ok(None) => break Next::Incomplete,
                    Ok(Some(Request::Empty { consumed })) => {
                        end += consumed;
                        continue;
                    }
                    Ok(Some(Request::Inline { consumed })) => break Next::Inline(start + consumed),
                    Ok(Some(Request::Multibulk { consumed })) => {
                        self.spans.extend_from_slice(scanner.spans());
                        end += consumed;
                    }
                    Err(error) => break Next::Error(error),
                },
            }
            let (request, spans) = (&input[start..end], &self.spans[first_span..]);
            if usual.is_none() {
                usual = Usual::of(request, spans);
                // What is unusual does not end a run.
                last = usual.filter(|_| limits.are_usual()).or(last);
            }
            let (mut entry, mut element, mut has_key, mut again) = (UNKNOWN, 0, false, false);
            if let Some(usual) = usual {
                (entry, element) = (usual.entry.id, usual.element);
                if usual.entry.one_key {
                    // Of the input, so that it can be compared with the next request's.
                    let bytes = &request[spans[1].start as usize..spans[1].end as usize];
                    has_key = true;
                    again = key.is_some_and(|before| same(before, bytes));
                    if !again {
                        key = Some(bytes);
                        let Located { slot, hash, .. } = store.locate(bytes);
                        store.ask_slot(slot);
                        let whole = element != 0;
                        self.wanted.push(Ahead { db, slot, hash, whole, seen: Seen::default() });
                    }
                }
            }
            self.found.push(Found {
                start,
                end,
                first_span: first_span as u32,
                last_span: self.spans.len() as u32,
                entry,
                // The last one; none if there are none yet, and then it is not looked at.
                key: (self.wanted.len() as u32).wrapping_sub(1),
                has_key,
                again,
                element,
            });
        };
        Gathered { range: first..self.found.len(), end, next }
    }

    /// Asks for the memory that all of them will wait for, so that the waits overlap.
    pub(super) fn ask(&mut self, store: &Store) {
        if self.found.len() > 1 {
            store.ask(&mut self.wanted);
        }
    }

    /// The same for requests that the same input holds on elements of one collection, when the first of them comes.
    #[inline]
    pub(super) fn ask_elements(&self, store: &Store, input: &[u8], i: usize) {
        let found = &self.found[i];
        let next = self.found.get(i + 1).is_some_and(|next| next.again && next.element != 0);
        if found.element == 0 || found.again || !next {
            return;
        }
        let run = self.found[i + 1..].iter().take_while(|next| next.again);
        let run = std::iter::once(found).chain(run).filter(|found| found.element != 0);
        let argument = |found: &Found, i: usize| {
            let span = self.spans[found.first_span as usize + i];
            &input[found.start + span.start as usize..found.start + span.end as usize]
        };
        let Ahead { db, slot, hash, .. } = self.wanted[found.key as usize];
        let key = Located { bytes: argument(found, 1), slot, hash };
        store.ask_elements(db, &key, run.map(|found| argument(found, usize::from(found.element))));
    }

    /// The `i`th request, and where its input goes on behind it.
    #[inline]
    pub(super) fn request<'a>(&'a self, input: &'a [u8], i: usize) -> (Ready<'a>, usize) {
        let found = &self.found[i];
        let spans = &self.spans[found.first_span as usize..found.last_span as usize];
        let args = Args::new(&input[found.start..found.end], spans);
        let entry = found.entry;
        let of = |found: &Found| found.has_key.then(|| &self.wanted[found.key as usize]);
        let wanted = of(found);
        let key = wanted.map(|&Ahead { slot, hash, .. }| Located { bytes: args.at(1), slot, hash });
        let seen = wanted.map_or(Seen::default(), |ahead| ahead.seen);
        let next = self.found.get(i + 1).and_then(of);
        let keep = wanted.zip(next).is_some_and(|(this, next)| shard_of(this.slot) == shard_of(next.slot));
        (Ready { args, entry, key, seen, again: found.again, keep }, found.end)
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng, rngs::StdRng, seq::IndexedRandom};
    use shoal_proto::resp::request::OwnedArgs;

    use super::*;
    use crate::store::Settings;

    const REQUESTS: [&str; 10] = [
        "GET one",
        "GET another",
        "get another",
        "SET one value",
        "SET one value EX 100",
        "GET",
        "PING",
        "NOSUCHCOMMAND a",
        "HSET one field value",
        "DEL one two",
    ];

    /// Whatever comes behind whatever, what is found is what a scanner finds, up to the first request that is not complete.
    #[test]
    fn runs_of_requests_are_found_as_single_ones_are() {
        let (mut random, store) = (StdRng::seed_from_u64(5), Store::new(Settings::default()));
        let limits = Limits { authenticated: true, ..Limits::default() };
        for _ in 0..3_000 {
            let mut input = Vec::new();
            let mut wanted = Vec::new();
            let mut line = "GET one";
            for _ in 0..random.random_range(1..LOOKAHEAD) {
                if random.random_bool(0.4) {
                    line = REQUESTS.choose(&mut random).expect("there are some");
                }
                let mut words: Vec<Vec<u8>> = line.split(' ').map(|word| word.as_bytes().to_vec()).collect();
                if random.random_bool(0.1) {
                    // An argument of another length, in which something like a request stands.
                    let text = b"\r\n*2\r\n$3\r\nGET\r\n$3\r\none\r\n".repeat(random.random_range(1..200));
                    *words.last_mut().expect("there is one") = text;
                }
                input.extend_from_slice(OwnedArgs::new(&words).args().raw());
                wanted.push((words, input.len()));
            }
            if random.random_bool(0.3) {
                input.truncate(random.random_range(0..input.len()));
            }
            let complete = wanted.iter().take_while(|(_, end)| *end <= input.len()).count();
            let (mut ahead, mut scanner) = (Lookahead::default(), Scanner::new());
            let gathered = ahead.gather((&store, 0), &mut scanner, (&input, 0), &limits);
            assert_eq!((gathered.range.clone(), gathered.next), (0..complete, Next::Incomplete));
            for (i, (words, end)) in wanted.iter().take(complete).enumerate() {
                let (ready, behind) = ahead.request(&input, i);
                assert!(ready.args.iter().eq(words.iter().map(Vec::as_slice)), "request {i}");
                assert_eq!(behind, *end);
                let args = OwnedArgs::new(words);
                let entry = table().usual(args.args());
                assert_eq!(ready.entry, entry.map_or(UNKNOWN, |entry| entry.id));
                let key = entry.filter(|entry| entry.one_key).map(|_| store.locate(args.args().at(1)));
                let place = |key: &Located<'_>| (key.bytes.to_vec(), key.slot, key.hash);
                assert_eq!(ready.key.as_ref().map(place), key.as_ref().map(place));
            }
        }
    }
}
