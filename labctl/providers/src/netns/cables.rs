//! The segment, and the cables from it and from the world to the nodes.

use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

use lab_model::plan::{Action, BRIDGE, MacAddress, OUTSIDE_INTERFACE, SEGMENT_INTERFACE};
use lab_node::namespace;
use lab_node::netlink::{LinkEnd, LinkKind, Netlink, Request};
use lab_node::node_network::mac;
use lab_node::sysctl;

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
        .index(handle.interfaces.reserve(BRIDGE));
    let request = Request::AddLink {
        kind: LinkKind::Bridge,
        end,
    };
    handle
        .interfaces
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
    let bridge = handle
        .interfaces
        .index(BRIDGE)
        .filter(|_| *sender == Place::Segment);
    let requests: Vec<_> = cables
        .iter()
        .map(|cable| {
            let mut end = LinkEnd::named(&cable.port).index(handle.interfaces.reserve(&cable.port));
            end.mac = cable.port_mac.map(mac);
            let peer = cable.peer.clone().in_netns(cable.netns.as_fd());
            Request::AddVeth {
                end,
                master: bridge,
                peer,
            }
        })
        .collect();
    let fault = |error| ProviderError::netlink(&sender.to_string())(error);
    let outcomes = handle.interfaces.netlink.execute_each(&requests);
    let outcomes = outcomes.map_err(fault).map_err(StepFault::at(first))?;
    for (outcome, cable) in outcomes.into_iter().zip(&cables) {
        outcome
            .map_err(fault)
            .map_err(StepFault::at(cable.position))?;
    }
    Ok(())
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
            .index(handle.interfaces.reserve(interface));
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

/// Executes changes within one namespace, in order.
pub(super) fn change(
    namespaces: &mut Namespaces<'_>,
    place: &Place,
    actions: &Staged<'_>,
) -> Result<(), StepFault> {
    let first = actions.first().map_or(0, |(position, _)| *position);
    let handle = namespaces.get(place).map_err(StepFault::at(first))?;
    let changed = handle.interfaces.change(actions);
    changed.map_err(|(position, error)| {
        StepFault::at(position)(ProviderError::netlink(&place.to_string())(error))
    })
}
