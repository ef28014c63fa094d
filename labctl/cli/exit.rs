//! How a command ends: exit codes, and the failures that carry them to the edge.

use std::fmt;
use std::process::ExitCode;

use lab_model::diagnostic::Diagnostics;

/// The exit codes, documented in `docs/exit-codes.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done; where checks ran, all of them passed.
    Success,
    /// A check failed, could not be judged, or its twin stayed green.
    CheckFailed,
    /// The command line is wrong, or names what does not exist. clap's own code.
    Usage,
    /// A lab file, manifest or check file has faults.
    InvalidFile,
    /// This host lacks something.
    HostLacks,
    /// The lab could not be made, changed, reached or removed.
    LabFailed,
    /// `plan --detailed-exitcode`: the lab differs from its file.
    ChangesPending,
    /// Stopped by SIGINT or SIGTERM: 128 and SIGINT's number, as shells report it.
    Interrupted,
    /// `exec`, `shell`, `ssh`: what the command itself ended with.
    OfCommand(u8),
}

impl Exit {
    /// The number the process ends with.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::CheckFailed => 1,
            Self::Usage => 2,
            Self::InvalidFile => 3,
            Self::HostLacks => 4,
            Self::LabFailed => 5,
            Self::ChangesPending => 10,
            Self::Interrupted => 130,
            Self::OfCommand(code) => code,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Why a command could not do what it was asked. Printed once, in `main`.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Faults in files, with their positions.
    Faults(Diagnostics),
    /// Anything else.
    Because {
        /// What the process ends with.
        exit: Exit,
        /// A lowercase sentence.
        message: String,
        /// What to do about it.
        help: Option<String>,
    },
    /// A wrong command line, in clap's words.
    Usage(String),
    /// A command that `exec` was to become could not be executed.
    NotExecuted {
        /// 126 or 127, as shells have it.
        code: u8,
        /// A lowercase sentence.
        message: String,
    },
}

impl Failure {
    /// A failure in words.
    pub(crate) fn new(exit: Exit, message: impl fmt::Display) -> Self {
        Self::Because {
            exit,
            message: message.to_string(),
            help: None,
        }
    }

    /// The command line asks for what does not exist.
    pub(crate) fn usage(message: impl fmt::Display) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// The first interrupt came, and everything this run did has been undone.
    pub(crate) fn interrupted() -> Self {
        Self::new(Exit::Interrupted, "interrupted")
    }

    /// Adds what to do about it.
    pub(crate) fn help(self, advice: impl Into<String>) -> Self {
        match self {
            Self::Because { exit, message, .. } => Self::Because {
                exit,
                message,
                help: Some(advice.into()),
            },
            other => other,
        }
    }

    /// The exit code it ends with.
    pub(crate) const fn code(&self) -> u8 {
        match self {
            Self::Faults(_) => Exit::InvalidFile.code(),
            Self::Because { exit, .. } => exit.code(),
            Self::Usage(_) => Exit::Usage.code(),
            Self::NotExecuted { code, .. } => *code,
        }
    }
}

/// Gives an error, whose text is a fragment after "failed to", the exit code that the
/// process ends with.
pub(crate) trait OrExit<T> {
    /// Ends with `exit` when this is an error.
    fn or_exit(self, exit: Exit) -> Result<T, Failure>;
}

impl<T, E: std::error::Error> OrExit<T> for Result<T, E> {
    fn or_exit(self, exit: Exit) -> Result<T, Failure> {
        self.map_err(|error| Failure::new(exit, format_args!("failed to {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [(Exit, &str); 8] = [
        (Exit::Success, "success"),
        (Exit::CheckFailed, "check-failed"),
        (Exit::Usage, "usage"),
        (Exit::InvalidFile, "invalid-file"),
        (Exit::HostLacks, "host-lacks"),
        (Exit::LabFailed, "lab-failed"),
        (Exit::ChangesPending, "changes-pending"),
        (Exit::Interrupted, "interrupted"),
    ];

    #[test]
    fn the_documented_table_is_the_enum() {
        let documented: Vec<(u8, &str)> = include_str!("../../docs/exit-codes.md")
            .lines()
            .filter_map(|line| {
                let mut cells = line.strip_prefix('|')?.split('|').map(str::trim);
                Some((cells.next()?.parse().ok()?, cells.next()?))
            })
            .collect();
        let ours: Vec<(u8, &str)> = ALL.map(|(exit, name)| (exit.code(), name)).to_vec();
        assert_eq!(documented, ours);
    }
}
