//! The folder in which everything is written down that is known of one lab.
//!
//! `lock` (held by whoever changes the lab), `lab.json` (the record),
//! `journal.jsonl`, and `nodes/<node>/`. Providers put more beside these.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::ProviderError;

/// The folder of one lab, which need not be there.
#[derive(Clone, Debug)]
pub(crate) struct LabFolder {
    lab: String,
    root: PathBuf,
    path: PathBuf,
}

impl LabFolder {
    /// The folder of `lab` below `root`.
    ///
    /// # Errors
    /// When no lab can have that name: it becomes part of paths that are removed
    /// with all below them.
    pub(crate) fn new(root: &Path, lab: &str) -> Result<Self, ProviderError> {
        let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if lab.is_empty() || !lab.bytes().all(legal) {
            return Err(ProviderError::LabName(lab.to_owned()));
        }
        Ok(Self {
            lab: lab.to_owned(),
            root: root.to_owned(),
            path: root.join(lab),
        })
    }

    pub(crate) fn lab(&self) -> &str {
        &self.lab
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Held by whoever changes the lab.
    pub(crate) fn lock(&self) -> PathBuf {
        self.path.join("lock")
    }

    /// The record.
    pub(crate) fn record(&self) -> PathBuf {
        self.path.join("lab.json")
    }

    /// What was done, and when.
    pub(crate) fn journal(&self) -> PathBuf {
        self.path.join("journal.jsonl")
    }

    /// Folder of all nodes' folders.
    pub(crate) fn nodes(&self) -> PathBuf {
        self.path.join("nodes")
    }

    /// A node's folder.
    pub(crate) fn node(&self, node: &str) -> PathBuf {
        self.nodes().join(node)
    }

    /// Whether nothing of a lab is in it: taking the lock makes the folder, and a
    /// run that was interrupted before its first step leaves a line in the journal.
    pub(crate) fn is_bare(&self) -> bool {
        let traces = [self.lock(), self.journal()];
        fs::read_dir(&self.path).map_or(true, |entries| {
            let mut paths = entries.flatten().map(|entry| entry.path());
            paths.all(|path| traces.contains(&path))
        })
    }

    /// Removes it with all that is in it.
    ///
    /// # Errors
    /// Names what cannot be removed.
    pub(crate) fn remove(&self) -> Result<(), ProviderError> {
        self.remove_all_but_lock()?;
        // Last, for who waits for it takes the lab to be free: see `lock`.
        self.remove_lock()?;
        match fs::remove_dir(&self.root) {
            Err(error) if !is_in_use(&error) => {
                Err(ProviderError::file("remove", &self.root, error))
            }
            _ => Ok(()),
        }
    }

    fn remove_all_but_lock(&self) -> Result<(), ProviderError> {
        let fault = |source| ProviderError::file("remove", &self.path, source);
        let entries = match fs::read_dir(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries.map_err(fault)?,
        };
        for entry in entries {
            let path = entry.map_err(fault)?.path();
            if path == self.lock() {
                continue;
            }
            if path.is_dir() && !path.is_symlink() {
                remove_folder(&path)?;
            } else {
                fs::remove_file(&path)
                    .map_err(|source| ProviderError::file("remove", &path, source))?;
            }
        }
        Ok(())
    }

    /// Removes the lock and then the folder. Somebody who waited may have made a
    /// new lock in it by then, and the folder is theirs.
    fn remove_lock(&self) -> Result<(), ProviderError> {
        let gone = |removed: io::Result<()>| match removed {
            Err(error) if !is_in_use(&error) => {
                Err(ProviderError::file("remove", &self.path, error))
            }
            _ => Ok(()),
        };
        gone(fs::remove_file(self.lock()))?;
        gone(fs::remove_dir(&self.path))
    }
}

/// Whether something could not be removed because somebody else uses it, or has
/// removed it.
pub(crate) fn is_in_use(error: &io::Error) -> bool {
    use io::ErrorKind::{DirectoryNotEmpty, NotFound, ResourceBusy};
    matches!(error.kind(), DirectoryNotEmpty | NotFound | ResourceBusy)
}

/// Removes a folder with all in it; what is not there is no fault.
pub(crate) fn remove_folder(folder: &Path) -> Result<(), ProviderError> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(ProviderError::file("remove", folder, error))
        }
        _ => Ok(()),
    }
}

/// Folders in `folder`, by name; none when it is not there.
pub(crate) fn folders_in(folder: &Path) -> Result<BTreeSet<String>, ProviderError> {
    let mut names = entries_in(folder)?;
    names.retain(|name| folder.join(name).is_dir());
    Ok(names)
}

/// Names in `folder`; none when it is not there.
pub(crate) fn entries_in(folder: &Path) -> Result<BTreeSet<String>, ProviderError> {
    let fault = |source| ProviderError::file("list", folder, source);
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        entries => entries.map_err(fault)?,
    };
    let name = |entry: fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
    entries
        .map(|entry| entry.map(name).map_err(fault))
        .collect()
}
