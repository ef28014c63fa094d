//! What is based on an image or a template: one link per disk in its folder `users`.
//!
//! A disk that is gone is a user no more, so whoever removes a machine needs to tell nobody.

use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::{Digest, StoreError, files};

/// Notes that `disk` is based on what is in `folder`.
pub(crate) fn register(folder: &Path, disk: &Path) -> Result<(), StoreError> {
    let users = folder.join("users");
    files::create_folder(&users)?;
    let name = Digest::of(Sha256::new_with_prefix(disk.as_os_str().as_bytes()));
    let link = users.join(name.short());
    match symlink(disk, &link) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(StoreError::File {
            what: "create",
            path: link,
            source: error,
        }),
        _ => Ok(()),
    }
}

/// The disks based on what is in `folder`; links to those that are gone are removed.
pub(super) fn of(folder: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let mut disks = Vec::new();
    for link in files::entries(&folder.join("users"))? {
        let fault = |source| StoreError::File {
            what: "read",
            path: link.clone(),
            source,
        };
        let disk = std::fs::read_link(&link).map_err(fault)?;
        if disk.exists() {
            disks.push(disk);
        } else {
            let _another_did = std::fs::remove_file(&link);
        }
    }
    Ok(disks)
}
