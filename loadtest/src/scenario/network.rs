//! Network namespaces: one per server, one for the load (`client`), and one that holds the bridge between them.
//!
//! Nothing is added to the machine's own namespace, and there is no way out. Names start with the id of this process,
//! so that two scenarios do not disturb each other; what a killed one has left behind is removed by the next.

use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::delay::Delay;

/// The name of the load's namespace in partitions.
pub const CLIENT: &str = "client";
/// What names of namespaces start with.
const PREFIX: &str = "slt";

/// All namespaces of a scenario. Dropping it removes them, unless they are to be kept.
#[derive(Debug)]
pub struct Namespaces {
    prefix: String,
    members: Vec<Member>,
    delays: Vec<Delay>,
    keep: bool,
}

#[derive(Debug)]
struct Member {
    name: String,
    address: Ipv4Addr,
}

impl Namespaces {
    /// Makes the bridge and a namespace for the load and for each of these servers.
    pub fn new(names: &[String], keep: bool) -> Result<Self, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("network namespaces need root: run it as root, or write network = \"host\"".into());
        }
        for tool in ["ip", "nft"] {
            super::command_line::find_program(tool).map_err(|_| {
                format!("network namespaces need the program '{tool}', which is not installed")
            })?;
        }
        sweep();
        let prefix = format!("{PREFIX}{}", std::process::id());
        let mut namespaces = Self { prefix, members: Vec::new(), delays: Vec::new(), keep };
        namespaces.make_switch()?;
        namespaces.add(CLIENT)?;
        for name in names {
            namespaces.add(name)?;
        }
        Ok(namespaces)
    }

    fn make_switch(&self) -> Result<(), String> {
        let switch = self.switch();
        ip(&["netns", "add", &switch])?;
        ip(&["-n", &switch, "link", "set", "lo", "up"])?;
        // An address of its own: else it is the lowest of its ports', and changes with them.
        ip(&["-n", &switch, "link", "add", "br0", "address", "02:00:00:00:00:01", "type", "bridge"])?;
        ip(&["-n", &switch, "addr", "add", "198.18.0.1/24", "dev", "br0"])?;
        ip(&["-n", &switch, "link", "set", "br0", "up"])?;
        self.nft(
            "table bridge shoal {\n\
             set cut { type ipv4_addr . ipv4_addr; }\n\
             chain cuts { type filter hook forward priority 0; ip saddr . ip daddr @cut drop; }\n\
             chain losses { type filter hook forward priority 1; }\n\
             }\n",
        )
    }

    /// The namespace that holds the bridge: whoever looks from there is never cut off.
    pub fn switch(&self) -> String {
        format!("{}-switch", self.prefix)
    }

    /// The namespace of a server, or of the load.
    pub fn namespace(&self, name: &str) -> String {
        format!("{}-{name}", self.prefix)
    }

    fn add(&mut self, name: &str) -> Result<(), String> {
        let number = self.members.len() as u8 + 10;
        let (switch, own, link) = (self.switch(), self.namespace(name), format!("v{number}"));
        let address = Ipv4Addr::new(198, 18, 0, number);
        ip(&["netns", "add", &own])?;
        self.members.push(Member { name: name.to_owned(), address });
        ip(&["-n", &switch, "link", "add", &link, "type", "veth", "peer", "name", "eth0", "netns", &own])?;
        ip(&["-n", &switch, "link", "set", &link, "master", "br0", "up"])?;
        ip(&["-n", &own, "link", "set", "lo", "up"])?;
        ip(&["-n", &own, "addr", "add", &format!("{address}/24"), "dev", "eth0"])?;
        ip(&["-n", &own, "link", "set", "eth0", "up"])
    }

    /// The address of a server.
    pub fn address(&self, name: &str) -> Option<Ipv4Addr> {
        self.members.iter().find(|member| member.name == name).map(|member| member.address)
    }

    /// Cuts the groups off from each other, and nobody else.
    pub fn partition(&self, groups: &[Vec<String>]) -> Result<(), String> {
        let mut script = String::from("flush set bridge shoal cut\n");
        for (index, group) in groups.iter().enumerate() {
            for other in &groups[index + 1..] {
                for (a, b) in group.iter().flat_map(|a| other.iter().map(move |b| (a, b))) {
                    let (Some(a), Some(b)) = (self.address(a), self.address(b)) else { continue };
                    script.push_str(&format!("add element bridge shoal cut {{ {a} . {b}, {b} . {a} }}\n"));
                }
            }
        }
        self.nft(&script)
    }

    /// Loses this share of what these send to others, and nothing of others any more.
    pub fn lose(&self, share: f64, names: &[String]) -> Result<(), String> {
        let mut script = String::from("flush chain bridge shoal losses\n");
        let part = (share * 10_000.0).round() as u32;
        for address in names.iter().filter_map(|name| self.address(name)).filter(|_| part > 0) {
            let random = format!("numgen random mod 10000 < {part} drop");
            script.push_str(&format!("add rule bridge shoal losses ip saddr {address} {random}\n"));
        }
        self.nft(&script)
    }

    /// Delays what these send, and nothing of others any more.
    pub fn delay(&mut self, time: Duration, names: &[String]) -> Result<(), String> {
        self.delays.clear();
        if time.is_zero() {
            return Ok(());
        }
        for name in names {
            let delay =
                Delay::start(self.namespace(name), time).map_err(|error| format!("{name}: {error}"))?;
            self.delays.push(delay);
        }
        Ok(())
    }

    /// Ends all faults.
    pub fn heal(&mut self) -> Result<(), String> {
        self.delays.clear();
        self.nft("flush set bridge shoal cut\nflush chain bridge shoal losses\n")
    }

    fn nft(&self, script: &str) -> Result<(), String> {
        tool("ip", &["netns", "exec", &self.switch(), "nft", "-f", "-"], script)
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        self.delays.clear();
        if self.keep {
            return;
        }
        let names = self.members.iter().map(|member| self.namespace(&member.name));
        for name in names.chain([self.switch()]) {
            // One that could not be made cannot be removed.
            let _ = ip(&["netns", "del", &name]);
        }
    }
}

/// Removes namespaces of scenarios that were killed: their process is gone, and nothing runs in them.
fn sweep() {
    let Ok(entries) = std::fs::read_dir("/run/netns") else { return };
    for name in entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()) {
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('-')?.0.parse::<u32>().ok());
        let Some(owner) = owner.filter(|owner| !Path::new("/proc").join(owner.to_string()).exists()) else {
            continue;
        };
        let used = Command::new("ip").args(["netns", "pids", &name]).output();
        if used.is_ok_and(|used| used.status.success() && used.stdout.is_empty()) && owner > 0 {
            let _ = ip(&["netns", "del", &name]);
        }
    }
}

fn ip(arguments: &[&str]) -> Result<(), String> {
    tool("ip", arguments, "")
}

/// Runs a tool to its end. ^C at the terminal does not reach it, so that cleaning up is not cut short.
pub(super) fn tool(program: &str, arguments: &[&str], input: &str) -> Result<(), String> {
    use std::io::Write;
    let run = || {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.process_group(0).spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input.as_bytes())?;
        }
        child.wait_with_output()
    };
    let said = |text: String| format!("'{program} {}' failed: {text}", arguments.join(" "));
    let output = run().map_err(|error: std::io::Error| said(error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    Err(said(String::from_utf8_lossy(&output.stderr).lines().next().unwrap_or_default().to_owned()))
}
