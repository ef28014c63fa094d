//! What has been given out to nodes and pods, remembered between runs so that a
//! changed lab moves nothing that is still in it.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

/// Everything given out in one lab. The default is a lab that never was up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Allocations {
    /// By node name.
    pub nodes: BTreeMap<String, NodeAllocation>,
    /// By `namespace/name`.
    pub pods: BTreeMap<String, PodAllocation>,
    /// Numbers of label sets, by [`crate::identity::key`].
    pub identities: BTreeMap<String, u32>,
    /// By `namespace/name`.
    #[serde(default)]
    pub services: BTreeMap<String, ServiceAllocation>,
}

/// What a node has been given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeAllocation {
    /// The range of its pods.
    pub pod_cidr: Ipv4Net,
    /// Address of `cilium_host`, out of that range.
    pub cilium_host: Ipv4Addr,
}

/// What a pod has been given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PodAllocation {
    /// The node it runs on.
    pub node: String,
    /// Address of its `eth0`; its node's when it is on the node's network.
    pub address: Ipv4Addr,
    /// Endpoint id, unique on its node; 0 of one on the node's network.
    pub endpoint_id: u16,
}

/// What a service has been given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceAllocation {
    /// Its ClusterIP, if it has one.
    pub cluster_ip: Option<Ipv4Addr>,
    /// Node ports, by port and protocol: `80/TCP`.
    pub node_ports: BTreeMap<String, u16>,
    /// Addresses out of LoadBalancer pools.
    pub load_balancer_ips: Vec<Ipv4Addr>,
}
