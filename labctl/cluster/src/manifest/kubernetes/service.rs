//! The shape of a Service.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use schemars::{JsonSchema, Schema};
use serde::Deserialize;

use super::{ObjectMeta, Protocol, fields, object_fields};

/// `v1` Service.
#[derive(Deserialize, JsonSchema)]
#[schemars(transform = object_fields)]
pub(in crate::manifest) struct Service {
    pub(in crate::manifest) metadata: ObjectMeta,
    pub(in crate::manifest) spec: ServiceSpec,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = service_spec_fields)]
pub(in crate::manifest) struct ServiceSpec {
    #[serde(default, rename = "type")]
    pub(in crate::manifest) service_type: ServiceType,
    #[serde(default)]
    pub(in crate::manifest) selector: Option<BTreeMap<String, String>>,
    #[serde(default, rename = "clusterIP")]
    pub(in crate::manifest) cluster_ip: Option<String>,
    #[serde(default, rename = "clusterIPs")]
    pub(in crate::manifest) cluster_ips: Option<Vec<String>>,
    #[serde(default)]
    pub(in crate::manifest) external_name: Option<String>,
    #[serde(default, rename = "externalIPs")]
    pub(in crate::manifest) external_ips: Option<Vec<Ipv4Addr>>,
    #[serde(default, rename = "loadBalancerIP")]
    pub(in crate::manifest) load_balancer_ip: Option<Ipv4Addr>,
    #[serde(default)]
    pub(in crate::manifest) load_balancer_source_ranges: Option<Vec<String>>,
    #[serde(default)]
    pub(in crate::manifest) ports: Option<Vec<ServicePort>>,
    #[serde(default)]
    pub(in crate::manifest) external_traffic_policy: Option<TrafficPolicy>,
    #[serde(default)]
    pub(in crate::manifest) internal_traffic_policy: Option<TrafficPolicy>,
    #[serde(default)]
    pub(in crate::manifest) session_affinity: Option<SessionAffinity>,
    #[serde(default)]
    pub(in crate::manifest) session_affinity_config: Option<SessionAffinityConfig>,
}

fn service_spec_fields(schema: &mut Schema) {
    // Addresses are IPv4 here, and pods are ready from the start.
    let without_effect = ["ipFamilies", "ipFamilyPolicy", "publishNotReadyAddresses"];
    let not_yet = [
        "allocateLoadBalancerNodePorts",
        "healthCheckNodePort",
        "loadBalancerClass",
        "topologyKeys",
        "trafficDistribution",
    ];
    fields(schema, &without_effect, &not_yet);
}

#[derive(Clone, Copy, Default, Deserialize, JsonSchema)]
pub(in crate::manifest) enum ServiceType {
    #[default]
    #[serde(rename = "ClusterIP")]
    ClusterIp,
    NodePort,
    LoadBalancer,
    ExternalName,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = service_port_fields)]
pub(in crate::manifest) struct ServicePort {
    #[serde(default)]
    pub(in crate::manifest) name: Option<String>,
    #[serde(default)]
    pub(in crate::manifest) protocol: Option<Protocol>,
    #[schemars(range(min = 1, max = 65_535))]
    pub(in crate::manifest) port: u16,
    #[serde(default)]
    pub(in crate::manifest) target_port: Option<IntOrString>,
    #[serde(default)]
    #[schemars(range(min = 1, max = 65_535))]
    pub(in crate::manifest) node_port: Option<u16>,
}

fn service_port_fields(schema: &mut Schema) {
    fields(schema, &["appProtocol"], &[]);
}

/// Kubernetes' type of that name.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub(in crate::manifest) enum IntOrString {
    Int(u32),
    String(String),
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
pub(in crate::manifest) enum TrafficPolicy {
    Cluster,
    Local,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
pub(in crate::manifest) enum SessionAffinity {
    None,
    #[serde(rename = "ClientIP")]
    ClientIp,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::manifest) struct SessionAffinityConfig {
    #[serde(default, rename = "clientIP")]
    pub(in crate::manifest) client_ip: Option<ClientIpConfig>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::manifest) struct ClientIpConfig {
    #[serde(default)]
    #[schemars(range(min = 1, max = 86_400))]
    pub(in crate::manifest) timeout_seconds: Option<u32>,
}
