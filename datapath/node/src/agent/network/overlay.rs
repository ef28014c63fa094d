//! The tunnel's device: `cilium_vxlan` or `cilium_geneve`, whose packets carry their own
//! far end and network.

use lab_model::node_state::{NodeState, Routing, TunnelProtocol};
use nix::errno::Errno;

use super::super::{AgentError, NodeView};
use super::mtu::{self, Mtu};
use super::repairs::{Repair, set_up};
use crate::netlink::{Link, LinkEnd, LinkKind, Netlink, Request};

const VXLAN: &str = "cilium_vxlan";
const GENEVE: &str = "cilium_geneve";

/// Name of the tunnel's device; none without a tunnel.
pub(crate) fn tunnel_device(routing: &Routing) -> Option<&'static str> {
    match routing {
        Routing::Native { .. } => None,
        Routing::Tunnel { protocol, .. } => Some(match protocol {
            TunnelProtocol::Vxlan => VXLAN,
            TunnelProtocol::Geneve => GENEVE,
        }),
    }
}

fn wanted(routing: &Routing) -> Option<(&'static str, LinkKind, u16)> {
    let name = tunnel_device(routing)?;
    match *routing {
        Routing::Native { .. } => None,
        Routing::Tunnel {
            protocol: TunnelProtocol::Vxlan,
            port,
        } => Some((name, LinkKind::Vxlan { port }, port)),
        Routing::Tunnel {
            protocol: TunnelProtocol::Geneve,
            port,
        } => Some((name, LinkKind::Geneve { port }, port)),
    }
}

/// Makes the tunnel's device if it is not there, before anything else is changed: only so
/// does a kernel say whether it can.
pub(in super::super) fn prepare(
    netlink: &mut Netlink,
    state: &NodeState,
) -> Result<(), AgentError> {
    let Some((name, kind, _)) = wanted(&state.datapath.routing) else {
        return Ok(());
    };
    if netlink.link(name)?.is_some() {
        return Ok(());
    }
    match netlink.execute(&add(name, kind, None)) {
        // rtnetlink.c, `rtnl_newlink`: "Unknown device type".
        Err(error) if error.errno() == Some(Errno::EOPNOTSUPP) => {
            Err(AgentError::TunnelUnsupported {
                device: name,
                kind: kind.as_str(),
                module: match kind {
                    LinkKind::Geneve { .. } => "CONFIG_GENEVE",
                    _ => "CONFIG_VXLAN",
                },
            })
        }
        made => Ok(made?),
    }
}

/// The one device that the mode needs, and no other's.
pub(super) fn repairs<'fd>(routing: &Routing, mtu: Mtu, view: &NodeView) -> Vec<Repair<'fd>> {
    let wanted = wanted(routing);
    let mut repairs = Vec::new();
    for name in [VXLAN, GENEVE] {
        let present = view.link(name);
        let wanted = wanted.filter(|(wanted, ..)| *wanted == name);
        match (present, wanted) {
            (None, None) => {}
            (Some(_), None) => {
                repairs.push(Repair::new(format!("{name} leads nowhere"), [delete(name)]))
            }
            (None, Some((_, kind, _))) => repairs.push(Repair::new(
                format!("{name} is gone"),
                [add(name, kind, Some(mtu))],
            )),
            (Some(link), Some((_, kind, port))) => {
                repairs.extend(repair_device(link, kind, port, mtu));
            }
        }
    }
    repairs
}

fn repair_device<'fd>(link: &Link, kind: LinkKind, port: u16, mtu: Mtu) -> Vec<Repair<'fd>> {
    let name = &link.name;
    if link.kind != kind.as_str() || link.tunnel_port != Some(port) {
        let why = format!("{name} is no {} tunnel on port {port}", kind.as_str());
        return vec![Repair::new(why, [delete(name), add(name, kind, Some(mtu))])];
    }
    let mut repairs = Vec::new();
    if !link.up {
        repairs.push(Repair::new(format!("{name} is down"), [set_up(name)]));
    }
    repairs.extend(mtu::repair(link, mtu.device, None));
    repairs
}

fn add<'fd>(name: &str, kind: LinkKind, mtu: Option<Mtu>) -> Request<'fd> {
    let mut end = LinkEnd::named(name);
    end.mtu = mtu.map(|mtu| mtu.device);
    Request::AddLink { kind, end }
}

fn delete<'fd>(name: &str) -> Request<'fd> {
    Request::DeleteLink {
        name: name.to_owned(),
    }
}
