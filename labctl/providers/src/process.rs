//! Commands that run on nodes and in pods, wherever those are.

use std::fmt;
use std::io::{self, Read};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

/// A command that runs on a node or in a pod: no standard input, and in a process
/// group of its own, so that ^C at the terminal does not reach it. It is killed
/// when this is dropped, and ends when this process ends, however that ends.
pub struct Process {
    /// What it writes; `None` once taken.
    pub stdout: Option<Box<dyn Read + Send>>,
    /// What it complains of; `None` once taken.
    pub stderr: Option<Box<dyn Read + Send>>,
    control: Arc<dyn Control>,
}

impl fmt::Debug for Process {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Process").finish_non_exhaustive()
    }
}

/// A running command's strings.
pub trait Control: Send + Sync {
    /// Sends it a signal, if it still runs.
    ///
    /// # Errors
    /// When the signal cannot be delivered.
    fn signal(&self, signal: Signal) -> io::Result<()>;

    /// Kills it with everything in its process group.
    fn kill(&self);

    /// Waits for its end. Its exit code; 128 and the signal's number when a signal
    /// ended it, as in shells.
    ///
    /// # Errors
    /// When how it ended cannot be known.
    fn wait(&self) -> io::Result<i32>;
}

impl Process {
    /// A process that is controlled by `control`.
    pub(crate) fn new(
        stdout: Box<dyn Read + Send>,
        stderr: Box<dyn Read + Send>,
        control: Arc<dyn Control>,
    ) -> Self {
        Self {
            stdout: Some(stdout),
            stderr: Some(stderr),
            control,
        }
    }

    /// Starts `command` on this host.
    ///
    /// # Errors
    /// When it does not start.
    pub fn spawn(mut command: Command) -> io::Result<Self> {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        end_with_us(&mut command);
        let mut child = command.spawn()?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        Ok(Self {
            stdout: stdout.map(|pipe| Box::new(pipe) as Box<dyn Read + Send>),
            stderr: stderr.map(|pipe| Box::new(pipe) as Box<dyn Read + Send>),
            control: Arc::new(Local::new(child)),
        })
    }

    /// What signals it and waits for it, to be shared between threads.
    #[must_use]
    pub fn control(&self) -> Arc<dyn Control> {
        Arc::clone(&self.control)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.control.kill();
    }
}

/// Has the command end when the calling thread does, however that ends: a killed
/// check leaves nothing running in the lab. (prctl(2): programs with capabilities of
/// their own, as ping is, are exempt; they end by themselves.)
fn end_with_us(command: &mut Command) {
    let us = nix::unistd::getpid();
    let ask = move || {
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        // The signal is for a death from here on: of an earlier one only the new parent tells.
        if nix::unistd::getppid() == us {
            Ok(())
        } else {
            Err(Errno::ESRCH.into())
        }
    };
    // SAFETY: between fork and exec it makes two system calls, and touches no memory
    // that another thread could have left in the middle of a change.
    unsafe { command.pre_exec(ask) };
}

/// A child of this process. It is reaped when nobody holds this any more, so that
/// its process id stays its own until then.
struct Local {
    pid: Pid,
    child: Mutex<Child>,
}

impl Local {
    fn new(child: Child) -> Self {
        Self {
            pid: Pid::from_raw(child.id().cast_signed()),
            child: Mutex::new(child),
        }
    }
}

impl Control for Local {
    fn signal(&self, signal: Signal) -> io::Result<()> {
        kill(self.pid, signal).map_err(io::Error::from)
    }

    fn kill(&self) {
        // ESRCH: it has ended, and so has everything it left.
        let _ = killpg(self.pid, Signal::SIGKILL);
    }

    fn wait(&self) -> io::Result<i32> {
        let how = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
        loop {
            match waitid(Id::Pid(self.pid), how) {
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
                Ok(WaitStatus::Exited(_, code)) => return Ok(code),
                Ok(WaitStatus::Signaled(_, signal, _)) => return Ok(128 + signal as i32),
                Ok(other) => return Err(io::Error::other(format!("{other:?}"))),
            }
        }
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        let child = self.child.get_mut().unwrap_or_else(PoisonError::into_inner);
        let _ = child.kill();
        let _ = child.wait();
    }
}
