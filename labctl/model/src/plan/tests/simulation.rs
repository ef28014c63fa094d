//! A small machine that actions change as the kernel and the agents would.

use std::collections::{BTreeMap, BTreeSet};

use crate::lab::Role;
use crate::plan::{
    Action, Cable, MacAddress, OUTSIDE_INTERFACE, Observed, ObservedAgent, ObservedInterface,
    ObservedNode, ObservedSegment, ObservedService, Plan, Route, SEGMENT_INTERFACE, Wiring,
    port_name,
};

/// Does `action` where nodes are wired so.
pub(super) fn apply_with(wiring: Wiring, seen: &mut Observed, action: &Action) {
    match (wiring, action) {
        (Wiring::Machines, Action::CreateNode { node, .. }) => {
            apply(seen, action);
            bring_interfaces(seen, node);
        }
        (
            Wiring::Machines,
            Action::AttachSegment { .. }
            | Action::AttachOutside { .. }
            | Action::DetachSegment { .. }
            | Action::ConnectPort { .. },
        ) => panic!("a machine's cables are not labctl's: {action}"),
        _ => apply(seen, action),
    }
}

/// The interfaces of a new machine. Their hardware addresses may be those that
/// labctl marks its own by: QEMU is told which to use.
fn bring_interfaces(seen: &mut Observed, name: &str) {
    for interface in [OUTSIDE_INTERFACE, SEGMENT_INTERFACE] {
        let mac = MacAddress::of(&seen.lab, name, interface);
        add_interface(seen, name, interface, Cable::Given, mac);
    }
    let node = seen.nodes.get_mut(name).expect("the machine just made");
    let outside = "10.0.2.15/24".parse().expect("a CIDR");
    interface_mut(node, OUTSIDE_INTERFACE)
        .addresses
        .insert(outside);
    // As DHCP clients set it, and as systemd-networkd does with a fixed one.
    let via = |gateway: [u8; 4]| Route {
        to: ipnet::Ipv4Net::default(),
        via: Some(gateway.into()),
        dev: OUTSIDE_INTERFACE.to_owned(),
    };
    node.other_routes.insert(via([10, 0, 2, 2]));
    node.static_routes.insert(via([10, 0, 2, 3]));
}

/// Does `action`, and fails as the kernel would when something is in its way.
pub(super) fn apply(seen: &mut Observed, action: &Action) {
    match action {
        Action::CreateLab { .. } => seen.exists = true,
        Action::RemoveLab { .. } => {
            assert!(
                seen.nodes.is_empty() && seen.segment.is_none(),
                "the folder is not empty"
            );
            seen.exists = false;
        }
        Action::CreateSegment => {
            let before = seen.segment.replace(ObservedSegment::default());
            assert_eq!(before, None, "the segment is there");
        }
        Action::DeleteSegment => {
            seen.segment = None;
            unplug_segment(seen);
        }
        Action::CreateNode { node, role, hosts } => {
            assert!(!seen.nodes.contains_key(node), "{node} is there");
            seen.nodes.insert(node.clone(), new_node(*role, hosts));
        }
        Action::DeleteNode { node } => delete_node(seen, node),
        Action::DetachSegment { port } => detach_port(seen, port),
        Action::ConnectPort { port } => {
            if let Some(forwards) = segment(seen).ports.get_mut(port) {
                *forwards = true;
            }
        }
        Action::AttachSegment { node, port, mac } => {
            let before = segment(seen).ports.insert(port.clone(), true);
            assert_eq!(before, None, "port {port} is there");
            let cable = Cable::Segment { port: port.clone() };
            add_interface(seen, node, SEGMENT_INTERFACE, cable, *mac);
        }
        Action::AttachOutside {
            node,
            mac,
            world,
            port,
            port_mac,
        } => {
            let cable = Cable::Outside { port: port.clone() };
            add_interface(seen, node, OUTSIDE_INTERFACE, cable, *mac);
            add_interface(seen, world, port, Cable::Node, *port_mac);
        }
        Action::AddDummy {
            node,
            interface,
            mac,
        } => {
            add_interface(seen, node, interface, Cable::None, *mac);
        }
        Action::DeleteInterface { node, interface } => delete_interface(seen, node, interface),
        _ => apply_within(seen, action),
    }
}

/// Does an action that changes a node that is there and stays.
fn apply_within(seen: &mut Observed, action: &Action) {
    let name = action.node().expect("what is left changes a node");
    let node = seen
        .nodes
        .get_mut(name)
        .unwrap_or_else(|| panic!("no node for {action}"));
    assert_eq!(node.fault, None, "{action} on a broken node");
    match action {
        Action::SetUp { interface, .. } => interface_mut(node, interface).up = true,
        Action::DeleteAddress {
            interface, address, ..
        } => {
            let at = interface_mut(node, interface);
            at.addresses.remove(address);
            // devinet.c, __inet_del_ifa: secondaries go with their primary.
            at.addresses
                .retain(|other| other.trunc() != address.trunc());
            if at.addresses.is_empty() {
                drop_routes(node, interface);
            }
        }
        Action::AddAddress {
            interface, address, ..
        } => {
            interface_mut(node, interface).addresses.insert(*address);
        }
        Action::SetForwarding { enabled, .. } => node.forwarding = *enabled,
        Action::DeleteRoute { route, .. } => {
            node.static_routes.remove(route);
        }
        Action::ReplaceRoute { route, .. } => {
            let at = node
                .interfaces
                .get(&route.dev)
                .expect("a route's interface");
            assert!(
                at.up && at.cable != Cable::Other,
                "{route} by a dead interface"
            );
            node.static_routes.retain(|it| it.to != route.to);
            node.other_routes.retain(|it| it.to != route.to);
            node.static_routes.insert(route.clone());
        }
        Action::DeleteNeighbour { neighbour, .. } => {
            node.neighbours.remove(neighbour);
        }
        Action::SetNeighbour { neighbour, .. } => {
            assert!(node.interfaces.contains_key(&neighbour.dev), "{neighbour}");
            node.neighbours
                .retain(|it| (it.address, &it.dev) != (neighbour.address, &neighbour.dev));
            node.neighbours.insert(neighbour.clone());
        }
        Action::SetHosts { hosts, .. } => node.hosts = hosts.to_vec(),
        Action::StopService { .. } => node.service = None,
        Action::StartService { service, .. } => {
            assert_eq!(node.service, None, "a server runs");
            node.service = Some(ObservedService {
                service: service.clone(),
                alive: true,
            });
        }
        Action::StartAgent { .. } => node.agent.get_or_insert_default().alive = true,
        Action::StopAgent { .. } => {
            if let Some(agent) = &mut node.agent {
                agent.alive = false;
            }
        }
        Action::ApplyState { state, .. } => {
            let agent = node
                .agent
                .as_mut()
                .filter(|it| it.alive)
                .expect("an agent that runs");
            *agent = ObservedAgent {
                alive: true,
                applied: Some(state.clone()),
                drift: vec![],
            };
        }
        _ => panic!("not an action within a node: {action}"),
    }
}

pub(super) fn run(seen: &mut Observed, plan: &Plan) {
    run_with(Wiring::Cables, seen, plan);
}

pub(super) fn run_with(wiring: Wiring, seen: &mut Observed, plan: &Plan) {
    for step in &plan.steps {
        apply_with(wiring, seen, &step.action);
    }
}

fn new_node(role: Role, hosts: &[(std::net::Ipv4Addr, String)]) -> ObservedNode {
    let lo = ObservedInterface {
        cable: Cable::None,
        mac: MacAddress([0; 6]),
        up: true,
        addresses: BTreeSet::new(),
    };
    ObservedNode {
        role: Some(role),
        interfaces: BTreeMap::from([("lo".to_owned(), lo)]),
        forwarding: role.forwards(),
        hosts: hosts.to_vec(),
        ..ObservedNode::default()
    }
}

fn segment(seen: &mut Observed) -> &mut ObservedSegment {
    seen.segment.as_mut().expect("a segment")
}

fn interface_mut<'a>(node: &'a mut ObservedNode, name: &str) -> &'a mut ObservedInterface {
    node.interfaces
        .get_mut(name)
        .unwrap_or_else(|| panic!("no interface {name}"))
}

fn add_interface(seen: &mut Observed, node: &str, name: &str, cable: Cable, mac: MacAddress) {
    let node = seen
        .nodes
        .get_mut(node)
        .unwrap_or_else(|| panic!("no node {node}"));
    let at = ObservedInterface {
        cable,
        mac,
        up: true,
        addresses: BTreeSet::new(),
    };
    assert_eq!(
        node.interfaces.insert(name.to_owned(), at),
        None,
        "{name} is in the way"
    );
}

fn drop_routes(node: &mut ObservedNode, dev: &str) {
    node.static_routes.retain(|it| it.dev != dev);
    node.other_routes.retain(|it| it.dev != dev);
}

pub(super) fn remove_interface(node: &mut ObservedNode, name: &str) -> Option<Cable> {
    let at = node.interfaces.remove(name)?;
    drop_routes(node, name);
    node.neighbours.retain(|it| it.dev != name);
    Some(at.cable)
}

/// Removes an interface and what is at its other end.
pub(super) fn delete_interface(seen: &mut Observed, name: &str, interface: &str) {
    let node = seen
        .nodes
        .get_mut(name)
        .unwrap_or_else(|| panic!("no node {name}"));
    match remove_interface(node, interface) {
        Some(Cable::Segment { port }) => {
            if let Some(segment) = &mut seen.segment {
                segment.ports.remove(&port);
            }
        }
        Some(Cable::Outside { port }) => {
            let worlds = seen
                .nodes
                .values_mut()
                .filter(|it| it.role == Some(Role::World));
            worlds.for_each(|world| drop(remove_interface(world, &port)));
        }
        Some(Cable::Node) => {
            let far = seen
                .nodes
                .iter_mut()
                .find(|(node, _)| port_name(node) == interface);
            far.map(|(_, node)| remove_interface(node, OUTSIDE_INTERFACE));
        }
        _ => {}
    }
}

fn detach_port(seen: &mut Observed, port: &str) {
    segment(seen).ports.remove(port);
    let plugged = Cable::Segment {
        port: port.to_owned(),
    };
    for node in seen.nodes.values_mut() {
        let at = node.interfaces.iter().find(|(_, it)| it.cable == plugged);
        if let Some(name) = at.map(|(name, _)| name.clone()) {
            remove_interface(node, &name);
        }
    }
}

/// As in the kernel, far ends linger after a node: the plan has to remove them first.
fn delete_node(seen: &mut Observed, name: &str) {
    seen.nodes
        .remove(name)
        .unwrap_or_else(|| panic!("no node {name}"));
}

pub(super) fn unplug_segment(seen: &mut Observed) {
    let interfaces = seen
        .nodes
        .values_mut()
        .flat_map(|node| node.interfaces.values_mut());
    for at in interfaces.filter(|it| matches!(it.cable, Cable::Segment { .. })) {
        at.cable = Cable::Other;
    }
}
