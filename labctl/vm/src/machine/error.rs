//! What can go wrong with a machine, and the evidence for it.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::qmp::QmpError;
use crate::import::SeedError;
use crate::store::StoreError;

/// Why a machine could not be started, reached or ended.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// QEMU's monitor failed.
    #[error(transparent)]
    Qmp(#[from] QmpError),
    /// The seed of a machine that boots by itself could not be made.
    #[error(transparent)]
    Seed(#[from] SeedError),
    /// A file operation failed.
    #[error("{what} {path}: {source}", path = path.display())]
    File {
        /// What was being done.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A program is not installed, or could not be run.
    #[error("run {program}: {reason}; it is in Debian's package {package}")]
    Program {
        /// The program.
        program: &'static str,
        /// The package that has it.
        package: &'static str,
        /// What came of it.
        reason: String,
    },
    /// The machine runs already.
    #[error("start machine {name}: it runs already, as process {pid}")]
    Runs {
        /// The machine.
        name: String,
        /// Its process.
        pid: u32,
    },
    /// A path is too long for a socket, whose names have at most 107 bytes.
    #[error("start machine {name}: {path} is longer than a socket's name may be (107 bytes)", path = path.display())]
    LongPath {
        /// The machine.
        name: String,
        /// The path.
        path: PathBuf,
    },
    /// Its process could not be watched or ended.
    #[error("{what} machine {name} (process {pid}): {source}")]
    Process {
        /// What was being done.
        what: &'static str,
        /// The machine.
        name: String,
        /// Its process.
        pid: u32,
        /// The system's reason.
        source: io::Error,
    },
    /// The machine ended though nobody asked.
    #[error("run machine {name}: it ended{}", evidence(qemu, serial))]
    Died {
        /// The machine.
        name: String,
        /// What QEMU wrote to its standard error.
        qemu: String,
        /// The end of its serial console.
        serial: String,
    },
    /// The machine did not answer in time.
    #[error("wait for machine {name}: no answer after {seconds:.1} s{}", evidence("", serial), seconds = waited.as_secs_f64())]
    NoAnswer {
        /// The machine.
        name: String,
        /// How long it was waited for.
        waited: Duration,
        /// The end of its serial console.
        serial: String,
    },
    /// The machine said that it cannot be who it is to be.
    #[error("start machine {name}: it says: {reason}")]
    Refused {
        /// The machine.
        name: String,
        /// What it said.
        reason: String,
    },
    /// QEMU did not say which port leads to the machine's SSH server.
    #[error("start machine {0}: QEMU names no port that leads to its SSH server")]
    NoPort(String),
    /// The caller asked to stop.
    #[error("wait for machine {0}: interrupted")]
    Interrupted(String),
}

fn evidence(qemu: &str, serial: &str) -> String {
    let mut text = String::new();
    for (from, said) in [("QEMU", qemu), ("its console", serial)] {
        if !said.trim().is_empty() {
            text.push_str("; ");
            text.push_str(from);
            text.push_str(" says:\n");
            text.push_str(said.trim_end());
        }
    }
    text
}

pub(super) fn in_file(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> MachineError {
    move |source| MachineError::File {
        what,
        path: path.to_owned(),
        source,
    }
}

/// The last lines of a file; nothing when it cannot be read.
pub(super) fn tail(path: &Path, lines: usize) -> String {
    let bytes = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text
        .lines()
        .map(str::trim_end)
        .filter(|line| !line.is_empty())
        .collect();
    all.get(all.len().saturating_sub(lines)..)
        .unwrap_or_default()
        .join("\n")
}
