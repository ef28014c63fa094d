//! Masquerading at the egress of a managed device, from decision to packet.

use super::decision::{self, Decision, Target};

use super::icmp_error;
use super::mapping::PortRange;
use super::rewrite::{Side, rewrite};
use crate::conntrack::{self, Tracked};
use crate::drop_reason::DropReason;
use crate::ipv4::{Fragment, Ipv4};
use crate::kernel::Kernel;
use crate::settings::{Device, Settings};
use crate::transport::{Kind, Transport};
use crate::tuple::{Direction, protocol};

/// Masquerades the packet, or leaves it, as the settings and maps say; always when `is_service`:
/// it came from outside and goes to a service's backend on another node, which would not answer
/// this way otherwise. Returns what conntrack says of a packet of the host itself.
///
/// # Errors
/// Why it must be dropped.
#[inline(always)]
pub fn masquerade<K: Kernel>(
    k: &mut K,
    settings: &Settings,
    device: &Device,
    ip: &mut Ipv4,
    is_service: bool,
) -> Result<Tracked, DropReason> {
    let mut target = Target {
        address: device.address,
        from_endpoint: true,
    };
    let mut flags = 0;
    if !is_service {
        let Ok(source) = decision::source(k, settings, device, ip) else {
            return Ok(Tracked::UNKNOWN);
        };
        (target, flags) = source;
    }
    let transport = Transport::read(k, ip, settings)?;
    if target.from_endpoint {
        let tuple = transport.tuple(ip);
        if !is_service {
            let decided = decision::endpoint(k, settings, target, flags, ip, tuple.as_ref());
            if matches!(decided, Decision::Leave(_)) {
                return Ok(Tracked::UNKNOWN);
            }
        }
        translate(k, settings, ip, &transport, target)
    } else if is_reservable(settings, ip, &transport) {
        translate(k, settings, ip, &transport, target)
    } else {
        Ok(Tracked::UNKNOWN)
    }
}

/// Whether a packet of the host itself needs its port reserved. Ports below
/// the range cannot collide (`snat_v4_nat_can_skip`). An ICMP fragment carries
/// the right address already, and no pod's mapping can be a fragment's, so
/// there is nothing to reserve (cilium/cilium#22624: the host's large pings
/// were dropped).
#[inline(always)]
fn is_reservable(settings: &Settings, ip: &Ipv4, transport: &Transport) -> bool {
    match transport.kind {
        Kind::Ports => transport.ports.source.number() >= settings.port_min,
        _ => !(ip.protocol == protocol::ICMP && ip.fragment != Fragment::Whole),
    }
}

#[inline(always)]
fn translate<K: Kernel>(
    k: &mut K,
    settings: &Settings,
    ip: &mut Ipv4,
    transport: &Transport,
    target: Target,
) -> Result<Tracked, DropReason> {
    if ip.protocol == protocol::ICMP && ip.fragment != Fragment::Whole {
        return Err(DropReason::InvalidPacket);
    }
    let range = match transport.kind {
        Kind::Ports => PortRange {
            min: settings.port_min,
            max: settings.port_max,
        },
        Kind::EchoRequest => PortRange::ICMP,
        Kind::IcmpError => {
            icmp_error::translate(k, ip, Side::Source)?;
            return Ok(Tracked::RELATED);
        }
        Kind::IcmpUnknownCode => return Err(DropReason::UnknownIcmpCode),
        Kind::IcmpOther => return Err(DropReason::NatUnsupportedProtocol),
        Kind::EchoReply | Kind::IcmpRedirect | Kind::IcmpUnknownFragment | Kind::Other => {
            return Ok(Tracked::UNKNOWN);
        }
    };
    let Some(tuple) = transport.tuple(ip) else {
        return Ok(Tracked::UNKNOWN);
    };
    let forward = tuple.with_direction(Direction::Out);
    let mut tracked = Tracked::UNKNOWN;
    if !target.from_endpoint {
        tracked = conntrack::from_host(k, &forward, transport.tcp_flags)?;
    }
    let entry = k.mapping(&forward, target, range)?;
    rewrite(
        k,
        ip,
        transport,
        Side::Source,
        forward.source_port,
        entry.address,
        entry.port,
    )?;
    Ok(tracked)
}
