//! Interfaces, addresses, routes: actions to netlink requests.

use std::net::Ipv4Addr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

use lab_model::plan::{
    Action, BRIDGE, MacAddress, OUTSIDE_INTERFACE, Route as LabRoute, SEGMENT_INTERFACE,
};
use lab_node::namespace;
use lab_node::netlink::{
    LinkChange, LinkEnd, LinkKind, Mac, Netlink, NetlinkError, Request, Route, Scope, protocol,
};
use lab_node::sysctl;
use nix::errno::Errno;

use super::namespaces::{FIRST_PORT, Handle, Namespaces, Place};
use super::places::Places;
use crate::error::ProviderError;
use crate::execute::{Staged, StepFault};

/// Makes the namespace with the bridge that is the segment.
pub(super) fn create_segment(places: &Places) -> Result<Handle, ProviderError> {
    // What an earlier boot or a killed run left of it.
    namespace::delete(&places.fabric())?;
    let segment = Place::Segment.to_string();
    let (netns, netlink) = namespace::create_with(&places.fabric(), || {
        // A switch has no addresses: neither do its ports, nor do they speak.
        for name in ["all", "default"] {
            let setting = format!("net.ipv6.conf.{name}.disable_ipv6");
            // A kernel without IPv6 has nothing to be set.
            let _ = sysctl::set(&setting, "1");
        }
        Netlink::open()
    })?;
    let netlink = netlink.map_err(ProviderError::netlink(&segment))?;
    let mut handle = Handle::fresh(netns, netlink, FIRST_PORT);
    // An address of its own: else the bridge takes the lowest of its ports', and
    // tells the whole namespace whenever that changes.
    let own = MacAddress::of(places.lab(), "", BRIDGE);
    let end = LinkEnd::named(BRIDGE)
        .mac(mac(own))
        .index(handle.reserve(BRIDGE));
    let request = Request::AddLink {
        kind: LinkKind::Bridge,
        end,
    };
    handle
        .netlink
        .execute(&request)
        .map_err(ProviderError::netlink(&segment))?;
    Ok(handle)
}

/// One end of a cable in a node, the other a port in `sender`.
struct Cable {
    position: usize,
    netns: Arc<OwnedFd>,
    peer: LinkEnd<'static>,
    port: String,
    port_mac: Option<MacAddress>,
}

/// Makes veth pairs, each in one request, all of a sender's in one batch. The
/// request goes to where the ports are: only the end that a request is sent to
/// can become a bridge's port in the same step (veth.c, veth_newlink).
pub(super) fn attach(
    namespaces: &mut Namespaces<'_>,
    sender: &Place,
    actions: &Staged<'_>,
) -> Result<(), StepFault> {
    let cables = prepare(namespaces, actions)?;
    let first = actions.first().map_or(0, |(position, _)| *position);
    let handle = namespaces.get(sender).map_err(StepFault::at(first))?;
    let bridge = handle.index(BRIDGE).filter(|_| *sender == Place::Segment);
    let requests: Vec<_> = cables
        .iter()
        .map(|cable| {
            let mut end = LinkEnd::named(&cable.port).index(handle.reserve(&cable.port));
            end.mac = cable.port_mac.map(mac);
            let peer = cable.peer.clone().in_netns(cable.netns.as_fd());
            Request::AddVeth {
                end,
                master: bridge,
                peer,
            }
        })
        .collect();
    let positions: Vec<_> = cables.iter().map(|cable| cable.position).collect();
    execute(handle, sender, &requests, &positions, |_, _| false)
}

fn prepare(namespaces: &mut Namespaces<'_>, actions: &Staged<'_>) -> Result<Vec<Cable>, StepFault> {
    let mut cables = Vec::with_capacity(actions.len());
    for (position, action) in actions {
        let (node, interface, own, port, port_mac) = match action {
            Action::AttachSegment { node, port, mac } => (node, SEGMENT_INTERFACE, mac, port, None),
            Action::AttachOutside {
                node,
                mac,
                port,
                port_mac,
                ..
            } => (node, OUTSIDE_INTERFACE, mac, port, Some(*port_mac)),
            _ => continue,
        };
        let handle = namespaces
            .get(&Place::node(node))
            .map_err(StepFault::at(*position))?;
        let peer = LinkEnd::named(interface)
            .mac(mac(*own))
            .index(handle.reserve(interface));
        let (netns, port) = (handle.netns.clone(), port.clone());
        cables.push(Cable {
            position: *position,
            netns,
            peer,
            port,
            port_mac,
        });
    }
    Ok(cables)
}

/// Makes dummies, or what this kernel has in their place.
pub(super) fn add_dummies(
    namespaces: &mut Namespaces<'_>,
    actions: &Staged<'_>,
) -> Result<(), StepFault> {
    for (position, action) in actions {
        let Action::AddDummy {
            node,
            interface,
            mac: own,
        } = action
        else {
            continue;
        };
        let fault = StepFault::at(*position);
        let handle = namespaces.get(&Place::node(node)).map_err(&fault)?;
        let index = handle.reserve(interface);
        let end = LinkEnd::named(interface).mac(mac(*own)).index(index);
        let added = handle.netlink.add_dummy(&end);
        added
            .map_err(ProviderError::netlink(node))
            .map_err(&fault)?;
    }
    Ok(())
}

/// Executes changes within one namespace, in order, in as few batches as can be.
pub(super) fn change(
    namespaces: &mut Namespaces<'_>,
    place: &Place,
    actions: &Staged<'_>,
) -> Result<(), StepFault> {
    let first = actions.first().map_or(0, |(position, _)| *position);
    let handle = namespaces.get(place).map_err(StepFault::at(first))?;
    let mut requests = Vec::with_capacity(actions.len());
    let mut positions = Vec::with_capacity(actions.len());
    for (position, action) in actions {
        match request(handle, action) {
            Some(request) => {
                requests.push(request);
                positions.push(*position);
            }
            // What is on an interface that is not there is not there either.
            None if is_removal(action) => {}
            None => return Err(missing(place, *position, action)),
        }
    }
    let tolerates = |position: usize, error: &NetlinkError| {
        let action = actions
            .iter()
            .find(|(it, _)| *it == position)
            .map(|(_, action)| *action);
        action.is_some_and(|action| match action {
            Action::AddAddress { .. } => error.is_already_there(),
            _ => is_removal(action) && error.is_missing(),
        })
    };
    execute(handle, place, &requests, &positions, tolerates)
}

fn execute(
    handle: &mut Handle,
    place: &Place,
    requests: &[Request<'_>],
    positions: &[usize],
    tolerates: impl Fn(usize, &NetlinkError) -> bool,
) -> Result<(), StepFault> {
    let first = positions.first().copied().unwrap_or_default();
    let name = place.to_string();
    let outcomes = handle.netlink.execute_each(requests);
    let outcomes = outcomes
        .map_err(ProviderError::netlink(&name))
        .map_err(StepFault::at(first))?;
    for (outcome, position) in outcomes.into_iter().zip(positions) {
        if let Err(error) = outcome
            && !tolerates(*position, &error)
        {
            return Err(StepFault::at(*position)(ProviderError::netlink(&name)(
                error,
            )));
        }
    }
    Ok(())
}

fn missing(place: &Place, position: usize, action: &Action) -> StepFault {
    let source = NetlinkError::Refused {
        request: action.to_string(),
        errno: Errno::ENODEV,
        detail: None,
    };
    StepFault::at(position)(ProviderError::netlink(&place.to_string())(source))
}

const fn is_removal(action: &Action) -> bool {
    matches!(
        action,
        Action::DetachSegment { .. }
            | Action::DeleteInterface { .. }
            | Action::DeleteAddress { .. }
            | Action::DeleteRoute { .. }
            | Action::DeleteNeighbour { .. }
    )
}

/// The request for a change within a namespace; none when the interface that
/// it is about is not known there.
fn request(handle: &mut Handle, action: &Action) -> Option<Request<'static>> {
    Some(match action {
        Action::DetachSegment { port: name }
        | Action::DeleteInterface {
            interface: name, ..
        } => {
            handle.forget(name);
            Request::DeleteLink { name: name.clone() }
        }
        Action::ConnectPort { port: name } => {
            let master = Some(Some(handle.index(BRIDGE)?));
            let change = LinkChange {
                master,
                ..LinkChange::up()
            };
            Request::SetLink {
                name: name.clone(),
                change,
            }
        }
        Action::SetUp {
            interface: name, ..
        } => up(name),
        // The far end of a veth pair is made down.
        Action::AttachSegment { .. } => up(SEGMENT_INTERFACE),
        Action::AttachOutside { .. } => up(OUTSIDE_INTERFACE),
        Action::AddAddress {
            interface, address, ..
        } => {
            let device = handle.index(interface)?;
            Request::AddAddress {
                device,
                address: *address,
                scope: Scope::Universe,
            }
        }
        Action::DeleteAddress {
            interface, address, ..
        } => Request::DeleteAddress {
            device: handle.index(interface)?,
            address: *address,
        },
        Action::ReplaceRoute { route: new, .. } => Request::ReplaceRoute(route(handle, new)?),
        Action::DeleteRoute { route: old, .. } => Request::DeleteRoute(route(handle, old)?),
        Action::SetNeighbour { neighbour, .. } => Request::ReplaceNeighbour {
            device: handle.index(&neighbour.dev)?,
            address: neighbour.address,
            mac: mac(neighbour.mac),
        },
        Action::DeleteNeighbour { neighbour, .. } => Request::DeleteNeighbour {
            device: handle.index(&neighbour.dev)?,
            address: neighbour.address,
        },
        _ => return None,
    })
}

fn up(interface: &str) -> Request<'static> {
    Request::SetLink {
        name: interface.to_owned(),
        change: LinkChange::up(),
    }
}

fn route(handle: &Handle, route: &LabRoute) -> Option<Route> {
    let device = handle.index(&route.dev)?;
    let made = match route.via {
        Some(gateway) => Route::via(route.to, gateway).device(device),
        None => Route::link(route.to, device),
    };
    Some(made.protocol(protocol::STATIC))
}

pub(super) const fn mac(address: MacAddress) -> Mac {
    Mac(address.0)
}

/// Text of `/etc/hosts`.
pub(super) fn hosts_file(hosts: &[(Ipv4Addr, String)]) -> String {
    let mut text = "127.0.0.1 localhost\n".to_owned();
    for (address, name) in hosts {
        text.push_str(&format!("{address} {name}\n"));
    }
    text
}

/// Addresses and names in the text of `/etc/hosts`, without localhost.
pub(super) fn hosts_in(text: &str) -> Vec<(Ipv4Addr, String)> {
    let entries = text.lines().flat_map(|line| {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_whitespace();
        let address = words.next().and_then(|word| word.parse::<Ipv4Addr>().ok());
        address.into_iter().flat_map(move |it| {
            words
                .clone()
                .map(move |name| (it, name.to_owned()))
                .collect::<Vec<_>>()
        })
    });
    entries.filter(|(_, name)| name != "localhost").collect()
}
