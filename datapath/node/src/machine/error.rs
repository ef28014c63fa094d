//! What can go wrong on a machine.

use std::io;
use std::path::{Path, PathBuf};

use super::api::Owner;
use crate::api::ClientError;
use crate::cgroup::CgroupError;
use crate::datapath::DatapathError;
use crate::iptables::IptablesError;
use crate::namespace::NamespaceError;
use crate::netlink::NetlinkError;
use crate::node_cache::NodeCacheError;
use crate::process::SpawnError;
use crate::server::ServerError;
use crate::sysctl::SysctlError;

/// A failed operation; the text is a fragment that follows "failed to".
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// The machine is a node already.
    #[error(
        "claim {node}: it carries lab {} of {} as {}; take that down first",
        carries.lab, carries.owner, carries.node
    )]
    Taken {
        /// What it was to be.
        node: String,
        /// What it is.
        carries: Box<Owner>,
    },
    /// A name that cannot be a host's.
    #[error("claim {0:?}: that is no host name")]
    Name(String),
    /// The machine lacks the interface that the lab is on.
    #[error(
        "claim {node}: the machine has no interface {interface}, which must lead to the lab's network; it has {}",
        found.join(", ")
    )]
    NoInterface {
        /// What it was to be.
        node: String,
        /// The interface.
        interface: &'static str,
        /// Those it has.
        found: Vec<String>,
    },
    /// Labs in namespaces keep their state where the node agent looks for its folder.
    #[error("claim the machine: {} is not a link of labctl's; take the labs down that this host has in namespaces", .0.display())]
    Occupied(PathBuf),
    /// Somebody else's lab.
    #[error("release the machine: it carries lab {} of {} as {}", .0.lab, .0.owner, .0.node)]
    NotYours(Box<Owner>),
    /// Nobody has claimed the machine.
    #[error("find the lab of this machine: none has claimed it")]
    Unclaimed,
    /// An action that is not done on a machine itself.
    #[error("do `{0}`: that is not for the machine itself to do")]
    Elsewhere(String),
    /// No server to start.
    #[error("start the server of this machine: its lab gave it none")]
    NoServer,
    /// An action for another node.
    #[error("do `{action}`: this machine is {node}")]
    AnotherNode {
        /// The action.
        action: String,
        /// The node that the machine is.
        node: String,
    },
    /// A file cannot be used.
    #[error("{what} {}: {source}", path.display())]
    File {
        /// What was tried, such as `write`.
        what: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A record that this version cannot read.
    #[error("read {}: {source}", path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: serde_json::Error,
    },
    /// The host name cannot be set.
    #[error("set the host name {name}: {source}")]
    HostName {
        /// The name.
        name: String,
        /// Why not.
        source: io::Error,
    },
    /// A system unit cannot be written.
    #[error("render {unit}: {source}")]
    Unit {
        /// Its name.
        unit: &'static str,
        /// Why not.
        source: minijinja::Error,
    },
    /// systemd said no.
    #[error("run `systemctl {arguments}`: {why}")]
    Systemctl {
        /// What it was asked.
        arguments: String,
        /// Its words, or why there are none.
        why: String,
    },
    /// A pod without a process.
    #[error("run a command in {pod}: it has no process; `labctl logs` may say why")]
    NoPod {
        /// `namespace/name`.
        pod: String,
    },
    /// What could not be removed.
    #[error("release the machine: {}", .0.join("; "))]
    Remains(Vec<String>),
    /// A cgroup.
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    /// A network namespace.
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    /// A netlink request.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// A kernel setting.
    #[error(transparent)]
    Sysctl(#[from] SysctlError),
    /// A process that did not start.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    /// Rules of iptables.
    #[error(transparent)]
    Iptables(#[from] IptablesError),
    /// The interface or the rules of a DNS cache.
    #[error(transparent)]
    NodeCache(#[from] NodeCacheError),
    /// Programs or maps that stay.
    #[error(transparent)]
    Datapath(#[from] DatapathError),
    /// A server that does not serve.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The node agent.
    #[error(transparent)]
    Agent(#[from] ClientError),
}

impl MachineError {
    /// With the end of the log of the server that was to start.
    pub(super) fn with_log(self, tail: &str) -> Self {
        match self {
            Self::Systemctl { arguments, why } if !tail.is_empty() => Self::Systemctl {
                arguments,
                why: format!("{why}; the end of its log:\n{tail}"),
            },
            other => other,
        }
    }

    pub(super) fn file(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { what, path, source }
    }
}
