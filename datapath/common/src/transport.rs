//! What of the transport header the datapath needs: ports, or an ICMP echo
//! identifier in their place, fragments included.

use crate::address::{Address, Port};
use crate::drop_reason::DropReason;
use crate::fragment::{FragmentKey, Ports};
use crate::ipv4::{Fragment, Ipv4};
use crate::kernel::Kernel;
use crate::settings::{self, Settings};
use crate::tuple::{Tuple, protocol};

/// ICMP types, RFC 792.
pub mod icmp {
    /// Echo reply.
    pub const ECHO_REPLY: u8 = 0;
    /// Destination unreachable.
    pub const DEST_UNREACH: u8 = 3;
    /// Highest code of [`DEST_UNREACH`] (`NR_ICMP_UNREACH` in `linux/icmp.h`).
    pub const DEST_UNREACH_MAX_CODE: u8 = 15;
    /// Redirect.
    pub const REDIRECT: u8 = 5;
    /// Echo request.
    pub const ECHO_REQUEST: u8 = 8;
    /// Time exceeded.
    pub const TIME_EXCEEDED: u8 = 11;
    /// Highest code of [`TIME_EXCEEDED`].
    pub const TIME_EXCEEDED_MAX_CODE: u8 = 1;
}

/// What kind of transport header it is.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// TCP, UDP or SCTP.
    Ports = 0,
    /// ICMP echo request; the identifier is the source port.
    EchoRequest = 1,
    /// ICMP echo reply; the identifier is the destination port.
    EchoReply = 2,
    /// ICMP destination unreachable or time exceeded.
    IcmpError = 3,
    /// ICMP error with a code that does not exist.
    IcmpUnknownCode = 4,
    /// ICMP redirect.
    IcmpRedirect = 5,
    /// Any other ICMP message.
    IcmpOther = 6,
    /// A later ICMP fragment whose first was not seen.
    IcmpUnknownFragment = 7,
    /// Another protocol.
    Other = 8,
}

impl Kind {
    #[inline(always)]
    const fn from_number(number: u8) -> Self {
        match number {
            0 => Self::Ports,
            1 => Self::EchoRequest,
            2 => Self::EchoReply,
            3 => Self::IcmpError,
            4 => Self::IcmpUnknownCode,
            5 => Self::IcmpRedirect,
            6 => Self::IcmpOther,
            7 => Self::IcmpUnknownFragment,
            _ => Self::Other,
        }
    }
}

/// What a transport header is read by: the IPv4 header's part in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram {
    fragment: FragmentKey,
    part: Fragment,
    l4_offset: u32,
    tracks_fragments: bool,
}

impl Datagram {
    const FIRST: u64 = 1 << 8;
    const LATER: u64 = 1 << 9;
    const TRACKED: u64 = 1 << 10;

    #[inline(always)]
    fn new(ip: &Ipv4, settings: &Settings) -> Self {
        Self {
            fragment: FragmentKey {
                destination: ip.destination,
                source: ip.source,
                id: ip.id,
                protocol: ip.protocol,
                padding: 0,
            },
            part: ip.fragment,
            l4_offset: ip.l4_offset(),
            tracks_fragments: settings.has(settings::flag::FRAGMENT_TRACKING),
        }
    }

    /// Its source and destination.
    #[inline(always)]
    #[must_use]
    pub const fn ends(&self) -> (Address, Address) {
        (self.fragment.source, self.fragment.destination)
    }

    /// The rest of it, as one argument of a function of the kernel's.
    #[inline(always)]
    #[must_use]
    pub const fn to_word(&self) -> u64 {
        let mut word = self.fragment.protocol as u64;
        word |= match self.part {
            Fragment::Whole => 0,
            Fragment::First => Self::FIRST,
            Fragment::Later => Self::LATER,
        };
        if self.tracks_fragments {
            word |= Self::TRACKED;
        }
        word | (u16::from_ne_bytes(self.fragment.id) as u64) << 16 | (self.l4_offset as u64) << 32
    }

    /// What [`Datagram::ends`] and [`Datagram::to_word`] made of it.
    #[inline(always)]
    #[must_use]
    pub const fn from_word((source, destination): (Address, Address), word: u64) -> Self {
        Self {
            fragment: FragmentKey {
                destination,
                source,
                id: ((word >> 16) as u16).to_ne_bytes(),
                protocol: word as u8,
                padding: 0,
            },
            part: if word & Self::LATER != 0 {
                Fragment::Later
            } else if word & Self::FIRST != 0 {
                Fragment::First
            } else {
                Fragment::Whole
            },
            l4_offset: (word >> 32) as u8 as u32,
            tracks_fragments: word & Self::TRACKED != 0,
        }
    }
}

/// What [`Maps::transport`](crate::kernel::Maps::transport) does.
#[inline(always)]
pub fn read<K: Kernel>(k: &K, datagram: &Datagram) -> Transport {
    match datagram.fragment.protocol {
        protocol::TCP | protocol::UDP | protocol::SCTP => read_ports(k, datagram),
        protocol::ICMP => read_icmp(k, datagram),
        _ => Transport::without_ports(Kind::Other),
    }
}

/// A transport header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transport {
    /// What it is.
    pub kind: Kind,
    /// Ports; none unless the kind is `Ports` or an echo.
    pub ports: Ports,
    /// The flags byte of TCP, else 0.
    pub tcp_flags: u8,
    /// Whether this packet holds the header: later fragments do not.
    pub has_header: bool,
    /// Why the packet must be dropped instead. A field rather than a `Result`
    /// around this: an error's payload is undefined to LLVM, which may compute
    /// with it before it branches, and the verifier refuses the unset register.
    pub(crate) fault: Option<DropReason>,
}

impl Transport {
    /// Reads the header, or for a later fragment what its first one had.
    ///
    /// # Errors
    /// [`DropReason::FragmentsUnsupported`], [`DropReason::FragmentNotFound`],
    /// or [`DropReason::InvalidPacket`] when cut short.
    #[inline(always)]
    pub fn read<K: Kernel>(k: &K, ip: &Ipv4, settings: &Settings) -> Result<Self, DropReason> {
        let read = k.transport(&Datagram::new(ip, settings));
        match read.fault {
            None => Ok(read),
            Some(reason) => Err(reason),
        }
    }

    #[inline(always)]
    const fn faulty(reason: DropReason) -> Self {
        let mut transport = Self::without_ports(Kind::Other);
        transport.fault = Some(reason);
        transport
    }

    #[inline(always)]
    pub(crate) const fn without_ports(kind: Kind) -> Self {
        Self {
            kind,
            ports: Ports {
                source: Port::NONE,
                destination: Port::NONE,
            },
            tcp_flags: 0,
            has_header: true,
            fault: None,
        }
    }

    /// As the result of a function of the kernel's.
    #[inline(always)]
    #[must_use]
    pub const fn to_word(&self) -> u64 {
        let fault = match self.fault {
            None => 0,
            Some(DropReason::FragmentsUnsupported) => 1,
            Some(DropReason::FragmentNotFound) => 2,
            Some(_) => 3,
        };
        (self.ports.source.to_be() as u64)
            | (self.ports.destination.to_be() as u64) << 16
            | (self.tcp_flags as u64) << 32
            | (self.kind as u64) << 40
            | (self.has_header as u64) << 48
            | fault << 56
    }

    /// What [`Transport::to_word`] made of it.
    #[inline(always)]
    #[must_use]
    pub const fn from_word(word: u64) -> Self {
        Self {
            kind: Kind::from_number((word >> 40) as u8),
            ports: Ports {
                source: Port::from_be(word as u16),
                destination: Port::from_be((word >> 16) as u16),
            },
            tcp_flags: (word >> 32) as u8,
            has_header: word & (1 << 48) != 0,
            fault: match word >> 56 {
                0 => None,
                1 => Some(DropReason::FragmentsUnsupported),
                2 => Some(DropReason::FragmentNotFound),
                _ => Some(DropReason::InvalidPacket),
            },
        }
    }

    /// The flow, or `None` for what is not tracked.
    #[inline(always)]
    #[must_use]
    pub fn tuple(&self, ip: &Ipv4) -> Option<Tuple> {
        match self.kind {
            Kind::Ports | Kind::EchoRequest | Kind::EchoReply => Some(Tuple {
                source: ip.source,
                destination: ip.destination,
                source_port: self.ports.source,
                destination_port: self.ports.destination,
                protocol: ip.protocol,
                ..Tuple::default()
            }),
            _ => None,
        }
    }
}

#[inline(always)]
fn read_ports<K: Kernel>(k: &K, datagram: &Datagram) -> Transport {
    let is_fragment = !matches!(datagram.part, Fragment::Whole);
    if is_fragment && !datagram.tracks_fragments {
        return Transport::faulty(DropReason::FragmentsUnsupported);
    }
    if matches!(datagram.part, Fragment::Later) {
        let Some(ports) = k.fragment_ports(&datagram.fragment) else {
            return Transport::faulty(DropReason::FragmentNotFound);
        };
        return Transport {
            kind: Kind::Ports,
            ports,
            tcp_flags: 0,
            has_header: false,
            fault: None,
        };
    }
    let Some(header) = k.load::<4>(datagram.l4_offset) else {
        return Transport::faulty(DropReason::InvalidPacket);
    };
    let ports = Ports {
        source: Port::from_bytes([header[0], header[1]]),
        destination: Port::from_bytes([header[2], header[3]]),
    };
    if is_fragment {
        k.remember_fragment(&datagram.fragment, &ports);
    }
    let tcp_flags = if datagram.fragment.protocol == protocol::TCP {
        match k.load::<1>(datagram.l4_offset + 13) {
            Some([flags]) => flags,
            None => return Transport::faulty(DropReason::InvalidPacket),
        }
    } else {
        0
    };
    Transport {
        kind: Kind::Ports,
        ports,
        tcp_flags,
        has_header: true,
        fault: None,
    }
}

#[inline(always)]
fn read_icmp<K: Kernel>(k: &K, datagram: &Datagram) -> Transport {
    if matches!(datagram.part, Fragment::Later) {
        return later_icmp_fragment(k, datagram);
    }
    let Some(header) = k.load::<8>(datagram.l4_offset) else {
        return Transport::faulty(DropReason::InvalidPacket);
    };
    let id = Port::from_bytes([header[4], header[5]]);
    let mut transport = Transport::without_ports(match (header[0], header[1]) {
        (icmp::ECHO_REQUEST, _) => Kind::EchoRequest,
        (icmp::ECHO_REPLY, _) => Kind::EchoReply,
        (icmp::DEST_UNREACH, 0..=icmp::DEST_UNREACH_MAX_CODE)
        | (icmp::TIME_EXCEEDED, 0..=icmp::TIME_EXCEEDED_MAX_CODE) => Kind::IcmpError,
        (icmp::DEST_UNREACH | icmp::TIME_EXCEEDED, _) => Kind::IcmpUnknownCode,
        (icmp::REDIRECT, _) => Kind::IcmpRedirect,
        _ => Kind::IcmpOther,
    });
    match transport.kind {
        Kind::EchoRequest => transport.ports.source = id,
        Kind::EchoReply => transport.ports.destination = id,
        _ => return transport,
    }
    if matches!(datagram.part, Fragment::First) && datagram.tracks_fragments {
        k.remember_fragment(&datagram.fragment, &transport.ports);
    }
    transport
}

/// An echo's identifier says which side it is, so a remembered pair of "ports"
/// tells a request from a reply; identifier 0 reads as a request of 0.
#[inline(always)]
fn later_icmp_fragment<K: Kernel>(k: &K, datagram: &Datagram) -> Transport {
    let remembered = if datagram.tracks_fragments {
        k.fragment_ports(&datagram.fragment)
    } else {
        None
    };
    let Some(ports) = remembered else {
        return Transport::without_ports(Kind::IcmpUnknownFragment);
    };
    let kind = if ports.destination == Port::NONE {
        Kind::EchoRequest
    } else {
        Kind::EchoReply
    };
    Transport {
        kind,
        ports,
        tcp_flags: 0,
        has_header: false,
        fault: None,
    }
}
