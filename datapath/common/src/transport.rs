//! What of the transport header the datapath needs: ports, or an ICMP echo
//! identifier in their place, fragments included.

use crate::address::Port;
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// TCP, UDP or SCTP.
    Ports,
    /// ICMP echo request; the identifier is the source port.
    EchoRequest,
    /// ICMP echo reply; the identifier is the destination port.
    EchoReply,
    /// ICMP destination unreachable or time exceeded.
    IcmpError,
    /// ICMP error with a code that does not exist.
    IcmpUnknownCode,
    /// ICMP redirect.
    IcmpRedirect,
    /// Any other ICMP message.
    IcmpOther,
    /// A later ICMP fragment whose first was not seen.
    IcmpUnknownFragment,
    /// Another protocol.
    Other,
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
        let read = match ip.protocol {
            protocol::TCP | protocol::UDP | protocol::SCTP => read_ports(k, ip, settings),
            protocol::ICMP => read_icmp(k, ip, settings),
            _ => Self::without_ports(Kind::Other),
        };
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
fn fragment_key(ip: &Ipv4) -> FragmentKey {
    FragmentKey {
        destination: ip.destination,
        source: ip.source,
        id: ip.id,
        protocol: ip.protocol,
        padding: 0,
    }
}

#[inline(always)]
fn read_ports<K: Kernel>(k: &K, ip: &Ipv4, settings: &Settings) -> Transport {
    let is_fragment = !matches!(ip.fragment, Fragment::Whole);
    if is_fragment && !settings.has(settings::flag::FRAGMENT_TRACKING) {
        return Transport::faulty(DropReason::FragmentsUnsupported);
    }
    if matches!(ip.fragment, Fragment::Later) {
        let Some(ports) = k.fragment_ports(&fragment_key(ip)) else {
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
    let Some(header) = k.load::<4>(ip.l4_offset()) else {
        return Transport::faulty(DropReason::InvalidPacket);
    };
    let ports = Ports {
        source: Port::from_bytes([header[0], header[1]]),
        destination: Port::from_bytes([header[2], header[3]]),
    };
    if is_fragment {
        k.remember_fragment(&fragment_key(ip), &ports);
    }
    let tcp_flags = if ip.protocol == protocol::TCP {
        match k.load::<1>(ip.l4_offset() + 13) {
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
fn read_icmp<K: Kernel>(k: &K, ip: &Ipv4, settings: &Settings) -> Transport {
    if matches!(ip.fragment, Fragment::Later) {
        return later_icmp_fragment(k, ip, settings);
    }
    let Some(header) = k.load::<8>(ip.l4_offset()) else {
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
    if matches!(ip.fragment, Fragment::First) && settings.has(settings::flag::FRAGMENT_TRACKING) {
        k.remember_fragment(&fragment_key(ip), &transport.ports);
    }
    transport
}

/// An echo's identifier says which side it is, so a remembered pair of "ports"
/// tells a request from a reply; identifier 0 reads as a request of 0.
#[inline(always)]
fn later_icmp_fragment<K: Kernel>(k: &K, ip: &Ipv4, settings: &Settings) -> Transport {
    let remembered = if settings.has(settings::flag::FRAGMENT_TRACKING) {
        k.fragment_ports(&fragment_key(ip))
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
