//! The maps of services, which the programs on packets and those on sockets share.

use aya_ebpf::bindings::BPF_F_NO_PREALLOC;
use aya_ebpf::btf_maps::{Array, HashMap, LruHashMap};
use aya_ebpf::macros::btf_map;
use lab_datapath_common::service::{
    Affinity, AffinityKey, AffinityMatch, Backend, Config, ReverseNat, ReverseSk, ReverseSkKey,
    Service, ServiceKey, SkipKey,
};

/// Small maps grow with use instead of reserving all their memory.
const GROWS: usize = BPF_F_NO_PREALLOC as usize;

/// Services and their slots.
#[btf_map(name = "cilium_lb4_services_v2")]
pub(crate) static SERVICES: HashMap<ServiceKey, Service, 65536, GROWS> = HashMap::new();

/// Backends by id.
#[btf_map(name = "cilium_lb4_backends_v3")]
pub(crate) static BACKENDS: HashMap<u32, Backend, 65536, GROWS> = HashMap::new();

/// Frontends by service id.
#[btf_map(name = "cilium_lb4_reverse_nat")]
pub(crate) static REVERSE_NAT: HashMap<u16, ReverseNat, 65536, GROWS> = HashMap::new();

/// What sockets asked for.
#[btf_map(name = "cilium_lb4_reverse_sk")]
pub(crate) static REVERSE_SK: LruHashMap<ReverseSkKey, ReverseSk, 262_144> = LruHashMap::new();

/// Backends of clients.
#[btf_map(name = "cilium_lb4_affinity")]
pub(crate) static AFFINITY: LruHashMap<AffinityKey, Affinity, 65536> = LruHashMap::new();

/// Backends that services with affinity have.
#[btf_map(name = "cilium_lb_affinity_match")]
pub(crate) static AFFINITY_MATCH: HashMap<AffinityMatch, u8, 65536, GROWS> = HashMap::new();

/// Pods that are exempt from redirect policies.
#[btf_map(name = "cilium_skip_lb4")]
pub(crate) static SKIP: HashMap<SkipKey, u8, 1024, GROWS> = HashMap::new();

/// What the agent says of this node.
#[btf_map(name = "cilium_lb_config")]
pub(crate) static CONFIG: Array<Config, 1> = Array::new();
