//! Answers to ARP requests for LoadBalancer addresses that this node announces
//! (`bpf_host.c`, `ENABLE_L2_ANNOUNCEMENTS`; `lib/arp.h`).

use crate::address::Address;
use crate::drop_reason::DropReason;
use crate::hooks::Action;
use crate::kernel::Kernel;

/// Ethernet header and ARP packet (RFC 826), in bytes.
const FRAME: usize = 14 + 28;
/// From the ethertype to the operation of a request: Ethernet and IPv4 addresses of
/// 6 and 4 bytes.
const REQUEST: [u8; 10] = [0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1];
const REPLY: u8 = 2;

/// Key of `cilium_l2_responder_v4`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct L2ResponderKey {
    /// The announced address.
    pub address: Address,
    /// Index of the interface that it is announced on.
    pub ifindex: u32,
}

/// Value of `cilium_l2_responder_v4`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct L2Responder {
    /// Answered before this time only, in nanoseconds of `CLOCK_MONOTONIC`: the agent
    /// moves it on as long as it lives, so that another node can take over.
    pub valid_until: u64,
    /// The answer: the interface's MAC address.
    pub mac: [u8; 6],
    /// Zero.
    pub padding: [u8; 2],
}

/// A frame that is not IPv4 came in through a managed device: answers it when it asks
/// for an address that is announced there.
///
/// # Errors
/// Why it must be dropped.
#[inline(always)]
pub fn respond<K: Kernel>(k: &mut K) -> Result<Action, DropReason> {
    let Some(mut frame) = k.load::<FRAME>(0) else {
        return Ok(Action::Continue);
    };
    let Some(address) = asked_for(&frame) else {
        return Ok(Action::Continue);
    };
    let is_broadcast = frame[..6] == [0xff; 6];
    let key = L2ResponderKey {
        address,
        ifindex: k.ifindex(),
    };
    let Some(responder) = k.l2_responder(&key) else {
        return Ok(Action::Continue);
    };
    if !(is_broadcast || k.is_for_this_host()) || k.now_ns() >= responder.valid_until {
        return Ok(Action::Continue);
    }
    answer(&mut frame, responder.mac);
    k.store(0, &frame).map_err(|_| DropReason::WriteError)?;
    Ok(Action::Reflect)
}

/// The address that a request asks for. One that asks for the sender's own is an
/// announcement (RFC 5227, section 3), and waits for no answer.
#[inline(always)]
fn asked_for(frame: &[u8; FRAME]) -> Option<Address> {
    if frame[12..22] != REQUEST || frame[28..32] == frame[38..42] {
        return None;
    }
    Some(Address::from_bytes([
        frame[38], frame[39], frame[40], frame[41],
    ]))
}

/// Makes a request the reply to itself.
#[inline(always)]
fn answer(frame: &mut [u8; FRAME], mac: [u8; 6]) {
    let asker = [
        frame[22], frame[23], frame[24], frame[25], frame[26], frame[27], frame[28], frame[29],
        frame[30], frame[31],
    ];
    let address = [frame[38], frame[39], frame[40], frame[41]];
    frame[0..6].copy_from_slice(&asker[..6]);
    frame[6..12].copy_from_slice(&mac);
    frame[21] = REPLY;
    frame[22..28].copy_from_slice(&mac);
    frame[28..32].copy_from_slice(&address);
    frame[32..42].copy_from_slice(&asker);
}
