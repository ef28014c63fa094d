//! How a remote command ended.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr as _;

use russh::Sig;

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

/// The name of a signal, without `SIG`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signal(Cow<'static, str>);

impl Signal {
    /// The terminal is gone.
    pub const HUP: Self = Self(Cow::Borrowed("HUP"));
    /// Interrupted at the keyboard.
    pub const INT: Self = Self(Cow::Borrowed("INT"));
    /// Asked to end.
    pub const TERM: Self = Self(Cow::Borrowed("TERM"));
    /// Ended without being asked.
    pub const KILL: Self = Self(Cow::Borrowed("KILL"));

    /// The name, such as `TERM`.
    pub fn name(&self) -> &str {
        &self.0
    }

    /// Its number on Linux; 0 when the name is none of Linux's (OpenSSH's `SIG@openssh.com`).
    pub fn number(&self) -> i32 {
        let signal = nix::sys::signal::Signal::from_str(&format!("SIG{}", self.0));
        signal.map_or(0, |signal| signal as i32)
    }
}

impl From<Sig> for Signal {
    fn from(signal: Sig) -> Self {
        Self(match signal {
            Sig::ABRT => "ABRT".into(),
            Sig::ALRM => "ALRM".into(),
            Sig::FPE => "FPE".into(),
            Sig::HUP => "HUP".into(),
            Sig::ILL => "ILL".into(),
            Sig::INT => "INT".into(),
            Sig::KILL => "KILL".into(),
            Sig::PIPE => "PIPE".into(),
            Sig::QUIT => "QUIT".into(),
            Sig::SEGV => "SEGV".into(),
            Sig::TERM => "TERM".into(),
            Sig::USR1 => "USR1".into(),
            Sig::Custom(name) => name.into(),
        })
    }
}
