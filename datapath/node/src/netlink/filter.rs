//! Classifiers of the `clsact` qdisc: eBPF programs on an interface before Linux 6.6,
//! which has no links for them.

use std::fmt;
use std::os::fd::{AsRawFd, BorrowedFd};

use netlink_packet_core::{NlasIterator, parse_string, parse_u32};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::tc::{
    TcAttribute, TcBpfFlags, TcFilterBpf, TcFilterBpfOption, TcHandle, TcHeader, TcMessage,
    TcOption,
};
use nix::libc;

use super::{Netlink, NetlinkError};

/// The qdisc that has classifiers for what comes in and for what goes out.
const CLSACT: &str = "clsact";
/// Attributes of `linux/rtnetlink.h` and `linux/pkt_cls.h`.
const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_BPF_NAME: u16 = 7;
const TCA_BPF_ID: u16 = 11;

/// Which packets of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Those that come in.
    Ingress,
    /// Those that go out.
    Egress,
}

impl Side {
    fn parent(self) -> TcHandle {
        let minor = match self {
            Self::Ingress => TcHandle::MIN_INGRESS,
            Self::Egress => TcHandle::MIN_EGRESS,
        };
        TcHandle {
            major: TcHandle::CLSACT.major,
            minor,
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        })
    }
}

/// Where a classifier for all protocols is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FilterPlace {
    /// Index of the interface.
    pub device: u32,
    /// The packets it sees.
    pub side: Side,
    /// Its turn: lower ones come first.
    pub priority: u16,
    /// Which of its priority.
    pub handle: u32,
}

impl FilterPlace {
    pub(super) fn describe(&self, device: &str) -> String {
        let (side, priority, handle) = (self.side, self.priority, self.handle);
        format!("dev {device} {side} protocol all pref {priority} handle {handle:#x} bpf")
    }

    fn message(&self) -> TcMessage {
        let mut message = on_device(self.device);
        message.header.parent = self.side.parent();
        message.header.handle = self.handle.into();
        // ETH_P_ALL in the order of the network, which is how the kernel compares it.
        let protocol = (libc::ETH_P_ALL as u16).to_be();
        message.header.info = u32::from(self.priority) << 16 | u32::from(protocol);
        message
            .attributes
            .push(TcAttribute::Kind(TcFilterBpf::KIND.to_owned()));
        message
    }
}

/// A classifier that is there, anybody's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// Where it is.
    pub place: FilterPlace,
    /// Name and id of its eBPF program, where it has one.
    pub program: Option<(String, u32)>,
}

/// The qdisc for classifiers both ways, as a message.
pub(super) fn clsact(device: u32) -> TcMessage {
    let mut message = on_device(device);
    message.header.parent = TcHandle::CLSACT;
    message.header.handle = TcHandle {
        minor: 0,
        ..TcHandle::CLSACT
    };
    message
        .attributes
        .push(TcAttribute::Kind(CLSACT.to_owned()));
    message
}

/// A classifier that lets its program decide (`direct-action`).
pub(super) fn with_program(place: &FilterPlace, name: &str, program: BorrowedFd<'_>) -> TcMessage {
    let mut message = place.message();
    let options = [
        TcFilterBpfOption::ProgFd(program.as_raw_fd().unsigned_abs()),
        TcFilterBpfOption::ProgName(name.to_owned()),
        TcFilterBpfOption::Flags(TcBpfFlags::DirectAction),
    ];
    message.attributes.push(TcAttribute::Options(
        options.map(TcOption::Bpf).into_iter().collect(),
    ));
    message
}

/// What is at a place, to be removed.
pub(super) fn at(place: &FilterPlace) -> TcMessage {
    place.message()
}

fn on_device(device: u32) -> TcMessage {
    TcMessage::with_index(device.cast_signed())
}

impl Netlink {
    /// The classifiers of one side of an interface, in their order. None when it has no
    /// qdisc for them, or is gone.
    ///
    /// # Errors
    /// When the dump fails.
    pub fn filters(&mut self, device: u32, side: Side) -> Result<Vec<Filter>, NetlinkError> {
        let mut query = on_device(device);
        query.header.parent = side.parent();
        self.dump_raw(
            &RouteNetlinkMessage::GetTrafficFilter(query),
            "tc filter show",
            |_, payload| read(payload, device, side).map(Some),
        )
    }

    /// Whether an interface has a `clsact` qdisc; an `ingress` qdisc, which takes its
    /// place, has nothing for what goes out.
    ///
    /// # Errors
    /// When the dump fails.
    pub fn has_clsact(&mut self, device: u32) -> Result<bool, NetlinkError> {
        let query = RouteNetlinkMessage::GetQueueDiscipline(on_device(device));
        // The kernel answers with the qdiscs of all interfaces.
        let found = self.dump_raw(&query, "tc qdisc show", |_, payload| {
            let header = TcHeader::parse(payload).map_err(undecodable)?;
            let kind = attribute(attributes(payload), TCA_KIND).map(parse_string);
            let fits = header.index == device.cast_signed()
                && kind.is_some_and(|kind| kind.is_ok_and(|kind| kind == CLSACT));
            Ok(fits.then_some(()))
        })?;
        Ok(!found.is_empty())
    }
}

/// Only what is asked for is read: classifiers of others have options of all kinds.
fn read(payload: &[u8], device: u32, side: Side) -> Result<Filter, NetlinkError> {
    let header = TcHeader::parse(payload).map_err(undecodable)?;
    let attributes = attributes(payload);
    let kind = attribute(attributes, TCA_KIND).map(parse_string);
    let is_bpf = kind.is_some_and(|kind| kind.is_ok_and(|kind| kind == TcFilterBpf::KIND));
    let options = attribute(attributes, TCA_OPTIONS).filter(|_| is_bpf);
    let program = options.and_then(|options| {
        let name = parse_string(attribute(options, TCA_BPF_NAME)?).ok()?;
        let id = parse_u32(attribute(options, TCA_BPF_ID)?).ok()?;
        Some((name, id))
    });
    let place = FilterPlace {
        device,
        side,
        priority: (header.info >> 16) as u16,
        handle: header.handle.into(),
    };
    Ok(Filter { place, program })
}

/// What follows the `struct tcmsg`.
fn attributes(payload: &[u8]) -> &[u8] {
    const HEADER: usize = 20;
    payload.get(HEADER..).unwrap_or_default()
}

fn attribute(attributes: &[u8], kind: u16) -> Option<&[u8]> {
    const HEADER: usize = 4;
    let attribute = NlasIterator::new(attributes)
        .filter_map(Result::ok)
        .find(|attribute| attribute.kind() == kind)?;
    let length = usize::from(attribute.length());
    attribute.into_inner().get(HEADER..length)
}

fn undecodable(error: netlink_packet_core::DecodeError) -> NetlinkError {
    NetlinkError::Decode(error.to_string())
}
