//! What a namespace holds, read from rtnetlink dumps.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::Ipv4Net;
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkDeserializable, NetlinkHeader,
};
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{
    InfoData, InfoGeneve, InfoKind, InfoVxlan, LinkAttribute, LinkExtentMask, LinkFlags, LinkInfo,
    LinkMessage,
};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteMetric, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::errno::Errno;

use super::mac::Mac;
use super::route::{Route, Scope};
use super::{NLMSG_ERROR, Netlink, NetlinkError, messages, refusal};

/// `NLMSG_DONE` of `linux/netlink.h`.
const NLMSG_DONE: u16 = 3;
/// A table that changes during a dump has to be read again; it settles in one
/// or two rounds unless something is badly wrong.
const DUMP_ATTEMPTS: u32 = 16;

/// An interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Index, unique in the namespace.
    pub index: u32,
    /// Name.
    pub name: String,
    /// `veth`, `bridge`, `dummy`, …; empty for what has no kind, such as `lo`.
    pub kind: String,
    /// Ethernet address, where it has one.
    pub mac: Option<Mac>,
    /// MTU in bytes.
    pub mtu: u32,
    /// Administratively up.
    pub up: bool,
    /// Whether it asks neighbours for their Ethernet address.
    pub arp: bool,
    /// UDP port of a VXLAN or Geneve tunnel whose far end is each packet's own.
    pub tunnel_port: Option<u16>,
    /// Index of the bridge it is a port of.
    pub master: Option<u32>,
    /// Index of a veth's other end, in that end's namespace.
    pub peer: Option<u32>,
    /// The id that this namespace has for the other end's; `None` when both
    /// ends are in one namespace.
    pub peer_netns_id: Option<i32>,
}

/// An IPv4 address of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// Index of the interface.
    pub device: u32,
    /// Address and prefix length.
    pub address: Ipv4Net,
    /// Reach.
    pub scope: Scope,
}

/// An IPv4 neighbour entry with an Ethernet address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// Index of the interface.
    pub device: u32,
    /// The neighbour's address.
    pub address: Ipv4Addr,
    /// Its Ethernet address.
    pub mac: Mac,
    /// Whether it was set for good.
    pub permanent: bool,
}

impl Netlink {
    /// All interfaces.
    ///
    /// # Errors
    /// When the dump fails.
    pub fn links(&mut self) -> Result<Vec<Link>, NetlinkError> {
        self.dump(
            &RouteNetlinkMessage::GetLink(link_query()),
            "ip link show",
            |message| match message {
                RouteNetlinkMessage::NewLink(link) => Some(read_link(link)),
                _ => None,
            },
        )
    }

    /// The interface `name`, or `None` when there is none.
    ///
    /// # Errors
    /// When the kernel does not answer the question.
    pub fn link(&mut self, name: &str) -> Result<Option<Link>, NetlinkError> {
        let mut query = link_query();
        query
            .attributes
            .push(LinkAttribute::IfName(name.to_owned()));
        let mut bytes = Vec::with_capacity(64);
        // The acknowledgement follows the answer, so that nothing is left over.
        self.append(
            &mut bytes,
            RouteNetlinkMessage::GetLink(query),
            NLM_F_REQUEST | NLM_F_ACK,
        );
        self.send(&bytes)?;
        let mut found = None;
        loop {
            let length = self.receive()?;
            for message in messages(&self.buffer[..length]) {
                let (header, payload) = message?;
                if header.sequence_number != self.sequence {
                    continue;
                }
                if header.message_type == NLMSG_ERROR {
                    return match refusal(&header, payload) {
                        None => Ok(found),
                        Some((Errno::ENODEV, _)) => Ok(None),
                        Some((errno, detail)) => Err(NetlinkError::Refused {
                            request: format!("ip link show {name}"),
                            errno,
                            detail,
                        }),
                    };
                }
                if let RouteNetlinkMessage::NewLink(link) = decode(&header, payload)? {
                    found = Some(read_link(link));
                }
            }
        }
    }

    /// All IPv4 addresses.
    ///
    /// # Errors
    /// When the dump fails.
    pub fn addresses(&mut self) -> Result<Vec<Address>, NetlinkError> {
        let mut query = AddressMessage::default();
        query.header.family = AddressFamily::Inet;
        self.dump(
            &RouteNetlinkMessage::GetAddress(query),
            "ip -4 addr show",
            |message| match message {
                RouteNetlinkMessage::NewAddress(address) => read_address(&address),
                _ => None,
            },
        )
    }

    /// The unicast IPv4 routes of table main.
    ///
    /// # Errors
    /// When the dump fails.
    pub fn routes(&mut self) -> Result<Vec<Route>, NetlinkError> {
        let mut query = RouteMessage::default();
        query.header.address_family = AddressFamily::Inet;
        self.dump(
            &RouteNetlinkMessage::GetRoute(query),
            "ip -4 route show",
            |message| match message {
                RouteNetlinkMessage::NewRoute(route) => {
                    read_route(&route).filter(|route| route.table == Route::MAIN)
                }
                _ => None,
            },
        )
    }

    /// The IPv4 neighbour entries, learned or set, that have an Ethernet address.
    ///
    /// # Errors
    /// When the dump fails.
    pub fn neighbours(&mut self) -> Result<Vec<Neighbour>, NetlinkError> {
        let mut query = NeighbourMessage::default();
        query.header.family = AddressFamily::Inet;
        self.dump(
            &RouteNetlinkMessage::GetNeighbour(query),
            "ip -4 neigh show",
            |message| match message {
                RouteNetlinkMessage::NewNeighbour(entry) => read_neighbour(&entry),
                _ => None,
            },
        )
    }

    fn dump<T>(
        &mut self,
        query: &RouteNetlinkMessage,
        command: &str,
        mut read: impl FnMut(RouteNetlinkMessage) -> Option<T>,
    ) -> Result<Vec<T>, NetlinkError> {
        self.dump_raw(query, command, |header, payload| {
            Ok(read(decode(header, payload)?))
        })
    }

    /// Dumps until the kernel says that nothing changed meanwhile
    /// (`NLM_F_DUMP_INTR`).
    pub(super) fn dump_raw<T>(
        &mut self,
        query: &RouteNetlinkMessage,
        command: &str,
        mut read: impl FnMut(&NetlinkHeader, &[u8]) -> Result<Option<T>, NetlinkError>,
    ) -> Result<Vec<T>, NetlinkError> {
        for _ in 0..DUMP_ATTEMPTS {
            let mut found = Vec::new();
            let consistent = self.dump_once(query, command, |header, payload| {
                found.extend(read(header, payload)?);
                Ok(())
            })?;
            if consistent {
                return Ok(found);
            }
        }
        let request = command.to_owned();
        let detail = Some("it keeps changing while it is read".to_owned());
        Err(NetlinkError::Refused {
            request,
            errno: Errno::EAGAIN,
            detail,
        })
    }

    fn dump_once(
        &mut self,
        query: &RouteNetlinkMessage,
        command: &str,
        mut found: impl FnMut(&NetlinkHeader, &[u8]) -> Result<(), NetlinkError>,
    ) -> Result<bool, NetlinkError> {
        let mut bytes = Vec::with_capacity(64);
        self.append(&mut bytes, query.clone(), NLM_F_REQUEST | NLM_F_DUMP);
        self.send(&bytes)?;
        let mut consistent = true;
        loop {
            let length = self.receive()?;
            for message in messages(&self.buffer[..length]) {
                let (header, payload) = message?;
                if header.sequence_number != self.sequence {
                    continue;
                }
                consistent &= header.flags & NLM_F_DUMP_INTR == 0;
                match header.message_type {
                    NLMSG_DONE => return Ok(consistent),
                    NLMSG_ERROR => {
                        if let Some((errno, detail)) = refusal(&header, payload) {
                            let request = command.to_owned();
                            return Err(NetlinkError::Refused {
                                request,
                                errno,
                                detail,
                            });
                        }
                    }
                    _ => found(&header, payload)?,
                }
            }
        }
    }
}

fn decode(header: &NetlinkHeader, payload: &[u8]) -> Result<RouteNetlinkMessage, NetlinkError> {
    RouteNetlinkMessage::deserialize(header, payload)
        .map_err(|error| NetlinkError::Decode(error.to_string()))
}

/// Counters make up most of a link's answer, and nobody here reads them.
fn link_query() -> LinkMessage {
    let mut query = LinkMessage::default();
    query
        .attributes
        .push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
    query
}

fn read_link(message: LinkMessage) -> Link {
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        kind: String::new(),
        mac: None,
        mtu: 0,
        up: message.header.flags.contains(LinkFlags::Up),
        arp: !message.header.flags.contains(LinkFlags::Noarp),
        tunnel_port: None,
        master: None,
        peer: None,
        peer_netns_id: None,
    };
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name = name,
            LinkAttribute::Address(bytes) => link.mac = bytes.try_into().ok().map(Mac),
            LinkAttribute::Mtu(mtu) => link.mtu = mtu,
            LinkAttribute::Controller(index) => link.master = Some(index),
            LinkAttribute::Link(index) => link.peer = Some(index),
            LinkAttribute::LinkNetNsId(id) => link.peer_netns_id = Some(id),
            LinkAttribute::LinkInfo(infos) => {
                link.kind = infos.iter().find_map(read_kind).unwrap_or_default();
                link.tunnel_port = infos.iter().find_map(read_tunnel_port);
            }
            _ => {}
        }
    }
    link
}

fn read_kind(info: &LinkInfo) -> Option<String> {
    match info {
        LinkInfo::Kind(InfoKind::Other(kind)) => Some(kind.clone()),
        LinkInfo::Kind(kind) => Some(kind.to_string()),
        _ => None,
    }
}

fn read_tunnel_port(info: &LinkInfo) -> Option<u16> {
    let LinkInfo::Data(data) = info else {
        return None;
    };
    match data {
        InfoData::Vxlan(data) if data.contains(&InfoVxlan::CollectMetadata(true)) => {
            data.iter().find_map(|it| match it {
                InfoVxlan::Port(port) => Some(*port),
                _ => None,
            })
        }
        InfoData::Geneve(data) if data.contains(&InfoGeneve::CollectMetadata) => {
            data.iter().find_map(|it| match it {
                InfoGeneve::Port(port) => Some(*port),
                _ => None,
            })
        }
        _ => None,
    }
}

fn read_address(message: &AddressMessage) -> Option<Address> {
    // IFA_ADDRESS is the peer's on point-to-point links, IFA_LOCAL always our own.
    let local = message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            AddressAttribute::Local(IpAddr::V4(address)) => Some(*address),
            _ => None,
        })?;
    Some(Address {
        device: message.header.index,
        address: Ipv4Net::new(local, message.header.prefix_len).ok()?,
        scope: Scope::from_number(message.header.scope.into()),
    })
}

fn read_route(message: &RouteMessage) -> Option<Route> {
    let header = &message.header;
    if header.kind != RouteType::Unicast {
        return None;
    }
    let mut destination = Ipv4Addr::UNSPECIFIED;
    let mut route = Route {
        gateway: None,
        device: None,
        protocol: header.protocol.into(),
        scope: Scope::from_number(header.scope.into()),
        priority: 0,
        source: None,
        onlink: header.flags.contains(RouteFlags::Onlink),
        table: header.table,
        ..Route::via(Ipv4Net::default(), destination)
    };
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(address)) => destination = *address,
            RouteAttribute::Gateway(RouteAddress::Inet(address)) => route.gateway = Some(*address),
            RouteAttribute::PrefSource(RouteAddress::Inet(address)) => {
                route.source = Some(*address);
            }
            RouteAttribute::Oif(index) => route.device = Some(*index),
            RouteAttribute::Priority(priority) => route.priority = *priority,
            RouteAttribute::Metrics(metrics) => {
                route.mtu = metrics.iter().find_map(|metric| match metric {
                    RouteMetric::Mtu(mtu) => Some(*mtu),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    route.destination = Ipv4Net::new(destination, header.destination_prefix_length).ok()?;
    Some(route)
}

fn read_neighbour(message: &NeighbourMessage) -> Option<Neighbour> {
    // Multicast addresses, whose Ethernet address follows from them.
    if message.header.state == NeighbourState::Noarp {
        return None;
    }
    let (mut found, mut mac) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(ip)) => found = Some(*ip),
            NeighbourAttribute::LinkLayerAddress(bytes) => {
                mac = bytes.as_slice().try_into().ok().map(Mac);
            }
            _ => {}
        }
    }
    Some(Neighbour {
        device: message.header.ifindex,
        address: found?,
        mac: mac?,
        permanent: message.header.state == NeighbourState::Permanent,
    })
}
