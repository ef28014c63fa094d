//! API objects to one `NodeState` for each node: a pure function.
//!
//! What is new takes what is left over by what was there before, and everything
//! is looked at in the order of names, so the order of manifests makes no
//! difference.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use lab_model::diagnostic::Diagnostics;
use lab_model::lab::{Lab, Node};
use lab_model::node_state::{NodeStates, Service};

use crate::allocations::{Allocations, NodeAllocation, PodAllocation};
use crate::corefiles::Corefiles;
use crate::faults::{
    duplicates, name_clashes, no_pod_cidr, too_many_replicas, unknown_node, unplaceable,
};
use crate::identity::identities;
use crate::ipam::{IpamError, pod_cidrs};
use crate::node_states::assemble;
use crate::object::Object;
use crate::placement::{Placement, cilium_host};
use crate::pod_runs::{PodRun, pod_runs};
use crate::selector::Labels;
use crate::services::{self, Portals, RunningPod, services_of};

/// Everything that a lab's objects come to.
#[derive(Clone, Debug, PartialEq)]
pub struct Cluster {
    /// What has been given out: pass it in again the next time.
    pub allocations: Allocations,
    /// What each node is to be, by node name.
    pub node_states: NodeStates,
    /// Every pod and where it runs, by namespace and name.
    pub pods: Vec<PodPlacement>,
    /// Every service, by namespace and name.
    pub services: Vec<Service>,
}

/// A pod and where it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodPlacement {
    /// Kubernetes namespace.
    pub namespace: String,
    /// Pod name.
    pub name: String,
    /// Name of the node it runs on.
    pub node: String,
    /// Address of its `eth0`.
    pub address: Ipv4Addr,
    /// Labels, `pod-template-hash` included.
    pub labels: Labels,
    /// Name of the Deployment it belongs to.
    pub owner: Option<String>,
}

/// Gives every pod of `objects` a node, an address and an identity, leaving those
/// of `previous` where they were, and writes down what each node is to be.
///
/// # Errors
/// Every fault that only shows once all objects are seen together with the lab:
/// objects defined twice, nodes that aren't there or run no pods, pods for which
/// there is no node or address, services that ask for the same address or port.
pub fn compute(
    lab: &Lab,
    objects: &[Object],
    previous: &Allocations,
) -> Result<Cluster, Diagnostics> {
    let mut sorted: Vec<&Object> = objects.iter().collect();
    sorted.sort_by_key(|object| (&object.namespace, &object.name, object.kind.as_str()));

    let services = services_of(&sorted);
    let mut faults = Diagnostics::new();
    faults.extend(duplicates(objects));
    faults.extend(sorted.iter().filter_map(|object| unknown_node(lab, object)));
    let nodes = node_allocations(lab, previous).map_err(|error| no_pod_cidr(lab, &error))?;
    faults.extend(
        sorted
            .iter()
            .filter_map(|object| too_many_replicas(&nodes, object)),
    );
    let given = services::allocate(lab, &services, &sorted, previous, &mut faults);
    let corefiles = Corefiles::new(&sorted, &mut faults);
    faults.or(())?;

    let mut faults = Diagnostics::new();
    let runs: Vec<PodRun<'_>> = sorted
        .iter()
        .flat_map(|object| pod_runs(lab, object))
        .collect();
    faults.extend(name_clashes(&runs));
    let pods = place_all(lab, &nodes, &runs, previous, &mut faults);
    let endpoints = runs.iter().filter(|run| !run.template.host_network);
    let label_sets = endpoints.map(|run| run.security_labels.clone()).collect();
    let Some(identities) = identities(&label_sets, &previous.identities) else {
        faults.extend(runs.first().map(PodRun::too_many_label_sets));
        return Err(faults);
    };
    faults.or(())?;
    let allocations = Allocations {
        nodes,
        pods,
        identities,
        services: given,
    };
    let running: Vec<_> = runs
        .iter()
        .filter_map(|run| running_pod(run, &allocations))
        .collect();
    let portals = Portals::new(lab, &sorted, &services, &allocations, &running);
    Ok(assemble(lab, &runs, &corefiles, portals, allocations))
}

/// podCIDR and `cilium_host` of every cluster node.
fn node_allocations(
    lab: &Lab,
    previous: &Allocations,
) -> Result<BTreeMap<String, NodeAllocation>, IpamError> {
    let names: Vec<&str> = lab.cluster_nodes().map(|node| node.name.as_str()).collect();
    let cidrs = pod_cidrs(&names, |node| {
        previous.nodes.get(node).map(|node| node.pod_cidr)
    })?;
    let with_host = cidrs.into_iter().map(|(node, pod_cidr)| {
        let before = previous.nodes.get(node).map(|node| node.cilium_host);
        let cilium_host = cilium_host(node, pod_cidr, before)?;
        Ok((
            node.to_owned(),
            NodeAllocation {
                pod_cidr,
                cilium_host,
            },
        ))
    });
    with_host.collect()
}

/// Leaves pods where they were, then places those bound to a node, then the rest,
/// so that spreading takes the bound ones into account.
fn place_all(
    lab: &Lab,
    nodes: &BTreeMap<String, NodeAllocation>,
    runs: &[PodRun<'_>],
    previous: &Allocations,
    faults: &mut Diagnostics,
) -> BTreeMap<String, PodAllocation> {
    let in_lab_order = lab.cluster_nodes().filter_map(|node| {
        nodes
            .get(&node.name)
            .map(|allocation| (node.name.as_str(), address(node), allocation))
    });
    let mut placement = Placement::new(in_lab_order);
    let mut placed = BTreeMap::new();
    for run in runs {
        let before = previous.pods.get(&run.wanted.key);
        if let Some(kept) = before.and_then(|before| placement.keep(&run.wanted, before)) {
            placed.insert(run.wanted.key.clone(), kept);
        }
    }
    let (bound, free): (Vec<_>, Vec<_>) = runs
        .iter()
        .filter(|run| !placed.contains_key(&run.wanted.key))
        .partition(|run| run.wanted.node_name.is_some());
    // One pod that runs nowhere speaks for all of its object's.
    let mut failed = BTreeSet::new();
    for run in bound.into_iter().chain(free) {
        if failed.contains(&run.object.key()) {
            continue;
        }
        match placement.place(&run.wanted) {
            Ok(allocation) => {
                placed.insert(run.wanted.key.clone(), allocation);
            }
            Err(error) => {
                failed.insert(run.object.key());
                faults.push(unplaceable(run, &error));
            }
        }
    }
    placed
}

fn running_pod<'a>(run: &'a PodRun<'_>, allocations: &'a Allocations) -> Option<RunningPod<'a>> {
    let allocation = allocations.pods.get(&run.wanted.key)?;
    Some(RunningPod {
        namespace: &run.object.namespace,
        key: &run.wanted.key,
        node: &allocation.node,
        address: allocation.address,
        labels: &run.wanted.labels,
        host_network: run.template.host_network,
        named_ports: &run.template.named_ports,
        hostname: run.template.hostname.as_deref(),
        subdomain: run.template.subdomain.as_deref(),
    })
}

pub(crate) fn address(node: &Node) -> Ipv4Addr {
    node.address
        .expect("a validated lab gives every cluster node an address")
}
