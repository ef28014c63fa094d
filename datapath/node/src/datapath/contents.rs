//! What the maps must hold, computed from the document and the interfaces that
//! there are. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use lab_datapath_common::Address;
use lab_datapath_common::endpoint::{self, Endpoint, IpcacheEntry, identity};
use lab_datapath_common::settings::{self, Device, Settings};
use lab_model::node_state::{Aggregation, Masquerade, NodeState, Peer, Pod, ServiceHandling};

use crate::agent::NodeView;
use crate::agent::network::{self, Mtu};
use crate::agent::pod_macs;
use crate::iptables;

/// The contents of every map that the agent writes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Contents {
    pub(crate) settings: Settings,
    pub(crate) devices: BTreeMap<u32, Device>,
    pub(crate) lxc: BTreeMap<Address, Endpoint>,
    pub(crate) ipcache: BTreeMap<Ipv4Net, IpcacheEntry>,
    pub(crate) ip_masq: BTreeSet<Ipv4Net>,
}

impl Contents {
    /// For `state`, on a node with the interfaces of `view`; `ip_masq` is what
    /// the ip-masq-agent's configuration comes to.
    pub(crate) fn new(state: &NodeState, view: &NodeView, ip_masq: BTreeSet<Ipv4Net>) -> Self {
        Self {
            settings: settings(state, view),
            devices: devices(state, view),
            lxc: endpoints(state, view),
            ipcache: ipcache(state, view),
            ip_masq,
        }
    }
}

fn settings(state: &NodeState, view: &NodeView) -> Settings {
    let datapath = &state.datapath;
    let tunnel = network::tunnel_device(&datapath.routing);
    let index_of = |name: &str| view.link(name).map_or(0, |link| link.index);
    let mut flags = 0;
    let mut set = |on: bool, flag: u32| flags |= if on { flag } else { 0 };
    set(
        datapath.masquerade == Masquerade::Ebpf,
        settings::flag::MASQUERADE,
    );
    set(datapath.snat_exclusion.is_some(), settings::flag::EXCLUSION);
    set(
        datapath.ip_masq_agent.is_some(),
        settings::flag::IP_MASQ_AGENT,
    );
    set(
        datapath.fragment_tracking,
        settings::flag::FRAGMENT_TRACKING,
    );
    set(
        datapath.host_legacy_routing || iptables::needs_stack(datapath),
        settings::flag::HOST_LEGACY_ROUTING,
    );
    set(
        datapath.services == ServiceHandling::Ebpf,
        settings::flag::SERVICES,
    );
    set(tunnel.is_some(), settings::flag::TUNNEL);
    let flows = &datapath.flows;
    set(flows.enabled, settings::flag::FLOWS);
    set(
        flows.aggregation >= Aggregation::Low,
        settings::flag::AGGREGATE_ORIGINS,
    );
    set(
        flows.aggregation >= Aggregation::Medium,
        settings::flag::AGGREGATE_FLOWS,
    );
    let (port_min, port_max) = datapath.snat_ports;
    let exclusion = datapath.snat_exclusion.map(|cidr| cidr.trunc());
    Settings {
        flags,
        exclusion: exclusion.map(|cidr| cidr.addr().into()).unwrap_or_default(),
        exclusion_mask: exclusion
            .map(|cidr| cidr.netmask().into())
            .unwrap_or_default(),
        port_min,
        port_max,
        tunnel_ifindex: tunnel.map_or(0, index_of),
        host_ifindex: index_of(network::HOST),
        tunnel_mtu: u16::try_from(Mtu::of(state, view).pod).unwrap_or(u16::MAX),
        padding: 0,
        report_interval: flows.interval,
    }
}

/// The managed devices that exist, and the tunnel's, which gives the node's address among the
/// pods'. One without an address translates nothing.
fn devices(state: &NodeState, view: &NodeView) -> BTreeMap<u32, Device> {
    let datapath = &state.datapath;
    let found = datapath.devices.iter().filter_map(|name| view.link(name));
    let tunnel = network::tunnel_device(&datapath.routing).and_then(|name| view.link(name));
    let tunnel = tunnel.map(|link| {
        let device = Device {
            address: state.node.cilium_host.into(),
            ..Device::default()
        };
        (link.index, device)
    });
    found
        .map(|link| {
            let address = view.address_of(link.index).unwrap_or(Ipv4Addr::UNSPECIFIED);
            let mac = link.mac.map(|mac| mac.0).unwrap_or_default();
            (
                link.index,
                Device {
                    address: address.into(),
                    mac,
                    padding: [0; 2],
                },
            )
        })
        .chain(tunnel)
        .collect()
}

/// The pods, and the node's own addresses, which packets must not be taken past.
fn endpoints(state: &NodeState, view: &NodeView) -> BTreeMap<Address, Endpoint> {
    let host = Endpoint {
        flags: endpoint::flag::HOST,
        identity: identity::HOST,
        ..Endpoint::default()
    };
    let mut endpoints: BTreeMap<_, _> = own_addresses(state, view)
        .map(|address| (address.into(), host))
        .collect();
    for pod in &state.pods {
        let Some(link) = view.link(&pod.interface) else {
            continue;
        };
        let (mac, node_mac) = pod_macs(pod);
        endpoints.insert(
            pod.address.into(),
            Endpoint {
                ifindex: link.index,
                flags: flags(state, pod),
                identity: pod.identity,
                id: pod.endpoint_id,
                mac: mac.0,
                node_mac: node_mac.0,
                padding: [0; 2],
            },
        );
    }
    endpoints
}

/// What sets a pod apart: it takes traffic that a redirect policy is not to bring back
/// to it.
fn flags(state: &NodeState, pod: &Pod) -> u32 {
    let skipping = state
        .redirects
        .iter()
        .filter(|policy| policy.skip_redirect_from_backend);
    let mut backends = skipping
        .flat_map(|policy| &policy.frontends)
        .flat_map(|frontend| &frontend.backends);
    if backends.any(|backend| backend.pod == pod.key()) {
        endpoint::flag::REDIRECT_BACKEND
    } else {
        0
    }
}

fn ipcache(state: &NodeState, view: &NodeView) -> BTreeMap<Ipv4Net, IpcacheEntry> {
    let mut entries = BTreeMap::new();
    let mut put = |cidr: Ipv4Net, identity, peer: Option<&Peer>| {
        let tunnel_endpoint = peer.map(|peer| peer.address.into()).unwrap_or_default();
        entries.insert(
            cidr,
            IpcacheEntry {
                identity,
                tunnel_endpoint,
            },
        );
    };
    put(Ipv4Net::default(), identity::WORLD, None);
    for peer in &state.peers {
        put(peer.address.into(), identity::REMOTE_NODE, None);
        // Whatever is not known yet of what runs there.
        put(peer.pod_cidr.trunc(), identity::WORLD, Some(peer));
        put(peer.cilium_host.into(), identity::REMOTE_NODE, Some(peer));
    }
    for pod in &state.remote_pods {
        let peer = state.peers.iter().find(|peer| peer.name == pod.node);
        put(pod.address.into(), pod.identity, peer);
    }
    for address in own_addresses(state, view) {
        put(address.into(), identity::HOST, None);
    }
    for pod in &state.pods {
        put(pod.address.into(), pod.identity, None);
    }
    entries
}

fn own_addresses(state: &NodeState, view: &NodeView) -> impl Iterator<Item = Ipv4Addr> {
    let node = [state.node.address, state.node.cilium_host];
    let devices = state
        .datapath
        .devices
        .iter()
        .filter_map(|name| view.link(name));
    let found: Vec<_> = devices
        .filter_map(|link| view.address_of(link.index))
        .collect();
    node.into_iter().chain(found)
}
