//! What processes on this machine cost, read from `/proc`: CPU time, context switches, resident memory.
//!
//! On a busy machine wall time measures the neighbours; the CPU time a server used per operation is steady. All
//! readings are since the process started: take two and subtract. Processes that cannot be read (another user's,
//! ended) count as nothing, which the caller sees by `cpu` being 0. Linux only; elsewhere everything is empty.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// One reading of some processes, summed up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// CPU time of all threads that still live, in nanoseconds.
    pub cpu: u64,
    /// Voluntary and other context switches of all threads.
    pub switches: u64,
    /// Resident memory in bytes.
    pub resident: u64,
}

impl Usage {
    /// Reads these processes.
    pub fn of(processes: &[u32]) -> Self {
        let mut sum = Self::default();
        for process in processes {
            let folder = format!("/proc/{process}");
            sum.resident += field(&format!("{folder}/status"), "VmRSS:").unwrap_or(0) * 1024;
            let Ok(threads) = fs::read_dir(format!("{folder}/task")) else { continue };
            for thread in threads.flatten() {
                let (cpu, _) = schedule(&thread.path()).unwrap_or_default();
                sum.cpu += cpu;
                sum.switches += switches(&thread.path());
            }
        }
        sum
    }
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

/// The processes that listen on this TCP port of this machine, as far as they may be seen.
pub fn listeners(port: u16) -> Vec<u32> {
    let mut sockets = BTreeSet::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        sockets.extend(listening_sockets(&fs::read_to_string(table).unwrap_or_default(), port));
    }
    if sockets.is_empty() {
        return Vec::new();
    }
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let numbers = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    numbers.filter(|process| has_socket(*process, &sockets)).collect()
}

/// The inodes of the sockets that listen on `port`, from the text of `/proc/net/tcp`.
fn listening_sockets(table: &str, port: u16) -> Vec<u64> {
    const LISTEN: &str = "0A";
    let mut inodes = Vec::new();
    for line in table.lines().skip(1) {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (Some(local), Some(state), Some(inode)) = (fields.get(1), fields.get(3), fields.get(9)) else {
            continue;
        };
        let of_port = local.rsplit_once(':').and_then(|(_, port)| u16::from_str_radix(port, 16).ok());
        if *state == LISTEN && of_port == Some(port) {
            inodes.extend(inode.parse::<u64>().ok());
        }
    }
    inodes
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
    fn finds_who_listens() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(listeners(port).contains(&std::process::id()));
    }

    #[test]
    fn reads_this_process() {
        let usage = Usage::of(&[std::process::id()]);
        assert!(usage.cpu > 0 && usage.resident > 100_000, "{usage:?}");
        assert!(schedule(Path::new("/proc/thread-self")).is_some());
        assert_eq!(Usage::of(&[u32::MAX]), Usage::default());
    }

    #[test]
    fn reads_the_socket_table() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
            0: 0100007F:18EB 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4711 1 0 100\n   \
            1: 0100007F:18EB 0100007F:D431 01 00000000:00000000 00:00000000 00000000  1000        0 4712 1 0 100\n";
        assert_eq!(listening_sockets(table, 6379), [4711]);
        assert!(listening_sockets(table, 6380).is_empty());
    }
}
