//! Addresses: of the network, its nodes and their dummies, and what they may not
//! overlap with.

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;
use std::ops::Range;

use ipnet::Ipv4Net;

use super::{NodeEntry, Resolver};
use crate::diagnostic::{Diagnostic, nearest};
use crate::document::At;
use crate::lab::Role;

/// Ranges that have a meaning in every lab, or on every host.
const RESERVED: [(Ipv4Net, &str); 9] = [
    (net([10, 244, 0, 0], 16), "the range of the pods"),
    (net([10, 96, 0, 0], 16), "the range of the services"),
    (net([10, 0, 2, 0], 24), "the network of the outside"),
    (
        net([100, 64, 0, 0], 16),
        "by which the outside knows the nodes",
    ),
    (net([0, 0, 0, 0], 8), "which no host has (RFC 1122)"),
    (net([127, 0, 0, 0], 8), "the loopback range"),
    (net([169, 254, 0, 0], 16), "the link-local range"),
    (net([224, 0, 0, 0], 4), "the multicast range"),
    (net([240, 0, 0, 0], 4), "the reserved range (RFC 1112)"),
];

/// Index in [`RESERVED`] of the pods' range.
const PODS: usize = 0;

const fn net(octets: [u8; 4], prefix_len: u8) -> Ipv4Net {
    let [a, b, c, d] = octets;
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix_len)
}

/// The owner of a reserved range that overlaps with `range`.
fn reserved(range: Ipv4Net) -> Option<(Ipv4Net, &'static str)> {
    RESERVED
        .into_iter()
        .find(|(reserved, _)| overlap(*reserved, range))
}

/// The owner of a reserved range that all of `range` lies in; not that of the
/// pods, which nodes outside the cluster may route to.
pub(super) fn inside_reserved(range: Ipv4Net) -> Option<(Ipv4Net, &'static str)> {
    let others = RESERVED.into_iter().skip(PODS + 1);
    others
        .into_iter()
        .find(|(reserved, _)| reserved.contains(&range))
}

/// Whether all of `range` lies in the pods' range.
pub(super) fn inside_pods(range: Ipv4Net) -> bool {
    RESERVED[PODS].0.contains(&range)
}

/// Prefixes are nested or apart.
fn overlap(a: Ipv4Net, b: Ipv4Net) -> bool {
    a.contains(&b) || b.contains(&a)
}

/// A fault when the prefix has bits beyond its length.
pub(super) fn host_bits(at: &At<'_>, prefix: Ipv4Net) -> Option<Diagnostic> {
    (prefix.trunc() != prefix).then(|| {
        at.fault(format!(
            "`{prefix}` is an address in a network, not a network"
        ))
        .with_help(format!("did you mean `{}`?", prefix.trunc()))
    })
}

impl Resolver<'_> {
    pub(super) fn check_addresses(&mut self) {
        self.check_network();
        self.check_node_addresses();
        self.check_dummies();
    }

    fn check_network(&mut self) {
        let Some(network) = self.file.network else {
            return;
        };
        let at = self.root.key("network");
        if network.prefix_len() > 30 {
            let message = format!("network {network} is too small for two nodes");
            self.faults
                .push(at.fault(message).with_help("a /24 holds 254 nodes"));
        } else if let Some(fault) = host_bits(&at, network) {
            self.faults.push(fault);
        } else if let Some((range, owner)) = reserved(network) {
            let message = format!("network {network} overlaps with {range}, {owner}");
            self.faults.push(at.fault(message));
        }
    }

    fn check_node_addresses(&mut self) {
        let mut seen: HashMap<Ipv4Addr, (&str, Range<usize>)> = HashMap::new();
        for (at, name, node) in self.entries() {
            let address_at = at.key("address");
            let Some(address) = node.address else {
                // One that is no address, or under a misspelt key, has its fault already.
                let given = !address_at.to_json().is_null();
                let misspelt = at
                    .entries()
                    .any(|(key, _)| key != "address" && nearest(key, ["address"]).is_some());
                if !given && !misspelt && node.role.is_some_and(|role| role != Role::World) {
                    let message = format!("`nodes.{name}` lacks `address`");
                    self.faults.push(at.key_fault(message));
                }
                continue;
            };
            if node.role == Some(Role::World) {
                let message = format!("`{name}` is the world, which is not on the lab's network");
                self.faults
                    .push(address_at.fault(message).with_help("leave `address` out"));
                continue;
            }
            if let Some((other, first)) = seen.get(&address) {
                let message = format!("address {address} of `{name}` is that of `{other}` too");
                let fault = address_at.fault(message);
                self.faults
                    .push(fault.with_related(first.clone(), "first here"));
            } else {
                seen.insert(address, (name, address_at.span()));
                self.check_in_network(&address_at, name, address);
            }
        }
    }

    fn check_in_network(&mut self, at: &At<'_>, name: &str, address: Ipv4Addr) {
        let Some(network) = self
            .file
            .network
            .filter(|network| network.prefix_len() <= 30)
        else {
            return;
        };
        let what = if !network.contains(&address) {
            "outside the lab's network"
        } else if address == network.network() {
            "the address of the network itself"
        } else if address == network.broadcast() {
            "the network's broadcast address"
        } else {
            return;
        };
        let fault = at.fault(format!("address {address} of `{name}` is {what}"));
        let (first, last) = (network.hosts().next(), network.broadcast());
        let fault = match first {
            Some(first) => {
                let last = Ipv4Addr::from_bits(last.to_bits().saturating_sub(1));
                fault.with_help(format!("nodes of {network} have {first} to {last}"))
            }
            None => fault,
        };
        self.faults.push(fault);
    }

    fn check_dummies(&mut self) {
        // Apart from each other, by first address.
        let mut claimed: BTreeMap<Ipv4Addr, (Ipv4Net, Range<usize>)> = BTreeMap::new();
        for (at, _, node) in self.entries() {
            let dummies = at.key("dummies");
            for (dummy, address) in &node.dummies {
                let at = dummies.key(dummy);
                if !self.is_sound(&at, dummy, *address) {
                    continue;
                }
                let before = claimed.range(..=address.broadcast()).next_back();
                match before.filter(|(_, (other, _))| overlap(*other, *address)) {
                    Some((_, (other, first))) => {
                        let fault = at.fault(format!("`{address}` overlaps with `{other}`"));
                        self.faults
                            .push(fault.with_related(first.clone(), "first here"));
                    }
                    None => {
                        claimed.insert(address.network(), (*address, at.span()));
                    }
                }
            }
        }
    }

    /// Whether a dummy's address can be, whatever the others have.
    fn is_sound(&mut self, at: &At<'_>, dummy: &str, address: Ipv4Net) -> bool {
        let what = if address.prefix_len() <= 30 && address.addr() == address.network() {
            Some("the address of the network itself")
        } else if address.prefix_len() <= 30 && address.addr() == address.broadcast() {
            Some("the network's broadcast address")
        } else {
            None
        };
        if let Some(what) = what {
            self.faults
                .push(at.fault(format!("address {address} of `{dummy}` is {what}")));
            return false;
        }
        let network = self
            .file
            .network
            .filter(|network| overlap(*network, address));
        let owner = network.map(|network| (network, "the lab's network"));
        if let Some((range, owner)) = owner.or_else(|| reserved(address)) {
            let message = format!("address {address} of `{dummy}` overlaps with {range}, {owner}");
            self.faults.push(at.fault(message));
            return false;
        }
        true
    }
}

/// Whether a node of the lab's network can be a route's next hop.
pub(super) fn is_next_hop(node: &NodeEntry) -> Option<Ipv4Addr> {
    node.address.filter(|_| node.role != Some(Role::World))
}
