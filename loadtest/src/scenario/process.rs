//! One server: started, signalled, watched, and never left behind.

use std::fs::{File, OpenOptions};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, waitid};

use super::guard;
use crate::procfs::Usage;

/// How often a process is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// A process that runs. Dropping it kills it and all that it has started, unless it is to be kept.
#[derive(Debug)]
pub struct Process {
    child: Child,
    keep: bool,
    ended: Option<ExitStatus>,
    used: Usage,
}

/// How to start one.
#[derive(Debug)]
pub struct Start<'a> {
    /// The program.
    pub program: &'a Path,
    /// Its arguments.
    pub arguments: &'a [String],
    /// Its network namespace.
    pub namespace: Option<&'a str>,
    /// What it prints is added to this file.
    pub log: &'a Path,
    /// Where it runs.
    pub folder: &'a Path,
    /// It may outlive the scenario.
    pub keep: bool,
}

impl Process {
    /// Starts a process; to be called by the main thread only.
    pub fn start(start: &Start<'_>) -> Result<Self, String> {
        let log = open(start.log)?;
        let mut command = guard::command(start.program, start.namespace, start.keep)
            .map_err(|error| format!("this program's own file is not to be found: {error}"))?;
        let errors = log.try_clone().map_err(|error| error.to_string())?;
        command.args(start.arguments).current_dir(start.folder);
        command.stdin(Stdio::null()).stdout(log).stderr(errors);
        let child = command.spawn().map_err(|error| error.to_string())?;
        Ok(Self { child, keep: start.keep, ended: None, used: Usage::default() })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    fn pid(&self) -> Option<Pid> {
        i32::try_from(self.child.id()).ok().and_then(Pid::from_raw)
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() && self.has_stopped(WaitIdOptions::NOHANG) {
            self.ended = self.child.try_wait().ok().flatten();
        }
        self.ended
    }

    /// Looks, or waits, whether it has ended, and reads what it used before that is forgotten with its exit status.
    fn has_stopped(&mut self, how: WaitIdOptions) -> bool {
        let Some(pid) = self.pid() else { return true };
        let how = how | WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        let stopped = rustix::io::retry_on_intr(|| waitid(WaitId::Pid(pid), how));
        // Where it cannot be asked, the exit status says more.
        let stopped = stopped.map_or(true, |status| status.is_some());
        if stopped {
            self.used.update(Usage::of(&[self.id()]));
        }
        stopped
    }

    /// What it has used since its start, up to its end if it has ended.
    pub fn usage(&mut self) -> Usage {
        if self.ended().is_none() {
            self.used.update(Usage::of(&[self.id()]));
        }
        self.used
    }

    /// Sends a signal to the process, or to it and all that it has started.
    pub fn signal(&mut self, signal: Signal, whole_group: bool) -> Result<(), String> {
        if let Some(status) = self.ended() {
            return Err(format!("it has ended ({})", describe(status)));
        }
        let Some(pid) = self.pid() else { return Err("it has no process id".into()) };
        // Its threads are gone when it has ended, and what they tell with them.
        self.used.update(Usage::of(&[self.id()]));
        let sent = if whole_group { kill_process_group(pid, signal) } else { kill_process(pid, signal) };
        sent.map_err(|error| error.to_string())
    }

    /// Kills it and all that it has started, and waits for its end.
    pub fn kill(&mut self) {
        if self.ended.is_none() {
            self.used.update(Usage::of(&[self.id()]));
        }
        if let Some(pid) = self.pid() {
            // The group may live on when its first process has ended.
            let _ = kill_process_group(pid, Signal::KILL);
        }
        if self.ended.is_none() {
            self.has_stopped(WaitIdOptions::empty());
            self.ended = self.child.wait().ok();
        }
    }

    /// Waits for its end as long as `go_on` says so.
    pub fn wait(&mut self, limit: Duration, go_on: &dyn Fn() -> bool) -> Option<ExitStatus> {
        let deadline = Instant::now() + limit;
        loop {
            let ended = self.ended();
            if ended.is_some() || Instant::now() >= deadline || !go_on() {
                return ended;
            }
            std::thread::sleep(LOOK);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.keep {
            self.kill();
        }
    }
}

/// How a process ended, in words.
pub fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "unknown end".into(),
    }
}

fn open(path: &Path) -> Result<File, String> {
    let opened = OpenOptions::new().create(true).append(true).open(path);
    opened.map_err(|error| format!("{}: {error}", path.display()))
}

/// The last lines of a log, to show why a server has ended.
pub fn last_words(log: &PathBuf) -> String {
    const LINES: usize = 5;
    let text =
        std::fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::process::CommandExt;

    use super::*;

    #[test]
    fn what_a_process_used_is_known_when_it_is_gone() {
        // Works for some hundredths of a second, says so, and waits to be killed.
        let script = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; echo; exec sleep 1000";
        let mut command = std::process::Command::new("sh");
        command.args(["-c", script]).process_group(0).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("there is a shell");
        let mut said = [0];
        child.stdout.take().expect("it is piped").read_exact(&mut said).expect("the work ends");
        let mut process = Process { child, keep: false, ended: None, used: Usage::default() };
        let before = process.usage();
        assert!(before.cpu > 0 && before.resident > 0, "{before:?}");
        process.kill();
        let after = process.usage();
        assert!(process.ended().is_some() && after.cpu >= before.cpu && after.switches >= before.switches);
        assert_eq!(after.resident, 0);
    }

    #[test]
    fn what_a_process_used_is_known_when_it_ended_by_itself() {
        let script = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done";
        let child = std::process::Command::new("sh").args(["-c", script]).spawn().expect("there is a shell");
        let mut process = Process { child, keep: true, ended: None, used: Usage::default() };
        assert!(process.wait(Duration::from_secs(60), &|| true).is_some());
        assert!(process.usage().cpu > 0);
    }
}
