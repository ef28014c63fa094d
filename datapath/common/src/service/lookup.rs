//! Which service an address is, and which of its backends is taken.

use super::{
    Affinity, AffinityKey, AffinityMatch, Backend, Config, ReverseNat, Service, ServiceKey,
    SkipKey, flag, flag2, scope,
};
use crate::address::{Address, Port};
use crate::endpoint::identity;

/// The maps of services, clock and randomness.
pub trait Services {
    /// What the agent says of this node.
    fn config(&self) -> Config;
    /// A service or a slot.
    fn service(&self, key: &ServiceKey) -> Option<Service>;
    /// A backend.
    fn backend(&self, id: u32) -> Option<Backend>;
    /// The frontend of the service with that id.
    fn reverse_nat(&self, id: u16) -> Option<ReverseNat>;
    /// A client's backend.
    fn affinity(&self, key: &AffinityKey) -> Option<Affinity>;
    /// Remembers a client's backend. Best effort: the next time it may get another.
    fn set_affinity(&self, key: &AffinityKey, value: &Affinity);
    /// Forgets a client's backend.
    fn forget_affinity(&self, key: &AffinityKey);
    /// Whether the service still has that backend.
    fn is_affinity_match(&self, key: &AffinityMatch) -> bool;
    /// Whether the pod is exempt from the frontend's local redirect policy.
    fn is_skipped(&self, key: &SkipKey) -> bool;
    /// Security identity behind the address.
    fn identity_of(&self, address: Address) -> Option<u32>;
    /// Seconds of `CLOCK_MONOTONIC`.
    fn seconds(&self) -> u32;
}

/// Where a packet or a socket comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A pod, or the node itself.
    Cluster,
    /// Anywhere else.
    Outside,
}

/// A service that was found, and under which key its slots are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Slot 0.
    pub key: ServiceKey,
    /// Its value.
    pub service: Service,
}

/// The service with that frontend (`lb4_lookup_service`).
#[inline(always)]
pub fn service<S: Services>(s: &S, key: ServiceKey, origin: Origin) -> Option<Found> {
    let service = s.service(&key)?;
    if matches!(origin, Origin::Cluster) && service.has2(flag2::TWO_SCOPES) {
        let key = key.in_scope(scope::INT);
        let service = s.service(&key)?;
        return Some(Found { key, service });
    }
    Some(Found { key, service })
}

/// The service with that frontend, or the NodePort that is meant by an address of any
/// node (`sock4_wildcard_lookup`).
#[inline(always)]
pub fn service_or_node_port<S: Services>(
    s: &S,
    config: &Config,
    key: ServiceKey,
    is_host: bool,
) -> Option<Found> {
    if let Some(found) = service(s, key, Origin::Cluster) {
        return Some(found);
    }
    if !config.is_node_port(key.port) {
        return None;
    }
    let is_loopback = key.address.bytes()[0] == 127;
    let is_node = if is_loopback {
        is_host
    } else {
        matches!(
            s.identity_of(key.address),
            Some(identity::HOST | identity::REMOTE_NODE)
        )
    };
    if !is_node {
        return None;
    }
    let anywhere = ServiceKey {
        address: Address::default(),
        ..key
    };
    let found = service(s, anywhere, Origin::Cluster)?;
    found.service.has(flag::NODE_PORT).then_some(found)
}

/// What a pod that is exempt from the frontend's redirect policy is to have: the
/// service without it. `Some` of the same service when it is not exempt.
#[inline(always)]
pub fn unless_skipped<S: Services>(
    s: &S,
    found: Found,
    netns_cookie: u64,
    address: Address,
    port: Port,
) -> Option<Found> {
    if !found.service.has2(flag2::LOCAL_REDIRECT) {
        return Some(found);
    }
    let skip = SkipKey {
        netns_cookie,
        address,
        port,
        padding: 0,
    };
    if !s.is_skipped(&skip) {
        return Some(found);
    }
    let key = found.key.in_scope(scope::UNREDIRECTED);
    let service = s.service(&key)?;
    Some(Found { key, service })
}

/// A backend of the service, and its id: the client's own, if the service keeps clients, or the
/// one at slot `draw` modulo their number. `None` when there is none.
#[inline(always)]
pub fn select<S: Services>(
    s: &S,
    found: &Found,
    client: &AffinityKey,
    draw: u32,
) -> Option<(u32, Backend)> {
    let service = &found.service;
    if service.count == 0 {
        return None;
    }
    let keeps = service.has(flag::AFFINITY);
    if keeps
        && let Some(id) = clients_backend(s, service, client)
        && let Some(backend) = s.backend(id)
    {
        return Some((id, backend));
    }
    let slot = (draw % u32::from(service.count)) as u16 + 1;
    let id = s.service(&found.key.at_slot(slot))?.backend_or_timeout;
    let backend = s.backend(id)?;
    if keeps {
        remember(s, client, id);
    }
    Some((id, backend))
}

/// The backend that the client had, unless that was too long ago or the service has
/// it no longer (`__lb4_affinity_backend_id`).
#[inline(always)]
fn clients_backend<S: Services>(s: &S, service: &Service, client: &AffinityKey) -> Option<u32> {
    let affinity = s.affinity(client)?;
    let now = u64::from(s.seconds());
    let is_late = affinity.last_used + u64::from(service.backend_or_timeout) <= now;
    let key = AffinityMatch {
        backend: affinity.backend,
        rev_nat_index: service.rev_nat_index,
        padding: 0,
    };
    if is_late || !s.is_affinity_match(&key) {
        s.forget_affinity(client);
        return None;
    }
    remember(s, client, affinity.backend);
    Some(affinity.backend)
}

#[inline(always)]
fn remember<S: Services>(s: &S, client: &AffinityKey, backend: u32) {
    let value = Affinity {
        last_used: u64::from(s.seconds()),
        backend,
        padding: 0,
    };
    s.set_affinity(client, &value);
}
