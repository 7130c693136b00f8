//! The servers of a scenario: their names, addresses and processes, and what can be done to them.
//!
//! Dropping a cluster kills every process and then removes the network, whatever has happened before.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::command_line::{Places, find_program};
use super::condition::Condition;
use super::file::{Network, Ready, Scenario, Server};
use super::guard::enter;
use super::network::Namespaces;
use super::process::{Process, Start, describe, last_words};
use crate::procfs::Usage;

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// All servers.
#[derive(Debug)]
pub struct Cluster {
    // The order matters: processes end before their network does.
    units: Vec<Unit>,
    network: Option<Namespaces>,
    folder: PathBuf,
    keep: bool,
    /// What those have used that are gone.
    gone: Usage,
    /// The scenario's file, for errors.
    file: String,
    /// The processes that were ever started, in order.
    started: Vec<u32>,
}

/// One server, running or not.
#[derive(Debug)]
struct Unit {
    name: String,
    number: Option<u32>,
    server: Server,
    program: PathBuf,
    address: SocketAddr,
    process: Option<Process>,
}

/// Asked between two looks whether to go on waiting.
pub type GoOn<'a> = &'a dyn Fn() -> bool;

impl Cluster {
    /// Gives every server an address; starts nothing yet.
    pub fn new(scenario: &Scenario, folder: &Path, keep: bool) -> Result<Self, String> {
        let mut servers: Vec<(String, Option<u32>, &Server)> = Vec::new();
        let named = |router: bool| {
            scenario.processes.iter().filter(move |server| (server.name == "router") == router)
        };
        servers.extend(named(false).map(|server| (server.name.clone(), None, server)));
        if let Some(nodes) = &scenario.nodes {
            servers.extend((1..=nodes.most).map(|n| (format!("node-{n}"), Some(n), &nodes.server)));
        }
        // Last, so that the nodes it is told of are there.
        servers.extend(named(true).map(|server| (server.name.clone(), None, server)));
        let names: Vec<String> = servers.iter().map(|(name, ..)| name.clone()).collect();
        let network = match scenario.network {
            Network::Host => None,
            Network::Namespaces => Some(Namespaces::new(&names, keep)?),
        };
        let mut units = Vec::new();
        let mut ports = free_ports(names.len())?.into_iter();
        for (name, number, server) in servers {
            let address = match &network {
                Some(network) => network.address(&name).map(|ip| SocketAddr::from((ip, NAMESPACE_PORT))),
                None => ports.next().map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port))),
            };
            let address = address.ok_or_else(|| format!("there is no address for {name}"))?;
            let program = find_program(server.command.program())?;
            units.push(Unit { name, number, server: server.clone(), program, address, process: None });
        }
        let (gone, started) = (Usage::default(), Vec::new());
        let file = scenario.file().to_owned();
        Ok(Self { units, network, folder: folder.to_path_buf(), keep, gone, file, started })
    }

    /// The namespaces, if there are some.
    pub fn network(&mut self) -> Option<&mut Namespaces> {
        self.network.as_mut()
    }

    /// The namespace that the load shall run in.
    pub fn client_namespace(&self) -> Option<String> {
        self.network.as_ref().map(|network| network.namespace(super::network::CLIENT))
    }

    /// What all processes have used that were ever started, those included that are gone.
    pub fn usage(&mut self) -> Usage {
        let mut sum = self.gone;
        self.units
            .iter_mut()
            .filter_map(|unit| unit.process.as_mut())
            .for_each(|process| sum.add(process.usage()));
        sum
    }

    /// The processes that were ever started, in order.
    pub fn started(&self) -> &[u32] {
        &self.started
    }

    /// Forgets a process that has ended, but for what it used.
    fn bury(&mut self, name: &str) -> Result<(), String> {
        if let Some(mut process) = self.unit(name)?.process.take() {
            self.gone.add(Usage { resident: 0, ..process.usage() });
        }
        Ok(())
    }

    /// Starts what runs at the beginning: all but the nodes that come later.
    pub fn start_all(&mut self, nodes: u32, limit: Duration, go_on: GoOn<'_>) -> Result<(), String> {
        let wanted = self.units.iter().filter(|unit| unit.number.is_none_or(|n| n <= nodes));
        let wanted: Vec<(String, usize)> = wanted.map(|unit| (unit.name.clone(), unit.server.line)).collect();
        for (name, line) in wanted {
            self.start(&name, limit, go_on).map_err(|why| format!("{}:{line}: {why}", self.file))?;
        }
        Ok(())
    }

    fn unit(&mut self, name: &str) -> Result<&mut Unit, String> {
        self.units.iter_mut().find(|unit| unit.name == name).ok_or_else(|| format!("there is no {name}"))
    }

    /// The running process of this name.
    fn running(&mut self, name: &str) -> Result<&mut Process, String> {
        self.unit(name)?.process.as_mut().ok_or_else(|| format!("{name} does not run"))
    }

    /// The log of a server.
    pub fn log(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.log"))
    }

    /// Names of the nodes that run, in order.
    pub fn nodes(&self) -> Vec<String> {
        let running = self.units.iter().filter(|unit| unit.number.is_some() && unit.process.is_some());
        running.map(|unit| unit.name.clone()).collect()
    }

    /// The processes that a name stands for.
    pub fn resolve(&self, name: &str) -> Vec<String> {
        if name == "nodes" { self.nodes() } else { vec![name.to_owned()] }
    }

    /// Where a server is.
    pub fn address(&self, name: &str) -> Option<SocketAddr> {
        self.units.iter().find(|unit| unit.name == name).map(|unit| unit.address)
    }

    /// Name, address and process id of all that run.
    pub fn list(&self) -> Vec<(String, SocketAddr, u32)> {
        let running = self.units.iter().filter_map(|unit| Some((unit, unit.process.as_ref()?.id())));
        running.map(|(unit, id)| (unit.name.clone(), unit.address, id)).collect()
    }

    /// Starts a server and waits until it is ready; says its process id.
    pub fn start(&mut self, name: &str, limit: Duration, go_on: GoOn<'_>) -> Result<String, String> {
        let seeds = self
            .units
            .iter()
            .filter(|unit| unit.number.is_some() && unit.process.is_some() && unit.name != name);
        let seeds = seeds.map(|unit| unit.address.to_string()).collect::<Vec<_>>().join(",");
        let (log, folder, keep) = (self.log(name), self.folder.join(name), self.keep);
        let namespace = self.network.as_ref().map(|network| network.namespace(name));
        std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let unit = self.unit(name)?;
        if let Some(process) = &unit.process {
            return Err(format!("{name} runs already (pid {})", process.id()));
        }
        let arguments = unit.server.command.arguments(&Places {
            name: name.to_owned(),
            number: unit.number.map(|number| number.to_string()).unwrap_or_default(),
            address: unit.address.ip().to_string(),
            port: unit.address.port().to_string(),
            seeds,
            dir: folder.to_string_lossy().into_owned(),
        });
        let start = Start {
            program: &unit.program,
            arguments: &arguments,
            namespace: namespace.as_deref(),
            log: &log,
            folder: &folder,
            keep,
        };
        let process = Process::start(&start).map_err(|error| format!("{name} cannot be started: {error}"))?;
        let id = process.id();
        unit.process = Some(process);
        self.started.push(id);
        self.wait_ready(name, limit, go_on)
    }

    fn wait_ready(&mut self, name: &str, limit: Duration, go_on: GoOn<'_>) -> Result<String, String> {
        let started = Instant::now();
        let (address, ready) = self.unit(name).map(|unit| (unit.address, unit.server.ready))?;
        let id = self.running(name)?.id();
        loop {
            let state = match ready {
                Ready::None => Ok(()),
                Ready::Tcp => self.look_from_outside(|| {
                    TcpStream::connect_timeout(&address, Duration::from_secs(1))
                        .map(drop)
                        .map_err(|e| e.to_string())
                }),
                Ready::Ping => {
                    let ping = Condition::parse(&format!("{name} answers"))?;
                    self.look_from_outside(|| ping.holds(address))
                }
            };
            if let Some(status) = self.running(name)?.ended() {
                self.bury(name)?;
                return Err(self.obituary(name, &describe(status)));
            }
            match state {
                Ok(()) => {
                    return Ok(format!("pid {id}, ready after {:.2} s", started.elapsed().as_secs_f64()));
                }
                Err(_) if !go_on() => return Err("interrupted".into()),
                Err(why) if started.elapsed() > limit => {
                    return Err(format!(
                        "{name} is not ready after {limit:?}: {why}; its log is {}",
                        self.log(name).display()
                    ));
                }
                Err(_) => std::thread::sleep(LOOK),
            }
        }
    }

    fn obituary(&self, name: &str, how: &str) -> String {
        let log = self.log(name);
        format!("{name} has ended by itself ({how}); the end of {}:\n{}", log.display(), last_words(&log))
    }

    /// Looks from where no fault reaches.
    fn look_from_outside<T: Send>(
        &self,
        look: impl FnOnce() -> Result<T, String> + Send,
    ) -> Result<T, String> {
        let Some(network) = &self.network else { return look() };
        let switch = network.switch();
        std::thread::scope(|scope| {
            let looking =
                scope.spawn(move || enter(&switch).map_err(|error| error.to_string()).and_then(|()| look()));
            looking.join().unwrap_or_else(|_| Err("the look failed".into()))
        })
    }

    /// True if the condition holds; says why not.
    pub fn holds(&self, condition: &Condition) -> Result<(), String> {
        let names = self.resolve(&condition.subject);
        if names.is_empty() {
            return Err("no node runs".into());
        }
        for name in names {
            let address = self.address(&name).ok_or_else(|| format!("there is no {name}"))?;
            self.look_from_outside(|| condition.holds(address)).map_err(|why| format!("{name}: {why}"))?;
        }
        Ok(())
    }

    /// Sends a command to a server.
    pub fn send(&self, name: &str, command: &[String]) -> Result<String, String> {
        let address = self.address(name).ok_or_else(|| format!("there is no {name}"))?;
        self.look_from_outside(|| super::condition::ask(address, command))
    }

    /// SIGTERM, and waits for the end.
    pub fn stop(&mut self, name: &str, limit: Duration, go_on: GoOn<'_>) -> Result<String, String> {
        let started = Instant::now();
        let process = self.running(name)?;
        process.signal(Signal::TERM, false)?;
        let Some(status) = process.wait(limit, go_on) else {
            let why =
                if go_on() { format!("it has not ended after {limit:?}") } else { "interrupted".into() };
            return Err(format!("{name}: {why}"));
        };
        self.bury(name)?;
        let text = format!("{} after {:.2} s", describe(status), started.elapsed().as_secs_f64());
        if status.success() { Ok(text) } else { Err(format!("{name} was asked to stop: {text}")) }
    }

    /// SIGKILL.
    pub fn kill(&mut self, name: &str) -> Result<String, String> {
        let process = self.running(name)?;
        let id = process.id();
        process.kill();
        self.bury(name)?;
        Ok(format!("pid {id}"))
    }

    /// SIGSTOP or SIGCONT.
    pub fn freeze(&mut self, name: &str, stop: bool) -> Result<(), String> {
        let signal = if stop { Signal::STOP } else { Signal::CONT };
        self.running(name)?.signal(signal, true).map_err(|error| format!("{name}: {error}"))
    }

    /// The next node to start when there shall be more.
    pub fn next_node(&self) -> Option<String> {
        self.units
            .iter()
            .find(|unit| unit.number.is_some() && unit.process.is_none())
            .map(|unit| unit.name.clone())
    }

    /// Looks whether all that were started still run.
    pub fn check(&mut self) -> Result<(), String> {
        let dead = self.units.iter_mut().find_map(|unit| {
            let status = unit.process.as_mut()?.ended()?;
            Some((unit.name.clone(), status))
        });
        match dead {
            None => Ok(()),
            Some((name, status)) => Err(self.obituary(&name, &describe(status))),
        }
    }
}

/// In a namespace of its own every server can have the same port.
const NAMESPACE_PORT: u16 = 6379;
/// Shoal's programs also use the port so far above (gossip) and twice as far (admin).
const STRIDE: u16 = 10_000;
/// Ports are taken from here on: even the highest of the three is below those that systems give out.
const PORTS: std::ops::Range<u16> = 11_000..12_700;

/// Loopback ports that nobody listens on, with the two that go with each.
fn free_ports(count: usize) -> Result<Vec<u16>, String> {
    let ip = IpAddr::from(Ipv4Addr::LOCALHOST);
    let is_free = |port: u16| {
        TcpListener::bind((ip, port)).is_ok()
            && TcpListener::bind((ip, port + STRIDE)).is_ok()
            && UdpSocket::bind((ip, port + STRIDE)).is_ok()
            && TcpListener::bind((ip, port + 2 * STRIDE)).is_ok()
    };
    // Scenarios that start at the same time look in different places.
    let turn = std::process::id() as usize * 101 % PORTS.len();
    let candidates = PORTS.skip(turn).chain(PORTS.take(turn));
    let ports: Vec<u16> = candidates.filter(|port| is_free(*port)).take(count).collect();
    if ports.len() == count { Ok(ports) } else { Err("there are not enough free ports".into()) }
}
