//! What was found, as records.

use std::collections::HashSet;
use std::net::IpAddr;

use domain::base::iana::{Rcode, Rtype};

use crate::message::Query;
use crate::plugin::{LocalReply, Section, Speaker, Step};

use super::super::index::Index;
use super::{Found, NS_DNS, Plugin, SVC};

/// Version of the specification, as a TXT record has it.
const VERSION: &[u8] = b"\x051.1.0";
const VERSION_TTL: u32 = 28_800;
/// A service's only priority, and what the records of one answer share (RFC 2782).
const PRIORITY: u16 = 0;
const WEIGHTS: u16 = 100;
const HOSTMASTER: &[u8] = b"\x0ahostmaster";
const REFRESH: u32 = 7200;
const RETRY: u32 = 1800;
const EXPIRE: u32 = 86_400;
/// TTL of the SOA record at most; its minimum is the plugin's `ttl`.
const MAX_SOA_TTL: u32 = 300;

impl Plugin {
    pub(super) fn soa(&self, zone: &[u8], serial: u32) -> Vec<u8> {
        let mut rdata = [NS_DNS, zone, HOSTMASTER, zone].concat();
        for number in [serial, REFRESH, RETRY, EXPIRE, self.settings.ttl] {
            rdata.extend(number.to_be_bytes());
        }
        rdata
    }

    pub(super) fn denial(&self, query: &Query<'_>, zone: &[u8], serial: u32, rcode: Rcode) -> Step {
        let mut reply = LocalReply::new(query, Speaker::Authority);
        reply.rcode(rcode);
        let soa = self.soa(zone, serial);
        reply.record(
            Section::Authority,
            zone,
            Rtype::SOA,
            self.settings.ttl.min(MAX_SOA_TTL),
            &soa,
        );
        Step::Answer(reply.finish())
    }

    /// The name doesn't exist.
    pub(super) fn unknown(&self, query: &Query<'_>, zone: &[u8], serial: u32) -> Step {
        if self.passing.passes(query.key().as_bytes()) {
            return Step::Next;
        }
        self.denial(query, zone, serial, Rcode::NXDOMAIN)
    }

    /// The records of `found` that are asked for, into a reply.
    pub(super) fn records(
        &self,
        query: &Query<'_>,
        index: &Index,
        zone: &[u8],
        found: &Found<'_>,
    ) -> LocalReply {
        let mut reply = LocalReply::new(query, Speaker::Authority);
        let (owner, ttl) = (query.name(), self.settings.ttl);
        match query.rtype() {
            rtype @ (Rtype::A | Rtype::AAAA) => {
                self.addresses(&mut reply, owner, rtype, found);
            }
            Rtype::SRV => self.srv(&mut reply, owner, zone, found),
            Rtype::TXT if found.text => {
                reply.record(Section::Answer, owner, Rtype::TXT, VERSION_TTL, VERSION);
            }
            Rtype::SOA if query.key().as_bytes() == zone => {
                let soa = self.soa(zone, index.serial);
                let ttl = ttl.min(MAX_SOA_TTL);
                reply.record(Section::Answer, owner, Rtype::SOA, ttl, &soa);
            }
            Rtype::NS if query.key().as_bytes() == zone => self.ns(&mut reply, owner, zone, index),
            _ => {}
        }
        reply
    }

    /// Adds the addresses of that type, and says whether there are any.
    pub(super) fn addresses(
        &self,
        reply: &mut LocalReply,
        owner: &[u8],
        rtype: Rtype,
        found: &Found<'_>,
    ) -> bool {
        let mut any = false;
        for address in found.addresses.iter().filter(|it| rtype_of(**it) == rtype) {
            let data = octets(*address);
            reply.record(Section::Answer, owner, rtype, self.settings.ttl, &data);
            any = true;
        }
        any
    }

    fn srv(&self, reply: &mut LocalReply, owner: &[u8], zone: &[u8], found: &Found<'_>) {
        let count = u16::try_from(found.services.len())
            .unwrap_or(u16::MAX)
            .max(1);
        let weight = (WEIGHTS / count).max(1);
        let target = |labels: &[&[u8]; 2]| [labels[0], labels[1], SVC, zone].concat();
        let mut seen = HashSet::new();
        for (port, labels, _) in &found.services {
            if seen.insert((*port, labels)) {
                let mut rdata = Vec::new();
                for number in [PRIORITY, weight, *port] {
                    rdata.extend(number.to_be_bytes());
                }
                rdata.extend(target(labels));
                reply.record(
                    Section::Answer,
                    owner,
                    Rtype::SRV,
                    self.settings.ttl,
                    &rdata,
                );
            }
        }
        let mut seen = HashSet::new();
        for (_, labels, address) in &found.services {
            if seen.insert((labels, address)) {
                let (name, address) = (target(labels), address.octets());
                reply.record(
                    Section::Additional,
                    &name,
                    Rtype::A,
                    self.settings.ttl,
                    &address,
                );
            }
        }
    }

    fn ns(&self, reply: &mut LocalReply, owner: &[u8], zone: &[u8], index: &Index) {
        let servers: Vec<_> = self.name_server(index).collect();
        let mut names: Vec<_> = servers.iter().map(|(name, _)| name).collect();
        names.dedup();
        for name in names {
            let name = [name, zone].concat();
            reply.record(Section::Answer, owner, Rtype::NS, self.settings.ttl, &name);
        }
        if servers.is_empty() {
            let name = [NS_DNS, zone].concat();
            reply.record(Section::Answer, owner, Rtype::NS, self.settings.ttl, &name);
        }
        for (name, address) in &servers {
            let (name, rtype) = ([name, zone].concat(), rtype_of(*address));
            reply.record(
                Section::Additional,
                &name,
                rtype,
                self.settings.ttl,
                &octets(*address),
            );
        }
    }
}

const fn rtype_of(address: IpAddr) -> Rtype {
    match address {
        IpAddr::V4(_) => Rtype::A,
        IpAddr::V6(_) => Rtype::AAAA,
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}
