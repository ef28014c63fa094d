//! Services into the datapath's maps, and the programs that translate them onto the
//! node's sockets.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsFd as _;

use lab_datapath_common::service::{Backend, Config};
use lab_model::node_state::{NodeState, ServiceHandling};

use nix::libc;

use super::readiness::without;
use super::{Agent, AgentError, NodeView};
use crate::datapath::Datapath;
use crate::namespace;
use crate::netlink::Netlink;
use crate::services::entries::Entries;
use crate::services::frontends::frontends;
use crate::services::ids::Ids;
use crate::services::netns_cookie;
use crate::sock_diag::SockDiag;

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
        let gone = datapath.services.write(&wanted, config)?;
        if handling == ServiceHandling::Ebpf {
            datapath.attach_sockets(handling, &self.options.cgroup)?;
            self.end_sockets_of(gone)?;
        }
        Ok(())
    }

    /// Ends the connected UDP sockets that were sent to one of these backends in a
    /// service's place. Nothing else would tell their owners, who would send to nobody
    /// for ever (cilium#48096, #48244). Sockets that aren't connected choose anew with
    /// the next packet, and those that asked for the pod itself got what they asked for:
    /// both are left alone (cilium#48564). TCP notices by itself, as in Cilium.
    fn end_sockets_of(&mut self, mut gone: Vec<Backend>) -> Result<(), AgentError> {
        gone.retain(|backend| i32::from(backend.protocol) == libc::IPPROTO_UDP);
        let Some(datapath) = self.datapath.as_ref().filter(|_| !gone.is_empty()) else {
            return Ok(());
        };
        let node = namespace::current()?;
        let pods = self.pods.all_netns();
        for netns in std::iter::once(node.as_fd()).chain(pods) {
            let mut diag = SockDiag::open_in(netns)?;
            for socket in diag.connected_udp()? {
                let is_peer = |backend: &&Backend| backend_address(backend) == socket.peer;
                let Some(backend) = gone.iter().find(is_peer) else {
                    continue;
                };
                if datapath.services.was_translated(socket.cookie, backend)? {
                    diag.destroy(&socket)?;
                }
            }
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

fn backend_address(backend: &Backend) -> SocketAddrV4 {
    SocketAddrV4::new(backend.address.into(), backend.port.number())
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
