//! File operations whose errors name the file.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::StoreError;

fn fault(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    move |source| StoreError::File {
        what,
        path: path.to_owned(),
        source,
    }
}

/// Makes a folder and those above it, 0700, if it is not there.
pub(crate) fn create_folder(path: &Path) -> Result<(), StoreError> {
    let made = fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path);
    made.map_err(fault("create", path))
}

/// What is in a folder, in order of the alphabet; nothing when it is not there.
pub(crate) fn entries(path: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let read = match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        read => read.map_err(fault("read", path))?,
    };
    let paths: io::Result<Vec<_>> = read.map(|entry| entry.map(|entry| entry.path())).collect();
    let mut paths = paths.map_err(fault("read", path))?;
    paths.sort_unstable();
    Ok(paths)
}

/// Removes a folder and all in it; first out of sight, so that none is ever there in part.
pub(crate) fn remove_folder(path: &Path) -> Result<(), StoreError> {
    let doomed = path.with_extension(format!("doomed-{}", std::process::id()));
    rename(path, &doomed)?;
    fs::remove_dir_all(&doomed).map_err(fault("remove", &doomed))
}

pub(crate) fn rename(from: &Path, to: &Path) -> Result<(), StoreError> {
    fs::rename(from, to).map_err(fault("rename", from))
}

/// Bytes that a file or folder takes on the disk, holes left out; none when it is not there.
pub(crate) fn size(path: &Path) -> Result<u64, StoreError> {
    let metadata = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        metadata => metadata.map_err(fault("read", path))?,
    };
    // stat(2) counts blocks of 512 bytes whatever the file system's are.
    let own = metadata.blocks() * 512;
    if !metadata.is_dir() {
        return Ok(own);
    }
    entries(path)?
        .iter()
        .try_fold(own, |sum, entry| Ok(sum + size(entry)?))
}

/// Reads a JSON document; none when the file is not there.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, StoreError> {
    let text = match fs::read(path) {
        // A file where a folder is looked into is no folder of ours.
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(None);
        }
        text => text.map_err(fault("read", path))?,
    };
    let malformed = |error: serde_json::Error| StoreError::Malformed {
        path: path.to_owned(),
        reason: error.to_string(),
    };
    serde_json::from_slice(&text).map(Some).map_err(malformed)
}

/// Writes a JSON document (0600) so that a reader finds the old one or the new one.
pub(crate) fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), StoreError> {
    let mut text = serde_json::to_vec_pretty(value)
        .map_err(io::Error::from)
        .map_err(fault("write", path))?;
    text.push(b'\n');
    write_private(path, &text).map_err(fault("write", path))
}

/// Writes a file (0600) so that a reader finds the old one or the new one, whole.
pub(crate) fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    // A temporary file of this crate is 0600.
    let mut file = tempfile::NamedTempFile::new_in(path.parent().unwrap_or(Path::new(".")))?;
    io::Write::write_all(&mut file, content)?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}
