//! How long packets may be, at every interface and route.
//!
//! Cilium reads the MTU of one device and gives it to all of its own; when that device was
//! not the one packets left through, or pods kept the default, they were cut up or lost
//! (cilium/cilium#14339, cilium/cilium#23711). Here it is the smallest of all managed
//! devices', and pods get what a tunnel leaves of it, at both ends of their interface.

use lab_model::node_state::{NodeState, Pod, Routing, TunnelProtocol};

use super::super::NodeView;
use super::repairs::Repair;
use crate::netlink::{Link, LinkChange, Request};

/// Of an Ethernet device, where there is none to ask.
const ETHERNET: u32 = 1500;
/// Outer IPv4, UDP and VXLAN headers, and the inner Ethernet header. Geneve's has the same
/// length without options.
const TUNNEL_HEADERS: u32 = 50;

/// Lengths of packets in bytes, from the IP header on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mtu {
    /// Of the managed devices, of `cilium_host`, `cilium_net` and the tunnel's device:
    /// what they carry has its outer header on, or is about to get it.
    pub(crate) device: u32,
    /// Of the pods' interfaces.
    pub(crate) pod: u32,
    /// Of routes, where they are narrower than their interface may be.
    pub(crate) route: Option<u32>,
}

impl Mtu {
    /// Those of a node with the interfaces of `view`.
    pub(crate) fn of(state: &NodeState, view: &NodeView) -> Self {
        let devices = state.datapath.devices.iter();
        let found = devices.filter_map(|name| view.link(name));
        let device = state
            .datapath
            .mtu
            .or_else(|| found.map(|link| link.mtu).min())
            .unwrap_or(ETHERNET);
        match state.datapath.routing {
            Routing::Native { .. } => Self {
                device,
                pod: device,
                route: None,
            },
            Routing::Tunnel {
                protocol: TunnelProtocol::Vxlan | TunnelProtocol::Geneve,
                ..
            } => {
                let pod = device.saturating_sub(TUNNEL_HEADERS);
                Self {
                    device,
                    pod,
                    route: Some(pod),
                }
            }
        }
    }
}

/// Sets an interface's MTU where it is another; `pod` is whose it is.
pub(super) fn repair<'fd>(link: &Link, mtu: u32, pod: Option<&Pod>) -> Option<Repair<'fd>> {
    if link.mtu == mtu {
        return None;
    }
    let of = pod
        .map(|pod| format!(" of {}", pod.key()))
        .unwrap_or_default();
    let why = format!("{}{of} has an MTU of {}, not {mtu}", link.name, link.mtu);
    let request = Request::SetLink {
        name: link.name.clone(),
        change: LinkChange::mtu(mtu),
    };
    Some(Repair::new(why, [request]))
}
