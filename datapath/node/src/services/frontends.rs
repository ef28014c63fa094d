//! What is translated to what on this node: every frontend of every service, local
//! redirect policies applied.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use lab_datapath_common::service::{flag, flag2, scope};
use lab_datapath_common::tuple::protocol;
use lab_model::node_state::{
    Backend, LocalRedirect, NodeState, Protocol, Service, ServiceHandling, ServicePort,
    TrafficPolicy,
};

/// An address and port that something stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Frontend {
    /// Unspecified for a NodePort on any address of a node.
    pub(crate) address: Ipv4Addr,
    pub(crate) port: u16,
    pub(crate) protocol: Protocol,
}

impl Frontend {
    /// IP protocol number.
    pub(crate) const fn protocol_number(self) -> u8 {
        number(self.protocol)
    }
}

/// IP protocol number.
pub(crate) const fn number(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => protocol::TCP,
        Protocol::Udp => protocol::UDP,
    }
}

impl fmt::Display for Frontend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}/{}", self.address, self.port, self.protocol)
    }
}

/// What a frontend is, in the words of `cilium-dbg service list`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    ClusterIp,
    NodePort,
    LoadBalancer,
    ExternalIps,
    LocalRedirect,
}

impl Kind {
    const fn flags(self) -> u8 {
        match self {
            Self::ClusterIp | Self::LocalRedirect => 0,
            Self::NodePort => flag::NODE_PORT | flag::ROUTABLE,
            Self::LoadBalancer => flag::LOAD_BALANCER | flag::ROUTABLE,
            Self::ExternalIps => flag::EXTERNAL_IP | flag::ROUTABLE,
        }
    }
}

/// A frontend in one scope, and its backends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LoadBalanced {
    pub(crate) kind: Kind,
    /// Bits of [`flag`].
    pub(crate) flags: u8,
    /// Bits of [`flag2`].
    pub(crate) flags2: u8,
    /// Seconds of session affinity, 0 for none.
    pub(crate) affinity: u32,
    /// Addresses and ports, in the document's order.
    pub(crate) backends: Vec<(Ipv4Addr, u16)>,
    /// Clients from outside that it is there for, or not; any, when there are none.
    pub(crate) source_ranges: Vec<Ipv4Net>,
}

/// All of them, by frontend and [`scope`].
pub(crate) type Frontends = BTreeMap<(Frontend, u8), LoadBalanced>;

/// A pod, by `namespace/name`, and the frontend that it sees as it would be without a
/// redirect policy.
pub(crate) type Skips = BTreeSet<(String, Frontend)>;

/// The frontends of `state`, on a node whose devices have the addresses `own`; none
/// when kube-proxy translates.
pub(crate) fn frontends(state: &NodeState, own: &[Ipv4Addr]) -> (Frontends, Skips) {
    let (mut all, mut skips) = (Frontends::new(), Skips::new());
    if state.datapath.services == ServiceHandling::KubeProxy {
        return (all, skips);
    }
    for service in &state.services {
        for port in &service.ports {
            add(&mut all, &state.node.name, own, service, port);
        }
    }
    for policy in &state.redirects {
        redirect(&mut all, &mut skips, policy);
    }
    (all, skips)
}

fn add(all: &mut Frontends, node: &str, own: &[Ipv4Addr], service: &Service, port: &ServicePort) {
    let here = Place {
        node,
        service,
        port,
    };
    if let Some(address) = service.cluster_ip {
        let policy = service.internal_traffic_policy;
        let flags2 = if policy == TrafficPolicy::Local {
            flag2::INT_LOCAL_SCOPE
        } else {
            0
        };
        let balanced = here.balanced(Kind::ClusterIp, policy, 0, flags2);
        all.insert((here.frontend(address, port.port), scope::EXT), balanced);
    }
    if let Some(number) = port.node_port {
        for address in std::iter::once(&Ipv4Addr::UNSPECIFIED).chain(own) {
            here.add_external(all, Kind::NodePort, *address, number);
        }
    }
    for address in &service.load_balancer_ips {
        here.add_external(all, Kind::LoadBalancer, *address, port.port);
    }
    for address in &service.external_ips {
        here.add_external(all, Kind::ExternalIps, *address, port.port);
    }
}

/// A port of a service, seen from a node.
struct Place<'a> {
    node: &'a str,
    service: &'a Service,
    port: &'a ServicePort,
}

impl Place<'_> {
    const fn frontend(&self, address: Ipv4Addr, port: u16) -> Frontend {
        Frontend {
            address,
            port,
            protocol: self.port.protocol,
        }
    }

    /// What is reached from outside as well. When outside and inside have different
    /// policies, there is an entry for each (`SVC_FLAG_TWO_SCOPES`).
    fn add_external(&self, all: &mut Frontends, kind: Kind, address: Ipv4Addr, port: u16) {
        let (outside, inside) = (
            self.service.external_traffic_policy,
            self.service.internal_traffic_policy,
        );
        let flags = if outside == TrafficPolicy::Local {
            flag::EXT_LOCAL_SCOPE
        } else {
            0
        };
        let mut flags2 = if inside == TrafficPolicy::Local {
            flag2::INT_LOCAL_SCOPE
        } else {
            0
        };
        let frontend = self.frontend(address, port);
        if outside != inside {
            flags2 |= flag2::TWO_SCOPES;
            let balanced = self.balanced(kind, inside, flags, flags2);
            all.insert((frontend, scope::INT), balanced);
        }
        let balanced = self.balanced(kind, outside, flags, flags2);
        all.insert((frontend, scope::EXT), balanced);
    }

    fn balanced(&self, kind: Kind, policy: TrafficPolicy, flags: u8, flags2: u8) -> LoadBalanced {
        let is_eligible = |it: &&Backend| policy == TrafficPolicy::Cluster || it.node == self.node;
        let backends = self.port.backends.iter().filter(is_eligible);
        let affinity = self.service.session_affinity.unwrap_or_default();
        let sticky = if affinity > 0 { flag::AFFINITY } else { 0 };
        let source_ranges = self.source_ranges(kind);
        let (ranged, inverted) = match (source_ranges.is_empty(), self.service.denies_source_ranges)
        {
            (true, _) => (0, 0),
            (false, false) => (flag::SOURCE_RANGE, 0),
            (false, true) => (flag::SOURCE_RANGE, flag2::SOURCE_RANGE_DENY),
        };
        LoadBalanced {
            kind,
            flags: kind.flags() | flags | sticky | ranged,
            flags2: flags2 | inverted,
            affinity,
            backends: backends.map(|it| (it.address, it.port)).collect(),
            source_ranges,
        }
    }

    /// Those of LoadBalancer addresses: NodePorts and external addresses of the same
    /// service are open to all (`bpf.lbSourceRangeAllTypes: false`).
    fn source_ranges(&self, kind: Kind) -> Vec<Ipv4Net> {
        if kind != Kind::LoadBalancer {
            return Vec::new();
        }
        let ranges = self.service.source_ranges.iter();
        ranges.map(Ipv4Net::trunc).collect()
    }
}

/// Puts a policy's backends in the place of what its frontends were. Without any, a
/// frontend stays what it was (cilium/cilium#43080, #43454, #42313).
fn redirect(all: &mut Frontends, skips: &mut Skips, policy: &LocalRedirect) {
    for to in &policy.frontends {
        if to.backends.is_empty() {
            continue;
        }
        let frontend = Frontend {
            address: to.address,
            port: to.port,
            protocol: to.protocol,
        };
        let kind = Kind::LocalRedirect;
        let balanced = LoadBalanced {
            kind,
            flags: kind.flags(),
            flags2: flag2::LOCAL_REDIRECT,
            affinity: 0,
            backends: to.backends.iter().map(|it| (it.address, it.port)).collect(),
            source_ranges: Vec::new(),
        };
        let before = all.insert((frontend, scope::EXT), balanced);
        // What comes from the cluster is all that socket programs see.
        let before = all.remove(&(frontend, scope::INT)).or(before);
        if !policy.skip_redirect_from_backend {
            continue;
        }
        if let Some(mut before) = before
            && before.kind != Kind::LocalRedirect
        {
            before.flags2 &= !flag2::TWO_SCOPES;
            all.insert((frontend, scope::UNREDIRECTED), before);
        }
        skips.extend(to.backends.iter().map(|it| (it.pod.clone(), frontend)));
    }
}
