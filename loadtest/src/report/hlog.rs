//! Latencies as an HdrHistogram interval log (version 2 histograms, compressed): one line per second and command.
//!
//! The command is the line's tag, times count from the end of the warm-up, values are nanoseconds. Every
//! HdrHistogram library reads such files. Histograms of all seconds would not fit in memory, so lines are
//! written as the seconds pass. What a log does not hold (errors, hits, CPU time) is empty when it is read back.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::interval_log::{
    IntervalLogIterator, IntervalLogWriterBuilder, LogEntry, Tag,
};
use hdrhistogram::serialization::{Deserializer, V2DeflateSerializer};

use super::figures::{CommandFigures, Figures, curve};
use super::file::Replacing;
use super::origin::Origin;
use crate::error::Error;
use crate::input;
use crate::series::Second;
use crate::tally::{CommandTally, Tally};

/// How a log ends its name.
pub const EXTENSION: &str = "hlog";

/// A log being written.
pub struct Log {
    path: PathBuf,
    file: BufWriter<Replacing>,
    labels: Vec<String>,
    serializer: V2DeflateSerializer,
    /// Where the time of the next second's line begins.
    offset: u64,
    written: u64,
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log")
            .field("path", &self.path)
            .field("written", &self.written)
            .finish_non_exhaustive()
    }
}

impl Log {
    /// Creates the file. `labels` are the commands' names in the order of the tallies.
    pub fn create(path: &Path, labels: &[String]) -> Result<Self, Error> {
        let failed = |source| Error::Path { path: path.to_path_buf(), source };
        let mut file = BufWriter::new(Replacing::create(path).map_err(failed)?);
        let now = SystemTime::now();
        let mut begun = Vec::new();
        let origin = Origin::new(Duration::ZERO);
        IntervalLogWriterBuilder::new()
            .add_comment("[Histogram log format version 1.3]")
            .add_comment(&format!("[{}; latencies in nanoseconds]", origin.tool))
            .with_start_time(now)
            .with_base_time(now)
            .begin_log_with(&mut begun, &mut V2DeflateSerializer::new())
            .map_err(failed)?;
        begun.extend_from_slice(LEGEND);
        file.write_all(&begun).map_err(failed)?;
        Ok(Self {
            path: path.to_path_buf(),
            file,
            labels: labels.iter().map(|label| tag(label)).collect(),
            serializer: V2DeflateSerializer::new(),
            offset: 0,
            written: 0,
        })
    }

    /// Writes what was counted in a second; requests that lost their connection, or were not answered when the run ended,
    /// with their waits. Commands of which there is nothing have no line.
    pub fn second(&mut self, second: u64, counted: &Tally) -> Result<(), Error> {
        let start = Duration::from_secs(self.offset + second);
        self.written = self.written.max(self.offset + second + 1);
        let length = if counted.cut > 0 { Duration::from_nanos(counted.cut) } else { Duration::from_secs(1) };
        // A second in which nothing was answered is one line, so that a reader knows that it was.
        let is_silent = counted.commands.iter().all(|command| command.latencies().is_empty());
        let mut lines = Vec::new();
        let mut writer = IntervalLogWriterBuilder::new()
            .begin_log_with(&mut lines, &mut self.serializer)
            .expect("a vector takes everything");
        for (place, (label, command)) in self.labels.iter().zip(&counted.commands).enumerate() {
            let latencies = command.latencies();
            if !latencies.is_empty() || is_silent && place == 0 {
                let name = Tag::new(label);
                writer
                    .write_histogram(&latencies, start, length, name)
                    .expect("a vector takes everything, and the counts fit their format");
            }
        }
        self.file.write_all(&lines).map_err(|source| Error::Path { path: self.path.clone(), source })
    }

    /// The seconds of the next run count from this one.
    pub fn begin_at(&mut self, second: u64) {
        self.offset = second;
    }

    /// The seconds of the next run follow on those written so far.
    pub fn next_run(&mut self) {
        self.offset = self.written;
    }

    /// Writes what is still in memory and puts the file in its place.
    pub fn finish(self) -> Result<(), Error> {
        let done = self.file.into_inner().map_err(io::IntoInnerError::into_error).and_then(Replacing::finish);
        done.map_err(|source| Error::Path { path: self.path, source })
    }
}

/// The line with the columns' names that other tools write and expect.
const LEGEND: &[u8] =
    b"\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"\n";

/// A command's name without what a tag may not hold.
fn tag(label: &str) -> String {
    label.chars().map(|c| if c == ',' || c.is_whitespace() { '_' } else { c }).collect()
}

/// Reads a log, one of ours or another one of nanoseconds, and computes the figures that it holds.
pub fn read(path: &Path) -> Result<Figures, Error> {
    let bytes = input::bytes(path)?;
    let wrong =
        |line: usize, message: String| Error::File { file: path.display().to_string(), line, message };
    let mut found = Found::default();
    for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let text = line.strip_suffix(b"\r").unwrap_or(line);
        if text.is_empty() || text.starts_with(b"\"StartTimestamp\"") {
            continue;
        }
        // The parser wants whole lines, and its errors do not say which one they are in.
        let whole = [text, b"\n"].concat();
        for entry in IntervalLogIterator::new(&whole) {
            let entry =
                entry.map_err(|_| wrong(index + 1, "no line of an HdrHistogram interval log".into()))?;
            found.take(&entry).map_err(|message| wrong(index + 1, message))?;
        }
    }
    if found.commands.is_empty() {
        return Err(wrong(1, "there is no histogram in this log".into()));
    }
    let name = path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
    Ok(found.figures(name))
}

/// What was found in a log so far.
#[derive(Default)]
struct Found {
    commands: BTreeMap<String, CommandTally>,
    /// By the millisecond in which they begin: their length in milliseconds and what was counted.
    intervals: BTreeMap<u64, (u64, CommandTally)>,
    started: f64,
}

impl Found {
    fn take(&mut self, entry: &LogEntry<'_>) -> Result<(), String> {
        let interval = match entry {
            LogEntry::StartTime(time) => {
                self.started = time.as_secs_f64();
                return Ok(());
            }
            LogEntry::BaseTime(_) => return Ok(()),
            LogEntry::Interval(interval) => interval,
        };
        let latency = decode(interval.encoded_histogram())?;
        let counted = CommandTally { latency, ..CommandTally::new() };
        let name = interval.tag().map_or("all", |tag| tag.as_str()).to_owned();
        self.commands.entry(name).or_default().add(&counted);
        let start = interval.start_timestamp().as_millis() as u64;
        let length = interval.duration().as_millis() as u64;
        let (longest, sum) = self.intervals.entry(start).or_default();
        *longest = length.max(*longest);
        sum.add(&counted);
        Ok(())
    }

    fn figures(self, name: String) -> Figures {
        let first = self.intervals.keys().next().copied().unwrap_or(0);
        let end = self.intervals.iter().map(|(start, (length, _))| start + length).max().unwrap_or(0);
        // Rounds of part seconds leave gaps.
        let counted: u64 = self.intervals.values().map(|(length, _)| length).sum();
        let elapsed = (counted.min(end - first) as f64 / 1e3).max(1e-3);
        let mut total = CommandTally::new();
        self.commands.values().for_each(|command| total.add(command));
        // What was counted in each, and how many milliseconds it was long.
        let mut seconds: BTreeMap<u64, (Tally, u64)> = BTreeMap::new();
        for (start, (length, counted)) in &self.intervals {
            // Times relative to a base stay; times since 1970 begin with the first one.
            let start = if *start > 1_000_000_000_000 { start - first } else { *start };
            let (tally, long) = seconds.entry(start / 1000).or_insert_with(|| (Tally::new(1), 0));
            tally.commands[0].add(counted);
            *long += length;
            tally.cut = if *long < 1000 { *long * 1_000_000 } else { 0 };
        }
        Figures {
            workload: name,
            elapsed_s: elapsed,
            commands: self
                .commands
                .iter()
                .map(|(name, tally)| CommandFigures::new(name, tally, elapsed))
                .collect(),
            total: CommandFigures::new("all", &total, elapsed),
            curve: curve(&total.latency),
            seconds: seconds.iter().map(|(second, (counted, _))| Second::of(*second, counted)).collect(),
            origin: Origin { started_s: self.started as u64, ..Origin::default() },
            ..Figures::default()
        }
    }
}

fn decode(encoded: &str) -> Result<Histogram<u64>, String> {
    let bytes = STANDARD.decode(encoded).map_err(|error| format!("the histogram is no base64: {error}"))?;
    let read: Histogram<u64> = Deserializer::new()
        .deserialize(&mut io::Cursor::new(bytes))
        .map_err(|error| format!("the histogram cannot be read: {error}"))?;
    let mut latency = crate::tally::histogram();
    // Bounds of other programs' histograms differ from ours.
    for value in read.iter_recorded() {
        latency.saturating_record_n(value.value_iterated_to(), value.count_at_value());
    }
    Ok(latency)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("shoal-loadtest-{name}-{}.hlog", std::process::id()))
    }

    fn counted(latencies: [&[u64]; 2]) -> Tally {
        let mut tally = Tally::new(2);
        for (command, latencies) in tally.commands.iter_mut().zip(latencies) {
            latencies.iter().for_each(|latency| command.latency.saturating_record(*latency));
        }
        tally
    }

    #[test]
    fn what_is_written_is_read_back() {
        let path = file("round-trip");
        let mut log = Log::create(&path, &["GET".into(), "SET with, space".into()]).unwrap();
        log.second(0, &counted([&[100_000, 200_000, 5_000_000], &[300_000]])).unwrap();
        log.second(1, &counted([&[], &[]])).unwrap();
        log.second(2, &Tally { cut: 250_000_000, ..counted([&[400_000], &[]]) }).unwrap();
        log.next_run();
        log.second(1, &counted([&[], &[3_600_000_000_000]])).unwrap();
        log.finish().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let tags: Vec<&str> = text
            .lines()
            .filter(|line| line.starts_with("Tag="))
            .map(|line| &line[..line.len().min(30)])
            .collect();
        assert_eq!(tags.len(), 5);
        assert!(tags[0].starts_with("Tag=GET,0.000,1.000,") && tags[3].starts_with("Tag=GET,2.000,0.250,"));
        assert!(tags[4].starts_with("Tag=SET_with__space,4.000,"));

        let figures = read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let answered: Vec<(&str, u64)> =
            figures.commands.iter().map(|command| (command.command.as_str(), command.answered)).collect();
        assert_eq!(answered, [("GET", 4), ("SET_with__space", 2)]);
        let seconds: Vec<(u64, u64)> = figures.seconds.iter().map(|s| (s.second, s.answered)).collect();
        assert_eq!(seconds, [(0, 4), (1, 0), (2, 1), (4, 1)]);
        assert_eq!((figures.seconds[1].length_s, figures.seconds[2].length_s), (1.0, 0.25));
        let near = |value: f64, wanted: f64| (value / wanted - 1.0).abs() < 0.001;
        assert!(near(figures.commands[0].max_us, 5000.0), "{}", figures.commands[0].max_us);
        assert!(near(figures.commands[0].p50_us, 200.0) && near(figures.total.max_us, 3.6e9));
        // The second 3 was never told of.
        assert!((figures.elapsed_s - 3.25).abs() < 1e-9, "{}", figures.elapsed_s);
    }

    #[test]
    fn mistakes_are_told_with_their_line() {
        for (text, wanted) in [
            ("#[comment]\nTag=a,0.1,1.0,2.0,!!\n", ":2: the histogram is no base64"),
            ("Tag=a,0.1,1.0,2.0,AAAA\n", ":1: the histogram cannot be read"),
            ("#[comment]\n\nnonsense\n", ":3: no line of an HdrHistogram"),
            ("#[comment]\n", "there is no histogram"),
        ] {
            let path = file("mistake");
            std::fs::write(&path, text).unwrap();
            let error = read(&path).unwrap_err().to_string();
            std::fs::remove_file(&path).unwrap();
            assert!(error.contains(wanted), "{error}");
        }
    }
}
