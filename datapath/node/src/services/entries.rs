//! What the maps of services must hold.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::Ipv4Net;
use lab_datapath_common::service::{
    AffinityMatch, Backend, ReverseNat, Service, ServiceKey, SkipKey, flag,
};
use lab_datapath_common::tuple::protocol;
use lab_model::node_state::Protocol;

use super::frontends::{Frontend, Frontends, LoadBalanced, Skips, number};
use super::ids::{BackendAddress, Ids};

/// The contents of the maps that the agent alone writes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Entries {
    pub(crate) services: BTreeMap<ServiceKey, Service>,
    pub(crate) backends: BTreeMap<u32, Backend>,
    pub(crate) reverse_nat: BTreeMap<u16, ReverseNat>,
    pub(crate) matches: BTreeSet<AffinityMatch>,
    pub(crate) skips: BTreeSet<SkipKey>,
    /// By service id.
    pub(crate) source_ranges: BTreeSet<(u16, Ipv4Net)>,
}

impl Entries {
    /// For `frontends`, with the numbers of `ids`. `cookies` are those of the pods'
    /// network namespaces, by `namespace/name`.
    pub(crate) fn new(
        frontends: &Frontends,
        skips: &Skips,
        ids: &Ids,
        cookies: &BTreeMap<String, u64>,
    ) -> Self {
        let backends = ids.backends.iter().map(|((address, port, protocol), id)| {
            let backend = Backend {
                address: (*address).into(),
                port: (*port).into(),
                protocol: number(*protocol),
                ..Backend::default()
            };
            (*id, backend)
        });
        let mut entries = Self {
            backends: backends.collect(),
            ..Self::default()
        };
        for ((frontend, scope), balanced) in frontends {
            if let Some(id) = ids.services.get(frontend) {
                entries.add(*frontend, *scope, *id, balanced, ids);
            }
        }
        for (pod, frontend) in skips {
            if let Some(cookie) = cookies.get(pod) {
                entries.skips.insert(SkipKey {
                    netns_cookie: *cookie,
                    address: frontend.address.into(),
                    port: frontend.port.into(),
                    padding: 0,
                });
            }
        }
        entries
    }

    fn add(
        &mut self,
        frontend: Frontend,
        scope: u8,
        rev_nat_index: u16,
        balanced: &LoadBalanced,
        ids: &Ids,
    ) {
        let key = ServiceKey::new(
            frontend.address.into(),
            frontend.port.into(),
            frontend.protocol_number(),
        )
        .in_scope(scope);
        let service = Service {
            rev_nat_index,
            flags: balanced.flags,
            flags2: balanced.flags2,
            ..Service::default()
        };
        let backends = balanced
            .backends
            .iter()
            .filter_map(|(address, port)| ids.backends.get(&(*address, *port, frontend.protocol)));
        let mut count = 0;
        for (slot, id) in (1..=u16::MAX).zip(backends) {
            let at_slot = Service {
                backend_or_timeout: *id,
                ..service
            };
            self.services.insert(key.at_slot(slot), at_slot);
            count = slot;
            if balanced.flags & flag::AFFINITY != 0 {
                self.matches.insert(AffinityMatch {
                    backend: *id,
                    rev_nat_index,
                    padding: 0,
                });
            }
        }
        let at_front = Service {
            backend_or_timeout: balanced.affinity,
            count,
            ..service
        };
        self.services.insert(key, at_front);
        let ranges = balanced.source_ranges.iter();
        self.source_ranges
            .extend(ranges.map(|range| (rev_nat_index, *range)));
        let reverse = ReverseNat {
            address: key.address,
            port: key.port,
            padding: 0,
        };
        self.reverse_nat.insert(rev_nat_index, reverse);
    }

    /// The numbers of frontends.
    pub(super) fn frontend_ids(&self) -> BTreeMap<Frontend, u16> {
        let frontends = self.services.iter().filter(|(key, _)| key.slot == 0);
        frontends
            .filter_map(|(key, service)| {
                let frontend = Frontend {
                    address: key.address.into(),
                    port: key.port.number(),
                    protocol: protocol_of(key.protocol)?,
                };
                Some((frontend, service.rev_nat_index))
            })
            .collect()
    }

    /// The numbers of backends.
    pub(super) fn backend_ids(&self) -> BTreeMap<BackendAddress, u32> {
        self.backends
            .iter()
            .filter_map(|(id, it)| {
                let protocol = protocol_of(it.protocol)?;
                Some(((it.address.into(), it.port.number(), protocol), *id))
            })
            .collect()
    }
}

/// The protocol with that IP protocol number.
pub(crate) const fn protocol_of(number: u8) -> Option<Protocol> {
    match number {
        protocol::TCP => Some(Protocol::Tcp),
        protocol::UDP => Some(Protocol::Udp),
        _ => None,
    }
}
