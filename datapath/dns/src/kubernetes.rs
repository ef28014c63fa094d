//! The `kubernetes` plugin: the cluster's records (Kubernetes' DNS specification 1.1.0),
//! answered as CoreDNS 1.13 does.

mod answer;
mod index;
mod request;

use std::net::Ipv4Addr;
use std::sync::{Arc, PoisonError, RwLock};

use serde::{Deserialize, Serialize};

pub use answer::Plugin;
pub use index::Index;

/// The records that are in force; none until the first ones come. Clones are the same store.
#[derive(Clone, Debug, Default)]
pub struct Store(Arc<RwLock<Option<Arc<Index>>>>);

impl Store {
    /// Puts `records` in the place of those before.
    pub fn replace(&self, records: Records) {
        let index = Arc::new(Index::new(records));
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(index);
    }

    /// Those in force.
    #[must_use]
    pub fn current(&self) -> Option<Arc<Index>> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// What the cluster's names stand for: the document that whoever runs the server
/// writes and replaces, as JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Records {
    /// Serial of the zone's SOA: seconds since 1970 at the last change.
    pub serial: u32,
    /// Namespaces that there are, with or without services.
    pub namespaces: Vec<String>,
    /// Services by namespace and name.
    pub services: Vec<Service>,
    /// Pods by namespace and name.
    pub pods: Vec<Pod>,
}

/// A service, as names see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// Kubernetes namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// `externalName` of a service that is another name's alias: it has nothing else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_name: Option<String>,
    /// ClusterIP; none for a headless service.
    pub cluster_ip: Option<Ipv4Addr>,
    /// Ports, in the manifest's order.
    pub ports: Vec<Port>,
    /// Ready endpoints, by address.
    pub endpoints: Vec<Endpoint>,
}

/// A port of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Port {
    /// `name`, without which there is no SRV record.
    pub name: Option<String>,
    /// `tcp` or `udp`
    pub protocol: String,
    /// `port`
    pub port: u16,
}

/// A pod behind a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    /// Its address.
    pub address: Ipv4Addr,
    /// Name of the pod.
    pub pod: String,
    /// `hostname` of the pod, where its `subdomain` is the service; else its
    /// address with dashes is its name.
    pub hostname: Option<String>,
    /// Port behind each of the service's, in their order; none where the pod has
    /// no port of that name.
    pub ports: Vec<Option<u16>>,
}

/// A pod, for `pods verified` and the reverse zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pod {
    /// Kubernetes namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Its address.
    pub address: Ipv4Addr,
}
