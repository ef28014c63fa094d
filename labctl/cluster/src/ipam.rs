//! IP address management in `ipam.mode: kubernetes`: a podCIDR for each node out
//! of the cluster's range, and addresses for pods out of their node's podCIDR.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use crate::stable_hash::{hash64, probe};

/// The range that nodes get their podCIDRs from: kubeadm's `--pod-network-cidr`
/// in the study lab.
pub const CLUSTER_CIDR: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(10, 244, 0, 0), CLUSTER_PREFIX);
const CLUSTER_PREFIX: u8 = 16;

/// The most nodes that [`CLUSTER_CIDR`] has podCIDRs for.
pub const MAX_NODES: usize = 1 << (28 - CLUSTER_PREFIX);

/// Why an address or a podCIDR could not be given out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IpamError {
    /// Every address of the podCIDR is taken; the wording is Cilium's.
    #[error(
        "range is full: podCIDR {cidr} has {usable} usable addresses and none is left for {owner}"
    )]
    RangeFull {
        /// The podCIDR.
        cidr: Ipv4Net,
        /// How many addresses it had.
        usable: u32,
        /// What wanted one.
        owner: String,
    },
    /// More nodes than the cluster's range can be cut up for.
    #[error(
        "all pod CIDR ranges are exhausted: {CLUSTER_CIDR} can be cut up for {MAX_NODES} nodes, not {nodes}"
    )]
    CidrsExhausted {
        /// How many nodes there are.
        nodes: usize,
    },
}

/// Length of a podCIDR for so many nodes: Kubernetes' /24 up to 256 nodes, then
/// shorter ranges, so that labs of a thousand nodes come up too.
const fn node_prefix(nodes: usize) -> Option<u8> {
    match nodes {
        0..=256 => Some(24),
        257..=1024 => Some(26),
        1025..=MAX_NODES => Some(28),
        _ => None,
    }
}

/// A podCIDR for each of `nodes`, given in the order of the lab file. A node
/// keeps its previous one; new nodes take the lowest that are free.
///
/// # Errors
/// [`IpamError::CidrsExhausted`] beyond [`MAX_NODES`] nodes.
pub fn pod_cidrs<'a>(
    nodes: &[&'a str],
    previous: impl Fn(&str) -> Option<Ipv4Net>,
) -> Result<BTreeMap<&'a str, Ipv4Net>, IpamError> {
    let exhausted = IpamError::CidrsExhausted { nodes: nodes.len() };
    let prefix = node_prefix(nodes.len()).ok_or(exhausted.clone())?;
    let mut taken = BTreeSet::new();
    let mut cidrs = BTreeMap::new();
    for &node in nodes {
        let kept = previous(node).filter(|cidr| {
            cidr.prefix_len() == prefix && cidr.trunc() == *cidr && CLUSTER_CIDR.contains(cidr)
        });
        if let Some(cidr) = kept.filter(|cidr| taken.insert(*cidr)) {
            cidrs.insert(node, cidr);
        }
    }
    // CLUSTER_CIDR is wider than any podCIDR, so there are subnets to look through.
    let mut free = CLUSTER_CIDR
        .subnets(prefix)
        .into_iter()
        .flatten()
        .filter(|cidr| !taken.contains(cidr));
    for &node in nodes {
        if !cidrs.contains_key(node) {
            cidrs.insert(node, free.next().ok_or(exhausted.clone())?);
        }
    }
    Ok(cidrs)
}

/// The addresses of one podCIDR: which are given out, which are free.
#[derive(Clone, Debug)]
pub struct AddressPool {
    cidr: Ipv4Net,
    taken: BTreeSet<Ipv4Addr>,
}

impl AddressPool {
    /// A pool with every usable address of `cidr` free.
    #[must_use]
    pub fn new(cidr: Ipv4Net) -> Self {
        Self {
            cidr: cidr.trunc(),
            taken: BTreeSet::new(),
        }
    }

    /// How many addresses can be given out in all: every one but the network's
    /// and the broadcast address, hence none of a /31 or /32.
    #[must_use]
    pub fn usable(&self) -> u32 {
        let host_bits = u32::from(32 - self.cidr.prefix_len());
        let addresses = 1u64 << host_bits;
        u32::try_from(addresses.saturating_sub(2)).expect("2^32 - 2 fits")
    }

    /// How many addresses are left.
    #[must_use]
    pub fn free(&self) -> u32 {
        let taken = u32::try_from(self.taken.len()).unwrap_or(u32::MAX);
        self.usable().saturating_sub(taken)
    }

    /// Takes this very address; false if it is not usable here or already taken.
    pub fn claim(&mut self, address: Ipv4Addr) -> bool {
        let usable = self.cidr.contains(&address)
            && self.usable() > 0
            && address != self.cidr.network()
            && address != self.cidr.broadcast();
        usable && self.taken.insert(address)
    }

    /// Takes the address that belongs to `owner` by hash, or the next free one.
    ///
    /// # Errors
    /// [`IpamError::RangeFull`].
    pub fn allocate(&mut self, owner: &str) -> Result<Ipv4Addr, IpamError> {
        let first = u32::from(self.cidr.network()).wrapping_add(1);
        let address_of = |slot| Ipv4Addr::from(first.wrapping_add(slot));
        let slot = probe(hash64("address", &[owner]), self.usable(), |slot| {
            !self.taken.contains(&address_of(slot))
        });
        let address = slot.map(address_of).ok_or_else(|| IpamError::RangeFull {
            cidr: self.cidr,
            usable: self.usable(),
            owner: owner.to_owned(),
        })?;
        self.taken.insert(address);
        Ok(address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(cidr: &str) -> AddressPool {
        AddressPool::new(cidr.parse().unwrap())
    }

    /// Case 35 of Cilium's IPAM tests.
    #[test]
    fn network_and_broadcast_addresses_are_not_usable() {
        for (cidr, usable) in [
            ("10.0.0.0/28", 14),
            ("10.0.0.0/30", 2),
            ("10.0.0.0/31", 0),
            ("10.0.0.0/32", 0),
        ] {
            assert_eq!(pool(cidr).usable(), usable, "{cidr}");
        }
        assert_eq!(pool("0.0.0.0/0").usable(), u32::MAX - 1);
    }

    /// Cases 36 and 39: the whole range is given out, then the error names it.
    #[test]
    fn a_full_range_says_which_and_for_whom() {
        let mut pool = pool("10.244.1.0/27");
        let given: BTreeSet<_> = (0..30)
            .map(|n| pool.allocate(&format!("default/p{n}")).unwrap())
            .collect();
        assert_eq!(given.len(), 30);
        assert_eq!(pool.free(), 0);
        assert_eq!(
            pool.allocate("default/p30").unwrap_err().to_string(),
            "range is full: podCIDR 10.244.1.0/27 has 30 usable addresses and none is left for \
             default/p30"
        );
    }

    #[test]
    fn only_usable_addresses_can_be_claimed_and_only_once() {
        let mut pool = pool("10.244.1.0/24");
        assert!(!pool.claim(Ipv4Addr::new(10, 244, 1, 0)));
        assert!(!pool.claim(Ipv4Addr::new(10, 244, 1, 255)));
        assert!(!pool.claim(Ipv4Addr::new(10, 244, 2, 1)));
        assert!(pool.claim(Ipv4Addr::new(10, 244, 1, 1)));
        assert!(!pool.claim(Ipv4Addr::new(10, 244, 1, 1)));
    }

    #[test]
    fn nodes_get_pod_cidrs_in_the_order_of_the_lab_file() {
        let cidrs = pod_cidrs(&["k8s-w1", "k8s-ctr"], |_| None).unwrap();
        assert_eq!(cidrs["k8s-w1"].to_string(), "10.244.0.0/24");
        assert_eq!(cidrs["k8s-ctr"].to_string(), "10.244.1.0/24");
    }

    /// Case 38: a node keeps its podCIDR, and a released one is given out again.
    #[test]
    fn a_node_that_joins_takes_what_another_released() {
        let before = pod_cidrs(&["a", "b", "c"], |_| None).unwrap();
        let after = pod_cidrs(&["d", "c", "a"], |node| before.get(node).copied()).unwrap();
        assert_eq!(after["a"], before["a"]);
        assert_eq!(after["c"], before["c"]);
        assert_eq!(after["d"], before["b"]);
    }

    #[test]
    fn a_pod_cidr_that_two_nodes_claim_goes_to_the_first() {
        let same = "10.244.7.0/24".parse().unwrap();
        let cidrs = pod_cidrs(&["a", "b"], |_| Some(same)).unwrap();
        assert_eq!(cidrs["a"], same);
        assert_eq!(cidrs["b"].to_string(), "10.244.0.0/24");
    }

    #[test]
    fn pod_cidrs_shrink_for_a_thousand_nodes_and_then_run_out() {
        let names: Vec<String> = (0..=MAX_NODES).map(|n| format!("n{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let cidrs = pod_cidrs(&names[..1000], |_| None).unwrap();
        assert_eq!(cidrs["n999"].to_string(), "10.244.249.192/26");
        assert_eq!(
            pod_cidrs(&names, |_| None).unwrap_err().to_string(),
            "all pod CIDR ranges are exhausted: 10.244.0.0/16 can be cut up for 4096 nodes, not \
             4097"
        );
    }
}
