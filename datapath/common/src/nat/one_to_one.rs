//! Stateless 1:1 NAT: one address stands for another, ports untouched. The
//! outside uses it to tell apart nodes that all have the same address there.

use super::NatEntry;
use super::icmp_error::{read_quoted_address, rewrite_quoted};
use super::rewrite::{ICMP_CHECKSUM, Side, correct, rewrite};
use crate::address::{Address, Port};
use crate::drop_reason::DropReason;
use crate::ipv4::{Fragment, Ipv4};
use crate::kernel::Packet;
use crate::transport::{Kind, Transport, icmp};
use crate::tuple::protocol;

/// Writes `new` where the packet has `old` on this side; in the packet that an
/// ICMP error quotes, on the other side. Any other packet stays as it is.
///
/// # Errors
/// What failed; the packet may be half-rewritten and must be dropped.
#[inline(always)]
pub fn replace<P: Packet>(
    packet: &mut P,
    side: Side,
    old: Address,
    new: Address,
) -> Result<(), DropReason> {
    let Some(mut ip) = Ipv4::of_frame(packet) else {
        return Ok(());
    };
    if side.address(&ip) != old {
        return Ok(());
    }
    if is_icmp_error(packet, &ip) {
        replace_quoted(packet, &ip, side, old, new)?;
    }
    let transport = Transport {
        has_header: ip.fragment != Fragment::Later,
        ..Transport::without_ports(Kind::Other)
    };
    rewrite(
        packet,
        &mut ip,
        &transport,
        side,
        Port::NONE,
        new,
        Port::NONE,
    )
}

#[inline(always)]
fn is_icmp_error<P: Packet>(packet: &P, ip: &Ipv4) -> bool {
    ip.protocol == protocol::ICMP
        && ip.fragment == Fragment::Whole
        && matches!(
            packet.load::<1>(ip.l4_offset()),
            Some([icmp::DEST_UNREACH | icmp::TIME_EXCEEDED])
        )
}

#[inline(always)]
fn replace_quoted<P: Packet>(
    packet: &mut P,
    ip: &Ipv4,
    side: Side,
    old: Address,
    new: Address,
) -> Result<(), DropReason> {
    let Some((quoted, address)) = read_quoted_address(packet, ip, side) else {
        return Ok(());
    };
    if address != old {
        return Ok(());
    }
    let entry = NatEntry {
        address: new,
        port: Port::NONE,
        ..NatEntry::default()
    };
    let change = rewrite_quoted(packet, ip, quoted, Port::NONE, &entry, side)?;
    correct(packet, ip.l4_offset() + ICMP_CHECKSUM, change)?;
    Ok(())
}
