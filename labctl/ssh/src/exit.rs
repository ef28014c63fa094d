//! How a remote command ended.

use std::fmt;

use crate::exec::Signal;

/// How a remote command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exit {
    /// It returned this status.
    Code(u32),
    /// A signal ended it.
    Signal {
        /// Which one.
        signal: Signal,
        /// Whether it left a core file.
        core_dumped: bool,
    },
}

impl Exit {
    /// Whether it returned 0.
    pub fn success(&self) -> bool {
        *self == Self::Code(0)
    }

    /// The status as a shell reports it: 128 + the signal's number for a signal.
    pub fn code(&self) -> i32 {
        match self {
            Self::Code(code) => i32::try_from(*code).unwrap_or(i32::MAX),
            Self::Signal { signal, .. } => 128 + signal.number(),
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(formatter, "exited with status {code}"),
            Self::Signal {
                signal,
                core_dumped,
            } => {
                write!(formatter, "was ended by SIG{}", signal.name())?;
                if *core_dumped {
                    formatter.write_str(" (core dumped)")?;
                }
                Ok(())
            }
        }
    }
}
