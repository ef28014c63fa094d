//! What can go wrong in this provider.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use lab_model::plan::Step;
use lab_node::cgroup::CgroupError;
use lab_node::machine::api::ClientError;
use lab_node::namespace::NamespaceError;
use lab_node::netlink::NetlinkError;
use lab_node::process::SpawnError;
use lab_node::sysctl::SysctlError;
use lab_ssh::SshError;
use lab_vm::machine::MachineError;
use lab_vm::store::StoreError;

use crate::machines::VagrantError;

/// A failed operation; the text is a fragment that follows "failed to".
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// A name that no lab can have.
    #[error("find lab {0:?}: names of labs have only lowercase letters, digits and hyphens")]
    LabName(String),
    /// There is no such lab.
    #[error("find lab {lab}: {}", known_labs(known))]
    NoLab {
        /// The name asked for.
        lab: String,
        /// Labs that are there.
        known: Vec<String>,
    },
    /// Somebody else changes the lab.
    #[error("change lab {lab}: {} changes it right now", holder(*pid))]
    Locked {
        /// The lab.
        lab: String,
        /// Who, if that is known.
        pid: Option<i32>,
    },
    /// A file or folder of the lab cannot be used.
    #[error("{what} {}: {source}", path.display())]
    File {
        /// What was tried, such as `write`.
        what: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A cgroup.
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    /// A network namespace.
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    /// A netlink request in one of the lab's namespaces.
    #[error("{source}, in {place}")]
    Netlink {
        /// The node, or the segment.
        place: String,
        /// What the kernel said.
        source: NetlinkError,
    },
    /// A kernel setting of a node.
    #[error("{source}, in {place}")]
    Sysctl {
        /// The node, or the segment.
        place: String,
        /// What the kernel said.
        source: SysctlError,
    },
    /// A process of a node did not start.
    #[error("{source}, on {node}")]
    Spawn {
        /// The node.
        node: String,
        /// Which step, and why not.
        source: SpawnError,
    },
    /// A process of a node started, and did not get ready.
    #[error("start the {what} of {node}: {how}{}", log_tail(tail))]
    NotReady {
        /// The node.
        node: String,
        /// `agent` or `server`.
        what: &'static str,
        /// What happened instead.
        how: String,
        /// The end of its log.
        tail: String,
    },
    /// A node agent did not do what it was asked.
    #[error("have the agent of {node} {what}: {why}")]
    Agent {
        /// The node.
        node: String,
        /// What it was asked.
        what: &'static str,
        /// Its answer, or why there is none.
        why: String,
    },
    /// Nothing runs where a command was to run.
    #[error("run a command in {target}: {why}")]
    NotRunning {
        /// Node or pod.
        target: String,
        /// Why not, and what to do.
        why: String,
    },
    /// SSH to a machine.
    #[error(transparent)]
    Ssh(Box<SshError>),
    /// A virtual machine.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// Images.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Vagrant.
    #[error(transparent)]
    Vagrant(#[from] VagrantError),
    /// A machine did not do what it was asked.
    #[error("{source}, on {node}")]
    Node {
        /// The node.
        node: String,
        /// Its words, or why there are none.
        source: ClientError,
    },
    /// Neither XDG_STATE_HOME nor HOME is set.
    #[error("find a folder for labs: neither XDG_STATE_HOME nor HOME is set")]
    NoHome,
    /// A node of a lab on hosts has none.
    #[error("find the host of {node}: the lab file gives it none; add `host: user@192.0.2.10`")]
    NoHost {
        /// The node.
        node: String,
    },
    /// A host is somebody else's.
    #[error("use {node}: it carries lab {lab} of {owner}; take that down first")]
    Taken {
        /// The node.
        node: String,
        /// The other lab.
        lab: String,
        /// Whose.
        owner: String,
    },
    /// A command did not start.
    #[error("run {program}: {source}")]
    Start {
        /// The program.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// No node or pod of that name.
    #[error("find {name} in lab {lab}: {}", candidates(known))]
    NoTarget {
        /// The lab.
        lab: String,
        /// The name asked for.
        name: String,
        /// All that are there.
        known: Vec<String>,
    },
    /// A name that several pods could be meant by.
    #[error("choose between the pods that {name} could be: {}", found.join(", "))]
    Ambiguous {
        /// The name asked for.
        name: String,
        /// Those it fits.
        found: Vec<String>,
    },
    /// The user wants it to stop.
    #[error("finish: interrupted")]
    Interrupted,
}

impl From<SshError> for ProviderError {
    fn from(error: SshError) -> Self {
        Self::Ssh(Box::new(error))
    }
}

impl ProviderError {
    /// Whether a connection broke, and another may not.
    pub(crate) fn is_disconnect(&self) -> bool {
        match self {
            Self::Ssh(error) => matches!(**error, SshError::Disconnected { .. }),
            _ => false,
        }
    }

    pub(crate) fn file(what: &'static str, path: &Path, source: io::Error) -> Self {
        Self::File {
            what,
            path: path.into(),
            source,
        }
    }

    pub(crate) fn netlink(place: &str) -> impl FnOnce(NetlinkError) -> Self + use<> {
        let place = place.to_owned();
        move |source| Self::Netlink { place, source }
    }
}

fn known_labs(known: &[String]) -> String {
    if known.is_empty() {
        return "no lab is up; `labctl up FILE` makes one".to_owned();
    }
    format!("there is none of that name, but {}", known.join(", "))
}

fn holder(pid: Option<i32>) -> String {
    pid.map_or_else(
        || "another process".to_owned(),
        |pid| format!("process {pid}"),
    )
}

fn candidates(known: &[String]) -> String {
    format!("it has no such node or pod; it has {}", known.join(", "))
}

fn log_tail(tail: &str) -> String {
    if tail.is_empty() {
        String::new()
    } else {
        format!("; the end of its log:\n{tail}")
    }
}

/// A plan that was not carried out.
#[derive(Debug)]
pub struct ExecuteError {
    /// The step that failed; none when it was interrupted between steps.
    pub step: Option<Box<Step>>,
    /// Why.
    pub cause: Box<ProviderError>,
    /// What could not be taken back, a sentence each; empty when all is as it
    /// was before.
    pub remains: Vec<String>,
}

impl ExecuteError {
    /// Nothing was begun.
    pub(crate) fn bare(cause: ProviderError) -> Self {
        Self {
            step: None,
            cause: cause.into(),
            remains: Vec::new(),
        }
    }

    /// Whether it was the user who stopped it.
    #[must_use]
    pub fn interrupted(&self) -> bool {
        matches!(*self.cause, ProviderError::Interrupted)
    }
}

impl fmt::Display for ExecuteError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.step {
            Some(step) => write!(
                out,
                "do `{}` ({}): {}",
                step.action, step.reason, self.cause
            )?,
            None => write!(out, "{}", self.cause)?,
        }
        for left in &self.remains {
            write!(out, "\nremains: {left}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ExecuteError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&*self.cause)
    }
}
