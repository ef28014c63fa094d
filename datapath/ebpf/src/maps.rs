//! The maps, with Cilium's default sizes; the loader may set others. The loader
//! pins each under its name.

use aya_ebpf::bindings::BPF_F_NO_PREALLOC;
use aya_ebpf::btf_maps::{
    Array, HashMap, LpmTrie, LruHashMap, PerCpuArray, PerCpuHashMap, ProgramArray, RingBuf,
};
use aya_ebpf::macros::btf_map;
use lab_datapath_common::arp::{L2Responder, L2ResponderKey};
use lab_datapath_common::conntrack::CtEntry;
use lab_datapath_common::endpoint::{Endpoint, IpcacheEntry};
use lab_datapath_common::fragment::{FragmentKey, Ports};
use lab_datapath_common::maps::{MetricsKey, MetricsValue};
use lab_datapath_common::nat::{COLLISION_RETRIES, NatEntry};
use lab_datapath_common::programs::CALLS as CALLED;
use lab_datapath_common::service::SourceRangeKey;
use lab_datapath_common::settings::{Device, Settings};
use lab_datapath_common::trace::Event;
use lab_datapath_common::{Address, Tuple};

/// Small maps grow with use instead of reserving all their memory.
const GROWS: usize = BPF_F_NO_PREALLOC as usize;

/// Programs that others call.
#[btf_map(name = "cilium_calls")]
pub(crate) static CALLS: ProgramArray<{ CALLED.len() }> = ProgramArray::new();

/// Settings of the agent.
#[btf_map(name = "cilium_runtime_config")]
pub(crate) static RUNTIME_CONFIG: Array<Settings, 1> = Array::new();

/// Managed devices.
#[btf_map(name = "cilium_devices")]
pub(crate) static DEVICES: HashMap<u32, Device, 64> = HashMap::new();

/// Local endpoints.
#[btf_map(name = "cilium_lxc")]
pub(crate) static LXC: HashMap<Address, Endpoint, 65535, GROWS> = HashMap::new();

/// Identities behind prefixes.
#[btf_map(name = "cilium_ipcache")]
pub(crate) static IPCACHE: LpmTrie<Address, IpcacheEntry, 512_000> = LpmTrie::new();

/// Destinations that are never masqueraded.
#[btf_map(name = "cilium_ipmasq_v4")]
pub(crate) static IPMASQ_V4: LpmTrie<Address, u8, 16384> = LpmTrie::new();

/// Clients that services are there for, or not.
#[btf_map(name = "cilium_lb4_source_range")]
pub(crate) static LB4_SOURCE_RANGE: LpmTrie<SourceRangeKey, u8, 65536> = LpmTrie::new();

/// TCP connections.
#[btf_map(name = "cilium_ct4_global")]
pub(crate) static CT4_GLOBAL: LruHashMap<Tuple, CtEntry, 524_288> = LruHashMap::new();

/// Flows of other protocols.
#[btf_map(name = "cilium_ct_any4_global")]
pub(crate) static CT_ANY4_GLOBAL: LruHashMap<Tuple, CtEntry, 262_144> = LruHashMap::new();

/// Address translations, both directions.
#[btf_map(name = "cilium_snat_v4_external")]
pub(crate) static SNAT_V4_EXTERNAL: LruHashMap<Tuple, NatEntry, 524_288> = LruHashMap::new();

/// How many retries port allocations took.
#[btf_map(name = "cilium_snat_v4_alloc_retries")]
pub(crate) static SNAT_V4_ALLOC_RETRIES: PerCpuArray<u32, { COLLISION_RETRIES as usize + 1 }> =
    PerCpuArray::new();

/// Ports of fragmented datagrams.
#[btf_map(name = "cilium_ipv4_frag_datagrams")]
pub(crate) static IPV4_FRAG_DATAGRAMS: LruHashMap<FragmentKey, Ports, 8192> = LruHashMap::new();

/// Dropped packets by reason.
#[btf_map(name = "cilium_metrics")]
pub(crate) static METRICS: PerCpuHashMap<MetricsKey, MetricsValue, 1024, GROWS> =
    PerCpuHashMap::new();

/// Who answers ARP requests for announced addresses, and until when.
#[btf_map(name = "cilium_l2_responder_v4")]
pub(crate) static L2_RESPONDER_V4: HashMap<L2ResponderKey, L2Responder, 4096, GROWS> =
    HashMap::new();

/// Signals to the agent.
#[btf_map(name = "cilium_signals")]
pub(crate) static SIGNALS: RingBuf<u32, 4096> = RingBuf::new();

/// Events about packets, to the agent. Some 2600 of them.
#[btf_map(name = "cilium_events")]
pub(crate) static EVENTS: RingBuf<Event, { 512 * 1024 }> = RingBuf::new();

/// Events that found no room.
#[btf_map(name = "cilium_events_lost")]
pub(crate) static EVENTS_LOST: PerCpuArray<u64, 1> = PerCpuArray::new();
