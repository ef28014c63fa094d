//! The labctl that is installed on machines: this one.
//!
//! One file, dynamically linked against glibc 2.34 or later, libm and libgcc_s
//! alone: Debian 12, Ubuntu 22.04 and 24.04 have those (`tests/portable.rs`). What
//! does not get loaded, such as debug information, stays here.

use std::fs;
use std::io;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use crate::error::ProviderError;

/// An executable, ready to be installed.
pub(super) struct Executable {
    /// Its content.
    pub(super) bytes: Vec<u8>,
    /// SHA-256 of that, in hexadecimal.
    pub(super) digest: String,
}

impl Executable {
    /// Reads the executable at `path` as far as it gets loaded.
    pub(super) fn read(path: &Path) -> Result<Self, ProviderError> {
        let fault = |source| ProviderError::file("read", path, source);
        let mut bytes = fs::read(path).map_err(fault)?;
        keep_loaded(&mut bytes).map_err(fault)?;
        let digest = Sha256::digest(&bytes);
        let digest = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { bytes, digest })
    }
}

/// Cuts a 64-bit ELF file behind its last segment and removes the reference to the
/// section headers, which lie behind that: the kernel and ld.so read segments only
/// (elf(5)).
fn keep_loaded(file: &mut Vec<u8>) -> io::Result<()> {
    let malformed = || io::Error::new(io::ErrorKind::InvalidData, "it is no 64-bit ELF file");
    if file.get(..5) != Some(b"\x7fELF\x02") {
        return Err(malformed());
    }
    let headers = number::<8>(file, 0x20).ok_or_else(malformed)?;
    let size = number::<2>(file, 0x36).ok_or_else(malformed)?;
    let count = number::<2>(file, 0x38).ok_or_else(malformed)?;
    let mut end = headers + size * count;
    for header in (0..count).map(|index| headers + index * size) {
        let offset = number::<8>(file, header + 0x08).ok_or_else(malformed)?;
        let length = number::<8>(file, header + 0x20).ok_or_else(malformed)?;
        end = end.max(offset.saturating_add(length));
    }
    if end > file.len() {
        return Err(malformed());
    }
    file.truncate(end);
    // e_shoff; then e_shnum and e_shstrndx.
    file[0x28..0x30].fill(0);
    file[0x3c..0x40].fill(0);
    Ok(())
}

/// A little-endian number of `N` bytes.
fn number<const N: usize>(file: &[u8], at: usize) -> Option<usize> {
    let bytes = file.get(at..at.checked_add(N)?)?;
    let value = bytes
        .iter()
        .rev()
        .fold(0_u64, |all, byte| all << 8 | u64::from(*byte));
    usize::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::process::Command;

    use super::*;

    #[test]
    fn what_is_kept_of_an_executable_runs() {
        let own = std::env::current_exe().expect("this test has a file");
        let kept = Executable::read(&own).expect("this test is an ELF file");
        let whole = fs::metadata(&own).expect("it is there").len();
        assert!((kept.bytes.len() as u64) < whole, "nothing was left out");
        let folder = tempfile::tempdir().expect("a folder");
        let copy = folder.path().join("copy");
        fs::write(&copy, &kept.bytes).expect("write the copy");
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o700)).expect("make it executable");
        // Another test's fork may hold the file open for writing until it executes.
        let list = loop {
            match Command::new(&copy).arg("--list").output() {
                Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => {}
                started => break started.expect("it starts"),
            }
        };
        assert!(String::from_utf8_lossy(&list.stdout).contains("what_is_kept_of_an_executable"));
    }

    #[test]
    fn what_is_no_executable_is_refused() {
        for text in [&b"#!/bin/sh\n"[..], b"", b"\x7fELF\x02", &[0x7f; 100]] {
            assert!(keep_loaded(&mut text.to_vec()).is_err());
        }
    }
}
