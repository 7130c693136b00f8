use super::*;
use crate::scenario::step::Span;

const SERVER: &str = "[[process]]\nname = \"redis\"\ncommand = \"redis-server --port {port}\"\n";

fn error(text: &str) -> String {
    Scenario::parse("s.toml", text, Path::new(".")).unwrap_err().to_string()
}

/// The error of steps that begin on line 6, after a server and a load.
fn step_error(steps: &str) -> String {
    error(&format!("{SERVER}[load]\nverify = false\n{steps}"))
}

#[test]
fn built_in_scenarios_are_right() {
    for (name, _) in BUILT_IN {
        let scenario = Scenario::find(name).unwrap_or_else(|error| panic!("{error}"));
        assert!(!scenario.about.is_empty(), "{name}");
        assert_eq!(scenario.name, *name);
        assert!(scenario.least() >= Duration::from_secs(5), "{name}");
    }
}

#[test]
fn steps_are_read() {
    let text = format!(
        "{SERVER}\n[nodes]\ncount = 2\ncommand = \"node [--join {{seeds}}]\"\n\n[load]\nrate = 100\nverify = true\n\n\
         [[step]]\nload = \"on\"\n\n[[step]]\nname = \"steady\"\nat = \"2s\"\nwait = \"5s\"\n\n\
         [[step]]\nscale = 4\ntimeout = \"3s\"\n\n[[step]]\npause = \"node-4\"\nfor = \"500ms\"\n\n\
         [[step]]\nassert = [\"p99 <= 3 x steady\", \"violations = 0\"]\nlast = \"2s\"\ncontinue = true\n"
    );
    let scenario = Scenario::parse("s.toml", &text, Path::new(".")).unwrap();
    assert_eq!(scenario.names(), ["redis", "node-1", "node-2", "node-3", "node-4"]);
    assert_eq!(scenario.load.as_ref().unwrap().targets, ["nodes"]);
    assert_eq!(scenario.least(), Duration::from_millis(7500));
    assert_eq!(scenario.steps[2].action, Action::Scale { count: 4, limit: Duration::from_secs(3) });
    let Action::Assert { claims, window } = &scenario.steps[4].action else { panic!() };
    assert_eq!((claims.len(), window), (2, &Span::Last(Duration::from_secs(2))));
    assert!(scenario.steps[4].go_on);
    assert_eq!(scenario.steps[3].action.to_string(), "pause node-4 for 500 ms");
}

#[test]
fn errors_in_servers_name_file_and_line() {
    for (text, expected) in [
        ("", "s.toml:1: there is nothing to start"),
        ("[clutser]\n", "s.toml:1: unknown field `clutser`"),
        ("[cluster]\nnetwork = \"vlan\"\n", "s.toml:2: unknown variant `vlan`"),
        ("[[process]]\nname = \"a\"\ncommand = \"a {prot}\"\n", "s.toml:3: unknown place '{prot}'"),
        ("[[process]]\nname = \"node-1\"\ncommand = \"a\"\n", "s.toml:2: 'node-1' cannot be the name"),
        ("[nodes]\ncount = 0\ncommand = \"a\"\n", "s.toml:2: the number of nodes must be from 1 to 64"),
        (SERVER, "s.toml:1: there is no [[step]]"),
    ] {
        let error = error(text);
        assert!(error.starts_with(expected), "{text}: {error}");
    }
}

#[test]
fn errors_in_the_load_name_file_and_line() {
    for (load, expected) in [
        ("[load]\nconections = 5\n", "s.toml:5: unknown field `conections`"),
        ("[load]\n\nworkload = \"none.toml\"\n", "s.toml:6: there is no workload"),
        ("[load]\ntarget = \"router\"\n", "s.toml:5: there is no 'router'; there are redis"),
        ("[load]\nrate = 0.0\n", "s.toml:5: the rate must be from 0.1"),
        (
            "[load]\nworkload = \"counters\"\nkeys = 1_099_511_627_776\n",
            "s.toml:6: keys of 16 bytes have no room for the prefix 'hits:' and 13 digits, which need 18; the length is \
             that of counters, whose file can say another one",
        ),
        ("[load]\nworkload = \"queue\"\npreload = true\n", "s.toml:4: the workload 'queue' has no 'preload'"),
    ] {
        let error = error(&format!("{SERVER}{load}[[step]]\nload = \"on\"\n"));
        assert!(error.starts_with(expected), "{load}: {error}");
    }
}

#[test]
fn errors_in_steps_name_file_and_line() {
    for (steps, expected) in [
        ("[[step]]\nwait = \"5s\"\nwiat = \"5s\"\n", "s.toml:8: unknown field `wiat`"),
        ("[[step]]\nwait = \"5 parsecs\"\n", "s.toml:7: ' parsecs' is no unit of time"),
        ("[[step]]\n", "s.toml:6: this step does nothing"),
        ("[[step]]\nwait = \"1s\"\nkill = \"redis\"\n", "s.toml:6: a step does one thing"),
        ("[[step]]\nkill = \"node-2\"\n", "s.toml:6: there is no 'node-2'; there are redis"),
        (
            "[[step]]\nwait = \"5s\"\n[[step]]\nat = \"3s\"\nload = \"on\"\n",
            "s.toml:8: the steps before take 5s",
        ),
        ("[[step]]\nload = \"off\"\n", "s.toml:6: the load is off already"),
        ("[[step]]\nwait = \"1s\"\nfor = \"2s\"\n", "s.toml:6: 'for' means nothing"),
        (
            "[[step]]\npartition = [[\"redis\"], [\"client\"]]\n",
            "s.toml:6: this needs network = \"namespaces\"",
        ),
        ("[[step]]\nassert = \"errors = 0\"\n", "s.toml:6: nothing has been measured yet"),
        ("[[step]]\nload = \"on\"\n[[step]]\nassert = \"eros = 0\"\n", "s.toml:9: there is no figure 'eros'"),
        (
            "[[step]]\nload = \"on\"\n[[step]]\nassert = \"p99 <= 2 x calm\"\n",
            "s.toml:8: no step before this one",
        ),
        (
            "[[step]]\nload = \"on\"\n[[step]]\nassert = \"violations = 0\"\n",
            "s.toml:8: 'violations = 0' needs verify",
        ),
        (
            "[[step]]\nname = \"a\"\nwait = \"1s\"\n[[step]]\nname = \"a\"\nwait = \"1s\"\n",
            "s.toml:9: there is another",
        ),
        ("[[step]]\nwait_until = \"redis works\"\n", "s.toml:7: 'redis works' is no condition"),
        ("[[step]]\nwait_until = \"reds answers\"\n", "s.toml:6: there is no 'reds'"),
        ("[[step]]\nscale = 3\n", "s.toml:6: there is no 'nodes'"),
        ("[[step]]\nsend = \"\"\n", "s.toml:7: an empty command"),
    ] {
        let error = step_error(steps);
        assert!(error.starts_with(expected), "{steps}: {error}");
    }
}

#[test]
fn every_mistake_names_its_own_line() {
    let process = "[[process]]\nname = \"redis\"\n";
    let on = "[[step]]\nload = \"on\"\n";
    for (text, line) in [
        // What the format itself refuses.
        (format!("{SERVER}[[step]\n"), 4),
        (format!("{SERVER}[[step]]\nwait = 5s\n"), 5),
        (format!("{SERVER}[[step]]\nwait = \"1s\"\nwait = \"1s\"\n"), 6),
        (format!("{SERVER}\n\nstep = 5\n"), 6),
        // What has another type, or is missing.
        (format!("{SERVER}[[step]]\nname = \"a\"\nwait = 5\n"), 6),
        (format!("{SERVER}[[step]]\nwait = \"1s\"\n[[step]]\nassert = 5\n"), 7),
        (format!("{SERVER}[[step]]\nassert = [\n\"errors = 0\",\n5]\n"), 7),
        (format!("{SERVER}[[step]]\n\nscale = -1\n"), 6),
        (format!("{SERVER}[[step]]\n\ncontinue = \"yes\"\n"), 6),
        (format!("{SERVER}[[step]]\n\npartition = [\"a\"]\n"), 6),
        (format!("{process}[[step]]\nwait = \"1s\"\n"), 1),
        (format!("{process}command = \"a\"\nready = \"soon\"\n"), 4),
        ("\n[nodes]\ncommand = \"a\"\n".into(), 2),
        ("\n[nodes]\ncount = 2\n".into(), 2),
        (format!("{SERVER}[router]\nready = \"tcp\"\n"), 4),
        // What cannot be, each in a list over several lines too.
        (format!("{SERVER}[load]\n{on}[[step]]\nassert = [\n\"errors = 0\",\n\"eros = 0\",\n]\n"), 10),
        (format!("{SERVER}[[step]]\nwait_until = [\n\"redis answers\",\n\"redis sings\",\n]\n"), 7),
        (format!("{SERVER}[load]\ntarget = [\n\"redis\",\n\"valkey\",\n]\n{on}"), 7),
        (format!("{SERVER}[load]\nrate = 5\nworkload = \".\"\n{on}"), 6),
        (format!("{SERVER}[[step]]\nname = \"x\"\nat = \"soon\"\nwait = \"1s\"\n"), 6),
        (format!("{SERVER}[[step]]\nwait = \"1s\"\ntimeout = \"never\"\n"), 6),
        (format!("{SERVER}{on}"), 4),
    ] {
        let error = error(&text);
        assert!(error.starts_with(&format!("s.toml:{line}: ")), "{line} in\n{text}{error}");
    }
}

#[test]
fn a_file_that_is_no_text_names_its_line() {
    let path = std::env::temp_dir().join(format!("shoal-scenario-bytes-{}.toml", std::process::id()));
    std::fs::write(&path, b"about = \"a\"\n\n# \xff\n").unwrap();
    let error = Scenario::find(path.to_str().unwrap()).unwrap_err().to_string();
    std::fs::remove_file(&path).unwrap();
    assert_eq!(error, format!("{}:3: this is not UTF-8 text", path.display()));
}

#[test]
fn faults_of_the_network_are_checked() {
    let with =
        |step: &str| error(&format!("{SERVER}[cluster]\nnetwork = \"namespaces\"\n[[step]]\n{step}\n"));
    assert!(with("partition = [[\"redis\"]]").contains("two groups or more"));
    assert!(with("partition = [[\"redis\"], [\"redis\"]]").contains("two groups or more"));
    assert!(with("partition = [[\"redis\"], [\"other\"]]").contains("there is no 'other'"));
    assert!(with("loss = \"5\"").starts_with("s.toml:7: '5' is no share"));
    assert!(with("loss = \"5%\"\non = \"reds\"").contains("there is no 'reds'"));
    assert!(with("heal = false").contains("write heal = true"));
}

#[test]
fn missing_programs_and_scenarios_are_told() {
    let text = "[[process]]\nname = \"a\"\n\ncommand = \"no-such-program\"\n[[step]]\nwait = \"1s\"\n";
    let error = Scenario::parse("s.toml", text, Path::new(".")).unwrap().programs().unwrap_err().to_string();
    assert!(error.starts_with("s.toml:4: there is no program 'no-such-program'"), "{error}");
    assert!(Scenario::find("no-such").unwrap_err().to_string().contains("stall"));
}
