//! A process by descriptor rather than by number: numbers are reused.

use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::time::Instant;

use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
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
