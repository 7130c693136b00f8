//! The operating system's limit of open files, which ten thousand connections need raised.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::error::Error;
use crate::report::number::{count, counted};

/// Files open beside connections, with room for connections to nodes that join a cluster during a run.
const OTHERS: u64 = 100;

/// Makes sure that so many connections can be open, raising the limit as far as this process may.
pub fn want_files(connections: usize) -> Result<(), Error> {
    let wanted = connections as u64 + OTHERS;
    let limit = getrlimit(Resource::Nofile);
    // None stands for no limit.
    let Some(now) = limit.current.filter(|now| *now < wanted) else { return Ok(()) };
    let raised = Rlimit { current: Some(wanted), maximum: limit.maximum };
    if limit.maximum.is_none_or(|most| most >= wanted) && setrlimit(Resource::Nofile, raised).is_ok() {
        return Ok(());
    }
    // A privileged process may go beyond.
    if setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: Some(wanted) }).is_ok() {
        return Ok(());
    }
    Err(Error::Usage(refusal(connections, wanted, limit.maximum.unwrap_or(now))))
}

fn refusal(connections: usize, wanted: u64, most: u64) -> String {
    let (need, fewer) = match connections {
        1 => ("needs", ""),
        _ => ("need", " or ask for fewer connections"),
    };
    format!(
        "{} {need} {} and the limit is {}: raise it with 'ulimit -n {wanted}'{fewer}",
        counted(connections as u64, "connection", "connections"),
        counted(wanted, "open file", "open files"),
        count(most)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_allowed_is_taken_and_no_more() {
        want_files(1).unwrap();
        let error = want_files(usize::MAX >> 8).unwrap_err().to_string();
        assert!(error.contains("open files and the limit is"), "{error}");
        assert_eq!(
            refusal(1, 101, 1),
            "1 connection needs 101 open files and the limit is 1: raise it with 'ulimit -n 101'"
        );
        assert_eq!(
            refusal(10_000, 10_100, 1024),
            "10,000 connections need 10,100 open files and the limit is 1,024: raise it with 'ulimit -n 10100' or ask for \
             fewer connections"
        );
    }
}
