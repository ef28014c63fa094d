//! Files in the node's folder.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use lab_model::node_state::NodeState;

use super::AgentError;

/// Makes a folder, and those above it, for root only.
pub(super) fn make_folder(path: &Path) -> Result<(), AgentError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(AgentError::file("make", path))
}

/// Replaces a file as a whole: readers see the old text or the new one.
pub(super) fn replace(path: &Path, text: &[u8]) -> Result<(), AgentError> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = Path::new(&beside);
    let write = || {
        let mut file = fs::OpenOptions::new();
        file.write(true).create(true).truncate(true).mode(0o600);
        file.open(beside)?.write_all(text)?;
        fs::rename(beside, path)
    };
    write().map_err(AgentError::file("write", path))
}

/// Writes a file in place unless it has this text: a bind mount of it, unlike
/// one of a replaced file, shows the new text.
pub(super) fn rewrite(path: &Path, text: &str) -> Result<(), AgentError> {
    if fs::read_to_string(path).is_ok_and(|present| present == text) {
        return Ok(());
    }
    fs::write(path, text).map_err(AgentError::file("write", path))
}

/// A file's text; `None` when there is no file.
pub(super) fn read_if_there(path: &Path) -> Result<Option<String>, AgentError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(AgentError::file("read", path)(source)),
    }
}

/// Removes a file or a folder with all in it; one that is gone is no fault.
pub(super) fn remove(path: &Path) -> Result<(), AgentError> {
    remove_whole(path).map_err(AgentError::file("remove", path))
}

/// As [`remove`], for those with errors of their own.
pub(crate) fn remove_whole(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// What was last applied.
pub(super) fn read_state(path: &Path) -> Result<Option<NodeState>, AgentError> {
    let Some(text) = read_if_there(path)? else {
        return Ok(None);
    };
    serde_json::from_str(&text)
        .map(Some)
        .map_err(|error| AgentError::file("read", path)(error.into()))
}

/// Notes what was applied.
pub(super) fn write_state(path: &Path, state: &NodeState) -> Result<(), AgentError> {
    let text =
        serde_json::to_vec(state).map_err(|error| AgentError::file("write", path)(error.into()))?;
    replace(path, &text)
}
