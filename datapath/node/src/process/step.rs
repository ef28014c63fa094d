//! What a child does between fork and exec, step by step.

use std::ffi::{CString, OsStr};
use std::fmt;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::libc;
use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::{sethostname, setsid};

use super::membership::Membership;
use super::report::Reporter;
use crate::node_mounts::MountStep;

/// One step. All memory it needs is allocated before the fork.
#[derive(Debug)]
pub(super) enum Step {
    /// Goes on as a process that is born in the cgroup.
    BeBornIn(Membership),
    /// Moves into the cgroup.
    Join(Membership),
    /// setsid(2).
    NewSession,
    /// Every descriptor above 2 closes on exec, also those that this process
    /// was given by its own parent.
    CloseOnExec,
    /// This one stays open.
    Pass(OwnedFd),
    /// setns(2).
    Enter(OwnedFd, CloneFlags),
    /// unshare(2).
    Unshare(CloneFlags),
    /// A change to the mount namespace.
    Mount(MountStep),
    /// sethostname(2).
    HostName(CString),
}

impl Step {
    /// Takes the step. Async-signal-safe.
    pub(super) fn take(&self, report: Option<&Reporter>) -> nix::Result<()> {
        match (self, report) {
            (Self::BeBornIn(membership), Some(report)) => membership.be_born(report),
            (Self::BeBornIn(membership) | Self::Join(membership), _) => membership.join(),
            (step, _) => step.take_alone(),
        }
    }

    /// Has later children join their cgroup rather than be born in it.
    pub(super) fn give_up_birth(&self) {
        if let Self::BeBornIn(membership) = self {
            membership.give_up_birth();
        }
    }

    /// The steps that need no report.
    fn take_alone(&self) -> nix::Result<()> {
        match self {
            Self::BeBornIn(membership) | Self::Join(membership) => membership.join(),
            Self::NewSession => setsid().map(drop),
            Self::CloseOnExec => close_on_exec(),
            Self::Pass(fd) => fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty())).map(drop),
            Self::Enter(fd, kinds) => setns(fd, *kinds),
            Self::Unshare(kinds) => unshare(*kinds),
            Self::Mount(mount) => mount.take(),
            Self::HostName(name) => sethostname(OsStr::from_bytes(name.to_bytes())),
        }
    }
}

fn close_on_exec() -> nix::Result<()> {
    // SAFETY: close_range with CLOSE_RANGE_CLOEXEC (Linux 5.11) sets a flag on
    // descriptors; it closes none and touches no memory.
    let done = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            3,
            libc::c_uint::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    };
    Errno::result(done).map(drop)
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BeBornIn(membership) | Self::Join(membership) => {
                write!(f, "join cgroup {}", membership.cgroup().path().display())
            }
            Self::NewSession => f.write_str("start a session"),
            Self::CloseOnExec => f.write_str("close inherited file descriptors"),
            Self::Pass(_) => f.write_str("pass a file descriptor on"),
            Self::Enter(_, kinds) => write!(f, "enter namespaces {}", names(*kinds)),
            Self::Unshare(kinds) => write!(f, "make namespaces {}", names(*kinds)),
            Self::Mount(mount) => mount.fmt(f),
            Self::HostName(name) => write!(f, "set the host name {}", name.to_string_lossy()),
        }
    }
}

fn names(kinds: CloneFlags) -> String {
    kinds
        .iter_names()
        .map(|(name, _)| name)
        .collect::<Vec<_>>()
        .join(", ")
}
