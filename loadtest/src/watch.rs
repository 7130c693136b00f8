//! Watches the server's processes while a run is counted: what they use, and which of them end.
//!
//! A process that has ended cannot be asked any more, so each is read several times a second; its last reading counts.

use std::time::{Duration, Instant};

use crate::procfs::{self, Usage};
use crate::run::ServerUsage;

/// How often processes are read. What one uses between its last reading and its end is not known.
const LOOK: Duration = Duration::from_millis(100);

/// What was seen.
#[derive(Debug)]
pub struct Watched {
    /// What the processes used, if it can be told.
    pub server: Option<ServerUsage>,
    /// Those that ended meanwhile.
    pub ended: Vec<u32>,
    /// When all of them had ended, if they have.
    pub all_ended: Option<Instant>,
    /// The share of the machine's CPU time that its host took away.
    pub stolen: f64,
}

/// A process and its readings.
#[derive(Debug)]
struct Watchee {
    process: u32,
    before: Usage,
    last: Usage,
    has_ended: bool,
}

impl Watchee {
    fn new(process: u32) -> Self {
        let before = Usage::of(&[process]);
        Self { process, before, last: before, has_ended: procfs::has_ended(process) }
    }

    fn read(&mut self) {
        if self.has_ended {
            return;
        }
        self.last.update(Usage::of(&[self.process]));
        self.has_ended = procfs::has_ended(self.process);
        if self.has_ended {
            self.last.resident = 0;
        }
    }
}

/// When the host's share was read, and what it was.
type Host = (u64, Instant);

/// Reads what processes use from the end of the warm-up to the end of the run.
#[derive(Debug)]
pub struct Watch {
    processes: Vec<u32>,
    from: Instant,
    until: Instant,
    next: Instant,
    watchees: Vec<Watchee>,
    all_ended: Option<Instant>,
    before: Option<Host>,
    after: Option<Host>,
}

impl Watch {
    /// Watches these for so long from then on.
    pub fn new(processes: &[u32], from: Instant, duration: Duration) -> Self {
        // A year stands for "no end".
        let until = from + duration.min(Duration::from_secs(365 * 86_400));
        let processes = processes.to_vec();
        Self {
            processes,
            from,
            until,
            next: from,
            watchees: Vec::new(),
            all_ended: None,
            before: None,
            after: None,
        }
    }

    /// How long until there is something to read.
    pub fn wait(&self) -> Duration {
        if self.after.is_some() {
            return Duration::from_secs(1);
        }
        let next = if self.processes.is_empty() && self.before.is_some() { self.until } else { self.next };
        next.min(self.until.max(self.from)).saturating_duration_since(Instant::now())
    }

    /// Reads what is to be read now, if anything is.
    pub fn look(&mut self) {
        let now = Instant::now();
        if self.after.is_some() || now < self.from {
            return;
        }
        if self.before.is_none() {
            self.before = Some(host());
            self.watchees = self.processes.iter().copied().map(Watchee::new).collect();
            self.next = now + LOOK;
        } else if now >= self.until {
            self.end();
        } else if now >= self.next {
            self.read();
            self.next = now + LOOK;
        }
    }

    fn read(&mut self) {
        self.watchees.iter_mut().for_each(Watchee::read);
        if !self.watchees.is_empty() && self.watchees.iter().all(|one| one.has_ended) {
            self.all_ended.get_or_insert_with(Instant::now);
        }
    }

    fn end(&mut self) {
        self.read();
        self.after = Some(host());
    }

    /// What was seen, up to now if the end has not come.
    pub fn finish(mut self) -> Watched {
        let Some(before) = self.before else {
            return Watched { server: None, ended: Vec::new(), all_ended: None, stolen: 0.0 };
        };
        if self.after.is_none() {
            self.end();
        }
        let after = self.after.unwrap_or(before);
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        let ticks = after.1.duration_since(before.1).as_secs_f64() * 100.0 * cpus as f64;
        let stolen = if ticks > 0.0 { after.0.saturating_sub(before.0) as f64 / ticks } else { 0.0 };
        let ended = self.watchees.iter().filter(|one| one.has_ended).map(|one| one.process).collect();
        Watched { server: self.usage(), ended, all_ended: self.all_ended, stolen }
    }

    /// What all used together; none if nothing could be read, or nothing was between the first and the last reading of
    /// those that have ended.
    fn usage(&self) -> Option<ServerUsage> {
        let sum = |part: &dyn Fn(&Watchee) -> u64| self.watchees.iter().map(part).sum::<u64>();
        let usage = ServerUsage {
            cpu: sum(&|one| one.last.cpu.saturating_sub(one.before.cpu)),
            switches: sum(&|one| one.last.switches.saturating_sub(one.before.switches)),
            resident: sum(&|one| one.last.resident),
            others: 0,
        };
        let is_known = sum(&|one| one.last.cpu) > 0;
        let all_ended = self.watchees.iter().all(|one| one.has_ended);
        (is_known && !(all_ended && usage.cpu == 0)).then_some(usage)
    }
}

fn host() -> Host {
    (procfs::stolen(), Instant::now())
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn what_a_process_used_before_it_ended_counts() {
        // Works for some hundredths of a second when it is told to, says so, and waits.
        let script = "read x; i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; echo; read x";
        let mut child = Command::new("sh")
            .args(["-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("there is a shell");
        let own = std::process::id();
        let mut watch = Watch::new(&[child.id(), own], Instant::now(), Duration::from_secs(3600));
        watch.look();
        let mut input = child.stdin.take().expect("it is piped");
        std::io::Write::write_all(&mut input, b"\n").expect("it reads");
        child.stdout.take().expect("it is piped").read_exact(&mut [0]).expect("the work ends");
        // The next look is due at once, whatever the clock says.
        watch.next = watch.from;
        watch.look();
        let used = watch.watchees[0].last.cpu - watch.watchees[0].before.cpu;
        assert!(used > 0);
        child.kill().expect("it runs");
        child.wait().expect("it ends");
        let watched = watch.finish();
        let server = watched.server.expect("it was read");
        assert!(server.cpu >= used && server.resident > 0, "{server:?}");
        assert_eq!(watched.ended, [child.id()]);
    }

    #[test]
    fn what_cannot_be_told_is_not_shown_as_nothing() {
        let mut child = Command::new("true").spawn().expect("there is such a program");
        child.wait().expect("it ends");
        let mut watch = Watch::new(&[child.id()], Instant::now(), Duration::from_secs(3600));
        watch.look();
        let watched = watch.finish();
        assert!(watched.server.is_none());
        assert_eq!(watched.ended, [child.id()]);
    }
}
