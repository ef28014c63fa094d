//! What each node is told: every allocation written down in its `NodeState`.

use std::collections::BTreeMap;

use lab_model::lab::{Lab, Node, Role};
use lab_model::node_state::{
    HostPod, Identity, NODE_STATE_VERSION, NodeIdentity, NodeState, NodeStates, Peer, Pod,
    RemotePod, Service, Workload,
};

use crate::allocations::{Allocations, PodAllocation};
use crate::compute::{Cluster, PodPlacement, address};
use crate::corefiles::Corefiles;
use crate::datapath_settings::datapath_settings;
use crate::dns::pod_dns;
use crate::identity;
use crate::names::lxc_interface;
use crate::pod_runs::PodRun;
use crate::services::Portals;

/// Writes the result down, node by node.
pub(crate) fn assemble(
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

fn node_identity(node: &Peer, control_plane: bool) -> NodeIdentity {
    NodeIdentity {
        name: node.name.clone(),
        address: node.address,
        pod_cidr: node.pod_cidr,
        cilium_host: node.cilium_host,
        control_plane,
    }
}
