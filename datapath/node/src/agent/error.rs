//! Why the node does not match its document.

use std::io;
use std::path::PathBuf;

use crate::cgroup::CgroupError;
use crate::datapath::DatapathError;
use crate::iptables::IptablesError;
use crate::namespace::NamespaceError;
use crate::netlink::NetlinkError;
use crate::process::SpawnError;
use crate::sock_diag::SockDiagError;
use crate::sysctl::SysctlError;

/// What the agent failed to do.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// Signals cannot be received.
    #[error("receive signals: {source}")]
    Signals {
        /// Why not.
        source: io::Error,
    },
    /// The event loop cannot go on.
    #[error("wait for events: {0}")]
    Wait(#[source] nix::errno::Errno),
    /// A network namespace does not say which one it is.
    #[error("read the cookie of a network namespace (Linux 5.14): {0}")]
    Cookie(#[source] nix::errno::Errno),
    /// A file or folder of the node cannot be used.
    #[error("{what} {}: {source}", path.display())]
    File {
        /// What was tried, such as `write`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A document of another shape.
    #[error(
        "apply a node state of version {found}: this agent knows version {known}; have labctl and the agent be of one version"
    )]
    Version {
        /// What the document says.
        found: u32,
        /// What this agent knows.
        known: u32,
    },
    /// A pod that is not on this node.
    #[error("restart pod {0}: it does not run on this node")]
    NoPod(String),
    /// A document that contradicts itself.
    #[error("apply the node state: {0}")]
    Document(String),
    /// The kernel has no such interface, and so no tunnel.
    #[error(
        "make the tunnel device {device}: this kernel has no {kind} interfaces ({module} is not there); choose another tunnelProtocol, or routingMode: native"
    )]
    TunnelUnsupported {
        /// `cilium_vxlan` or `cilium_geneve`.
        device: &'static str,
        /// The kernel's word for its kind.
        kind: &'static str,
        /// The kernel's option for it.
        module: &'static str,
    },
    /// A question about the datapath came too early.
    #[error("read the datapath's maps: nothing was applied to this node yet")]
    NothingApplied,
    /// Interfaces, addresses or routes keep differing.
    #[error("make the node match: still after {rounds} rounds, {difference}")]
    Unsettled {
        /// How often it was tried.
        rounds: usize,
        /// The first difference left.
        difference: String,
    },
    /// A template of a pod's files.
    #[error("render {file} of {pod}: {source}")]
    Render {
        /// The file.
        file: &'static str,
        /// `namespace/name`.
        pod: String,
        /// Why not.
        source: minijinja::Error,
    },
    /// Interfaces, addresses, routes.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// Sockets of backends that are gone.
    #[error(transparent)]
    SockDiag(#[from] SockDiagError),
    /// Network namespaces.
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    /// Cgroups.
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    /// Workloads.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    /// Kernel settings.
    #[error(transparent)]
    Sysctl(#[from] SysctlError),
    /// Rules of iptables.
    #[error(transparent)]
    Iptables(#[from] IptablesError),
    /// Programs and maps.
    #[error(transparent)]
    Datapath(#[from] DatapathError),
}

impl AgentError {
    /// For `map_err` on file operations.
    pub(super) fn file(
        what: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { what, path, source }
    }
}
