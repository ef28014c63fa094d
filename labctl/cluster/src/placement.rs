//! Which node a pod runs on, and the address and endpoint id it gets there.
//!
//! In place of Kubernetes' scheduler, whose scores depend on what else happens
//! at the moment: the node with the fewest pods of the same owner, then with the
//! fewest pods, then the first in the lab file. The same objects always land on
//! the same nodes.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use crate::allocations::{NodeAllocation, PodAllocation};
use crate::ipam::{AddressPool, IpamError};
use crate::selector::{Labels, Selector};
use crate::stable_hash::{hash64, probe};

/// Highest endpoint id: that of Cilium's `pkg/endpointmanager/idallocator`.
const MAX_ENDPOINT_ID: u32 = 4095;

/// A pod that is to run somewhere.
#[derive(Clone, Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) key: String,
    /// Key of the Deployment it belongs to.
    pub(crate) owner: Option<String>,
    pub(crate) labels: Labels,
    pub(crate) node_name: Option<&'a str>,
    /// Whether its node's address is its own.
    pub(crate) host_network: bool,
    pub(crate) anti_affinity: &'a [Selector],
}

/// Why a pod runs nowhere.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PlacementError {
    #[error(transparent)]
    Ipam(#[from] IpamError),
    #[error("every node runs a pod that podAntiAffinity keeps {pod} away from")]
    AntiAffinity { pod: String },
    #[error("range is full: no node has a pod address or endpoint id left for {pod}")]
    ClusterFull { pod: String },
}

/// The nodes, and what has been placed on them so far.
#[derive(Debug)]
pub(crate) struct Placement<'a> {
    nodes: Vec<NodeLoad<'a>>,
}

#[derive(Debug)]
struct NodeLoad<'a> {
    name: &'a str,
    own_address: Ipv4Addr,
    addresses: AddressPool,
    endpoint_ids: BTreeSet<u16>,
    pods: Vec<Wanted<'a>>,
}

impl<'a> Placement<'a> {
    /// Empty nodes with their own addresses, in the order of the lab file.
    pub(crate) fn new(
        nodes: impl Iterator<Item = (&'a str, Ipv4Addr, &'a NodeAllocation)>,
    ) -> Self {
        let nodes = nodes.map(|(name, own_address, allocation)| {
            let mut addresses = AddressPool::new(allocation.pod_cidr);
            addresses.claim(allocation.cilium_host);
            NodeLoad {
                name,
                own_address,
                addresses,
                endpoint_ids: BTreeSet::new(),
                pods: Vec::new(),
            }
        });
        Self {
            nodes: nodes.collect(),
        }
    }

    /// Leaves a pod where it was, with what it had, unless its node is gone, it
    /// asks for another one, or its address is no longer to be had.
    pub(crate) fn keep(
        &mut self,
        pod: &Wanted<'a>,
        previous: &PodAllocation,
    ) -> Option<PodAllocation> {
        let elsewhere = pod.node_name.is_some_and(|name| name != previous.node);
        let node = self
            .nodes
            .iter_mut()
            .find(|node| node.name == previous.node && !elsewhere)?;
        if pod.host_network {
            return Some(node.host(pod));
        }
        if previous.endpoint_id == 0
            || node.endpoint_ids.contains(&previous.endpoint_id)
            || !node.addresses.claim(previous.address)
        {
            return None;
        }
        node.endpoint_ids.insert(previous.endpoint_id);
        node.pods.push(pod.clone());
        Some(previous.clone())
    }

    /// Finds a node, an address and an endpoint id for a new pod.
    pub(crate) fn place(&mut self, pod: &Wanted<'a>) -> Result<PodAllocation, PlacementError> {
        let node = match pod.node_name {
            // As the kubelet does, whatever the scheduler would say.
            Some(name) => self.nodes.iter_mut().find(|node| node.name == name),
            None => self.choose(pod)?,
        };
        let full = || PlacementError::ClusterFull {
            pod: pod.key.clone(),
        };
        let node = node.ok_or_else(full)?;
        if pod.host_network {
            return Ok(node.host(pod));
        }
        let address = node.addresses.allocate(&pod.key)?;
        let endpoint_id = node.endpoint_id(&pod.key).ok_or_else(full)?;
        node.pods.push(pod.clone());
        Ok(PodAllocation {
            node: node.name.to_owned(),
            address,
            endpoint_id,
        })
    }

    fn choose(&mut self, pod: &Wanted<'a>) -> Result<Option<&mut NodeLoad<'a>>, PlacementError> {
        if self.nodes.iter().all(|node| node.repels(pod)) {
            return Err(PlacementError::AntiAffinity {
                pod: pod.key.clone(),
            });
        }
        let with_room = self
            .nodes
            .iter_mut()
            .filter(|node| (pod.host_network || node.has_room()) && !node.repels(pod));
        // The first of equals: `min_by_key` keeps the order of the lab file.
        Ok(with_room.min_by_key(|node| (node.pods_of(pod), node.pods.len())))
    }
}

impl<'a> NodeLoad<'a> {
    /// Takes in a pod on the node's own network, which is no endpoint.
    fn host(&mut self, pod: &Wanted<'a>) -> PodAllocation {
        self.pods.push(pod.clone());
        PodAllocation {
            node: self.name.to_owned(),
            address: self.own_address,
            endpoint_id: 0,
        }
    }

    fn has_room(&self) -> bool {
        self.addresses.free() > 0 && self.endpoint_ids.len() < MAX_ENDPOINT_ID as usize
    }

    fn pods_of(&self, pod: &Wanted<'_>) -> usize {
        let same = |other: &&Wanted<'_>| pod.owner.is_some() && other.owner == pod.owner;
        self.pods.iter().filter(same).count()
    }

    /// Whether anti-affinity keeps the pod away from here. It works both ways: a
    /// pod that is here can also refuse the one that comes.
    fn repels(&self, pod: &Wanted<'_>) -> bool {
        let refuses = |who: &Wanted<'_>, whom: &Wanted<'_>| {
            who.anti_affinity
                .iter()
                .any(|selector| selector.matches(&whom.labels))
        };
        self.pods
            .iter()
            .filter(|other| other.namespace == pod.namespace)
            .any(|other| refuses(pod, other) || refuses(other, pod))
    }

    fn endpoint_id(&mut self, key: &str) -> Option<u16> {
        let taken =
            |slot: u32| u16::try_from(slot + 1).is_ok_and(|id| self.endpoint_ids.contains(&id));
        let slot = probe(hash64("endpoint", &[key]), MAX_ENDPOINT_ID, |slot| {
            !taken(slot)
        })?;
        let id = u16::try_from(slot + 1).ok()?;
        self.endpoint_ids.insert(id);
        Some(id)
    }
}

/// The address of a node's `cilium_host`: the previous one if it still lies in
/// the podCIDR, else the one that belongs to the node by hash.
pub(crate) fn cilium_host(
    node: &str,
    pod_cidr: ipnet::Ipv4Net,
    previous: Option<Ipv4Addr>,
) -> Result<Ipv4Addr, IpamError> {
    let mut pool = AddressPool::new(pod_cidr);
    match previous.filter(|&address| pool.claim(address)) {
        Some(address) => Ok(address),
        None => pool.allocate(&format!("cilium_host of {node}")),
    }
}
