//! Connection tracking: who opened a flow, and until when it is alive.

/// Lifetimes in seconds, as Cilium's flags default to.
pub mod timeout {
    /// An established TCP connection (`--bpf-ct-timeout-regular-tcp`).
    pub const TCP: u32 = 8000;
    /// A TCP connection of which only a SYN was seen (`…-regular-tcp-syn`).
    pub const TCP_SYN: u32 = 60;
    /// A TCP connection closed by both FINs or a RST (`…-regular-tcp-fin`).
    pub const TCP_CLOSE: u32 = 10;
    /// Any other protocol (`--bpf-ct-timeout-regular-any`).
    pub const ANY: u32 = 60;
}

/// Bits of [`CtEntry::flags`]; values as in Cilium's `struct ct_entry`.
pub mod flag {
    /// The responder closed (FIN), or a RST was seen.
    pub const RX_CLOSING: u16 = 1 << 0;
    /// The initiator closed (FIN), or a RST was seen.
    pub const TX_CLOSING: u16 = 1 << 1;
    /// TCP: a packet without SYN was seen, so it is more than an attempt.
    pub const SEEN_NON_SYN: u16 = 1 << 4;
}

/// Value of `cilium_ct4_global` and `cilium_ct_any4_global`. "tx" is from the
/// initiator (the key's source), "rx" is towards it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CtEntry {
    /// Packets from the initiator.
    pub tx_packets: u64,
    /// Bytes from the initiator, Ethernet header included.
    pub tx_bytes: u64,
    /// Packets from the responder.
    pub rx_packets: u64,
    /// Bytes from the responder, Ethernet header included.
    pub rx_bytes: u64,
    /// When the entry dies, in seconds of `CLOCK_MONOTONIC`.
    pub lifetime: u32,
    /// Last packet from the initiator, in seconds of `CLOCK_MONOTONIC`.
    pub last_tx: u32,
    /// Last packet from the responder, in seconds of `CLOCK_MONOTONIC`.
    pub last_rx: u32,
    /// Bits of [`flag`].
    pub flags: u16,
    /// TCP flags seen from the initiator, ored.
    pub tx_flags_seen: u8,
    /// TCP flags seen from the responder, ored.
    pub rx_flags_seen: u8,
}
