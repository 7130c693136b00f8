//! How much memory keys and values may take when the user says it as a share of what there is, or not at all.

use std::fs;

/// The share of a container's limit that keys and values take by default; the rest is for connections, replies
/// under way and the process itself.
const DEFAULT_PERCENT: u64 = 75;

/// Where the limit of a container is written: cgroup v2, v1.
const LIMITS: [&str; 2] = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];

/// A number above this is cgroup v1's way to say that there is no limit.
const NO_LIMIT: u64 = 1 << 60;

/// What there is to share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Available {
    /// The container's limit in bytes, if it has one.
    pub container: Option<u64>,
    /// The machine's memory in bytes, 0 if it is not known.
    pub machine: u64,
}

impl Available {
    /// What this process has.
    pub fn here() -> Self {
        let container = LIMITS.iter().find_map(|path| limit(&fs::read_to_string(path).ok()?));
        let machine = fs::read_to_string("/proc/meminfo").map_or(0, |text| total(&text));
        Self { container, machine }
    }

    fn most(self) -> u64 {
        self.container.filter(|limit| self.machine == 0 || *limit < self.machine).unwrap_or(self.machine)
    }

    /// The setting that `--maxmemory` stands for: a percentage is taken of what there is; without any, a container's limit
    /// leaves head-room, and elsewhere there is no limit. Anything else is returned as it is.
    ///
    /// # Errors
    /// A sentence, if it is no percentage from 1 to 100.
    pub fn maxmemory(self, given: Option<&str>) -> Result<String, String> {
        let Some(given) = given else {
            let limit = self.container.unwrap_or(0);
            return Ok((limit / 100 * DEFAULT_PERCENT).to_string());
        };
        let Some(percent) = given.strip_suffix('%') else { return Ok(given.to_owned()) };
        match percent.parse::<u64>() {
            Ok(percent @ 1..=100) if self.most() > 0 => Ok((self.most() / 100 * percent).to_string()),
            Ok(1..=100) => Err("the machine does not tell how much memory it has".to_owned()),
            _ => Err("a share of the memory is a whole number from 1% to 100%".to_owned()),
        }
    }
}

/// The limit in a cgroup's file.
fn limit(text: &str) -> Option<u64> {
    text.trim().parse().ok().filter(|limit| (1..NO_LIMIT).contains(limit))
}

/// The machine's memory in the text of `/proc/meminfo`.
fn total(text: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read() {
        assert_eq!(
            (limit("max\n"), limit("1048576\n"), limit("9223372036854771712\n")),
            (None, Some(1 << 20), None)
        );
        assert_eq!(total("MemTotal:       16 kB\nMemFree: 3 kB\n"), 16 << 10);
        assert_eq!(total("nothing"), 0);
    }

    #[test]
    fn shares_are_taken_of_what_there_is() {
        let container = Available { container: Some(1000), machine: 100_000 };
        let machine = Available { container: None, machine: 100_000 };
        assert_eq!(container.maxmemory(None).as_deref(), Ok("750"));
        assert_eq!(machine.maxmemory(None).as_deref(), Ok("0"));
        assert_eq!(container.maxmemory(Some("50%")).as_deref(), Ok("500"));
        assert_eq!(machine.maxmemory(Some("50%")).as_deref(), Ok("50000"));
        assert_eq!(machine.maxmemory(Some("2gb")).as_deref(), Ok("2gb"));
        for wrong in ["0%", "101%", "x%", "-1%", "%"] {
            assert!(machine.maxmemory(Some(wrong)).is_err(), "{wrong}");
        }
    }
}
