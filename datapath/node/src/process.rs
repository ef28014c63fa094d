//! Processes that start inside a node or a pod: in its cgroup, its namespaces
//! and its mounts, before they execute anything.
//!
//! What the child does between fork and exec is a list of [`Step`]s prepared
//! beforehand, each one or two system calls without allocation, so it is safe
//! in the child of a multithreaded parent. The cgroup comes first: a process that
//! exists can be found by it. A step that fails is named to the parent.

mod membership;
mod pidfd;
mod report;
mod step;

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{ChildStderr, ChildStdout, Command};
use std::sync::Arc;

use nix::errno::Errno;
use nix::sched::CloneFlags;
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use membership::Membership;
pub use pidfd::{PidFd, Reaper};
use report::{Reporter, Reports};
use step::Step;

use crate::cgroup::{Cgroup, CgroupError};
use crate::node_mounts::MountStep;

/// A process that could not be started.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// Its cgroup cannot be joined.
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    /// A name holds a zero byte.
    #[error("start a process: {0:?} holds a zero byte")]
    ZeroByte(String),
    /// No pipe, pidfd or process to be had.
    #[error("start {program}: {source}")]
    Spawn {
        /// What was to be executed.
        program: String,
        /// Why not.
        source: io::Error,
    },
    /// A step in the child failed.
    #[error("start {program}: {step}: {}", errno.desc())]
    Step {
        /// What was to be executed.
        program: String,
        /// The step, such as `mount bpf at /sys/fs/bpf`.
        step: String,
        /// What the kernel answered.
        errno: Errno,
    },
}

/// A running child.
#[derive(Debug)]
pub struct Spawned {
    /// For reaping; dropping it leaves the process running.
    pub child: Reaper,
    /// The process, whatever happens to its number.
    pub pidfd: PidFd,
    /// Its standard output, when the command asks for a pipe.
    pub stdout: Option<ChildStdout>,
    /// Its standard error, when the command asks for a pipe.
    pub stderr: Option<ChildStderr>,
    pid: Pid,
}

impl Spawned {
    /// Its number in the caller's PID namespace.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.pid
    }
}

/// What a child does before it executes its program. Whatever the order of the
/// calls, the order in the child is that of the fields.
#[derive(Debug, Default)]
pub struct ChildSetup {
    cgroup: Option<Membership>,
    session: bool,
    passed: Vec<OwnedFd>,
    entered: Vec<(OwnedFd, CloneFlags)>,
    unshared: Option<CloneFlags>,
    mounts: Vec<MountStep>,
    host_name: Option<CString>,
}

impl ChildSetup {
    /// No change but one: file descriptors above 2 are closed on exec.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// In `cgroup`, which must exist, ahead of everything else.
    ///
    /// # Errors
    /// When the cgroup is not there.
    pub fn cgroup(mut self, cgroup: &Cgroup) -> Result<Self, CgroupError> {
        self.cgroup = Some(Membership::of(cgroup)?);
        Ok(self)
    }

    /// In a session of its own: no terminal's signals reach it.
    #[must_use]
    pub fn new_session(mut self) -> Self {
        self.session = true;
        self
    }

    /// Stays open across exec, under its present number.
    #[must_use]
    pub fn pass_fd(mut self, fd: OwnedFd) -> Self {
        self.passed.push(fd);
        self
    }

    /// Enters namespaces: of a namespace file, the one it is; of a pidfd, those
    /// of the process that `kinds` names (Linux 5.8).
    #[must_use]
    pub fn enter(mut self, fd: OwnedFd, kinds: CloneFlags) -> Self {
        self.entered.push((fd, kinds));
        self
    }

    /// Makes new namespaces (`CLONE_NEWNS`, `CLONE_NEWUTS`, …), after entering.
    #[must_use]
    pub fn unshare(mut self, kinds: CloneFlags) -> Self {
        self.unshared = Some(self.unshared.map_or(kinds, |others| others | kinds));
        self
    }

    /// Sets up mounts, after unsharing; see [`crate::node_mounts`].
    #[must_use]
    pub fn mounts(mut self, mounts: Vec<MountStep>) -> Self {
        self.mounts = mounts;
        self
    }

    /// Sets the host name, after unsharing.
    ///
    /// # Errors
    /// [`SpawnError::ZeroByte`].
    pub fn host_name(mut self, name: &str) -> Result<Self, SpawnError> {
        let name = CString::new(name).map_err(|_| SpawnError::ZeroByte(name.to_owned()))?;
        self.host_name = Some(name);
        Ok(self)
    }

    /// The steps; `born` chooses between being born in the cgroup, as another
    /// process, and joining it.
    fn into_steps(self, born: bool) -> Vec<Step> {
        let mut steps = Vec::new();
        steps.extend(self.cgroup.map(|membership| match born {
            true => Step::BeBornIn(membership),
            false => Step::Join(membership),
        }));
        steps.extend(self.session.then_some(Step::NewSession));
        steps.push(Step::CloseOnExec);
        steps.extend(self.passed.into_iter().map(Step::Pass));
        steps.extend(
            self.entered
                .into_iter()
                .map(|(fd, kinds)| Step::Enter(fd, kinds)),
        );
        steps.extend(self.unshared.map(Step::Unshare));
        steps.extend(self.mounts.into_iter().map(Step::Mount));
        steps.extend(self.host_name.map(Step::HostName));
        steps
    }

    /// Makes `command` take these steps in its child. For callers that start
    /// the command themselves, who learn of a failed step only its error number;
    /// [`spawn`] names the step, and is faster.
    pub fn install(self, command: &mut Command) {
        install(self.into_steps(false).into(), command, None);
    }
}

/// Starts `command` with `setup`, and returns once it has executed its program.
///
/// # Errors
/// When a step in the child, or the exec, failed; the child is gone then.
pub fn spawn(mut command: Command, setup: ChildSetup) -> Result<Spawned, SpawnError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let fault = |source| SpawnError::Spawn {
        program: program.clone(),
        source,
    };
    let (mut reports, writer) = Reports::new().map_err(|errno| fault(errno.into()))?;
    let steps: Arc<[Step]> = setup.into_steps(true).into();
    install(steps.clone(), &mut command, Some(writer));
    let mut started = command.spawn();
    let mut told = reports.read();
    if let (Some(stillborn), false) = (told.born, told.alive) {
        reap(stillborn);
        if let Ok(mut bearer) = started {
            bearer.wait().map_err(fault)?;
        }
        steps.iter().for_each(Step::give_up_birth);
        started = command.spawn();
        told = reports.read();
    }
    let mut child = started.map_err(|source| {
        if let Some(born) = told.born {
            reap(born);
        }
        match told.failed.and_then(|failed| steps.get(failed)) {
            Some(step) => SpawnError::Step {
                program: program.clone(),
                step: step.to_string(),
                errno: Errno::from_raw(source.raw_os_error().unwrap_or(0)),
            },
            None => fault(source),
        }
    })?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let pid = match told.born {
        Some(born) => {
            // The one that bore it ended at once.
            child.wait().map_err(fault)?;
            born
        }
        None => Pid::from_raw(child.id().cast_signed()),
    };
    // Nobody else reaps it, so its number is still its own.
    let pidfd = PidFd::open(pid).map_err(|errno| fault(errno.into()))?;
    let child = Reaper::new(&pidfd).map_err(fault)?;
    Ok(Spawned {
        child,
        pidfd,
        stdout,
        stderr,
        pid,
    })
}

/// Reaps a child that has ended or is about to.
fn reap(pid: Pid) {
    while waitpid(pid, None) == Err(Errno::EINTR) {}
}

fn install(steps: Arc<[Step]>, command: &mut Command, report: Option<Reporter>) {
    let in_child = move || {
        for (position, step) in steps.iter().enumerate() {
            if let Err(errno) = step.take(report.as_ref()) {
                if let Some(report) = &report {
                    report.failed(position);
                }
                return Err(io::Error::from_raw_os_error(errno as i32));
            }
        }
        Ok(())
    };
    // SAFETY: the closure runs between fork and exec, where only
    // async-signal-safe work is allowed: each step is system calls on
    // descriptors and C strings prepared before the fork, and neither it nor
    // `from_raw_os_error` allocates or takes a lock.
    unsafe {
        command.pre_exec(in_child);
    }
}

/// Whether the process `pid` is in the same network namespace as `netns`.
///
/// # Errors
/// When `/proc/<pid>` is not there any more.
pub fn is_in_netns(pid: Pid, netns: &OwnedFd) -> io::Result<bool> {
    let own = nix::sys::stat::fstat(netns.as_fd())?;
    let its = nix::sys::stat::stat(format!("/proc/{pid}/ns/net").as_str())?;
    Ok((own.st_dev, own.st_ino) == (its.st_dev, its.st_ino))
}

#[cfg(test)]
mod tests;
