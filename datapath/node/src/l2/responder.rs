//! `cilium_l2_responder_v4`, and telling the neighbours.

use std::collections::BTreeMap;
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::time::Duration;

use aya::maps::{HashMap, Map, MapData, MapError};
use lab_datapath_common::arp::{L2Responder, L2ResponderKey};
use nix::libc;
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockType, SockaddrLike as _, sendto, socket,
};
use nix::time::{ClockId, clock_gettime};

use crate::netlink::Mac;

/// How long the datapath answers without another sign of life of the agent.
pub(super) const LEASE: Duration = Duration::from_secs(2);

/// The map.
pub(super) struct Responder {
    map: HashMap<MapData, L2ResponderKey, L2Responder>,
}

impl Responder {
    pub(super) fn open(pin: &Path) -> Result<Self, String> {
        let open = || HashMap::try_from(Map::HashMap(MapData::from_pin(pin)?));
        let map = open().map_err(|error| format!("open {}: {error}", pin.display()))?;
        Ok(Self { map })
    }

    /// Answers for these addresses, and no others, until [`LEASE`] from now.
    pub(super) fn hold(&mut self, wanted: &BTreeMap<L2ResponderKey, Mac>) -> Result<(), String> {
        let fault = |error: MapError| format!("write map cilium_l2_responder_v4: {error}");
        let keys: Result<Vec<_>, _> = self.map.keys().collect();
        for key in keys.map_err(fault)? {
            if !wanted.contains_key(&key) {
                self.map.remove(&key).map_err(fault)?;
            }
        }
        let valid_until = deadline()?;
        for (key, mac) in wanted {
            let responder = L2Responder {
                valid_until,
                mac: mac.0,
                padding: [0; 2],
            };
            self.map.insert(*key, responder, 0).map_err(fault)?;
        }
        Ok(())
    }
}

/// On the datapath's clock.
fn deadline() -> Result<u64, String> {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC)
        .map_err(|error| format!("read the clock: {error}"))?;
    let until = Duration::from(now) + LEASE;
    u64::try_from(until.as_nanos()).map_err(|error| format!("read the clock: {error}"))
}

/// Tells everybody on the segment where the address is now (RFC 5227, section 3): they
/// correct what they remember.
pub(super) fn announce(key: L2ResponderKey, mac: Mac) -> Result<(), String> {
    let fault = |error| format!("send a gratuitous ARP for {}: {error}", key.address);
    let socket = socket(
        AddressFamily::Packet,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        None,
    )
    .map_err(fault)?;
    let to = link_address(key.ifindex);
    let frame = announcement(key, mac);
    sendto(socket.as_raw_fd(), &frame, &to, MsgFlags::empty()).map_err(fault)?;
    Ok(())
}

fn link_address(ifindex: u32) -> LinkAddr {
    // SAFETY: all zero is a valid address.
    let mut raw: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    raw.sll_family = libc::AF_PACKET as u16;
    raw.sll_ifindex = ifindex.cast_signed();
    let length = size_of::<libc::sockaddr_ll>() as u32;
    // SAFETY: the pointer and length describe a live local of the family it says.
    unsafe { LinkAddr::from_raw((&raw const raw).cast(), Some(length)) }
        .unwrap_or_else(|| unreachable!("an address of that family and length"))
}

/// An ARP request for the sender's own address, to everybody.
fn announcement(key: L2ResponderKey, Mac(mac): Mac) -> Vec<u8> {
    let address = key.address.bytes();
    let mut frame = vec![0xff; 6];
    frame.extend(mac);
    frame.extend([0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1]);
    frame.extend(mac);
    frame.extend(address);
    frame.extend([0; 6]);
    frame.extend(address);
    frame
}
