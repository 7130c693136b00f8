//! The corpora of the fuzz targets, replayed. The files of `packed` are replayed by the node's tests.

use std::{fs, path::Path};

#[path = "../fuzz/checks/inline.rs"]
mod inline;
#[path = "../fuzz/checks/request.rs"]
mod request;

/// Runs `check` on each file of a corpus.
fn replay(corpus: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(corpus);
    let mut count = 0;
    for entry in fs::read_dir(&folder).expect("the corpus is in the repository") {
        let file = entry.expect("a readable folder").path();
        println!("{}", file.display());
        check(&fs::read(&file).expect("a readable file"));
        count += 1;
    }
    assert!(count > 0, "{} is empty", folder.display());
}

#[test]
fn requests() {
    replay("request", request::check);
}

#[test]
fn inline_commands() {
    replay("inline", inline::check);
}
