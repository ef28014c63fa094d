//! How a child comes into its cgroup.

use std::fs::File;
use std::os::fd::{AsRawFd as _, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::libc;
use nix::unistd::{Pid, write};

use super::report::Reporter;
use crate::cgroup::{Cgroup, CgroupError};

/// A cgroup, opened before the fork.
#[derive(Debug)]
pub(super) struct Membership {
    cgroup: Cgroup,
    folder: File,
    procs: File,
    no_birth: AtomicBool,
}

impl Membership {
    pub(super) fn of(cgroup: &Cgroup) -> Result<Self, CgroupError> {
        Ok(Self {
            folder: cgroup.open()?,
            procs: cgroup.open_procs()?,
            cgroup: cgroup.clone(),
            no_birth: AtomicBool::new(false),
        })
    }

    pub(super) fn cgroup(&self) -> &Cgroup {
        &self.cgroup
    }

    /// Moves the caller into the cgroup. The kernel holds up every fork of the
    /// host for it, and waits for an RCU grace period, some ten milliseconds
    /// (`cgroup_attach_lock`). Async-signal-safe.
    pub(super) fn join(&self) -> nix::Result<()> {
        write(&self.procs, b"0").map(drop)
    }

    /// Goes on as a sibling that is born in the cgroup, without that wait, while
    /// the caller ends (`CLONE_INTO_CGROUP`, Linux 5.7; `CLONE_PARENT`, so that
    /// the same parent reaps it). Older kernels, and an init process as the
    /// parent, refuse: then the caller joins. Async-signal-safe.
    ///
    /// Linux 6.14 and later kill the sibling at once when `cgroup.kill` was ever
    /// written to the cgroup and not to the caller's (`kill_seq` in
    /// `cgroup_css_set_fork` is the caller's): it never reports to be alive, and
    /// the parent tries again after [`Membership::give_up_birth`].
    pub(super) fn be_born(&self, report: &Reporter) -> nix::Result<()> {
        if self.no_birth.load(Ordering::Relaxed) {
            return self.join();
        }
        match clone_into(self.folder.as_raw_fd()) {
            Ok(None) => {
                report.alive();
                Ok(())
            }
            Ok(Some(sibling)) => {
                report.born(sibling);
                // SAFETY: ends this process without running anything of the
                // parent's that a fork has copied.
                unsafe { libc::_exit(0) }
            }
            Err(_) => self.join(),
        }
    }

    /// Has later children join.
    pub(super) fn give_up_birth(&self) {
        self.no_birth.store(true, Ordering::Relaxed);
    }
}

/// As fork(2), the child being a sibling in the cgroup behind `folder`: `None` in
/// the child, its number in the caller.
fn clone_into(folder: RawFd) -> nix::Result<Option<Pid>> {
    /// `struct clone_args` of `linux/sched.h`, as of Linux 5.7.
    #[repr(C)]
    #[derive(Default)]
    struct CloneArgs {
        flags: u64,
        pidfd: u64,
        child_tid: u64,
        parent_tid: u64,
        exit_signal: u64,
        stack: u64,
        stack_size: u64,
        tls: u64,
        set_tid: u64,
        set_tid_size: u64,
        cgroup: u64,
    }
    const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
    let args = CloneArgs {
        // With CLONE_PARENT the exit signal is that of the caller.
        flags: CLONE_INTO_CGROUP | (libc::CLONE_PARENT.cast_unsigned() as u64),
        cgroup: u64::try_from(folder).map_err(|_| Errno::EBADF)?,
        ..CloneArgs::default()
    };
    // SAFETY: without CLONE_VM the child has a copy of all memory, as after
    // fork, and the caller is the only thread of a process between fork and
    // exec; `args` is of the size that is passed along.
    let cloned =
        unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<CloneArgs>()) };
    let number = Errno::result(cloned)?;
    // Process numbers are ints; the wider type is syscall()'s.
    Ok(i32::try_from(number)
        .ok()
        .filter(|number| *number > 0)
        .map(Pid::from_raw))
}
