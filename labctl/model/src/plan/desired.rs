//! What a lab file asks of each node, in the same terms as what is observed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

use ipnet::Ipv4Net;

use super::network::{
    MacAddress, Neighbour, OUTSIDE_ADDRESS, OUTSIDE_DNS, OUTSIDE_GATEWAY, OUTSIDE_INTERFACE,
    OUTSIDE_PREFIX, Route, SEGMENT_INTERFACE, WORLD_INTERFACE, WORLD_VIEW_SIZE,
    number_in_world_view, port_name, world_view,
};
use super::observed::{Cable, Observed, OutsideLink, Service};
use crate::lab::{Lab, Node, Role};
use crate::node_state::{NodeState, NodeStates};

/// Where the interfaces of nodes come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wiring {
    /// labctl plugs nodes together: a veth to the segment, another to the world.
    Cables,
    /// A node is a machine that comes with its interfaces. labctl gives `eth1` its
    /// lab address and makes dummies. `eth0`, its addresses and the default route
    /// are not labctl's, and no node plays the world.
    Machines,
}

/// A lab as it should be.
#[derive(Clone, Copy, Debug)]
pub struct Desired<'a> {
    /// The lab.
    pub lab: &'a Lab,
    /// What its cluster nodes are to be.
    pub node_states: &'a NodeStates,
    /// Where its nodes' interfaces come from.
    pub wiring: Wiring,
}

/// A node as it should be.
#[derive(Debug)]
pub(super) struct DesiredNode<'a> {
    pub(super) name: &'a str,
    pub(super) role: Role,
    pub(super) interfaces: BTreeMap<String, DesiredInterface>,
    pub(super) routes: BTreeSet<Route>,
    pub(super) neighbours: BTreeSet<Neighbour>,
    pub(super) service: Option<Service>,
    pub(super) state: Option<Arc<NodeState>>,
}

/// An interface as it should be.
#[derive(Debug)]
pub(super) struct DesiredInterface {
    pub(super) cable: Cable,
    pub(super) mac: MacAddress,
    pub(super) addresses: BTreeSet<Ipv4Net>,
}

impl<'a> Desired<'a> {
    /// Names and addresses for `/etc/hosts`, the same on every node.
    pub(super) fn hosts(&self) -> Vec<(Ipv4Addr, String)> {
        let address = |node: &Node| match node.role {
            Role::World => Some(OUTSIDE_GATEWAY),
            _ => node.address,
        };
        self.planned()
            .filter_map(|node| Some((address(node)?, node.name.clone())))
            .collect()
    }

    /// Nodes of the lab file that something is made for.
    fn planned(&self) -> impl Iterator<Item = &'a Node> + use<'a> {
        let outside = self.wiring == Wiring::Cables;
        let nodes = self.lab.nodes.iter();
        nodes.filter(move |node| outside || node.role != Role::World)
    }

    /// The node that plays the outside, if one does.
    pub(super) fn world(&self) -> Option<&'a Node> {
        self.planned().find(|node| node.role == Role::World)
    }

    /// Every node in the order of the lab file.
    pub(super) fn nodes(&self, observed: &Observed) -> Vec<DesiredNode<'a>> {
        let links = self.outside_links(observed);
        self.planned().map(|node| self.node(node, &links)).collect()
    }

    fn node(&self, node: &'a Node, links: &[(&str, OutsideLink)]) -> DesiredNode<'a> {
        let mut desired = DesiredNode {
            name: &node.name,
            role: node.role,
            interfaces: BTreeMap::new(),
            routes: BTreeSet::new(),
            neighbours: BTreeSet::new(),
            service: node.serve_http.map(|port| Service::Http { port }),
            state: self.node_states.get(&node.name).cloned().map(Arc::new),
        };
        if node.role == Role::World {
            self.furnish_world(&mut desired, node, links);
        } else {
            self.furnish(&mut desired, node);
        }
        for (name, address) in &node.dummies {
            self.interface(&mut desired, name, Cable::None, [*address].into());
        }
        for route in self.lab.routes_on(&node.name) {
            let dev = SEGMENT_INTERFACE.to_owned();
            desired.routes.insert(Route {
                to: route.to,
                via: Some(route.gateway),
                dev,
            });
        }
        desired
    }

    /// A node on the segment, and behind the world's translation where there is one.
    fn furnish(&self, desired: &mut DesiredNode<'_>, node: &Node) {
        let port = port_name(&node.name);
        let prefix = self.lab.network.prefix_len();
        let address = node
            .address
            .map(|address| Ipv4Net::new_assert(address, prefix));
        let addresses = address.into_iter().collect();
        let cable = match self.wiring {
            Wiring::Cables => Cable::Segment { port: port.clone() },
            Wiring::Machines => Cable::Given,
        };
        self.interface(desired, SEGMENT_INTERFACE, cable, addresses);
        if self.world().is_none() {
            return;
        }
        let addresses = [Ipv4Net::new_assert(OUTSIDE_ADDRESS, OUTSIDE_PREFIX)].into();
        self.interface(
            desired,
            OUTSIDE_INTERFACE,
            Cable::Outside { port },
            addresses,
        );
        let dev = OUTSIDE_INTERFACE.to_owned();
        let to = Ipv4Net::default();
        desired.routes.insert(Route {
            to,
            via: Some(OUTSIDE_GATEWAY),
            dev,
        });
    }

    /// The world: its own addresses, and a way back to every node. The nodes all
    /// call themselves 10.0.2.15, so the world neither routes nor asks by ARP for
    /// that: each is one address behind one interface.
    fn furnish_world(
        &self,
        desired: &mut DesiredNode<'_>,
        world: &Node,
        links: &[(&str, OutsideLink)],
    ) {
        let own = [OUTSIDE_GATEWAY, OUTSIDE_DNS]
            .map(|address| Ipv4Net::new_assert(address, OUTSIDE_PREFIX));
        self.interface(desired, WORLD_INTERFACE, Cable::None, own.into());
        for (node, link) in links {
            let dev = link.interface.clone();
            self.interface(desired, &dev, Cable::Node, BTreeSet::new());
            let mac = MacAddress::of(&self.lab.name, node, OUTSIDE_INTERFACE);
            desired.neighbours.insert(Neighbour {
                address: link.address,
                mac,
                dev: dev.clone(),
            });
            desired.routes.insert(Route {
                to: Ipv4Net::from(link.address),
                via: None,
                dev,
            });
        }
        let links = links.iter().map(|(_, link)| link.clone()).collect();
        let zone = world.zone.as_ref().map(|zone| zone.text.clone());
        desired.service = Some(Service::World { links, zone });
    }

    fn interface(
        &self,
        desired: &mut DesiredNode<'_>,
        name: &str,
        cable: Cable,
        addresses: BTreeSet<Ipv4Net>,
    ) {
        let mac = MacAddress::of(&self.lab.name, desired.name, name);
        desired.interfaces.insert(
            name.to_owned(),
            DesiredInterface {
                cable,
                mac,
                addresses,
            },
        );
    }

    /// By which address the world knows each node. A node keeps the one it has,
    /// so that a node added or removed moves no other.
    fn outside_links(&self, observed: &Observed) -> Vec<(&'a str, OutsideLink)> {
        let Some(world) = self.world() else {
            return Vec::new();
        };
        let mut kept = BTreeMap::new();
        for route in observed
            .nodes
            .get(&world.name)
            .into_iter()
            .flat_map(|it| &it.static_routes)
        {
            if let Some(number) = number_in_world_view(route.to.addr()) {
                kept.insert(route.dev.as_str(), number);
            }
        }
        let nodes = self
            .lab
            .nodes
            .iter()
            .filter(|node| node.role != Role::World);
        let ports: Vec<_> = nodes
            .map(|node| (node.name.as_str(), port_name(&node.name)))
            .collect();
        let mut taken = BTreeSet::new();
        let numbers: Vec<Option<u16>> = ports
            .iter()
            .map(|(_, port)| {
                kept.get(port.as_str())
                    .copied()
                    .filter(|it| taken.insert(*it))
            })
            .collect();
        let mut free = (1..=WORLD_VIEW_SIZE).filter(|number| !taken.contains(number));
        ports
            .into_iter()
            .zip(numbers)
            .filter_map(|((node, interface), number)| {
                let address = world_view(number.or_else(|| free.next())?);
                Some((node, OutsideLink { interface, address }))
            })
            .collect()
    }
}
