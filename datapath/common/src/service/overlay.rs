//! Services per packet under a tunnel. What came from outside for a backend of another node
//! leaves with this node's address among the pods' (`cilium_host`'s, Cilium's
//! `IPV4_GATEWAY`): the other node knows that this one is behind the tunnel there, and so the
//! answer comes back through it. Its identity in the tunnel is the client's: world.

use super::packet::Leaving;
use crate::drop_reason::DropReason;
use crate::hooks::Action;
use crate::ipv4::{Fragment, Ipv4};
use crate::kernel::Kernel;
use crate::nat::egress::masquerade;
use crate::trace::{self, Point};

/// A packet goes into the tunnel that no pod of this node sent. If it is a client's, it gets
/// this node's address; the node's own reserves its port, as [`hooks`](crate::hooks) does at
/// a managed device.
///
/// # Errors
/// Why it must be dropped.
#[inline(always)]
pub fn into_tunnel<K: Kernel>(k: &mut K) -> Result<Action, DropReason> {
    let Some(mut ip) = Ipv4::of_frame(k) else {
        return Ok(Action::Continue);
    };
    let Some(device) = k.device(k.ifindex()) else {
        return Ok(Action::Continue);
    };
    let mut is_service = false;
    if ip.source != device.address {
        is_service = match k.leaving()? {
            Leaving::ForOtherNode => true,
            // It may be a client's, and about such a flow.
            Leaving::Error => ip.fragment == Fragment::Whole && k.endpoint(ip.source).is_none(),
            Leaving::Undone | Leaving::NoService => false,
        };
    }
    let settings = k.settings();
    let ends = (ip.source, ip.destination);
    let host = masquerade(k, &settings, &device, &mut ip, is_service)?;
    let tracked = trace::carried(k).unwrap_or(host);
    trace::passes(k, &settings, Point::ToOverlay, ends, tracked, k.ifindex());
    Ok(Action::Continue)
}
