//! Real server processes on free ports, ended when their handle is dropped.

use std::{
    ffi::{OsStr, OsString},
    hash::{BuildHasher, RandomState},
    io::{self, BufRead, BufReader, Read},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    ops::Range,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    sync::{Arc, LazyLock, Mutex},
    thread,
    time::{Duration, Instant},
};

use crate::{Client, Frame};

/// How long a server may take to answer its first PING.
const STARTUP: Duration = Duration::from_secs(20);
/// Pause between two attempts to reach a starting server.
const PAUSE: Duration = Duration::from_millis(5);
/// Starts tried: another process may take a port between its choice and its use.
const ATTEMPTS: usize = 3;

/// A running process. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    child: Child,
    ports: Vec<u16>,
    output: Arc<Mutex<String>>,
}

impl Process {
    /// Starts `program` with the arguments that `args` makes from `count` free ports, and waits until the
    /// first port answers PING (an error reply such as NOAUTH is an answer).
    ///
    /// # Errors
    /// When it cannot be started, ends, or does not answer in time; the text holds what it printed.
    pub fn start<A: Into<OsString>>(
        program: impl AsRef<OsStr>,
        count: usize,
        args: impl Fn(&[u16]) -> Vec<A>,
    ) -> io::Result<Self> {
        let mut last = None;
        for _ in 0..ATTEMPTS {
            let ports = free_ports(count)?;
            let words: Vec<OsString> = args(&ports).into_iter().map(Into::into).collect();
            let mut process = Self::spawn(program.as_ref(), &words, ports)?;
            match process.wait_until_ready() {
                Ok(()) => return Ok(process),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| io::Error::other("not started")))
    }

    fn spawn(program: &OsStr, args: &[OsString], ports: Vec<u16>) -> io::Result<Self> {
        let mut command = Command::new(program);
        command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let output = Arc::new(Mutex::new(String::new()));
        if let Some(stdout) = child.stdout.take() {
            keep(stdout, Arc::clone(&output));
        }
        if let Some(stderr) = child.stderr.take() {
            keep(stderr, Arc::clone(&output));
        }
        Ok(Self { child, ports, output })
    }

    fn wait_until_ready(&mut self) -> io::Result<()> {
        let deadline = Instant::now() + STARTUP;
        loop {
            let answer = Client::connect(self.address()).and_then(|mut client| client.call(["PING"]));
            if answer.is_ok() {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                return Err(io::Error::other(format!("it ended ({status}):\n{}", self.output())));
            }
            if Instant::now() > deadline {
                return Err(io::Error::other(format!("no answer in time:\n{}", self.output())));
            }
            thread::sleep(PAUSE);
        }
    }

    /// Where the first port is.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.ports[0]))
    }

    /// All its ports.
    pub fn ports(&self) -> &[u16] {
        &self.ports
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// A new connection to the first port.
    ///
    /// # Errors
    /// When it does not listen any more.
    pub fn client(&self) -> io::Result<Client> {
        Client::connect(self.address())
    }

    /// What it has printed so far.
    pub fn output(&self) -> String {
        self.output.lock().map(|text| text.clone()).unwrap_or_default()
    }

    /// Sends a signal by its name: `TERM` ends it gracefully, `STOP` freezes it, `CONT` thaws it.
    ///
    /// # Errors
    /// When it has ended.
    pub fn signal(&self, name: &str) -> io::Result<()> {
        let status = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status()?;
        if status.success() { Ok(()) } else { Err(io::Error::other("it has ended")) }
    }

    /// Waits until it has ended by itself; its exit code, if it was not ended by a signal.
    ///
    /// # Errors
    /// When it does not end in time.
    pub fn wait(&mut self, patience: Duration) -> io::Result<Option<i32>> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status.code());
            }
            if Instant::now() > deadline {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "it did not end in time"));
            }
            thread::sleep(PAUSE);
        }
    }

    /// Kills it at once, as a crash would.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn kill(&mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself: then there is nothing to do.
        let _ = self.kill();
    }
}

/// Keeps what a process prints, so that its pipe never fills up.
fn keep(from: impl Read + Send + 'static, output: Arc<Mutex<String>>) {
    thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            if let Ok(mut text) = output.lock() {
                text.push_str(&line);
                text.push('\n');
            }
        }
    });
}

/// Ports are taken from here: below those that systems give out to connections and to who asks for any port, or one of them
/// would now and then have the port of a server that is about to start.
const PORTS: Range<u16> = 13_000..21_000;

/// Ports of the loopback interface that nobody listens on, all different; no two calls of a process give the same one before
/// all have been given.
///
/// # Errors
/// When there are none.
pub fn free_ports(count: usize) -> io::Result<Vec<u16>> {
    static TURN: LazyLock<AtomicUsize> = LazyLock::new(|| {
        // Processes that start at the same time look in different places.
        AtomicUsize::new(RandomState::new().hash_one(0) as usize % PORTS.len())
    });
    let turns = std::iter::repeat_with(|| TURN.fetch_add(1, Relaxed) % PORTS.len()).take(PORTS.len());
    let ports = turns.map(|turn| PORTS.start + turn as u16);
    let free: Vec<u16> =
        ports.filter(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok()).take(count).collect();
    if free.len() == count { Ok(free) } else { Err(io::Error::other("there are not enough free ports")) }
}

/// A redis-server without persistence, the oracle of the scripts; `None`, with a printed explanation,
/// where it is not installed. Panics when it is installed and does not start.
pub fn redis_server() -> Option<Process> {
    let args = |ports: &[u16]| {
        let port = ports[0].to_string();
        let words =
            ["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--daemonize", "no"];
        words.map(str::to_owned).to_vec()
    };
    match Process::start("redis-server", 1, args) {
        Ok(process) => Some(process),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            println!("redis-server is not installed: the comparison with it is skipped");
            None
        }
        Err(error) => panic!("redis-server does not start: {error}"),
    }
}

/// The version a server gives in INFO, `7.0.15`.
///
/// # Errors
/// When it does not answer.
pub fn version(client: &mut Client) -> io::Result<String> {
    let info = client.call(["INFO", "server"])?;
    let text = info.text().map(|t| String::from_utf8_lossy(t).into_owned()).unwrap_or_default();
    let line = text.lines().find_map(|l| l.strip_prefix("redis_version:")).map(str::to_owned);
    line.ok_or_else(|| io::Error::other(format!("no version in {}", Frame::Bulk(text.into_bytes()))))
}
