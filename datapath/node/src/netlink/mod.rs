//! Synchronous rtnetlink: links, addresses, routes, neighbours and classifiers of
//! one network namespace.
//!
//! A [`Netlink`] handle speaks to the namespace its socket was opened in, from
//! whatever thread it is used later. Requests are data ([`Request`]), print as
//! the `ip` or `tc` command of the same meaning, and go out many at a time: a batch is
//! one `send` and, when all is well, one answer.

mod dump;
mod encode;
mod error;
mod filter;
mod mac;
mod request;
mod route;

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_ACK_TLVS, NLM_F_REQUEST, NetlinkBuffer, NetlinkHeader, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{Socket, protocols::NETLINK_ROUTE};
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};

pub use dump::{Address, Link, Neighbour};
pub use error::NetlinkError;
pub use filter::{Filter, FilterPlace, Side};
pub use mac::{Mac, ParseMacError};
pub use request::{LinkChange, LinkEnd, LinkKind, Request};
pub use route::{Route, Scope, protocol};

use crate::namespace;

/// Largest batch in one `send`: acknowledgements queue up while the kernel works
/// through it, and a full receive buffer would lose them.
const BATCH_REQUESTS: usize = 64;
/// Bytes the kernel sends at most in one datagram of a dump.
const RECEIVE_BUFFER: usize = 64 * 1024;

/// `NLMSG_ERROR` of `linux/netlink.h`.
const NLMSG_ERROR: u16 = 2;

/// An rtnetlink socket of one network namespace.
pub struct Netlink {
    socket: Socket,
    sequence: u32,
    buffer: Vec<u8>,
}

impl AsFd for Netlink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Netlink {
    /// Opens a socket in the calling thread's network namespace.
    ///
    /// # Errors
    /// When the kernel gives no socket.
    pub fn open() -> Result<Self, NetlinkError> {
        let socket = Socket::new(NETLINK_ROUTE)
            .and_then(|socket| {
                socket.connect(&netlink_sys::SocketAddr::new(0, 0))?;
                // Answers carry the header of what they answer, not all of it,
                // and the kernel's own words on what is wrong.
                socket.set_cap_ack(true)?;
                socket.set_ext_ack(true)?;
                Ok(socket)
            })
            .map_err(NetlinkError::Open)?;
        Ok(Self {
            socket,
            sequence: 0,
            buffer: vec![0; RECEIVE_BUFFER],
        })
    }

    /// Opens a socket in `netns`, on a thread of its own.
    ///
    /// # Errors
    /// When the namespace cannot be entered, or the kernel gives no socket.
    pub fn open_in(netns: impl AsFd) -> Result<Self, NetlinkError> {
        namespace::in_netns(netns, Self::open).map_err(NetlinkError::Namespace)?
    }

    /// Executes one request.
    ///
    /// # Errors
    /// What the kernel answered, with the request as an `ip` command.
    pub fn execute(&mut self, request: &Request<'_>) -> Result<(), NetlinkError> {
        self.execute_all(std::slice::from_ref(request))
    }

    /// Executes `requests` in order, and returns the first failure. The kernel
    /// works through a batch to its end, so requests behind a failed one were
    /// tried as well.
    ///
    /// # Errors
    /// The first request that the kernel refused.
    pub fn execute_all(&mut self, requests: &[Request<'_>]) -> Result<(), NetlinkError> {
        self.execute_each(requests)?.into_iter().collect()
    }

    /// Executes `requests` in order, and returns each one's outcome.
    ///
    /// # Errors
    /// Only when sending or receiving fails; refusals are in the outcomes.
    pub fn execute_each(
        &mut self,
        requests: &[Request<'_>],
    ) -> Result<Vec<Result<(), NetlinkError>>, NetlinkError> {
        let mut outcomes = Vec::with_capacity(requests.len());
        for batch in requests.chunks(BATCH_REQUESTS) {
            let refusals = self.transact(batch)?;
            let base = outcomes.len();
            outcomes.extend(batch.iter().map(|_| Ok(())));
            for refusal in refusals {
                let request = self.describe(&batch[refusal.position]);
                outcomes[base + refusal.position] = Err(NetlinkError::Refused {
                    request,
                    errno: refusal.errno,
                    detail: refusal.detail,
                });
            }
        }
        Ok(outcomes)
    }

    /// Adds a `dummy` interface, or, where the kernel has none (`EOPNOTSUPP`),
    /// an `ifb`: it has the same flags, and neither passes packets on. Says
    /// which it was.
    ///
    /// # Errors
    /// When the kernel has neither, or refuses the interface.
    pub fn add_dummy(&mut self, end: &LinkEnd<'_>) -> Result<LinkKind, NetlinkError> {
        let dummy = Request::AddLink {
            kind: LinkKind::Dummy,
            end: end.clone(),
        };
        match self.execute(&dummy) {
            Ok(()) => Ok(LinkKind::Dummy),
            Err(error) if error.errno() == Some(Errno::EOPNOTSUPP) => {
                self.execute(&Request::AddLink {
                    kind: LinkKind::Ifb,
                    end: end.clone(),
                })?;
                Ok(LinkKind::Ifb)
            }
            Err(error) => Err(error),
        }
    }

    /// Index of the interface `name`, or `None` when there is none.
    ///
    /// # Errors
    /// When the kernel does not answer the question.
    pub fn index_of(&mut self, name: &str) -> Result<Option<u32>, NetlinkError> {
        Ok(self.link(name)?.map(|link| link.index))
    }

    /// Sends one batch and collects what was refused. Failures are always
    /// answered, so only the last request asks for an acknowledgement.
    fn transact(&mut self, batch: &[Request<'_>]) -> Result<Vec<Refusal>, NetlinkError> {
        let first = self.sequence.wrapping_add(1);
        let mut bytes = Vec::with_capacity(batch.len() * 128);
        for (position, request) in batch.iter().enumerate() {
            let (message, flags) = encode::message(request);
            let last = position + 1 == batch.len();
            let flags = NLM_F_REQUEST | flags | if last { NLM_F_ACK } else { 0 };
            self.append(&mut bytes, message, flags);
        }
        let last = self.sequence;
        self.send(&bytes)?;
        let mut refusals = Vec::new();
        loop {
            let length = self.receive()?;
            for message in messages(&self.buffer[..length]) {
                let (header, payload) = message?;
                let position = header.sequence_number.wrapping_sub(first) as usize;
                if header.message_type != NLMSG_ERROR || position >= batch.len() {
                    continue; // A late answer to an earlier request that was given up.
                }
                if let Some((errno, detail)) = refusal(&header, payload) {
                    refusals.push(Refusal {
                        position,
                        errno,
                        detail,
                    });
                }
                if header.sequence_number == last {
                    return Ok(refusals);
                }
            }
        }
    }

    /// Appends a message with the next sequence number.
    fn append(&mut self, bytes: &mut Vec<u8>, message: RouteNetlinkMessage, flags: u16) {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(message));
        message.finalize();
        let start = bytes.len();
        // NLMSG_ALIGN: the next message starts on a multiple of four.
        bytes.resize(start + message.buffer_len().next_multiple_of(4), 0);
        message.serialize(&mut bytes[start..]);
    }

    fn send(&self, bytes: &[u8]) -> Result<(), NetlinkError> {
        self.socket
            .send(bytes, 0)
            .map(drop)
            .map_err(NetlinkError::Send)
    }

    fn receive(&mut self) -> Result<usize, NetlinkError> {
        loop {
            match recv(self.socket.as_raw_fd(), &mut self.buffer, MsgFlags::empty()) {
                Err(Errno::EINTR) => {}
                received => return received.map_err(NetlinkError::Receive),
            }
        }
    }

    /// The request as an `ip` command with interface names, looked up only now
    /// that a message needs them.
    fn describe(&mut self, request: &Request<'_>) -> String {
        let names: Vec<(u32, String)> = self
            .links()
            .map(|links| {
                links
                    .into_iter()
                    .map(|link| (link.index, link.name))
                    .collect()
            })
            .unwrap_or_default();
        request.describe(|index| {
            names
                .iter()
                .find(|(known, _)| *known == index)
                .map(|(_, name)| name.clone())
        })
    }
}

/// What the kernel said to the request at `position` of a batch.
struct Refusal {
    position: usize,
    errno: Errno,
    detail: Option<String>,
}

/// The messages of one datagram: header and payload.
fn messages(mut rest: &[u8]) -> impl Iterator<Item = Result<(NetlinkHeader, &[u8]), NetlinkError>> {
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let parsed = NetlinkBuffer::new_checked(rest).and_then(|buffer| {
            let header = <NetlinkHeader as netlink_packet_core::Parseable<_>>::parse(&buffer)?;
            Ok((header, buffer.length() as usize))
        });
        match parsed {
            Ok((header, length)) => {
                let payload = &rest[header_length()..length];
                rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
                Some(Ok((header, payload)))
            }
            Err(error) => {
                rest = &[];
                Some(Err(NetlinkError::Decode(error.to_string())))
            }
        }
    })
}

/// `sizeof(struct nlmsghdr)`.
const fn header_length() -> usize {
    16
}

/// The error number in an `NLMSG_ERROR`, and `NLMSGERR_ATTR_MSG` when the kernel
/// gives one; `None` for an acknowledgement.
fn refusal(header: &NetlinkHeader, payload: &[u8]) -> Option<(Errno, Option<String>)> {
    const NLMSGERR_ATTR_MSG: u16 = 1;
    let code = i32::from_ne_bytes(payload.get(..4)?.try_into().ok()?);
    if code == 0 {
        return None;
    }
    // With NETLINK_CAP_ACK, attributes follow the header of the request at once.
    let attributes = payload.get(4 + header_length()..).unwrap_or_default();
    let detail = (header.flags & NLM_F_ACK_TLVS != 0)
        .then(|| {
            netlink_packet_core::NlasIterator::new(attributes)
                .filter_map(Result::ok)
                .find(|attribute| attribute.kind() == NLMSGERR_ATTR_MSG)
                .map(|attribute| {
                    let text = String::from_utf8_lossy(attribute.value()).into_owned();
                    text.trim_end_matches('\0').to_owned()
                })
        })
        .flatten();
    Some((Errno::from_raw(-code), detail))
}

#[cfg(test)]
mod tests;
