//! ICMP errors about what services translated.

use super::opened;
use crate::conntrack::Tracked;
use crate::drop_reason::DropReason;
use crate::hooks::{Action, Stage, deliver, reaches_pod};
use crate::ipv4::Ipv4;
use crate::kernel::Kernel;
use crate::nat::icmp_error;
use crate::settings::{self, Settings};
use crate::transport::{Kind, Transport};
use crate::tuple::Direction;

/// The packet that an ICMP error quotes, which leaves the node, gets the service's address back;
/// unless it is about no service.
///
/// # Errors
/// Why it must be dropped.
#[inline(always)]
pub fn error_leaving<K: Kernel>(k: &mut K) -> Result<Action, DropReason> {
    let Some(mut ip) = Ipv4::of_frame(k) else {
        return Ok(Action::Continue);
    };
    let (_, opened) = opened(k, ip.source);
    if icmp_error::undo_service(k, &mut ip, opened)? {
        Ok(Action::Continue)
    } else {
        Ok(Action::Call(Stage::Masquerade))
    }
}

/// Whether a packet to a pod of this node is for [`error_to_pod`].
#[inline(always)]
pub(crate) fn may_quote_service(settings: &Settings, transport: &Transport) -> bool {
    settings.has(settings::flag::SERVICES) && matches!(transport.kind, Kind::IcmpError)
}

/// An ICMP error to a pod of this node: if it is about what the pod sent to a service past its
/// sockets, it quotes that, and not what it became. Then on into the pod, where the stack does
/// not take it there already.
///
/// # Errors
/// Why it must be dropped.
#[inline(always)]
pub fn error_to_pod<K: Kernel>(k: &mut K) -> Result<Action, DropReason> {
    let Some(mut ip) = Ipv4::of_frame(k) else {
        return Ok(Action::Continue);
    };
    let Some(endpoint) = k.endpoint(ip.destination) else {
        return Ok(Action::Continue);
    };
    icmp_error::undo_service(k, &mut ip, Direction::Out)?;
    let settings = k.settings();
    reaches_pod(k, &settings, &ip, Tracked::RELATED, endpoint.ifindex);
    if k.ifindex() == endpoint.ifindex {
        return Ok(Action::Continue);
    }
    deliver(k, &mut ip, &endpoint)
}
