//! What a node and its pods lack or have too much, and what mends it: pure.

use std::os::fd::BorrowedFd;

use ipnet::Ipv4Net;
use lab_model::node_state::{NodeState, Pod};

use super::super::{NodeView, pod};
use super::mtu::{self, Mtu};
use super::{HOST, NET, POD_DEVICE, overlay, peers};
use crate::netlink::{LinkChange, LinkEnd, Request, Route, Scope, protocol};

/// Its index: `lo` is 1 in a new namespace, and nothing else is there.
const POD_DEVICE_INDEX: u32 = 2;

/// One difference, and what mends it.
pub(super) struct Repair<'fd> {
    pub(super) why: String,
    pub(super) requests: Vec<Request<'fd>>,
}

impl<'fd> Repair<'fd> {
    pub(super) fn new(why: impl Into<String>, requests: impl Into<Vec<Request<'fd>>>) -> Self {
        Self {
            why: why.into(),
            requests: requests.into(),
        }
    }
}

/// What the node lacks or has too much. `netns_of` gives a pod's namespace, which
/// a new pair of interfaces leads into.
pub(super) fn node_repairs<'fd>(
    state: &NodeState,
    view: &NodeView,
    netns_of: impl Fn(&Pod) -> Option<BorrowedFd<'fd>>,
) -> Vec<Repair<'fd>> {
    let mtu = Mtu::of(state, view);
    let mut repairs = host_repairs(state, mtu, view);
    repairs.extend(overlay::repairs(&state.datapath.routing, mtu, view));
    for pod in &state.pods {
        match view.link(&pod.interface) {
            None => {
                let why = format!("{} of {} is gone", pod.interface, pod.key());
                repairs.push(Repair::new(why, pod_link(pod, mtu, netns_of(pod))));
            }
            Some(link) if !link.up => {
                let why = format!("{} of {} is down", pod.interface, pod.key());
                repairs.push(Repair::new(why, [set_up(&pod.interface)]));
            }
            Some(link) => repairs.extend(mtu::repair(link, mtu.pod, None)),
        }
    }
    let wanted = |name: &str| state.pods.iter().any(|pod| pod.interface == name);
    for link in view
        .links
        .iter()
        .filter(|link| link.name.starts_with("lxc"))
    {
        if !wanted(&link.name) {
            let why = format!("{} belongs to no pod", link.name);
            repairs.push(Repair::new(
                why,
                [Request::DeleteLink {
                    name: link.name.clone(),
                }],
            ));
        }
    }
    repairs.extend(route_repairs(state, mtu, view));
    repairs
}

/// `cilium_host`, `cilium_net`, and the pods' gateway address.
fn host_repairs<'fd>(state: &NodeState, mtu: Mtu, view: &NodeView) -> Vec<Repair<'fd>> {
    let (Some(host), Some(net)) = (view.link(HOST), view.link(NET)) else {
        let (end, peer) = (LinkEnd::named(HOST), LinkEnd::named(NET));
        let pair = Request::AddVeth {
            end,
            master: None,
            peer,
        };
        return vec![Repair::new(format!("{HOST} is gone"), [pair, set_up(NET)])];
    };
    let mut repairs = Vec::new();
    for link in [host, net].into_iter().filter(|link| !link.up) {
        repairs.push(Repair::new(
            format!("{} is down", link.name),
            [set_up(&link.name)],
        ));
    }
    for link in [host, net] {
        repairs.extend(mtu::repair(link, mtu.device, None));
        // As Cilium's: nobody is behind them that could be asked.
        if link.arp {
            repairs.push(Repair::new(
                format!("{} asks for neighbours", link.name),
                [Request::SetLink {
                    name: link.name.clone(),
                    change: LinkChange {
                        arp: Some(false),
                        ..LinkChange::default()
                    },
                }],
            ));
        }
    }
    // As Cilium does: of scope link, the address is never chosen as the source
    // of what the node itself sends.
    let wanted = Ipv4Net::from(state.node.cilium_host);
    repairs.extend(address_repairs(HOST, host.index, wanted, Scope::Link, view));
    repairs
}

/// Exactly one address on an interface.
fn address_repairs<'fd>(
    name: &str,
    device: u32,
    wanted: Ipv4Net,
    scope: Scope,
    view: &NodeView,
) -> Vec<Repair<'fd>> {
    let own = view
        .addresses
        .iter()
        .filter(|address| address.device == device);
    let mut repairs = Vec::new();
    for other in own.clone().filter(|address| address.address != wanted) {
        let request = Request::DeleteAddress {
            device,
            address: other.address,
        };
        repairs.push(Repair::new(
            format!("{name} has {} as well", other.address),
            [request],
        ));
    }
    if !own.clone().any(|address| address.address == wanted) {
        let request = Request::AddAddress {
            device,
            address: wanted,
            scope,
        };
        repairs.push(Repair::new(format!("{name} lacks {wanted}"), [request]));
    }
    repairs
}

/// A pod's pair: `eth0` is born inside with its final index, `lxc…` here. Inside is
/// the peer: before Linux 6.13 the index of the other end is looked up among the
/// interfaces here, and found to be taken (rtnetlink.c, `__rtnl_newlink`). Without a
/// namespace there is nothing to lead into, and the difference stays.
fn pod_link<'fd>(pod: &Pod, mtu: Mtu, netns: Option<BorrowedFd<'fd>>) -> Vec<Request<'fd>> {
    let Some(netns) = netns else {
        return Vec::new();
    };
    let (inside, outside) = pod::macs(pod);
    let end = LinkEnd::named(&pod.interface).mac(outside).mtu(mtu.pod);
    let peer = LinkEnd::named(POD_DEVICE)
        .index(POD_DEVICE_INDEX)
        .mac(inside)
        .mtu(mtu.pod)
        .in_netns(netns);
    vec![
        Request::AddVeth {
            end,
            master: None,
            peer,
        },
        set_up(&pod.interface),
    ]
}

/// Routes to the pods here and to the other nodes' podCIDRs. Those of protocol
/// kernel with a gateway are all ours: the kernel itself makes none.
fn route_repairs<'fd>(state: &NodeState, mtu: Mtu, view: &NodeView) -> Vec<Repair<'fd>> {
    let pods = state.pods.iter().filter_map(|pod| {
        let link = view.link(&pod.interface)?;
        Some(Route::link(pod.address.into(), link.index).protocol(protocol::KERNEL))
    });
    let wanted: Vec<Route> = pods.chain(peers::routes(state, mtu, view)).collect();
    let mut repairs = missing_routes(&wanted, view);
    let is_lxc = |route: &Route| {
        let name = route.device.and_then(|index| view.name_of(index));
        route.scope == Scope::Link
            && name.is_some_and(|name| name.starts_with("lxc") || name == HOST)
    };
    let ours = view.routes.iter().filter(|route| {
        route.protocol == protocol::KERNEL && (route.gateway.is_some() || is_lxc(route))
    });
    for route in ours {
        if !wanted
            .iter()
            .any(|wanted| wanted.destination == route.destination)
        {
            let why = format!(
                "route {} leads nowhere",
                route.describe(|index| view.name_of(index))
            );
            repairs.push(Repair::new(why, [Request::DeleteRoute(route.clone())]));
        }
    }
    repairs
}

fn missing_routes<'fd>(wanted: &[Route], view: &NodeView) -> Vec<Repair<'fd>> {
    let fits = |wanted: &Route, found: &Route| {
        (
            found.destination,
            found.gateway,
            found.protocol,
            found.scope,
            found.source,
            found.mtu,
        ) == (
            wanted.destination,
            wanted.gateway,
            wanted.protocol,
            wanted.scope,
            wanted.source,
            wanted.mtu,
        ) && wanted
            .device
            .is_none_or(|device| found.device == Some(device))
    };
    let missing = wanted
        .iter()
        .filter(|wanted| !view.routes.iter().any(|it| fits(wanted, it)));
    missing
        .map(|route| {
            let text = route.describe(|index| view.name_of(index));
            Repair::new(
                format!("route {text} is gone"),
                [Request::ReplaceRoute(route.clone())],
            )
        })
        .collect()
}

/// What a pod lacks, inside its namespace: `lo`, `eth0` with its address, and the
/// way to the node and through it.
pub(super) fn pod_repairs<'fd>(
    pod: &Pod,
    state: &NodeState,
    mtu: Mtu,
    view: &NodeView,
) -> Vec<Repair<'fd>> {
    let mut repairs = Vec::new();
    let Some(eth0) = view.link(POD_DEVICE) else {
        return vec![Repair::new(
            format!("{POD_DEVICE} of {} is gone", pod.key()),
            [],
        )];
    };
    for name in ["lo", POD_DEVICE] {
        if view.link(name).is_some_and(|link| !link.up) {
            repairs.push(Repair::new(
                format!("{name} of {} is down", pod.key()),
                [set_up(name)],
            ));
        }
    }
    repairs.extend(mtu::repair(eth0, mtu.pod, Some(pod)));
    let name = format!("{POD_DEVICE} of {}", pod.key());
    let wanted = pod.address.into();
    repairs.extend(address_repairs(
        &name,
        eth0.index,
        wanted,
        Scope::Universe,
        view,
    ));
    let gateway = state.node.cilium_host;
    let to_gateway = Route::link(gateway.into(), eth0.index);
    let default = Route::via(Ipv4Net::default(), gateway)
        .device(eth0.index)
        .mtu(mtu.route);
    for repair in missing_routes(&[to_gateway, default], view) {
        repairs.push(Repair {
            why: format!("{} in {}", repair.why, pod.key()),
            ..repair
        });
    }
    repairs
}

pub(super) fn set_up<'fd>(name: &str) -> Request<'fd> {
    Request::SetLink {
        name: name.to_owned(),
        change: LinkChange::up(),
    }
}

#[cfg(test)]
mod tests;
