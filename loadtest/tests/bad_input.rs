//! What is wrong with a file or an option is told in one sentence that names the file and the line.

use std::path::Path;
use std::process::{Command, Output};

use proptest::prelude::*;
use shoal_loadtest::workload::{BUILT_IN, Workload};

fn program(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_shoal-loadtest"))
        .args(arguments)
        .current_dir(folder)
        .output()
        .expect("the program was built")
}

/// A folder of its own for a test's files.
struct Folder(std::path::PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("loadtest-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a temporary folder can be made");
        Self(path)
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.0.join(name), content).expect("the folder is there");
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left in the temporary folder does no harm.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Wrong workloads: the text, the line of the mistake, and how the sentence starts.
const WRONG: &[(&str, usize, &str)] = &[
    ("about = 5\n", 1, "invalid type: integer `5`, expected a string"),
    ("seed = -1\n", 1, "invalid value: integer `-1`"),
    ("seed = \"x\"\n", 1, "invalid type: string"),
    ("\nsed = 1\n", 2, "unknown field `sed`"),
    ("[keys]\ncuont = 6\n", 2, "unknown field `cuont`"),
    ("[keys]\ncount = 0\n", 2, "the number of keys must be from 1"),
    ("[keys]\ncount = -5\n", 2, "invalid value: integer `-5`"),
    ("[keys]\ncount = 99999999999999\n", 2, "the number of keys must be from 1"),
    ("[keys]\ncount = \"many\"\n", 2, "invalid type: string \"many\""),
    ("[keys]\nlength = 0\n", 2, "a length must be from 1 to 65536"),
    ("[keys]\nlength = \"16-70000\"\n", 2, "a length must be from 1 to 65536"),
    (
        "[keys]\nlength = 9\n[[command]]\nline = \"GET {key}\"\n",
        2,
        "keys of 9 bytes have no room for the prefix 'key:' and 6 digits, which need 10",
    ),
    (
        "[keys]\ncount = 10\nprefix = \"p\"\nlength = \"1-20\"\n[[command]]\nline = \"GET {key}\"\n",
        4,
        "keys of 1 byte have no room for the prefix 'p' and 1 digit, which need 2",
    ),
    (
        "[keys]\ncount = 10\nlength = 15\n[[command]]\nline = \"SET {new} 1\"\n",
        3,
        "keys of 15 bytes have no room for the prefix 'key:' and 12 digits, which need 16",
    ),
    ("[keys]\nlength = \"long\"\n", 2, "'long' is no size"),
    ("[keys]\nlength = true\n", 2, "expected a number of bytes or a text"),
    ("[keys]\nlength = 5\nhistogram = \"h\"\n", 3, "give either a length or size, or a histogram"),
    ("[keys]\nprefix = 5\n", 2, "invalid type: integer `5`"),
    ("[keys]\ndistribution = \"zopf\"\n", 2, "unknown distribution 'zopf'"),
    ("[keys]\ndistribution = \"zipf:5\"\n", 2, "the exponent in 'zipf:5' must be a number from 0 to 4"),
    ("[keys]\ndistribution = \"hotset:2\"\n", 2, "the share of keys in 'hotset:2'"),
    ("[keys]\ndistribution = \"flash:0.5:soon\"\n", 2, "the time in 'flash:0.5:soon' must be"),
    ("[values]\nsize = \"20-10\"\n", 2, "'20-10' is no size"),
    ("[values]\nsize = -1\n", 2, "expected a number of bytes or a text"),
    ("[values]\nsize = \"normal:1\"\n", 2, "'normal:1' is no size"),
    ("[values]\nsize = \"1\"\nhistogram = \"f\"", 3, "give either a length or size, or a histogram"),
    ("[values]\n\nhistogram = \"missing.json\"\n", 3, "missing.json: No such file"),
    ("[values]\nttl = \"60*x\"\n", 2, "'x' in '60*x' is no weight"),
    ("[values]\nttl = \"soon\"\n", 2, "'soon' is no time to live"),
    ("[values]\nttl = 0\n", 2, "a time to live must be at least 1 second"),
    ("[value]\nttl = 1\n", 1, "unknown field `value`"),
    ("", 1, "there is no [[command]]"),
    (
        "[[command]]\nline = \"GET {key}\"\nweight = 0\n",
        1,
        "there is no [[command]] with a weight above zero",
    ),
    ("[[command]]\nweight = 1\n", 1, "missing field `line`"),
    ("[[command]]\nline = \"GET {key}\"\nweight = 1.5\n", 3, "invalid type: floating point `1.5`"),
    ("[[command]]\nline = \"GET {key}\"\nweight = 5000000000\n", 3, "invalid value"),
    ("[[command]]\nline = \"\"\n", 2, "the command is empty"),
    ("[[command]]\nline = \"GET {key\"\n", 2, "'{key' lacks a closing brace"),
    ("[[command]]\nline = \"GET {key}\"\n\n[[command]]\nline = \"GET {kee}\"\n", 5, "unknown place '{kee}'"),
    ("[[command]]\nline = \"MGET {keys:0}\"\n", 2, "the count in '{keys:0}' must be from 1"),
    ("[[command]]\nline = \"SET {key} 1 EX {ttl}\"\n", 2, "'{ttl}' is used, but there are no times to live"),
    (
        "[values]\nttl = \"1,none\"\n[[command]]\nline = \"EXPIRE {key} {ttl}\"\n",
        4,
        "the time to live may be none",
    ),
    ("[[command]]\nline = \"GET {key}\"\non_miss = \"SET {kee}\"\n", 3, "unknown place '{kee}'"),
    ("[[command]]\nline = \"GET {key}\"\nthen = \"SET {new} 1\"\n", 3, "what follows is about the same key"),
    (
        "[[command]]\nline = \"GET {key}\"\non_miss = \"PING\"\nthen = \"PING\"\n",
        4,
        "give either on_miss or then",
    ),
    ("[[command]]\nline = \"GET {key}\"\non_hit = \"PING\"\n", 3, "unknown field `on_hit`"),
    ("preload = \"SET {x}\"\n[[command]]\nline = \"PING\"\n", 1, "unknown place '{x}'"),
    ("preload = 1\n", 1, "invalid type: integer `1`"),
    ("command = 1\n", 1, "invalid type"),
    ("about = \"x\"\n[keys\n", 2, ""),
    ("about = \"x\nseed = 1\n", 1, ""),
    ("seed = 1\nseed = 2\n", 2, "duplicate key"),
    ("= 1\n", 1, ""),
];

#[test]
fn wrong_workloads_are_told_with_their_line() {
    for (text, line, sentence) in WRONG {
        let error = Workload::parse("w.toml", text, Path::new(".")).unwrap_err().to_string();
        let start = format!("w.toml:{line}: ");
        let wanted = if sentence.contains(": No such") { "" } else { sentence };
        assert!(error.starts_with(&start), "{text:?}: {error}");
        assert!(error[start.len()..].starts_with(wanted) || error.contains(sentence), "{text:?}: {error}");
        assert!(!error.contains('\n') && error.len() < 250, "{text:?}: {error}");
    }
}

#[test]
fn wrong_histograms_are_told_with_their_file() {
    let folder = Folder::new("histograms");
    folder.file("w.toml", "[values]\nhistogram = \"h.json\"\n[[command]]\nline = \"PING\"\n");
    for (content, sentence) in [
        ("{", "h.json:1: EOF"),
        ("{\n\"valSizeRange\": 5}", "h.json:2: invalid type"),
        ("{}", "h.json:1: a size histogram needs the lists valSizeRange"),
        (r#"{"valSizeRange": [1, 2], "valSizeRangeProbability": [0, 0]}"#, "h.json:1: the probabilities"),
        (r#"{"valSizeRange": [2, 1], "valSizeRangeProbability": [1, 1]}"#, "h.json:1: the bounds"),
        (r#"{"valSizeRange": [1, 1e18], "valSizeRangeProbability": [1]}"#, "h.json:1: the bounds"),
        (
            r#"{"valSizeRange": [1], "valSizeRangeProbability": [1, 1]}"#,
            "h.json:1: a size histogram needs a lower",
        ),
    ] {
        folder.file("h.json", content);
        refused(&folder.0, &["run", "-w", "w.toml"], sentence);
    }
}

/// Runs the program and checks that it refuses with one sentence that starts like this.
fn refused(folder: &Path, arguments: &[&str], sentence: &str) {
    let output = program(folder, arguments);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {error}");
    assert_eq!(error.lines().count(), 1, "{arguments:?}: {error}");
    let told = error.strip_prefix("shoal-loadtest: ").unwrap_or(&error);
    let told = told.strip_prefix("./").unwrap_or(told);
    assert!(told.starts_with(sentence), "{arguments:?}: {error}");
}

#[test]
fn the_program_refuses_wrong_files() {
    let folder = Folder::new("files");
    folder.file("w.toml", "[keys]\ncount = 5\ncuont = 6\n");
    folder.file("bytes.toml", b"about = \"\xff\"\n");
    folder.file("cut.rtr", [1; 40]);
    folder.file("huge.rtr", [255; 32]);
    folder.file("empty.rtr", "");
    folder.file("empty.csv", "key,op\n");
    folder.file("bad.csv", "key,op,size\n1,get,100\n2,put,100\n");
    folder.file("plain.csv", "1\n2\n");
    folder.file("semicolons.csv", "a;get;10\n");
    folder.file("far.csv", "key,time\n1,0\n2,1e301\n");
    folder.file("latin1.csv", b"1\n\xe4\n");
    let path = folder.0.as_path();
    refused(path, &["run", "-w", "w.toml"], "w.toml:3: unknown field `cuont`");
    refused(path, &["run", "-w", "bytes.toml"], "bytes.toml: ");
    refused(path, &["run", "-w", "nothing.toml"], "there is no workload 'nothing.toml'");
    refused(path, &["run", "-w", "."], ".: Is a directory");
    refused(path, &["report", "/dev/zero"], "/dev/zero: it is neither a file nor a pipe");
    refused(path, &["run", "-w", "/dev/zero"], "/dev/zero: it is neither a file nor a pipe");
    refused(
        path,
        &["workloads", "nosuch"],
        "there is no built-in workload 'nosuch', but there are all-types, cache-aside, ",
    );
    refused(path, &["replay", "nothing.rtr"], "nothing.rtr: No such file");
    refused(path, &["replay", "cut.rtr"], "cut.rtr: record 3 is cut off after 8 of its 16 bytes");
    refused(path, &["replay", "huge.rtr"], "huge.rtr: record 1 has a value of 4294967295 bytes");
    refused(path, &["replay", "empty.rtr"], "empty.rtr: there is no access in it");
    refused(path, &["replay", "empty.csv"], "empty.csv: there is no access in it");
    refused(path, &["replay", "bad.csv"], "bad.csv:3: unknown op 'put'");
    refused(path, &["replay", "w.toml"], "w.toml:2: the key 'count = 5' has a space in it: is this a trace?");
    refused(path, &["replay", "semicolons.csv"], "semicolons.csv:1: 'a;get;10' has no comma in it");
    refused(path, &["replay", "far.csv"], "far.csv:3: the time 1e301 is more than ten years after the first");
    refused(path, &["replay", "latin1.csv"], "latin1.csv:2: the line is not UTF-8 text");
    refused(path, &["replay", "plain.csv", "--speed", "1x"], "plain.csv: the trace has no times");
    refused(path, &["replay", "-"], "'-' is no file: the standard input is /dev/stdin");
    refused(
        path,
        &["replay", "plain.csv", "--target", "h:1,h:2"],
        "'h:1,h:2' is a list where one server is wanted",
    );
    for (line, ours) in [("SET k:__rand_int__ 1", "{key} or {int:LOW-HIGH}"), ("GET __key__", "{key}")] {
        let output = program(path, &["run", "--command", line]);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && error.ends_with(&format!("write {ours}\n")), "{error}");
    }
}

#[test]
fn the_program_refuses_wrong_options() {
    for (arguments, part) in [
        (&["replay", "x", "--speed", "fast"][..], "write 1x, 10x, 0.5x or max"),
        (&["replay", "x", "--speed", "1x", "--rate", "5"], "cannot be used with"),
        (&["replay", "x", "-n", "0"], "0 is not in 1.."),
        (&["replay", "x", "--warmup", "1"], "from 0 to less than 1: with 1 none would be counted"),
        (&["replay", "x", "--format", "text"], "possible values: rtr, csv"),
        (&["verify", "-n", "0"], "0 is not in 1.."),
        (&["verify", "--value-size", "67108865"], "67108865 is not in 0..=67108864"),
        (&["run", "--key-size", "0"], "the length of keys must be from 1"),
        (&["run", "--ratio", "0:0"], "'0:0' for '--ratio <GET:SET>': '0:0' is no ratio"),
        (&["run", "--rate", "5,6"], "'5,6' for '--rate <RATE>': the rate 5 has no end"),
        (&["run", "-p", "6379"], "tip: the server is --target HOST:PORT"),
        (&["run", "-t", "get,set"], "tip: -t, --threads is a number here; what is asked is"),
        (&["run", "-n", "100k"], "tip: write a whole number in digits"),
        (&["run", "--value-size", "600000000"], "600000000 bytes are more than 536870912, the most"),
        (&["verify", "-d", "0"], "there is nothing to count in no time"),
        (&["verify", "--patience", "0"], "no answer comes in less than a millisecond"),
        (&["compare", "--data-size", "10"], "tip: the size of values is --value-size BYTES or LOW-HIGH"),
        (&["run", "--ttl", "x"], "'x' is no time to live"),
        (&["run", "--distribution", "zipf:9"], "must be a number from 0 to 4"),
        (&["run", "--value-size", "9-1"], "'9-1' is no size"),
    ] {
        let output = program(Path::new("."), arguments);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {error}");
        assert!(error.starts_with("error: ") && error.contains(part), "{arguments:?}: {error}");
    }
}

#[test]
fn keys_that_are_too_short_for_their_digits_are_refused() {
    let folder = Folder::new("short-keys");
    folder.file("w.toml", "[keys]\nlength = 9\n\n[[command]]\nline = \"GET {key}\"\n");
    let path = folder.0.as_path();
    refused(
        path,
        &["run", "-w", "w.toml"],
        "w.toml:2: keys of 9 bytes have no room for the prefix 'key:' and 6 digits",
    );
    refused(path, &["run", "--key-size", "9"], "--key-size: keys of 9 bytes have no room");
    refused(path, &["run", "-w", "ycsb-d", "--key-size", "15"], "--key-size: keys of 15 bytes have no room");
    let longer = ["run", "-w", "ycsb-a", "--key-prefix", "a prefix of 20 bytes"];
    refused(
        path,
        &longer,
        "keys of 23 bytes have no room for the prefix 'a prefix of 20 bytes' and 5 digits",
    );
    // Nobody listens at port 1: the keys are told first, if at all.
    for fitting in [
        &["run", "--target", "127.0.0.1:1", "--key-size", "10"][..],
        &["run", "--target", "127.0.0.1:1", "--key-prefix", "a prefix that is longer than 32 bytes"],
        &["run", "--target", "127.0.0.1:1", "--key-size", "normal:5:5"],
    ] {
        refused(path, fitting, "cannot connect to 127.0.0.1:1: ");
    }
    let long = "[keys]\nprefix = \"a prefix of 20 bytes\"\n[[command]]\nline = \"GET {key}\"\n";
    let workload = Workload::parse("w.toml", long, Path::new(".")).unwrap();
    assert_eq!((workload.least_key_length(), workload.check_key_lengths()), (26, Ok(())));
}

#[test]
fn what_is_wrong_with_a_variable_is_told_with_its_name() {
    let run = |arguments: &[&str], variables: &[(&str, &str)]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_shoal-loadtest"));
        let output = command.args(arguments).envs(variables.iter().copied()).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?} {variables:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let tip = |long: &str, name: &str| format!("tip: --{long} comes from the environment variable {name}\n");
    for (arguments, name, value, long) in [
        (&["run"][..], "SHOAL_LOADTEST_CONNECTIONS", "many", "connections"),
        (&["verify"], "SHOAL_LOADTEST_DURATION", "soon", "duration"),
        (&["replay", "x"], "SHOAL_LOADTEST_SPEED", "fast", "speed"),
        (&["run", "-w", "ycsb-a"], "SHOAL_LOADTEST_RATIO", "1:1", "ratio"),
    ] {
        let told = run(arguments, &[(name, value)]);
        assert!(told.contains(&tip(long, name)), "{told}");
    }
    // What is on the command line is not blamed on a variable.
    let told =
        run(&["run", "-c", "many"], &[("SHOAL_LOADTEST_CONNECTIONS", "5"), ("SHOAL_LOADTEST_SEED", "7")]);
    assert!(told.contains("'many'") && !told.contains("environment"), "{told}");
    for (name, value, arguments) in [
        ("SHOAL_LOADTEST_WORKLOAD", "no-such-workload", &["run"][..]),
        ("SHOAL_LOADTEST_TARGET", "127.0.0.1:1", &["verify"]),
        ("SHOAL_LOADTEST_KEY_SIZE", "3", &["run"]),
    ] {
        let told = run(arguments, &[(name, value)]);
        assert!(told.ends_with(&format!(" (from the environment: {name})\n")), "{told}");
    }
    let told = run(&["run", "--target", "127.0.0.1:1"], &[("SHOAL_LOADTEST_SEED", "127")]);
    assert!(!told.contains("SHOAL_LOADTEST_SEED"), "{told}");
}

/// A built-in workload with some bytes changed, dropped or doubled.
fn mutilated() -> impl Strategy<Value = String> {
    let changes = proptest::collection::vec((any::<prop::sample::Index>(), 0u8..3, any::<char>()), 1..4);
    (0..BUILT_IN.len(), changes).prop_map(|(index, changes)| {
        let mut text: Vec<char> = BUILT_IN[index].1.chars().collect();
        for (place, kind, other) in changes {
            let at = place.index(text.len());
            match kind {
                0 => text[at] = other,
                1 => drop(text.remove(at)),
                _ => text.insert(at, text[place.index(text.len())]),
            }
        }
        text.into_iter().collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn whatever_is_written_is_read_or_refused_in_one_line(text in mutilated()) {
        if let Err(error) = Workload::parse("w.toml", &text, Path::new(".")) {
            let error = error.to_string();
            let line = error.strip_prefix("w.toml:").and_then(|rest| rest.split_once(": "));
            let (line, message) = line.unwrap_or_else(|| panic!("{error}"));
            prop_assert!((1..=text.matches('\n').count() + 1).contains(&line.parse().unwrap()), "{}", error);
            prop_assert!(!message.is_empty() && !message.contains('\n'), "{}", error);
        }
    }
}

#[test]
fn files_that_cannot_be_written_are_told_before_the_load() {
    let folder = Folder::new("unwritable");
    for option in ["--json", "--html", "--hdr"] {
        // Nobody listens at port 1: the file is told first.
        let output = program(&folder.0, &["run", "--target", "127.0.0.1:1", option, "no/such/file"]);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.starts_with("shoal-loadtest: no/such/file: "), "{option}: {text}");
    }
}

#[test]
fn what_was_read_is_not_written_over() {
    let folder = Folder::new("inputs");
    let scenario = "[[process]]\nname = \"x\"\ncommand = \"sleep 60\"\nready = \"none\"\n\
                    [load]\nworkload = \"w.toml\"\n[[step]]\nwait = \"1ms\"\n";
    let workload = "[[command]]\nline = \"GET {key}\"\n";
    let files = [("trace.csv", "1\n"), ("s.toml", scenario), ("w.toml", workload), ("old.json", "{}\n")];
    files.iter().for_each(|(name, content)| folder.file(name, content));
    std::os::unix::fs::symlink("trace.csv", folder.0.join("link.json")).unwrap();
    for arguments in [
        &["replay", "trace.csv", "--json", "trace.csv"][..],
        &["replay", "trace.csv", "--json", "./link.json"],
        &["scenario", "s.toml", "--json", "s.toml"],
        &["scenario", "s.toml", "--hdr", "w.toml"],
        &["run", "--target", "127.0.0.1:1", "-w", "w.toml", "--json", "w.toml"],
        &["compare", "--a", "x=127.0.0.1:1", "--b", "y=127.0.0.1:1", "-w", "w.toml", "--html", "w.toml"],
        &["report", "old.json", "--html", "old.json"],
        &["report", "old.json", "--json", "./old.json"],
    ] {
        let report = arguments.last().map_or("", |report| report.trim_start_matches("./"));
        refused(&folder.0, arguments, report);
        for (name, content) in files {
            assert_eq!(std::fs::read_to_string(folder.0.join(name)).unwrap(), content, "{arguments:?}");
        }
    }
}
