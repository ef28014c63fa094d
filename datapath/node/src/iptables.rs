//! The modes that are there to compare with: iptables rules as Cilium's agent and
//! kube-proxy write them, in the node's own namespace.
//!
//! [`wanted`] is pure: document and interfaces to a [`Ruleset`]. [`Iptables`]
//! applies it through the host's `iptables-restore`, as one transaction. Chains
//! that bear the names of ours, and the jumps to them, are ours; rules of others
//! are left alone.

mod cilium;
mod kube_proxy;
mod restore;
mod ruleset;

use lab_model::node_state::{DatapathSettings, Masquerade, NodeState, ServiceHandling};

pub use restore::IptablesError;
pub(crate) use restore::{Iptables, remove, restore_text, saved_text};
use ruleset::Ruleset;

use crate::agent::NodeView;

/// The rules that a document comes to; none unless it has a mode that needs some.
pub(crate) fn wanted(state: &NodeState, view: &NodeView) -> Ruleset {
    let mut ruleset = Ruleset::default();
    // Jumps are put in front of a chain in this order: Cilium's first, as its
    // agent sees to at each start.
    cilium::masquerade(state, view, &mut ruleset);
    if state.datapath.services == ServiceHandling::KubeProxy {
        kube_proxy::rules(state, &mut ruleset);
    }
    ruleset
}

/// Whether packets must pass the kernel's stack, where iptables sees them, rather
/// than be redirected between devices.
pub(crate) fn needs_stack(datapath: &DatapathSettings) -> bool {
    datapath.services == ServiceHandling::KubeProxy
        || matches!(datapath.masquerade, Masquerade::Iptables { .. })
}

/// Kernel settings that the rules need, and their values.
pub(crate) fn sysctls(datapath: &DatapathSettings) -> Vec<(&'static str, &'static str)> {
    match datapath.services {
        // A NodePort at 127.0.0.1 leaves for a pod with that source address, until
        // it is masqueraded (kube-proxy's `--iptables-localhost-nodeports`).
        ServiceHandling::KubeProxy => vec![("net.ipv4.conf.all.route_localnet", "1")],
        ServiceHandling::Ebpf => Vec::new(),
    }
}

#[cfg(test)]
mod tests;
