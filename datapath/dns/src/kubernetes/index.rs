//! The cluster's records by the names that are asked for: made once for each change,
//! so that no query searches.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};

use crate::plugin::wire_name;

use super::{Endpoint, Port, Records, Service};

/// Longest label, octets (RFC 1035 §2.3.4).
const MAX_LABEL: usize = 63;

/// Labels in wire format, lower case: `\x06webpod\x07default`.
pub(super) type Labels = Vec<u8>;

/// [`Records`], ready for queries.
#[derive(Debug, Default)]
pub struct Index {
    pub(super) serial: u32,
    /// Namespaces, each a label in wire format.
    namespaces: HashMap<Labels, String>,
    services: HashMap<Labels, IndexedService>,
    /// Services by ClusterIP, as the labels that they are found by.
    by_cluster_ip: HashMap<Ipv4Addr, Labels>,
    /// Endpoints by address: the service, and which of its endpoints.
    by_address: HashMap<Ipv4Addr, Vec<(Labels, usize)>>,
    pods: HashSet<(Labels, Ipv4Addr)>,
}

/// A service, and its endpoints by name.
#[derive(Debug)]
pub(super) struct IndexedService {
    pub(super) namespace: String,
    /// Another name, in wire format, that it is an alias of.
    pub(super) alias: Option<Vec<u8>>,
    pub(super) cluster_ip: Option<Ipv4Addr>,
    pub(super) ports: Vec<Port>,
    pub(super) endpoints: Vec<IndexedEndpoint>,
    /// By host name, or else address with dashes.
    by_name: HashMap<Labels, Vec<usize>>,
    /// By host name, or else name of the pod (`endpoint_pod_names`).
    by_pod_name: HashMap<Labels, Vec<usize>>,
}

/// An endpoint.
#[derive(Debug)]
pub(super) struct IndexedEndpoint {
    pub(super) address: Ipv4Addr,
    pub(super) ports: Vec<Option<u16>>,
    name: Labels,
    pod_name: Labels,
}

impl IndexedEndpoint {
    /// Its label.
    pub(super) fn label(&self, pod_names: bool) -> &[u8] {
        match pod_names {
            true => &self.pod_name,
            false => &self.name,
        }
    }
}

impl IndexedService {
    /// Endpoints with the label `name`.
    pub(super) fn endpoints_named(
        &self,
        name: &[u8],
        pod_names: bool,
    ) -> impl Iterator<Item = &IndexedEndpoint> {
        let by_name = match pod_names {
            true => &self.by_pod_name,
            false => &self.by_name,
        };
        let found = by_name.get(name).map(Vec::as_slice).unwrap_or_default();
        found.iter().filter_map(|at| self.endpoints.get(*at))
    }
}

impl Index {
    /// Sorts `records` by name. What can be no part of a name is left out.
    #[must_use]
    pub fn new(records: Records) -> Self {
        let mut index = Self {
            serial: records.serial,
            ..Self::default()
        };
        for namespace in records.namespaces {
            index.namespace(namespace);
        }
        for service in records.services {
            index.service(service);
        }
        for pod in records.pods {
            if let Some(namespace) = labels(&[&pod.namespace]) {
                index.pods.insert((namespace, pod.address));
            }
        }
        index
    }

    fn namespace(&mut self, name: String) {
        if let Some(label) = labels(&[&name]) {
            self.namespaces.insert(label, name);
        }
    }

    fn service(&mut self, service: Service) {
        let Some(key) = labels(&[&service.name, &service.namespace]) else {
            return;
        };
        // Its namespace exists, whether or not it is told.
        self.namespace(service.namespace.clone());
        if let Some(address) = service.cluster_ip {
            self.by_cluster_ip.insert(address, key.clone());
        }
        let endpoints: Vec<_> = service.endpoints.iter().filter_map(endpoint).collect();
        let mut by_name: HashMap<_, Vec<_>> = HashMap::new();
        let mut by_pod_name: HashMap<_, Vec<_>> = HashMap::new();
        for (at, endpoint) in endpoints.iter().enumerate() {
            by_name.entry(endpoint.name.clone()).or_default().push(at);
            let pod = by_pod_name.entry(endpoint.pod_name.clone());
            pod.or_default().push(at);
            let same = self.by_address.entry(endpoint.address);
            same.or_default().push((key.clone(), at));
        }
        let indexed = IndexedService {
            namespace: service.namespace,
            alias: service.external_name.as_deref().and_then(alias),
            cluster_ip: service.cluster_ip,
            ports: service.ports,
            endpoints,
            by_name,
            by_pod_name,
        };
        self.services.insert(key, indexed);
    }

    /// The namespace of that label.
    pub(super) fn namespace_of(&self, label: &[u8]) -> Option<&str> {
        self.namespaces.get(label).map(String::as_str)
    }

    /// The service of those two labels, its name and its namespace.
    pub(super) fn service_of(&self, labels: &[u8]) -> Option<&IndexedService> {
        self.services.get(labels)
    }

    /// The service with that ClusterIP, and its labels.
    pub(super) fn service_at(&self, address: Ipv4Addr) -> Option<(&[u8], &IndexedService)> {
        let labels = self.by_cluster_ip.get(&address)?;
        Some((labels, self.services.get(labels)?))
    }

    /// Endpoints with that address, and the labels of their services.
    pub(super) fn endpoints_at(
        &self,
        address: Ipv4Addr,
    ) -> impl Iterator<Item = (&[u8], &IndexedService, &IndexedEndpoint)> {
        let found = self.by_address.get(&address).map(Vec::as_slice);
        found.unwrap_or_default().iter().filter_map(|(labels, at)| {
            let service = self.services.get(labels)?;
            Some((labels.as_slice(), service, service.endpoints.get(*at)?))
        })
    }

    /// Whether there is a pod with that address in the namespace of that label.
    pub(super) fn has_pod(&self, namespace: &[u8], address: Ipv4Addr) -> bool {
        self.pods.contains(&(namespace.to_vec(), address))
    }
}

/// What a service of that external name leads to. What looks like an address is none
/// (Kubernetes' documentation of `ExternalName`; CoreDNS's `HostType`).
fn alias(name: &str) -> Option<Vec<u8>> {
    let is_address = name.parse::<IpAddr>().is_ok();
    wire_name(name).filter(|_| !is_address)
}

fn endpoint(endpoint: &Endpoint) -> Option<IndexedEndpoint> {
    let dashed = endpoint.address.to_string().replace('.', "-");
    let hostname = endpoint.hostname.as_deref().filter(|name| !name.is_empty());
    let pod = Some(endpoint.pod.as_str()).filter(|pod| !pod.is_empty());
    let name = labels(&[hostname.unwrap_or(&dashed)])?;
    // A pod's name may be longer than a label.
    let pod_name = labels(&[hostname.or(pod).unwrap_or(&dashed)]).or_else(|| labels(&[&dashed]))?;
    Some(IndexedEndpoint {
        address: endpoint.address,
        ports: endpoint.ports.clone(),
        name,
        pod_name,
    })
}

/// Labels in wire format, without the root; none if one is too long or empty.
pub(super) fn labels(names: &[&str]) -> Option<Labels> {
    let mut wire = Labels::new();
    for name in names {
        if name.is_empty() || name.len() > MAX_LABEL {
            return None;
        }
        wire.push(u8::try_from(name.len()).ok()?);
        wire.extend(name.bytes().map(|octet| octet.to_ascii_lowercase()));
    }
    Some(wire)
}
