//! Writes a translation into a packet: address, port, checksums.

use crate::address::{Address, Port};
use crate::checksum::Difference;
use crate::drop_reason::DropReason;
use crate::ipv4::Ipv4;
use crate::kernel::{Packet, csum};
use crate::transport::Transport;
use crate::tuple::protocol;

/// Which side of the packet is rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Source: a packet going out.
    Source,
    /// Destination: a reply coming in.
    Destination,
}

impl Side {
    #[inline(always)]
    pub(super) const fn address(self, ip: &Ipv4) -> Address {
        match self {
            Self::Source => ip.source,
            Self::Destination => ip.destination,
        }
    }

    /// The other side: where an ICMP error's receiver stands in the packet quoted.
    #[inline(always)]
    pub(super) const fn mirrored(self) -> Self {
        match self {
            Self::Source => Self::Destination,
            Self::Destination => Self::Source,
        }
    }

    /// Writes the address on this side.
    #[inline(always)]
    pub(super) fn rewrite_address<P: Packet>(
        self,
        packet: &mut P,
        ip: &mut Ipv4,
        address: Address,
    ) -> Result<Difference, DropReason> {
        match self {
            Self::Source => ip.rewrite_addresses(packet, address, ip.destination),
            Self::Destination => ip.rewrite_addresses(packet, ip.source, address),
        }
    }

    /// Where the port of this side is in the transport header.
    #[inline(always)]
    pub(super) const fn port_offset(self, protocol: u8) -> u32 {
        match (self, protocol) {
            (_, protocol::ICMP) => ICMP_ID,
            (Self::Source, _) => 0,
            (Self::Destination, _) => 2,
        }
    }
}

/// Offset of the checksum in a TCP header.
pub(super) const TCP_CHECKSUM: u32 = 16;
/// Offset of the checksum in a UDP header.
pub(super) const UDP_CHECKSUM: u32 = 6;
/// Offset of the checksum in an ICMP header.
pub(super) const ICMP_CHECKSUM: u32 = 2;
/// Offset of the identifier in an ICMP echo.
pub(super) const ICMP_ID: u32 = 4;

/// Writes `address` and `port` on one side of a packet of a flow.
///
/// # Errors
/// The first step that failed. The packet may be half-rewritten then, and must
/// be dropped.
#[inline(always)]
pub fn rewrite<P: Packet>(
    packet: &mut P,
    ip: &mut Ipv4,
    transport: &Transport,
    side: Side,
    old_port: Port,
    address: Address,
    port: Port,
) -> Result<(), DropReason> {
    let old_address = side.address(ip);
    if old_address == address && old_port == port {
        return Ok(());
    }
    if ip.protocol == protocol::SCTP && old_port != port {
        // SCTP's CRC32c cannot be corrected incrementally by any helper.
        return Err(DropReason::ChecksumL4);
    }
    side.rewrite_address(packet, ip, address)?;
    if !transport.has_header {
        return Ok(());
    }
    let l4 = ip.l4_offset();
    if old_port != port {
        packet
            .store(l4 + side.port_offset(ip.protocol), &port.bytes())
            .map_err(|_| DropReason::WriteError)?;
    }
    // The address first: it also counts while the device finishes the checksum.
    let (offset, flags) = match ip.protocol {
        protocol::TCP => (TCP_CHECKSUM, 0),
        protocol::UDP => (UDP_CHECKSUM, csum::MARK_MANGLED_0),
        protocol::ICMP => return correct_icmp(packet, l4, old_port, port),
        _ => return Ok(()),
    };
    let address_flags = flags | csum::PSEUDO_HDR | csum::SIZE_4;
    packet
        .l4_csum_replace(
            l4 + offset,
            old_address.to_be(),
            address.to_be(),
            address_flags,
        )
        .map_err(|_| DropReason::ChecksumL4)?;
    if old_port == port {
        return Ok(());
    }
    packet
        .l4_csum_replace(
            l4 + offset,
            u32::from(old_port.to_be()),
            u32::from(port.to_be()),
            flags | csum::SIZE_2,
        )
        .map_err(|_| DropReason::ChecksumL4)
}

/// ICMP has no pseudo-header: only the identifier counts.
#[inline(always)]
fn correct_icmp<P: Packet>(
    packet: &mut P,
    l4: u32,
    old: Port,
    new: Port,
) -> Result<(), DropReason> {
    if old == new {
        return Ok(());
    }
    correct(
        packet,
        l4 + ICMP_CHECKSUM,
        Difference::of_word(old.to_be(), new.to_be()),
    )?;
    Ok(())
}

/// Corrects the checksum at `offset` in the packet itself, and returns what that
/// changed. For checksums that no device ever finishes: ICMP's, and those in
/// quoted packets.
///
/// # Errors
/// [`DropReason::ChecksumL4`].
#[inline(always)]
pub(super) fn correct<P: Packet>(
    packet: &mut P,
    offset: u32,
    change: Difference,
) -> Result<Difference, DropReason> {
    let old = packet.load::<2>(offset).ok_or(DropReason::ChecksumL4)?;
    let old = u16::from_ne_bytes(old);
    let new = change.apply(old);
    packet
        .store(offset, &new.to_ne_bytes())
        .map_err(|_| DropReason::ChecksumL4)?;
    Ok(Difference::of_word(old, new))
}
