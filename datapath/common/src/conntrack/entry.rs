//! A flow's entry, and what each packet makes of it.

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
/// initiator (the key's source), "rx" is towards it. Counters are not atomic:
/// when two CPUs carry the same direction of one flow at once, one count may be
/// lost. Nothing is decided by them.
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
    /// Last packet from the initiator that was due to be reported, in seconds of
    /// `CLOCK_MONOTONIC`.
    pub last_tx_report: u32,
    /// Last packet from the responder that was due to be reported.
    pub last_rx_report: u32,
    /// Bits of [`flag`].
    pub flags: u16,
    /// TCP flags seen from the initiator, ored.
    pub tx_flags_seen: u8,
    /// TCP flags seen from the responder, ored.
    pub rx_flags_seen: u8,
    /// Of a client's flow to a service: the backend's id.
    pub backend: u32,
    /// The service that the flow belongs to, or 0.
    pub rev_nat_index: u16,
    /// Zero.
    pub padding: u16,
}

/// TCP flags byte, RFC 9293.
mod tcp {
    pub(super) const FIN: u8 = 1 << 0;
    pub(super) const SYN: u8 = 1 << 1;
    pub(super) const RST: u8 = 1 << 2;
    pub(super) const ACK: u8 = 1 << 4;
}

/// Who sent a packet of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sender {
    Initiator,
    Responder,
}

impl CtEntry {
    /// Whether a new connection reuses the ports of a closing one.
    #[inline(always)]
    pub(super) const fn is_reopened_by(&self, sender: Sender, tcp_flags: u8) -> bool {
        matches!(sender, Sender::Initiator)
            && tcp_flags & (tcp::SYN | tcp::ACK) == tcp::SYN
            && self.flags & (flag::RX_CLOSING | flag::TX_CLOSING) != 0
    }

    /// Whether an event about this packet is due, before it is noted; if so, that is on
    /// record. As `__ct_update_timeout` and `ACTION_CLOSE` in Cilium's `lib/conntrack.h`,
    /// with every TCP flag counting (`bpf.monitorFlags: all`): what closes a flow, and
    /// whatever comes after it is closed, is always reported.
    #[inline(always)]
    pub(super) fn is_due(
        &mut self,
        sender: Sender,
        tcp_flags: u8,
        now: u32,
        interval: u32,
    ) -> bool {
        let both = flag::RX_CLOSING | flag::TX_CLOSING;
        let (seen, last) = match sender {
            Sender::Initiator => (self.tx_flags_seen, &mut self.last_tx_report),
            Sender::Responder => (self.rx_flags_seen, &mut self.last_rx_report),
        };
        let is_due = tcp_flags & !seen != 0
            || tcp_flags & (tcp::FIN | tcp::RST) != 0
            || self.flags & both == both
            || last.saturating_add(interval) < now;
        if is_due {
            *last = now;
        }
        is_due
    }

    #[inline(always)]
    pub(super) fn note(&mut self, sender: Sender, tcp_flags: u8, length: u32) {
        match sender {
            Sender::Initiator => {
                self.tx_packets += 1;
                self.tx_bytes += u64::from(length);
                self.tx_flags_seen |= tcp_flags;
            }
            Sender::Responder => {
                self.rx_packets += 1;
                self.rx_bytes += u64::from(length);
                self.rx_flags_seen |= tcp_flags;
            }
        }
    }

    #[inline(always)]
    pub(super) fn refresh(&mut self, is_tcp: bool, sender: Sender, tcp_flags: u8, now: u32) {
        if !is_tcp {
            self.lifetime = now + timeout::ANY;
            return;
        }
        let both = flag::RX_CLOSING | flag::TX_CLOSING;
        if self.flags & both == both {
            return;
        }
        if tcp_flags & tcp::RST != 0 {
            self.flags |= both;
        } else if tcp_flags & tcp::FIN != 0 {
            self.flags |= match sender {
                Sender::Initiator => flag::TX_CLOSING,
                Sender::Responder => flag::RX_CLOSING,
            };
        }
        if tcp_flags & tcp::SYN == 0 {
            self.flags |= flag::SEEN_NON_SYN;
        }
        self.lifetime = self.next_lifetime(is_tcp, tcp_flags, now);
    }

    #[inline(always)]
    pub(super) const fn next_lifetime(&self, is_tcp: bool, tcp_flags: u8, now: u32) -> u32 {
        let both = flag::RX_CLOSING | flag::TX_CLOSING;
        now + if !is_tcp {
            timeout::ANY
        } else if self.flags & both == both {
            timeout::TCP_CLOSE
        } else if self.flags & flag::SEEN_NON_SYN != 0 || tcp_flags & tcp::SYN == 0 {
            timeout::TCP
        } else {
            timeout::TCP_SYN
        }
    }
}
