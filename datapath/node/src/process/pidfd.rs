//! A process by descriptor rather than by number: numbers are reused.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::Instant;

use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

/// A process, for as long as the descriptor is open (pidfd_open(2), Linux 5.3).
#[derive(Debug)]
pub struct PidFd(OwnedFd);

impl PidFd {
    /// Opens the process that has the number `pid` now.
    ///
    /// # Errors
    /// `ESRCH` when there is none.
    pub fn open(pid: Pid) -> nix::Result<Self> {
        // SAFETY: pidfd_open takes two integers and touches no memory of ours.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) };
        let fd = Errno::result(fd)?;
        // The call returns an int; the wider type is syscall()'s.
        let fd = i32::try_from(fd).map_err(|_| Errno::EBADF)?;
        // SAFETY: the kernel made this descriptor for us a moment ago.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Sends `signal`.
    ///
    /// # Errors
    /// `ESRCH` when the process has ended and was reaped.
    pub fn signal(&self, signal: Signal) -> nix::Result<()> {
        let (fd, signal) = (self.0.as_raw_fd(), signal as i32);
        let no_info = std::ptr::null::<libc::siginfo_t>();
        // SAFETY: a null siginfo_t means "as kill(2) would fill it"; nothing
        // else is a pointer.
        let sent = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, signal, no_info, 0) };
        Errno::result(sent).map(drop)
    }

    /// Whether it has ended.
    ///
    /// # Errors
    /// When it cannot be polled.
    pub fn has_ended(&self) -> nix::Result<bool> {
        self.wait(Instant::now())
    }

    /// Waits for its end; false at the deadline.
    ///
    /// # Errors
    /// When it cannot be polled.
    pub fn wait(&self, deadline: Instant) -> nix::Result<bool> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            let mut watched = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
            match poll(&mut watched, timeout) {
                Ok(0) if left.is_zero() => return Ok(false),
                Ok(0) | Err(Errno::EINTR) => {}
                Ok(_) => return Ok(true),
                Err(errno) => return Err(errno),
            }
        }
    }
}

/// The right to reap a child, which its parent alone has.
#[derive(Debug)]
pub struct Reaper(OwnedFd);

impl Reaper {
    pub(super) fn new(pidfd: &PidFd) -> io::Result<Self> {
        pidfd.0.try_clone().map(Self)
    }

    /// Waits for the end and reaps.
    ///
    /// # Errors
    /// `ECHILD` when it was reaped before.
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        loop {
            match self.reap(WaitPidFlag::WEXITED) {
                Ok(Some(status)) => return Ok(status),
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Reaps if it has ended.
    ///
    /// # Errors
    /// `ECHILD` when it was reaped before.
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.reap(WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG)
    }

    fn reap(&mut self, flags: WaitPidFlag) -> io::Result<Option<ExitStatus>> {
        // The encoding of wait(2), which waitid(2) takes apart.
        Ok(match waitid(Id::PIDFd(self.0.as_fd()), flags)? {
            WaitStatus::Exited(_, code) => Some(ExitStatus::from_raw((code & 0xff) << 8)),
            WaitStatus::Signaled(_, signal, dumped) => {
                Some(ExitStatus::from_raw(signal as i32 | i32::from(dumped) << 7))
            }
            _ => None,
        })
    }
}

impl AsFd for PidFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<PidFd> for OwnedFd {
    fn from(pidfd: PidFd) -> Self {
        pidfd.0
    }
}
