//! Programs the build runs: their end awaited, their last words kept, ended on an interrupt.

use std::ffi::OsStr;
use std::io::{Read as _, Seek as _};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::BuildError;

/// How often the interrupt flag is looked at.
const LOOK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

/// How much of what a failed program said is shown, in bytes.
const LAST_WORDS: u64 = 2000;

/// A program the build needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Program {
    pub(crate) name: &'static str,
    /// The Debian package that has it.
    pub(crate) package: &'static str,
}

impl Program {
    /// Its command, which SIGTERM ends when this thread does, so that a killed build leaves no
    /// process behind.
    pub(crate) fn command(self) -> Command {
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "TERM", "--", self.name])
            .stdin(Stdio::null());
        // Debian leaves the sbin folders out of a user's PATH; mke2fs and others are there.
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut folders: Vec<_> = std::env::split_paths(&path).collect();
        folders.extend(["/usr/sbin".into(), "/sbin".into()]);
        if let Ok(path) = std::env::join_paths(folders) {
            command.env("PATH", path);
        }
        command
    }

    pub(crate) fn is_there(self) -> bool {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path)
            .chain(["/usr/sbin".into(), "/sbin".into()])
            .any(|folder| folder.join(self.name).is_file())
    }

    /// Fails with the name of its package when it is not installed.
    pub(crate) fn require(self) -> Result<Self, BuildError> {
        if self.is_there() {
            return Ok(self);
        }
        Err(BuildError::NoProgram {
            program: self.name,
            package: self.package,
        })
    }

    /// Runs it with these arguments and gives back what it wrote to its standard output.
    pub(crate) fn output<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(
        self,
        what: &str,
        interrupt: &AtomicBool,
        arguments: I,
    ) -> Result<Vec<u8>, BuildError> {
        let mut command = self.require()?.command();
        command.args(arguments);
        self.run(what, interrupt, command)
    }

    /// Runs a command of it and gives back what it wrote to its standard output.
    pub(crate) fn run(
        self,
        what: &str,
        interrupt: &AtomicBool,
        mut command: Command,
    ) -> Result<Vec<u8>, BuildError> {
        let fault = |source| BuildError::Run {
            program: self.name,
            source,
        };
        // Files, not pipes: nobody need read them while it runs.
        let mut output = tempfile::tempfile().map_err(fault)?;
        let mut said = tempfile::tempfile().map_err(fault)?;
        command.stdout(output.try_clone().map_err(fault)?);
        command.stderr(said.try_clone().map_err(fault)?);
        let mut child = command.spawn().map_err(fault)?;
        let interrupted = wait_or_end(child.id(), interrupt).map_err(fault)?;
        let status = child.wait().map_err(fault)?;
        if interrupted {
            return Err(BuildError::Interrupted);
        }
        if !status.success() {
            let said = last_words(&mut said).map_err(fault)?;
            return Err(self.failed(what, status, said));
        }
        let mut bytes = Vec::new();
        output.rewind().map_err(fault)?;
        output.read_to_end(&mut bytes).map_err(fault)?;
        Ok(bytes)
    }

    fn failed(self, what: &str, status: ExitStatus, said: String) -> BuildError {
        BuildError::Program {
            what: what.to_owned(),
            program: self.name,
            status,
            said,
        }
    }
}

/// Waits for a child's end; on an interrupt asks it to end. Says whether it did.
fn wait_or_end(child: u32, interrupt: &AtomicBool) -> std::io::Result<bool> {
    let pid = i32::try_from(child).ok().and_then(Pid::from_raw);
    let Some(pid) = pid else { return Ok(false) };
    // It cannot have been reaped yet, so the number is still its own.
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    let mut asked = false;
    loop {
        match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&LOOK)) {
            Ok(0) if !asked && interrupt.load(Ordering::SeqCst) => {
                asked = true;
                // mmdebstrap removes its folder on SIGTERM.
                match pidfd_send_signal(&pidfd, Signal::TERM) {
                    Ok(()) | Err(rustix::io::Errno::SRCH) => {}
                    Err(errno) => return Err(errno.into()),
                }
            }
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            Ok(_) => return Ok(asked),
            Err(errno) => return Err(errno.into()),
        }
    }
}

fn last_words(file: &mut std::fs::File) -> std::io::Result<String> {
    let length = file.seek(std::io::SeekFrom::End(0))?;
    file.seek(std::io::SeekFrom::Start(length.saturating_sub(LAST_WORDS)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
}
