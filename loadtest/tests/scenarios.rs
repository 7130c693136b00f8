//! Scenarios as a user runs them: the program, real redis-server processes, its output and exit status.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How long anything here may take.
const PATIENCE: Duration = Duration::from_secs(60);

const REDIS: &str =
    "redis-server --port {port} --bind {address} --save '' --appendonly no --protected-mode no";

/// A directory of its own, gone at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("shoal-scenario-test-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).expect("temporary files can be made");
        Self(path)
    }

    /// Processes that run in it: servers run in directories of their own below it.
    fn processes(&self) -> Vec<String> {
        let entries = std::fs::read_dir("/proc").expect("this is Linux").filter_map(Result::ok);
        let inside = entries.filter(|entry| {
            std::fs::read_link(entry.path().join("cwd")).is_ok_and(|folder| folder.starts_with(&self.0))
        });
        inside.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn is_installed(program: &str) -> bool {
    let found = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if found.is_err() {
        println!("{program} is not installed: this test is skipped");
    }
    found.is_ok()
}

fn start(folder: &Folder, text: &str, more: &[&str]) -> Child {
    let file = folder.0.join("scenario.toml");
    std::fs::write(&file, text).expect("temporary files can be made");
    let mut command = Command::new(env!("CARGO_BIN_EXE_shoal-loadtest"));
    command.args(["scenario", "--quiet"]).arg(&file).arg("--logs").arg(folder.0.join("logs")).args(more);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it was built")
}

/// What the program printed, errors last, and how it ended.
fn finish(child: Child) -> (String, ExitStatus) {
    let output = child.wait_with_output().expect("it was started");
    let text = [output.stdout, output.stderr].concat();
    (String::from_utf8_lossy(&text).into_owned(), output.status)
}

fn run(folder: &Folder, text: &str, more: &[&str]) -> (String, Option<i32>) {
    let (text, status) = finish(start(folder, text, more));
    (text, status.code())
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn one_redis(rest: &str) -> String {
    format!("[[process]]\nname = \"redis\"\ncommand = \"{REDIS}\"\n\n{rest}")
}

#[test]
fn a_pause_is_measured_and_marked() {
    if !is_installed("redis-server") {
        return;
    }
    let folder = Folder::new("pause");
    let json = folder.0.join("report.json");
    let text = one_redis(
        "[load]\nkeys = 1000\nrate = 1000\npreload = true\n\
         [[step]]\nload = \"on\"\n\
         [[step]]\nname = \"steady\"\nwait = \"1s\"\n\
         [[step]]\nname = \"stall\"\npause = \"redis\"\nfor = \"700ms\"\n\
         [[step]]\nwait = \"500ms\"\n\
         [[step]]\nassert = [\"errors = 0\", \"longest_gap >= 0.65s\", \"max >= 650ms\", \"longest_outage >= 650ms\", \"hit_ratio = 100%\"]\nsince = \"stall\"\n\
         [[step]]\nassert = [\"errors = 0\", \"answered >= 100\"]\nof = \"steady\"\n",
    );
    let (output, code) = run(&folder, &text, &["--json", json.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{output}");
    assert!(output.contains("PASS  scenario"), "{output}");
    assert!(output.contains("7 of 7 claims true"), "{output}");
    let report: serde_json::Value = serde_json::from_slice(&std::fs::read(json).unwrap()).unwrap();
    let events = report["figures"]["events"].as_array().unwrap();
    let texts: Vec<&str> = events.iter().map(|event| event["text"].as_str().unwrap()).collect();
    assert_eq!(texts, ["pause redis for 700 ms"]);
    assert!(events[0]["at_s"].as_f64().unwrap() >= 1.0);
    // One clock for all: that of the steps.
    let steps = report["steps"].as_array().unwrap();
    let number = |value: &serde_json::Value| value.as_f64().unwrap();
    assert_eq!(events[0]["at_s"], steps[2]["at_s"]);
    let claims = report["figures"]["claims"].as_array().unwrap();
    assert_eq!(claims[0]["from_s"], steps[4]["window"]["from_s"]);
    assert_eq!(claims[6]["until_s"], steps[5]["window"]["until_s"]);
    let seconds = report["figures"]["seconds"].as_array().unwrap();
    let begin = number(&seconds[0]["begin_s"]);
    assert!(number(&steps[0]["at_s"]) <= begin && begin <= number(&steps[1]["at_s"]), "{begin}");
    assert!((number(&seconds[1]["begin_s"]) - begin - 1.0).abs() < 1e-6, "{begin}");
    assert_eq!(folder.processes(), Vec::<String>::new());
}

#[test]
fn an_outage_counts_while_the_server_is_gone() {
    if !is_installed("redis-server") {
        return;
    }
    let folder = Folder::new("outage");
    for (rate, fault) in [("", "kill"), ("rate = 500\n", "kill"), ("", "pause"), ("rate = 500\n", "pause")] {
        let text = one_redis(&format!(
            "[load]\nkeys = 1000\n{rate}\
             [[step]]\nload = \"on\"\n[[step]]\nwait = \"300ms\"\n\
             [[step]]\nname = \"fault\"\n{fault} = \"redis\"\n[[step]]\nwait = \"600ms\"\n\
             [[step]]\nassert = [\"longest_outage >= 400ms\", \"longest_outage <= 60s\"]\nsince = \"fault\"\n\
             [[step]]\nassert = [\"longest_outage >= 400ms\"]\nlast = \"200ms\"\n",
        ));
        let (output, code) = run(&folder, &text, &[]);
        assert_eq!(code, Some(0), "{fault} {rate}: {output}");
    }
    assert_eq!(folder.processes(), Vec::<String>::new());
}

#[test]
fn what_is_never_answered_makes_claims_false() {
    if !is_installed("redis-server") {
        return;
    }
    let folder = Folder::new("unanswered");
    let claims = "assert = [\"max <= 1s\", \"p99 <= 1s\", \"unanswered = 0\", \"errors = 0\", \"lost = 0\"]";
    for rate in ["rate = 500\n", ""] {
        let text = one_redis(&format!(
            "[load]\nkeys = 1000\nconnections = 5\npreload = true\n{rate}\
             [[step]]\nload = \"on\"\n[[step]]\nname = \"steady\"\nwait = \"300ms\"\n\
             [[step]]\npause = \"redis\"\n[[step]]\nname = \"silent\"\nwait = \"1500ms\"\n\
             [[step]]\n{claims}\nof = \"steady\"\ncontinue = true\n\
             [[step]]\n{claims}\nof = \"silent\"\ncontinue = true\n\
             [[step]]\n{claims}\nsince = \"silent\"\ncontinue = true\n\
             [[step]]\nload = \"off\"\n[[step]]\n{claims}\n",
        ));
        let (output, code) = run(&folder, &text, &[]);
        assert_eq!(code, Some(1), "{output}");
        let verdicts =
            output.lines().map(str::trim).filter(|line| line.contains(" = 0 ") || line.contains(" <= 1s "));
        let passed: Vec<bool> = verdicts.map(|line| line.starts_with("PASS")).collect();
        let silent = [false, false, false, true, true];
        // Once the load is off, what was not answered is an error.
        let over = [false, false, false, false, true];
        assert_eq!(passed, [[true; 5], silent, silent, over].concat(), "{rate}: {output}");
        assert!(output.contains(" that had no answer when the load ended"), "{output}");
    }
    assert_eq!(folder.processes(), Vec::<String>::new());
}

#[test]
fn a_false_claim_fails_the_scenario() {
    if !is_installed("redis-server") {
        return;
    }
    let folder = Folder::new("claim");
    let steps = "[[step]]\nload = \"on\"\n[[step]]\nwait = \"300ms\"\n\
                 [[step]]\nassert = [\"errors = 0\", \"throughput >= 1_000_000_000\"]\nCONTINUE\n[[step]]\nwait = \"10ms\"\n";
    let text = one_redis(&format!("[load]\nrate = 500\n{steps}"));
    let (output, code) = run(&folder, &text.replace("CONTINUE", ""), &[]);
    assert_eq!(code, Some(1), "{output}");
    assert!(
        output.contains("FAIL  throughput >= 1_000_000_000") && output.contains("PASS  errors = 0"),
        "{output}"
    );
    assert!(output.contains("1 step not done"), "{output}");
    let (output, code) = run(&folder, &text.replace("CONTINUE", "continue = true"), &[]);
    assert_eq!(code, Some(1), "{output}");
    assert!(
        output.contains("4 steps, 1 of 2 claims true\n") && output.contains("scenario.toml:11)"),
        "{output}"
    );
    assert_eq!(folder.processes(), Vec::<String>::new());
}

#[test]
fn servers_are_killed_started_stopped_and_scaled() {
    if !is_installed("redis-server") {
        return;
    }
    let folder = Folder::new("kill");
    let text = format!(
        "[nodes]\ncount = 2\ncommand = \"{REDIS}\"\n\n[load]\ntarget = \"node-1\"\nrate = 1000\n\n\
         [[step]]\nsend = \"SET a 'b c'\"\nto = \"nodes\"\n\
         [[step]]\nwait_until = \"nodes GET a = 'b c'\"\n\
         [[step]]\nload = \"on\"\n\
         [[step]]\nscale = 3\n\
         [[step]]\nwait_until = [\"node-3 answers\", \"node-3 DBSIZE = 0\"]\n\
         [[step]]\nkill = \"node-1\"\n\
         [[step]]\nwait_until = \"node-1 is silent\"\n\
         [[step]]\nwait = \"300ms\"\n\
         [[step]]\nstart = \"node-1\"\n\
         [[step]]\nwait = \"500ms\"\n\
         [[step]]\nrolling_restart = \"nodes\"\n\
         [[step]]\nscale = 1\n\
         [[step]]\nload = \"off\"\n\
         [[step]]\nassert = [\"longest_gap >= 300ms\", \"longest_gap <= 5s\"]\n\
         [[step]]\nstop = \"node-1\"\n"
    );
    let (output, code) = run(&folder, &text, &[]);
    assert_eq!(code, Some(0), "{output}");
    for part in [
        "send SET a b c to nodes: OK, OK",
        "scale to 3 nodes: started node-3",
        "rolling restart of nodes: node-1, node-2, node-3",
        "stopped node-3 (exit status 0",
        "stop node-1: exit status 0",
    ] {
        assert!(output.contains(part), "{part}: {output}");
    }
    assert_eq!(folder.processes(), Vec::<String>::new());
}

#[test]
fn a_load_can_follow_a_cluster() {
    if !is_installed("redis-server") {
        return;
    }
    let folder = Folder::new("cluster");
    let text = format!(
        "[nodes]\ncount = 1\ncommand = \"{REDIS} --cluster-enabled yes --cluster-announce-ip {{address}} --dir {{dir}}\"\n\n\
         [load]\ncluster = true\nkeys = 1000\nrate = 1000\nverify = true\nverify_connections = 2\n\n\
         [[step]]\nsend = \"CLUSTER ADDSLOTSRANGE 0 16383\"\nto = \"nodes\"\n\
         [[step]]\nwait_until = \"nodes CLUSTER INFO cluster_state = ok\"\n\
         [[step]]\nload = \"on\"\n[[step]]\nwait = \"600ms\"\n\
         [[step]]\nassert = [\"errors = 0\", \"answered >= 10\", \"violations = 0\", \"longest_outage <= 10s\"]\n"
    );
    let log = folder.0.join("load.hlog");
    let (output, code) = run(&folder, &text, &["--hdr", log.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{output}");
    assert!(output.contains("operations, nothing wrong found"), "{output}");
    // The load was on for 0.6 s at least; of its first second that much is told.
    let log = std::fs::read_to_string(log).unwrap();
    let first = log.lines().find_map(|line| line.strip_prefix("Tag=GET,0.000,")).expect("GETs were made");
    let length: f64 = first.split(',').next().unwrap().parse().unwrap();
    assert!((0.6..=1.0).contains(&length), "{first}");
    assert_eq!(folder.processes(), Vec::<String>::new());
}

#[test]
fn a_crash_counts_in_the_claims_right_after_it_and_not_before() {
    if !is_installed("redis-server") {
        return;
    }
    let folder = Folder::new("crash");
    // It is stopped first: a server that dies just when it has answered everything loses nothing.
    let text = one_redis(
        "[load]\nkeys = 1000\npipeline = 8\n\
         [[step]]\nload = \"on\"\n[[step]]\nname = \"steady\"\nwait = \"500ms\"\n\
         [[step]]\npause = \"redis\"\n[[step]]\nwait = \"200ms\"\n\
         [[step]]\nname = \"crash\"\nkill = \"redis\"\n\
         [[step]]\nassert = \"lost >= 1\"\nsince = \"crash\"\n\
         [[step]]\nassert = \"errors = 0\"\nof = \"steady\"\n",
    );
    let (output, code) = run(&folder, &text, &[]);
    assert_eq!(code, Some(0), "{output}");
}

#[test]
fn what_servers_used_is_told_although_they_come_and_go() {
    if !is_installed("redis-server") {
        return;
    }
    let folder = Folder::new("server");
    let json = folder.0.join("report.json");
    let text = format!(
        "[nodes]\ncount = 2\ncommand = \"{REDIS}\"\n\n\
         [load]\ntarget = \"node-1\"\nconnections = 2\nverify = true\nverify_connections = 2\n\n\
         [[step]]\nload = \"on\"\n[[step]]\nwait = \"300ms\"\n\
         [[step]]\nkill = \"node-1\"\n[[step]]\nstart = \"node-1\"\n[[step]]\nwait = \"300ms\"\n\
         [[step]]\nload = \"off\"\n[[step]]\nload = \"on\"\n[[step]]\nstop = \"node-2\"\n[[step]]\nwait = \"300ms\"\n"
    );
    let (output, code) = run(&folder, &text, &["--json", json.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{output}");
    let report: serde_json::Value = serde_json::from_slice(&std::fs::read(json).unwrap()).unwrap();
    let server = &report["figures"]["server"];
    assert_eq!(server["processes"].as_array().unwrap().len(), 3, "{server}");
    let number = |name: &str| server[name].as_f64().unwrap();
    assert!(number("cpu_us") > 0.0 && number("cpus") > 0.0 && number("resident") > 0.0, "{server}");
    // The checker's operations cost the servers as much as those of the load.
    let operations = report["verify"]["operations"].as_f64().unwrap();
    assert!(number("others") > 0.0 && number("others") <= operations, "{server}");
    let line = output.lines().find(|line| line.starts_with("server     ")).unwrap_or_default();
    assert!(line.contains(" CPU and ") && line.ends_with(" of the checker included)"), "{output}");
}

#[test]
fn wrong_answers_are_claimed_about() {
    if !is_installed("redis-server") {
        return;
    }
    let folder = Folder::new("verify");
    let text = one_redis(
        "[load]\nrate = 100\nverify = true\nverify_keys = 50\n\
         [[step]]\nload = \"on\"\n[[step]]\nwait = \"500ms\"\n\
         [[step]]\nassert = \"violations = 0\"\n\
         [[step]]\nwait = \"500ms\"\n\
         [[step]]\nsend = \"FLUSHALL\"\n\
         [[step]]\nwait = \"500ms\"\n\
         [[step]]\nassert = \"lost_writes = 0\"\n",
    );
    let (html, json) = (folder.0.join("report.html"), folder.0.join("report.json"));
    let files = ["--html", html.to_str().unwrap(), "--json", json.to_str().unwrap()];
    let (output, code) = run(&folder, &text, &files);
    assert_eq!(code, Some(1), "{output}");
    assert!(output.contains("PASS  violations = 0"), "{output}");
    assert!(output.contains("FAIL  lost_writes = 0") && output.contains("lost write"), "{output}");
    // What the checker found is on the page, and on the one made of the JSON later.
    let again = folder.0.join("again.html");
    let report = Command::new(env!("CARGO_BIN_EXE_shoal-loadtest"))
        .args(["report", json.to_str().unwrap(), "--html", again.to_str().unwrap()])
        .output()
        .expect("it was built");
    assert!(report.status.success(), "{report:?}");
    for page in [html, again] {
        let page = std::fs::read_to_string(page).unwrap();
        for part in [
            "</b> scenario",
            "<h2>Checker</h2>",
            "<h3>lost write at key ",
            "&gt; client ",
            "failed</b>",
            "<td>passed</td>",
        ] {
            assert!(page.contains(part), "{part}");
        }
    }
}

#[test]
fn what_was_lost_with_the_server_is_claimed_about() {
    if !is_installed("redis-server") {
        return;
    }
    let folder = Folder::new("lost");
    let load = "[load]\nrate = 100\nverify = true\nverify_keys = 20\nverify_connections = 2\n\
                [[step]]\nload = \"on\"\n[[step]]\nwait = \"1s\"\n";
    // For good: nobody knows what is lost.
    let gone = one_redis(&format!(
        "{load}[[step]]\nkill = \"redis\"\n[[step]]\nassert = [\"violations = 0\", \"lost_writes = 0\"]\n"
    ));
    let (output, code) = run(&folder, &gone, &[]);
    assert_eq!(code, Some(1), "{output}");
    for claim in ["FAIL  violations = 0", "FAIL  lost_writes = 0"] {
        assert!(output.contains(claim), "{output}");
    }
    // The checker has looked before, with the load on or off, and looks again.
    for (before, after) in [("", ""), ("[[step]]\nload = \"off\"\n", "[[step]]\nload = \"on\"\n")] {
        for after in [after, ""] {
            let back = one_redis(&format!(
                "{load}{before}[[step]]\nassert = [\"violations = 0\"]\n\
                 [[step]]\nkill = \"redis\"\n[[step]]\nstart = \"redis\"\n{after}\
                 [[step]]\nassert = \"lost_writes = 0\"\n"
            ));
            let (output, code) = run(&folder, &back, &[]);
            assert_eq!(code, Some(1), "{output}");
            assert!(output.contains("PASS  violations = 0"), "{output}");
            assert!(output.contains("FAIL  lost_writes = 0"), "{output}");
        }
    }
}

#[test]
fn nothing_is_left_of_a_scenario_that_passed() {
    if !is_installed("redis-server") {
        return;
    }
    let folder = Folder::new("left");
    let file = folder.0.join("scenario.toml");
    let left = |claim: &str| {
        let load = "[load]\nrate = 100\n[[step]]\nload = \"on\"\n[[step]]\nwait = \"300ms\"\n";
        std::fs::write(&file, one_redis(&format!("{load}[[step]]\nassert = \"{claim}\"\n"))).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_shoal-loadtest"));
        command.args(["scenario", "--quiet"]).arg(&file).env("TMPDIR", &folder.0);
        let (output, _) =
            finish(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it was built"));
        let entries = std::fs::read_dir(&folder.0).unwrap().filter_map(Result::ok);
        let logs = entries.filter(|entry| entry.path() != file).count();
        (logs, output.contains("logs       "), output)
    };
    let (logs, told, output) = left("answered >= 1");
    assert!(logs == 0 && !told && output.contains("PASS  scenario"), "{output}");
    let (logs, told, output) = left("answered >= 1_000_000_000");
    assert!(logs == 1 && told && output.contains("FAIL  scenario"), "{output}");
}

#[test]
fn a_server_that_ends_by_itself_fails_the_step() {
    if !is_installed("redis-server") {
        return;
    }
    let folder = Folder::new("ends");
    // The connection breaks, so the reply to SHUTDOWN never comes; the step after notices at the latest.
    let text = one_redis("[[step]]\nsend = \"SHUTDOWN NOSAVE\"\ncontinue = true\n[[step]]\nwait = \"20s\"\n");
    let (output, code) = run(&folder, &text, &[]);
    assert_eq!(code, Some(1), "{output}");
    assert!(output.contains("redis has ended by itself (exit status 0)"), "{output}");
    let text =
        "[[process]]\nname = \"x\"\ncommand = \"redis-server --no-such-option\"\n[[step]]\nwait = \"1s\"\n";
    let (output, code) = run(&folder, text, &[]);
    assert_eq!(code, Some(2), "{output}");
    assert!(
        output.contains("scenario.toml:3: x has ended by itself (exit status 1)")
            && output.contains("no-such-option"),
        "{output}"
    );
}

/// Sends a signal to a scenario whose server runs; what it printed, and how it ended.
fn signalled(folder: &Folder, signal: &str) -> (String, ExitStatus) {
    let text = one_redis("[load]\nrate = 100\n[[step]]\nload = \"on\"\n[[step]]\nwait = \"50s\"\n");
    let child = start(folder, &text, &[]);
    let log = folder.0.join("logs/redis.log");
    let ready = || std::fs::read_to_string(&log).is_ok_and(|text| text.contains("Ready to accept"));
    wait_until("the server is ready", ready);
    assert_eq!(folder.processes().len(), 1);
    Command::new("kill").args(["-s", signal, &child.id().to_string()]).status().expect("kill is installed");
    finish(child)
}

#[test]
fn an_interrupt_ends_everything_and_still_reports() {
    if !is_installed("redis-server") {
        return;
    }
    let folder = Folder::new("interrupt");
    let (output, status) = signalled(&folder, "INT");
    assert_eq!(status.code(), Some(1), "{output}");
    assert!(output.contains("interrupted") && output.contains("FAIL  scenario"), "{output}");
    assert_eq!(folder.processes(), Vec::<String>::new());
}

#[test]
fn no_server_outlives_a_scenario_that_was_killed() {
    if !is_installed("redis-server") {
        return;
    }
    let folder = Folder::new("killed");
    let (_, status) = signalled(&folder, "KILL");
    assert_eq!(status.code(), None);
    wait_until("the server is gone", || folder.processes().is_empty());
}

#[test]
fn a_dry_run_starts_nothing_and_wrong_files_are_told() {
    let folder = Folder::new("dry");
    let text = "[[process]]\nname = \"x\"\ncommand = \"sh -c 'touch {dir}/started'\"\n[[step]]\nat = \"2s\"\nkill = \"x\"\n";
    let (output, code) = run(&folder, text, &["--dry-run"]);
    assert_eq!(code, Some(0), "{output}");
    assert!(output.contains("1. at 2.0 s kill x") && !folder.0.join("logs").exists(), "{output}");
    let (output, code) = run(&folder, &text.replace("kill", "kil"), &[]);
    assert_eq!(code, Some(2), "{output}");
    assert!(output.contains("scenario.toml:6: unknown field `kil`"), "{output}");
}

/// True if this can be run as root with the tools for namespaces.
fn namespaces() -> bool {
    let root = Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout == b"0\n");
    let works = root
        && ["ip", "nft"].iter().all(|tool| Path::new("/usr/sbin").join(tool).exists())
        && is_installed("redis-server")
        && Command::new("ip").args(["netns", "list"]).output().is_ok_and(|output| output.status.success());
    if !works {
        println!("network namespaces need root, ip and nft: this test is skipped");
    }
    works
}

#[test]
fn namespaces_are_cut_healed_and_removed() {
    if !namespaces() {
        return;
    }
    let folder = Folder::new("netns");
    let text = format!(
        "[cluster]\nnetwork = \"namespaces\"\n[nodes]\ncount = 2\ncommand = \"{REDIS}\"\n\
         [load]\ntarget = \"nodes\"\nrate = 500\nconnections = 4\n\
         [[step]]\nload = \"on\"\n[[step]]\nname = \"steady\"\nwait = \"500ms\"\n\
         [[step]]\nname = \"cut\"\npartition = [[\"client\"], [\"nodes\"]]\n\
         [[step]]\nwait = \"800ms\"\n[[step]]\nheal = true\n\
         [[step]]\nwait_until = \"nodes answers\"\n[[step]]\nwait = \"2s\"\n\
         [[step]]\nassert = [\"errors = 0\", \"longest_gap >= 0.7s\"]\nsince = \"cut\"\n\
         [[step]]\nname = \"lossy\"\nloss = \"20%\"\non = \"node-1\"\n[[step]]\nwait = \"1s\"\n[[step]]\nheal = true\n\
         [[step]]\nassert = \"max >= 190ms\"\nsince = \"lossy\"\n"
    );
    let child = start(&folder, &text, &[]);
    let prefix = format!("slt{}-", child.id());
    let (output, status) = finish(child);
    assert_eq!(status.code(), Some(0), "{output}");
    assert_eq!(folder.processes(), Vec::<String>::new());
    let left = Command::new("ip").args(["netns", "list"]).output().unwrap();
    assert!(!String::from_utf8_lossy(&left.stdout).contains(&prefix));
}

#[test]
fn packets_are_delayed() {
    if !namespaces() {
        return;
    }
    let folder = Folder::new("delay");
    let server = one_redis("[cluster]\nnetwork = \"namespaces\"\n[load]\nrate = 200\nconnections = 20\n");
    let steps = "[[step]]\nload = \"on\"\n[[step]]\nwait = \"300ms\"\n\
                 [[step]]\ndelay = \"50ms\"\ncontinue = true\n[[step]]\nwait = \"500ms\"\n\
                 [[step]]\nassert = [\"p50 >= 50ms\", \"errors = 0\"]\nlast = \"300ms\"\n\
                 [[step]]\nheal = true\n[[step]]\nwait = \"700ms\"\n\
                 [[step]]\nassert = [\"p50 < 50ms\", \"errors = 0\"]\nlast = \"300ms\"\n";
    let (output, code) = run(&folder, &format!("{server}{steps}"), &[]);
    if output.contains("packets cannot be delayed") {
        println!("this kernel has neither netem nor netfilter queues: this test is skipped");
        return;
    }
    assert_eq!(code, Some(0), "{output}");
}
