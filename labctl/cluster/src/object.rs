//! The API objects that labctl obeys, checked, with where each was written.

mod cilium;
mod service;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use lab_model::diagnostic::{Diagnostic, Source};
use lab_model::node_state::{DnsPolicy, Protocol, Workload};

pub use cilium::{
    L2AnnouncementPolicy, LoadBalancerIpPool, LocalRedirectPolicy, RedirectFrontend, RedirectPort,
};
pub use service::{ClusterIp, PortSpec, ServiceSpec, TargetPort};

use crate::selector::{Labels, Selector};

/// An API object out of a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Kubernetes namespace; empty for objects that belong to none.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// `metadata.labels`
    pub labels: Labels,
    /// What kind of object it is, and what that kind says.
    pub kind: Kind,
    /// Where it is written.
    pub origin: Origin,
}

/// The kinds of objects there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `v1`
    Pod(PodTemplate),
    /// `apps/v1`
    Deployment {
        /// `spec.replicas`
        replicas: u32,
        /// `spec.template`
        template: PodTemplate,
    },
    /// `apps/v1`: a pod on every node.
    DaemonSet(PodTemplate),
    /// `v1`
    Service(ServiceSpec),
    /// `v1`: texts by key.
    ConfigMap(BTreeMap<String, String>),
    /// `v1`
    ServiceAccount,
    /// `cilium.io/v2`
    LocalRedirectPolicy(LocalRedirectPolicy),
    /// `cilium.io/v2` and `cilium.io/v2alpha1`
    LoadBalancerIpPool(LoadBalancerIpPool),
    /// `cilium.io/v2alpha1`
    L2AnnouncementPolicy(L2AnnouncementPolicy),
}

impl Kind {
    /// The word used in manifests.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Pod(_) => "Pod",
            Self::Deployment { .. } => "Deployment",
            Self::DaemonSet(_) => "DaemonSet",
            Self::Service(_) => "Service",
            Self::ConfigMap(_) => "ConfigMap",
            Self::ServiceAccount => "ServiceAccount",
            Self::LocalRedirectPolicy(_) => "CiliumLocalRedirectPolicy",
            Self::LoadBalancerIpPool(_) => "CiliumLoadBalancerIPPool",
            Self::L2AnnouncementPolicy(_) => "CiliumL2AnnouncementPolicy",
        }
    }
}

/// A pod's labels and what of its `spec` makes a difference in a lab.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodTemplate {
    /// `metadata.labels`
    pub labels: Labels,
    /// `spec.nodeName`
    pub node_name: Option<String>,
    /// `spec.hostname`
    pub hostname: Option<String>,
    /// `spec.subdomain`
    pub subdomain: Option<String>,
    /// `spec.serviceAccountName`, which is one of Cilium's identity labels.
    pub service_account: String,
    /// `spec.affinity.podAntiAffinity`: the pods that this one shares no node with.
    pub anti_affinity: Vec<Selector>,
    /// `spec.hostNetwork`
    pub host_network: bool,
    /// `spec.dnsPolicy`
    pub dns_policy: DnsPolicy,
    /// What the one container runs.
    pub workload: Workload,
    /// Name of the service whose address node-cache finds in its environment.
    pub upstream_service: Option<String>,
    /// Where the Corefile of a DNS server comes from.
    pub corefile: Option<MountedFile>,
    /// The container's `ports` that have names.
    pub named_ports: Vec<NamedPort>,
    /// Everything in the template, as JSON with sorted keys: what
    /// `pod-template-hash` is the hash of.
    pub canonical: String,
}

/// A key of a ConfigMap that a container sees as a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountedFile {
    /// Name of the ConfigMap, in the pod's namespace.
    pub config_map: Written<String>,
    /// Its key.
    pub key: String,
}

/// A port of a container that services can name as their `targetPort`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedPort {
    /// `name`
    pub name: String,
    /// `protocol`
    pub protocol: Protocol,
    /// `containerPort`
    pub port: u16,
}

/// A value and where it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written<T> {
    /// The value.
    pub value: T,
    /// Its bytes in the object's file.
    pub span: Range<usize>,
}

/// Where in its file an object is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The file.
    pub source: Arc<Source>,
    /// Bytes of `metadata.name`.
    pub name: Range<usize>,
    /// Bytes of `spec.nodeName`, or of the name.
    pub node_name: Range<usize>,
    /// Bytes of `spec.replicas`, or of the name.
    pub replicas: Range<usize>,
}

impl Object {
    /// The pod that it asks for, or the template of the pods.
    #[must_use]
    pub const fn template(&self) -> Option<&PodTemplate> {
        match &self.kind {
            Kind::Pod(template) | Kind::Deployment { template, .. } | Kind::DaemonSet(template) => {
                Some(template)
            }
            _ => None,
        }
    }

    /// `namespace/name`; the name alone for objects that belong to no namespace.
    #[must_use]
    pub fn key(&self) -> String {
        if self.namespace.is_empty() {
            return self.name.clone();
        }
        format!("{}/{}", self.namespace, self.name)
    }

    pub(crate) fn fault(&self, span: &Range<usize>, message: String) -> Diagnostic {
        Diagnostic::new(&self.origin.source, span.clone(), message)
    }
}
