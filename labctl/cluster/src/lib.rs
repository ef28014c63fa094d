//! Kubernetes objects to one [`NodeState`](lab_model::node_state::NodeState) for
//! each node of the cluster: what the API server, the scheduler, the controller
//! manager and IPAM decide between them, as pure functions.
//!
//! [`parse`] reads manifests into [`Object`]s, and [`compute`] gives their pods
//! nodes, addresses, names and identities, and their services addresses, ports and
//! backends. Both report every fault at once, with
//! file, line and column. What has been given out is in [`Allocations`], which
//! the caller keeps and hands back, so that a changed lab moves nothing else.

mod allocations;
mod compute;
mod corefiles;
mod datapath_settings;
mod dns;
mod faults;
pub mod identity;
pub mod ipam;
mod manifest;
mod names;
mod node_states;
mod object;
mod placement;
mod pod_runs;
pub mod selector;
mod services;
mod stable_hash;

pub use allocations::{Allocations, NodeAllocation, PodAllocation, ServiceAllocation};
pub use compute::{Cluster, PodPlacement, compute};
pub use datapath_settings::DEFAULT_MAP_ENTRIES;
pub use dns::{CLUSTER_DNS, CLUSTER_DOMAIN, dns_objects};
pub use manifest::parse;
pub use object::{
    ClusterIp, Kind, L2AnnouncementPolicy, LoadBalancerIpPool, LocalRedirectPolicy, MountedFile,
    NamedPort, Object, Origin, PodTemplate, PortSpec, RedirectFrontend, RedirectPort, ServiceSpec,
    TargetPort, Written,
};
