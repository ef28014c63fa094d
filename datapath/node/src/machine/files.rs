//! Records in labctl's folder.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use nix::fcntl::{Flock, FlockArg};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{HOME, MachineError};
use crate::agent;

/// Makes a folder, and those above it, for root only; takes from others one that
/// whoever brought labctl here has made.
pub(super) fn make_folder(path: &Path) -> Result<(), MachineError> {
    let mut builder = fs::DirBuilder::new();
    let made = builder.recursive(true).mode(0o700).create(path);
    made.and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o700)))
        .map_err(MachineError::file("make", path))
}

/// The turn to change this machine, waited for; it ends when the value is dropped.
/// A killed `up` may have left a request that is still being carried out.
pub(super) fn turn() -> Result<Option<Flock<fs::File>>, MachineError> {
    let home = Path::new(HOME);
    let folder = match fs::File::open(home) {
        // Nobody changes what is not there.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(MachineError::file("open", home))?,
    };
    Flock::lock(folder, FlockArg::LockExclusive)
        .map(Some)
        .map_err(|(_, errno)| MachineError::file("lock", home)(errno.into()))
}

/// What was written as JSON; none when there is no file.
pub(super) fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, MachineError> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(MachineError::file("read", path)(source)),
    };
    let read = serde_json::from_slice(&text);
    read.map(Some).map_err(|source| MachineError::Record {
        path: path.to_owned(),
        source,
    })
}

/// Writes a record, and has it on disk before anything is done that it tells of:
/// machines lose their power.
pub(super) fn write<T: Serialize>(path: &Path, record: &T) -> Result<(), MachineError> {
    let text = serde_json::to_vec_pretty(record).map_err(|source| MachineError::Record {
        path: path.to_owned(),
        source,
    })?;
    let beside = path.with_extension("new");
    let write = || {
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&beside)?;
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    write().map_err(MachineError::file("write", path))
}

/// Writes a text in place unless it is there: others may have the file mounted.
pub(super) fn rewrite(path: &Path, text: &str) -> Result<(), MachineError> {
    if fs::read_to_string(path).is_ok_and(|present| present == text) {
        return Ok(());
    }
    fs::write(path, text).map_err(MachineError::file("write", path))
}

/// Removes a file, link or folder with all in it; one that is gone is no fault.
pub(super) fn remove(path: &Path) -> Result<(), MachineError> {
    agent::remove_whole(path).map_err(MachineError::file("remove", path))
}
