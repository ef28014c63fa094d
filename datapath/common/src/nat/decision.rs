//! Whether a packet that leaves a managed device is masqueraded. The order is
//! Cilium's (`nodeport_has_nat_conflict_ipv4`, `__snat_v4_needs_masquerade`).

use crate::address::Address;
use crate::conntrack;
use crate::endpoint::{self, identity};
use crate::ipv4::Ipv4;
use crate::kernel::Maps;
use crate::settings::{self, Device, Settings};
use crate::tuple::Tuple;

/// Why a packet keeps its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exemption {
    /// Masquerading is off, or the device has no address to give.
    Disabled,
    /// The source is neither a local endpoint nor this device's address.
    NotLocal,
    /// It answers a flow that was opened towards the endpoint.
    Reply,
    /// The destination is in the exclusion CIDR.
    Excluded,
    /// The endpoint is the host's, or exempt by flag.
    NoSnat,
    /// The destination is in the ip-masq-agent's list.
    NonMasqueradeCidr,
    /// The destination is another node, reached without a tunnel.
    RemoteNode,
}

/// What becomes the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Address of the device.
    pub address: Address,
    /// Whether the source is a pod. Otherwise it is the host: its port is
    /// reserved, and NAT keeps the conntrack entry.
    pub from_endpoint: bool,
}

/// The decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Leave the packet as it is.
    Leave(Exemption),
    /// Translate its source.
    Masquerade(Target),
}

/// Whose packet it is: the part of the decision that needs no ports, so that
/// packets which are nobody's business are not even parsed.
///
/// # Errors
/// The exemption that settles it.
#[inline(always)]
pub fn source<M: Maps>(
    maps: &M,
    settings: &Settings,
    device: &Device,
    ip: &Ipv4,
) -> Result<(Target, u32), Exemption> {
    if !settings.has(settings::flag::MASQUERADE) || device.address.is_unspecified() {
        return Err(Exemption::Disabled);
    }
    if ip.source == device.address {
        return Ok((
            Target {
                address: device.address,
                from_endpoint: false,
            },
            0,
        ));
    }
    match maps.endpoint(ip.source) {
        Some(endpoint) => Ok((
            Target {
                address: device.address,
                from_endpoint: true,
            },
            endpoint.flags,
        )),
        None => Err(Exemption::NotLocal),
    }
}

/// The rest of the decision, for an endpoint's packet: rules 2 to 8. `tuple`
/// is `None` for what conntrack does not know, which is tolerated.
#[inline(always)]
pub fn endpoint<M: Maps>(
    maps: &M,
    settings: &Settings,
    target: Target,
    endpoint_flags: u32,
    ip: &Ipv4,
    tuple: Option<&Tuple>,
) -> Decision {
    if let Some(tuple) = tuple
        && conntrack::is_reply(maps, tuple)
    {
        return Decision::Leave(Exemption::Reply);
    }
    if settings.has(settings::flag::EXCLUSION)
        && ip.destination.to_be() & settings.exclusion_mask.to_be() == settings.exclusion.to_be()
    {
        return Decision::Leave(Exemption::Excluded);
    }
    if endpoint_flags & (endpoint::flag::HOST | endpoint::flag::NO_SNAT) != 0 {
        return Decision::Leave(Exemption::NoSnat);
    }
    if settings.has(settings::flag::IP_MASQ_AGENT) && maps.is_non_masquerade(ip.destination) {
        return Decision::Leave(Exemption::NonMasqueradeCidr);
    }
    if !settings.has(settings::flag::REMOTE_NODE_MASQUERADE)
        && !settings.has(settings::flag::TUNNEL)
        && maps.identity(ip.destination) == Some(identity::REMOTE_NODE)
    {
        return Decision::Leave(Exemption::RemoteNode);
    }
    Decision::Masquerade(target)
}
