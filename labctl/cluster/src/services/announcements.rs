//! Who announces which address to the segment (`CiliumL2AnnouncementPolicy`).

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use lab_model::lab::{Lab, Node, Role};
use lab_model::node_state::{Announcement, Service};

use super::{ServiceObject, service_labels};
use crate::object::{Kind, L2AnnouncementPolicy, Object};
use crate::selector::Labels;
use crate::stable_hash::hash64;

/// The addresses that nodes announce, each with the nodes that may, in the order in
/// which they do.
pub(crate) fn announcements(
    lab: &Lab,
    devices: &[String],
    objects: &[&Object],
    services: &[(ServiceObject<'_>, &Service)],
) -> Vec<Announcement> {
    let policies: Vec<&L2AnnouncementPolicy> = objects
        .iter()
        .filter_map(|object| match &object.kind {
            Kind::L2AnnouncementPolicy(policy) => Some(policy),
            _ => None,
        })
        .collect();
    let mut announcements = Vec::new();
    for (object, service) in services {
        let labels = service_labels(object.object);
        let selects = |policy: &&&L2AnnouncementPolicy| {
            let selector = policy.service_selector.as_ref();
            selector.is_none_or(|selector| selector.matches(&labels))
        };
        let selecting: Vec<_> = policies.iter().filter(selects).copied().collect();
        let candidates = candidates(lab, &selecting, &service.key());
        if candidates.is_empty() {
            continue;
        }
        for address in addresses(service, &selecting) {
            announcements.push(Announcement {
                address,
                service: service.key(),
                interfaces: interfaces(devices, &selecting),
                candidates: candidates.clone(),
            });
        }
    }
    announcements.sort_by(|a, b| (a.address, &a.service).cmp(&(b.address, &b.service)));
    announcements
}

fn addresses(service: &Service, policies: &[&L2AnnouncementPolicy]) -> BTreeSet<Ipv4Addr> {
    let any = |asks: fn(&L2AnnouncementPolicy) -> bool| policies.iter().any(|policy| asks(policy));
    let mut addresses = BTreeSet::new();
    if any(|policy| policy.load_balancer_ips) {
        addresses.extend(&service.load_balancer_ips);
    }
    if any(|policy| policy.external_ips) {
        addresses.extend(&service.external_ips);
    }
    addresses
}

fn interfaces(devices: &[String], policies: &[&L2AnnouncementPolicy]) -> Vec<String> {
    let means = |device: &&String| {
        policies.iter().any(|policy| {
            policy.interfaces.is_empty() || policy.interfaces.iter().any(|it| it.is_match(device))
        })
    };
    devices.iter().filter(means).cloned().collect()
}

/// The nodes that may announce a service, by rendezvous hashing: all nodes agree
/// on the order, and services spread over them.
fn candidates(lab: &Lab, policies: &[&L2AnnouncementPolicy], service: &str) -> Vec<String> {
    let may = |node: &&Node| {
        let labels = node_labels(node);
        policies.iter().any(|policy| {
            let selector = policy.node_selector.as_ref();
            selector.is_none_or(|selector| selector.matches(&labels))
        })
    };
    let mut nodes: Vec<&str> = lab
        .cluster_nodes()
        .filter(may)
        .map(|node| node.name.as_str())
        .collect();
    nodes.sort_by_key(|node| (hash64("l2-announcement", &[service, node]), *node));
    nodes.into_iter().map(str::to_owned).collect()
}

/// The labels that kubeadm and the kubelet give a node.
fn node_labels(node: &Node) -> Labels {
    let mut labels = Labels::from([
        ("kubernetes.io/hostname".to_owned(), node.name.clone()),
        ("kubernetes.io/os".to_owned(), "linux".to_owned()),
    ]);
    if node.role == Role::ControlPlane {
        let key = "node-role.kubernetes.io/control-plane";
        labels.insert(key.to_owned(), String::new());
    }
    labels
}
