//! The operating system's limit of open files, which ten thousand connections need raised.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::error::Error;

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
    Err(Error::Usage(format!(
        "{connections} connections need {wanted} open files and the limit is {}: raise it with 'ulimit -n {wanted}' or \
         ask for fewer connections",
        limit.maximum.unwrap_or(now)
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_allowed_is_taken_and_no_more() {
        want_files(1).unwrap();
        let error = want_files(usize::MAX >> 8).unwrap_err().to_string();
        assert!(error.contains("open files and the limit is"), "{error}");
    }
}
