//! The rules of one port of a service.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use lab_model::node_state::{Backend, NodeState, Service, ServicePort, TrafficPolicy};

use super::super::ruleset::{Ruleset, Table};
use super::names::PortName;

/// `--cluster-cidr`: what comes from elsewhere is masqueraded on its way to a
/// ClusterIP. All podCIDRs are out of it.
const CLUSTER_CIDR: &str = "10.244.0.0/16";

/// One port of a service, as this node sees it.
pub(super) struct ServiceRules<'a> {
    service: &'a Service,
    port: &'a ServicePort,
    name: PortName,
    local: Vec<&'a Backend>,
    node_address: Ipv4Addr,
    pod_cidr: Ipv4Net,
}

impl<'a> ServiceRules<'a> {
    pub(super) fn new(state: &NodeState, service: &'a Service, port: &'a ServicePort) -> Self {
        let here = |backend: &&Backend| backend.node == state.node.name;
        Self {
            service,
            port,
            name: PortName::new(service, port),
            local: port.backends.iter().filter(here).collect(),
            node_address: state.node.address,
            pod_cidr: state.node.pod_cidr.trunc(),
        }
    }

    pub(super) fn write(&self, ruleset: &mut Ruleset) {
        if self.service.cluster_ip.is_none() {
            return;
        }
        self.without_backends(ruleset);
        if self.port.backends.is_empty() {
            return;
        }
        self.capture(ruleset);
        if self.is_external() {
            self.external(ruleset);
        }
        if self.has_firewall() {
            self.firewall(ruleset);
        }
        self.balance(ruleset);
        for backend in &self.port.backends {
            self.endpoint(ruleset, backend);
        }
    }

    fn is_external(&self) -> bool {
        self.port.node_port.is_some()
            || !self.service.external_ips.is_empty()
            || !self.service.load_balancer_ips.is_empty()
    }

    /// Whether LoadBalancer addresses are there for some clients alone.
    fn has_firewall(&self) -> bool {
        !self.service.load_balancer_ips.is_empty() && !self.service.source_ranges.is_empty()
    }

    fn internal_local(&self) -> bool {
        self.service.internal_traffic_policy == TrafficPolicy::Local
    }

    fn external_local(&self) -> bool {
        self.is_external() && self.service.external_traffic_policy == TrafficPolicy::Local
    }

    /// The end of the matches of an address: protocol, comment, port.
    fn matches(&self, kind: &str) -> String {
        let PortName { name, protocol } = &self.name;
        format!(
            "-p {protocol} -m comment --comment \"{name}{kind}\" -m {protocol} --dport {}",
            self.port.port
        )
    }

    /// Addresses outside the cluster, with their words for comments, and the chain that
    /// what is addressed to them is for.
    fn outside(&self) -> impl Iterator<Item = (Ipv4Addr, &'static str, String)> {
        let all = self.name.external_chain();
        let some = if self.has_firewall() {
            self.name.firewall_chain()
        } else {
            all.clone()
        };
        let external = self.service.external_ips.iter();
        let load_balancer = self.service.load_balancer_ips.iter();
        external
            .map(move |ip| (*ip, " external IP", all.clone()))
            .chain(load_balancer.map(move |ip| (*ip, " loadbalancer IP", some.clone())))
    }

    /// Nothing answers: clients are told so, but for those that another node may
    /// serve.
    fn without_backends(&self, ruleset: &mut Ruleset) {
        let nobody = self.port.backends.is_empty();
        let verdict = |local: bool| match (nobody, local && self.local.is_empty()) {
            (true, _) => Some((
                " has no endpoints",
                "REJECT --reject-with icmp-port-unreachable",
            )),
            (false, true) => Some((" has no local endpoints", "DROP")),
            (false, false) => None,
        };
        if let (Some((comment, target)), Some(ip)) =
            (verdict(self.internal_local()), self.service.cluster_ip)
        {
            let rule = format!("-d {ip}/32 {} -j {target}", self.matches(comment));
            ruleset.rule(Table::Filter, "KUBE-SERVICES", rule);
        }
        let Some((comment, target)) = verdict(self.external_local()) else {
            return;
        };
        for (ip, ..) in self.outside() {
            let rule = format!("-d {ip}/32 {} -j {target}", self.matches(comment));
            ruleset.rule(Table::Filter, "KUBE-EXTERNAL-SERVICES", rule);
        }
        if let Some(node_port) = self.port.node_port {
            let PortName { name, protocol } = &self.name;
            let rule = format!(
                "-p {protocol} -m comment --comment \"{name}{comment}\" -m addrtype --dst-type \
                 LOCAL -m {protocol} --dport {node_port} -j {target}"
            );
            ruleset.rule(Table::Filter, "KUBE-EXTERNAL-SERVICES", rule);
        }
    }

    /// From addresses to chains.
    fn capture(&self, ruleset: &mut Ruleset) {
        let internal = if self.internal_local() {
            self.name.local_chain()
        } else {
            self.name.cluster_chain()
        };
        if let Some(ip) = self.service.cluster_ip {
            let matches = self.matches(" cluster IP");
            let rule = format!("-d {ip}/32 {matches} -j {internal}");
            ruleset.rule(Table::Nat, "KUBE-SERVICES", rule);
            let rule = format!("! -s {CLUSTER_CIDR} -d {ip}/32 {matches} -j KUBE-MARK-MASQ");
            ruleset.rule(Table::Nat, &internal, rule);
        }
        let external = self.name.external_chain();
        for (ip, kind, chain) in self.outside() {
            let rule = format!("-d {ip}/32 {} -j {chain}", self.matches(kind));
            ruleset.rule(Table::Nat, "KUBE-SERVICES", rule);
        }
        if let Some(node_port) = self.port.node_port {
            let PortName { name, protocol } = &self.name;
            let rule = format!(
                "-p {protocol} -m comment --comment \"{name}\" -m {protocol} --dport {node_port} \
                 -j {external}"
            );
            ruleset.rule(Table::Nat, "KUBE-NODEPORTS", rule);
        }
    }

    /// What comes from outside is masqueraded, so that its answers come back through
    /// this node; but not where the client's address is to be kept.
    fn external(&self, ruleset: &mut Ruleset) {
        let name = &self.name.name;
        let chain = self.name.external_chain();
        let cluster = self.name.cluster_chain();
        let mut rule = |rule: String| ruleset.rule(Table::Nat, &chain, rule);
        if !self.external_local() {
            rule(format!(
                "-m comment --comment \"masquerade traffic for {name} external destinations\" -j \
                 KUBE-MARK-MASQ"
            ));
            rule(format!("-j {cluster}"));
            return;
        }
        let pods = self.pod_cidr;
        rule(format!(
            "-s {pods} -m comment --comment \"pod traffic for {name} external destinations\" -j \
             {cluster}"
        ));
        rule(format!(
            "-m comment --comment \"masquerade LOCAL traffic for {name} external destinations\" \
             -m addrtype --src-type LOCAL -j KUBE-MARK-MASQ"
        ));
        rule(format!(
            "-m comment --comment \"route LOCAL traffic for {name} external destinations\" -m \
             addrtype --src-type LOCAL -j {cluster}"
        ));
        if !self.local.is_empty() {
            rule(format!("-j {}", self.name.local_chain()));
        }
    }

    /// Packets of clients in the ranges go on to the backends. The others' stay untranslated, and
    /// are dropped by that in the filter table. A node that may ask, and has the LoadBalancer's
    /// address itself, asks from that address, so it may too.
    fn firewall(&self, ruleset: &mut Ruleset) {
        let name = &self.name.name;
        let (chain, external) = (self.name.firewall_chain(), self.name.external_chain());
        let comment = format!("-m comment --comment \"{name} loadbalancer IP\"");
        let ranges = &self.service.source_ranges;
        for range in ranges {
            // As `iptables-save` writes what matches any source.
            let from = match range.prefix_len() {
                0 => String::new(),
                _ => format!("-s {range} "),
            };
            ruleset.rule(Table::Nat, &chain, format!("{from}{comment} -j {external}"));
        }
        let may_ask = ranges.iter().any(|it| it.contains(&self.node_address));
        for ip in &self.service.load_balancer_ips {
            if may_ask {
                let rule = format!("-s {ip}/32 {comment} -j {external}");
                ruleset.rule(Table::Nat, &chain, rule);
            }
            let matches = self.matches(&format!(" traffic not accepted by {chain}"));
            let rule = format!("-d {ip}/32 {matches} -j DROP");
            ruleset.rule(Table::Filter, "KUBE-PROXY-FIREWALL", rule);
        }
        let rest = format!(
            "-m comment --comment \"other traffic to {name} will be dropped by \
             KUBE-PROXY-FIREWALL\""
        );
        ruleset.rule(Table::Nat, &chain, rest);
    }

    /// From chains to backends. The chain of all backends is there when something
    /// leads to it, and so is that of this node's.
    fn balance(&self, ruleset: &mut Ruleset) {
        if !self.internal_local() || self.is_external() {
            let all: Vec<&Backend> = self.port.backends.iter().collect();
            self.choose(ruleset, &self.name.cluster_chain(), &all);
        }
        let locally = self.internal_local() || self.external_local();
        if locally && !self.local.is_empty() {
            self.choose(ruleset, &self.name.local_chain(), &self.local);
        }
    }

    /// A client that was here before, then chance: one of `n`, one of `n - 1`, …
    fn choose(&self, ruleset: &mut Ruleset, chain: &str, backends: &[&Backend]) {
        let name = &self.name.name;
        let comment = |backend: &Backend| {
            let Backend { address, port, .. } = backend;
            format!("-m comment --comment \"{name} -> {address}:{port}\"")
        };
        for backend in backends {
            let Some(seconds) = self.service.session_affinity else {
                break;
            };
            let endpoint = self.name.endpoint_chain(backend);
            let rule = format!(
                "{} -m recent --rcheck --seconds {seconds} --reap --name {endpoint} --mask \
                 255.255.255.255 --rsource -j {endpoint}",
                comment(backend)
            );
            ruleset.rule(Table::Nat, chain, rule);
        }
        for (index, backend) in backends.iter().enumerate() {
            let mut rule = comment(backend);
            let left = backends.len() - index;
            if left > 1 {
                // Writing to a String cannot fail.
                let _ = write!(
                    rule,
                    " -m statistic --mode random --probability {}",
                    probability(left)
                );
            }
            let endpoint = self.name.endpoint_chain(backend);
            ruleset.rule(Table::Nat, chain, format!("{rule} -j {endpoint}"));
        }
    }

    /// A backend that reaches itself through its service is masqueraded, so that it
    /// does not see its own address come in.
    fn endpoint(&self, ruleset: &mut Ruleset, backend: &Backend) {
        let PortName { name, protocol } = &self.name;
        let Backend { address, port, .. } = backend;
        let chain = self.name.endpoint_chain(backend);
        let comment = format!("-m comment --comment \"{name}\"");
        let rule = format!("-s {address}/32 {comment} -j KUBE-MARK-MASQ");
        ruleset.rule(Table::Nat, &chain, rule);
        let recent = match self.service.session_affinity {
            Some(_) => format!(" -m recent --set --name {chain} --mask 255.255.255.255 --rsource"),
            None => String::new(),
        };
        let rule = format!(
            "-p {protocol} {comment}{recent} -m {protocol} -j DNAT --to-destination {address}:{port}"
        );
        ruleset.rule(Table::Nat, &chain, rule);
    }
}

/// One of `n`, as `iptables-save` writes it: the kernel keeps a fraction of 2^31.
#[expect(clippy::cast_precision_loss, reason = "backends are fewer than 2^52")]
fn probability(n: usize) -> String {
    const ONE: f64 = 2_147_483_648.0;
    format!("{:.11}", (ONE / n as f64).round() / ONE)
}
