//! What a node's network is made of: the values that plans are written in.

use std::fmt;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize, de};

/// Interface of every node but the world towards the outside.
pub const OUTSIDE_INTERFACE: &str = "eth0";
/// Interface of every node but the world on the lab's segment.
pub const SEGMENT_INTERFACE: &str = "eth1";
/// Interface that carries the world's own addresses. The underscore keeps it
/// apart from the ports beside it, which are named as nodes, by DNS labels.
pub const WORLD_INTERFACE: &str = "nat_gw";
/// Address of `eth0`, the same on every node, as behind VirtualBox's NAT.
pub const OUTSIDE_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
/// The nodes' gateway; an address of the world.
pub const OUTSIDE_GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
/// The nodes' name server; an address of the world.
pub const OUTSIDE_DNS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 3);
/// Prefix length of the network that those addresses are in.
pub(super) const OUTSIDE_PREFIX: u8 = 24;
/// The bridge that is the segment.
pub const BRIDGE: &str = "lab";

/// First address of 100.64.0.0/16, from which the world knows the nodes.
const WORLD_VIEW: u32 = u32::from_be_bytes([100, 64, 0, 0]);

/// Most nodes that one world can tell apart.
pub(super) const WORLD_VIEW_SIZE: u16 = u16::MAX - 1;

/// Address that the world knows its `number`th node by; 1 is the first.
pub(super) fn world_view(number: u16) -> Ipv4Addr {
    Ipv4Addr::from(WORLD_VIEW + u32::from(number))
}

/// The number of the node that the world knows by `address`.
pub(super) fn number_in_world_view(address: Ipv4Addr) -> Option<u16> {
    let number = u32::from(address).checked_sub(WORLD_VIEW)?;
    u16::try_from(number)
        .ok()
        .filter(|number| (1..=WORLD_VIEW_SIZE).contains(number))
}

/// A hardware address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct MacAddress(pub [u8; 6]);

impl MacAddress {
    /// The address of `interface` on `node`, the same on every `up`, so that a
    /// neighbour's cache stays right when the interface is made anew. Also the
    /// mark by which labctl knows its own interfaces from those made by hand.
    #[must_use]
    pub fn of(lab: &str, node: &str, interface: &str) -> Self {
        let [_, _, a, b, c, d, e, f] = fnv1a(&[lab, node, interface]).to_be_bytes();
        // Locally administered, unicast: IEEE 802-2014, 8.4.
        Self([(a & 0xfc) | 0x02, b, c, d, e, f])
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, f] = self.0;
        write!(out, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
    }
}

impl fmt::Debug for MacAddress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl From<MacAddress> for String {
    fn from(mac: MacAddress) -> Self {
        mac.to_string()
    }
}

impl TryFrom<String> for MacAddress {
    type Error = de::value::Error;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let byte = |part: &str| {
            let digits = part.len() == 2 && part.bytes().all(|it| it.is_ascii_hexdigit());
            u8::from_str_radix(part, 16).ok().filter(|_| digits)
        };
        let bytes: Option<Vec<u8>> = text.split(':').map(byte).collect();
        bytes
            .and_then(|bytes| bytes.try_into().ok())
            .map(Self)
            .ok_or_else(|| de::Error::custom(format_args!("{text:?} is no hardware address")))
    }
}

/// Name of the far end of a node's cable, on the segment and in the world: the
/// node's name, or as much of it as fits before a hash.
#[must_use]
pub fn port_name(node: &str) -> String {
    /// `IFNAMSIZ` without the terminating zero.
    const LONGEST: usize = 15;
    // "all" and "default" are refused by the kernel (sysctl_dev_name_is_allowed).
    let taken = ["lo", "all", "default", BRIDGE].contains(&node);
    if node.len() <= LONGEST && !taken {
        return node.to_owned();
    }
    // An underscore is in no node's name, so no other node's port is this one.
    let hash = fnv1a(&[node]) & 0xff_ffff;
    let kept: String = node.chars().take(LONGEST - 7).collect();
    format!("{kept}_{hash:06x}")
}

/// FNV-1a over the parts, each ended by a zero byte. `std`'s hasher may change
/// with the toolchain, and these hashes are compared with what an older labctl made.
fn fnv1a(parts: &[&str]) -> u64 {
    let bytes = parts.iter().flat_map(|part| part.bytes().chain([0]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// A unicast route of the main table, with metric 0.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Destination; 0.0.0.0/0 is the default route.
    pub to: Ipv4Net,
    /// Next hop; none when the destination is on the link.
    pub via: Option<Ipv4Addr>,
    /// Interface it leaves by.
    pub dev: String,
}

impl fmt::Display for Route {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.to.prefix_len(), self.via) {
            (0, _) => out.write_str("default")?,
            (32, _) => write!(out, "{}", self.to.addr())?,
            _ => write!(out, "{}", self.to)?,
        }
        match self.via {
            Some(via) => write!(out, " via {via} dev {}", self.dev),
            None => write!(out, " dev {} scope link", self.dev),
        }
    }
}

/// A permanent entry of the neighbour table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Neighbour {
    /// The neighbour's address.
    pub address: Ipv4Addr,
    /// Its hardware address.
    pub mac: MacAddress,
    /// Interface it is behind.
    pub dev: String,
}

impl fmt::Display for Neighbour {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{} lladdr {} dev {} nud permanent",
            self.address, self.mac, self.dev
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_named_as_nodes_where_the_kernel_lets_them() {
        assert_eq!(port_name("k8s-ctr"), "k8s-ctr");
        assert_eq!(port_name("exactly-15-byte"), "exactly-15-byte");
        for node in [
            "lab",
            "lo",
            "all",
            "default",
            "a-name-of-16-byt",
            &"x".repeat(63),
        ] {
            let port = port_name(node);
            assert!(port.len() <= 15 && port.contains('_'), "{node}: {port}");
        }
        assert_ne!(
            port_name("a-long-node-name-1"),
            port_name("a-long-node-name-2")
        );
    }

    #[test]
    fn hardware_addresses_are_stable_local_and_unicast() {
        let mac = MacAddress::of("study", "k8s-ctr", "eth1");
        assert_eq!(
            mac.to_string(),
            MacAddress::of("study", "k8s-ctr", "eth1").to_string()
        );
        assert_eq!(mac.0[0] & 3, 2);
        assert_ne!(mac, MacAddress::of("study", "k8s-ctr", "eth0"));
        // The parts are kept apart: "a", "bc" is not "ab", "c".
        assert_ne!(
            MacAddress::of("l", "a", "bc"),
            MacAddress::of("l", "ab", "c")
        );
    }

    #[test]
    fn the_worlds_numbers_go_there_and_back() {
        for number in [1, 255, 256, WORLD_VIEW_SIZE] {
            assert_eq!(number_in_world_view(world_view(number)), Some(number));
        }
        assert_eq!(world_view(1), Ipv4Addr::new(100, 64, 0, 1));
        assert_eq!(number_in_world_view(Ipv4Addr::new(10, 0, 0, 1)), None);
        assert_eq!(number_in_world_view(Ipv4Addr::new(100, 64, 0, 0)), None);
    }

    #[test]
    fn routes_read_as_ip_route_prints_them() {
        let route = |to: &str, via, dev: &str| Route {
            to: to.parse().expect("a CIDR"),
            via,
            dev: dev.to_owned(),
        };
        let gateway = Some(Ipv4Addr::new(192, 168, 10, 200));
        assert_eq!(
            route("10.10.0.0/16", gateway, "eth1").to_string(),
            "10.10.0.0/16 via 192.168.10.200 dev eth1"
        );
        assert_eq!(
            route("0.0.0.0/0", gateway, "eth0").to_string(),
            "default via 192.168.10.200 dev eth0"
        );
        assert_eq!(
            route("100.64.0.1/32", None, "k8s-ctr").to_string(),
            "100.64.0.1 dev k8s-ctr scope link"
        );
    }
}
