//! Routes to the pods of the other nodes.

use lab_model::node_state::{NodeState, Peer, Routing};

use super::super::{NodeView, log};
use super::{HOST, Mtu};
use crate::netlink::{Route, protocol};

/// Natively, to the other node as next hop, if that is on the link. Through a tunnel, to
/// `cilium_host`, whose program encapsulates: narrow enough for the outer header, and with
/// the node's address among the pods' as the source, which the other end can answer to.
pub(super) fn routes(state: &NodeState, mtu: Mtu, view: &NodeView) -> Vec<Route> {
    match state.datapath.routing {
        Routing::Native {
            auto_direct_node_routes: false,
        } => Vec::new(),
        Routing::Native {
            auto_direct_node_routes: true,
        } => on_link(state, view)
            .map(|peer| Route::via(peer.pod_cidr.trunc(), peer.address).protocol(protocol::KERNEL))
            .collect(),
        Routing::Tunnel { .. } => through_host(state, mtu, view),
    }
}

fn through_host(state: &NodeState, mtu: Mtu, view: &NodeView) -> Vec<Route> {
    // The interface comes first; its index is for the next round.
    let Some(host) = view.link(HOST) else {
        return Vec::new();
    };
    let gateway = state.node.cilium_host;
    // The kernel takes only a next hop that it has a route to.
    let to_gateway = Route::link(gateway.into(), host.index).protocol(protocol::KERNEL);
    let peers = state.peers.iter().map(|peer| Route {
        source: Some(gateway),
        mtu: mtu.route,
        ..Route::via(peer.pod_cidr.trunc(), gateway)
            .device(host.index)
            .protocol(protocol::KERNEL)
    });
    std::iter::once(to_gateway).chain(peers).collect()
}

fn on_link<'a>(state: &'a NodeState, view: &'a NodeView) -> impl Iterator<Item = &'a Peer> {
    let peers = state.peers.iter();
    peers.filter(|peer| matches!(reach(peer, view), Reach::OnLink))
}

/// How packets get to a node.
enum Reach {
    OnLink,
    Through(std::net::Ipv4Addr),
    Nowhere,
}

/// By the longest prefix.
fn reach(peer: &Peer, view: &NodeView) -> Reach {
    let fitting = view
        .routes
        .iter()
        .filter(|route| route.destination.contains(&peer.address));
    match fitting.max_by_key(|route| (route.destination.prefix_len(), u32::MAX - route.priority)) {
        None => Reach::Nowhere,
        Some(route) => route.gateway.map_or(Reach::OnLink, Reach::Through),
    }
}

/// Direct routes work among nodes of one segment only (cilium/cilium#31124): the others'
/// are left to whoever routes between segments, as with `directRoutingSkipUnreachable`.
pub(super) fn warn_of_unreachable(state: &NodeState, view: &NodeView) {
    let wants_direct_routes = state.datapath.routing
        == Routing::Native {
            auto_direct_node_routes: true,
        };
    for peer in state.peers.iter().filter(|_| wants_direct_routes) {
        let Peer {
            name,
            address,
            pod_cidr,
            ..
        } = peer;
        match reach(peer, view) {
            Reach::OnLink => {}
            Reach::Through(gateway) => log::warn(format_args!(
                "no direct route to {pod_cidr} of {name}: route to destination {address} contains gateway {gateway}, must be directly reachable"
            )),
            Reach::Nowhere => log::warn(format_args!(
                "no direct route to {pod_cidr} of {name}: there is no route to destination {address}"
            )),
        }
    }
}
