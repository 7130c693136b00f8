//! Counting answers: what a reply says of its request, and equal latencies recorded at once.

use crate::connection::Waiting;
use crate::reply::{Form, Reply};
use crate::requests::{About, Command, Follows};
use crate::tally::Tally;

/// From one command to before another one: none.
const NONE: (usize, usize) = (usize::MAX, 0);

/// What the generator must know of a command when its answer comes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kind {
    looks_up: bool,
    reads_all: bool,
    /// What it is answered is one value, no list of them.
    single: bool,
    follows: Option<Follows>,
    answered_by: Form,
}

impl Kind {
    pub(super) fn of(command: &Command) -> Self {
        Self {
            looks_up: command.looks_up,
            reads_all: command.reads_all,
            single: command.looks_up_one,
            follows: command.follow_up.map(|(follows, _)| follows),
            answered_by: command.answered_by,
        }
    }
}

/// Answers of one server with the same latency, such as those of a batch that was written at once and whose
/// replies were read at once: recorded together, once for each command.
#[derive(Clone, Debug)]
pub(super) struct Alike {
    endpoint: usize,
    latency: u64,
    /// How many there are of each command.
    counts: Vec<u64>,
    /// All counts outside are zero.
    touched: (usize, usize),
}

impl Alike {
    /// Of none of so many commands.
    pub(super) fn new(commands: usize) -> Self {
        Self { endpoint: 0, latency: 0, counts: vec![0; commands], touched: NONE }
    }

    /// Says that the next answers are this server's; those before must be recorded.
    #[inline]
    pub(super) fn begin(&mut self, endpoint: usize) {
        debug_assert_eq!(self.touched, NONE);
        self.endpoint = endpoint;
    }

    /// Adds an answer; those before are recorded if they are not like it.
    #[inline]
    pub(super) fn add(&mut self, tally: &mut Tally, request: Waiting, now: u64) {
        let latency = now.saturating_sub(request.since);
        if latency != self.latency {
            self.record(tally);
            self.latency = latency;
        }
        let command = usize::from(request.about.command());
        self.counts[command] += 1;
        self.touched = (self.touched.0.min(command), self.touched.1.max(command + 1));
    }

    /// Records what is in it.
    #[inline]
    pub(super) fn record(&mut self, tally: &mut Tally) {
        let mut all = 0;
        let (first, end) = std::mem::replace(&mut self.touched, NONE);
        for command in first..end {
            let count = std::mem::take(&mut self.counts[command]);
            if count > 0 {
                tally.commands[command].latency.saturating_record_n(self.latency, count);
            }
            all += count;
        }
        if all > 0
            && let Some(endpoint) = tally.endpoints.get_mut(self.endpoint)
        {
            endpoint.latency.saturating_record_n(self.latency, all);
        }
    }

    /// Counts errors, hits and misses of an answer. What a look-up is answered that is neither a string nor a null,
    /// such as QUEUED or a number, is neither a hit nor a miss, and counted as such.
    // Inlined but for what is rare, so that the usual reply is never put together in memory.
    #[inline(always)]
    pub(super) fn interpret(
        &self,
        tally: &mut Tally,
        kinds: &[Kind],
        followed: &mut Vec<About>,
        about: About,
        reply: Reply<'_>,
    ) {
        let command = usize::from(about.command());
        if let Some(text) = reply.error {
            return self.count_error(tally, command, text);
        }
        let kind = kinds[command];
        if kind.answered_by != reply.form && kind.answered_by != Form::Other {
            tally.commands[command].odd += 1;
        }
        if kind.looks_up {
            if reply.nested || about.keys() != 1 {
                self.count_found(
                    tally,
                    kind,
                    about,
                    (reply.strings, reply.nulls, reply.faults, reply.nested),
                );
            } else {
                let counts = &mut tally.commands[command];
                let missed = u64::from(reply.nulls > 0);
                let found = u64::from(reply.nulls == 0 && reply.strings > 0);
                counts.misses += missed;
                counts.hits += found;
                counts.neither += u64::from(missed + found == 0);
            }
        }
        if kind.reads_all {
            let counts = &mut tally.commands[command];
            let is_empty = reply.strings == 0 && reply.faults == 0;
            counts.misses += u64::from(is_empty);
            counts.hits += u64::from(reply.strings > 0);
        }
        match kind.follows {
            None => {}
            Some(Follows::Misses) if reply.nulls == 0 => {}
            Some(_) => followed.push(about),
        }
    }

    #[cold]
    fn count_error(&self, tally: &mut Tally, command: usize, text: &[u8]) {
        if let Some(endpoint) = tally.endpoints.get_mut(self.endpoint) {
            endpoint.errors += 1;
        }
        tally.count_error(command, text);
    }

    /// Counts what an answer that is an array, or is one to several keys, holds: strings, nulls and errors, and whether
    /// it is an array.
    #[inline(never)]
    fn count_found(
        &self,
        tally: &mut Tally,
        kind: Kind,
        about: About,
        (strings, nulls, faults, nested): (u32, u32, u32, bool),
    ) {
        let counts = &mut tally.commands[usize::from(about.command())];
        let keys = u64::from(about.keys());
        let nulls = if kind.single && nested { 0 } else { u64::from(nulls) };
        let missed = nulls.min(keys);
        counts.misses += missed;
        let strings = if kind.single && nested { 0 } else { u64::from(strings) };
        let found = strings.min(keys - missed);
        counts.hits += found;
        counts.neither += u64::from(missed + found + u64::from(faults) < keys);
        if faults > 0 {
            self.count_error(tally, usize::from(about.command()), b"errors in place of values");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_strings_are_hits() {
        let mut tally = Tally::new(1);
        tally.want_endpoints(1);
        let kinds = [Kind {
            looks_up: true,
            reads_all: false,
            single: false,
            follows: None,
            answered_by: Form::Other,
        }];
        let alike = Alike::new(1);
        let reply = |strings, nulls, faults| Reply {
            error: None,
            nulls,
            strings,
            faults,
            nested: strings + nulls + faults > 1,
            number: 0,
            form: Form::Other,
        };
        for (keys, reply) in
            [(1, reply(1, 0, 0)), (1, reply(0, 1, 0)), (1, reply(0, 0, 0)), (10, reply(3, 2, 1))]
        {
            let about = About::new(0, keys, 7);
            alike.interpret(&mut tally, &kinds, &mut Vec::new(), about, reply);
        }
        let counts = &tally.commands[0];
        assert_eq!((counts.hits, counts.misses, counts.errors, counts.neither), (4, 3, 1, 2));
        assert_eq!(tally.endpoints[0].errors, 1, "the server's errors are those of its commands");
        let kinds = [Kind {
            looks_up: false,
            reads_all: true,
            single: false,
            follows: None,
            answered_by: Form::Other,
        }];
        let mut tally = Tally::new(1);
        // A hash of ten fields, one that is not there, and a scan in a group of keys, which names no key.
        for (keys, strings) in [(1, 20), (1, 0), (0, 7), (0, 0), (0, 0)] {
            let about = About::new(0, keys, 7);
            alike.interpret(&mut tally, &kinds, &mut Vec::new(), about, reply(strings, 0, 0));
        }
        assert_eq!((tally.commands[0].hits, tally.commands[0].misses, tally.commands[0].neither), (2, 3, 0));
        // An array is no answer to GET, whatever is in it.
        let kinds = [Kind {
            looks_up: true,
            reads_all: false,
            single: true,
            follows: None,
            answered_by: Form::Other,
        }];
        let mut tally = Tally::new(1);
        for reply in [reply(2, 0, 0), reply(0, 2, 0), reply(1, 0, 0)] {
            alike.interpret(&mut tally, &kinds, &mut Vec::new(), About::new(0, 1, 7), reply);
        }
        let counts = &tally.commands[0];
        assert_eq!((counts.hits, counts.misses, counts.neither), (1, 0, 2));
    }
}
