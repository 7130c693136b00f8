//! How many clients the limit of open files (`ulimit -n`) leaves room for.
//!
//! A process that has no descriptor left can accept nobody: new clients hang, and so do health checks, metrics and the other
//! nodes. So there are never more clients than leave room for everything else.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What is open besides clients: listeners, standard streams, gossip, connections to other nodes, scrapes.
const OTHERS: u64 = 96;

/// The share of the process's open files that one server's clients may have.
#[derive(Debug, Clone, Copy)]
pub struct OpenFiles {
    reserved: u64,
    shares: u64,
}

impl OpenFiles {
    /// For a process in which so many servers have clients, whose threads need so many files besides.
    pub fn new(of_threads: usize, shares: usize) -> Self {
        let shares = shares.max(1) as u64;
        Self { reserved: (OTHERS + of_threads as u64) * shares, shares }
    }

    /// As many of `wanted` clients as there may be, but one at least: raises the soft limit as far as is needed and allowed.
    pub fn fit(self, wanted: usize) -> usize {
        let needed = (wanted as u64).saturating_mul(self.shares).saturating_add(self.reserved);
        self.clients(raise(needed)).map_or(wanted, |room| room.min(wanted))
    }

    /// How many clients each share has with so many open files; `None` if there is no limit.
    fn clients(self, limit: Option<u64>) -> Option<usize> {
        let room = limit?.saturating_sub(self.reserved) / self.shares;
        Some(usize::try_from(room).unwrap_or(usize::MAX).max(1))
    }
}

/// Raises the soft limit to `needed`, or to what is possible; the limit in force then, if there is one.
fn raise(needed: u64) -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let soft = current?;
    let wanted = maximum.map_or(needed, |maximum| needed.min(maximum));
    if wanted > soft {
        // A refusal leaves the old limit in force, which is read below.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum });
    }
    getrlimit(Resource::Nofile).current
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_keep_their_files() {
        let files = OpenFiles::new(8, 1);
        assert_eq!(files.clients(None), None);
        assert_eq!(files.clients(Some(1024)), Some(1024 - 104));
        assert_eq!(files.clients(Some(10)), Some(1));
        assert_eq!(OpenFiles::new(8, 4).clients(Some(1024)), Some((1024 - 416) / 4));
    }

    #[test]
    fn the_limit_is_raised_no_further_than_needed() {
        let before = getrlimit(Resource::Nofile).current;
        assert_eq!(OpenFiles::new(4, 1).fit(1), 1);
        assert_eq!(getrlimit(Resource::Nofile).current, before);
    }
}
