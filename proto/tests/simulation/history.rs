//! What clients saw, and whether one register per key could have answered so.
//!
//! Every write makes a version of its own, also removals, and also the loss of a slot, which is one write of nothing
//! at the moment when the slot is made anew. So each read names its write, and the test of Gibbons and Korach ("Testing
//! shared memories", SIAM J. Comput. 26, 1997) is exact: the zone of a version reaches from the first end to the last
//! start of its operations; two that run forwards must not overlap, and none that runs backwards may lie in one.

use std::collections::BTreeMap;

/// A moment or a length of time, in microseconds.
pub(crate) type Time = u64;

/// The end of an operation that was never answered: it may have an effect at any later time, or none.
pub(crate) const NEVER: Time = Time::MAX;

/// The version of a key that was never written.
pub(crate) const NOTHING: u64 = 0;

/// A read or a write of one version of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Access {
    pub(crate) key: u32,
    pub(crate) start: Time,
    pub(crate) end: Time,
    pub(crate) version: u64,
    pub(crate) write: bool,
}

#[derive(Debug, Clone, Copy)]
struct Zone {
    version: u64,
    /// The first end.
    from: Time,
    /// The last start.
    to: Time,
}

/// What is wrong with the history, if anything is.
pub(crate) fn check(accesses: &[Access]) -> Result<(), String> {
    let mut keys: BTreeMap<u32, Vec<Access>> = BTreeMap::new();
    for access in accesses {
        keys.entry(access.key).or_default().push(*access);
    }
    keys.into_iter().try_for_each(|(key, accesses)| {
        register(&accesses).map_err(|wrong| format!("key {key}: {wrong}\n{}", listing(&accesses)))
    })
}

fn listing(accesses: &[Access]) -> String {
    let mut sorted = accesses.to_vec();
    sorted.sort_by_key(|a| a.start);
    let line = |a: &Access| {
        let end = if a.end == NEVER { "never".to_owned() } else { a.end.to_string() };
        format!("  {:>10} .. {end:>10}  {} {}\n", a.start, if a.write { "write" } else { "read " }, a.version)
    };
    sorted.iter().map(line).collect()
}

/// One key's history. O(n log n).
fn register(accesses: &[Access]) -> Result<(), String> {
    let mut by_version: BTreeMap<u64, Vec<&Access>> = BTreeMap::new();
    for access in accesses {
        by_version.entry(access.version).or_default().push(access);
    }
    let (mut forward, mut backward) = (Vec::new(), Vec::new());
    for (version, group) in by_version {
        // The first version was there before everything.
        let write = match group.iter().find(|a| a.write) {
            Some(write) => **write,
            None if version == NOTHING => Access { key: 0, start: 0, end: 0, version, write: true },
            None => return Err(format!("version {version} was read, but nobody wrote it")),
        };
        if write.end == NEVER && group.len() == 1 {
            continue;
        }
        if let Some(early) = group.iter().find(|a| a.end < write.start) {
            return Err(format!("version {version} was read at {} before it was written", early.end));
        }
        let from = group.iter().map(|a| a.end).min().unwrap_or(0).min(write.end);
        let to = group.iter().map(|a| a.start).max().unwrap_or(0).max(write.start);
        let zone = Zone { version, from, to };
        if from < to { forward.push(zone) } else { backward.push(zone) }
    }
    forward.sort_by_key(|zone| zone.from);
    for pair in forward.windows(2) {
        if pair[1].from < pair[0].to {
            return Err(format!("versions {} and {} were both there", pair[0].version, pair[1].version));
        }
    }
    for zone in backward {
        let (start, end) = (zone.to, zone.from);
        let at = forward.partition_point(|held| held.from < start);
        if let Some(held) = at.checked_sub(1).map(|i| forward[i])
            && end < held.to
        {
            return Err(format!("version {} came while {} was there", zone.version, held.version));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(version: u64, write: bool, start: Time, end: Time) -> Access {
        Access { key: 1, start, end, version, write }
    }

    #[test]
    fn what_one_register_could_have_answered_is_accepted() {
        let good = [
            access(1, true, 10, 20),
            access(NOTHING, false, 5, 12),
            access(2, true, 15, 40),
            access(1, false, 22, 30),
            access(2, false, 25, 35),
            access(3, true, 50, NEVER),
            access(3, false, 60, 70),
            access(4, true, 50, NEVER),
        ];
        assert_eq!(register(&good), Ok(()));
    }

    #[test]
    fn what_no_register_could_have_answered_is_found() {
        let stale = [access(1, true, 10, 20), access(2, true, 30, 40), access(1, false, 50, 60)];
        assert!(register(&stale).unwrap_err().contains("came while"));
        let back = [
            access(1, true, 10, 20),
            access(2, true, 15, 25),
            access(1, false, 30, 40),
            access(2, false, 41, 50),
            access(1, false, 51, 60),
        ];
        assert!(register(&back).unwrap_err().contains("both there"));
        let lost = [access(1, true, 10, 20), access(NOTHING, false, 30, 40)];
        assert!(register(&lost).is_err());
        let unknown = [access(7, false, 30, 40)];
        assert!(register(&unknown).unwrap_err().contains("nobody wrote"));
        let early = [access(1, false, 5, 6), access(1, true, 10, 20)];
        assert!(register(&early).unwrap_err().contains("before it was written"));
        let revived = [access(1, true, 10, 20), access(9, true, 30, 30), access(1, false, 40, 50)];
        assert!(register(&revived).unwrap_err().contains("came while"));
    }
}
