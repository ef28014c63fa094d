//! Interfaces, addresses, routes and settings of a node and of its pods.
//!
//! [`repairs`] is pure: what is there, and what should be, to requests with their
//! reasons. Carrying them out mends; listing their reasons is the drift.

mod mtu;
mod overlay;
mod peers;
mod repairs;

use lab_model::node_state::NodeState;

use self::repairs::{Repair, node_repairs, pod_repairs};
use super::pods::Pods;
use super::{AgentError, NodeView};
use crate::iptables;
use crate::netlink::{Netlink, NetlinkError, Request};
use crate::sysctl;

pub(crate) use mtu::Mtu;
pub(super) use overlay::prepare as prepare_tunnel;
pub(crate) use overlay::tunnel_device;

/// The pods' gateway, on the node.
pub(crate) const HOST: &str = "cilium_host";
/// The other end of [`HOST`].
pub(crate) const NET: &str = "cilium_net";
/// A pod's interface.
pub(super) const POD_DEVICE: &str = "eth0";
/// Interfaces come in the first round, what needs their indexes in the second,
/// and the third finds nothing to do.
const ROUNDS: usize = 4;

/// Makes the node and its pods match, and returns the node as it is then.
pub(super) fn reconcile(
    netlink: &mut Netlink,
    state: &NodeState,
    pods: &mut Pods,
) -> Result<NodeView, AgentError> {
    for pod in &state.pods {
        // An interface that leads nowhere, or into a namespace that is no longer
        // the pod's, makes way for one that leads into the pod.
        if let Some(inside) = pods.netlink(pod)
            && inside.link(POD_DEVICE)?.is_none()
        {
            delete_link(netlink, &pod.interface)?;
        }
    }
    let view = settle(netlink, |view| {
        node_repairs(state, view, |pod| pods.netns(pod))
    })?;
    peers::warn_of_unreachable(state, &view);
    for (name, value) in settings(state, &view) {
        sysctl::set(&name, value)?;
    }
    let mtu = Mtu::of(state, &view);
    for pod in &state.pods {
        if let Some(inside) = pods.netlink(pod) {
            settle(inside, |view| pod_repairs(pod, state, mtu, view))?;
        }
    }
    Ok(view)
}

/// Removes an interface; one that is gone, or goes with its namespace at this
/// moment, is no fault.
pub(super) fn delete_link(netlink: &mut Netlink, name: &str) -> Result<(), NetlinkError> {
    match netlink.execute(&Request::DeleteLink {
        name: name.to_owned(),
    }) {
        Err(error) if !error.is_missing() => Err(error),
        _ => Ok(()),
    }
}

/// The node as it is, and what differs.
pub(super) fn differences(
    netlink: &mut Netlink,
    state: &NodeState,
    pods: &mut Pods,
) -> Result<(NodeView, Vec<String>), AgentError> {
    let view = NodeView::read(netlink)?;
    let repairs = node_repairs(state, &view, |pod| pods.netns(pod));
    let mut reasons: Vec<_> = repairs.into_iter().map(|repair| repair.why).collect();
    for (name, value) in settings(state, &view) {
        if sysctl::get(&name).is_ok_and(|present| present != value) {
            reasons.push(format!("{name} is not {value}"));
        }
    }
    let mtu = Mtu::of(state, &view);
    for pod in &state.pods {
        // A pod without its interface is told of once, by the node's side.
        if view.link(&pod.interface).is_none() {
            continue;
        }
        if let Some(inside) = pods.netlink(pod) {
            let view = NodeView::read(inside)?;
            reasons.extend(
                pod_repairs(pod, state, mtu, &view)
                    .into_iter()
                    .map(|repair| repair.why),
            );
        }
    }
    Ok((view, reasons))
}

/// Mends until there is nothing left to mend.
fn settle<'fd>(
    netlink: &mut Netlink,
    repairs: impl Fn(&NodeView) -> Vec<Repair<'fd>>,
) -> Result<NodeView, AgentError> {
    let mut difference = String::new();
    for _ in 0..ROUNDS {
        let view = NodeView::read(netlink)?;
        let repairs = repairs(&view);
        let Some(first) = repairs.first() else {
            return Ok(view);
        };
        difference.clone_from(&first.why);
        let requests: Vec<_> = repairs
            .into_iter()
            .flat_map(|repair| repair.requests)
            .collect();
        for (request, outcome) in requests.iter().zip(netlink.execute_each(&requests)?) {
            match outcome {
                // It went by itself, with its namespace or its interface.
                Err(error) if request.is_removal() && error.is_missing() => {}
                outcome => outcome?,
            }
        }
    }
    Err(AgentError::Unsettled {
        rounds: ROUNDS,
        difference,
    })
}

/// What a node forwards needs: packets of pods come in on one interface and
/// their answers on another, which strict reverse path filtering would drop.
fn settings(state: &NodeState, view: &NodeView) -> Vec<(String, &'static str)> {
    let filter = |name: &str| format!("net.ipv4.conf.{}.rp_filter", name.replace('.', "/"));
    let mut settings = vec![
        ("net.ipv4.ip_forward".to_owned(), "1"),
        (filter("all"), "0"),
        (filter("default"), "0"),
    ];
    settings.extend(view.links.iter().map(|link| (filter(&link.name), "0")));
    let for_iptables = iptables::sysctls(&state.datapath);
    settings.extend(
        for_iptables
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value)),
    );
    settings
}
