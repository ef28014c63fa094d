//! ClusterIPs and node ports: those asked for, then those given before, then the
//! ones that belong to a service by hash, so that nothing moves that is still there.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::ops::Range;

use ipnet::Ipv4Net;
use lab_model::diagnostic::Diagnostics;
use lab_model::node_state::Protocol;
use lab_model::values::PortRange;

use super::ServiceObject;
use crate::allocations::{Allocations, ServiceAllocation};
use crate::faults::beside;
use crate::ipam::AddressPool;
use crate::object::{ClusterIp, Object, PortSpec};
use crate::stable_hash::{hash64, probe};

/// The range that services get their addresses from: kubeadm's
/// `--service-cidr` in the study lab.
const SERVICE_CIDR: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(10, 96, 0, 0), 16);

/// Addresses that a cluster's own services have, `kubernetes` and `kube-dns`: no
/// other gets one without asking for it.
const RESERVED: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 96, 0, 1), Ipv4Addr::new(10, 96, 0, 10)];

/// A value that has been asked for, by whom, and where.
type Claims<'a, K> = BTreeMap<K, (&'a Object, Range<usize>)>;

/// Gives every service what it asks for or needs. Services are looked at in the
/// order in which they come, which is that of their names.
pub(crate) fn allocate(
    services: &[ServiceObject<'_>],
    range: PortRange,
    previous: &Allocations,
    faults: &mut Diagnostics,
) -> BTreeMap<String, ServiceAllocation> {
    let addresses = cluster_ips(services, previous, faults);
    let ports = node_ports(services, range, previous, faults);
    let mut given: BTreeMap<String, ServiceAllocation> = BTreeMap::new();
    for (key, address) in addresses {
        given.entry(key).or_default().cluster_ip = Some(address);
    }
    for ((key, port), number) in ports {
        let node_ports = &mut given.entry(key).or_default().node_ports;
        node_ports.insert(port, number);
    }
    given
}

fn cluster_ips(
    services: &[ServiceObject<'_>],
    previous: &Allocations,
    faults: &mut Diagnostics,
) -> BTreeMap<String, Ipv4Addr> {
    let mut pool = AddressPool::new(SERVICE_CIDR);
    let mut given = explicit_ips(services, &mut pool, faults);
    for address in RESERVED {
        pool.claim(address);
    }
    let any: Vec<_> = services
        .iter()
        .filter(|service| service.spec.cluster_ip == ClusterIp::Any)
        .map(|service| (service.object.key(), service.object))
        .collect();
    for (key, _) in &any {
        let before = previous.services.get(key);
        let before = before.and_then(|before| before.cluster_ip);
        if let Some(address) = before.filter(|&address| pool.claim(address)) {
            given.insert(key.clone(), address);
        }
    }
    for (key, object) in any {
        if given.contains_key(&key) {
            continue;
        }
        match pool.allocate(&format!("service {key}")) {
            Ok(address) => {
                given.insert(key, address);
            }
            Err(_) => {
                let message = format!("range is full: no address of {SERVICE_CIDR} is left");
                faults.push(object.fault(&object.origin.name, message));
            }
        }
    }
    given
}

/// The addresses asked for by name.
fn explicit_ips(
    services: &[ServiceObject<'_>],
    pool: &mut AddressPool,
    faults: &mut Diagnostics,
) -> BTreeMap<String, Ipv4Addr> {
    let mut claims: Claims<'_, Ipv4Addr> = BTreeMap::new();
    let mut given = BTreeMap::new();
    for ServiceObject { object, spec } in services {
        let ClusterIp::Explicit(wanted) = &spec.cluster_ip else {
            continue;
        };
        let address = wanted.value;
        if let Some((other, span)) = claims.get(&address) {
            let message = format!("{address} is the clusterIP of Service `{}`", other.key());
            let fault = object.fault(&wanted.span, message);
            faults.push(beside(fault, object, other, span, "first given here"));
        } else if pool.claim(address) {
            claims.insert(address, (object, wanted.span.clone()));
            given.insert(object.key(), address);
        } else {
            let message = format!("{address} cannot be a clusterIP");
            let help = format!("clusterIPs are the addresses of {SERVICE_CIDR}, or leave it out");
            faults.push(object.fault(&wanted.span, message).with_help(help));
        }
    }
    given
}

/// A port's name among those of its service, which stays the same when others
/// come and go.
pub(super) fn port_key(port: &PortSpec) -> String {
    format!("{}/{}", port.port, port.protocol)
}

fn node_ports(
    services: &[ServiceObject<'_>],
    range: PortRange,
    previous: &Allocations,
    faults: &mut Diagnostics,
) -> BTreeMap<(String, String), u16> {
    let (mut given, mut taken) = explicit_ports(services, range, faults);
    let mut new = Vec::new();
    let with_ports = services
        .iter()
        .filter(|service| service.spec.service_type.is_external());
    for ServiceObject { object, spec } in with_ports {
        for port in spec.ports.iter().filter(|port| port.node_port.is_none()) {
            let (key, port_key) = (object.key(), port_key(port));
            let before = previous.services.get(&key);
            let before = before.and_then(|before| before.node_ports.get(&port_key));
            let kept = before
                .copied()
                .filter(|number| range.contains(*number) && taken.insert((*number, port.protocol)));
            match kept {
                Some(number) => {
                    given.insert((key, port_key), number);
                }
                None => new.push((*object, port, port_key)),
            }
        }
    }
    let size = u32::from(range.last() - range.first()) + 1;
    for (object, port, port_key) in new {
        let hash = hash64("node-port", &[&object.key(), &port_key]);
        let number = |slot: u32| {
            range
                .first()
                .saturating_add(u16::try_from(slot).unwrap_or(u16::MAX))
        };
        let slot = probe(hash, size, |slot| {
            !taken.contains(&(number(slot), port.protocol))
        });
        match slot.map(number) {
            Some(number) => {
                taken.insert((number, port.protocol));
                given.insert((object.key(), port_key), number);
            }
            None => {
                let message = format!("range is full: no port of nodePort.range {range} is left");
                faults.push(object.fault(&object.origin.name, message));
            }
        }
    }
    given
}

/// Node ports by service and port.
type NodePorts = BTreeMap<(String, String), u16>;

/// The node ports asked for by number, and all of them with their protocols.
fn explicit_ports(
    services: &[ServiceObject<'_>],
    range: PortRange,
    faults: &mut Diagnostics,
) -> (NodePorts, BTreeSet<(u16, Protocol)>) {
    let mut claims: Claims<'_, (u16, Protocol)> = BTreeMap::new();
    let mut given = BTreeMap::new();
    let asked = services.iter().flat_map(|service| {
        let with_port = |port| (service.object, port);
        service.spec.ports.iter().map(with_port)
    });
    for (object, port) in asked {
        let Some(wanted) = &port.node_port else {
            continue;
        };
        let number = wanted.value;
        if !range.contains(number) {
            let message = format!("{number} is not in nodePort.range, {range}");
            faults.push(object.fault(&wanted.span, message));
        } else if let Some((other, span)) = claims.get(&(number, port.protocol)) {
            let message = format!(
                "nodePort {number}/{} is that of Service `{}`",
                port.protocol,
                other.key()
            );
            let fault = object.fault(&wanted.span, message);
            faults.push(beside(fault, object, other, span, "first given here"));
        } else {
            claims.insert((number, port.protocol), (object, wanted.span.clone()));
            given.insert((object.key(), port_key(port)), number);
        }
    }
    (given, claims.into_keys().collect())
}
