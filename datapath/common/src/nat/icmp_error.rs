//! ICMP errors about translated flows. The error quotes the packet that caused
//! it, so the quoted header is translated too, or its receiver would not know
//! which of its flows is meant (RFC 5508, section 4).

use super::NatEntry;
use super::rewrite::{ICMP_CHECKSUM, Side, TCP_CHECKSUM, UDP_CHECKSUM, correct};
use crate::address::{Address, Port};
use crate::checksum::Difference;
use crate::conntrack;
use crate::drop_reason::DropReason;
use crate::fragment::Ports;
use crate::ipv4::{Fragment, Ipv4};
use crate::kernel::{Kernel, Packet};
use crate::service::packet;
use crate::transport::icmp;
use crate::tuple::{Direction, Tuple, protocol};

/// Bytes of an ICMP error before the packet it quotes.
const ICMP_HEADER: u32 = 8;

/// The quoted packet.
struct Quoted {
    ip: Ipv4,
    ports: Ports,
}

/// Translates the error that an endpoint sends (`Side::Source`) or that comes
/// in for one (`Side::Destination`), quoted packet included. An error about a
/// flow that has no mapping stays as it is.
///
/// # Errors
/// Whatever failed once writing began; the packet must be dropped.
#[inline(always)]
pub fn translate<K: Kernel>(k: &mut K, ip: &mut Ipv4, side: Side) -> Result<(), DropReason> {
    let Some(quoted) = read_quoted(k, ip, side) else {
        return Ok(());
    };
    let Some(entry) = mapping(k, &quoted, side) else {
        return Ok(());
    };
    let port = match side {
        Side::Source => quoted.ports.destination,
        Side::Destination => quoted.ports.source,
    };
    let change = rewrite_quoted(k, ip, quoted.ip, port, &entry, side)?;
    correct(k, ip.l4_offset() + ICMP_CHECKSUM, change)?;
    side.rewrite_address(k, ip, entry.address)?;
    Ok(())
}

/// Gives the packet that an error quotes, which was sent to a backend, the service's
/// address back. The error itself is the service's if it is the backend's. Whether it
/// was about such a flow, of that direction.
///
/// # Errors
/// Whatever failed once writing began; the packet must be dropped.
#[inline(always)]
pub fn undo_service<K: Kernel>(
    k: &mut K,
    ip: &mut Ipv4,
    direction: Direction,
) -> Result<bool, DropReason> {
    let side = Side::Source;
    let Some(quoted) = read_quoted(k, ip, side) else {
        return Ok(false);
    };
    let flow = Tuple {
        source: quoted.ip.source,
        destination: quoted.ip.destination,
        source_port: quoted.ports.source,
        destination_port: quoted.ports.destination,
        protocol: quoted.ip.protocol,
        direction: direction as u8,
        padding: [0; 2],
    };
    let Some((address, port)) = packet::frontend_of(k, &flow) else {
        return Ok(false);
    };
    let entry = NatEntry {
        address,
        port,
        ..NatEntry::default()
    };
    let is_backends = ip.source == quoted.ip.destination;
    let old_port = quoted.ports.destination;
    let change = rewrite_quoted(k, ip, quoted.ip, old_port, &entry, side)?;
    correct(k, ip.l4_offset() + ICMP_CHECKSUM, change)?;
    if is_backends {
        side.rewrite_address(k, ip, address)?;
    }
    Ok(true)
}

/// Reads the quoted packet; `None` for one that belongs to no flow.
#[inline(always)]
fn read_quoted<P: Packet>(packet: &P, ip: &Ipv4, side: Side) -> Option<Quoted> {
    let (quoted, _) = read_quoted_address(packet, ip, side)?;
    let header = packet.load::<8>(quoted.l4_offset())?;
    let first = Port::from_bytes([header[0], header[1]]);
    let second = Port::from_bytes([header[2], header[3]]);
    let id = Port::from_bytes([header[4], header[5]]);
    let ports = match quoted.protocol {
        protocol::TCP | protocol::UDP | protocol::SCTP => Ports {
            source: first,
            destination: second,
        },
        protocol::ICMP => match (side, header[0]) {
            (Side::Destination, icmp::ECHO_REQUEST) => Ports {
                source: id,
                destination: Port::NONE,
            },
            (Side::Source, icmp::ECHO_REPLY) => Ports {
                source: Port::NONE,
                destination: id,
            },
            _ => return None,
        },
        _ => return None,
    };
    Some(Quoted { ip: quoted, ports })
}

/// Reads the quoted header, and its address on the side that `side` of the error
/// around it stands for.
#[inline(always)]
pub(super) fn read_quoted_address<P: Packet>(
    packet: &P,
    ip: &Ipv4,
    side: Side,
) -> Option<(Ipv4, Address)> {
    if ip.fragment != Fragment::Whole {
        return None;
    }
    let quoted = Ipv4::quoted_at(packet, ip.l4_offset() + ICMP_HEADER)?;
    if quoted.fragment == Fragment::Later || quoted.l4_offset() + 8 > ip.end() {
        return None;
    }
    Some((quoted, side.mirrored().address(&quoted)))
}

/// The mapping of the flow that the quoted packet, which went the other way
/// round, belongs to.
#[inline(always)]
fn mapping<K: Kernel>(k: &K, quoted: &Quoted, side: Side) -> Option<NatEntry> {
    let reply = Tuple {
        source: quoted.ip.destination,
        destination: quoted.ip.source,
        source_port: quoted.ports.destination,
        destination_port: quoted.ports.source,
        protocol: quoted.ip.protocol,
        direction: match side {
            Side::Source => Direction::Out as u8,
            Side::Destination => Direction::In as u8,
        },
        padding: [0; 2],
    };
    if let Some(entry) = k.nat(&reply) {
        return Some(entry);
    }
    match side {
        Side::Source => None,
        Side::Destination => backend(k, &reply),
    }
}

/// What stands for the service that sent the quoted packet: whoever quotes it knows the
/// service alone.
#[inline(always)]
fn backend<K: Kernel>(k: &K, client_to_service: &Tuple) -> Option<NatEntry> {
    let backend = k.backend(conntrack::backend_of(k, client_to_service)?)?;
    Some(NatEntry {
        address: backend.address,
        port: backend.port,
        ..NatEntry::default()
    })
}

/// Writes the quoted packet's other side: what the endpoint received as its
/// destination, or sent as its source. Returns what changed, for the checksum
/// of the error around it: summed up from every word written, rather than derived
/// from the translation (cilium/cilium#40827).
#[inline(always)]
pub(super) fn rewrite_quoted<P: Packet>(
    packet: &mut P,
    ip: &Ipv4,
    mut quoted: Ipv4,
    port: Port,
    entry: &NatEntry,
    side: Side,
) -> Result<Difference, DropReason> {
    let quoted_side = side.mirrored();
    let address =
        Difference::of_address(quoted_side.address(&quoted).to_be(), entry.address.to_be());
    let mut change = quoted_side.rewrite_address(packet, &mut quoted, entry.address)?;
    let l4 = quoted.l4_offset();
    let port_change = Difference::of_word(port.to_be(), entry.port.to_be());
    if port != entry.port {
        packet
            .store(
                l4 + quoted_side.port_offset(quoted.protocol),
                &entry.port.bytes(),
            )
            .map_err(|_| DropReason::WriteError)?;
        change = change.and(port_change);
    }
    // Routers quote as little as 8 bytes of TCP, without its checksum
    // (RFC 792; cilium/cilium#33844).
    let (offset, covered) = match quoted.protocol {
        protocol::TCP => (TCP_CHECKSUM, address.and(port_change)),
        protocol::UDP => (UDP_CHECKSUM, address.and(port_change)),
        protocol::ICMP => (ICMP_CHECKSUM, port_change),
        _ => return Ok(change),
    };
    if l4 + offset + 2 > ip.end() {
        return Ok(change);
    }
    if quoted.protocol == protocol::UDP && packet.load::<2>(l4 + offset) == Some([0, 0]) {
        return Ok(change);
    }
    change = change.and(correct(packet, l4 + offset, covered)?);
    if quoted.protocol == protocol::UDP && packet.load::<2>(l4 + offset) == Some([0, 0]) {
        // One that comes to zero is written as 0xffff (RFC 768).
        packet
            .store(l4 + offset, &[0xff; 2])
            .map_err(|_| DropReason::ChecksumL4)?;
        change = change.and(Difference::of_word(0, 0xffff));
    }
    Ok(change)
}
