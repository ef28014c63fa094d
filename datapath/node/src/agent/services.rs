//! Services into the datapath's maps, and the programs that translate them onto the
//! node's sockets.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use lab_datapath_common::service::Config;
use lab_model::node_state::{NodeState, ServiceHandling};

use super::readiness::without;
use super::{Agent, AgentError, NodeView};
use crate::datapath::Datapath;
use crate::netlink::Netlink;
use crate::services::entries::Entries;
use crate::services::frontends::frontends;
use crate::services::ids::Ids;
use crate::services::netns_cookie;

impl Agent {
    /// Makes maps and sockets match the document. The programs go onto the sockets when
    /// the maps are complete, and off before they are emptied.
    pub(super) fn reconcile_services(
        &mut self,
        state: &NodeState,
        view: &NodeView,
    ) -> Result<(), AgentError> {
        let cookies = self.pods.netns_cookies()?;
        let config = config(state, &self.netlink)?;
        let Some(datapath) = &mut self.datapath else {
            return Ok(());
        };
        let handling = state.datapath.services;
        if handling == ServiceHandling::KubeProxy {
            datapath.attach_sockets(handling, &self.options.cgroup)?;
        }
        let state = &without(state, &self.unready);
        let wanted = wanted(state, view, &cookies, &mut datapath.services.ids);
        datapath.services.write(&wanted, config)?;
        if handling == ServiceHandling::Ebpf {
            datapath.attach_sockets(handling, &self.options.cgroup)?;
        }
        Ok(())
    }

    /// What of services differs from the document.
    pub(super) fn service_differences(
        &mut self,
        state: &NodeState,
        view: &NodeView,
    ) -> Result<Vec<String>, AgentError> {
        let cookies = self.pods.netns_cookies()?;
        let config = config(state, &self.netlink)?;
        let Some(datapath) = &mut self.datapath else {
            return Ok(Vec::new());
        };
        let mut ids = datapath.services.ids.clone();
        let state = &without(state, &self.unready);
        let wanted = wanted(state, view, &cookies, &mut ids);
        let mut differences = datapath.services.differences(&wanted, config)?;
        differences.extend(missing(datapath));
        Ok(differences)
    }
}

fn missing(datapath: &mut Datapath) -> impl Iterator<Item = String> + use<> {
    let names = datapath.missing_from_sockets().into_iter();
    names.map(|name| format!("{name} is not attached to the node's sockets"))
}

fn wanted(
    state: &NodeState,
    view: &NodeView,
    cookies: &BTreeMap<String, u64>,
    ids: &mut Ids,
) -> Entries {
    let (frontends, skips) = frontends(state, &addresses(state, view));
    ids.assign(&frontends);
    Entries::new(&frontends, &skips, ids, cookies)
}

/// Those that NodePorts are answered on: the node's own and its devices'.
fn addresses(state: &NodeState, view: &NodeView) -> Vec<Ipv4Addr> {
    let devices = state.datapath.devices.iter();
    let mut addresses: Vec<_> = devices
        .filter_map(|name| view.link(name))
        .filter_map(|link| view.address_of(link.index))
        .collect();
    if !addresses.contains(&state.node.address) {
        addresses.push(state.node.address);
    }
    addresses
}

fn config(state: &NodeState, netlink: &Netlink) -> Result<Config, AgentError> {
    let (node_port_min, node_port_max) = state.datapath.node_ports;
    Ok(Config {
        host_netns_cookie: netns_cookie::of_socket(netlink).map_err(AgentError::Cookie)?,
        node_port_min,
        node_port_max,
        is_enabled: u32::from(state.datapath.services == ServiceHandling::Ebpf),
    })
}
