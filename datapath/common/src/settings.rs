//! What the agent tells the programs, live: no reload, only map writes.

use crate::address::Address;

/// Bits of [`Settings::flags`].
pub mod flag {
    /// Masquerade at all; without it packets are tracked but not translated.
    pub const MASQUERADE: u32 = 1 << 0;
    /// [`super::Settings::exclusion`] is set.
    pub const EXCLUSION: u32 = 1 << 1;
    /// Consult `cilium_ipmasq_v4`.
    pub const IP_MASQ_AGENT: u32 = 1 << 2;
    /// Remember the ports of a datagram's first fragment for the later ones.
    pub const FRAGMENT_TRACKING: u32 = 1 << 3;
    /// Leave forwarding to the kernel's stack (`bpf.hostLegacyRouting`).
    pub const HOST_LEGACY_ROUTING: u32 = 1 << 4;
    /// Pod traffic between nodes is encapsulated (`routingMode: tunnel`).
    pub const TUNNEL: u32 = 1 << 5;
    /// `enableRemoteNodeMasquerade`: translate towards other nodes too.
    pub const REMOTE_NODE_MASQUERADE: u32 = 1 << 6;
    /// Look for services in packets, too.
    pub const SERVICES: u32 = 1 << 8;
    /// Report packets in `cilium_events` (`hubble.enabled`).
    pub const FLOWS: u32 = 1 << 16;
    /// Report packets where they go, not where they come from (`monitorAggregation`
    /// from low on).
    pub const AGGREGATE_ORIGINS: u32 = 1 << 17;
    /// Report a packet of a known flow only when one is due (from medium on).
    pub const AGGREGATE_FLOWS: u32 = 1 << 18;
}

/// The one value of `cilium_runtime_config` (array, index 0). All zero, as in
/// a new map, means: track, translate nothing, redirect nothing it does not know.
///
/// The kernel copies a map value word by word: a packet may see some of the new
/// settings and some of the old, for an instant.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Bits of [`flag`].
    pub flags: u32,
    /// Network address of the CIDR that is never masqueraded.
    pub exclusion: Address,
    /// Its mask, 255.255.0.0 for a /16.
    pub exclusion_mask: Address,
    /// First source port given to masqueraded flows, in host byte order.
    pub port_min: u16,
    /// Last source port given to masqueraded flows, in host byte order.
    pub port_max: u16,
    /// Index of `cilium_vxlan` or `cilium_geneve`; only with [`flag::TUNNEL`].
    pub tunnel_ifindex: u32,
    /// Index of `cilium_host`, through which the host gets what came out of the tunnel.
    pub host_ifindex: u32,
    /// Longest IP packet that the tunnel takes without a fragment of its own, in bytes.
    pub tunnel_mtu: u16,
    /// Zero.
    pub padding: u16,
    /// Seconds in which an unchanged flow is reported once (`bpf.monitorInterval`).
    pub report_interval: u32,
}

impl Settings {
    /// Whether a bit of [`flag`] is set.
    #[inline(always)]
    #[must_use]
    pub const fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }
}

/// Value of `cilium_devices`, keyed by ifindex (`u32`): a managed device.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Device {
    /// Address that flows leaving here are masqueraded to.
    pub address: Address,
    /// The device's MAC address.
    pub mac: [u8; 6],
    /// Zero.
    pub padding: [u8; 2],
}
