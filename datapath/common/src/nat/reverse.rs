//! Undoing the translation of what comes in for a masqueraded flow.

use super::NatEntry;
use super::icmp_error;
use super::rewrite::{Side, rewrite};
use crate::drop_reason::DropReason;
use crate::ipv4::{Fragment, Ipv4};
use crate::kernel::Kernel;
use crate::transport::{Kind, Transport};
use crate::tuple::{Direction, Tuple, protocol};

/// What became of the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It belongs to no masqueraded flow.
    NotOurs,
    /// An ICMP error; translated if its flow is known.
    Error,
    /// A reply, which now carries the original destination, and this tuple.
    Reply {
        /// Remote to original source.
        tuple: Tuple,
        /// TCP flags byte.
        tcp_flags: u8,
    },
}

/// Gives a reply, or an ICMP error, back its original destination. A packet
/// without a mapping is the host's own: untouched.
///
/// # Errors
/// Why it must be dropped.
#[inline(always)]
pub fn unmasquerade<K: Kernel>(
    k: &mut K,
    ip: &mut Ipv4,
    transport: &Transport,
) -> Result<Outcome, DropReason> {
    match transport.kind {
        Kind::Ports | Kind::EchoReply => {}
        Kind::IcmpError => {
            icmp_error::translate(k, ip, Side::Destination)?;
            return Ok(Outcome::Error);
        }
        _ => return Ok(Outcome::NotOurs),
    }
    let Some(tuple) = transport.tuple(ip) else {
        return Ok(Outcome::NotOurs);
    };
    let key = tuple.with_direction(Direction::In);
    let Some(entry) = k.nat(&key) else {
        return Ok(Outcome::NotOurs);
    };
    if ip.protocol == protocol::ICMP
        && ip.fragment != Fragment::Whole
        && (entry.address != key.destination || entry.port != key.destination_port)
    {
        return Err(DropReason::InvalidPacket);
    }
    restore_forward(k, &key, &entry);
    let old_port = key.destination_port;
    rewrite(
        k,
        ip,
        transport,
        Side::Destination,
        old_port,
        entry.address,
        entry.port,
    )?;
    let tuple = Tuple {
        destination: entry.address,
        destination_port: entry.port,
        ..tuple
    };
    Ok(Outcome::Reply {
        tuple,
        tcp_flags: transport.tcp_flags,
    })
}

/// Puts back a forward entry that LRU eviction took, so that the flow keeps
/// its port.
#[inline(always)]
fn restore_forward<K: Kernel>(k: &K, reply: &Tuple, entry: &NatEntry) {
    let forward = Tuple {
        source: entry.address,
        destination: reply.source,
        source_port: entry.port,
        destination_port: reply.source_port,
        protocol: reply.protocol,
        direction: Direction::Out as u8,
        padding: [0; 2],
    };
    if k.nat(&forward).is_some() {
        return;
    }
    let entry = NatEntry {
        address: reply.destination,
        port: reply.destination_port,
        ..*entry
    };
    // Lost either to a full map or to another CPU that was faster: the next
    // packet out allocates or finds.
    let _ = k.nat_create(&forward, &entry);
}
