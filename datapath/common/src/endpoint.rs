//! Who an address belongs to: local endpoints and identities.

use crate::address::Address;

/// Bits of [`Endpoint::flags`].
pub mod flag {
    /// The address is the node's own, not a pod's.
    pub const HOST: u32 = 1 << 0;
    /// Never masqueraded (multi-pool `skip-masquerade`).
    pub const NO_SNAT: u32 = 1 << 1;
    /// Takes the traffic of a local redirect policy that does not apply to itself
    /// (`skipRedirectFromBackend`).
    pub const REDIRECT_BACKEND: u32 = 1 << 2;
}

/// Value of `cilium_lxc`, keyed by [`crate::Address`]: a local endpoint.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Endpoint {
    /// Index of the node-side interface (`lxc…`); 0 for the host.
    pub ifindex: u32,
    /// Bits of [`flag`].
    pub flags: u32,
    /// Security identity of the endpoint.
    pub identity: u32,
    /// Endpoint id, as `cilium-dbg endpoint list` shows it.
    pub id: u16,
    /// MAC address of the pod's `eth0`.
    pub mac: [u8; 6],
    /// MAC address of the node-side interface.
    pub node_mac: [u8; 6],
    /// Zero.
    pub padding: [u8; 2],
}

/// Reserved security identities (Cilium `pkg/identity/numericidentity.go`).
pub mod identity {
    /// This node.
    pub const HOST: u32 = 1;
    /// Outside the cluster.
    pub const WORLD: u32 = 2;
    /// Another node of the cluster.
    pub const REMOTE_NODE: u32 = 6;
}

/// Value of `cilium_ipcache`, keyed by prefix: whose address it is.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IpcacheEntry {
    /// Security identity, see [`identity`] for the reserved ones.
    pub identity: u32,
    /// The node that a tunnel to it ends at; unspecified for what no tunnel leads to.
    pub tunnel_endpoint: Address,
}
