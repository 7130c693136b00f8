//! What requests cost, counted by one thread over one interval and added up by the main thread.
//!
//! Counting must cost nothing next to a system call: one histogram per command, fixed bounds, no locks. A tally
//! is handed over whole at the end of its interval and comes back empty to be filled again.

use hdrhistogram::Histogram;

/// The shortest latency told apart, in nanoseconds.
const LOWEST: u64 = 100;
/// The longest latency told apart: one hour; longer ones count as an hour.
const HIGHEST: u64 = 3_600_000_000_000;
/// Significant decimal digits of a recorded latency.
const DIGITS: u8 = 3;

/// An empty histogram of nanoseconds.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(LOWEST, HIGHEST, DIGITS).expect("the bounds are constants in range")
}

/// The counts of one command.
#[derive(Clone, Debug)]
pub struct CommandTally {
    /// Latency of every answered request, errors included, in nanoseconds.
    pub latency: Histogram<u64>,
    /// Replies that were errors.
    pub errors: u64,
    /// Keys asked for and found.
    pub hits: u64,
    /// Keys asked for and not found.
    pub misses: u64,
}

impl CommandTally {
    /// Nothing counted.
    pub fn new() -> Self {
        Self { latency: histogram(), errors: 0, hits: 0, misses: 0 }
    }

    /// How many requests were answered.
    pub fn answered(&self) -> u64 {
        self.latency.len()
    }

    /// Adds another tally of the same command.
    pub fn add(&mut self, other: &Self) {
        add(&mut self.latency, &other.latency);
        self.errors += other.errors;
        self.hits += other.hits;
        self.misses += other.misses;
    }
}

impl Default for CommandTally {
    fn default() -> Self {
        Self::new()
    }
}

/// The counts of one server of several.
#[derive(Clone, Debug)]
pub struct EndpointTally {
    /// Latency of every request it answered, errors included, in nanoseconds.
    pub latency: Histogram<u64>,
    /// Replies that were errors.
    pub errors: u64,
}

impl EndpointTally {
    /// Nothing counted.
    pub fn new() -> Self {
        Self { latency: histogram(), errors: 0 }
    }
}

impl Default for EndpointTally {
    fn default() -> Self {
        Self::new()
    }
}

/// The counts of one thread, or of all, over some time.
#[derive(Clone, Debug)]
pub struct Tally {
    /// Which interval of the run this is, counted from the end of the warm-up; `None` during it.
    pub interval: Option<u64>,
    /// Per command, in the order of the request source.
    pub commands: Vec<CommandTally>,
    /// Per server, where there are several; none where there is one.
    pub endpoints: Vec<EndpointTally>,
    /// Bytes sent.
    pub sent: u64,
    /// Bytes received.
    pub received: u64,
    /// Requests whose connection broke before the answer came.
    pub lost: u64,
    /// Connections that broke.
    pub broken: u64,
    /// Requests due or sent but not answered when the run ended.
    pub unanswered: u64,
    /// How long those of an open loop had waited, in nanoseconds: less than their latencies would have been.
    pub waits: Histogram<u64>,
    /// How long the longest of those had waited, of a closed loop as well, in nanoseconds.
    pub longest_wait: u64,
    /// How many nanoseconds of its second had passed when the run ended, if the second is not whole; else 0.
    pub cut: u64,
    /// The longest time that a slot was without service, of those that ended in this interval, in nanoseconds; see
    /// `generator::outage`.
    pub outage: u64,
    /// Requests that a node of a cluster sent elsewhere or wanted again.
    pub redirects: u64,
    /// How long connections took that were opened during the run, in nanoseconds: TCP, TLS and the opening commands.
    pub connect: Histogram<u64>,
    /// How late the generator itself was, in nanoseconds: in an open loop the time from due to sent while a
    /// connection was free, in a closed loop the time an event waited for its turn at most.
    pub lag: Histogram<u64>,
    /// When the first and the last answers that are no errors came, in nanoseconds since the start of the run.
    pub served: Option<(u64, u64)>,
    /// The first words of errors and how often they came, with one whole text each.
    pub error_kinds: Vec<ErrorKind>,
}

/// Errors that start with the same word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorKind {
    /// The first word, such as `OOM`.
    pub word: String,
    /// The first error that came, whole.
    pub example: String,
    /// How many came.
    pub count: u64,
}

/// The most kinds of errors told apart; the rest counts as `other`.
const MAX_ERROR_KINDS: usize = 20;

impl Tally {
    /// An empty tally for so many commands.
    pub fn new(commands: usize) -> Self {
        Self {
            interval: None,
            commands: vec![CommandTally::new(); commands],
            endpoints: Vec::new(),
            sent: 0,
            received: 0,
            lost: 0,
            broken: 0,
            unanswered: 0,
            waits: histogram(),
            longest_wait: 0,
            cut: 0,
            outage: 0,
            redirects: 0,
            connect: histogram(),
            lag: histogram(),
            served: None,
            error_kinds: Vec::new(),
        }
    }

    /// Makes it empty again, keeping its memory.
    pub fn clear(&mut self) {
        for command in &mut self.commands {
            reset(&mut command.latency);
            (command.errors, command.hits, command.misses) = (0, 0, 0);
        }
        for endpoint in &mut self.endpoints {
            reset(&mut endpoint.latency);
            endpoint.errors = 0;
        }
        (self.sent, self.received, self.lost, self.broken, self.unanswered) = (0, 0, 0, 0, 0);
        (self.redirects, self.longest_wait, self.cut, self.outage) = (0, 0, 0, 0);
        reset(&mut self.waits);
        reset(&mut self.connect);
        self.interval = None;
        reset(&mut self.lag);
        self.served = None;
        self.error_kinds.clear();
    }

    /// Adds the counts of another tally over the same commands.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.commands.iter_mut().zip(&other.commands) {
            mine.add(theirs);
        }
        self.want_endpoints(other.endpoints.len());
        for (mine, theirs) in self.endpoints.iter_mut().zip(&other.endpoints) {
            add(&mut mine.latency, &theirs.latency);
            mine.errors += theirs.errors;
        }
        self.redirects += other.redirects;
        add(&mut self.connect, &other.connect);
        self.sent += other.sent;
        self.received += other.received;
        self.lost += other.lost;
        self.broken += other.broken;
        self.unanswered += other.unanswered;
        add(&mut self.waits, &other.waits);
        self.cut = self.cut.max(other.cut);
        self.outage = self.outage.max(other.outage);
        self.longest_wait = self.longest_wait.max(other.longest_wait);
        add(&mut self.lag, &other.lag);
        if let Some((first, last)) = other.served {
            self.note_served(first);
            self.note_served(last);
        }
        for kind in &other.error_kinds {
            self.count_error_kind(&kind.word, &kind.example, kind.count);
        }
    }

    /// Notes that answers came then that are no errors.
    #[inline]
    pub fn note_served(&mut self, at: u64) {
        let (first, last) = self.served.unwrap_or((at, at));
        self.served = Some((first.min(at), last.max(at)));
    }

    /// Makes room for so many servers.
    pub fn want_endpoints(&mut self, count: usize) {
        if self.endpoints.len() < count {
            self.endpoints.resize_with(count, EndpointTally::new);
        }
    }

    /// Counts an error reply of a command.
    #[cold]
    pub fn count_error(&mut self, command: usize, text: &[u8]) {
        self.commands[command].errors += 1;
        let text = String::from_utf8_lossy(text);
        let word = text.split(' ').next().unwrap_or_default().to_owned();
        self.count_error_kind(&word, &text, 1);
    }

    /// Counts a connection that broke, and why.
    #[cold]
    pub fn count_break(&mut self, text: &str) {
        self.broken += 1;
        self.count_note(text);
    }

    /// Counts something wrong that is the answer to no request.
    #[cold]
    pub fn count_note(&mut self, text: &str) {
        let word = text.split(' ').next().unwrap_or_default();
        self.count_error_kind(word, text, 1);
    }

    fn count_error_kind(&mut self, word: &str, example: &str, count: u64) {
        let full = self.error_kinds.len() >= MAX_ERROR_KINDS;
        if let Some(kind) = self.error_kinds.iter_mut().find(|kind| kind.word == word) {
            kind.count += count;
        } else if full {
            self.error_kinds[MAX_ERROR_KINDS - 1].word = "other".into();
            self.error_kinds[MAX_ERROR_KINDS - 1].count += count;
        } else {
            self.error_kinds.push(ErrorKind { word: word.into(), example: example.into(), count });
        }
    }

    /// The counts of all commands together.
    pub fn total(&self) -> CommandTally {
        let mut total = CommandTally::new();
        for command in &self.commands {
            total.add(command);
        }
        total
    }

    /// Latencies of all commands together, with the waits of what an open loop did not get answered: leaving those
    /// out would make a server look the better the less it answers.
    pub fn latencies(&self) -> Histogram<u64> {
        let mut all = self.total().latency;
        add(&mut all, &self.waits);
        all
    }

    /// Answered requests of all commands.
    pub fn answered(&self) -> u64 {
        self.commands.iter().map(CommandTally::answered).sum()
    }

    /// Error replies of all commands.
    pub fn errors(&self) -> u64 {
        self.commands.iter().map(|command| command.errors).sum()
    }
}

/// Empties a histogram; one that is empty costs nothing.
fn reset(histogram: &mut Histogram<u64>) {
    if !histogram.is_empty() {
        histogram.reset();
    }
}

/// Adds a histogram with the same bounds.
pub fn add(sum: &mut Histogram<u64>, other: &Histogram<u64>) {
    if !other.is_empty() {
        sum.add(other).expect("all histograms have the same bounds");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adds_and_clears() {
        let mut tally = Tally::new(2);
        tally.commands[0].latency.saturating_record(1000);
        tally.commands[1].latency.saturating_record(u64::MAX);
        tally.count_error(1, b"OOM command not allowed");
        let mut sum = Tally::new(2);
        sum.add(&tally);
        sum.add(&tally);
        assert_eq!((sum.answered(), sum.errors(), sum.error_kinds[0].count), (4, 2, 2));
        assert_eq!(sum.error_kinds[0].word, "OOM");
        sum.clear();
        assert_eq!((sum.answered(), sum.errors(), sum.error_kinds.len()), (0, 0, 0));
    }

    #[test]
    fn kinds_of_errors_are_bounded() {
        let mut tally = Tally::new(1);
        for index in 0..100 {
            tally.count_error(0, format!("E{index} text").as_bytes());
        }
        assert_eq!(tally.error_kinds.len(), MAX_ERROR_KINDS);
        assert_eq!(tally.error_kinds.iter().map(|kind| kind.count).sum::<u64>(), 100);
    }
}
