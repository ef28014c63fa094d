//! Rules read and written, by the host's own `iptables-save` and
//! `iptables-restore`, in the namespace of the process that calls.

use std::io::{self, Write as _};
use std::process::{Command, Stdio};

use super::ruleset::{Ruleset, Saved, restore_input};

/// Seconds to wait for others that change rules at this moment.
const WAIT: &str = "5";

/// Rules that cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum IptablesError {
    /// The command did not run.
    #[error("run {command}: {source}; is the package `iptables` installed?")]
    Run {
        /// Its name.
        command: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// The command complained.
    #[error("run {command}: {complaint}")]
    Refused {
        /// Its name.
        command: &'static str,
        /// What it wrote to standard error.
        complaint: String,
    },
}

/// The rules of this node, as they were made.
#[derive(Debug, Default)]
pub(crate) struct Iptables {
    /// What was asked for, and how `iptables-save` has it; none before the first time.
    applied: Option<(Ruleset, Saved)>,
}

impl Iptables {
    /// Makes the rules what is wanted. Does nothing when they are that already;
    /// where none are wanted and none have been made, nothing is run but the first
    /// time, for what an earlier agent may have made.
    ///
    /// # Errors
    /// When a command is not there or complains. The rules are what they were then.
    pub(crate) fn apply(&mut self, wanted: Ruleset) -> Result<(), IptablesError> {
        let first = self.applied.is_none();
        if let Some((before, saved)) = &self.applied
            && *before == wanted
            && (wanted.is_empty() || read()? == *saved)
        {
            return Ok(());
        }
        let there = match read() {
            // Without iptables there are no rules either.
            Err(IptablesError::Run { source, .. })
                if first && wanted.is_empty() && source.kind() == io::ErrorKind::NotFound =>
            {
                Saved::default()
            }
            read => read?,
        };
        if !(wanted.is_empty() && there.is_empty()) {
            restore_text(&restore_input(&wanted, &there))?;
        }
        let saved = if wanted.is_empty() {
            Saved::default()
        } else {
            read()?
        };
        self.applied = Some((wanted, saved));
        Ok(())
    }

    /// What has changed since the rules were made.
    ///
    /// # Errors
    /// When they cannot be read.
    pub(crate) fn differences(&self) -> Result<Vec<String>, IptablesError> {
        match &self.applied {
            Some((wanted, saved)) if !wanted.is_empty() => Ok(saved.differences(&read()?)),
            _ => Ok(Vec::new()),
        }
    }
}

/// Removes every rule of ours from this namespace; a host without iptables has none.
///
/// # Errors
/// When a command complains.
pub(crate) fn remove() -> Result<(), IptablesError> {
    Iptables::default().apply(Ruleset::default())
}

fn read() -> Result<Saved, IptablesError> {
    Ok(Saved::parse(&saved_text()?))
}

/// What `iptables-save` prints.
///
/// # Errors
/// When it does not run, or complains.
pub(crate) fn saved_text() -> Result<String, IptablesError> {
    const COMMAND: &str = "iptables-save";
    let output = Command::new(COMMAND)
        .stdin(Stdio::null())
        .output()
        .map_err(|source| IptablesError::Run {
            command: COMMAND,
            source,
        })?;
    if !output.status.success() {
        return Err(refused(COMMAND, &output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Has `iptables-restore` add to the rules that are there, as one transaction.
///
/// # Errors
/// When it does not run, or complains: the rules are what they were then.
pub(crate) fn restore_text(input: &str) -> Result<(), IptablesError> {
    const COMMAND: &str = "iptables-restore";
    let run = |source| IptablesError::Run {
        command: COMMAND,
        source,
    };
    let mut child = Command::new(COMMAND)
        .args(["-w", WAIT, "--noflush"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(run)?;
    // It reads everything before it writes anything but its last words; what it
    // does not read any more, it tells why.
    let written = child
        .stdin
        .take()
        .map_or(Ok(()), |mut stdin| stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().map_err(run)?;
    if !output.status.success() {
        return Err(refused(COMMAND, &output.stderr));
    }
    written.map_err(run)
}

fn refused(command: &'static str, stderr: &[u8]) -> IptablesError {
    let stderr = String::from_utf8_lossy(stderr);
    let lines = stderr.lines().map(str::trim);
    let words: Vec<&str> = lines
        .filter(|line| !line.is_empty() && !line.starts_with("Try "))
        .collect();
    let complaint = if words.is_empty() {
        "no word why".to_owned()
    } else {
        words.join("; ")
    };
    IptablesError::Refused { command, complaint }
}
