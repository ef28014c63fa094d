//! [`Request`] to rtnetlink messages.

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsRawFd;

use ipnet::Ipv4Net;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{
    InfoData, InfoGeneve, InfoKind, InfoVeth, InfoVxlan, LinkAttribute, LinkFlags, LinkInfo,
    LinkMessage,
};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteMetric, RouteProtocol, RouteScope,
    RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::filter;
use super::mac::Mac;
use super::request::{LinkChange, LinkEnd, LinkKind, Request};
use super::route::{Route, Scope};

/// The message for `request`, and its `NLM_F_…` flags beside `REQUEST` and `ACK`.
pub(super) fn message(request: &Request<'_>) -> (RouteNetlinkMessage, u16) {
    const NEW: u16 = NLM_F_CREATE | NLM_F_EXCL;
    const REPLACE: u16 = NLM_F_CREATE | NLM_F_REPLACE;
    match request {
        Request::AddVeth { end, master, peer } => {
            (RouteNetlinkMessage::NewLink(veth(end, *master, peer)), NEW)
        }
        Request::AddLink { kind, end } => (RouteNetlinkMessage::NewLink(plain(*kind, end)), NEW),
        Request::DeleteLink { name } => (RouteNetlinkMessage::DelLink(named(name)), 0),
        Request::SetLink { name, change } => {
            (RouteNetlinkMessage::SetLink(changed(name, change)), 0)
        }
        Request::AddAddress {
            device,
            address: new,
            scope,
        } => (
            RouteNetlinkMessage::NewAddress(address(*device, *new, *scope)),
            NEW,
        ),
        Request::DeleteAddress {
            device,
            address: old,
        } => (
            RouteNetlinkMessage::DelAddress(address(*device, *old, Scope::Universe)),
            0,
        ),
        Request::AddRoute(new) => (RouteNetlinkMessage::NewRoute(route(new)), NEW),
        Request::ReplaceRoute(new) => (RouteNetlinkMessage::NewRoute(route(new)), REPLACE),
        Request::DeleteRoute(old) => (RouteNetlinkMessage::DelRoute(route(old)), 0),
        Request::ReplaceNeighbour {
            device,
            address,
            mac,
        } => (
            RouteNetlinkMessage::NewNeighbour(neighbour(*device, *address, Some(*mac))),
            REPLACE,
        ),
        Request::DeleteNeighbour { device, address } => (
            RouteNetlinkMessage::DelNeighbour(neighbour(*device, *address, None)),
            0,
        ),
        Request::AddClsact { device } => (
            RouteNetlinkMessage::NewQueueDiscipline(filter::clsact(*device)),
            NEW,
        ),
        Request::DeleteClsact { device } => (
            RouteNetlinkMessage::DelQueueDiscipline(filter::clsact(*device)),
            0,
        ),
        Request::ReplaceFilter {
            place,
            name,
            program,
        } => (
            RouteNetlinkMessage::NewTrafficFilter(filter::with_program(place, name, *program)),
            NLM_F_CREATE,
        ),
        Request::DeleteFilter { place } => {
            (RouteNetlinkMessage::DelTrafficFilter(filter::at(place)), 0)
        }
    }
}

fn named(name: &str) -> LinkMessage {
    let mut message = LinkMessage::default();
    message
        .attributes
        .push(LinkAttribute::IfName(name.to_owned()));
    message
}

fn end_message(end: &LinkEnd<'_>) -> LinkMessage {
    let mut message = named(&end.name);
    message.header.index = end.index.unwrap_or(0);
    let attributes = &mut message.attributes;
    attributes.extend(
        end.mac
            .map(|Mac(bytes)| LinkAttribute::Address(bytes.to_vec())),
    );
    attributes.extend(end.mtu.map(LinkAttribute::Mtu));
    attributes.extend(
        end.netns
            .map(|netns| LinkAttribute::NetNsFd(netns.as_raw_fd())),
    );
    message
}

fn set_up(message: &mut LinkMessage, up: bool) {
    message.header.change_mask = LinkFlags::Up;
    message.header.flags = if up {
        LinkFlags::Up
    } else {
        LinkFlags::empty()
    };
}

fn veth(end: &LinkEnd<'_>, master: Option<u32>, peer: &LinkEnd<'_>) -> LinkMessage {
    let mut message = end_message(end);
    set_up(&mut message, true);
    message
        .attributes
        .extend(master.map(LinkAttribute::Controller));
    message.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::Kind(InfoKind::Veth),
        LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(end_message(peer)))),
    ]));
    message
}

fn plain(kind: LinkKind, end: &LinkEnd<'_>) -> LinkMessage {
    let (kind, data) = match kind {
        LinkKind::Bridge => (InfoKind::Bridge, None),
        LinkKind::Dummy => (InfoKind::Dummy, None),
        LinkKind::Ifb => (InfoKind::Ifb, None),
        LinkKind::Vxlan { port } => {
            let data = vec![
                InfoVxlan::CollectMetadata(true),
                InfoVxlan::Learning(false),
                InfoVxlan::Port(port),
            ];
            (InfoKind::Vxlan, Some(InfoData::Vxlan(data)))
        }
        LinkKind::Geneve { port } => {
            let data = vec![InfoGeneve::CollectMetadata, InfoGeneve::Port(port)];
            (InfoKind::Geneve, Some(InfoData::Geneve(data)))
        }
    };
    let mut message = end_message(end);
    set_up(&mut message, true);
    let mut info = vec![LinkInfo::Kind(kind)];
    info.extend(data.map(LinkInfo::Data));
    message.attributes.push(LinkAttribute::LinkInfo(info));
    message
}

fn changed(name: &str, change: &LinkChange) -> LinkMessage {
    let mut message = named(name);
    if let Some(up) = change.up {
        set_up(&mut message, up);
    }
    if let Some(arp) = change.arp {
        message.header.change_mask |= LinkFlags::Noarp;
        message.header.flags.set(LinkFlags::Noarp, !arp);
    }
    let attributes = &mut message.attributes;
    // Index 0 takes the interface out of its bridge (rtnetlink.c, do_set_master).
    attributes.extend(
        change
            .master
            .map(|m| LinkAttribute::Controller(m.unwrap_or(0))),
    );
    attributes.extend(change.mtu.map(LinkAttribute::Mtu));
    attributes.extend(
        change
            .mac
            .map(|Mac(bytes)| LinkAttribute::Address(bytes.to_vec())),
    );
    message
}

fn address(device: u32, address: Ipv4Net, scope: Scope) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = AddressFamily::Inet;
    message.header.prefix_len = address.prefix_len();
    message.header.scope = scope.number().into();
    message.header.index = device;
    let ip = IpAddr::V4(address.addr());
    message.attributes = vec![AddressAttribute::Local(ip), AddressAttribute::Address(ip)];
    message
}

fn route(route: &Route) -> RouteMessage {
    let mut message = RouteMessage::default();
    let header = &mut message.header;
    header.address_family = AddressFamily::Inet;
    header.destination_prefix_length = route.destination.prefix_len();
    header.table = route.table;
    header.protocol = RouteProtocol::from(route.protocol);
    header.scope = RouteScope::from(route.scope.number());
    header.kind = RouteType::Unicast;
    if route.onlink {
        header.flags = RouteFlags::Onlink;
    }
    let inet = |address: Ipv4Addr| RouteAddress::Inet(address);
    let attributes = &mut message.attributes;
    if route.destination.prefix_len() > 0 {
        attributes.push(RouteAttribute::Destination(inet(
            route.destination.network(),
        )));
    }
    attributes.extend(
        route
            .gateway
            .map(|gateway| RouteAttribute::Gateway(inet(gateway))),
    );
    attributes.extend(route.device.map(RouteAttribute::Oif));
    attributes.extend(
        route
            .source
            .map(|source| RouteAttribute::PrefSource(inet(source))),
    );
    if route.priority != 0 {
        attributes.push(RouteAttribute::Priority(route.priority));
    }
    attributes.extend(
        route
            .mtu
            .map(|mtu| RouteAttribute::Metrics(vec![RouteMetric::Mtu(mtu)])),
    );
    message
}

fn neighbour(device: u32, address: Ipv4Addr, mac: Option<Mac>) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Inet;
    message.header.ifindex = device;
    message.header.state = NeighbourState::Permanent;
    message.header.kind = RouteType::Unicast;
    message
        .attributes
        .push(NeighbourAttribute::Destination(NeighbourAddress::Inet(
            address,
        )));
    message
        .attributes
        .extend(mac.map(|Mac(bytes)| NeighbourAttribute::LinkLayerAddress(bytes.to_vec())));
    message
}
