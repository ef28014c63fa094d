//! kube-proxy's rules, as its iptables mode writes them
//! (`pkg/proxy/iptables/proxier.go`, `syncProxyRules`): the same chains, comments
//! and order. Left out are the counters by nfacct, which few kernels have, and the
//! canary, which is there for kube-proxy to notice a flush.

mod names;
mod service;

use lab_model::node_state::NodeState;

use self::service::ServiceRules;
use super::ruleset::{Ruleset, Table};

/// Bit of the mark of packets that are to be masqueraded: `--iptables-masquerade-bit 14`.
const MARK: &str = "0x4000/0x4000";

/// Every rule of kube-proxy.
pub(super) fn rules(state: &NodeState, ruleset: &mut Ruleset) {
    jumps(ruleset);
    fixed(ruleset);
    for service in &state.services {
        for port in &service.ports {
            ServiceRules::new(state, service, port).write(ruleset);
        }
    }
    ruleset.rule(
        Table::Nat,
        "KUBE-SERVICES",
        "-m comment --comment \"kubernetes service nodeports; NOTE: this must be the last rule in \
         this chain\" -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS",
    );
}

/// The state of the first packet of a connection.
const NEW: &str = "-m conntrack --ctstate NEW ";

/// From built-in chains: the packets of which state, for what, and where to.
const JUMPS: [(Table, &str, &str, &str, &str); 12] = [
    (
        Table::Filter,
        "INPUT",
        NEW,
        "kubernetes load balancer firewall",
        "KUBE-PROXY-FIREWALL",
    ),
    (
        Table::Filter,
        "INPUT",
        "",
        "kubernetes health check service ports",
        "KUBE-NODEPORTS",
    ),
    (
        Table::Filter,
        "INPUT",
        NEW,
        "kubernetes externally-visible service portals",
        "KUBE-EXTERNAL-SERVICES",
    ),
    (
        Table::Filter,
        "FORWARD",
        NEW,
        "kubernetes load balancer firewall",
        "KUBE-PROXY-FIREWALL",
    ),
    (
        Table::Filter,
        "FORWARD",
        "",
        "kubernetes forwarding rules",
        "KUBE-FORWARD",
    ),
    (
        Table::Filter,
        "FORWARD",
        NEW,
        "kubernetes service portals",
        "KUBE-SERVICES",
    ),
    (
        Table::Filter,
        "FORWARD",
        NEW,
        "kubernetes externally-visible service portals",
        "KUBE-EXTERNAL-SERVICES",
    ),
    (
        Table::Filter,
        "OUTPUT",
        NEW,
        "kubernetes load balancer firewall",
        "KUBE-PROXY-FIREWALL",
    ),
    (
        Table::Filter,
        "OUTPUT",
        NEW,
        "kubernetes service portals",
        "KUBE-SERVICES",
    ),
    (
        Table::Nat,
        "PREROUTING",
        "",
        "kubernetes service portals",
        "KUBE-SERVICES",
    ),
    (
        Table::Nat,
        "OUTPUT",
        "",
        "kubernetes service portals",
        "KUBE-SERVICES",
    ),
    (
        Table::Nat,
        "POSTROUTING",
        "",
        "kubernetes postrouting rules",
        "KUBE-POSTROUTING",
    ),
];

fn jumps(ruleset: &mut Ruleset) {
    for (table, from, state, comment, chain) in JUMPS {
        let rule = format!("{state}-m comment --comment \"{comment}\" -j {chain}");
        ruleset.jump(table, from, rule);
        ruleset.chain(table, chain);
    }
}

/// The rules that are there without any service.
const FIXED: [(Table, &str, &str); 6] = [
    (
        Table::Filter,
        "KUBE-FORWARD",
        "-m conntrack --ctstate INVALID -j DROP",
    ),
    (
        Table::Filter,
        "KUBE-FORWARD",
        "-m comment --comment \"kubernetes forwarding rules\" -m mark --mark 0x4000/0x4000 -j \
         ACCEPT",
    ),
    (
        Table::Filter,
        "KUBE-FORWARD",
        "-m comment --comment \"kubernetes forwarding conntrack rule\" -m conntrack --ctstate \
         RELATED,ESTABLISHED -j ACCEPT",
    ),
    (
        Table::Nat,
        "KUBE-POSTROUTING",
        "-m mark ! --mark 0x4000/0x4000 -j RETURN",
    ),
    // Not masqueraded again when it passes here a second time.
    (
        Table::Nat,
        "KUBE-POSTROUTING",
        "-j MARK --set-xmark 0x4000/0x0",
    ),
    (
        Table::Nat,
        "KUBE-POSTROUTING",
        "-m comment --comment \"kubernetes service traffic requiring SNAT\" -j MASQUERADE \
         --random-fully",
    ),
];

fn fixed(ruleset: &mut Ruleset) {
    for (table, chain, rule) in FIXED {
        ruleset.rule(table, chain, rule);
    }
    // The last rule of KUBE-SERVICES leads there, whether a service has a port or not.
    ruleset.chain(Table::Nat, "KUBE-NODEPORTS");
    let mark = format!("-j MARK --set-xmark {MARK}");
    ruleset.rule(Table::Nat, "KUBE-MARK-MASQ", mark);
}
