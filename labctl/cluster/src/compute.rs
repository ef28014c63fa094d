//! API objects to one `NodeState` for each node: a pure function.
//!
//! What is new takes what is left over by what was there before, and everything
//! is looked at in the order of names, so the order of manifests makes no
//! difference.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use lab_model::diagnostic::{Diagnostic, Diagnostics};
use lab_model::lab::{Lab, Node, Role};
use lab_model::node_state::{
    HostPod, Identity, NODE_STATE_VERSION, NodeIdentity, NodeState, NodeStates, Peer, Pod,
    RemotePod, Service, Workload,
};

use crate::allocations::{Allocations, NodeAllocation, PodAllocation};
use crate::corefiles::Corefiles;
use crate::datapath_settings::datapath_settings;
use crate::dns::pod_dns;
use crate::faults::{
    duplicates, name_clashes, no_pod_cidr, too_many_replicas, unknown_node, unplaceable,
};
use crate::identity::{self, identities, security_labels};
use crate::ipam::{IpamError, pod_cidrs};
use crate::names::{daemon_pod_name, lxc_interface, pod_names, template_hash};
use crate::object::{Kind, Object, PodTemplate};
use crate::placement::{Placement, Wanted, cilium_host};
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

/// A pod that an object asks for.
pub(crate) struct PodRun<'a> {
    pub(crate) object: &'a Object,
    template: &'a PodTemplate,
    name: String,
    pub(crate) wanted: Wanted<'a>,
    security_labels: Vec<String>,
}

impl PodRun<'_> {
    fn too_many_label_sets(&self) -> Diagnostic {
        let message = "all security identities are exhausted: there are 65280, and each set of \
                       labels takes one";
        self.object
            .fault(&self.object.origin.name, message.to_owned())
    }
}

/// The pods that an object asks for, oldest first.
fn pod_runs<'a>(lab: &'a Lab, object: &'a Object) -> Vec<PodRun<'a>> {
    let Some(template) = object.template() else {
        return Vec::new();
    };
    let mut labels = template.labels.clone();
    let bound = template.node_name.as_deref();
    let (pods, owner): (Vec<(String, Option<&str>)>, _) = match object.kind {
        Kind::Deployment { replicas, .. } => {
            let hash = template_hash(&template.canonical);
            labels.insert("pod-template-hash".to_owned(), hash.clone());
            let names = pod_names(&object.namespace, &object.name, &hash, replicas);
            let pods = names.into_iter().map(|name| (name, bound));
            (pods.collect(), Some(object.key()))
        }
        Kind::DaemonSet(_) => {
            let nodes = lab.cluster_nodes().map(|node| node.name.as_str());
            let pods = nodes
                .filter(|node| bound.is_none_or(|bound| bound == *node))
                .map(|node| {
                    (
                        daemon_pod_name(&object.namespace, &object.name, node),
                        Some(node),
                    )
                });
            (pods.collect(), Some(object.key()))
        }
        _ => (vec![(object.name.clone(), bound)], None),
    };
    let run = |(name, node_name): (String, _)| PodRun {
        object,
        template,
        wanted: Wanted {
            namespace: &object.namespace,
            key: format!("{}/{name}", object.namespace),
            owner: owner.clone(),
            labels: labels.clone(),
            node_name,
            host_network: template.host_network,
            anti_affinity: &template.anti_affinity,
        },
        security_labels: security_labels(&object.namespace, &template.service_account, &labels),
        name,
    };
    pods.into_iter().map(run).collect()
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

/// Writes the result down, node by node.
fn assemble(
    lab: &Lab,
    runs: &[PodRun<'_>],
    corefiles: &Corefiles<'_>,
    mut portals: Portals,
    allocations: Allocations,
) -> Cluster {
    let (pods, mut everywhere) = pods(runs, corefiles, &portals.services, &allocations);
    let identities: Vec<Identity> = everywhere.identities();
    let peers: Vec<(Peer, bool)> = lab
        .cluster_nodes()
        .map(|node| (peer(node, &allocations), node.role == Role::ControlPlane))
        .collect();
    let mut node_states = NodeStates::new();
    for (this, control_plane) in &peers {
        let others = peers
            .iter()
            .map(|(peer, _)| peer)
            .filter(|peer| peer.name != this.name);
        let elsewhere = everywhere.remote.iter().filter(|pod| pod.node != this.name);
        let state = NodeState {
            version: NODE_STATE_VERSION,
            lab: lab.name.clone(),
            node: node_identity(this, *control_plane),
            peers: others.cloned().collect(),
            pods: everywhere.pods.remove(&this.name).unwrap_or_default(),
            host_pods: everywhere.host_pods.remove(&this.name).unwrap_or_default(),
            remote_pods: elsewhere.cloned().collect(),
            identities: identities.clone(),
            services: portals.services.clone(),
            redirects: portals.redirects.remove(&this.name).unwrap_or_default(),
            announcements: portals.announcements.clone(),
            dns: pod_dns(lab),
            datapath: datapath_settings(lab, this.pod_cidr),
        };
        node_states.insert(this.name.clone(), state);
    }
    Cluster {
        allocations,
        node_states,
        pods,
        services: portals.services,
    }
}

/// Every pod, as its own node and the others are told of it.
#[derive(Default)]
struct Everywhere<'a> {
    pods: BTreeMap<String, Vec<Pod>>,
    host_pods: BTreeMap<String, Vec<HostPod>>,
    remote: Vec<RemotePod>,
    identities: BTreeMap<u32, &'a [String]>,
}

impl Everywhere<'_> {
    fn identities(&self) -> Vec<Identity> {
        let identities = self.identities.iter();
        identities
            .map(|(id, labels)| Identity {
                id: *id,
                labels: labels.to_vec(),
            })
            .collect()
    }
}

fn pods<'a>(
    runs: &'a [PodRun<'_>],
    corefiles: &Corefiles<'_>,
    services: &[Service],
    allocations: &Allocations,
) -> (Vec<PodPlacement>, Everywhere<'a>) {
    let mut sorted: Vec<&PodRun<'_>> = runs.iter().collect();
    sorted.sort_by(|a, b| (&a.object.namespace, &a.name).cmp(&(&b.object.namespace, &b.name)));
    let mut placements = Vec::with_capacity(runs.len());
    let mut all = Everywhere::default();
    for run in sorted {
        let Some(allocation) = allocations.pods.get(&run.wanted.key) else {
            continue;
        };
        placements.push(pod_placement(run, allocation));
        let (node, workload) = (allocation.node.clone(), workload(run, services));
        let corefile = corefiles.of(run.object).map(str::to_owned);
        if run.template.host_network {
            all.host_pods.entry(node).or_default().push(HostPod {
                namespace: run.object.namespace.clone(),
                name: run.name.clone(),
                workload,
                corefile,
            });
            continue;
        }
        let identity = allocations.identities[&identity::key(&run.security_labels)];
        all.identities.insert(identity, &run.security_labels);
        let pod = Pod {
            namespace: run.object.namespace.clone(),
            name: run.name.clone(),
            hostname: run.template.hostname.clone(),
            subdomain: run.template.subdomain.clone(),
            address: allocation.address,
            interface: lxc_interface(&run.wanted.key),
            endpoint_id: allocation.endpoint_id,
            identity,
            labels: run.security_labels.clone(),
            dns_policy: run.template.dns_policy,
            workload,
            corefile,
        };
        all.remote.push(remote_pod(&pod, &node));
        all.pods.entry(node).or_default().push(pod);
    }
    (placements, all)
}

/// What the pod runs, with what it learns from its environment.
fn workload(run: &PodRun<'_>, services: &[Service]) -> Workload {
    let mut workload = run.template.workload.clone();
    if let (Workload::NodeCache(cache), Some(name)) =
        (&mut workload, &run.template.upstream_service)
    {
        let is_it =
            |service: &&Service| service.namespace == run.object.namespace && service.name == *name;
        let service = services.iter().find(is_it);
        cache.upstream = service.and_then(|service| service.cluster_ip);
    }
    workload
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

fn pod_placement(run: &PodRun<'_>, allocation: &PodAllocation) -> PodPlacement {
    PodPlacement {
        namespace: run.object.namespace.clone(),
        name: run.name.clone(),
        node: allocation.node.clone(),
        address: allocation.address,
        labels: run.wanted.labels.clone(),
        owner: run.wanted.owner.is_some().then(|| run.object.name.clone()),
    }
}

fn remote_pod(pod: &Pod, node: &str) -> RemotePod {
    RemotePod {
        namespace: pod.namespace.clone(),
        name: pod.name.clone(),
        node: node.to_owned(),
        address: pod.address,
        identity: pod.identity,
    }
}

fn peer(node: &Node, allocations: &Allocations) -> Peer {
    let allocation = &allocations.nodes[&node.name];
    Peer {
        name: node.name.clone(),
        address: address(node),
        pod_cidr: allocation.pod_cidr,
        cilium_host: allocation.cilium_host,
    }
}

fn address(node: &Node) -> Ipv4Addr {
    node.address
        .expect("a validated lab gives every cluster node an address")
}

fn node_identity(node: &Peer, control_plane: bool) -> NodeIdentity {
    NodeIdentity {
        name: node.name.clone(),
        address: node.address,
        pod_cidr: node.pod_cidr,
        cilium_host: node.cilium_host,
        control_plane,
    }
}
