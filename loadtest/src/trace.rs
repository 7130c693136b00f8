//! Recorded accesses: the binary `.rtr` format and CSV. Which one a file has is said, told by its name's end, or by its
//! first bytes.
//!
//! `.rtr` is a row of 16-byte little-endian records: the key (64 bits), the size of the value (32 bits), the time
//! to live in seconds (32 bits, 0 for none). Each is a look-up that stores the value when it is missing.
//!
//! CSV has a line `key,op,size,ttl,time` per access, all but the key optional; `op` is `get` (a look-up that stores
//! on a miss, the default), `set` or `del`; keys are any text without commas and are told apart by a hash; a value has
//! 100 bytes where no `size` is given and stays where `ttl` is 0 or not given; `time` is in seconds from any beginning.
//! Quotes are not understood. A first line with `key` among its fields says which columns there are and in which
//! order. Empty lines and lines that begin with `#` are left out, and so is the byte order mark of an editor. Without
//! such a first line keys are words: prose, TOML and other formats than CSV are refused and not taken for keys.

use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use crate::error::Error;
use crate::input;
use crate::random::mix;

/// One access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// The key.
    pub key: u64,
    /// When it was made, in nanoseconds after the first one; 0 if the trace does not tell.
    pub at: u64,
    /// The size of its value in bytes.
    pub size: u32,
    /// Its time to live in seconds; 0 for none.
    pub ttl: u32,
    /// What is done with it.
    pub kind: Kind,
}

/// What an access does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Looks up, and stores when it is missing.
    Get,
    /// Stores.
    Set,
    /// Removes.
    Delete,
}

/// A whole recording.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// The accesses in their order.
    pub accesses: Vec<Access>,
    /// True if it says when they were made.
    pub timed: bool,
}

/// The size of a value whose trace does not tell.
const USUAL_SIZE: u32 = 100;

/// The largest value that is replayed.
pub const MAX_SIZE: u32 = 64 << 20;

/// The longest recording in seconds: ten years. Where times are larger their unit is another one.
const MAX_TIME: f64 = 10.0 * 365.25 * 86_400.0;

/// The most accesses of a trace: they are all in memory while it is replayed.
const MOST: u64 = 1 << 28;

/// The longest line of CSV in bytes.
const MAX_LINE: u64 = 64 << 10;

/// How accesses are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Binary records.
    Rtr,
    /// Lines of text.
    Csv,
}

impl Format {
    /// What the end of a name says.
    fn named(path: &Path) -> Option<Self> {
        let end = path.extension()?.to_str()?.to_ascii_lowercase();
        [("rtr", Self::Rtr), ("csv", Self::Csv)]
            .into_iter()
            .find(|(name, _)| *name == end)
            .map(|(_, format)| format)
    }

    /// What a trace is that begins so. The last byte of a record's size is a control character, and none that is in a
    /// text, since sizes are bounded.
    fn beginning(head: &[u8]) -> Self {
        const MOST: u8 = (MAX_SIZE >> 24) as u8;
        if head.get(SIZE_END).is_some_and(|byte| *byte <= MOST) { Self::Rtr } else { Self::Csv }
    }
}

/// Where the last byte of a record's size is.
const SIZE_END: usize = 11;

/// Why a trace cannot be read.
#[derive(Debug)]
enum Fault {
    Reading(io::Error),
    /// What is wrong, and in which line if there are lines.
    Content(Option<usize>, String),
}

/// Reads a trace, or so many accesses from its start and no more of it. Where no format is given the name's end tells it,
/// and where that does not, as of a pipe, its first bytes.
pub fn read(path: &Path, format: Option<Format>, most: Option<u64>) -> Result<Trace, Error> {
    let failed = |source| Error::Path { path: path.to_path_buf(), source };
    let file = path.display().to_string();
    let mut input = BufReader::with_capacity(1 << 20, input::open(path)?);
    // One more than is allowed shows that there are more.
    let read = trace_from(&mut input, format.or_else(|| Format::named(path)), most.unwrap_or(MOST + 1));
    let trace = read.map_err(|fault| match fault {
        Fault::Reading(source) => failed(source),
        Fault::Content(None, message) => Error::Usage(format!("{file}: {message}")),
        Fault::Content(Some(line), message) => Error::File { file: file.clone(), line, message },
    })?;
    if trace.accesses.is_empty() {
        return Err(Error::Usage(format!("{file}: there is no access in it")));
    }
    if trace.accesses.len() as u64 > MOST {
        return Err(Error::Usage(format!(
            "{file}: there are more than {MOST} accesses; give a part's with -n"
        )));
    }
    Ok(trace)
}

/// Reads a trace of this format, or of that which its first bytes tell.
fn trace_from(input: &mut impl BufRead, format: Option<Format>, most: u64) -> Result<Trace, Fault> {
    let mut head = Vec::new();
    let format = match format {
        Some(format) => format,
        None => {
            input.by_ref().take(SIZE_END as u64 + 1).read_to_end(&mut head).map_err(Fault::Reading)?;
            Format::beginning(&head)
        }
    };
    let mut input = head.as_slice().chain(input);
    match format {
        Format::Rtr => records_from(&mut input, most).map(|accesses| Trace { accesses, timed: false }),
        Format::Csv => lines_from(&mut input, most),
    }
}

/// Parses `.rtr` records.
pub fn records(bytes: &[u8]) -> Result<Vec<Access>, String> {
    records_from(&mut &*bytes, u64::MAX).map_err(|fault| match fault {
        Fault::Content(_, message) => message,
        Fault::Reading(error) => error.to_string(),
    })
}

fn records_from(input: &mut impl BufRead, most: u64) -> Result<Vec<Access>, Fault> {
    let mut accesses = Vec::new();
    let wrong = |message| Err(Fault::Content(None, message));
    while (accesses.len() as u64) < most {
        let number = accesses.len() + 1;
        let mut record = Vec::with_capacity(16);
        input.by_ref().take(16).read_to_end(&mut record).map_err(Fault::Reading)?;
        match record.as_slice().try_into() {
            Ok(record) => accesses.push(access(u128::from_le_bytes(record))),
            Err(_) if record.is_empty() => break,
            Err(_) => {
                return wrong(format!("record {number} is cut off after {} of its 16 bytes", record.len()));
            }
        }
        let size = accesses[number - 1].size;
        if size > MAX_SIZE {
            return wrong(format!("record {number} has a value of {size} bytes, more than {MAX_SIZE}"));
        }
    }
    Ok(accesses)
}

/// The access of a record read as one little-endian number.
fn access(record: u128) -> Access {
    let (size, ttl) = ((record >> 64) as u32, (record >> 96) as u32);
    Access { key: record as u64, at: 0, size, ttl, kind: Kind::Get }
}

/// What to do where text is expected and is not there.
const BINARY: &str = "binary traces end in .rtr, or need --format rtr";

/// What some editors put before a text.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Parses CSV; an error comes with its line.
pub fn lines(bytes: &[u8]) -> Result<Trace, (usize, String)> {
    lines_from(&mut &*bytes, u64::MAX).map_err(|fault| match fault {
        Fault::Content(line, message) => (line.unwrap_or(1), message),
        Fault::Reading(error) => (1, error.to_string()),
    })
}

fn lines_from(input: &mut impl BufRead, most: u64) -> Result<Trace, Fault> {
    let mut columns = None;
    let mut trace = Trace::default();
    let mut times = Times::default();
    let mut bytes = Vec::new();
    for number in 1.. {
        let wrong = |message: String| Fault::Content(Some(number), message);
        bytes.clear();
        input.by_ref().take(MAX_LINE).read_until(b'\n', &mut bytes).map_err(Fault::Reading)?;
        if bytes.is_empty() {
            break;
        }
        if bytes.len() as u64 == MAX_LINE && !bytes.ends_with(b"\n") {
            return Err(wrong(format!("the line is longer than {MAX_LINE} bytes; {BINARY}")));
        }
        let line = if number == 1 { bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&bytes) } else { &bytes };
        let line = std::str::from_utf8(line);
        let line = line.map_err(|_| wrong(format!("the line is not UTF-8 text; {BINARY}")))?;
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let columns = match &columns {
            Some(columns) => columns,
            None => match Columns::named(line).map_err(wrong)? {
                Some(named) => {
                    columns = Some(named);
                    continue;
                }
                None => &*columns.insert(Columns::USUAL),
            },
        };
        let fields: Vec<&str> = line.split(',').map(str::trim).collect();
        let mut access = columns.access(&fields).map_err(wrong)?;
        access.at = times.next(columns.field(&fields, columns.time)).map_err(wrong)?;
        trace.accesses.push(access);
        if trace.accesses.len() as u64 >= most {
            break;
        }
    }
    trace.timed = times.first.is_some();
    Ok(trace)
}

/// Which field is in which column.
struct Columns {
    /// A first line has named them, so that keys may be anything.
    named: bool,
    count: usize,
    key: usize,
    op: Option<usize>,
    size: Option<usize>,
    ttl: Option<usize>,
    time: Option<usize>,
}

impl Columns {
    const USUAL: Self =
        Self { named: false, count: 5, key: 0, op: Some(1), size: Some(2), ttl: Some(3), time: Some(4) };

    /// The columns that a first line names, if it does.
    fn named(line: &str) -> Result<Option<Self>, String> {
        let names: Vec<String> = line.split(',').map(|name| name.trim().to_ascii_lowercase()).collect();
        let place = |wanted: &str| names.iter().position(|name| name == wanted);
        let Some(key) = place("key") else { return Ok(None) };
        let known = |name: &String| ["key", "op", "size", "ttl", "time"].contains(&name.as_str());
        if let Some(other) = names.iter().find(|name| !known(name)) {
            return Err(format!("unknown column '{other}': use key, op, size, ttl and time"));
        }
        if let Some(index) = (0..names.len()).find(|index| names[..*index].contains(&names[*index])) {
            return Err(format!("the column '{}' is there twice", names[index]));
        }
        let (op, size, ttl, time) = (place("op"), place("size"), place("ttl"), place("time"));
        Ok(Some(Self { named: true, count: names.len(), key, op, size, ttl, time }))
    }

    /// The text in a column, unless it is missing or empty.
    fn field<'a>(&self, fields: &[&'a str], column: Option<usize>) -> Option<&'a str> {
        fields.get(column?).copied().filter(|text| !text.is_empty())
    }

    fn access(&self, fields: &[&str]) -> Result<Access, String> {
        if let Some(field) = fields.iter().find(|field| field.starts_with('"')) {
            let shown: String = field.chars().take(SHOWN).flat_map(char::escape_debug).collect();
            return Err(format!(
                "the field {shown} begins with a quote: quotes are not understood, leave them and commas in keys out"
            ));
        }
        if fields.len() > self.count {
            return Err(format!("{} fields, but there are {} columns", fields.len(), self.count));
        }
        let kind = match self.field(fields, self.op).map(str::to_ascii_lowercase).as_deref() {
            None | Some("get") => Kind::Get,
            Some("set") => Kind::Set,
            Some("del" | "delete") => Kind::Delete,
            Some(other) => return Err(format!("unknown op '{other}': use get, set or del")),
        };
        let number = |column, what: &str, default: u32| match self.field(fields, column) {
            None => Ok(default),
            Some(text) => text.parse::<u32>().map_err(|_| format!("the {what} '{text}' is no number")),
        };
        let key = self.field(fields, Some(self.key)).ok_or("the key is missing")?;
        if !self.named {
            is_word(key, fields.len() == 1)?;
        }
        let size = number(self.size, "size", USUAL_SIZE)?;
        if size > MAX_SIZE {
            return Err(format!("the size {size} is more than {MAX_SIZE}"));
        }
        Ok(Access { key: key_number(key), at: 0, size, ttl: number(self.ttl, "ttl", 0)?, kind })
    }
}

/// The most characters of a field that are told.
const SHOWN: usize = 40;

/// Refuses a key that is more likely a line of another format; `alone` says that the line has no other field.
fn is_word(key: &str, alone: bool) -> Result<(), String> {
    let shown: String = key.chars().take(SHOWN).flat_map(char::escape_default).collect();
    if alone && key.contains([';', '\t', '|']) {
        return Err(format!("'{shown}' has no comma in it: fields are separated by commas"));
    }
    if let Some(other) = key.chars().find(|c| c.is_whitespace() || c.is_control()) {
        let what = if other == ' ' { "a space".to_owned() } else { format!("'{}'", other.escape_default()) };
        return Err(format!(
            "the key '{shown}' has {what} in it: is this a trace? Its lines are key,op,size,ttl,time, or a first \
             line names the columns, and keys may be anything then"
        ));
    }
    Ok(())
}

/// The times of a trace so far.
#[derive(Default)]
struct Times {
    any: bool,
    first: Option<f64>,
    last: f64,
}

impl Times {
    /// Nanoseconds since the first access. Either all accesses have a time or none, and times never go back.
    fn next(&mut self, text: Option<&str>) -> Result<u64, String> {
        let is_first = !std::mem::replace(&mut self.any, true);
        let Some(text) = text else {
            return if self.first.is_none() { Ok(0) } else { Err("the time is missing".into()) };
        };
        let time = text.parse::<f64>().ok().filter(|time| time.is_finite());
        let time = time.ok_or_else(|| format!("the time '{text}' is no number of seconds"))?;
        if is_first {
            (self.first, self.last) = (Some(time), time);
        }
        let first = self.first.ok_or("only some lines have a time")?;
        if time < self.last {
            return Err(format!("the time {text} is before that of the line above"));
        }
        if time - first > MAX_TIME {
            return Err(format!(
                "the time {text} is more than ten years after the first one; times are in seconds"
            ));
        }
        self.last = time;
        Ok(((time - first) * 1e9) as u64)
    }
}

/// A number stands for itself, another text for its hash (FNV-1a, mixed).
fn key_number(text: &str) -> u64 {
    text.parse().unwrap_or_else(|_| {
        let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        mix(hash)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn records_are_read() {
        let mut bytes = 7u64.to_le_bytes().to_vec();
        bytes.extend_from_slice(&100u32.to_le_bytes());
        bytes.extend_from_slice(&60u32.to_le_bytes());
        assert_eq!(records(&bytes), Ok(vec![Access { key: 7, at: 0, size: 100, ttl: 60, kind: Kind::Get }]));
        bytes.push(0);
        let error = records(&bytes).unwrap_err();
        assert_eq!(error, "record 2 is cut off after 1 of its 16 bytes");
        assert_eq!(records(&[255; 16]).unwrap_err().split(' ').take(2).collect::<String>(), "record1");
    }

    #[test]
    fn the_format_is_said_or_told_by_the_name_or_by_the_first_bytes() {
        let named = |name: &str| Format::named(Path::new(name));
        assert_eq!((named("a.rtr"), named("b/c.RTR")), (Some(Format::Rtr), Some(Format::Rtr)));
        assert_eq!((named("a.csv"), named("/dev/stdin"), named("rtr")), (Some(Format::Csv), None, None));
        // Keys, sizes and times to live that all look like text, but for the size's last byte.
        let record = |size: u32| [&b"key,key,"[..], &size.to_le_bytes(), b"1234"].concat();
        for size in [0, 0x202c31, MAX_SIZE] {
            let read = trace_from(&mut record(size).as_slice(), None, 9).unwrap();
            assert_eq!((read.accesses.len(), read.accesses[0].size), (1, size));
        }
        for text in ["7\n", "7,get,100,60\n", "key,size\n7,100\n", "a_long_name_of_a_key\n"] {
            let read = trace_from(&mut text.as_bytes(), None, 9).unwrap();
            assert_eq!((read.accesses.len(), &read), (1, &lines(text.as_bytes()).unwrap()), "{text}");
        }
        assert_eq!(trace_from(&mut &b""[..], None, 9).unwrap().accesses, []);
        // What is said is believed.
        let text = b"0123456789abcdef";
        assert_eq!(trace_from(&mut &text[..], Some(Format::Csv), 9).unwrap().accesses.len(), 1);
        assert!(trace_from(&mut &text[..], Some(Format::Rtr), 9).is_err(), "the size is too large");
    }

    #[test]
    fn lines_are_read() {
        let read = lines(b"key,op,size,ttl\n5,get,10,20\r\n\n6,SET\n7,del,,\nabc\n").unwrap();
        assert!(!read.timed);
        let read = read.accesses;
        assert_eq!(read[0], Access { key: 5, at: 0, size: 10, ttl: 20, kind: Kind::Get });
        assert_eq!((read[1].kind, read[2].kind, read[3].kind), (Kind::Set, Kind::Delete, Kind::Get));
        assert_eq!(read[3].size, USUAL_SIZE);
        assert_ne!(read[3].key, lines(b"abd").unwrap().accesses[0].key);
    }

    #[test]
    fn columns_may_be_named() {
        let read = lines(b"Time, key, size\n1000.5,a,7\n1000.5,b,8\n1002,a,7\n").unwrap();
        assert!(read.timed);
        let times: Vec<u64> = read.accesses.iter().map(|access| access.at).collect();
        assert_eq!(times, [0, 0, 1_500_000_000]);
        assert_eq!(read.accesses[1].size, 8);
        let usual = lines(b"1,get,5,,10\n2,get,5,,10.25\n").unwrap();
        assert_eq!((usual.timed, usual.accesses[1].at), (true, 250_000_000));
    }

    #[test]
    fn errors_name_the_line() {
        for (text, line, message) in [
            (&b"1\n2,put\n"[..], 2, "unknown op 'put': use get, set or del"),
            (b"1,get,x\n", 1, "the size 'x' is no number"),
            (b"1\n2,get,5,-1\n", 2, "the ttl '-1' is no number"),
            (b"1,get,99999999999\n", 1, "the size '99999999999' is no number"),
            (b"1,get,67108865\n", 1, "the size 67108865 is more than 67108864"),
            (b"1,get,1,1,1,1", 1, "6 fields, but there are 5 columns"),
            (b"key,size\n1,5\n\n1,5,5", 4, "3 fields, but there are 2 columns"),
            (b"key,sise\n", 1, "unknown column 'sise': use key, op, size, ttl and time"),
            (b"key,key\n", 1, "the column 'key' is there twice"),
            (b"1\n\xff\n", 2, "the line is not UTF-8 text; binary traces end in .rtr, or need --format rtr"),
            (b"1\n,get\n", 2, "the key is missing"),
            (b"key,time\n1,5\n1,4\n", 3, "the time 4 is before that of the line above"),
            (b"key,time\n1,5\n1,\n", 3, "the time is missing"),
            (b"key,time\n1,\n1,5\n", 3, "only some lines have a time"),
            (b"key,time\n1,soon\n", 2, "the time 'soon' is no number of seconds"),
            (b"key,time\n1,inf\n", 2, "the time 'inf' is no number of seconds"),
            (
                b"key,time\n1,5\n1,1e301\n",
                3,
                "the time 1e301 is more than ten years after the first one; times are in seconds",
            ),
            (b"a;get;10\n", 1, "'a;get;10' has no comma in it: fields are separated by commas"),
            (
                b"\"a,b\",get\n",
                1,
                "the field \\\"a begins with a quote: quotes are not understood, leave them and commas in keys out",
            ),
            (b"key;op\n", 1, "'key;op' has no comma in it: fields are separated by commas"),
            (b"1\n2\tget\n", 2, "'2\\tget' has no comma in it: fields are separated by commas"),
        ] {
            assert_eq!(lines(text).unwrap_err(), (line, message.to_owned()), "{}", text.escape_ascii());
        }
    }

    #[test]
    fn no_more_is_read_than_wanted() {
        // What follows would be refused.
        let mut text = &b"key,size\n1,5\n2,6\n3,x\n"[..];
        assert_eq!(lines_from(&mut text, 2).unwrap().accesses.len(), 2);
        assert_eq!(text, b"3,x\n");
        let mut bytes = &[0; 40][..];
        assert_eq!(records_from(&mut bytes, 2).unwrap().len(), 2);
        assert_eq!(bytes.len(), 8);
        let (line, message) = lines(&[0; 200_000]).unwrap_err();
        assert!(line == 1 && message.starts_with("the line is longer than 65536 bytes"), "{message}");
    }

    #[test]
    fn other_texts_are_no_traces() {
        for text in ["about = \"A cache\"\n", "[keys]\ncount = 5\n", "Dear reader\n", "a\u{1}\n"] {
            let (line, message) = lines(text.as_bytes()).unwrap_err();
            assert_eq!(line, text.lines().count());
            assert!(message.contains("is this a trace? Its lines are key,op,size,ttl,time"), "{message}");
        }
        // Where a first line names columns, keys are anything.
        let read = lines(b"key,size\na b;c = d,5\n").unwrap();
        assert_eq!((read.accesses.len(), read.accesses[0].size), (1, 5));
        assert_eq!(lines(b"key\na;b\n").unwrap().accesses.len(), 1);
    }

    #[test]
    fn comments_and_what_editors_leave_are_no_accesses() {
        let read =
            lines(b"\xef\xbb\xbf\n# recorded on Monday\r\n\r\nsize,key\r\n7,a\n# more\n8,b\n").unwrap();
        let sizes: Vec<u32> = read.accesses.iter().map(|access| access.size).collect();
        assert_eq!(sizes, [7, 8]);
        assert_eq!(lines(b"\xef\xbb\xbfkey,size\n1,9\n").unwrap().accesses[0].size, 9);
        // Only the first line that is none of these names columns.
        assert_eq!(lines(b"1\nkey\n").unwrap().accesses.len(), 2);
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(text in "[a-z0-9,.\\n-]{0,60}", bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            for input in [text.as_bytes(), &bytes] {
                if let Err((line, message)) = lines(input) {
                    prop_assert!(line >= 1 && line <= input.split(|byte| *byte == b'\n').count());
                    prop_assert!(!message.contains('\n') && !message.is_empty());
                }
                let _ = records(input);
            }
        }
    }
}
