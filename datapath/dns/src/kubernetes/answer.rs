//! Answers out of the index.
//!
//! Where CoreDNS 1.13 tells a name's existence by the type that is asked for (TXT of
//! any name, `dns-version` of any type but TXT, `_tcp.SERVICE`), this is by the name
//! alone, as RFC 8020 has it.

mod alias;
mod records;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use domain::base::iana::{Class, Rcode, Rtype};

use crate::clock::Time;
use crate::config::{Kubernetes, PodMode};
use crate::hosts::reverse_address;
use crate::message::Query;
use crate::plugin::{LocalAnswers, LocalReply, Passing, Section, Speaker, Step, Zones, wire_name};

use super::Store;
use super::index::{Index, IndexedEndpoint, IndexedService, Labels};
use super::request::Request;

const SVC: &[u8] = b"\x03svc";
const NS_DNS: &[u8] = b"\x02ns\x03dns";

/// The `kubernetes` plugin of a server block.
#[derive(Clone, Debug)]
pub struct Plugin {
    zones: Zones,
    /// Of SRV and PTR records.
    primary: Vec<u8>,
    settings: Kubernetes,
    passing: Passing,
    store: Store,
    addresses: Vec<IpAddr>,
}

/// What a name has.
#[derive(Debug, Default)]
struct Found<'a> {
    addresses: Vec<IpAddr>,
    /// Port, the target's labels and address.
    services: Vec<(u16, [&'a [u8]; 2], Ipv4Addr)>,
    text: bool,
    /// Another name in wire format, which is all that there is.
    alias: Option<&'a [u8]>,
}

impl Plugin {
    /// The plugin as configured, answering out of `store`.
    #[must_use]
    pub fn new(settings: &Kubernetes, store: Store) -> Self {
        let reverse = |zone: &str| zone.ends_with("in-addr.arpa.") || zone.ends_with("ip6.arpa.");
        let primary = settings.zones.iter().find(|zone| !reverse(zone));
        Self {
            zones: Zones::new(&settings.zones),
            primary: primary
                .and_then(|zone| wire_name(zone))
                .unwrap_or_else(|| vec![0]),
            passing: Passing::new(&settings.fallthrough),
            settings: settings.clone(),
            store,
            addresses: Vec::new(),
        }
    }

    /// With the addresses that the server has, by which it tells which service is it:
    /// that one is the zone's name server.
    #[must_use]
    pub fn with_addresses(mut self, addresses: Vec<IpAddr>) -> Self {
        self.addresses = addresses;
        self
    }

    fn exposed(&self, namespace: &str) -> bool {
        let shown = &self.settings.namespaces;
        shown.is_empty()
            || shown
                .iter()
                .any(|name| name.eq_ignore_ascii_case(namespace))
    }

    fn service<'a>(&self, index: &'a Index, labels: &[u8]) -> Option<&'a IndexedService> {
        let service = index.service_of(labels)?;
        let hidden = self.settings.ignore_empty_service
            && service.cluster_ip.is_some()
            && service.endpoints.is_empty();
        (!hidden && self.exposed(&service.namespace)).then_some(service)
    }

    /// What there is of that name; none if it doesn't exist.
    fn find<'a>(&self, index: &'a Index, request: Request<'a>) -> Option<Found<'a>> {
        match request {
            Request::Apex | Request::Empty => Some(Found::default()),
            Request::Version => Some(Found {
                text: true,
                ..Found::default()
            }),
            Request::NameServer => Some(Found {
                addresses: self
                    .name_server(index)
                    .map(|(_, address)| address)
                    .collect(),
                ..Found::default()
            }),
            Request::Namespace(label) => {
                let namespace = index.namespace_of(label)?;
                self.exposed(namespace).then(Found::default)
            }
            Request::Service(labels) => {
                let alias = self.service(index, labels)?.alias.as_deref();
                match alias {
                    Some(_) => Some(Found {
                        alias,
                        ..Found::default()
                    }),
                    None => self.ports(index, labels, b"", b""),
                }
            }
            Request::Port {
                port,
                protocol,
                service,
            } => self.ports(index, service, port, protocol),
            Request::Endpoint { endpoint, service } => self.endpoint(index, endpoint, service),
            Request::Pod { pod, namespace } => self.pod(index, pod, namespace),
            Request::Unknown => None,
        }
    }

    /// Records of a service's ports, of all that fit: an empty name or protocol fits any.
    fn ports<'a>(
        &self,
        index: &'a Index,
        labels: &'a [u8],
        port: &[u8],
        protocol: &[u8],
    ) -> Option<Found<'a>> {
        let service = self.service(index, labels)?;
        let any = port.is_empty() && protocol.is_empty();
        let ports = service.ports.iter().enumerate();
        let fitting = ports.filter(|(_, it)| {
            let name = it.name.as_deref().unwrap_or_default().as_bytes();
            (port.is_empty() || name.eq_ignore_ascii_case(port))
                && (protocol.is_empty() || it.protocol.as_bytes().eq_ignore_ascii_case(protocol))
        });
        let mut found = Found::default();
        if let Some(address) = service.cluster_ip {
            found
                .services
                .extend(fitting.map(|(_, it)| (it.port, [&b""[..], labels], address)));
            found.addresses.push(address.into());
        } else if !self.settings.no_endpoints {
            let fitting: Vec<_> = fitting.map(|(at, _)| at).collect();
            let has = |endpoint: &IndexedEndpoint| {
                let mut numbers = fitting.iter().filter_map(|at| endpoint.ports.get(*at));
                any || numbers.any(Option::is_some)
            };
            for endpoint in service.endpoints.iter().filter(|it| has(it)) {
                self.add_endpoint(endpoint, labels, &fitting, &mut found);
            }
        }
        let exists = match any {
            true => !found.addresses.is_empty(),
            false => !found.services.is_empty(),
        };
        exists.then_some(found)
    }

    fn add_endpoint<'a>(
        &self,
        endpoint: &'a IndexedEndpoint,
        labels: &'a [u8],
        ports: &[usize],
        found: &mut Found<'a>,
    ) {
        let name = endpoint.label(self.settings.endpoint_pod_names);
        let numbers = ports.iter().filter_map(|at| *endpoint.ports.get(*at)?);
        found
            .services
            .extend(numbers.map(|port| (port, [name, labels], endpoint.address)));
        if !found.addresses.contains(&endpoint.address.into()) {
            found.addresses.push(endpoint.address.into());
        }
    }

    fn endpoint<'a>(
        &self,
        index: &'a Index,
        name: &'a [u8],
        labels: &'a [u8],
    ) -> Option<Found<'a>> {
        let service = self.service(index, labels)?;
        let mut found = Found::default();
        if let Some(protocol) = name[1..].strip_prefix(b"_") {
            // Only names below it have records.
            return self.ports(index, labels, b"", protocol).map(|_| found);
        }
        let ports: Vec<_> = (0..service.ports.len()).collect();
        if !self.settings.no_endpoints {
            for endpoint in service.endpoints_named(name, self.settings.endpoint_pod_names) {
                self.add_endpoint(endpoint, labels, &ports, &mut found);
            }
        }
        (!found.addresses.is_empty()).then_some(found)
    }

    fn pod<'a>(&self, index: &'a Index, pod: &[u8], namespace: &[u8]) -> Option<Found<'a>> {
        let name = index.namespace_of(namespace)?;
        if !self.exposed(name) {
            return None;
        }
        let address = pod_address(std::str::from_utf8(pod).ok()?)?;
        let exists = match (self.settings.pods, address) {
            (PodMode::Disabled, _) => false,
            (PodMode::Insecure, _) => true,
            (PodMode::Verified, IpAddr::V4(address)) => index.has_pod(namespace, address),
            (PodMode::Verified, IpAddr::V6(_)) => false,
        };
        exists.then(|| Found {
            addresses: vec![address],
            ..Found::default()
        })
    }

    /// Names and addresses of the services that the server is behind, or `ns.dns` and its own.
    fn name_server<'a>(&'a self, index: &'a Index) -> impl Iterator<Item = (Labels, IpAddr)> + 'a {
        let own = self.addresses.iter().filter_map(|address| match address {
            IpAddr::V4(address) => Some(*address),
            IpAddr::V6(_) => None,
        });
        let mut found: Vec<(Labels, IpAddr)> = Vec::new();
        for (labels, service, endpoint) in own.flat_map(|own| index.endpoints_at(own)) {
            let server = match service.cluster_ip {
                Some(address) => ([labels, SVC].concat(), address.into()),
                None => {
                    let name = endpoint.label(self.settings.endpoint_pod_names);
                    ([name, labels, SVC].concat(), endpoint.address.into())
                }
            };
            if !found.contains(&server) {
                found.push(server);
            }
        }
        if found.is_empty() {
            let own = self.addresses.iter().filter(|own| !own.is_loopback());
            found.extend(own.map(|own| (NS_DNS.to_vec(), *own)));
        }
        found.into_iter()
    }

    /// Names that an address has: its service's, or those of its endpoints.
    fn reverse(&self, index: &Index, address: Ipv4Addr) -> Vec<Vec<u8>> {
        if let Some((labels, service)) = index.service_at(address)
            && self.exposed(&service.namespace)
        {
            return vec![[labels, SVC, &self.primary].concat()];
        }
        let endpoints = index.endpoints_at(address);
        let shown = endpoints.filter(|(_, service, _)| self.exposed(&service.namespace));
        let names = shown.map(|(labels, _, endpoint)| {
            let name = endpoint.label(self.settings.endpoint_pod_names);
            [name, labels, SVC, &self.primary].concat()
        });
        names.collect()
    }
}

impl LocalAnswers for Plugin {
    fn answer(&self, query: &Query<'_>, _: Time) -> Step {
        let name = query.key().as_bytes();
        let Some(zone) = self.zones.containing(name) else {
            return Step::Next;
        };
        if !matches!(query.class(), Class::IN | Class::ANY) {
            return Step::Next;
        }
        let Some(index) = self.store.current() else {
            return Step::Failed(
                "plugin/kubernetes: the cluster's records aren't synced".to_owned(),
            );
        };
        if let Some(IpAddr::V4(address)) = reverse_address(name) {
            let names = self.reverse(&index, address);
            if names.is_empty() {
                return self.unknown(query, zone, index.serial);
            }
            let mut reply = LocalReply::new(query, Speaker::Authority);
            if query.rtype() == Rtype::PTR {
                for name in names {
                    reply.record(
                        Section::Answer,
                        query.name(),
                        Rtype::PTR,
                        self.settings.ttl,
                        &name,
                    );
                }
                return Step::Answer(reply.finish());
            }
            return self.denial(query, zone, index.serial, Rcode::NOERROR);
        }
        let base = &name[..name.len() - zone.len()];
        let Some(found) = self.find(&index, Request::read(base)) else {
            return self.unknown(query, zone, index.serial);
        };
        if let Some(target) = found.alias {
            return self.alias(query, &index, zone, target);
        }
        let reply = self.records(query, &index, zone, &found);
        match reply.has_answers() {
            true => Step::Answer(reply.finish()),
            false => self.denial(query, zone, index.serial, Rcode::NOERROR),
        }
    }
}

/// `10-0-2-15` is 10.0.2.15, and `2001-db8--1` 2001:db8::1.
fn pod_address(name: &str) -> Option<IpAddr> {
    let v4 = name.replace('-', ".").parse::<Ipv4Addr>().map(IpAddr::V4);
    v4.or_else(|_| name.replace('-', ":").parse::<Ipv6Addr>().map(IpAddr::V6))
        .ok()
}

#[cfg(test)]
mod tests;
