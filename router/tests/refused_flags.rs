//! Flags that do not go together end a router at once, with a sentence.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::process::Command;

#[test]
fn nodes_of_its_own_and_nodes_to_join_are_one_too_many() {
    let router = |args: &[&str], variable: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_shoal-router"));
        command.args(args).env("SHOAL_EMBEDDED", variable);
        let output = command.args(["--listen", "127.0.0.1:0", "--join", "127.0.0.1:1"]).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    for (args, variable, who) in [(&["--embedded", "3"][..], "", "--embedded"), (&[], "2", "SHOAL_EMBEDDED")]
    {
        let (status, said) = router(args, variable);
        let sentence =
            format!("shoal-router: {who} starts nodes and --join names others: give one of them\n");
        assert_eq!((status, said), (Some(1), sentence));
    }
}
