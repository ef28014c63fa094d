//! What a Service says.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use lab_model::node_state::{Protocol, ServiceType, TrafficPolicy};

use super::Written;
use crate::selector::Labels;

/// `spec` of a Service, and the annotations that make a difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceSpec {
    /// `type`
    pub service_type: ServiceType,
    /// Labels of the pods behind it. Without any, it has no backends.
    pub selector: Labels,
    /// `externalName`, of the type ExternalName alone: the host name that this one is an alias of.
    pub external_name: Option<String>,
    /// `clusterIP`
    pub cluster_ip: ClusterIp,
    /// `externalIPs`
    pub external_ips: Vec<Ipv4Addr>,
    /// The LoadBalancer addresses that it asks for: `loadBalancerIP` and the
    /// annotation `lbipam.cilium.io/ips`.
    pub requested_ips: Vec<Written<Ipv4Addr>>,
    /// `loadBalancerSourceRanges`, without host bits.
    pub source_ranges: Vec<Ipv4Net>,
    /// The annotation `service.cilium.io/src-ranges-policy` is `deny`.
    pub denies_source_ranges: bool,
    /// Its ports.
    pub ports: Vec<PortSpec>,
    /// `externalTrafficPolicy`
    pub external_traffic_policy: TrafficPolicy,
    /// `internalTrafficPolicy`
    pub internal_traffic_policy: TrafficPolicy,
    /// `sessionAffinity: ClientIP`, and for how many seconds.
    pub session_affinity: Option<u32>,
}

/// `clusterIP`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClusterIp {
    /// Any that is free.
    Any,
    /// `None`: the names of a headless service are those of its pods.
    Headless,
    /// None, as an ExternalName has no use for it.
    Unused,
    /// This one.
    Explicit(Written<Ipv4Addr>),
}

/// A port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortSpec {
    /// `name`
    pub name: Option<String>,
    /// `protocol`
    pub protocol: Protocol,
    /// `port`
    pub port: u16,
    /// `targetPort`; the same as `port` unless given.
    pub target: TargetPort,
    /// `nodePort`, where one is asked for.
    pub node_port: Option<Written<u16>>,
}

/// `targetPort`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetPort {
    /// This port of every pod.
    Number(u16),
    /// The port of that name, which may be another in each pod.
    Name(String),
}
