//! Results as JSON files.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::error::Error;

/// Finds out whether these files can be written, before work is done that would be lost. What is in them stays.
pub fn check<'a>(paths: impl IntoIterator<Item = &'a Option<PathBuf>>) -> Result<(), Error> {
    for path in paths.into_iter().flatten() {
        let is_new = !path.exists();
        let opened = OpenOptions::new().append(true).create(true).open(path);
        opened.map_err(|source| Error::Path { path: path.clone(), source })?;
        if is_new {
            // It was created just now; the report itself is written at the end.
            let _ = std::fs::remove_file(path);
        }
    }
    Ok(())
}

/// Writes `results`, indented, to a file.
pub fn write(path: &Path, results: &impl Serialize) -> Result<(), Error> {
    let mut text = serde_json::to_vec_pretty(results).expect("figures have no keys that JSON cannot hold");
    text.push(b'\n');
    std::fs::write(path, text).map_err(|source| Error::Path { path: path.to_path_buf(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_changes_nothing() {
        let path = std::env::temp_dir().join(format!("shoal-loadtest-check-{}.json", std::process::id()));
        let wanted = [None, Some(path.clone())];
        check(&wanted).unwrap();
        assert!(!path.exists());
        std::fs::write(&path, "old").unwrap();
        check(&wanted).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "old");
        std::fs::remove_file(&path).unwrap();
        let error = check(&[Some(PathBuf::from("/nowhere/at/all.json"))]).unwrap_err().to_string();
        assert!(error.starts_with("/nowhere/at/all.json: "), "{error}");
    }
}
