//! Files that a Corefile is in, and names.

use std::io::{self, Read as _};
use std::path::Path;

/// Octets of the longest file that is read: a Corefile has a few hundred, a `resolv.conf` fewer.
const MAX_FILE: u64 = 1 << 20;

/// The text of a file. Devices and pipes, which may never end, aren't read.
pub(super) fn read(path: &Path) -> io::Result<String> {
    // Opened only when it is a file: to open a pipe is to wait for whoever writes.
    if !path.metadata()?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let mut text = String::new();
    let file = std::fs::File::open(path)?;
    if file.take(MAX_FILE + 1).read_to_string(&mut text)? as u64 > MAX_FILE {
        return Err(io::Error::other(format!(
            "it has more than {MAX_FILE} octets"
        )));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_never_ends_is_not_read() {
        let told = |path: &Path| read(path).unwrap_err().to_string();
        assert_eq!(told(Path::new("/dev/zero")), "it is no regular file");
        assert_eq!(told(Path::new("/")), "it is no regular file");
        let directory = tempfile::tempdir().unwrap();
        let long = directory.path().join("long");
        std::fs::write(&long, vec![b'\n'; (1 << 20) + 1]).unwrap();
        assert_eq!(told(&long), "it has more than 1048576 octets");
    }
}
