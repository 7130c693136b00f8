//! Results as JSON files.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::file;
use crate::error::Error;

/// Finds out whether these files can be written, before work is done that would be lost. What is in them stays. No two
/// may be the same.
pub fn check<'a>(paths: impl IntoIterator<Item = &'a Option<PathBuf>>) -> Result<(), Error> {
    let mut before: Vec<PathBuf> = Vec::new();
    for path in paths.into_iter().flatten() {
        if path.as_os_str() == "-" {
            return Err(Error::Usage(
                "'-' is no file: the standard output is for the table, give a name such as out.json".into(),
            ));
        }
        let is_new = !path.exists();
        let opened = OpenOptions::new().append(true).create(true).open(path);
        opened.map_err(|source| Error::Path { path: path.clone(), source })?;
        let whole = file::target(path);
        if is_new {
            // It was created just now, perhaps behind a link; the report itself is written at the end.
            let _ = std::fs::remove_file(&whole);
        }
        if before.contains(&whole) && !is_device(&whole) {
            return Err(Error::Usage(format!("{} cannot hold two reports: give two names", path.display())));
        }
        before.push(whole);
    }
    Ok(())
}

/// True for what may be written by several, such as `/dev/null`.
fn is_device(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| !metadata.is_file())
}

/// Writes `results`, indented, to a file.
pub fn write(path: &Path, results: &impl Serialize) -> Result<(), Error> {
    let mut text = serde_json::to_vec_pretty(results).expect("figures have no keys that JSON cannot hold");
    text.push(b'\n');
    file::write(path, &text).map_err(|source| Error::Path { path: path.to_path_buf(), source })
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
        let twice =
            [Some(path.clone()), None, Some(std::env::temp_dir().join(".").join(path.file_name().unwrap()))];
        assert!(check(&twice).unwrap_err().to_string().contains("cannot hold two reports"));
        assert!(!path.exists());
        let link = path.with_extension("link");
        std::os::unix::fs::symlink(path.file_name().unwrap(), &link).unwrap();
        check(&[Some(link.clone())]).unwrap();
        assert!(link.is_symlink() && !path.exists(), "a link to nothing stays one");
        assert!(check(&[Some(link.clone()), Some(path.clone())]).is_err(), "both are one file");
        std::fs::remove_file(&link).unwrap();
        assert!(check(&[Some("-".into())]).unwrap_err().to_string().starts_with("'-' is no file"));
    }
}
