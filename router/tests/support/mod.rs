//! Fake nodes that tests script, a blocking client, and a router in front of them.
#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test file uses its share, and a test may panic"
)]

use std::{
    collections::HashMap,
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use shoal_proto::{
    resp::{
        Args, Limits, Request, Scanner,
        frame::{self, Frames},
        request::OwnedArgs,
    },
    slot::key_slot,
    view::{Member, NodeId, View},
};
use shoal_router::{Router, RouterHandle, Settings, Views};
use tokio::sync::watch;

/// Longest that a test waits for anything.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// What a fake node does with a request instead of answering it.
pub enum Act {
    /// Sends these bytes.
    Reply(Vec<u8>),
    /// Sends these bytes and closes.
    ReplyAndClose(Vec<u8>),
    /// Closes.
    Close,
    /// Waits until the gate opens, then answers as usual.
    Wait(Gate),
}

pub type Data = HashMap<(usize, Vec<u8>), Vec<u8>>;

pub type Script = Box<dyn Fn(&Connection, &[Vec<u8>]) -> Option<Act> + Send + Sync>;

/// Something that threads wait at until it is opened.
#[derive(Clone, Default)]
pub struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    pub fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    pub fn wait(&self) {
        let mut open = self.0.0.lock().unwrap();
        while !*open {
            open = self.0.1.wait(open).unwrap();
        }
    }
}

/// One connection of a router to a fake node.
pub struct Connection {
    pub db: usize,
    pub resp3: bool,
    pub upstream: bool,
    /// The node's boot when it began.
    pub boot: u64,
}

pub struct FakeNode {
    pub addr: SocketAddr,
    /// Values by database and key.
    pub data: Mutex<Data>,
    script: Mutex<Option<Arc<Script>>>,
    sockets: Mutex<Vec<TcpStream>>,
    pub seen: Mutex<Vec<Vec<Vec<u8>>>>,
    pub requests: AtomicUsize,
    /// Which run of the node's process this is.
    pub boot: AtomicU64,
    /// Of the view that it says is in force.
    pub epoch: AtomicU64,
}

impl FakeNode {
    pub fn start() -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let node = Arc::new(Self {
            addr: listener.local_addr().unwrap(),
            data: Mutex::default(),
            script: Mutex::default(),
            sockets: Mutex::default(),
            seen: Mutex::default(),
            requests: AtomicUsize::new(0),
            boot: AtomicU64::new(1),
            epoch: AtomicU64::new(1),
        });
        let this = node.clone();
        std::thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                let this = this.clone();
                this.sockets.lock().unwrap().push(socket.try_clone().unwrap());
                std::thread::spawn(move || this.serve(socket));
            }
        });
        node
    }

    pub fn script(&self, script: impl Fn(&Connection, &[Vec<u8>]) -> Option<Act> + Send + Sync + 'static) {
        *self.script.lock().unwrap() = Some(Arc::new(Box::new(script)));
    }

    pub fn unscript(&self) {
        *self.script.lock().unwrap() = None;
    }

    /// Closes all connections; returns how many there were.
    pub fn kill(&self) -> usize {
        let sockets: Vec<TcpStream> = self.sockets.lock().unwrap().drain(..).collect();
        sockets.iter().filter(|s| s.shutdown(Shutdown::Both).is_ok()).count()
    }

    pub fn id(&self) -> NodeId {
        NodeId { node: u64::from(self.addr.port()), boot: self.boot.load(Ordering::Relaxed) }
    }

    pub fn saw(&self, request: &[&str]) -> bool {
        let wanted: Vec<Vec<u8>> = request.iter().map(|w| w.as_bytes().to_vec()).collect();
        self.seen.lock().unwrap().contains(&wanted)
    }

    pub fn put(&self, key: &str, value: &str) {
        self.data.lock().unwrap().insert((0, key.into()), value.into());
    }

    fn serve(&self, mut socket: TcpStream) {
        socket.set_nodelay(true).unwrap();
        let mut state =
            Connection { db: 0, resp3: false, upstream: false, boot: self.boot.load(Ordering::Relaxed) };
        let (mut input, mut scanner) = (Vec::new(), Scanner::new());
        let mut chunk = vec![0; 1 << 16];
        loop {
            let mut at = 0;
            let mut out = Vec::new();
            while let Some(request) = scanner.next(&input[at..], &Limits::default()).unwrap() {
                let Request::Multibulk { consumed } = request else {
                    panic!("routers send multibulk requests")
                };
                let words: Vec<Vec<u8>> =
                    Args::new(&input[at..], scanner.spans()).iter().map(<[u8]>::to_vec).collect();
                at += consumed;
                self.requests.fetch_add(1, Ordering::Relaxed);
                if words.len() < 20 && words.iter().all(|w| w.len() < 100) {
                    self.seen.lock().unwrap().push(words.clone());
                }
                let script = self.script.lock().unwrap().clone();
                match script.and_then(|script| script(&state, &words)) {
                    None => self.answer(&mut state, &words, &mut out),
                    Some(Act::Reply(bytes)) => out.extend(bytes),
                    Some(Act::ReplyAndClose(bytes)) => {
                        out.extend(bytes);
                        let _ = socket.write_all(&out);
                        return drop(socket.shutdown(Shutdown::Both));
                    }
                    Some(Act::Close) => return drop(socket.shutdown(Shutdown::Both)),
                    Some(Act::Wait(gate)) => {
                        if socket.write_all(&std::mem::take(&mut out)).is_err() {
                            return;
                        }
                        gate.wait();
                        self.answer(&mut state, &words, &mut out);
                    }
                }
            }
            input.drain(..at);
            if socket.write_all(&out).is_err() {
                return;
            }
            match socket.read(&mut chunk) {
                Ok(n) if n > 0 => input.extend_from_slice(&chunk[..n]),
                _ => return,
            }
        }
    }

    fn answer(&self, state: &mut Connection, words: &[Vec<u8>], out: &mut Vec<u8>) {
        let mut data = self.data.lock().unwrap();
        let word = |i: usize| String::from_utf8_lossy(&words[i]).to_ascii_uppercase();
        let db = state.db;
        let null: &[u8] = if state.resp3 { b"_\r\n" } else { b"$-1\r\n" };
        match word(0).as_str() {
            "SHOAL" => {
                state.upstream = true;
                out.extend(b"+OK\r\n");
            }
            "HELLO" => {
                state.resp3 = true;
                out.extend(b"%1\r\n+proto\r\n:3\r\n");
            }
            "CLUSTER" if word(1) == "INFO" => {
                let epoch = self.epoch.load(Ordering::Relaxed);
                bulk(out, format!("cluster_current_epoch:{epoch}\r\ncluster_my_epoch:{epoch}\r\n").as_bytes());
            }
            "CLUSTER" => bulk(out, self.id().hex().as_bytes()),
            "SELECT" => {
                state.db = word(1).parse().unwrap();
                out.extend(b"+OK\r\n");
            }
            "GET" => match data.get(&(db, words[1].clone())) {
                Some(value) => bulk(out, value),
                None => out.extend(null),
            },
            "SET" => {
                data.insert((db, words[1].clone()), words[2].clone());
                out.extend(b"+OK\r\n");
            }
            "MSET" => {
                for pair in words[1..].chunks(2) {
                    data.insert((db, pair[0].clone()), pair[1].clone());
                }
                out.extend(b"+OK\r\n");
            }
            "MGET" => {
                out.extend(format!("*{}\r\n", words.len() - 1).bytes());
                for key in &words[1..] {
                    match data.get(&(db, key.clone())) {
                        Some(value) => bulk(out, value),
                        None => out.extend(null),
                    }
                }
            }
            "DEL" => {
                let n = words[1..].iter().filter(|k| data.remove(&(db, (*k).clone())).is_some()).count();
                out.extend(format!(":{n}\r\n").bytes());
            }
            "DBSIZE" => out.extend(format!(":{}\r\n", data.keys().filter(|(d, _)| *d == db).count()).bytes()),
            "KEYS" => {
                let keys: Vec<_> = data.keys().filter(|(d, _)| *d == db).collect();
                out.extend(format!("*{}\r\n", keys.len()).bytes());
                keys.iter().for_each(|(_, k)| bulk(out, k));
            }
            "RANDOMKEY" => match data.keys().find(|(d, _)| *d == db) {
                Some((_, key)) => bulk(out, key),
                None => out.extend(null),
            },
            "FLUSHALL" => {
                data.clear();
                out.extend(b"+OK\r\n");
            }
            "INFO" => bulk(out, b"# Server\r\nredis_mode:cluster\r\ntcp_port:1\r\n\r\n# Keyspace\r\ndb0:keys=1,expires=0,avg_ttl=0\r\n"),
            _ => out.extend(b"+OK\r\n"),
        }
    }
}

fn bulk(out: &mut Vec<u8>, value: &[u8]) {
    out.extend(format!("${}\r\n", value.len()).bytes());
    out.extend(value);
    out.extend(b"\r\n");
}

/// A router over fake nodes that own equal runs of slots.
pub struct Bench {
    pub nodes: Vec<Arc<FakeNode>>,
    pub router: RouterHandle,
    pub views: watch::Sender<Arc<View>>,
    pub refreshes: Arc<AtomicUsize>,
}

pub fn settings() -> Settings {
    let (patience, farewell) = (Duration::from_secs(10), Duration::from_millis(100));
    Settings { threads: 1, patience, farewell, ..Settings::default() }
}

impl Bench {
    pub fn new(n: usize) -> Self {
        Self::with(n, settings())
    }

    pub fn with(n: usize, settings: Settings) -> Self {
        let nodes: Vec<Arc<FakeNode>> = (0..n).map(|_| FakeNode::start()).collect();
        let (views, current) = watch::channel(Arc::new(view(1, &nodes, &thirds(n))));
        let refreshes = Arc::new(AtomicUsize::new(0));
        let count = refreshes.clone();
        let refresh = Box::new(move || {
            count.fetch_add(1, Ordering::Relaxed);
        });
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let views_of_router = Views { current, refresh, ready: Box::new(|| true) };
        let router = Router::start(settings, vec![listener], views_of_router, Box::new(|| {})).unwrap();
        Self { nodes, router, views, refreshes }
    }

    pub fn client(&self) -> Client {
        Client::connect(self.router.addr())
    }

    /// The node that owns `key` in the first view.
    pub fn owner(&self, key: &str) -> usize {
        usize::from(key_slot(key.as_bytes())) / 16384usize.div_ceil(self.nodes.len())
    }

    /// The first key `prefix<number>` that the node owns.
    pub fn key_of(&self, node: usize, prefix: &str) -> String {
        (0..).map(|i| format!("{prefix}{i}")).find(|k| self.owner(k) == node).unwrap()
    }
}

pub fn thirds(n: usize) -> Vec<u16> {
    (0..16384).map(|slot| (slot / 16384usize.div_ceil(n)) as u16).collect()
}

/// A view in which all slots have their data of epoch 1.
pub fn view(epoch: u64, nodes: &[Arc<FakeNode>], owners: &[u16]) -> View {
    born(epoch, nodes, owners, &[1; 16384])
}

/// A view in which slots were made anew in these epochs.
pub fn born(epoch: u64, nodes: &[Arc<FakeNode>], owners: &[u16], born: &[u64]) -> View {
    let member = |(i, node): (usize, &Arc<FakeNode>)| Member {
        id: node.id(),
        name: format!("n{i}"),
        host: "127.0.0.1".to_owned(),
        resp_port: node.addr.port(),
        gossip_port: 0,
        weight: 100,
        zone: String::new(),
        replication: Default::default(),
    };
    View::new(1, epoch, nodes.iter().enumerate().map(member).collect(), owners).born_at(born)
}

/// Polls until `condition` holds.
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what} did not happen");
        std::thread::yield_now();
    }
}

/// A blocking client.
pub struct Client {
    pub socket: TcpStream,
    buffer: Vec<u8>,
    frames: Frames,
}

impl Client {
    pub fn connect(addr: SocketAddr) -> Self {
        let socket = TcpStream::connect(addr).unwrap();
        socket.set_nodelay(true).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket, buffer: Vec::new(), frames: Frames::new() }
    }

    pub fn send_raw(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).unwrap();
    }

    pub fn send(&mut self, line: &str) {
        let words = shoal_proto::resp::inline::split(line.as_bytes()).unwrap();
        self.send_raw(OwnedArgs::new(words).args().raw());
    }

    /// The next reply's bytes, `None` at the end of the stream.
    pub fn receive(&mut self) -> Option<Vec<u8>> {
        let mut chunk = vec![0; 1 << 16];
        loop {
            if let Some(len) = self.frames.next(&self.buffer).unwrap() {
                let rest = self.buffer.split_off(len);
                return Some(std::mem::replace(&mut self.buffer, rest));
            }
            match self.socket.read(&mut chunk) {
                Ok(0) => return None,
                Ok(n) => self.buffer.extend_from_slice(&chunk[..n]),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("no reply: {error}"),
            }
        }
    }

    /// The next reply, readable.
    pub fn reply(&mut self) -> String {
        show(&self.receive().expect("a reply"))
    }

    pub fn ask(&mut self, line: &str) -> String {
        self.send(line);
        self.reply()
    }
}

/// A reply as text: `"bulk"`, `nil`, `[a, b]`, and lines as they are.
pub fn show(reply: &[u8]) -> String {
    match reply[0] {
        b'$' if reply.starts_with(b"$-1") => "nil".to_owned(),
        b'_' => "null".to_owned(),
        b'$' => format!("{:?}", String::from_utf8_lossy(frame::text(reply).unwrap())),
        b'=' => format!("txt{:?}", String::from_utf8_lossy(frame::text(reply).unwrap())),
        b'*' | b'%' | b'~' => {
            let parts: Vec<String> = frame::elements(reply).map(show).collect();
            format!("[{}]", parts.join(", "))
        }
        _ => String::from_utf8_lossy(&reply[..reply.len() - 2]).into_owned(),
    }
}
