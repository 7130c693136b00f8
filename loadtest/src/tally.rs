//! What requests cost, counted by one thread over one interval and added up by the main thread.
//!
//! Counting must cost nothing next to a system call: one histogram per command, fixed bounds, no locks. A tally
//! is handed over whole at the end of its interval and comes back empty to be filled again.

use hdrhistogram::Histogram;

use crate::standing::Standing;

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

/// How long requests waited that got no answer. Takes no memory until there is one.
#[derive(Clone, Debug, Default)]
pub struct Waits(Option<Box<Histogram<u64>>>);

impl Waits {
    /// So many requests gave up after this time, in nanoseconds.
    #[cold]
    pub fn record(&mut self, time: u64, count: u64) {
        self.0.get_or_insert_with(|| Box::new(histogram())).saturating_record_n(time, count);
    }

    /// How many requests there are.
    pub fn count(&self) -> u64 {
        self.0.as_ref().map_or(0, |waits| waits.len())
    }

    /// How many requests gave up after more than this time, in nanoseconds.
    pub fn beyond(&self, time: u64) -> u64 {
        self.0.as_ref().map_or(0, |waits| waits.count_between(time.saturating_add(1), waits.max()))
    }

    /// Adds others.
    pub fn add(&mut self, other: &Self) {
        if let Some(other) = &other.0 {
            add(self.0.get_or_insert_with(|| Box::new(histogram())), other);
        }
    }

    /// Adds them to latencies.
    pub fn add_to(&self, latencies: &mut Histogram<u64>) {
        if let Some(waits) = &self.0 {
            add(latencies, waits);
        }
    }

    fn clear(&mut self) {
        self.0 = None;
    }
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
    /// Answers to look-ups that told of some key neither a string nor a null nor an error.
    pub neither: u64,
    /// Answers that are no errors and look like none to the command, such as a null to SET.
    pub odd: u64,
    /// Requests whose connection broke before the answer came, and how long they had waited then: less than their
    /// latencies would have been.
    pub lost: Waits,
    /// Requests of an open loop that were due and not answered when it ended, and how long they had waited then.
    pub unanswered: Waits,
    /// Answers of an open loop that came after its end; they are in `latency` too.
    pub late: u64,
}

impl CommandTally {
    /// Nothing counted.
    pub fn new() -> Self {
        Self {
            latency: histogram(),
            errors: 0,
            hits: 0,
            misses: 0,
            neither: 0,
            odd: 0,
            lost: Waits::default(),
            unanswered: Waits::default(),
            late: 0,
        }
    }

    /// How many requests were answered.
    pub fn answered(&self) -> u64 {
        self.latency.len()
    }

    /// Latencies of what was answered, with the waits of what was lost: leaving those out would make a server that
    /// closes connections look fast.
    pub fn ended(&self) -> Histogram<u64> {
        let mut all = self.latency.clone();
        self.lost.add_to(&mut all);
        all
    }

    /// The same with the waits of what an open loop did not get answered: leaving those out would make a server look
    /// the better the less it answers.
    pub fn latencies(&self) -> Histogram<u64> {
        let mut all = self.ended();
        self.unanswered.add_to(&mut all);
        all
    }

    /// How many requests were answered before the end.
    pub fn in_time(&self) -> u64 {
        self.answered() - self.late.min(self.answered())
    }

    /// Adds another tally of the same command.
    pub fn add(&mut self, other: &Self) {
        add(&mut self.latency, &other.latency);
        self.errors += other.errors;
        self.hits += other.hits;
        self.misses += other.misses;
        self.neither += other.neither;
        self.odd += other.odd;
        self.lost.add(&other.lost);
        self.unanswered.add(&other.unanswered);
        self.late += other.late;
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
    /// Replies that were errors, and connections to it that broke or could not be opened.
    pub errors: u64,
    /// As of a command.
    pub lost: Waits,
    /// As of a command.
    pub unanswered: Waits,
    /// As of a command.
    pub late: u64,
}

impl EndpointTally {
    /// Nothing counted.
    pub fn new() -> Self {
        Self {
            latency: histogram(),
            errors: 0,
            lost: Waits::default(),
            unanswered: Waits::default(),
            late: 0,
        }
    }

    /// Latencies with the waits of what was lost or not answered.
    pub fn latencies(&self) -> Histogram<u64> {
        let mut all = self.latency.clone();
        self.lost.add_to(&mut all);
        self.unanswered.add_to(&mut all);
        all
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
    /// Connections that broke or could not be opened.
    pub broken: u64,
    /// Connections that were wanted; told by a thread's last tally.
    pub connections: u64,
    /// Those of them that could not be made or broke, and never brought an answer that is no error.
    pub useless: u64,
    /// Errors that are the answer to no request: those connections, and redirects that lead nowhere. With the error
    /// replies of all commands they are as many as all [`Tally::error_kinds`] together.
    pub connection_errors: u64,
    /// Requests due or sent but not answered when the run ended.
    pub unanswered: u64,
    /// How long the longest of those had waited, of a closed loop as well, in nanoseconds.
    pub longest_wait: u64,
    /// How long the oldest request of each connection of a closed loop had waited when the run ended.
    pub hanging: Waits,
    /// How long the oldest request under way had waited when the interval ended, in nanoseconds; 0 if there was none.
    pub waiting: u64,
    /// All requests under way when the interval ended, where outages are measured; sums of tallies have none.
    pub standing: Standing,
    /// How many nanoseconds of its second had passed when the run ended, if the second is not whole; else 0.
    pub cut: u64,
    /// The longest time that a slot was without service, up to its end or that of this interval, in nanoseconds; see
    /// `generator::outage`.
    pub outage: u64,
    /// Requests that a node of a cluster sent elsewhere or wanted again.
    pub redirects: u64,
    /// How long connections took that were opened during the run, in nanoseconds: TCP, TLS and the opening commands.
    pub connect: Histogram<u64>,
    /// How late the generator itself was, in nanoseconds: in an open loop the time from due to sent while a
    /// connection was free, in a closed loop the time an event waited for its turn at most.
    pub lag: Histogram<u64>,
    /// The longest time that the generator's thread did not run though something was due, in nanoseconds.
    pub stood: u64,
    /// When the first and the last answers that are no errors came, in nanoseconds since the start of the run.
    pub served: Option<(u64, u64)>,
    /// Errors and how often they came.
    pub error_kinds: Vec<ErrorKind>,
    /// No server has answered for so long that the run was given up.
    pub gave_up: bool,
    /// When an open loop ended, something was due and all connections to its server were in use.
    pub full: bool,
}

/// Errors with the same text, or of the same kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorKind {
    /// The first word, such as `OOM`; [`OTHER`] for those that are not told apart.
    pub word: String,
    /// The first error that came, whole.
    pub example: String,
    /// How many came.
    pub count: u64,
    /// Their texts differ: `example` is the first one.
    pub mixed: bool,
}

/// The most errors told apart; the rest counts as [`OTHER`].
const MAX_ERROR_KINDS: usize = 20;
/// So many bytes of an error's text are looked at and kept: one may be of any length.
const LONGEST_ERROR: usize = 256;
/// The word of errors that are not told apart.
pub const OTHER: &str = "other";
/// Errors whose texts name slots and nodes: of one kind whatever they name.
const GROUPED: &[&str] = &["MOVED", "ASK"];

impl ErrorKind {
    fn is_other(&self) -> bool {
        self.mixed && self.word == OTHER
    }
}

/// What errors of one kind have in common: all of the text before it quotes what was asked.
fn stem(text: &str) -> &str {
    let word = text.split(' ').next().unwrap_or_default();
    if GROUPED.contains(&word) { word } else { text.split(['\'', '"', '`']).next().unwrap_or_default() }
}

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
            connections: 0,
            useless: 0,
            connection_errors: 0,
            unanswered: 0,
            longest_wait: 0,
            hanging: Waits::default(),
            waiting: 0,
            standing: Standing::default(),
            cut: 0,
            outage: 0,
            redirects: 0,
            connect: histogram(),
            lag: histogram(),
            stood: 0,
            served: None,
            error_kinds: Vec::new(),
            gave_up: false,
            full: false,
        }
    }

    /// Makes it empty again, keeping its memory.
    pub fn clear(&mut self) {
        for command in &mut self.commands {
            reset(&mut command.latency);
            (command.errors, command.hits, command.misses, command.late) = (0, 0, 0, 0);
            (command.neither, command.odd) = (0, 0);
            command.lost.clear();
            command.unanswered.clear();
        }
        for endpoint in &mut self.endpoints {
            reset(&mut endpoint.latency);
            (endpoint.errors, endpoint.late) = (0, 0);
            endpoint.lost.clear();
            endpoint.unanswered.clear();
        }
        (self.sent, self.received, self.lost, self.broken, self.unanswered) = (0, 0, 0, 0, 0);
        self.connection_errors = 0;
        (self.redirects, self.longest_wait, self.waiting, self.cut, self.outage) = (0, 0, 0, 0, 0);
        self.hanging.clear();
        self.standing = Standing::default();
        (self.gave_up, self.full) = (false, false);
        (self.connections, self.useless) = (0, 0);
        reset(&mut self.connect);
        self.interval = None;
        reset(&mut self.lag);
        self.stood = 0;
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
            mine.lost.add(&theirs.lost);
            mine.unanswered.add(&theirs.unanswered);
            mine.late += theirs.late;
        }
        self.redirects += other.redirects;
        add(&mut self.connect, &other.connect);
        self.sent += other.sent;
        self.received += other.received;
        self.lost += other.lost;
        self.broken += other.broken;
        self.connections += other.connections;
        self.useless += other.useless;
        self.connection_errors += other.connection_errors;
        self.unanswered += other.unanswered;
        self.cut = self.cut.max(other.cut);
        self.outage = self.outage.max(other.outage);
        self.longest_wait = self.longest_wait.max(other.longest_wait);
        self.hanging.add(&other.hanging);
        self.waiting = self.waiting.max(other.waiting);
        self.gave_up |= other.gave_up;
        self.full |= other.full;
        add(&mut self.lag, &other.lag);
        self.stood = self.stood.max(other.stood);
        if let Some((first, last)) = other.served {
            self.note_served(first);
            self.note_served(last);
        }
        for kind in &other.error_kinds {
            self.count_error_kind(kind);
        }
    }

    /// Counts a request that lost its connection after it had waited so long, in nanoseconds.
    #[cold]
    pub fn count_lost(&mut self, command: usize, endpoint: usize, waited: u64) {
        self.lost += 1;
        self.commands[command].lost.record(waited, 1);
        if let Some(endpoint) = self.endpoints.get_mut(endpoint) {
            endpoint.lost.record(waited, 1);
        }
    }

    /// Counts requests that were due and not answered at the end, after they had waited so long, in nanoseconds.
    #[cold]
    pub fn count_unanswered(&mut self, command: usize, endpoint: Option<usize>, waited: u64, count: u64) {
        self.unanswered += count;
        self.commands[command].unanswered.record(waited, count);
        if let Some(endpoint) = endpoint.and_then(|endpoint| self.endpoints.get_mut(endpoint)) {
            endpoint.unanswered.record(waited, count);
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
        let text = &text[..text.len().min(LONGEST_ERROR)];
        // Most errors are like those before; only a new one is worth a copy.
        let same = |kind: &&mut ErrorKind| !kind.mixed && kind.example.as_bytes() == text;
        match self.error_kinds.iter_mut().find(same) {
            Some(kind) => kind.count += 1,
            None => self.count_kind(&String::from_utf8_lossy(text)),
        }
    }

    /// Counts a connection to a server that broke or could not be opened, and why.
    #[cold]
    pub fn count_break(&mut self, endpoint: usize, text: &str) {
        self.broken += 1;
        self.count_note(endpoint, text);
    }

    /// Counts something wrong with a server that is the answer to no request.
    #[cold]
    pub fn count_note(&mut self, endpoint: usize, text: &str) {
        self.connection_errors += 1;
        if let Some(endpoint) = self.endpoints.get_mut(endpoint) {
            endpoint.errors += 1;
        }
        self.count_kind(text);
    }

    fn count_kind(&mut self, text: &str) {
        let text = &text[..text.floor_char_boundary(LONGEST_ERROR)];
        let word = text.split(' ').next().unwrap_or_default().to_owned();
        self.count_error_kind(&ErrorKind { word, example: text.to_owned(), count: 1, mixed: false });
    }

    fn count_error_kind(&mut self, new: &ErrorKind) {
        // The last place is that of the others.
        let full = self.error_kinds.iter().filter(|kind| !kind.is_other()).count() + 1 >= MAX_ERROR_KINDS;
        let alike = |kind: &&mut ErrorKind| {
            let same = stem(&kind.example) == stem(&new.example);
            kind.is_other() == new.is_other() && (new.is_other() || same)
        };
        if let Some(kind) = self.error_kinds.iter_mut().find(alike) {
            kind.count += new.count;
            kind.mixed |= new.mixed || kind.example != new.example;
        } else if !full || new.is_other() {
            self.error_kinds.push(new.clone());
        } else {
            self.count_error_kind(&ErrorKind { word: OTHER.into(), mixed: true, ..new.clone() });
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

    /// Latencies of all commands together, as [`CommandTally::latencies`].
    pub fn latencies(&self) -> Histogram<u64> {
        self.total().latencies()
    }

    /// Answered requests of all commands.
    pub fn answered(&self) -> u64 {
        self.commands.iter().map(CommandTally::answered).sum()
    }

    /// Error replies of all commands.
    pub fn errors(&self) -> u64 {
        self.commands.iter().map(|command| command.errors).sum()
    }

    /// All that is listed by kind: error replies, and what is the answer to no request.
    pub fn all_errors(&self) -> u64 {
        self.errors() + self.connection_errors
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
        let last = &tally.error_kinds[MAX_ERROR_KINDS - 1];
        assert_eq!((last.word.as_str(), last.count, last.mixed), (OTHER, 81, true));
        let mut sum = tally.clone();
        sum.add(&tally);
        assert_eq!(
            (sum.error_kinds.len(), sum.error_kinds[MAX_ERROR_KINDS - 1].count),
            (MAX_ERROR_KINDS, 162)
        );
    }

    #[test]
    fn errors_are_counted_by_their_text() {
        let mut tally = Tally::new(2);
        for text in [
            "ERR no such thing",
            "ERR out of order",
            "MOVED 1 a:1",
            "ERR no such thing",
            "MOVED 2 b:2",
            "ERR unknown command 'A', with args beginning with: 'key:1'",
            "ERR unknown command 'A', with args beginning with: 'key:2'",
        ] {
            tally.count_error(1, text.as_bytes());
        }
        let quoting = tally.error_kinds.pop().expect("it was counted");
        assert_eq!((quoting.count, quoting.mixed), (2, true));
        let counted: Vec<(&str, u64)> =
            tally.error_kinds.iter().map(|kind| (kind.example.as_str(), kind.count)).collect();
        assert_eq!(counted, [("ERR no such thing", 2), ("ERR out of order", 1), ("MOVED 1 a:1", 2)]);
    }

    #[test]
    fn all_errors_are_as_many_as_their_kinds_say() {
        let mut tally = Tally::new(1);
        tally.want_endpoints(2);
        tally.count_error(0, b"OOM no");
        (0..30).for_each(|number| tally.count_break(1, &format!("connection {number}: refused")));
        tally.count_note(1, "redirect to nowhere");
        let mut sum = Tally::new(1);
        sum.add(&tally);
        let listed: u64 = sum.error_kinds.iter().map(|kind| kind.count).sum();
        assert_eq!((sum.errors(), sum.broken, sum.connection_errors), (1, 30, 31));
        assert_eq!((sum.all_errors(), listed, sum.endpoints[1].errors), (32, 32, 31));
        sum.clear();
        assert_eq!((sum.all_errors(), sum.endpoints[1].errors), (0, 0));
    }

    #[test]
    fn lost_requests_count_with_their_waits() {
        let mut tally = Tally::new(2);
        tally.want_endpoints(2);
        tally.commands[0].latency.saturating_record_n(1000, 10);
        (0..10).for_each(|_| tally.count_lost(0, 1, 5_000_000));
        let mut sum = Tally::new(2);
        sum.add(&tally);
        assert_eq!((sum.lost, sum.answered(), sum.commands[0].lost.count()), (10, 10, 10));
        for latencies in [sum.latencies(), sum.commands[0].latencies()] {
            assert!(latencies.value_at_quantile(0.9) > 4_900_000 && latencies.len() == 20);
        }
        assert_eq!((sum.endpoints[0].latencies().len(), sum.endpoints[1].latencies().len()), (0, 10));
        sum.clear();
        assert_eq!((sum.latencies().len(), sum.endpoints[1].latencies().len()), (0, 0));
    }
}
