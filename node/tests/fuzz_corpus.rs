//! The corpus of the fuzz target `packed`, replayed.

use std::{fs, path::Path};

#[path = "../../proto/fuzz/checks/packed.rs"]
mod packed;

#[test]
fn packed_runs() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto/fuzz/corpus/packed");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        println!("{}", file.display());
        packed::check(&fs::read(&file).unwrap());
    }
}
