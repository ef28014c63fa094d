//! What the flows' reader looks up, out of the node as it is.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::os::unix::fs::MetadataExt as _;

use lab_model::node_state::NodeState;

use super::{Agent, NodeView, log};

impl Agent {
    /// Has flows named by `state`, and read off the datapath's maps. What does not
    /// succeed is logged: packets are forwarded without it.
    pub(super) fn configure_flows(&mut self, state: &NodeState, view: &NodeView) {
        let own = view.addresses.iter().map(|address| address.address.addr());
        let interfaces = view
            .links
            .iter()
            .map(|link| (link.index, link.name.clone()))
            .collect();
        let cgroups = self.pod_cgroups(state);
        if let Err(error) = self.flows.configure(state, own, interfaces, cgroups) {
            log::warn(format_args!(
                "failed to listen for other nodes' hubble: {error}"
            ));
        }
        let events = self
            .datapath
            .as_mut()
            .and_then(|datapath| datapath.tables.events.take());
        if let Some(events) = events
            && let Err(error) = self.flows.read(events)
        {
            log::warn(format_args!("failed to read flows: {error}"));
        }
    }

    /// Addresses of pods by the id of their cgroup, which is its folder's inode.
    fn pod_cgroups(&self, state: &NodeState) -> HashMap<u64, Ipv4Addr> {
        let pods = state.pods.iter().filter_map(|pod| {
            let folder = self.pods.cgroup_of(pod);
            let id = std::fs::metadata(folder.path()).ok()?.ino();
            Some((id, pod.address))
        });
        pods.collect()
    }
}
