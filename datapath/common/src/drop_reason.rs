//! Why a packet was dropped.

use core::fmt;

/// Reasons, numbered and worded as `pkg/monitor/api/drop.go` does.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DropReason {
    /// A header is cut short, or an ICMP fragment would need translating.
    InvalidPacket = 134,
    /// The packet is longer than the tunnel takes whole.
    FragmentationNeeded = 136,
    /// The next program on the packet's way is not there.
    MissedTailCall = 140,
    /// The kernel refused to write into the packet.
    WriteError = 141,
    /// An ICMP error of a kind that has no code of that number.
    UnknownIcmpCode = 143,
    /// A packet in the tunnel's device without an outer header.
    NoTunnelKey = 147,
    /// The IPv4 header checksum could not be corrected.
    ChecksumL3 = 153,
    /// The transport checksum could not be corrected (SCTP: never can).
    ChecksumL4 = 154,
    /// The conntrack map refused an entry.
    CtCreateFailed = 155,
    /// A fragment, while fragments are not tracked.
    FragmentsUnsupported = 157,
    /// A service without a backend.
    NoService = 158,
    /// No free port to masquerade with, or the NAT map refused the entry.
    NoNatMapping = 167,
    /// A protocol, or an ICMP type, that cannot be masqueraded.
    NatUnsupportedProtocol = 168,
    /// An identity that no other node may claim.
    InvalidIdentity = 171,
    /// From outside, for a service that is there for the cluster alone.
    IsClusterIp = 174,
    /// A later fragment whose first fragment was not seen.
    FragmentNotFound = 175,
    /// From an address that the service is not there for (`loadBalancerSourceRanges`).
    NotInSourceRange = 177,
}

impl DropReason {
    /// Every reason, in order of its number.
    pub const ALL: [Self; 17] = [
        Self::InvalidPacket,
        Self::FragmentationNeeded,
        Self::MissedTailCall,
        Self::WriteError,
        Self::UnknownIcmpCode,
        Self::NoTunnelKey,
        Self::ChecksumL3,
        Self::ChecksumL4,
        Self::CtCreateFailed,
        Self::FragmentsUnsupported,
        Self::NoService,
        Self::NoNatMapping,
        Self::NatUnsupportedProtocol,
        Self::InvalidIdentity,
        Self::IsClusterIp,
        Self::FragmentNotFound,
        Self::NotInSourceRange,
    ];

    /// Cilium's number for it, as in `cilium_metrics`.
    #[inline(always)]
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The reason of that number.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.code() == code)
    }

    /// Cilium's words for it.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::InvalidPacket => "Invalid packet",
            Self::FragmentationNeeded => "Fragmentation needed",
            Self::MissedTailCall => "Missed tail call",
            Self::WriteError => "Error writing to packet",
            Self::UnknownIcmpCode => "Unknown ICMPv4 code",
            Self::NoTunnelKey => "Error retrieving tunnel key",
            Self::ChecksumL3 => "Error while correcting L3 checksum",
            Self::ChecksumL4 => "Error while correcting L4 checksum",
            Self::CtCreateFailed => "CT: Map insertion failed",
            Self::FragmentsUnsupported => "IP fragmentation not supported",
            Self::NoService => "Service backend not found",
            Self::IsClusterIp => "Is a ClusterIP",
            Self::NoNatMapping => "No mapping for NAT masquerade",
            Self::NatUnsupportedProtocol => "Unsupported protocol for NAT masquerade",
            Self::InvalidIdentity => "Invalid identity",
            Self::FragmentNotFound => "First logical datagram fragment not found",
            Self::NotInSourceRange => "Denied by LB src range check",
        }
    }
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}
