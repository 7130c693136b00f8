//! Files that are whole or not there: written beside their place and put there at the end, so that a full disk or an
//! early end does not destroy what was there before.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// A file being written.
#[derive(Debug)]
pub struct Replacing {
    file: File,
    /// Where it is now and where it is to be; none if it is written in place, as devices and pipes are.
    paths: Option<(PathBuf, PathBuf)>,
}

impl Replacing {
    /// Begins a file that is to be at `path`.
    pub fn create(path: &Path) -> io::Result<Self> {
        let target = target(path);
        let before = target.metadata().ok();
        if before.as_ref().is_some_and(|before| !before.is_file()) {
            return Ok(Self { file: File::options().write(true).open(&target)?, paths: None });
        }
        let name = target.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy().into_owned();
        let beside = target.with_file_name(format!(".{name}.{}.part", std::process::id()));
        let file = File::create(&beside)?;
        let replacing = Self { file, paths: Some((beside, target)) };
        if let Some(before) = before {
            replacing.file.set_permissions(before.permissions())?;
        }
        Ok(replacing)
    }

    /// Puts the file where it is to be.
    pub fn finish(mut self) -> io::Result<()> {
        match &self.paths {
            None => return Ok(()),
            Some((beside, target)) => std::fs::rename(beside, target)?,
        }
        self.paths = None;
        Ok(())
    }
}

impl Write for Replacing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Replacing {
    fn drop(&mut self) {
        if let Some((beside, _)) = &self.paths {
            // Half a file is of no use; one that stays does no harm.
            let _ = std::fs::remove_file(beside);
        }
    }
}

/// The most links that are followed one after the other, as the kernel has it.
const MOST_LINKS: usize = 40;

/// Where what is written to `path` comes to be: what a link points to is replaced or made, not the link.
pub fn target(path: &Path) -> PathBuf {
    // What can be written through the kernel follows itself, such as the pipe behind /dev/stdout.
    if path.exists() {
        return path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    }
    let mut target = path.to_path_buf();
    for _ in 0..MOST_LINKS {
        let Ok(link) = std::fs::read_link(&target) else { break };
        // A link that is not absolute counts from where it is.
        target = target.parent().unwrap_or(Path::new("")).join(link);
    }
    target
}

/// Writes a whole file.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = Replacing::create(path)?;
    file.write_all(bytes)?;
    file.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_there_stays_until_the_new_is_whole() {
        let folder = std::env::temp_dir().join(format!("shoal-loadtest-file-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("report.json");
        write(&path, b"old").unwrap();
        let mut half = Replacing::create(&path).unwrap();
        half.write_all(b"ne").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        drop(half);
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1, "half a file is left");
        let link = folder.join("link.json");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        write(&link, b"new").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert!(link.is_symlink());
        std::fs::remove_file(&path).unwrap();
        write(&link, b"again").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"again", "a link to nothing makes what it points to");
        assert!(link.is_symlink());
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn devices_are_written_as_they_are() {
        let full = Path::new("/dev/full");
        assert_eq!(write(full, b"x").unwrap_err().kind(), io::ErrorKind::StorageFull);
        write(Path::new("/dev/null"), b"x").unwrap();
        assert!(full.exists());
    }
}
