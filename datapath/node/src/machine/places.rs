//! Where everything of labctl is on a machine.

use std::path::{Path, PathBuf};

use super::MachineError;
use crate::cgroup::{self, Cgroup};

/// The one folder of labctl; it stays through reboots.
pub const HOME: &str = "/var/lib/labctl";
/// Where the node agent looks for its folder: a link to [`HOME`], made at each boot.
pub(super) const RUN: &str = "/run/labctl";
/// The node's bpffs.
pub(super) const BPFFS: &str = "/sys/fs/bpf";
/// Cgroup of all that labctl runs. Beside `labctl`, whose children are labs in
/// namespaces of this very kernel.
const CGROUP: &str = "labctl.machine";

/// A file in [`HOME`].
pub(super) fn home(name: &str) -> PathBuf {
    Path::new(HOME).join(name)
}

/// This program, where machines have it.
pub(super) fn program() -> PathBuf {
    home("bin/labctl")
}

/// The cgroup of all that labctl runs, of whatever node.
pub(super) fn cgroup_of_all() -> Result<Cgroup, MachineError> {
    Ok(Cgroup::at(cgroup::mount_point()?.join(CGROUP)))
}

/// Kinds of processes on a machine, each in a cgroup of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The node agent.
    Agent,
    /// The node's server.
    Serve,
    /// What users run.
    Exec,
    /// Pods, in cgroups below.
    Pods,
}

impl Kind {
    pub(super) const ALL: [Self; 4] = [Self::Agent, Self::Serve, Self::Exec, Self::Pods];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Serve => "serve",
            Self::Exec => "exec",
            Self::Pods => "pods",
        }
    }
}

/// The cgroups of a claimed machine.
#[derive(Clone, Debug)]
pub(super) struct Places {
    cgroup: Cgroup,
}

impl Places {
    /// Of the machine that is the node `node`.
    pub(super) fn of(node: &str) -> Result<Self, MachineError> {
        let cgroup = cgroup_of_all()?.child(node);
        Ok(Self { cgroup })
    }

    /// The cgroup of one kind of processes.
    pub(super) fn cgroup(&self, kind: Kind) -> Cgroup {
        self.cgroup.child(kind.as_str())
    }
}
