//! Nodes as processes of their own.

use shoal_testkit::process::Process;

/// Starts `words`, a program and its first arguments, as a node with one thread on free ports (RESP, gossip, admin), in the cluster of
/// `join`.
pub(crate) fn start(words: &[&str], join: Option<&Process>) -> Process {
    let (program, first) = words.split_first().expect("a program is named");
    let seed = join.map(|seed| seed.address().to_string());
    let started = Process::start(program, 3, |ports| {
        let mut args: Vec<String> = first.iter().map(|word| (*word).to_owned()).collect();
        for (flag, port) in ["--listen", "--gossip", "--admin"].iter().zip(ports) {
            args.extend([(*flag).to_owned(), format!("127.0.0.1:{port}")]);
        }
        args.extend(["--threads", "1"].map(str::to_owned));
        if let Some(seed) = &seed {
            args.extend(["--join".to_owned(), seed.clone()]);
        }
        args
    });
    started.expect("the node is up")
}
