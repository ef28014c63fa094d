//! The pods behind a service, as the EndpointSlice controller finds them.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use lab_model::node_state::{Backend, Endpoint, Service, ServicePort, ServiceType, TrafficPolicy};

use super::ServiceObject;
use super::addresses::port_key;
use crate::allocations::ServiceAllocation;
use crate::object::{NamedPort, Object, PortSpec, TargetPort};
use crate::selector::Labels;

/// A pod that services may have behind them. One that is to run is taken for
/// ready: built-in workloads listen as soon as they run.
pub(crate) struct RunningPod<'a> {
    pub(crate) namespace: &'a str,
    /// `namespace/name`
    pub(crate) key: &'a str,
    pub(crate) node: &'a str,
    pub(crate) address: Ipv4Addr,
    pub(crate) labels: &'a Labels,
    /// Whether that address is its node's.
    pub(crate) host_network: bool,
    pub(crate) named_ports: &'a [NamedPort],
    pub(crate) hostname: Option<&'a str>,
    pub(crate) subdomain: Option<&'a str>,
}

/// The services with their addresses and backends.
pub(crate) fn resolve(
    services: &[ServiceObject<'_>],
    given: &BTreeMap<String, ServiceAllocation>,
    pods: &[RunningPod<'_>],
) -> Vec<Service> {
    let nothing = ServiceAllocation::default();
    let resolved = services.iter().map(|service| {
        let given = given.get(&service.object.key()).unwrap_or(&nothing);
        resolved(service, given, pods)
    });
    resolved.collect()
}

fn resolved(
    service: &ServiceObject<'_>,
    given: &ServiceAllocation,
    pods: &[RunningPod<'_>],
) -> Service {
    let ServiceObject { object, spec } = service;
    if let Some(external_name) = &spec.external_name {
        return alias(object, external_name);
    }
    let selected: Vec<&RunningPod<'_>> = pods
        .iter()
        .filter(|pod| pod.namespace == object.namespace && selects(&spec.selector, pod.labels))
        .collect();
    let port = |port: &PortSpec| ServicePort {
        name: port.name.clone(),
        protocol: port.protocol,
        port: port.port,
        node_port: given.node_ports.get(&port_key(port)).copied(),
        backends: backends(port, &selected),
    };
    Service {
        namespace: object.namespace.clone(),
        name: object.name.clone(),
        external_name: None,
        service_type: spec.service_type,
        cluster_ip: given.cluster_ip,
        load_balancer_ips: given.load_balancer_ips.clone(),
        source_ranges: spec.source_ranges.clone(),
        denies_source_ranges: spec.denies_source_ranges,
        external_ips: spec.external_ips.clone(),
        ports: spec.ports.iter().map(port).collect(),
        endpoints: endpoints(&object.name, &selected),
        external_traffic_policy: spec.external_traffic_policy,
        internal_traffic_policy: spec.internal_traffic_policy,
        session_affinity: spec.session_affinity,
    }
}

/// An alias of another name is the matter of DNS alone: whatever else the service says, nothing
/// leads to it (kube-proxy's `ShouldSkipService`; the EndpointSlice controller skips it too).
fn alias(object: &Object, external_name: &str) -> Service {
    Service {
        namespace: object.namespace.clone(),
        name: object.name.clone(),
        external_name: Some(external_name.to_owned()),
        service_type: ServiceType::ExternalName,
        cluster_ip: None,
        load_balancer_ips: Vec::new(),
        source_ranges: Vec::new(),
        denies_source_ranges: false,
        external_ips: Vec::new(),
        ports: Vec::new(),
        endpoints: Vec::new(),
        external_traffic_policy: TrafficPolicy::Cluster,
        internal_traffic_policy: TrafficPolicy::Cluster,
        session_affinity: None,
    }
}

/// Unlike an empty label selector, an empty service selector means no pods.
fn selects(selector: &Labels, labels: &Labels) -> bool {
    !selector.is_empty()
        && selector
            .iter()
            .all(|(key, value)| labels.get(key) == Some(value))
}

fn backends(port: &PortSpec, pods: &[&RunningPod<'_>]) -> Vec<Backend> {
    let backend = |pod: &&RunningPod<'_>| {
        Some(Backend {
            pod: pod.key.to_owned(),
            node: pod.node.to_owned(),
            address: pod.address,
            port: target_port(port, pod.named_ports)?,
        })
    };
    let mut backends: Vec<Backend> = pods.iter().filter_map(backend).collect();
    backends.sort_by_key(|backend| (backend.address, backend.port));
    backends
}

/// All of them, also where the service has no ports, or they have none of its names: a headless
/// service's names are those of its pods.
fn endpoints(service: &str, pods: &[&RunningPod<'_>]) -> Vec<Endpoint> {
    let endpoint = |pod: &&RunningPod<'_>| Endpoint {
        pod: pod.key.to_owned(),
        address: pod.address,
        // The EndpointSlice controller's `ShouldSetHostname`.
        hostname: pod
            .hostname
            .filter(|_| pod.subdomain == Some(service))
            .map(str::to_owned),
    };
    let mut endpoints: Vec<Endpoint> = pods.iter().map(endpoint).collect();
    endpoints.sort_by(|a, b| (a.address, &a.pod).cmp(&(b.address, &b.pod)));
    endpoints
}

/// A pod whose containers have no port of the name is behind other ports only.
fn target_port(port: &PortSpec, named_ports: &[NamedPort]) -> Option<u16> {
    match &port.target {
        TargetPort::Number(number) => Some(*number),
        TargetPort::Name(name) => named_ports
            .iter()
            .find(|named| named.name == *name && named.protocol == port.protocol)
            .map(|named| named.port),
    }
}
