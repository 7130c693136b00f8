//! Results as JSON files.

use std::path::Path;

use serde::Serialize;

use crate::error::Error;

/// Writes `results`, indented, to a file.
pub fn write(path: &Path, results: &impl Serialize) -> Result<(), Error> {
    let mut text = serde_json::to_vec_pretty(results).expect("figures have no keys that JSON cannot hold");
    text.push(b'\n');
    std::fs::write(path, text).map_err(|source| Error::Path { path: path.to_path_buf(), source })
}
