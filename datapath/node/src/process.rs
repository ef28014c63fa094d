//! Processes that start inside a node or a pod: in its cgroup, its namespaces
//! and its mounts, before they execute anything.
//!
//! What the child does between fork and exec is a list of [`Step`]s prepared
//! beforehand, each one or two system calls without allocation, so it is safe
//! in the child of a multithreaded parent. The first step joins the cgroup: a
//! process that exists can be found by it. A step that fails is named to the
//! parent.

mod pidfd;
mod step;

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sched::CloneFlags;
use nix::unistd::{Pid, pipe2};

pub use pidfd::PidFd;
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
    pub child: Child,
    /// The process, whatever happens to its number.
    pub pidfd: PidFd,
}

impl Spawned {
    /// Its number in the caller's PID namespace.
    #[must_use]
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }
}

/// What a child does before it executes its program. Whatever the order of the
/// calls, the order in the child is that of the fields.
#[derive(Debug, Default)]
pub struct ChildSetup {
    cgroup: Option<(File, Cgroup)>,
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

    /// Joins `cgroup`, which must exist, ahead of everything else.
    ///
    /// # Errors
    /// When the cgroup is not there.
    pub fn cgroup(mut self, cgroup: &Cgroup) -> Result<Self, CgroupError> {
        self.cgroup = Some((cgroup.open_procs()?, cgroup.clone()));
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

    fn into_steps(self) -> Vec<Step> {
        let mut steps = Vec::new();
        steps.extend(
            self.cgroup
                .map(|(procs, cgroup)| Step::JoinCgroup(procs, cgroup)),
        );
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
    /// [`spawn`] names the step.
    pub fn install(self, command: &mut Command) {
        install(self.into_steps().into(), command, None);
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
    let (reader, writer) =
        pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).map_err(|errno| fault(errno.into()))?;
    let steps: std::sync::Arc<[Step]> = setup.into_steps().into();
    install(steps.clone(), &mut command, Some(writer));
    let child = command.spawn().map_err(|source| {
        match failed_step(reader).and_then(|position| steps.get(position)) {
            Some(step) => SpawnError::Step {
                program: program.clone(),
                step: step.to_string(),
                errno: Errno::from_raw(source.raw_os_error().unwrap_or(0)),
            },
            None => fault(source),
        }
    })?;
    // The child is not reaped yet, so its number is still its own.
    let pidfd = PidFd::open(Pid::from_raw(child.id().cast_signed()))
        .map_err(|errno| fault(errno.into()))?;
    Ok(Spawned { child, pidfd })
}

fn install(steps: std::sync::Arc<[Step]>, command: &mut Command, report: Option<OwnedFd>) {
    let in_child = move || {
        for (position, step) in steps.iter().enumerate() {
            if let Err(errno) = step.take() {
                if let Some(report) = &report {
                    let position = u32::try_from(position).unwrap_or(u32::MAX);
                    let _ = nix::unistd::write(report, &position.to_ne_bytes());
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

/// The step that the child named before it gave up.
fn failed_step(reader: OwnedFd) -> Option<usize> {
    let mut bytes = [0; 4];
    File::from(reader).read_exact(&mut bytes).ok()?;
    usize::try_from(u32::from_ne_bytes(bytes)).ok()
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
