//! A pod of either kind: with a network of its own, or on its node's.

use lab_model::node_state::{HostPod, NodeState, Pod, Workload};
use serde::{Deserialize, Serialize};

use super::{log, pod};
use crate::node_cache::LocalNetwork;

/// A pod as the agent keeps and starts it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Sandbox {
    /// An endpoint of the datapath.
    Own(Pod),
    /// One on the node's own network.
    Host(HostPod),
}

impl Sandbox {
    /// Every pod of the document.
    pub(super) fn all(state: &NodeState) -> impl Iterator<Item = Self> + '_ {
        let own = state.pods.iter().cloned().map(Self::Own);
        own.chain(state.host_pods.iter().cloned().map(Self::Host))
    }

    /// `namespace/name`
    pub(super) fn key(&self) -> String {
        format!("{}/{}", self.namespace(), self.name())
    }

    /// Its folder and its cgroup.
    pub(super) fn folder_name(&self) -> String {
        pod::folder_name(self.namespace(), self.name())
    }

    pub(super) fn namespace(&self) -> &str {
        match self {
            Self::Own(pod) => &pod.namespace,
            Self::Host(pod) => &pod.namespace,
        }
    }

    pub(super) fn name(&self) -> &str {
        match self {
            Self::Own(pod) => &pod.name,
            Self::Host(pod) => &pod.name,
        }
    }

    /// What it calls itself; one on its node's network has the node's name for the kernel.
    pub(super) fn host_name(&self) -> &str {
        match self {
            Self::Own(pod) => pod.host_name(),
            Self::Host(pod) => &pod.name,
        }
    }

    pub(super) fn workload(&self) -> &Workload {
        match self {
            Self::Own(pod) => &pod.workload,
            Self::Host(pod) => &pod.workload,
        }
    }

    pub(super) fn corefile(&self) -> Option<&str> {
        match self {
            Self::Own(pod) => pod.corefile.as_deref(),
            Self::Host(pod) => pod.corefile.as_deref(),
        }
    }

    /// The pod, when it has a network of its own.
    pub(super) fn own(&self) -> Option<&Pod> {
        match self {
            Self::Own(pod) => Some(pod),
            Self::Host(_) => None,
        }
    }

    /// Whether `new` needs a new workload or interface, rather than new map entries
    /// and files.
    pub(super) fn is_another(&self, new: &Self) -> bool {
        match (self, new) {
            (Self::Own(old), Self::Own(new)) => pod::is_another(old, new),
            (Self::Host(old), Self::Host(new)) => old.workload != new.workload,
            _ => true,
        }
    }

    /// Takes away what a cache has made of its node's network, however it ended.
    pub(super) fn leave_network(&self) {
        let (Self::Host(_), Workload::NodeCache(cache)) = (self, self.workload()) else {
            return;
        };
        if !cache.skip_teardown
            && let Err(error) = LocalNetwork::of(cache).remove()
        {
            log::warn(format_args!("failed to {error}"));
        }
    }
}
