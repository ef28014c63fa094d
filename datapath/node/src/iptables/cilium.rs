//! Masquerading as Cilium's agent has iptables do it (`pkg/datapath/iptables`,
//! `installMasqueradeRules`): the same chain, comments and order.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use lab_model::node_state::{Masquerade, NodeState, Routing};

use super::ruleset::{Ruleset, Table};
use crate::agent::NodeView;
use crate::netlink::Route;

const CHAIN: &str = "CILIUM_POST_nat";

/// The chain of masquerading, if iptables masquerades.
pub(super) fn masquerade(state: &NodeState, view: &NodeView, ruleset: &mut Ruleset) {
    let Masquerade::Iptables {
        interfaces,
        route_source,
    } = &state.datapath.masquerade
    else {
        return;
    };
    let feeder = format!("-m comment --comment \"cilium-feeder: {CHAIN}\" -j {CHAIN}");
    ruleset.jump(Table::Nat, "POSTROUTING", feeder);
    let rules = ruleset.chain(Table::Nat, CHAIN);
    let native = matches!(state.datapath.routing, Routing::Native { .. });
    let pods = state.node.pod_cidr.trunc();
    let exclusion = state.datapath.snat_exclusion.unwrap_or(pods).trunc();
    if native {
        rules.extend(nodes(state, interfaces));
    }
    if *route_source {
        rules.extend(by_route(view, interfaces, pods, exclusion));
    } else if interfaces.is_empty() {
        rules.push(format!(
            "-s {pods} ! -d {exclusion} ! -o cilium_+ {NON_CLUSTER}"
        ));
    } else {
        // The interfaces say where; whose packets is not asked.
        let each = interfaces
            .iter()
            .map(|interface| format!("! -d {exclusion} -o {interface} {NON_CLUSTER}"));
        rules.extend(each);
    }
    rules.extend(around(state.node.cilium_host, pods, native));
}

const NON_CLUSTER: &str = "-m comment --comment \"cilium masquerade non-cluster\" -j MASQUERADE";

/// Under native routing nodes see pods' own addresses. Cilium keeps the nodes in an
/// ipset, which hosts often lack; here each has a rule.
fn nodes(state: &NodeState, interfaces: &[String]) -> Vec<String> {
    let pods = state.node.pod_cidr.trunc();
    let from: Vec<String> = if interfaces.is_empty() {
        vec![format!("-s {pods}")]
    } else {
        let on = interfaces.iter().map(|interface| format!("-o {interface}"));
        on.collect()
    };
    let peers = state.peers.iter().map(|peer| peer.address);
    let rules = peers.flat_map(|node| {
        // iptables-save has sources first, then destinations, then interfaces.
        from.iter().map(move |from| {
            let (before, after) = match from.strip_prefix("-o") {
                Some(_) => (String::new(), format!(" {from}")),
                None => (format!("{from} "), String::new()),
            };
            format!(
                "{before}-d {node}/32{after} -m comment --comment \"exclude traffic to cluster \
                 nodes from masquerade\" -j ACCEPT"
            )
        })
    });
    rules.collect()
}

/// A rule for each route that has a source address: the most specific first, the
/// default routes last.
fn by_route(
    view: &NodeView,
    interfaces: &[String],
    pods: Ipv4Net,
    exclusion: Ipv4Net,
) -> Vec<String> {
    let mut routes: Vec<(&Route, Ipv4Addr, String)> = view
        .routes
        .iter()
        .filter(|route| route.table == Route::MAIN && route.destination != exclusion)
        .filter_map(|route| {
            let name = view.name_of(route.device?)?;
            let leaves = if interfaces.is_empty() {
                !name.starts_with("cilium_") && !name.starts_with("lxc")
            } else {
                interfaces.iter().any(|pattern| matches(pattern, &name))
            };
            leaves.then_some((route, route.source?, name))
        })
        .collect();
    routes.sort_by_key(|(route, ..)| std::cmp::Reverse(route.destination.prefix_len()));
    let rule = |(route, source, name): (&Route, Ipv4Addr, String)| {
        let towards = if route.destination.prefix_len() == 0 {
            format!("! -d {exclusion}")
        } else {
            format!("-d {}", route.destination)
        };
        format!(
            "-s {pods} {towards} -o {name} -m comment --comment \"cilium snat non-cluster via \
             source route\" -j SNAT --to-source {source}"
        )
    };
    routes.into_iter().map(rule).collect()
}

/// Whether iptables' name of an interface means this one: a final `+` is any ending.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('+') {
        Some(prefix) => name.starts_with(prefix),
        None => pattern == name,
    }
}

/// The rules behind those that masquerade.
fn around(cilium_host: Ipv4Addr, pods: Ipv4Net, native: bool) -> Vec<String> {
    let mut rules = vec![
        "-m mark --mark 0xa00/0xe00 -m comment --comment \"exclude proxy return traffic from \
         masquerade\" -j ACCEPT"
            .to_owned(),
    ];
    if !native {
        // Cilium has `! -s CILIUM_HOST` here, since its pods' packets never leave by
        // cilium_host; here they do, when the kernel's stack forwards them, and keep
        // their address.
        rules.push(format!(
            "! -s {pods} ! -d {pods} -o cilium_host -m comment --comment \"cilium host->cluster \
             masquerade\" -j SNAT --to-source {cilium_host}"
        ));
        // But for those that kube-proxy marks, which come back through this node:
        // MASQUERADE would choose an address of `eth0`, since that of cilium_host has
        // the scope of the link.
        rules.push(format!(
            "-s {pods} ! -d {pods} -o cilium_host -m mark --mark 0x4000/0x4000 -m comment \
             --comment \"cilium host->cluster masquerade\" -j SNAT --to-source {cilium_host}"
        ));
    }
    rules.push(format!(
        "-s 127.0.0.1/32 -o cilium_host -m comment --comment \"cilium host->cluster from \
         127.0.0.1 masquerade\" -j SNAT --to-source {cilium_host}"
    ));
    rules.push(format!(
        "-o cilium_host -m mark --mark 0xf00/0xf00 -m conntrack --ctstate DNAT -m comment \
         --comment \"hairpin traffic that originated from a local pod\" -j SNAT --to-source \
         {cilium_host}"
    ));
    rules
}
