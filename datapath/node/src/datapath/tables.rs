//! The maps that the agent reads and writes, typed.

use std::borrow::{Borrow, BorrowMut};
use std::collections::BTreeMap;

use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Array, HashMap, Map, MapData, MapError, PerCpuHashMap, RingBuf};
use aya::{Ebpf, Pod};
use ipnet::Ipv4Net;
use lab_datapath_common::conntrack::CtEntry;
use lab_datapath_common::endpoint::{Endpoint, IpcacheEntry};
use lab_datapath_common::maps::{self, MetricsKey, MetricsValue};
use lab_datapath_common::nat::NatEntry;
use lab_datapath_common::settings::{Device, Settings};
use lab_datapath_common::{Address, Tuple};

use super::{Contents, DatapathError, Sizes};
use crate::flows::Events;

/// What writing [`Contents`] changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    /// Entries written.
    pub(crate) written: usize,
    /// Entries deleted.
    pub(crate) deleted: usize,
}

impl Changes {
    fn add(&mut self, other: Self) {
        self.written += other.written;
        self.deleted += other.deleted;
    }
}

/// The maps.
pub(crate) struct Tables {
    settings: Array<MapData, Settings>,
    devices: HashMap<MapData, u32, Device>,
    lxc: HashMap<MapData, Address, Endpoint>,
    ipcache: LpmTrie<MapData, Address, IpcacheEntry>,
    ip_masq: LpmTrie<MapData, Address, u8>,
    pub(crate) ct_tcp: HashMap<MapData, Tuple, CtEntry>,
    pub(crate) ct_any: HashMap<MapData, Tuple, CtEntry>,
    pub(crate) nat: HashMap<MapData, Tuple, NatEntry>,
    metrics: PerCpuHashMap<MapData, MetricsKey, MetricsValue>,
    pub(crate) signals: RingBuf<MapData>,
    /// Until the thread that reads them takes them.
    pub(crate) events: Option<Events>,
    pub(crate) sizes: Sizes,
}

impl Tables {
    pub(super) fn take(ebpf: &mut Ebpf, sizes: Sizes) -> Result<Self, DatapathError> {
        Ok(Self {
            settings: typed(ebpf, maps::RUNTIME_CONFIG)?,
            devices: typed(ebpf, maps::DEVICES)?,
            lxc: typed(ebpf, maps::LXC)?,
            ipcache: typed(ebpf, maps::IPCACHE)?,
            ip_masq: typed(ebpf, maps::IPMASQ_V4)?,
            ct_tcp: typed(ebpf, maps::CT4_GLOBAL)?,
            ct_any: typed(ebpf, maps::CT_ANY4_GLOBAL)?,
            nat: typed(ebpf, maps::SNAT_V4_EXTERNAL)?,
            metrics: typed(ebpf, maps::METRICS)?,
            signals: typed(ebpf, maps::SIGNALS)?,
            events: Some(Events {
                ring: typed(ebpf, maps::EVENTS)?,
                lost: typed(ebpf, maps::EVENTS_LOST)?,
            }),
            sizes,
        })
    }

    /// Makes the maps hold `contents`, writing and deleting only what differs.
    /// The settings come last: they switch on what the other maps must have.
    pub(crate) fn write(&mut self, contents: &Contents) -> Result<Changes, DatapathError> {
        let mut changes = self.write_ip_masq(&contents.ip_masq)?;
        let ipcache = prefixes(&contents.ipcache);
        changes.add(sync(&mut self.ipcache, maps::IPCACHE, &ipcache)?);
        changes.add(sync(&mut self.devices, maps::DEVICES, &contents.devices)?);
        changes.add(sync(&mut self.lxc, maps::LXC, &contents.lxc)?);
        let fault = |source| DatapathError::Map {
            map: maps::RUNTIME_CONFIG,
            source,
        };
        if self.settings.get(&0, 0).map_err(fault)? != contents.settings {
            self.settings.set(0, contents.settings, 0).map_err(fault)?;
            changes.written += 1;
        }
        Ok(changes)
    }

    /// Makes the ip-masq-agent's map hold `cidrs`.
    pub(crate) fn write_ip_masq(
        &mut self,
        cidrs: &std::collections::BTreeSet<Ipv4Net>,
    ) -> Result<Changes, DatapathError> {
        let cidrs: BTreeMap<Ipv4Net, u8> = cidrs.iter().map(|cidr| (*cidr, 1)).collect();
        sync(&mut self.ip_masq, maps::IPMASQ_V4, &prefixes(&cidrs))
    }

    /// What differs from `contents`, in words.
    pub(crate) fn differences(&self, contents: &Contents) -> Result<Vec<String>, DatapathError> {
        let mut differences = Vec::new();
        let ip_masq = contents.ip_masq.iter().map(|cidr| (*cidr, 1)).collect();
        let counts = [
            (
                maps::IPMASQ_V4,
                differing(&self.ip_masq, maps::IPMASQ_V4, &prefixes(&ip_masq))?,
            ),
            (
                maps::IPCACHE,
                differing(&self.ipcache, maps::IPCACHE, &prefixes(&contents.ipcache))?,
            ),
            (
                maps::DEVICES,
                differing(&self.devices, maps::DEVICES, &contents.devices)?,
            ),
            (maps::LXC, differing(&self.lxc, maps::LXC, &contents.lxc)?),
        ];
        for (map, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
            let entries = if count == 1 {
                "entry differs"
            } else {
                "entries differ"
            };
            differences.push(format!("{count} {entries} in map {map}"));
        }
        let fault = |source| DatapathError::Map {
            map: maps::RUNTIME_CONFIG,
            source,
        };
        if self.settings.get(&0, 0).map_err(fault)? != contents.settings {
            differences.push(format!(
                "the settings in map {} differ",
                maps::RUNTIME_CONFIG
            ));
        }
        Ok(differences)
    }

    /// The prefixes in the ip-masq-agent's map, in order.
    pub(crate) fn ip_masq(&self) -> Result<Vec<Ipv4Net>, DatapathError> {
        let keys: Result<Vec<_>, _> = self.ip_masq.keys().collect();
        let keys = keys.map_err(|source| DatapathError::Map {
            map: maps::IPMASQ_V4,
            source,
        })?;
        let mut cidrs: Vec<_> = keys.into_iter().filter_map(cidr).collect();
        cidrs.sort();
        Ok(cidrs)
    }

    /// The ipcache, in order.
    pub(crate) fn ipcache(&self) -> Result<Vec<(Ipv4Net, IpcacheEntry)>, DatapathError> {
        let entries = self.ipcache.all().map_err(|source| DatapathError::Map {
            map: maps::IPCACHE,
            source,
        })?;
        let named = entries
            .into_iter()
            .filter_map(|(Prefix(address, length), entry)| {
                let prefix = Ipv4Net::new(address.into(), u8::try_from(length).ok()?).ok()?;
                Some((prefix, entry))
            });
        let mut entries: Vec<_> = named.collect();
        entries.sort_by_key(|(prefix, _)| *prefix);
        Ok(entries)
    }

    /// Counters of dropped packets that are not zero, summed over CPUs.
    pub(crate) fn metrics(&self) -> Result<Vec<(MetricsKey, MetricsValue)>, DatapathError> {
        let fault = |source| DatapathError::Map {
            map: maps::METRICS,
            source,
        };
        let mut sums = Vec::new();
        for entry in self.metrics.iter() {
            let (key, values) = entry.map_err(fault)?;
            let mut sum = MetricsValue::default();
            for value in values.iter() {
                sum.count += value.count;
                sum.bytes += value.bytes;
            }
            if sum.count > 0 {
                sums.push((key, sum));
            }
        }
        sums.sort_by_key(|(key, _)| *key);
        Ok(sums)
    }
}

pub(super) fn typed<M: TryFrom<Map, Error = MapError>>(
    ebpf: &mut Ebpf,
    name: &'static str,
) -> Result<M, DatapathError> {
    let map = ebpf.take_map(name).ok_or(DatapathError::Missing(name))?;
    M::try_from(map).map_err(|source| DatapathError::Map { map: name, source })
}

/// All entries of a hash map, such as conntrack's. Entries that appear or go
/// meanwhile may be in it or not.
pub(crate) fn entries<K: Pod, V: Pod>(
    map: &HashMap<MapData, K, V>,
    name: &'static str,
) -> Result<Vec<(K, V)>, DatapathError> {
    let mut entries = Vec::new();
    for entry in map.iter() {
        match entry {
            Ok(entry) => entries.push(entry),
            // Deleted or evicted between finding the key and reading the value.
            Err(MapError::KeyNotFound) => {}
            Err(source) => return Err(DatapathError::Map { map: name, source }),
        }
    }
    Ok(entries)
}

/// Deletes `keys`, and returns how many were still there.
pub(crate) fn delete<K: Pod, V: Pod>(
    map: &mut HashMap<MapData, K, V>,
    name: &'static str,
    keys: &[K],
) -> Result<usize, DatapathError> {
    let mut deleted = 0;
    for key in keys {
        match map.remove(key) {
            Ok(()) => deleted += 1,
            Err(error) if is_missing(&error) => {}
            Err(source) => return Err(DatapathError::Map { map: name, source }),
        }
    }
    Ok(deleted)
}

fn is_missing(error: &MapError) -> bool {
    match error {
        MapError::KeyNotFound => true,
        MapError::SyscallError(error) => error.io_error.kind() == std::io::ErrorKind::NotFound,
        _ => false,
    }
}

/// A trie's key in the order and equality that aya's does not have.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Prefix(Address, u32);

fn prefixes<V: Copy>(entries: &BTreeMap<Ipv4Net, V>) -> BTreeMap<Prefix, V> {
    entries
        .iter()
        .map(|(cidr, value)| {
            (
                Prefix(cidr.network().into(), u32::from(cidr.prefix_len())),
                *value,
            )
        })
        .collect()
}

fn cidr(key: Key<Address>) -> Option<Ipv4Net> {
    Ipv4Net::new(key.data().into(), u8::try_from(key.prefix_len()).ok()?).ok()
}

/// Maps that can be made to hold exactly what they should.
trait Table<K, V> {
    fn all(&self) -> Result<Vec<(K, V)>, MapError>;
    fn put(&mut self, key: K, value: V) -> Result<(), MapError>;
    fn drop_key(&mut self, key: K) -> Result<(), MapError>;
}

impl<T: BorrowMut<MapData>, K: Pod, V: Pod> Table<K, V> for HashMap<T, K, V>
where
    T: Borrow<MapData>,
{
    fn all(&self) -> Result<Vec<(K, V)>, MapError> {
        self.iter().collect()
    }

    fn put(&mut self, key: K, value: V) -> Result<(), MapError> {
        self.insert(key, value, 0)
    }

    fn drop_key(&mut self, key: K) -> Result<(), MapError> {
        self.remove(&key)
    }
}

impl<V: Pod> Table<Prefix, V> for LpmTrie<MapData, Address, V> {
    fn all(&self) -> Result<Vec<(Prefix, V)>, MapError> {
        self.iter()
            .map(|entry| entry.map(|(key, value)| (Prefix(key.data(), key.prefix_len()), value)))
            .collect()
    }

    fn put(&mut self, Prefix(address, length): Prefix, value: V) -> Result<(), MapError> {
        self.insert(&Key::new(length, address), value, 0)
    }

    fn drop_key(&mut self, Prefix(address, length): Prefix) -> Result<(), MapError> {
        self.remove(&Key::new(length, address))
    }
}

fn sync<K: Copy + Ord, V: Copy + PartialEq>(
    table: &mut impl Table<K, V>,
    map: &'static str,
    wanted: &BTreeMap<K, V>,
) -> Result<Changes, DatapathError> {
    let fault = |source| DatapathError::Map { map, source };
    let there: BTreeMap<K, V> = table.all().map_err(fault)?.into_iter().collect();
    let mut changes = Changes::default();
    for (key, value) in wanted {
        if there.get(key) != Some(value) {
            table.put(*key, *value).map_err(fault)?;
            changes.written += 1;
        }
    }
    for key in there.keys().filter(|key| !wanted.contains_key(key)) {
        table.drop_key(*key).map_err(fault)?;
        changes.deleted += 1;
    }
    Ok(changes)
}

fn differing<K: Copy + Ord, V: Copy + PartialEq>(
    table: &impl Table<K, V>,
    map: &'static str,
    wanted: &BTreeMap<K, V>,
) -> Result<usize, DatapathError> {
    let there = table
        .all()
        .map_err(|source| DatapathError::Map { map, source })?;
    let there: BTreeMap<K, V> = there.into_iter().collect();
    let wrong = wanted
        .iter()
        .filter(|(key, value)| there.get(key) != Some(value))
        .count();
    Ok(wrong + there.keys().filter(|key| !wanted.contains_key(key)).count())
}
