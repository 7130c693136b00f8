//! How much memory keys and values may take when the user says it as a share of what there is, or not at all.

use std::{fmt, fs, path::Path, sync::LazyLock};

use crate::{config::memory, heap::allowed};

/// The share of a container's limit that keys and values take by default; the rest is for connections, replies
/// under way, the process itself, and what is freed and has not gone back to the system yet.
const DEFAULT_PERCENT: u64 = 75;
/// The least that is left for these in bytes, for each node, unless keys and values would get less than half.
const LEAST_LEFT: u64 = 48 << 20;
const LEAST_PERCENT: u64 = 50;

/// Of cgroup v2 and v1: the controllers in `/proc/self/cgroup`, where they are mounted, and the file of the limit.
const CGROUPS: [(&str, &str, &str); 2] =
    [("", "sys/fs/cgroup", "memory.max"), ("memory", "sys/fs/cgroup/memory", "memory.limit_in_bytes")];

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

/// A `maxmemory`, and where it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Maxmemory {
    /// Bytes; 0 is no limit.
    pub bytes: u64,
    /// For people.
    pub source: String,
    /// What all nodes of this process may take and the container or the machine has not, if they may take too much.
    pub excess: Option<String>,
}

impl fmt::Display for Maxmemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.bytes {
            0 => write!(f, "no limit ({})", self.source),
            bytes => write!(f, "{} ({})", Bytes(bytes), self.source),
        }
    }
}

/// Bytes for people.
struct Bytes(u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(&str, u64); 3] = [("GB", 1 << 30), ("MB", 1 << 20), ("KB", 1 << 10)];
        match UNITS.iter().find(|(_, size)| self.0 >= *size) {
            Some((unit, size)) if self.0.is_multiple_of(*size) => write!(f, "{} {unit}", self.0 / size),
            Some((unit, size)) => write!(f, "{:.1} {unit}", self.0 as f64 / *size as f64),
            None => write!(f, "{} bytes", self.0),
        }
    }
}

impl Available {
    /// What this process has.
    pub fn here() -> Self {
        let machine = fs::read_to_string("/proc/meminfo").map_or(0, |text| total(&text));
        Self { container: container(Path::new("/")), machine }
    }

    fn most(self) -> (u64, &'static str) {
        match self.container {
            Some(limit) if self.machine == 0 || limit < self.machine => (limit, "the container's limit"),
            _ => (self.machine, "the machine's memory"),
        }
    }

    /// What `--maxmemory` stands for, for each of `nodes` in this process; `given` is its text and who said it. A
    /// percentage is taken of what there is; without any, a container's limit leaves head-room, and elsewhere there is
    /// no limit.
    ///
    /// # Errors
    /// A sentence, if it is neither a number of bytes nor a percentage from 1 to 100.
    pub fn maxmemory(self, given: Option<(&str, &str)>, nodes: u16) -> Result<Maxmemory, String> {
        let nodes = u64::from(nodes.max(1));
        let among = if nodes > 1 { format!(", among {nodes} nodes") } else { String::new() };
        let share = |percent: u64, (all, what): (u64, &str)| {
            let bytes = u128::from(all) * u128::from(percent) / 100 / u128::from(nodes);
            (bytes as u64, format!("{percent}% of {what}, {}{among}", Bytes(all)))
        };
        let (bytes, source) = match given {
            None => match self.container {
                Some(_) => {
                    let (limit, what) = self.most();
                    share(default_percent(limit, nodes), (limit, what))
                }
                None => (0, "not set, and no container has a limit".to_owned()),
            },
            Some((text, by)) => match text.strip_suffix('%').map(str::parse::<u64>) {
                None => (bytes(text)?, by.to_owned()),
                Some(Ok(percent @ 1..=100)) if self.most().0 > 0 => {
                    let (bytes, source) = share(percent, self.most());
                    (bytes, format!("{by}: {source}"))
                }
                Some(Ok(1..=100)) => {
                    return Err("the machine does not tell how much memory it has".to_owned());
                }
                Some(_) => return Err("a share of the memory is a whole number from 1% to 100%".to_owned()),
            },
        };
        let all = bytes.saturating_mul(nodes);
        let (most, what) = self.most();
        let holder = what.split('\'').next().unwrap_or(what);
        let taken = if all == 0 { 0 } else { allowed(0, bytes).saturating_mul(nodes) };
        let excess = if all == 0 && self.container.is_some() {
            Some(format!("there is no maxmemory, but {holder} has {}", Bytes(most)))
        } else if all > most && most > 0 {
            Some(format!("maxmemory is {} in all, but {holder} has {}", Bytes(all), Bytes(most)))
        } else if taken > most && most > 0 {
            let (all, taken, most) = (Bytes(all), Bytes(taken), Bytes(most));
            Some(format!(
                "maxmemory is {all} in all, with which up to {taken} may be taken, but {holder} has {most}"
            ))
        } else {
            None
        };
        Ok(Maxmemory { bytes, source, excess })
    }
}

/// What keys and values take of a container's limit by default.
fn default_percent(limit: u64, nodes: u64) -> u64 {
    let rest = u128::from(limit.saturating_sub(LEAST_LEFT * nodes));
    ((rest * 100 / u128::from(limit.max(1))) as u64).clamp(LEAST_PERCENT, DEFAULT_PERCENT)
}

fn bytes(text: &str) -> Result<u64, String> {
    memory(text).ok_or_else(|| {
        "it must be a whole number of bytes, with one of the units kb, mb, gb, tb (or k, m, g, t for powers of 1000) \
         if any, or a share such as 70%"
            .to_owned()
    })
}

/// The smallest limit of the cgroup that this process is in and of those around it, as far as they can be seen below
/// `root`. In a container they cannot: there its own is the outermost.
fn container(root: &Path) -> Option<u64> {
    let own = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let limits = CGROUPS.iter().flat_map(|(controller, mount, file)| {
        let path = own.lines().find_map(|line| path(line, controller)).unwrap_or_default();
        let up = Path::new(path.trim_start_matches('/')).ancestors();
        let files = up.map(|dir| root.join(mount).join(dir).join(file));
        files.filter_map(|file| limit(&fs::read_to_string(file).ok()?)).collect::<Vec<_>>()
    });
    limits.min()
}

/// The path in a line of `/proc/self/cgroup`, such as `4:cpu,memory:/a/b`, if it is of this controller.
fn path<'a>(line: &'a str, controller: &str) -> Option<&'a str> {
    let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
    controllers.split(',').any(|c| c == controller).then_some(path)
}

/// The machine's memory in bytes, 0 if it is not known; read once.
pub(crate) fn machine() -> u64 {
    static MACHINE: LazyLock<u64> = LazyLock::new(|| Available::here().machine);
    *MACHINE
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
    use std::path::PathBuf;

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

    /// A made-up root directory, gone when dropped.
    struct Root(PathBuf);

    impl Root {
        fn new(name: &str, files: &[(&str, &str)]) -> Self {
            let root = std::env::temp_dir().join(format!("shoal-cgroup-{name}-{}", std::process::id()));
            for (path, text) in files {
                let path = root.join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            Self(root)
        }
    }

    impl Drop for Root {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn the_smallest_limit_from_the_own_cgroup_upwards_counts() {
        let own = ("proc/self/cgroup", "0::/a.slice/b.service\n");
        let (b, a) = ("sys/fs/cgroup/a.slice/b.service/memory.max", "sys/fs/cgroup/a.slice/memory.max");
        let of = |name: &str, files: &[(&str, &str)]| container(&Root::new(name, files).0);
        assert_eq!(of("own", &[own, (b, "1000\n"), (a, "max\n")]), Some(1000));
        assert_eq!(of("above", &[own, (b, "1000\n"), (a, "900\n")]), Some(900));
        let other = ("sys/fs/cgroup/c.slice/memory.max", "5\n");
        assert_eq!(of("none", &[own, (b, "max\n"), (a, "max\n"), other]), None);
        assert_eq!(of("nothing", &[]), None);
        // A container sees its own as the root, by the path outside if it has no namespace.
        let root = ("sys/fs/cgroup/memory.max", "700\n");
        assert_eq!(of("outside", &[own, root]), Some(700));
        assert_eq!(of("namespace", &[("proc/self/cgroup", "0::/\n"), root]), Some(700));
        assert_eq!(of("unknown", &[root]), Some(700));
    }

    #[test]
    fn the_first_version_of_cgroups_is_known() {
        let own = ("proc/self/cgroup", "5:cpu,cpuacct:/x\n4:memory:/docker/f00\n0::/y\n");
        let file = "sys/fs/cgroup/memory/docker/f00/memory.limit_in_bytes";
        let root = "sys/fs/cgroup/memory/memory.limit_in_bytes";
        let of = |name: &str, files: &[(&str, &str)]| container(&Root::new(name, files).0);
        assert_eq!(of("v1", &[own, (file, "3000\n"), (root, "9223372036854771712\n")]), Some(3000));
        assert_eq!(of("v1-inside", &[own, (root, "2000\n")]), Some(2000));
    }

    const CONTAINER: Available = Available { container: Some(1000 << 20), machine: 100_000 << 20 };
    const MACHINE: Available = Available { container: None, machine: 100_000 << 20 };

    #[test]
    fn shares_are_taken_of_what_there_is() {
        let of = |what: Available, text: Option<&str>, nodes| {
            what.maxmemory(text.map(|text| (text, "--maxmemory")), nodes).unwrap().bytes
        };
        assert_eq!((of(CONTAINER, None, 1), of(CONTAINER, None, 3)), (750 << 20, 250 << 20));
        assert_eq!((of(MACHINE, None, 1), of(MACHINE, None, 3)), (0, 0));
        assert_eq!((of(CONTAINER, Some("50%"), 1), of(CONTAINER, Some("50%"), 5)), (500 << 20, 100 << 20));
        assert_eq!(of(MACHINE, Some("50%"), 1), 50_000 << 20);
        assert_eq!((of(MACHINE, Some("2gb"), 1), of(MACHINE, Some("2gb"), 3)), (2 << 30, 2 << 30));
        for wrong in ["0%", "101%", "x%", "-1%", "%", "1.5gb", "2x", "-1", ""] {
            assert!(MACHINE.maxmemory(Some((wrong, "--maxmemory")), 1).is_err(), "{wrong}");
        }
    }

    #[test]
    fn small_containers_leave_more() {
        let of = |mb: u64, nodes| default_percent(mb << 20, nodes);
        assert_eq!([of(64, 1), of(96, 1), of(120, 1), of(128, 1)], [50, 50, 60, 62]);
        assert_eq!([of(192, 1), of(4096, 1), of(400, 3), of(1024, 3), of(0, 1)], [75, 75, 64, 75, 50]);
    }

    #[test]
    fn what_is_in_force_is_said_with_its_source() {
        let text = |what: Available, given, nodes| {
            let found = what.maxmemory(given, nodes).unwrap();
            (found.to_string(), found.excess)
        };
        let roomy = Available { container: Some(1 << 30), machine: 0 };
        assert_eq!(text(roomy, None, 1), ("768 MB (75% of the container's limit, 1 GB)".into(), None));
        let three = "256 MB (75% of the container's limit, 1 GB, among 3 nodes)";
        assert_eq!(text(roomy, None, 3), (three.into(), None));
        let half = "512 MB (SHOAL_MAXMEMORY: 50% of the container's limit, 1 GB)";
        assert_eq!(text(roomy, Some(("50%", "SHOAL_MAXMEMORY")), 1), (half.into(), None));
        assert_eq!(text(MACHINE, Some(("0", "--maxmemory")), 1), ("no limit (--maxmemory)".into(), None));
        let excess = |given, nodes| text(roomy, Some((given, "--maxmemory")), nodes).1;
        let far = "maxmemory is 1.5 GB in all, but the container has 1 GB";
        assert_eq!(excess("512mb", 3).as_deref(), Some(far));
        let near =
            "maxmemory is 1 GB in all, with which up to 1.1 GB may be taken, but the container has 1 GB";
        assert_eq!([excess("512mb", 2).as_deref(), excess("1gb", 1).as_deref()], [Some(near); 2]);
        assert_eq!((excess("460mb", 2), excess("930mb", 1)), (None, None));
        assert!(excess("0", 1).is_some());
        let small = Available { container: None, machine: 8 << 30 };
        let huge = text(small, Some(("9gb", "--maxmemory")), 1).1;
        assert_eq!(huge.as_deref(), Some("maxmemory is 9 GB in all, but the machine has 8 GB"));
        assert!(text(small, Some(("8gb", "--maxmemory")), 1).1.is_some());
        assert_eq!(text(small, Some(("7gb", "--maxmemory")), 1).1, None);
        let wide = Available { container: Some(40 << 30), machine: 24 << 30 };
        assert_eq!(text(wide, None, 1), ("18 GB (75% of the machine's memory, 24 GB)".into(), None));
        assert!(text(wide, Some(("30gb", "--maxmemory")), 1).1.is_some());
        assert_eq!(text(small, Some(("0", "--maxmemory")), 1).1, None);
    }
}
