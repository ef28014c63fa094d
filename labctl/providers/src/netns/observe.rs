//! What is there of a lab, seen from outside of it.

use std::collections::{BTreeMap, BTreeSet};

use lab_model::lab::Role;
use lab_model::plan::{BRIDGE, Cable, Observed, ObservedNode, ObservedSegment};
use lab_node::namespace;
use lab_node::netlink::{Link, Netlink};
use lab_node::node_network::{Snapshot, hosts_in};
use lab_node::process::is_in_netns;

use super::places::{Kind, Places};
use super::{Netns, agents, node, servers};
use crate::error::ProviderError;
use crate::parallel::parallel;
use crate::record;

impl Netns {
    /// Looks at everything of the lab. Changes nothing and takes no lock; without
    /// the lock, what another process does meanwhile may be seen half.
    ///
    /// # Errors
    /// When something that is there cannot be looked at. What is broken is no
    /// error, but part of what is observed.
    pub fn observe(&self, lab: &str) -> Result<Observed, ProviderError> {
        let places = &self.places(lab)?;
        let mut observed = Observed {
            lab: lab.to_owned(),
            exists: places.exist(),
            ..Observed::default()
        };
        if !observed.exists {
            return Ok(observed);
        }
        let names: Vec<_> = places.node_names()?.into_iter().collect();
        let seen = parallel(names, |name| Ok((look(places, &name)?, name)));
        let seen: Result<Vec<(Seen, String)>, ProviderError> = seen.into_iter().collect();
        let segment = segment_links(places)?;
        let (nodes, links) = seen?
            .into_iter()
            .map(|(seen, name)| ((name.clone(), seen.node), (name, seen.links)))
            .unzip();
        observed.nodes = nodes;
        plug_in(&mut observed, &links, segment.as_deref());
        observed.segment = segment.as_deref().map(ports);
        Ok(observed)
    }
}

/// A node, and what is needed to find the other ends of its cables.
struct Seen {
    node: ObservedNode,
    links: Vec<Link>,
}

fn look(places: &Places, name: &str) -> Result<Seen, ProviderError> {
    let mut node = ObservedNode {
        role: node::role_on_record(places, name)?,
        ..<_>::default()
    };
    let inside = match enter(places, name)? {
        Ok(inside) => inside,
        Err(fault) => {
            node.fault = Some(fault);
            return Ok(Seen {
                node,
                links: Vec::new(),
            });
        }
    };
    inside.describe(&mut node);
    let hosts = record::read_if_there(&places.node(name).join("etc/hosts"))?;
    node.hosts = hosts_in(&String::from_utf8_lossy(&hosts.unwrap_or_default()));
    node.service = servers::observe_service(places, name)?;
    if node.role.is_some_and(Role::runs_pods) {
        node.agent = agents::observe(places, name)?;
    }
    Ok(Seen {
        node,
        links: inside.links,
    })
}

/// Dumps the node's network, or says why the node cannot be mended.
fn enter(places: &Places, name: &str) -> Result<Result<Snapshot, String>, ProviderError> {
    let path = places.netns(name);
    if !namespace::is_netns(&path) {
        return Ok(Err("its network namespace is gone".to_owned()));
    }
    let netns = namespace::open(&path)?;
    let pids = places.cgroup_of(name, Kind::Pause).own_pids()?;
    if !pids
        .iter()
        .any(|pid| is_in_netns(*pid, &netns).unwrap_or(false))
    {
        return Ok(Err("its pause process is gone".to_owned()));
    }
    let inside = namespace::in_netns(&netns, Snapshot::take)?;
    inside.map(Ok).map_err(ProviderError::netlink(name))
}

/// Interfaces of the segment's namespace; none when there is no working bridge.
fn segment_links(places: &Places) -> Result<Option<Vec<Link>>, ProviderError> {
    let path = places.fabric();
    if !namespace::is_netns(&path) {
        return Ok(None);
    }
    let links = namespace::in_netns(namespace::open(&path)?, || Netlink::open()?.links())?;
    let links = links.map_err(ProviderError::netlink("the segment"))?;
    let works = links.iter().any(|link| is_bridge(link) && link.up);
    Ok(works.then_some(links))
}

fn is_bridge(link: &Link) -> bool {
    link.name == BRIDGE && link.kind == "bridge"
}

fn ports(links: &[Link]) -> ObservedSegment {
    let bridge = links
        .iter()
        .find(|link| is_bridge(link))
        .map(|link| link.index);
    let ports = links.iter().filter(|link| link.kind == "veth");
    let port = |link: &Link| (link.name.clone(), link.up && link.master == bridge);
    ObservedSegment {
        ports: ports.map(port).collect(),
    }
}

/// Finds what the veth interfaces of nodes are plugged into: two ends belong
/// together when each names the other's index.
fn plug_in(observed: &mut Observed, links: &BTreeMap<String, Vec<Link>>, segment: Option<&[Link]>) {
    let is_world = |name: &str| {
        observed
            .nodes
            .get(name)
            .is_some_and(|it| it.role == Some(Role::World))
    };
    let worlds: BTreeSet<String> = links
        .keys()
        .filter(|name| is_world(name))
        .cloned()
        .collect();
    let in_worlds = || {
        worlds
            .iter()
            .flat_map(|world| links[world].iter().map(move |it| (world, it)))
    };
    let mut found = Vec::new();
    for (node, own) in links.iter().filter(|(node, _)| !worlds.contains(*node)) {
        for link in own.iter().filter(|link| link.kind == "veth") {
            let port = segment
                .into_iter()
                .flatten()
                .find(|port| are_ends(link, port));
            if let Some(port) = port {
                let port = port.name.clone();
                found.push((node, &link.name, Cable::Segment { port }));
            } else if let Some((world, port)) = in_worlds().find(|(_, port)| are_ends(link, port)) {
                let name = port.name.clone();
                found.push((node, &link.name, Cable::Outside { port: name }));
                found.push((world, &port.name, Cable::Node));
            }
        }
    }
    for (node, interface, cable) in found {
        let interfaces = observed.nodes.get_mut(node).map(|it| &mut it.interfaces);
        if let Some(at) = interfaces.and_then(|it| it.get_mut(interface)) {
            at.cable = cable;
        }
    }
}

/// Indexes alone could agree by chance, of ends in different namespaces; that
/// both are in another namespace than their peer rules out most of it, and the
/// planner compares the port's name as well.
fn are_ends(one: &Link, other: &Link) -> bool {
    one.peer == Some(other.index)
        && other.peer == Some(one.index)
        && one.peer_netns_id.is_some()
        && other.peer_netns_id.is_some()
}
