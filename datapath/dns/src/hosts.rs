//! The `hosts` plugin: A, AAAA and PTR out of a file like `/etc/hosts` and lines of the Corefile.
//!
//! As in CoreDNS, a name that isn't there and doesn't fall through is SERVFAIL: without
//! a zone there is no SOA, and so no NXDOMAIN.

use std::collections::HashMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use domain::base::iana::{Rcode, Rtype};

use crate::clock::Time;
use crate::config::Hosts;
use crate::message::Query;
use crate::metrics::Registry;
use crate::plugin::{LocalAnswers, LocalReply, Passing, Section, Speaker, Step, Zones, wire_name};

/// Names and addresses of a file, or of the Corefile.
#[derive(Debug, Default)]
struct Table {
    /// By name in wire format, lower case; in the file's order.
    addresses: HashMap<Vec<u8>, Vec<IpAddr>>,
    names: HashMap<IpAddr, Vec<Vec<u8>>>,
    entries: usize,
}

/// What is known of the file: enough to tell that it changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    length: u64,
}

/// The plugin.
#[derive(Debug)]
pub struct Plugin {
    settings: Hosts,
    zones: Zones,
    passing: Passing,
    inline: Table,
    file: RwLock<(Stamp, Arc<Table>)>,
    /// When the file is to be looked at again, nanoseconds of the clock.
    due: AtomicU64,
    registry: Arc<Registry>,
}

impl Plugin {
    /// The plugin as configured, for a block of `zones`. A file that isn't there, or
    /// cannot be read, is empty until it can.
    #[must_use]
    pub fn new(settings: &Hosts, zones: &[String], registry: Arc<Registry>) -> Self {
        let zones = if settings.zones.is_empty() {
            zones
        } else {
            &settings.zones
        };
        let mut inline = Table::default();
        for (address, name) in &settings.inline {
            inline.add(*address, name, !settings.no_reverse);
        }
        let plugin = Self {
            settings: settings.clone(),
            zones: Zones::new(zones),
            passing: Passing::new(&settings.fallthrough),
            inline,
            file: RwLock::default(),
            due: AtomicU64::new(0),
            registry,
        };
        plugin.registry.hosts_entries(plugin.inline.entries);
        plugin.read();
        plugin
    }

    /// Reads the file if it changed.
    fn read(&self) {
        // What isn't a file, a pipe say, may never end.
        let metadata = fs::metadata(&self.settings.file)
            .ok()
            .filter(fs::Metadata::is_file);
        let stamp = metadata.map(|metadata| Stamp {
            modified: metadata.modified().ok(),
            length: metadata.len(),
        });
        let readable = stamp.is_some();
        let stamp = stamp.unwrap_or_default();
        if self.file.read().unwrap_or_else(PoisonError::into_inner).0 == stamp {
            return;
        }
        let octets = match readable {
            true => fs::read(&self.settings.file).unwrap_or_default(),
            false => Vec::new(),
        };
        let mut table = Table::default();
        for line in String::from_utf8_lossy(&octets).lines() {
            table.add_line(line, !self.settings.no_reverse);
        }
        self.registry
            .hosts_entries(table.entries + self.inline.entries);
        *self.file.write().unwrap_or_else(PoisonError::into_inner) = (stamp, Arc::new(table));
    }

    /// Reads the file again when it is time; one thread does.
    fn refresh(&self, now: Time) {
        if self.settings.reload.is_zero() {
            return;
        }
        let nanoseconds = |time: Time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let (now, due) = (nanoseconds(now), self.due.load(Ordering::Relaxed));
        let next = now.saturating_add(nanoseconds(self.settings.reload));
        if now < due {
            return;
        }
        let mine = self
            .due
            .compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed);
        // The first query finds the file as it was when the plugin was made.
        if mine.is_ok() && due > 0 {
            self.read();
        }
    }

    fn pointers(&self, query: &Query<'_>, file: &Table) -> Step {
        let address = reverse_address(query.key().as_bytes());
        let tables = [&self.inline, file];
        let names = address.into_iter().flat_map(|address| {
            tables
                .into_iter()
                .filter_map(move |table| table.names.get(&address))
                .flatten()
        });
        let mut reply = LocalReply::new(query, Speaker::Authority);
        for name in names {
            reply.record(
                Section::Answer,
                query.name(),
                Rtype::PTR,
                self.settings.ttl,
                name,
            );
        }
        // Whether or not others fall through.
        match reply.has_answers() {
            true => Step::Answer(reply.finish()),
            false => Step::Next,
        }
    }
}

impl Table {
    /// `ADDRESS NAME… # comment`; what is neither is passed over.
    fn add_line(&mut self, line: &str, reverse: bool) {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_whitespace();
        let address = words
            .next()
            .and_then(|word| word.split('%').next()?.parse().ok());
        if let Some(address) = address {
            words.for_each(|name| self.add(address, name, reverse));
        }
    }

    fn add(&mut self, address: IpAddr, name: &str, reverse: bool) {
        let Some(name) = wire_name(&format!("{}.", name.trim_end_matches('.'))) else {
            return;
        };
        self.entries += 1;
        let addresses = self.addresses.entry(name.clone()).or_default();
        if !addresses.contains(&address) {
            addresses.push(address);
        }
        if reverse {
            let names = self.names.entry(address).or_default();
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
}

impl LocalAnswers for Plugin {
    fn answer(&self, query: &Query<'_>, now: Time) -> Step {
        self.refresh(now);
        let name = query.key().as_bytes();
        let (_, file) = &*self.file.read().unwrap_or_else(PoisonError::into_inner);
        if self.zones.containing(name).is_none() {
            return Step::Next;
        }
        if query.rtype() == Rtype::PTR {
            return self.pointers(query, file);
        }
        let known = [&self.inline, &**file].map(|table| table.addresses.get(name));
        if known.iter().all(Option::is_none) {
            if self.passing.passes(name) {
                return Step::Next;
            }
            let mut reply = LocalReply::new(query, Speaker::Authority);
            reply.rcode(Rcode::SERVFAIL);
            return Step::Answer(reply.finish());
        }
        let mut reply = LocalReply::new(query, Speaker::Authority);
        let (owner, ttl) = (query.name(), self.settings.ttl);
        for address in known.into_iter().flatten().flatten() {
            match (address, query.rtype()) {
                (IpAddr::V4(address), Rtype::A) => {
                    reply.record(Section::Answer, owner, Rtype::A, ttl, &address.octets());
                }
                (IpAddr::V6(address), Rtype::AAAA) => {
                    reply.record(Section::Answer, owner, Rtype::AAAA, ttl, &address.octets());
                }
                _ => {}
            }
        }
        Step::Answer(reply.finish())
    }
}

/// The address whose reverse name this is, in wire format and lower case.
pub(crate) fn reverse_address(name: &[u8]) -> Option<IpAddr> {
    // Most names aren't, and are asked for more often.
    if !name.ends_with(b"\x04arpa\0") {
        return None;
    }
    let mut labels = Vec::new();
    let mut rest = name;
    while let Some((length, after)) = rest.split_first().filter(|(length, _)| **length > 0) {
        let (label, after) = after.split_at_checked(usize::from(*length))?;
        labels.push(std::str::from_utf8(label).ok()?);
        rest = after;
    }
    labels.reverse();
    match labels.as_slice() {
        ["arpa", "in-addr", octets @ ..] => {
            // `007` is no octet to it.
            octets.join(".").parse::<Ipv4Addr>().ok().map(IpAddr::V4)
        }
        ["arpa", "ip6", nibbles @ ..] if nibbles.len() == 32 => {
            if nibbles.iter().any(|nibble| nibble.len() != 1) {
                return None;
            }
            let number = u128::from_str_radix(&nibbles.concat(), 16).ok()?;
            Some(Ipv6Addr::from(number).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
