//! Files that are read. What never ends, or would not fit into memory, is refused instead of read.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use crate::error::Error;

/// The largest file that is read as a whole, in bytes.
pub const MOST: u64 = 1 << 30;

/// Opens a file or a pipe; nothing else has an end.
pub fn open(path: &Path) -> Result<File, Error> {
    let failed = |source| Error::Path { path: path.to_path_buf(), source };
    let file = File::open(path).map_err(failed)?;
    let kind = file.metadata().map_err(failed)?.file_type();
    if kind.is_dir() {
        return Err(failed(rustix::io::Errno::ISDIR.into()));
    }
    if !kind.is_file() && !kind.is_fifo() && !kind.is_socket() {
        return Err(Error::Usage(format!("{}: it is neither a file nor a pipe", path.display())));
    }
    Ok(file)
}

/// Reads all of a file or a pipe.
pub fn bytes(path: &Path) -> Result<Vec<u8>, Error> {
    at_most(path, MOST)
}

/// Reads all of a file or a pipe, which must be text.
pub fn text(path: &Path) -> Result<String, Error> {
    String::from_utf8(bytes(path)?).map_err(|_| Error::Path {
        path: path.to_path_buf(),
        source: io::Error::new(ErrorKind::InvalidData, "this is not UTF-8 text"),
    })
}

fn at_most(path: &Path, most: u64) -> Result<Vec<u8>, Error> {
    let failed = |source| Error::Path { path: path.to_path_buf(), source };
    let file = open(path)?;
    let mut bytes = Vec::new();
    // A file that grows meanwhile, and a pipe, tell their size only by being read.
    if file.metadata().map_err(failed)?.len() <= most {
        file.take(most + 1).read_to_end(&mut bytes).map_err(failed)?;
        if bytes.len() as u64 <= most {
            return Ok(bytes);
        }
    }
    Err(Error::Usage(format!(
        "{}: it has more than {most} bytes, which is more than is read",
        path.display()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_end_is_not_read() {
        let error = |path: &str| bytes(Path::new(path)).unwrap_err().to_string();
        assert_eq!(error("/dev/zero"), "/dev/zero: it is neither a file nor a pipe");
        assert_eq!(error("/"), "/: Is a directory (os error 21)");
        // Its size is told as 0, as that of a pipe.
        let endless = Path::new("/proc/self/maps");
        let whole = at_most(endless, MOST).unwrap();
        assert!(whole.len() > 10);
        let refused = at_most(endless, 10).unwrap_err().to_string();
        assert_eq!(refused, "/proc/self/maps: it has more than 10 bytes, which is more than is read");
    }

    #[test]
    fn files_are_read_up_to_their_end() {
        let path = std::env::temp_dir().join(format!("shoal-loadtest-input-{}", std::process::id()));
        std::fs::write(&path, "12345").unwrap();
        assert_eq!(
            (at_most(&path, 5).unwrap(), text(&path).unwrap()),
            (b"12345".to_vec(), "12345".to_owned())
        );
        assert!(
            at_most(&path, 4)
                .unwrap_err()
                .to_string()
                .ends_with("it has more than 4 bytes, which is more than is read")
        );
        std::fs::write(&path, b"\xff").unwrap();
        assert!(text(&path).unwrap_err().to_string().ends_with(": this is not UTF-8 text"));
        std::fs::remove_file(&path).unwrap();
    }
}
