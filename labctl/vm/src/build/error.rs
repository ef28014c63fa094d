//! Why an image could not be built.

use std::io;
use std::path::PathBuf;

use crate::store::StoreError;

/// Why an image could not be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
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
    /// A program the build needs is not installed.
    #[error("run {program}: it is not installed; apt install {package}")]
    NoProgram {
        /// The program.
        program: &'static str,
        /// The package that has it.
        package: &'static str,
    },
    /// A program could not be run.
    #[error("run {program}: {source}")]
    Run {
        /// The program.
        program: &'static str,
        /// The system's reason.
        source: io::Error,
    },
    /// A program failed.
    #[error("{what}: {program} ended with {status}: {said}")]
    Program {
        /// What it was run for.
        what: String,
        /// The program.
        program: &'static str,
        /// How it ended.
        status: std::process::ExitStatus,
        /// The end of what it wrote to its standard error.
        said: String,
    },
    /// A kernel's package is not what a kernel's package is.
    #[error("read kernel {path}: {reason}", path = path.display())]
    Kernel {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// What was imported is not what its checksum says.
    #[error("import {location}: its checksum is {found}, not {expected}")]
    Checksum {
        /// Where it came from.
        location: String,
        /// What it must hash to.
        expected: String,
        /// What it does.
        found: String,
    },
    /// What was imported is no image.
    #[error("import {location}: it is no qcow2 image without a backing file")]
    NoImage {
        /// Where it came from.
        location: String,
    },
    /// The caller asked to stop.
    #[error("build: interrupted")]
    Interrupted,
}
