//! Names of the maps, and layouts that belong to no other module.
//!
//! Names are Cilium's where Cilium has the map. The kernel keeps 15 bytes of a
//! map's name; pins carry all of it.

/// Index → program ([`crate::programs::CALLS`]), an array of programs. Pinned, as the kernel empties
/// one that only programs use.
pub const CALLS: &str = "cilium_calls";
/// One [`crate::settings::Settings`] (array of 1).
pub const RUNTIME_CONFIG: &str = "cilium_runtime_config";
/// `u32` ifindex → [`crate::settings::Device`] (hash).
pub const DEVICES: &str = "cilium_devices";
/// [`crate::Address`] → [`crate::endpoint::Endpoint`] (hash).
pub const LXC: &str = "cilium_lxc";
/// prefix → [`crate::endpoint::IpcacheEntry`] (LPM trie).
pub const IPCACHE: &str = "cilium_ipcache";
/// prefix → `u8`, never masqueraded destinations (LPM trie).
pub const IPMASQ_V4: &str = "cilium_ipmasq_v4";
/// [`crate::Tuple`] → [`crate::conntrack::CtEntry`], TCP (LRU hash).
pub const CT4_GLOBAL: &str = "cilium_ct4_global";
/// [`crate::Tuple`] → [`crate::conntrack::CtEntry`], other protocols (LRU hash).
pub const CT_ANY4_GLOBAL: &str = "cilium_ct_any4_global";
/// [`crate::Tuple`] → [`crate::nat::NatEntry`], both directions (LRU hash).
pub const SNAT_V4_EXTERNAL: &str = "cilium_snat_v4_external";
/// Retries → allocations (`u32`), per-CPU array of 33; the last are failures.
pub const SNAT_V4_ALLOC_RETRIES: &str = "cilium_snat_v4_alloc_retries";
/// [`crate::fragment::FragmentKey`] → [`crate::fragment::Ports`] (LRU hash).
pub const IPV4_FRAG_DATAGRAMS: &str = "cilium_ipv4_frag_datagrams";
/// [`MetricsKey`] → [`MetricsValue`] (per-CPU hash).
pub const METRICS: &str = "cilium_metrics";
/// Ring buffer of `u32` signals to the agent, see [`SIGNAL_NAT_FILL_UP`].
pub const SIGNALS: &str = "cilium_signals";

/// [`crate::arp::L2ResponderKey`] → [`crate::arp::L2Responder`] (hash).
pub const L2_RESPONDER_V4: &str = "cilium_l2_responder_v4";

/// [`crate::service::ServiceKey`] → [`crate::service::Service`] (hash).
pub const LB4_SERVICES: &str = "cilium_lb4_services_v2";
/// `u32` backend id → [`crate::service::Backend`] (hash).
pub const LB4_BACKENDS: &str = "cilium_lb4_backends_v3";
/// prefix of [`crate::service::SourceRangeKey`] → `u8` (LPM trie).
pub const LB4_SOURCE_RANGE: &str = "cilium_lb4_source_range";
/// `u16` service id → [`crate::service::ReverseNat`] (hash).
pub const LB4_REVERSE_NAT: &str = "cilium_lb4_reverse_nat";
/// [`crate::service::ReverseSkKey`] → [`crate::service::ReverseSk`] (LRU hash).
pub const LB4_REVERSE_SK: &str = "cilium_lb4_reverse_sk";
/// [`crate::service::AffinityKey`] → [`crate::service::Affinity`] (LRU hash).
pub const LB4_AFFINITY: &str = "cilium_lb4_affinity";
/// [`crate::service::AffinityMatch`] → `u8` (hash).
pub const LB_AFFINITY_MATCH: &str = "cilium_lb_affinity_match";
/// [`crate::service::SkipKey`] → `u8` (hash).
pub const SKIP_LB4: &str = "cilium_skip_lb4";
/// One [`crate::service::Config`] (array of 1).
pub const LB_CONFIG: &str = "cilium_lb_config";

/// Ring buffer of [`crate::trace::Event`].
pub const EVENTS: &str = "cilium_events";
/// Index 0: events that found the ring buffer full (`u64`, per-CPU array of 1).
pub const EVENTS_LOST: &str = "cilium_events_lost";

/// Every map of the datapath object.
pub const ALL: [&str; 25] = [
    CALLS,
    RUNTIME_CONFIG,
    DEVICES,
    LXC,
    IPCACHE,
    IPMASQ_V4,
    CT4_GLOBAL,
    CT_ANY4_GLOBAL,
    SNAT_V4_EXTERNAL,
    SNAT_V4_ALLOC_RETRIES,
    IPV4_FRAG_DATAGRAMS,
    METRICS,
    SIGNALS,
    L2_RESPONDER_V4,
    LB4_SERVICES,
    LB4_BACKENDS,
    LB4_SOURCE_RANGE,
    LB4_REVERSE_NAT,
    LB4_REVERSE_SK,
    LB4_AFFINITY,
    LB_AFFINITY_MATCH,
    SKIP_LB4,
    LB_CONFIG,
    EVENTS,
    EVENTS_LOST,
];

/// Object `outside`: `u32` ifindex → [`crate::Address`], the distinct address
/// of the node behind that interface (hash).
pub const OUTSIDE_ADDRESSES: &str = "outside_addresses";

/// Object `dns`: [`crate::dns::Question`] → [`crate::dns::Answer`] (hash).
pub const DNS_ANSWERS: &str = "dns_answers";

/// Object `dns`: [`crate::dns::Answer::slot`] → `u64`, how often it was given (per-CPU
/// array).
pub const DNS_HITS: &str = "dns_hits";

/// What every node's `eth0` has, as behind VirtualBox's NAT.
pub const OUTSIDE_NODE_ADDRESS: crate::Address = crate::Address::from_bytes([10, 0, 2, 15]);

/// Signal: a free NAT port was hard to find; collect dead entries.
pub const SIGNAL_NAT_FILL_UP: u32 = 0;

/// Key of [`METRICS`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MetricsKey {
    /// [`crate::DropReason::code`].
    pub reason: u8,
    /// [`METRIC_INGRESS`] or [`METRIC_EGRESS`].
    pub direction: u8,
    /// Zero.
    pub padding: [u8; 2],
}

/// Value of [`METRICS`], one per CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MetricsValue {
    /// Packets.
    pub count: u64,
    /// Bytes, Ethernet header included.
    pub bytes: u64,
}

/// [`MetricsKey::direction`]: into the node or out of a pod's reach.
pub const METRIC_INGRESS: u8 = 1;
/// [`MetricsKey::direction`]: out of the node or a pod.
pub const METRIC_EGRESS: u8 = 2;
