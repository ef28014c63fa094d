//! The processes of a lab, found without any state.

use std::path::{Path, PathBuf};

use super::MachineError;
use super::error::in_file;
use super::process::{self, Process, Role};

/// The QEMU process of the machine in that folder.
pub(super) fn process_of(folder: &Path) -> Result<Option<Process>, MachineError> {
    let wanted = |role: &Role| matches!(role, Role::Machine(_, of) if of == folder);
    let found = process::find(wanted).map_err(in_file("read", Path::new("/proc")))?;
    Ok(found.into_iter().next().map(|(_, process)| process))
}

/// A process of a lab, found without any state.
#[derive(Debug)]
pub struct Found {
    /// The machine's name; none for the segment's switch.
    pub name: Option<String>,
    /// The machine's folder, or the segment's.
    pub folder: PathBuf,
    process: Process,
}

/// All QEMU and switch processes of this user whose folder is `root` or below it.
///
/// # Errors
/// When `/proc` cannot be read.
pub fn find(root: &Path) -> Result<Vec<Found>, MachineError> {
    let below = |role: &Role| match role {
        Role::Machine(_, folder) | Role::Switch(folder) => folder.starts_with(root),
    };
    let found = process::find(below).map_err(in_file("read", Path::new("/proc")))?;
    let found = found.into_iter().map(|(role, process)| match role {
        Role::Machine(name, folder) => Found {
            name: Some(name),
            folder,
            process,
        },
        Role::Switch(folder) => Found {
            name: None,
            folder,
            process,
        },
    });
    Ok(found.collect())
}

impl Found {
    /// Its process ID.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Ends it, whatever it does, and waits until it is gone.
    ///
    /// # Errors
    /// When it may not be signalled.
    pub fn kill(self) -> Result<(), MachineError> {
        let name = self.name.unwrap_or_else(|| "switch".to_owned());
        let pid = self.process.pid();
        let fault = |source| MachineError::Process {
            what: "end",
            name,
            pid,
            source,
        };
        self.process.end().map_err(fault)
    }
}
