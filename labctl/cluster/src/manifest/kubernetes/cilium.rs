//! The shapes of Cilium's own objects.

use std::net::Ipv4Addr;

use schemars::{JsonSchema, Schema};
use serde::Deserialize;

use super::{LabelSelector, ObjectMeta, fields, object_fields};

/// `cilium.io/v2` CiliumLocalRedirectPolicy.
#[derive(Deserialize, JsonSchema)]
#[schemars(transform = object_fields)]
pub(in crate::manifest) struct LocalRedirectPolicy {
    pub(in crate::manifest) metadata: ObjectMeta,
    pub(in crate::manifest) spec: LocalRedirectSpec,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = local_redirect_fields)]
pub(in crate::manifest) struct LocalRedirectSpec {
    pub(in crate::manifest) redirect_frontend: RedirectFrontend,
    pub(in crate::manifest) redirect_backend: RedirectBackend,
    #[serde(default)]
    pub(in crate::manifest) skip_redirect_from_backend: bool,
}

fn local_redirect_fields(schema: &mut Schema) {
    fields(schema, &["description"], &[]);
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = no_other_fields)]
pub(in crate::manifest) struct RedirectFrontend {
    #[serde(default)]
    pub(in crate::manifest) service_matcher: Option<ServiceMatcher>,
    #[serde(default)]
    pub(in crate::manifest) address_matcher: Option<AddressMatcher>,
}

fn no_other_fields(schema: &mut Schema) {
    fields(schema, &[], &[]);
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = no_other_fields)]
pub(in crate::manifest) struct ServiceMatcher {
    pub(in crate::manifest) service_name: String,
    pub(in crate::manifest) namespace: String,
    #[serde(default)]
    pub(in crate::manifest) to_ports: Option<Vec<PortInfo>>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = no_other_fields)]
pub(in crate::manifest) struct AddressMatcher {
    pub(in crate::manifest) ip: Ipv4Addr,
    pub(in crate::manifest) to_ports: Vec<PortInfo>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = no_other_fields)]
pub(in crate::manifest) struct RedirectBackend {
    pub(in crate::manifest) local_endpoint_selector: LabelSelector,
    pub(in crate::manifest) to_ports: Vec<PortInfo>,
}

/// Cilium's type of that name: the port is text.
#[derive(Deserialize, JsonSchema)]
#[schemars(transform = no_other_fields)]
pub(in crate::manifest) struct PortInfo {
    pub(in crate::manifest) port: String,
    pub(in crate::manifest) protocol: PortProtocol,
    #[serde(default)]
    pub(in crate::manifest) name: Option<String>,
}

#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub(in crate::manifest) enum PortProtocol {
    Tcp,
    Udp,
}

/// `cilium.io/v2alpha1` CiliumLoadBalancerIPPool.
#[derive(Deserialize, JsonSchema)]
#[schemars(transform = object_fields)]
pub(in crate::manifest) struct LoadBalancerIpPool {
    pub(in crate::manifest) metadata: ObjectMeta,
    pub(in crate::manifest) spec: LoadBalancerIpPoolSpec,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = no_other_fields)]
pub(in crate::manifest) struct LoadBalancerIpPoolSpec {
    pub(in crate::manifest) blocks: Vec<Block>,
    #[serde(default)]
    pub(in crate::manifest) service_selector: Option<LabelSelector>,
    #[serde(default, rename = "allowFirstLastIPs")]
    pub(in crate::manifest) allow_first_last_ips: YesNo,
    #[serde(default)]
    pub(in crate::manifest) disabled: bool,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::manifest) struct Block {
    #[serde(default)]
    pub(in crate::manifest) cidr: Option<String>,
    #[serde(default)]
    pub(in crate::manifest) start: Option<Ipv4Addr>,
    #[serde(default)]
    pub(in crate::manifest) stop: Option<Ipv4Addr>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub(in crate::manifest) enum YesNo {
    #[default]
    Yes,
    No,
}

/// `cilium.io/v2alpha1` CiliumL2AnnouncementPolicy.
#[derive(Deserialize, JsonSchema)]
#[schemars(transform = object_fields)]
pub(in crate::manifest) struct L2AnnouncementPolicy {
    pub(in crate::manifest) metadata: ObjectMeta,
    #[serde(default)]
    pub(in crate::manifest) spec: L2AnnouncementSpec,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = no_other_fields)]
pub(in crate::manifest) struct L2AnnouncementSpec {
    #[serde(default)]
    pub(in crate::manifest) service_selector: Option<LabelSelector>,
    #[serde(default)]
    pub(in crate::manifest) node_selector: Option<LabelSelector>,
    #[serde(default)]
    pub(in crate::manifest) interfaces: Option<Vec<String>>,
    #[serde(default, rename = "loadBalancerIPs")]
    pub(in crate::manifest) load_balancer_ips: bool,
    #[serde(default, rename = "externalIPs")]
    pub(in crate::manifest) external_ips: bool,
}
