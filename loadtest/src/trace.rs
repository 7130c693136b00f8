//! Recorded accesses: the binary `.rtr` format and CSV.
//!
//! `.rtr` is a row of 16-byte little-endian records: the key (64 bits), the size of the value (32 bits), the time
//! to live in seconds (32 bits, 0 for none). Each is a look-up that stores the value when it is missing.
//!
//! CSV has a line `key,op,size,ttl` per access, the last three optional; `op` is `get` (a look-up that stores on a
//! miss, the default), `set` or `del`; keys are any text without commas and are told apart by a hash. A first line
//! that starts with `key` and empty lines are left out.

use std::path::Path;

use crate::error::Error;
use crate::random::mix;

/// One access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// The key.
    pub key: u64,
    /// What is done with it.
    pub kind: Kind,
    /// The size of its value in bytes.
    pub size: u32,
    /// Its time to live in seconds; 0 for none.
    pub ttl: u32,
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

/// The size of a value whose trace does not tell.
const USUAL_SIZE: u32 = 100;

/// Reads a trace; the name's end tells the format.
pub fn read(path: &Path) -> Result<Vec<Access>, Error> {
    let bytes = std::fs::read(path).map_err(|source| Error::Path { path: path.to_path_buf(), source })?;
    let parsed = match path.extension().and_then(|extension| extension.to_str()) {
        Some("rtr") => records(&bytes).map_err(|message| (1, message)),
        _ => lines(&bytes),
    };
    parsed.map_err(|(line, message)| Error::File { file: path.display().to_string(), line, message })
}

/// Parses `.rtr` records.
pub fn records(bytes: &[u8]) -> Result<Vec<Access>, String> {
    let (records, rest) = bytes.as_chunks::<16>();
    if !rest.is_empty() {
        return Err(format!("the file is no row of 16-byte records: {} bytes are left over", rest.len()));
    }
    Ok(records.iter().map(|record| access(u128::from_le_bytes(*record))).collect())
}

/// The access of a record read as one little-endian number.
fn access(record: u128) -> Access {
    Access { key: record as u64, kind: Kind::Get, size: (record >> 64) as u32, ttl: (record >> 96) as u32 }
}

/// Parses CSV; an error comes with its line.
pub fn lines(bytes: &[u8]) -> Result<Vec<Access>, (usize, String)> {
    let text = std::str::from_utf8(bytes).map_err(|_| (1, "the file is not text".to_owned()))?;
    let mut accesses = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || (index == 0 && line.starts_with("key")) {
            continue;
        }
        accesses.push(fields(line).map_err(|message| (index + 1, message))?);
    }
    Ok(accesses)
}

fn fields(line: &str) -> Result<Access, String> {
    let fields: Vec<&str> = line.split(',').map(str::trim).collect();
    if fields.len() > 4 {
        return Err(format!("{} fields, but key,op,size,ttl are 4", fields.len()));
    }
    let kind = match fields.get(1).map(|op| op.to_ascii_lowercase()).as_deref() {
        None | Some("" | "get") => Kind::Get,
        Some("set") => Kind::Set,
        Some("del" | "delete") => Kind::Delete,
        Some(other) => return Err(format!("unknown op '{other}': use get, set or del")),
    };
    let number = |index: usize, what: &str, default: u32| match fields.get(index) {
        None | Some(&"") => Ok(default),
        Some(text) => text.parse::<u32>().map_err(|_| format!("the {what} '{text}' is no number")),
    };
    Ok(Access { key: key(fields[0]), kind, size: number(2, "size", USUAL_SIZE)?, ttl: number(3, "ttl", 0)? })
}

/// A number stands for itself, another text for its hash (FNV-1a, mixed).
fn key(text: &str) -> u64 {
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

    #[test]
    fn records_are_read() {
        let mut bytes = 7u64.to_le_bytes().to_vec();
        bytes.extend_from_slice(&100u32.to_le_bytes());
        bytes.extend_from_slice(&60u32.to_le_bytes());
        let access = Access { key: 7, kind: Kind::Get, size: 100, ttl: 60 };
        assert_eq!(records(&bytes), Ok(vec![access]));
        bytes.push(0);
        assert!(records(&bytes).is_err());
    }

    #[test]
    fn lines_are_read() {
        let read = lines(b"key,op,size,ttl\n5,get,10,20\n\n6,SET\n7,del,,\nabc\n").unwrap();
        assert_eq!(read[0], Access { key: 5, kind: Kind::Get, size: 10, ttl: 20 });
        assert_eq!((read[1].kind, read[2].kind, read[3].kind), (Kind::Set, Kind::Delete, Kind::Get));
        assert_eq!(read[3].size, USUAL_SIZE);
        assert_ne!(read[3].key, lines(b"abd").unwrap()[0].key);
    }

    #[test]
    fn errors_name_the_line() {
        assert_eq!(lines(b"1\n2,put\n").unwrap_err().0, 2);
        assert_eq!(lines(b"1,get,x\n").unwrap_err(), (1, "the size 'x' is no number".to_owned()));
        assert!(lines(b"1,get,1,1,1").is_err());
        assert!(lines(b"\xff").is_err());
    }
}
