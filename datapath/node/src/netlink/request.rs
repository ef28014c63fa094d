//! Requests as data, each printable as the `ip` or `tc` command of the same meaning.

use std::fmt::{self, Write as _};
use std::net::Ipv4Addr;
use std::os::fd::BorrowedFd;

use ipnet::Ipv4Net;

use super::filter::FilterPlace;
use super::mac::Mac;
use super::route::{Route, Scope, device};

/// What an interface is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LinkKind {
    /// A bridge.
    Bridge,
    /// An interface that swallows what is sent to it.
    Dummy,
    /// The nearest thing to a dummy on kernels without one.
    Ifb,
    /// A VXLAN tunnel whose far end, and network, are each packet's own
    /// (`external`, `IFLA_VXLAN_COLLECT_METADATA`).
    Vxlan {
        /// UDP port of the outer packets.
        port: u16,
    },
    /// The same with Geneve's header.
    Geneve {
        /// UDP port of the outer packets.
        port: u16,
    },
}

impl LinkKind {
    /// The kernel's and `ip`'s word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
            Self::Dummy => "dummy",
            Self::Ifb => "ifb",
            Self::Vxlan { .. } => "vxlan",
            Self::Geneve { .. } => "geneve",
        }
    }
}

/// An interface to be made: all of a plain one, or one end of a veth pair.
#[derive(Clone, Debug, Default)]
pub struct LinkEnd<'fd> {
    /// Name, at most 15 bytes.
    pub name: String,
    /// Index, where the caller wants to know it beforehand; in a new namespace
    /// `lo` is 1 and all others are free. The kernel's choice otherwise. The
    /// peer of a veth pair gets the index it asks for only when the other end
    /// asks for one too (`veth_newlink`).
    pub index: Option<u32>,
    /// Ethernet address; random otherwise.
    pub mac: Option<Mac>,
    /// MTU in bytes; 1500 otherwise.
    pub mtu: Option<u32>,
    /// Namespace the interface is born in; the socket's own otherwise.
    pub netns: Option<BorrowedFd<'fd>>,
}

impl<'fd> LinkEnd<'fd> {
    /// An interface of that name, all else left to the kernel.
    #[must_use]
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            ..Self::default()
        }
    }

    /// Born in `netns`.
    #[must_use]
    pub fn in_netns(mut self, netns: BorrowedFd<'fd>) -> Self {
        self.netns = Some(netns);
        self
    }

    /// With the Ethernet address `mac`.
    #[must_use]
    pub fn mac(mut self, mac: Mac) -> Self {
        self.mac = Some(mac);
        self
    }

    /// With the index `index`.
    #[must_use]
    pub fn index(mut self, index: u32) -> Self {
        self.index = Some(index);
        self
    }

    /// With an MTU of `mtu` bytes.
    #[must_use]
    pub fn mtu(mut self, mtu: u32) -> Self {
        self.mtu = Some(mtu);
        self
    }

    fn describe(&self, text: &mut String) {
        text.push_str(&self.name);
        if let Some(index) = self.index {
            let _ = write!(text, " index {index}");
        }
        if let Some(mac) = self.mac {
            let _ = write!(text, " address {mac}");
        }
        if let Some(mtu) = self.mtu {
            let _ = write!(text, " mtu {mtu}");
        }
        if self.netns.is_some() {
            text.push_str(" netns …");
        }
    }
}

/// Changes to an existing interface; `None` leaves a property as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkChange {
    /// Up or down.
    pub up: Option<bool>,
    /// Index of the bridge to become a port of; `Some(None)` leaves the bridge.
    pub master: Option<Option<u32>>,
    /// MTU in bytes.
    pub mtu: Option<u32>,
    /// Ethernet address.
    pub mac: Option<Mac>,
    /// Whether neighbours are asked for their Ethernet address (`IFF_NOARP`); those of
    /// an interface that does not ask have its own.
    pub arp: Option<bool>,
}

impl LinkChange {
    /// Sets the interface up, and changes nothing else.
    #[must_use]
    pub fn up() -> Self {
        Self {
            up: Some(true),
            ..Self::default()
        }
    }

    /// Sets the MTU to `mtu` bytes, and changes nothing else.
    #[must_use]
    pub fn mtu(mtu: u32) -> Self {
        Self {
            mtu: Some(mtu),
            ..Self::default()
        }
    }
}

/// One rtnetlink request.
#[derive(Clone, Debug)]
pub enum Request<'fd> {
    /// Makes a veth pair, each end in its own namespace, in one step. `end`
    /// starts up; `peer` cannot, as the kernel opens it before it joins the two
    /// (`ENOTCONN` of `veth_open`), and waits for a [`Request::SetLink`].
    AddVeth {
        /// One end.
        end: LinkEnd<'fd>,
        /// Index of the bridge that `end` becomes a port of, in `end`'s namespace.
        master: Option<u32>,
        /// The other end.
        peer: LinkEnd<'fd>,
    },
    /// Makes a plain interface that is up from the start.
    AddLink {
        /// What it is.
        kind: LinkKind,
        /// All else about it.
        end: LinkEnd<'fd>,
    },
    /// Removes an interface, and with it the peer of a veth pair.
    DeleteLink {
        /// Its name.
        name: String,
    },
    /// Changes an interface.
    SetLink {
        /// Its name.
        name: String,
        /// What to change.
        change: LinkChange,
    },
    /// Adds an address. A /32 brings no route with it.
    AddAddress {
        /// Index of the interface.
        device: u32,
        /// Address and prefix length.
        address: Ipv4Net,
        /// Reach: `Universe`, or `Link` for addresses that stay on the link.
        scope: Scope,
    },
    /// Removes an address.
    DeleteAddress {
        /// Index of the interface.
        device: u32,
        /// Address and prefix length.
        address: Ipv4Net,
    },
    /// Adds a route; `EEXIST` when one for the same destination, table and
    /// priority is there.
    AddRoute(Route),
    /// Adds a route, or puts it in the place of the one that is there.
    ReplaceRoute(Route),
    /// Removes a route.
    DeleteRoute(Route),
    /// Adds or changes a permanent neighbour entry.
    ReplaceNeighbour {
        /// Index of the interface.
        device: u32,
        /// The neighbour's address.
        address: Ipv4Addr,
        /// Its Ethernet address.
        mac: Mac,
    },
    /// Removes a neighbour entry.
    DeleteNeighbour {
        /// Index of the interface.
        device: u32,
        /// The neighbour's address.
        address: Ipv4Addr,
    },
    /// Adds the qdisc that has classifiers for both ways; `EEXIST` when it, or one that
    /// takes its place, is there.
    AddClsact {
        /// Index of the interface.
        device: u32,
    },
    /// Removes that qdisc, and all its classifiers with it.
    DeleteClsact {
        /// Index of the interface.
        device: u32,
    },
    /// Adds a classifier, or puts its program in the place of the one that is there,
    /// between two packets.
    ReplaceFilter {
        /// Where.
        place: FilterPlace,
        /// What it is told by, as a rule its program's.
        name: String,
        /// Its program.
        program: BorrowedFd<'fd>,
    },
    /// Removes a classifier.
    DeleteFilter {
        /// Where.
        place: FilterPlace,
    },
}

impl Request<'_> {
    /// Whether the request takes something away.
    #[must_use]
    pub fn is_removal(&self) -> bool {
        matches!(
            self,
            Self::DeleteLink { .. }
                | Self::DeleteAddress { .. }
                | Self::DeleteRoute(_)
                | Self::DeleteNeighbour { .. }
                | Self::DeleteClsact { .. }
                | Self::DeleteFilter { .. }
        )
    }

    /// As an `ip` or `tc` command; `name_of` gives the name of an interface's index.
    #[must_use]
    pub fn describe(&self, name_of: impl Fn(u32) -> Option<String>) -> String {
        let dev = |index| device(index, &name_of);
        match self {
            Self::AddVeth { end, master, peer } => {
                let mut text = "ip link add ".to_owned();
                end.describe(&mut text);
                if let Some(master) = master {
                    let _ = write!(text, " master {}", dev(*master));
                }
                text.push_str(" up type veth peer ");
                peer.describe(&mut text);
                text
            }
            Self::AddLink { kind, end } => {
                let mut text = "ip link add ".to_owned();
                end.describe(&mut text);
                text = text + " up type " + kind.as_str();
                match kind {
                    LinkKind::Vxlan { port } => {
                        let _ = write!(text, " external nolearning dstport {port}");
                    }
                    LinkKind::Geneve { port } => {
                        let _ = write!(text, " external dstport {port}");
                    }
                    _ => {}
                }
                text
            }
            Self::DeleteLink { name } => format!("ip link del {name}"),
            Self::SetLink { name, change } => describe_change(name, change, &name_of),
            Self::AddAddress {
                device,
                address,
                scope,
            } if *scope == Scope::Universe => {
                format!("ip addr add {address} dev {}", dev(*device))
            }
            Self::AddAddress {
                device,
                address,
                scope,
            } => {
                format!("ip addr add {address} dev {} scope {scope}", dev(*device))
            }
            Self::DeleteAddress { device, address } => {
                format!("ip addr del {address} dev {}", dev(*device))
            }
            Self::AddRoute(route) => format!("ip route add {}", route.describe(name_of)),
            Self::ReplaceRoute(route) => format!("ip route replace {}", route.describe(name_of)),
            Self::DeleteRoute(route) => format!("ip route del {}", route.describe(name_of)),
            Self::ReplaceNeighbour {
                device,
                address,
                mac,
            } => {
                format!(
                    "ip neigh replace {address} lladdr {mac} nud permanent dev {}",
                    dev(*device)
                )
            }
            Self::DeleteNeighbour { device, address } => {
                format!("ip neigh del {address} dev {}", dev(*device))
            }
            Self::AddClsact { device } => format!("tc qdisc add dev {} clsact", dev(*device)),
            Self::DeleteClsact { device } => format!("tc qdisc del dev {} clsact", dev(*device)),
            Self::ReplaceFilter { place, name, .. } => {
                let place = place.describe(&dev(place.device));
                format!("tc filter replace {place} direct-action name {name}")
            }
            Self::DeleteFilter { place } => {
                format!("tc filter del {}", place.describe(&dev(place.device)))
            }
        }
    }
}

impl fmt::Display for Request<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.describe(|_| None))
    }
}

fn describe_change(
    name: &str,
    change: &LinkChange,
    name_of: &dyn Fn(u32) -> Option<String>,
) -> String {
    let mut text = format!("ip link set {name}");
    if let Some(mac) = change.mac {
        let _ = write!(text, " address {mac}");
    }
    if let Some(mtu) = change.mtu {
        let _ = write!(text, " mtu {mtu}");
    }
    match change.master {
        Some(Some(master)) => {
            let _ = write!(text, " master {}", device(master, name_of));
        }
        Some(None) => text.push_str(" nomaster"),
        None => {}
    }
    match change.arp {
        Some(true) => text.push_str(" arp on"),
        Some(false) => text.push_str(" arp off"),
        None => {}
    }
    match change.up {
        Some(true) => text.push_str(" up"),
        Some(false) => text.push_str(" down"),
        None => {}
    }
    text
}
