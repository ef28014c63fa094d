//! What the packet logic asks of the kernel. The programs answer with an skb and
//! BPF maps, host tests with a byte vector and hash maps.

use crate::address::Address;
use crate::arp::{L2Responder, L2ResponderKey};
use crate::conntrack::{CtEntry, Task, Tracked};
use crate::drop_reason::DropReason;
use crate::endpoint::{Endpoint, IpcacheEntry};
use crate::fragment::{FragmentKey, Ports};
use crate::ipv4::Ipv4;
use crate::nat::NatEntry;
use crate::nat::decision::Target;
use crate::nat::mapping::PortRange;
use crate::service::packet::{Asked, Chosen, Leaving};
use crate::service::{Services, SourceRangeKey};
use crate::settings::{Device, Settings};
use crate::trace::Event;
use crate::transport::{Datagram, Transport};
use crate::tunnel::TunnelKey;
use crate::tuple::Tuple;

/// The kernel refused a write: to the packet or to a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

/// Flags of [`Packet::l4_csum_replace`], with the size of the change (2 or 4)
/// in the low bits; values of `enum` in `linux/bpf.h`.
pub mod csum {
    /// The change is to an address: part of the pseudo-header, and so of the
    /// checksum even while the kernel leaves it for the device to finish
    /// (`CHECKSUM_PARTIAL`).
    pub const PSEUDO_HDR: u64 = 1 << 4;
    /// A checksum of 0 means "none" and stays; one that becomes 0 is written
    /// as 0xffff (UDP, RFC 768).
    pub const MARK_MANGLED_0: u64 = 1 << 5;
    /// A change of any size: `from` is 0, and `to` a ones' complement sum of new words
    /// minus old ones.
    pub const DIFFERENCE: u64 = 0;
    /// A 16-bit change.
    pub const SIZE_2: u64 = 2;
    /// A 32-bit change.
    pub const SIZE_4: u64 = 4;
}

/// One packet, Ethernet header first. Offsets count from there.
pub trait Packet {
    /// Copies `N` bytes out; `None` past the end.
    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]>;

    /// Bytes 10 to 34 as words, as they lie in memory: of an IPv4 frame all that is read of every
    /// one. Zeros, the Ethernet type among them, when it is shorter: of an `Option`, LLVM would
    /// compute with the unset half, which the verifier refuses.
    fn first_words(&self) -> [u32; 6];

    /// Overwrites `N` bytes. Leaves every checksum alone.
    ///
    /// # Errors
    /// [`Refused`] past the end, or when the kernel has no memory to make the
    /// packet writable.
    fn store<const N: usize>(&mut self, offset: u32, bytes: &[u8; N]) -> Result<(), Refused>;

    /// `bpf_l4_csum_replace`: corrects the transport checksum at `offset` for a
    /// change `from` → `to` (words as they lie in memory). See [`csum`].
    ///
    /// # Errors
    /// [`Refused`], as for [`Packet::store`].
    fn l4_csum_replace(
        &mut self,
        offset: u32,
        from: u32,
        to: u32,
        flags: u64,
    ) -> Result<(), Refused>;

    /// Bytes, Ethernet header included. A GSO packet is one packet.
    fn length(&self) -> u32;

    /// Payload bytes per segment of a GSO packet, else 0.
    fn gso_size(&self) -> u32;

    /// Whether the Ethernet destination is this node (`PACKET_HOST`): a bridge
    /// also floods frames that are for others.
    fn is_for_this_host(&self) -> bool;

    /// Makes the packet this node's, whatever its Ethernet destination says
    /// (`bpf_skb_change_type`, `PACKET_HOST`).
    ///
    /// # Errors
    /// [`Refused`] when it is this node's own, sent to itself.
    fn set_for_this_host(&mut self) -> Result<(), Refused>;

    /// The interface whose hook runs.
    fn ifindex(&self) -> u32;

    /// The packet's mark. It stays with the packet into the outer one.
    fn mark(&self) -> u32;

    /// Marks the packet.
    fn set_mark(&mut self, mark: u32);

    /// What the outer header said of a packet that came out of a tunnel.
    fn tunnel_key(&self) -> Option<TunnelKey>;

    /// What the outer header is to say once the packet is in the tunnel's device.
    ///
    /// # Errors
    /// [`Refused`] when the kernel has no memory for it.
    fn set_tunnel_key(&mut self, key: &TunnelKey) -> Result<(), Refused>;

    /// Leaves a note for later programs on this packet's way (`skb->tc_index`).
    fn set_tc_index(&mut self, note: u16);

    /// The note; 0 when there is none.
    fn tc_index(&self) -> u16;
}

/// A route that forwarding may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Outgoing interface.
    pub ifindex: u32,
    /// Neighbour to send to: the gateway, or the destination itself.
    pub next_hop: Address,
}

/// Clock, randomness, routes and maps.
pub trait Maps {
    /// Nanoseconds of `CLOCK_MONOTONIC`, as of the last timer tick.
    fn now_ns(&self) -> u64;
    /// Seconds of `CLOCK_MONOTONIC`.
    #[inline(always)]
    fn now(&self) -> u32 {
        (self.now_ns() / 1_000_000_000) as u32
    }
    /// 32 random bits.
    fn random(&self) -> u32;
    /// What the agent asked for.
    fn settings(&self) -> Settings;
    /// The managed device of that index.
    fn device(&self, ifindex: u32) -> Option<Device>;
    /// The local endpoint that owns the address.
    fn endpoint(&self, address: Address) -> Option<Endpoint>;
    /// Whose address it is, and behind which node.
    fn ipcache(&self, address: Address) -> Option<IpcacheEntry>;
    /// Security identity behind the address.
    #[inline(always)]
    fn identity(&self, address: Address) -> Option<u32> {
        self.ipcache(address).map(|entry| entry.identity)
    }
    /// Who answers ARP requests for an address.
    fn l2_responder(&self, key: &L2ResponderKey) -> Option<L2Responder>;
    /// Whether the ip-masq-agent's list holds the address.
    fn is_non_masquerade(&self, address: Address) -> bool;
    /// Whether one of the service's source ranges holds the client.
    fn is_in_source_range(&self, key: &SourceRangeKey) -> bool;
    /// A route by which the stack would forward this packet right now, at its
    /// size; `None` for whatever the stack must handle itself.
    fn route(&self, ip: &Ipv4, length: u16) -> Option<Route>;

    /// Lets `change` at the conntrack entry, where there is one.
    fn ct_update<R>(&self, key: &Tuple, change: impl FnOnce(&mut CtEntry) -> R) -> Option<R>;
    /// Writes a conntrack entry, over an old one if need be.
    ///
    /// # Errors
    /// [`Refused`] when the map is full beyond eviction.
    fn ct_create(&self, key: &Tuple, entry: &CtEntry) -> Result<(), Refused>;

    /// Calls [`transport::read`](crate::transport::read), as [`Maps::track`] does.
    fn transport(&self, datagram: &Datagram) -> Transport;

    /// Calls [`conntrack::track`](crate::conntrack::track). In the kernel it is a function that
    /// is verified once and for itself, with variables of its own.
    ///
    /// # Errors
    /// [`DropReason::CtCreateFailed`].
    fn track(&self, tuple: &Tuple, task: Task) -> Result<Tracked, DropReason>;

    /// Calls [`conntrack::ensure`](crate::conntrack::ensure), as [`Maps::track`] does.
    ///
    /// # Errors
    /// [`DropReason::CtCreateFailed`].
    fn ensure(&self, tuple: &Tuple, task: Task) -> Result<(), DropReason>;

    /// Calls [`packet::choose`](crate::service::packet::choose), as [`Maps::track`] does.
    fn choose(&self, tuple: &Tuple, asked: Asked, chosen: &mut Chosen) -> u8;

    /// Calls [`mapping::find_or_create`](crate::nat::mapping::find_or_create), as
    /// [`Maps::track`] does.
    ///
    /// # Errors
    /// [`DropReason::NoNatMapping`].
    fn mapping(
        &self,
        forward: &Tuple,
        target: Target,
        range: PortRange,
    ) -> Result<NatEntry, DropReason>;

    /// Calls [`packet::leaving`](crate::service::packet::leaving), as [`Maps::track`] does.
    ///
    /// # Errors
    /// Why the packet must be dropped.
    fn leaving(&mut self) -> Result<Leaving, DropReason>;

    /// A NAT entry.
    fn nat(&self, key: &Tuple) -> Option<NatEntry>;
    /// Writes a NAT entry unless the key is taken (`BPF_NOEXIST`).
    ///
    /// # Errors
    /// [`Refused`] when taken or full.
    fn nat_create(&self, key: &Tuple, entry: &NatEntry) -> Result<(), Refused>;
    /// Writes a NAT entry in any case (`BPF_ANY`).
    ///
    /// # Errors
    /// [`Refused`] when full.
    fn nat_replace(&self, key: &Tuple, entry: &NatEntry) -> Result<(), Refused>;
    /// Removes a NAT entry; a missing one is fine.
    fn nat_delete(&self, key: &Tuple);

    /// Ports of a datagram whose first fragment was seen.
    fn fragment_ports(&self, key: &FragmentKey) -> Option<Ports>;
    /// Remembers the ports for later fragments. Best effort: without it those
    /// are dropped with their own reason.
    fn remember_fragment(&self, key: &FragmentKey, ports: &Ports);

    /// Makes up to `times` attempts, until one returns true; returns how many were
    /// made. In the kernel that is one call of a helper, whose callback is verified
    /// once: a loop in the program would be verified try by try, with all that
    /// follows each.
    fn attempts<F: FnMut() -> bool>(&self, times: u32, mut attempt: F) -> u32 {
        for made in 1..=times {
            if attempt() {
                return made;
            }
        }
        times
    }

    /// Counts how many retries an allocation took.
    fn count_retries(&self, retries: u32);
    /// Wakes the agent's garbage collection.
    fn signal_nat_fill_up(&self);

    /// Calls [`trace::report`](crate::trace::report), of which the arguments are. In the kernel it
    /// is a function that is verified once and for itself: it is big, the same at every point
    /// that packets pass, and would be walked again on each way to one of them.
    fn report(&self, source: Address, destination: Address, what: u32, ifindex: u32);

    /// Sends the agent an event about this packet: `fill` says what, time, length and
    /// head are added. Without room it is lost, and counted.
    fn event(&self, fill: impl FnOnce(&mut Event));
}

/// All of it: what the logic is generic over.
pub trait Kernel: Packet + Maps + Services {}

impl<K: Packet + Maps + Services> Kernel for K {}
