//! What is there, read in one go.

use std::collections::BTreeMap;

use lab_model::plan::{Cable, MacAddress, Neighbour, ObservedInterface, ObservedNode, Route};

use crate::netlink::{self, Link, Mac, Netlink, NetlinkError, protocol};
use crate::sysctl;

/// A network namespace, as dumped.
#[derive(Debug)]
pub struct Snapshot {
    /// Interfaces.
    pub links: Vec<Link>,
    addresses: Vec<netlink::Address>,
    /// Routes of table main.
    pub routes: Vec<netlink::Route>,
    neighbours: Vec<netlink::Neighbour>,
    forwarding: bool,
}

impl Snapshot {
    /// That of the calling thread's namespace.
    ///
    /// # Errors
    /// When a dump fails.
    pub fn take() -> Result<Self, NetlinkError> {
        let mut netlink = Netlink::open()?;
        Ok(Self {
            links: netlink.links()?,
            addresses: netlink.addresses()?,
            routes: netlink.routes()?,
            neighbours: netlink.neighbours()?,
            forwarding: sysctl::get("net.ipv4.ip_forward").is_ok_and(|value| value == "1"),
        })
    }

    /// Writes interfaces, routes, neighbours and forwarding into `node`. What
    /// cables lead to is not seen from inside: that is [`Cable::Other`].
    pub fn describe(&self, node: &mut ObservedNode) {
        node.forwarding = self.forwarding;
        node.interfaces = self.interfaces();
        self.routes(node);
    }

    fn interfaces(&self) -> BTreeMap<String, ObservedInterface> {
        let interface = |link: &Link| {
            let own = self.addresses.iter().filter(|it| it.device == link.index);
            let at = ObservedInterface {
                cable: match link.kind.as_str() {
                    "dummy" | "ifb" => Cable::None,
                    _ if link.name == "lo" => Cable::None,
                    _ => Cable::Other,
                },
                mac: MacAddress(link.mac.unwrap_or(Mac([0; 6])).0),
                up: link.up,
                addresses: own.map(|it| it.address).collect(),
            };
            (link.name.clone(), at)
        };
        self.links.iter().map(interface).collect()
    }

    /// Sorts routes into the lab's own and those made by others. The kernel's are
    /// neither: they come and go with addresses, and some are the node agent's.
    fn routes(&self, node: &mut ObservedNode) {
        let name = |index: u32| {
            let link = self.links.iter().find(|link| link.index == index);
            link.map(|link| link.name.clone())
        };
        for found in self.routes.iter().filter(|it| it.priority == 0) {
            let Some(dev) = found.device.and_then(name) else {
                continue;
            };
            let route = Route {
                to: found.destination,
                via: found.gateway,
                dev,
            };
            match found.protocol {
                protocol::STATIC => node.static_routes.insert(route),
                protocol::KERNEL => false,
                _ => node.other_routes.insert(route),
            };
        }
        let permanent = self.neighbours.iter().filter(|it| it.permanent);
        node.neighbours = permanent
            .filter_map(|it| {
                let mac = MacAddress(it.mac.0);
                Some(Neighbour {
                    address: it.address,
                    mac,
                    dev: name(it.device)?,
                })
            })
            .collect();
    }
}
