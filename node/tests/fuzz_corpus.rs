//! The corpora of the fuzz targets `packed` and `commands`, replayed.

use std::{fs, path::Path};

#[path = "../../proto/fuzz/checks/commands.rs"]
mod commands;
#[path = "../../proto/fuzz/checks/packed.rs"]
mod packed;

fn replay(target: &str, check: impl Fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto/fuzz/corpus").join(target);
    let mut files: Vec<_> = fs::read_dir(folder)
        .expect("a folder of the repository")
        .map(|entry| entry.expect("it can be listed").path())
        .collect();
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        println!("{}", file.display());
        check(&fs::read(&file).expect("it can be read"));
    }
}

#[test]
fn packed_runs() {
    replay("packed", packed::check);
}

#[test]
fn sequences_of_commands() {
    replay("commands", commands::check);
}
