//! What processes on this machine cost, read from `/proc`: CPU time, context switches, resident memory.
//!
//! On a busy machine wall time measures the neighbours; the CPU time a server used per operation is steady. All
//! readings are since the process started: take two and subtract. Processes that cannot be read (another user's,
//! ended) count as nothing, which the caller sees by `cpu` being 0. Linux only; elsewhere everything is empty.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

/// One reading of some processes, summed up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// CPU time in nanoseconds, of threads that have ended as well.
    pub cpu: u64,
    /// Voluntary and other context switches of all threads.
    pub switches: u64,
    /// Resident memory in bytes.
    pub resident: u64,
}

impl Usage {
    /// Adds another's.
    pub fn add(&mut self, other: Self) {
        self.cpu += other.cpu;
        self.switches += other.switches;
        self.resident += other.resident;
    }

    /// Takes a later reading of the same process. One that is about to be gone has no threads and no memory any more,
    /// but its CPU time is still told.
    pub fn update(&mut self, later: Self) {
        self.cpu = self.cpu.max(later.cpu);
        self.switches = self.switches.max(later.switches);
        self.resident = later.resident;
    }

    /// Reads these processes.
    pub fn of(processes: &[u32]) -> Self {
        let mut sum = Self::default();
        for process in processes {
            let folder = format!("/proc/{process}");
            sum.resident += field(&format!("{folder}/status"), "VmRSS:").unwrap_or(0) * 1024;
            let Ok(threads) = fs::read_dir(format!("{folder}/task")) else { continue };
            let mut living = 0;
            for thread in threads.flatten() {
                let (cpu, _) = schedule(&thread.path()).unwrap_or_default();
                living += cpu;
                sum.switches += switches(&thread.path());
            }
            // The process's own total is coarser, but holds what ended threads have used.
            let all = fs::read_to_string(format!("{folder}/stat")).ok().and_then(|stat| process_cpu(&stat));
            sum.cpu += living.max(all.unwrap_or(0));
        }
        sum
    }
}

/// Nanoseconds per tick in which the kernel tells programs of times: 100 per second on every Linux.
const TICK: u64 = 10_000_000;

/// User and system time of a process in nanoseconds, from the text of its `stat`.
fn process_cpu(stat: &str) -> Option<u64> {
    // The program's name comes second, in brackets, and may hold anything.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let (user, system) = (fields.next()?.parse::<u64>().ok()?, fields.next()?.parse::<u64>().ok()?);
    Some((user + system) * TICK)
}

/// True if there is no such process any more. One that waits for its parent to ask how it ended has ended as well.
pub fn has_ended(process: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().next());
    state.is_none_or(|state| matches!(state, "Z" | "X" | "x"))
}

/// True if there is such a process.
pub fn is_running(process: u32) -> bool {
    Path::new(&format!("/proc/{process}")).is_dir()
}

/// CPU time and time spent waiting for a CPU of the calling thread, in nanoseconds.
pub fn own_thread() -> (u64, u64) {
    schedule(Path::new("/proc/thread-self")).unwrap_or_default()
}

/// The time the machine's host took away from all CPUs, in ticks of 1/100 s.
pub fn stolen() -> u64 {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let first = text.lines().next().unwrap_or_default();
    first.split_whitespace().nth(8).and_then(|ticks| ticks.parse().ok()).unwrap_or(0)
}

/// The processes that listen at this TCP address of this machine, as far as they may be seen. Who listens at all
/// addresses is asked where nobody listens at this one.
pub fn listeners(address: SocketAddr) -> Vec<u32> {
    let mut found = Vec::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        found.extend(listening_sockets(&fs::read_to_string(table).unwrap_or_default(), address.port()));
    }
    let sockets = asked(&found, address.ip());
    if sockets.is_empty() {
        return Vec::new();
    }
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let numbers = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    numbers.filter(|process| has_socket(*process, &sockets)).collect()
}

/// The inodes of the sockets that a connection to `ip` may reach.
fn asked(sockets: &[(IpAddr, u64)], ip: IpAddr) -> BTreeSet<u64> {
    let of = |wanted: &dyn Fn(IpAddr) -> bool| -> BTreeSet<u64> {
        sockets.iter().filter(|(at, _)| wanted(*at)).map(|(_, inode)| *inode).collect()
    };
    let ip = ip.to_canonical();
    let exactly = of(&|at| at.to_canonical() == ip);
    if !exactly.is_empty() {
        return exactly;
    }
    let of_kind = of(&|at| at.is_unspecified() && at.is_ipv4() == ip.is_ipv4());
    // A socket of all IPv6 addresses takes IPv4 connections as well, if nobody else does.
    if of_kind.is_empty() { of(&|at| at.is_unspecified() && ip.is_ipv4()) } else { of_kind }
}

/// Addresses and inodes of the sockets that listen on `port`, from the text of `/proc/net/tcp` or `tcp6`.
fn listening_sockets(table: &str, port: u16) -> Vec<(IpAddr, u64)> {
    const LISTEN: &str = "0A";
    let mut found = Vec::new();
    for line in table.lines().skip(1) {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (Some(local), Some(state), Some(inode)) = (fields.get(1), fields.get(3), fields.get(9)) else {
            continue;
        };
        let Some((ip, of_port)) = local.rsplit_once(':') else { continue };
        if *state == LISTEN && u16::from_str_radix(of_port, 16) == Ok(port) {
            found.extend(address(ip).zip(inode.parse::<u64>().ok()));
        }
    }
    found
}

/// An address as the kernel prints it: words of 32 bits, each in the machine's order.
fn address(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| Some(u32::from_str_radix(hex.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    match hex.len() {
        8 => Some(IpAddr::from(word(0)?)),
        32 => {
            let mut bytes = [0; 16];
            for (index, part) in bytes.chunks_exact_mut(4).enumerate() {
                part.copy_from_slice(&word(index * 8)?);
            }
            Some(IpAddr::from(bytes))
        }
        _ => None,
    }
}

fn has_socket(process: u32, sockets: &BTreeSet<u64>) -> bool {
    let Ok(files) = fs::read_dir(format!("/proc/{process}/fd")) else { return false };
    files.flatten().any(|file| {
        let target = fs::read_link(file.path()).unwrap_or_default();
        let inode =
            target.to_str().and_then(|text| text.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok());
        inode.is_some_and(|inode: u64| sockets.contains(&inode))
    })
}

fn schedule(thread: &Path) -> Option<(u64, u64)> {
    let text = fs::read_to_string(thread.join("schedstat")).ok()?;
    let mut numbers = text.split_whitespace().map(str::parse::<u64>);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

fn switches(thread: &Path) -> u64 {
    let text = fs::read_to_string(thread.join("status")).unwrap_or_default();
    let lines = text.lines().filter(|line| line.contains("ctxt_switches"));
    lines.filter_map(|line| line.split_whitespace().last()?.parse::<u64>().ok()).sum()
}

/// The first number behind `name` in a file of `name value` lines.
fn field(file: &str, name: &str) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_who_listens_at_an_address() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        assert!(listeners(address).contains(&std::process::id()));
        let elsewhere = SocketAddr::new([127, 0, 0, 9].into(), address.port());
        assert_eq!(listeners(elsewhere), [0; 0], "the same port of another address is another server");
    }

    #[test]
    fn reads_this_process() {
        let usage = Usage::of(&[std::process::id()]);
        assert!(usage.cpu > 0 && usage.resident > 100_000, "{usage:?}");
        assert!(schedule(Path::new("/proc/thread-self")).is_some());
        assert_eq!(Usage::of(&[u32::MAX]), Usage::default());
        assert!(is_running(std::process::id()) && !is_running(u32::MAX));
    }

    #[test]
    fn threads_that_have_ended_count() {
        const WORK: u64 = 50_000_000;
        let before = Usage::of(&[std::process::id()]).cpu;
        let worker = std::thread::spawn(|| while own_thread().0 < WORK {});
        worker.join().unwrap();
        let used = Usage::of(&[std::process::id()]).cpu - before;
        // Less two ticks, by which the process's total may be rounded.
        assert!(used >= WORK - 2 * TICK, "{used}");
        assert_eq!(process_cpu("7 (a) b) S 1 2 3 4 5 6 7 8 9 10 150 25 0 0"), Some(175 * TICK));
        assert_eq!(process_cpu("7 (a) S 1"), None);
    }

    #[test]
    fn reads_the_socket_table() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
            0: 0100007F:18EB 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4711 1 0 100\n   \
            1: 0100007F:18EB 0100007F:D431 01 00000000:00000000 00:00000000 00000000  1000        0 4712 1 0 100\n";
        assert_eq!(listening_sockets(table, 6379), [(IpAddr::from([127, 0, 0, 1]), 4711)]);
        assert!(listening_sockets(table, 6380).is_empty());
        let six = "  sl\n 0: 00000000000000000000000001000000:18EB 0:0 0A 0:0 0:0 0 1000 0 4713 1\n";
        assert_eq!(listening_sockets(six, 6379), [("::1".parse::<IpAddr>().unwrap(), 4713)]);
    }

    #[test]
    fn the_nearest_listener_is_asked() {
        let sockets = [("127.0.0.1", 1), ("127.0.0.2", 2), ("0.0.0.0", 3), ("::", 4), ("::1", 5)];
        let sockets: Vec<(IpAddr, u64)> =
            sockets.map(|(ip, inode)| (ip.parse::<IpAddr>().unwrap(), inode)).to_vec();
        let reached = |sockets: &[(IpAddr, u64)], ip: &str| -> Vec<u64> {
            asked(sockets, ip.parse().unwrap()).into_iter().collect()
        };
        assert_eq!(reached(&sockets, "127.0.0.1"), [1]);
        assert_eq!(reached(&sockets, "127.0.0.3"), [3]);
        assert_eq!((reached(&sockets, "::1"), reached(&sockets, "::2")), (vec![5], vec![4]));
        assert_eq!(reached(&sockets[3..], "127.0.0.1"), [4]);
        assert_eq!(reached(&sockets[..2], "::1"), [0; 0]);
    }
}
