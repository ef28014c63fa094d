//! Services as the maps hold them: names and numbers rather than bytes.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use lab_model::node_state::Protocol;
use serde::{Deserialize, Serialize};

use crate::services::entries::{Entries, protocol_of};

/// A frontend of a service in one scope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceRecord {
    /// The service's id.
    pub id: u16,
    /// Address; unspecified for a NodePort on any address.
    pub address: Ipv4Addr,
    /// Port.
    pub port: u16,
    /// Protocol.
    pub protocol: Protocol,
    /// One of `lab_datapath_common::service::scope`.
    pub scope: u8,
    /// Bits of `lab_datapath_common::service::flag`.
    pub flags: u8,
    /// Bits of `lab_datapath_common::service::flag2`.
    pub flags2: u8,
    /// Addresses and ports, by slot.
    pub backends: Vec<(Ipv4Addr, u16)>,
    /// Clients from outside that it is there for, or not, as the flags say.
    pub source_ranges: Vec<Ipv4Net>,
}

impl ServiceRecord {
    /// Those of the maps, by id and scope.
    pub(crate) fn all(entries: &Entries) -> Vec<Self> {
        let frontends = entries.services.iter().filter(|(key, _)| key.slot == 0);
        let mut records: Vec<_> = frontends
            .filter_map(|(key, service)| {
                let slots = (1..=service.count).filter_map(|slot| {
                    let at_slot = entries.services.get(&key.at_slot(slot))?;
                    let backend = entries.backends.get(&at_slot.backend_or_timeout)?;
                    Some((backend.address.into(), backend.port.number()))
                });
                Some(Self {
                    id: service.rev_nat_index,
                    address: key.address.into(),
                    port: key.port.number(),
                    protocol: protocol_of(key.protocol)?,
                    scope: key.scope,
                    flags: service.flags,
                    flags2: service.flags2,
                    backends: slots.collect(),
                    source_ranges: entries
                        .source_ranges
                        .iter()
                        .filter(|(id, _)| *id == service.rev_nat_index)
                        .map(|(_, range)| *range)
                        .collect(),
                })
            })
            .collect();
        records.sort_by_key(|record| (record.id, record.scope));
        records
    }
}
