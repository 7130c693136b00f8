//! TLS, clusters, several servers and short connections, against real redis-servers where they are installed.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use shoal_loadtest::arrivals::Spacing;
use shoal_loadtest::patience::Patience;
use shoal_loadtest::report::figures::Figures;
use shoal_loadtest::run::{Outcome, Purpose, Settings, run};
use shoal_loadtest::target::{Opening, Target, look_at};
use shoal_loadtest::tls::{Tls, Wanted};
use shoal_loadtest::verify::{check, driver};
use shoal_loadtest::workload::{CommandSpec, Workload};
use shoal_testkit::process::{Process, redis_server};
use shoal_testkit::{Client, Frame};

fn settings(targets: Vec<Target>) -> Settings {
    Settings {
        targets,
        cluster: false,
        opening: Opening::default(),
        connections: 12,
        pipeline: 4,
        threads: 2,
        duration: Duration::MAX,
        warmup: Duration::ZERO,
        grace: Duration::from_secs(10),
        limit: 5000,
        give_up: Duration::from_secs(10),
        rates: Vec::new(),
        spacing: Spacing::Even,
        workload: Workload { keys: 1000, ..Workload::default() },
        processes: Vec::new(),
    }
}

fn target(server: &Process) -> Target {
    Target::resolve(&server.address().to_string()).expect("an address with a port")
}

fn measure(settings: &Settings) -> Outcome {
    run(settings, Purpose::Measure, &Arc::new(AtomicBool::new(false)), |_, _| {})
        .expect("the server is there")
}

/// An authority, a server's certificate of it for 127.0.0.1 and `cache.test`, and a client's, as PEM files.
struct Certificates {
    folder: PathBuf,
}

impl Certificates {
    fn make(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("shoal-loadtest-{}-{name}", std::process::id()));
        Self::write(&folder).expect("files can be written there and the names are right");
        Self { folder }
    }

    fn write(folder: &Path) -> Result<(), Box<dyn std::error::Error>> {
        fs::create_dir_all(folder)?;
        let own_key = KeyPair::generate()?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Other than the one that certificates have by default, or they would look signed by themselves.
        params.distinguished_name.push(DnType::CommonName, format!("authority of {}", folder.display()));
        fs::write(folder.join("ca.pem"), params.self_signed(&own_key)?.pem())?;
        let issuer = Issuer::new(params, own_key);
        for (file, names) in
            [("server", vec!["127.0.0.1".into(), "cache.test".into()]), ("client", Vec::new())]
        {
            let key = KeyPair::generate()?;
            let certificate = CertificateParams::new(names)?.signed_by(&key, &issuer)?;
            fs::write(folder.join(format!("{file}.pem")), certificate.pem())?;
            fs::write(folder.join(format!("{file}.key")), key.serialize_pem())?;
        }
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn wanted(&self) -> Wanted {
        let own = Some((self.path("client.pem"), self.path("client.key")));
        Wanted { authority: Some(self.path("ca.pem")), own, ..Wanted::default() }
    }

    /// A redis-server that talks plainly on its first port, and on the second with TLS to clients of this authority.
    fn redis_server(&self) -> Option<Process> {
        let path = |name| self.path(name).display().to_string();
        let args = |ports: &[u16]| {
            let words = [
                ("port", ports[0].to_string()),
                ("tls-port", ports[1].to_string()),
                ("tls-cert-file", path("server.pem")),
                ("tls-key-file", path("server.key")),
                ("tls-ca-cert-file", path("ca.pem")),
                ("bind", "127.0.0.1".into()),
                ("save", String::new()),
            ];
            words.into_iter().flat_map(|(name, value)| [format!("--{name}"), value]).collect()
        };
        start("redis-server", 2, args)
    }
}

impl Drop for Certificates {
    fn drop(&mut self) {
        // What is left in the folder for temporary files harms nobody.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn start(program: &str, ports: usize, args: impl Fn(&[u16]) -> Vec<String>) -> Option<Process> {
    match Process::start(program, ports, args) {
        Ok(process) => Some(process),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            println!("{program} is not installed: this test is skipped");
            None
        }
        Err(error) => panic!("{program} does not start: {error}"),
    }
}

#[test]
fn tls_carries_every_request() {
    let certificates = Certificates::make("load");
    let Some(server) = certificates.redis_server() else { return };
    let mut target = Target::resolve(&format!("127.0.0.1:{}", server.ports()[1])).unwrap();
    target.tls = Some(Tls::new(&certificates.wanted()).unwrap());
    assert!(look_at(&target, &Opening::default(), &Arc::default()).unwrap().starts_with("redis "));
    let mut settings = settings(vec![target]);
    // Values of several TLS records, so that reads end within them.
    settings.workload.sizes = "100000".parse().unwrap();
    settings.workload.keys = 20;
    settings.limit = 2000;
    settings.opening.database = 1;
    settings.workload.reconnect_every = Some(50);
    let outcome = measure(&settings);
    let tally = &outcome.tally;
    assert_eq!((tally.answered(), tally.errors(), tally.broken, tally.lost), (2000, 0, 0, 0));
    assert!(tally.connect.len() >= 20, "{}", tally.connect.len());
    assert!(tally.received > 50_000_000, "{}", tally.received);

    settings.rates = vec![(2000.0, Duration::MAX)];
    settings.workload.sizes = "10".parse().unwrap();
    let outcome = measure(&settings);
    assert_eq!((outcome.tally.answered(), outcome.tally.errors(), outcome.tally.broken), (2000, 0, 0));
}

#[test]
fn the_program_checks_and_replays_with_tls_and_a_password() {
    let certificates = Certificates::make("program");
    let Some(server) = certificates.redis_server() else { return };
    server.client().unwrap().call(["CONFIG", "SET", "requirepass", "secret"]).unwrap();
    let path = |name| certificates.path(name).display().to_string();
    fs::write(certificates.path("trace.csv"), "7,get,20000\n7,get,20000\n").unwrap();
    let target = format!("127.0.0.1:{}", server.ports()[1]);
    let run = |subcommand: &[&str], access: &[&str]| {
        let mut program = std::process::Command::new(env!("CARGO_BIN_EXE_shoal-loadtest"));
        program.args(subcommand).args(["-q", "--target", &target]).args(access);
        let output = program.output().expect("the program was built");
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&text).into_owned())
    };
    let (authority, own, key) = (path("ca.pem"), path("client.pem"), path("client.key"));
    let access = ["--tls", "--cacert", &authority, "--cert", &own, "--key", &key, "-3", "-a", "secret"];
    let verify = ["verify", "-n", "500", "-c", "4", "--value-size", "40000"];
    let (code, output) = run(&verify, &[&access[..], &["--user", "default", "--database", "3"]].concat());
    assert_eq!(code, Some(0), "{output}");
    assert!(output.contains("500 operations") || output.contains("nothing wrong found"), "{output}");
    let trace = path("trace.csv");
    let (code, output) = run(&["replay", &trace], &access);
    assert_eq!(code, Some(0), "{output}");
    assert!(output.contains("object hit ratio  50.00 % of 2 look-ups"), "{output}");
    for subcommand in [&verify[..], &["replay", &trace]] {
        let (code, output) = run(subcommand, &["--tls", "--insecure", "-a", "secret"]);
        assert_eq!(code, Some(2), "the server wants a certificate: {output}");
        let (code, output) = run(subcommand, &access[..8]);
        assert!(code == Some(2) && output.contains("NOAUTH"), "{output}");
    }
}

#[test]
fn certificates_are_checked() {
    let (certificates, others) = (Certificates::make("right"), Certificates::make("wrong"));
    let Some(server) = certificates.redis_server() else { return };
    let look = |host: &str, wanted: &Wanted| {
        let mut target = Target::resolve(&format!("{host}:{}", server.ports()[1])).unwrap();
        target.tls = Some(Tls::new(wanted)?);
        look_at(&target, &Opening::default(), &Arc::default())
    };
    let right = certificates.wanted();
    assert!(look("127.0.0.1", &right).is_ok());
    // Not a name in the certificate, unless the user says which name to look for.
    let error = look("localhost", &right).unwrap_err().to_string();
    assert!(error.starts_with("cannot connect to localhost:") && error.contains("certificate"), "{error}");
    assert!(look("localhost", &Wanted { name: Some("cache.test".into()), ..right.clone() }).is_ok());

    let foreign = Wanted { authority: Some(others.path("ca.pem")), ..right.clone() };
    let error = look("127.0.0.1", &foreign).unwrap_err().to_string();
    assert!(error.ends_with("no authority in the file given with --cacert has signed it"), "{error}");
    assert!(look("localhost", &Wanted { insecure: true, ..foreign }).is_ok());

    let nameless = Wanted { own: None, ..right.clone() };
    assert!(look("127.0.0.1", &nameless).is_err(), "the server wants a certificate");
}

#[test]
fn bad_certificate_files_are_named() {
    let certificates = Certificates::make("files");
    let error = |wanted: Wanted| Tls::new(&wanted).unwrap_err().to_string();
    assert!(error(Wanted::default()).contains("--cacert"));
    let missing = error(Wanted { authority: Some(Path::new("no-such.pem").into()), ..Wanted::default() });
    assert!(missing.starts_with("no-such.pem: "), "{missing}");
    let key = certificates.path("client.key");
    let empty = error(Wanted { authority: Some(key.clone()), ..Wanted::default() });
    assert!(empty.contains("client.key: there is no certificate in it"), "{empty}");
    let own = Some((certificates.path("client.pem"), certificates.path("server.key")));
    let other = error(Wanted { own, ..certificates.wanted() });
    assert!(other.contains("server.key: "), "{other}");
    let own = Some((certificates.path("client.pem"), certificates.path("ca.pem")));
    assert!(error(Wanted { own, ..certificates.wanted() }).contains("ca.pem: "));
    assert!(
        error(Wanted { name: Some("not a name".into()), ..certificates.wanted() }).contains("'not a name'")
    );
}

#[test]
fn several_servers_have_figures_of_their_own() {
    let (Some(first), Some(second)) = (redis_server(), redis_server()) else { return };
    second.client().unwrap().call(["SET", "list", "no list"]).unwrap();
    let mut settings = settings(vec![target(&first), target(&second)]);
    settings.workload.commands = vec![CommandSpec::new("LLEN list", 1)];
    let outcome = measure(&settings);
    let figures = Figures::new(&settings, &[], &outcome);
    let [one, two] = &figures.endpoints[..] else { panic!("{:?}", figures.endpoints) };
    assert_eq!((one.endpoint.as_str(), two.endpoint.as_str()), (&*figures.targets[0], &*figures.targets[1]));
    assert_eq!(one.answered + two.answered, 5000);
    assert_eq!((one.errors, two.errors), (0, two.answered));
    assert!(one.answered > 1000 && two.answered > 1000 && one.p50_us > 0.0, "{one:?} {two:?}");
    let counted = figures
        .seconds
        .iter()
        .fold([0, 0], |sum, second| [sum[0] + second.endpoints[0], sum[1] + second.endpoints[1]]);
    assert_eq!(counted, [one.answered, two.answered]);
}

#[test]
fn short_connections_lose_nothing() {
    let Some(server) = redis_server() else { return };
    let connections = |client: &mut Client| {
        let Frame::Bulk(info) = client.call(["INFO", "stats"]).unwrap() else { panic!() };
        let info = String::from_utf8(info).unwrap();
        let line = info.lines().find_map(|line| line.strip_prefix("total_connections_received:")).unwrap();
        line.trim().parse::<u64>().unwrap()
    };
    let mut client = server.client().unwrap();
    for rates in [Vec::new(), vec![(20_000.0, Duration::MAX)]] {
        let mut settings = settings(vec![target(&server)]);
        settings.rates = rates;
        settings.opening.resp3 = true;
        settings.workload.reconnect_every = Some(7);
        settings.workload.commands =
            vec![CommandSpec { on_miss: Some("SET {key} x".into()), ..CommandSpec::new("GET {key}", 1) }];
        let before = connections(&mut client);
        let outcome = measure(&settings);
        let opened = connections(&mut client) - before;
        let tally = &outcome.tally;
        assert_eq!(tally.commands[0].answered(), 5000);
        assert_eq!(tally.commands[1].answered(), tally.commands[0].misses);
        assert_eq!((tally.errors(), tally.lost, tally.broken, tally.unanswered), (0, 0, 0, 0));
        // Commands that answer misses may come on top of the seven.
        let expected = 5000 / 7..tally.answered() / 7 + 24;
        assert!(expected.contains(&opened), "{opened} connections for {} requests", tally.answered());
        assert!(tally.connect.len().abs_diff(opened) <= 24, "{} of {opened} timed", tally.connect.len());
        client.call(["FLUSHALL"]).unwrap();
    }
}

/// Three redis-servers that are a cluster, the slots dealt out evenly.
struct Cluster {
    nodes: Vec<Process>,
    /// Where nodes keep what they know of each other.
    folder: PathBuf,
}

/// How long a cluster may take to agree on itself.
const PATIENCE: Duration = Duration::from_secs(30);

impl Cluster {
    fn start(name: &str) -> Option<Self> {
        let folder = std::env::temp_dir().join(format!("shoal-loadtest-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder for temporary files");
        let args = |ports: &[u16]| {
            let words = [
                ("port", ports[0].to_string()),
                ("cluster-enabled", "yes".into()),
                ("cluster-port", ports[1].to_string()),
                ("cluster-config-file", format!("{}.conf", ports[0])),
                ("dir", folder.display().to_string()),
                ("bind", "127.0.0.1".into()),
                ("save", String::new()),
            ];
            words.into_iter().flat_map(|(name, value)| [format!("--{name}"), value]).collect()
        };
        let mut nodes = Vec::new();
        for _ in 0..3 {
            nodes.push(start("redis-server", 2, args)?);
        }
        let cluster = Self { nodes, folder };
        for (index, (low, high)) in [(0, 5460), (5461, 10922), (10923, 16383)].into_iter().enumerate() {
            cluster.call(index, &["CLUSTER", "ADDSLOTSRANGE", &low.to_string(), &high.to_string()]);
            let [port, bus] = cluster.nodes[index].ports() else { panic!() };
            cluster.call(0, &["CLUSTER", "MEET", "127.0.0.1", &port.to_string(), &bus.to_string()]);
        }
        for index in 0..3 {
            cluster.wait_until(|| {
                let Frame::Bulk(info) = cluster.call(index, &["CLUSTER", "INFO"]) else { panic!() };
                let info = String::from_utf8_lossy(&info);
                info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3")
            });
        }
        Some(cluster)
    }

    fn call(&self, node: usize, words: &[&str]) -> Frame {
        let client = self.nodes[node].client();
        client.and_then(|mut client| client.call(words.iter().copied())).expect("the node runs")
    }

    fn wait_until(&self, mut done: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done() {
            assert!(Instant::now() < deadline, "the cluster does not come to agree");
            std::thread::yield_now();
        }
    }

    fn id(&self, node: usize) -> String {
        let Frame::Bulk(id) = self.call(node, &["CLUSTER", "MYID"]) else { panic!() };
        String::from_utf8_lossy(&id).into_owned()
    }

    /// Moves a slot with its keys, as `redis-cli --cluster reshard` does.
    fn move_slot(&self, slot: u16, from: usize, to: usize) {
        let (slot, from_id, to_id) = (slot.to_string(), self.id(from), self.id(to));
        let port = self.nodes[to].address().port().to_string();
        self.call(to, &["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from_id]);
        self.call(from, &["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to_id]);
        loop {
            let Frame::Array(keys) = self.call(from, &["CLUSTER", "GETKEYSINSLOT", &slot, "1"]) else {
                panic!()
            };
            let Some(Frame::Bulk(key)) = keys.first() else { break };
            let key = String::from_utf8_lossy(key).into_owned();
            self.call(from, &["MIGRATE", "127.0.0.1", &port, &key, "0", "5000"]);
        }
        // The new owner's claim must be the newest, or a late ping of another node takes the slot away from it again.
        self.wait_until(|| {
            self.call(to, &["CLUSTER", "BUMPEPOCH"]);
            for node in [to, from, 3 - to - from] {
                self.call(node, &["CLUSTER", "SETSLOT", &slot, "NODE", &to_id]);
            }
            (0..3).all(|node| self.owner(node, &slot) == port)
        });
    }

    /// The port of the node that owns a slot, as `node` sees it.
    fn owner(&self, node: usize, slot: &str) -> String {
        let slot: i64 = slot.parse().expect("it was a number");
        let Frame::Array(ranges) = self.call(node, &["CLUSTER", "SLOTS"]) else { panic!() };
        let port = ranges.iter().find_map(|range| {
            let Frame::Array(range) = range else { return None };
            let (Frame::Int(low), Frame::Int(high)) = (range.first()?, range.get(1)?) else { return None };
            let Frame::Array(owner) = range.get(2)? else { return None };
            let Frame::Int(port) = owner.get(1)? else { return None };
            (*low..=*high).contains(&slot).then(|| port.to_string())
        });
        port.unwrap_or_default()
    }

    /// The slots of the keys that a node has.
    fn held(&self, node: usize) -> BTreeSet<u16> {
        let Frame::Array(keys) = self.call(node, &["KEYS", "*"]) else { panic!() };
        let slot = |key: &Frame| {
            let key = String::from_utf8_lossy(key.text().expect("keys are strings")).into_owned();
            let Frame::Int(slot) = self.call(node, &["CLUSTER", "KEYSLOT", &key]) else { panic!() };
            u16::try_from(slot).expect("slots are below 16384")
        };
        keys.iter().map(slot).collect()
    }

    fn size(&self, node: usize) -> i64 {
        let Frame::Int(size) = self.call(node, &["DBSIZE"]) else { panic!() };
        size
    }

    /// A run that only knows the first node.
    fn settings(&self) -> Settings {
        Settings { cluster: true, ..settings(vec![target(&self.nodes[0])]) }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.nodes.clear();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

#[test]
fn in_a_cluster_each_request_goes_to_the_owner_of_its_key() {
    let Some(cluster) = Cluster::start("owners") else { return };
    let mut settings = cluster.settings();
    let loaded = run(&settings, Purpose::Preload, &Arc::new(AtomicBool::new(false)), |_, _| {}).unwrap();
    assert_eq!((loaded.tally.answered(), loaded.tally.errors(), loaded.tally.redirects), (1000, 0, 0));
    assert_eq!((0..3).map(|node| cluster.size(node)).sum::<i64>(), 1000);

    for rates in [Vec::new(), vec![(20_000.0, Duration::MAX)]] {
        settings.rates = rates;
        settings.workload.reconnect_every = Some(40);
        let outcome = measure(&settings);
        let total = outcome.tally.total();
        assert_eq!((total.answered(), total.errors, total.misses, outcome.tally.redirects), (5000, 0, 0, 0));
        assert_eq!((outcome.tally.lost, outcome.tally.broken), (0, 0));
        let figures = Figures::new(&settings, &[], &outcome);
        assert_eq!(figures.endpoints.len(), 3);
        assert!(figures.endpoints.iter().all(|node| node.answered > 1000), "{:?}", figures.endpoints);
    }

    settings.workload.commands = vec![CommandSpec::new("MGET {keys:2}", 1)];
    let refused = run(&settings, Purpose::Measure, &Arc::new(AtomicBool::new(false)), |_, _| {}).unwrap_err();
    assert!(refused.to_string().contains("hash tag"), "{refused}");
    settings.workload.key_prefix = "{one}key:".into();
    assert_eq!(measure(&settings).tally.errors(), 0);
}

#[test]
fn requests_follow_slots_that_move() {
    let Some(cluster) = Cluster::start("moves") else { return };
    let mut settings = cluster.settings();
    // The slots of few keys are moved to and fro while all of them are in use.
    settings.workload.keys = 30;
    settings.workload.commands =
        vec![CommandSpec { on_miss: Some("SET {key} {value}".into()), ..CommandSpec::new("GET {key}", 1) }];
    settings.limit = u64::MAX;
    for rates in [Vec::new(), vec![(5000.0, Duration::MAX)]] {
        settings.rates = rates;
        let stop = Arc::new(AtomicBool::new(false));
        let outcome = std::thread::scope(|scope| {
            let running = scope.spawn(|| run(&settings, Purpose::Measure, &stop, |_, _| {}).unwrap());
            cluster.wait_until(|| (0..3).map(|node| cluster.size(node)).sum::<i64>() == 30);
            for (from, to) in [(0, 1), (1, 2), (2, 0), (0, 1)] {
                for slot in cluster.held(from).into_iter().take(4) {
                    cluster.move_slot(slot, from, to);
                }
            }
            stop.store(true, Ordering::Relaxed);
            running.join().unwrap()
        });
        let tally = &outcome.tally;
        assert!(tally.redirects > 0, "nothing was redirected");
        assert_eq!((tally.errors(), tally.lost, tally.broken), (0, 0, 0), "{:?}", tally.error_kinds);
        assert!(tally.answered() > 100, "{}", tally.answered());
        for node in 0..3 {
            cluster.call(node, &["FLUSHALL"]);
        }
    }
}

#[test]
fn checked_requests_follow_slots_that_move() {
    let Some(cluster) = Cluster::start("checked") else { return };
    let settings = driver::Settings {
        servers: vec![cluster.nodes[0].address().into()],
        cluster: true,
        opening: Vec::new(),
        clients: 4,
        pipeline: 1,
        keys: 20,
        value_size: 40,
        duration: Duration::MAX,
        limit: u64::MAX,
        patience: Patience::of(PATIENCE),
        give_up: PATIENCE,
        seed: 1,
        run: 1,
    };
    let stop = Arc::new(AtomicBool::new(false));
    let recorded = std::thread::scope(|scope| {
        let running = scope.spawn(|| driver::record(&settings, &stop).unwrap());
        cluster.wait_until(|| (0..3).map(|node| cluster.size(node)).sum::<i64>() >= 15);
        for (from, to) in [(0, 1), (1, 2), (2, 0)] {
            for slot in cluster.held(from).into_iter().take(4) {
                cluster.move_slot(slot, from, to);
            }
        }
        stop.store(true, Ordering::Relaxed);
        running.join().unwrap()
    });
    assert_eq!((recorded.failures, recorded.first_failure.as_deref()), (0, None));
    assert!(recorded.operations.len() > 100, "{}", recorded.operations.len());
    let keys = driver::written_keys(&recorded.operations);
    assert_eq!(check::check(recorded.operations), []);
    driver::remove_keys(&settings, &keys, &AtomicBool::new(false)).unwrap();
    assert_eq!((0..3).map(|node| cluster.size(node)).sum::<i64>(), 0);
}

#[test]
fn a_server_that_is_no_cluster_is_refused() {
    let Some(server) = redis_server() else { return };
    let settings = Settings { cluster: true, ..settings(vec![target(&server)]) };
    let refused = run(&settings, Purpose::Measure, &Arc::new(AtomicBool::new(false)), |_, _| {}).unwrap_err();
    assert!(refused.to_string().contains("refused CLUSTER SLOTS"), "{refused}");
}
