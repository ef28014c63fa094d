//! The maps of services, typed, and what was written to them last.

use std::collections::{BTreeMap, BTreeSet};

use aya::maps::lpm_trie::Key;
use aya::maps::{Array, HashMap, LpmTrie, MapData, MapError};
use aya::{Ebpf, Pod};
use ipnet::Ipv4Net;
use lab_datapath_common::maps;
use lab_datapath_common::service::{
    AffinityMatch, Backend, Config, ReverseNat, ReverseSk, ReverseSkKey, Service, ServiceKey,
    SkipKey, SourceRangeKey,
};

use super::DatapathError;
use super::tables::{delete, entries, typed};
use crate::services::entries::Entries;
use crate::services::ids::Ids;
use crate::services::steps::{Step, steps};

/// The maps of services.
pub(crate) struct ServiceTables {
    services: HashMap<MapData, ServiceKey, Service>,
    backends: HashMap<MapData, u32, Backend>,
    reverse_nat: HashMap<MapData, u16, ReverseNat>,
    matches: HashMap<MapData, AffinityMatch, u8>,
    skips: HashMap<MapData, SkipKey, u8>,
    source_ranges: LpmTrie<MapData, SourceRangeKey, u8>,
    config: Array<MapData, Config>,
    sockets: HashMap<MapData, ReverseSkKey, ReverseSk>,
    pub(crate) ids: Ids,
}

impl ServiceTables {
    /// Numbers go on from those that an earlier agent gave.
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self, DatapathError> {
        let mut tables = Self {
            services: typed(ebpf, maps::LB4_SERVICES)?,
            backends: typed(ebpf, maps::LB4_BACKENDS)?,
            reverse_nat: typed(ebpf, maps::LB4_REVERSE_NAT)?,
            matches: typed(ebpf, maps::LB_AFFINITY_MATCH)?,
            skips: typed(ebpf, maps::SKIP_LB4)?,
            source_ranges: typed(ebpf, maps::LB4_SOURCE_RANGE)?,
            config: typed(ebpf, maps::LB_CONFIG)?,
            sockets: typed(ebpf, maps::LB4_REVERSE_SK)?,
            ids: Ids::default(),
        };
        tables.ids = Ids::of(&tables.read()?);
        Ok(tables)
    }

    /// What the maps hold.
    pub(crate) fn read(&self) -> Result<Entries, DatapathError> {
        Ok(Entries {
            services: all(&self.services, maps::LB4_SERVICES)?,
            backends: all(&self.backends, maps::LB4_BACKENDS)?,
            reverse_nat: all(&self.reverse_nat, maps::LB4_REVERSE_NAT)?,
            matches: all(&self.matches, maps::LB_AFFINITY_MATCH)?
                .into_keys()
                .collect(),
            skips: all(&self.skips, maps::SKIP_LB4)?.into_keys().collect(),
            source_ranges: self.source_ranges()?,
        })
    }

    fn source_ranges(&self) -> Result<BTreeSet<(u16, Ipv4Net)>, DatapathError> {
        let keys: Result<Vec<_>, _> = self.source_ranges.keys().collect();
        let keys = keys.map_err(source_range_fault)?;
        Ok(keys.into_iter().filter_map(source_range).collect())
    }

    /// Makes the maps hold `wanted`, one step after the other, and returns the backends
    /// that are gone. `config` comes first when it switches services off, else last.
    pub(crate) fn write(
        &mut self,
        wanted: &Entries,
        config: Config,
    ) -> Result<Vec<Backend>, DatapathError> {
        let there = self.read()?;
        if config.is_enabled == 0 {
            self.configure(config)?;
        }
        for step in steps(&there, wanted) {
            self.carry_out(step)?;
        }
        self.configure(config)?;
        let gone = there
            .backends
            .iter()
            .filter(|(id, backend)| wanted.backends.get(*id) != Some(backend));
        Ok(gone.map(|(_, backend)| *backend).collect())
    }

    /// Whether the socket of that cookie was sent to `backend` in a service's place.
    pub(crate) fn was_translated(
        &self,
        cookie: u64,
        backend: &Backend,
    ) -> Result<bool, DatapathError> {
        let key = ReverseSkKey {
            cookie,
            address: backend.address,
            port: backend.port,
            padding: 0,
        };
        match self.sockets.get(&key, 0) {
            Ok(_) => Ok(true),
            Err(MapError::KeyNotFound) => Ok(false),
            Err(source) => Err(DatapathError::Map {
                map: maps::LB4_REVERSE_SK,
                source,
            }),
        }
    }

    fn configure(&mut self, config: Config) -> Result<(), DatapathError> {
        let fault = |source| DatapathError::Map {
            map: maps::LB_CONFIG,
            source,
        };
        if self.config.get(&0, 0).map_err(fault)? != config {
            self.config.set(0, config, 0).map_err(fault)?;
        }
        Ok(())
    }

    /// What differs from `wanted`, in words.
    pub(crate) fn differences(
        &self,
        wanted: &Entries,
        config: Config,
    ) -> Result<Vec<String>, DatapathError> {
        let count = steps(&self.read()?, wanted).len();
        let fault = |source| DatapathError::Map {
            map: maps::LB_CONFIG,
            source,
        };
        let mut differences = Vec::new();
        if count > 0 {
            let entries = if count == 1 {
                "entry differs"
            } else {
                "entries differ"
            };
            differences.push(format!("{count} {entries} in the maps of services"));
        }
        if self.config.get(&0, 0).map_err(fault)? != config {
            differences.push(format!("the settings in map {} differ", maps::LB_CONFIG));
        }
        Ok(differences)
    }

    fn carry_out(&mut self, step: Step) -> Result<(), DatapathError> {
        match step {
            Step::PutBackend(id, it) => put(&mut self.backends, maps::LB4_BACKENDS, id, it),
            Step::PutReverseNat(id, it) => {
                put(&mut self.reverse_nat, maps::LB4_REVERSE_NAT, id, it)
            }
            Step::PutMatch(it) => put(&mut self.matches, maps::LB_AFFINITY_MATCH, it, 1),
            Step::PutSkip(it) => put(&mut self.skips, maps::SKIP_LB4, it, 1),
            Step::PutSourceRange(id, range) => self
                .source_ranges
                .insert(&source_range_key(id, range), 1, 0)
                .map_err(source_range_fault),
            Step::PutService(key, it) => put(&mut self.services, maps::LB4_SERVICES, key, it),
            Step::DropService(key) => remove(&mut self.services, maps::LB4_SERVICES, key),
            Step::DropSourceRange(id, range) => self
                .source_ranges
                .remove(&source_range_key(id, range))
                .map_err(source_range_fault),
            Step::DropSkip(it) => remove(&mut self.skips, maps::SKIP_LB4, it),
            Step::DropMatch(it) => remove(&mut self.matches, maps::LB_AFFINITY_MATCH, it),
            Step::DropReverseNat(id) => remove(&mut self.reverse_nat, maps::LB4_REVERSE_NAT, id),
            Step::DropBackend(id) => remove(&mut self.backends, maps::LB4_BACKENDS, id),
        }
    }
}

/// A range of a service, as the trie has it.
fn source_range_key(id: u16, range: Ipv4Net) -> Key<SourceRangeKey> {
    let bits = SourceRangeKey::FIXED_BITS + u32::from(range.prefix_len());
    Key::new(bits, SourceRangeKey::new(id, range.network().into()))
}

fn source_range(key: Key<SourceRangeKey>) -> Option<(u16, Ipv4Net)> {
    let bits = key.prefix_len().checked_sub(SourceRangeKey::FIXED_BITS)?;
    let SourceRangeKey {
        rev_nat_index,
        address,
        ..
    } = key.data();
    let range = Ipv4Net::new(address.into(), u8::try_from(bits).ok()?);
    Some((rev_nat_index, range.ok()?))
}

fn source_range_fault(source: MapError) -> DatapathError {
    DatapathError::Map {
        map: maps::LB4_SOURCE_RANGE,
        source,
    }
}

fn all<K: Pod + Ord, V: Pod>(
    map: &HashMap<MapData, K, V>,
    name: &'static str,
) -> Result<BTreeMap<K, V>, DatapathError> {
    Ok(entries(map, name)?.into_iter().collect())
}

fn put<K: Pod, V: Pod>(
    map: &mut HashMap<MapData, K, V>,
    name: &'static str,
    key: K,
    value: V,
) -> Result<(), DatapathError> {
    map.insert(key, value, 0)
        .map_err(|source| DatapathError::Map { map: name, source })
}

fn remove<K: Pod, V: Pod>(
    map: &mut HashMap<MapData, K, V>,
    name: &'static str,
    key: K,
) -> Result<(), DatapathError> {
    delete(map, name, &[key]).map(drop)
}
