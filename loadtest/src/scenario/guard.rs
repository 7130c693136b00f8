//! What stands between the scenario and each of its servers for a moment: this program, started once more, which ties
//! its life to the scenario's, enters the server's network namespace and becomes the server.
//!
//! So no server outlives a scenario that crashed or was killed, and the process id stays that of the server. The
//! kernel sends the signal when the *thread* that started the process ends: only the main thread starts servers.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// The hidden subcommand's name.
pub const NAME: &str = "scenario-guard";

/// The command that starts `program` guarded. Without a parent it may outlive this process.
pub fn command(program: &Path, namespace: Option<&str>, keep: bool) -> io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    let parent = if keep { 0 } else { std::process::id() };
    command.arg(NAME).arg(parent.to_string()).arg(namespace.unwrap_or("-")).arg(program);
    // A group of its own: ^C at the terminal is for the scenario, which then ends the servers.
    command.process_group(0);
    Ok(command)
}

/// The guard itself: never comes back when all goes well.
pub fn main(words: &[String]) -> ExitCode {
    let [parent, namespace, program, arguments @ ..] = words else { return ExitCode::from(2) };
    if let Err(error) = prepare(parent, namespace) {
        eprintln!("cannot prepare {program}: {error}");
        return ExitCode::from(2);
    }
    let error = Command::new(program).args(arguments).exec();
    eprintln!("cannot start {program}: {error}");
    ExitCode::from(127)
}

fn prepare(parent: &str, namespace: &str) -> io::Result<()> {
    let parent = parent.parse().ok().and_then(Pid::from_raw);
    if parent.is_some() {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // It may have ended before the signal was asked for.
        if getppid() != parent {
            return Err(io::Error::other("the scenario has ended"));
        }
    }
    if namespace != "-" { enter(namespace) } else { Ok(()) }
}

/// Moves this thread, and those that it starts from now on, into a network namespace.
pub fn enter(namespace: &str) -> io::Result<()> {
    let file = File::open(Path::new("/run/netns").join(namespace))?;
    Ok(move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?)
}
