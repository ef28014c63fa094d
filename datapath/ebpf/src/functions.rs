//! Global functions, as BTF calls them: the verifier walks each once in each program, knowing
//! nothing of its arguments but their types. Addresses are in network byte order.

use core::mem;

use aya_ebpf::bindings::{__sk_buff, bpf_fib_lookup};
use aya_ebpf::helpers::generated::bpf_fib_lookup as fib_lookup;
use lab_datapath_common::conntrack::{self, Task};
use lab_datapath_common::kernel::Packet as _;
use lab_datapath_common::maps::METRIC_EGRESS;
use lab_datapath_common::nat::NatEntry;
use lab_datapath_common::nat::decision::Target;
use lab_datapath_common::nat::mapping::{self, PortRange};
use lab_datapath_common::service::packet::{self, Asked, Chosen, Leaving};
use lab_datapath_common::transport::{self, Datagram};
use lab_datapath_common::{Address, DropReason, Tuple, trace};

use crate::skb::{DROP, Skb};

/// `AF_INET` of `linux/socket.h`.
pub(crate) const AF_INET: u8 = 2;
/// `BPF_FIB_LOOKUP_SKIP_NEIGH`: `bpf_redirect_neigh` resolves the neighbour
/// itself. Kernel 6.3; older ones refuse the flag, and the stack forwards.
const SKIP_NEIGH: u32 = 1 << 2;
/// `BPF_FIB_LKUP_RET_SUCCESS`.
const FIB_SUCCESS: i64 = 0;

/// Reports an event about a packet.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn lab_report(
    context: *mut __sk_buff,
    source: u32,
    destination: u32,
    what: u32,
    ifindex: u32,
) -> i32 {
    let skb = Skb { skb: context };
    let (source, destination) = (Address::from_be(source), Address::from_be(destination));
    trace::report(&skb, source, destination, what, ifindex);
    0
}

/// Counts and reports a packet that is dropped, and drops it.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn lab_drop(context: *mut __sk_buff, reason: u32, direction: u32) -> i32 {
    let skb = Skb { skb: context };
    let (reason, direction) = (reason as u8, direction as u8);
    skb.count_drop(reason, direction);
    trace::dropped(&skb, reason, direction == METRIC_EGRESS);
    DROP
}

/// The transport header. It is read on the way of every packet, and with each
/// of its kinds the verifier would walk all that follows.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn lab_transport(
    context: *mut __sk_buff,
    source: u32,
    destination: u32,
    datagram: u64,
) -> u64 {
    let ends = (Address::from_be(source), Address::from_be(destination));
    let skb = Skb { skb: context };
    transport::read(&skb, &Datagram::from_word(ends, datagram)).to_word()
}

/// The index of the interface behind which the next hop is, and that hop's
/// address above it; 0 when there is no route. `what` is the protocol, the type of service and the
/// packet's length, in that order from the lowest byte.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn lab_route(
    context: *mut __sk_buff,
    source: u32,
    destination: u32,
    what: u64,
) -> u64 {
    // SAFETY: an all-zero `bpf_fib_lookup` is a valid one.
    let mut params: bpf_fib_lookup = unsafe { mem::zeroed() };
    params.family = AF_INET;
    params.l4_protocol = what as u8;
    params.ifindex = Skb { skb: context }.ifindex();
    params.__bindgen_anon_1.tot_len = (what >> 16) as u16;
    params.__bindgen_anon_2.tos = (what >> 8) as u8;
    params.__bindgen_anon_3.ipv4_src = source;
    params.__bindgen_anon_4.ipv4_dst = destination;
    let size = mem::size_of::<bpf_fib_lookup>() as i32;
    // SAFETY: the pointer and size describe a live local.
    let result = unsafe { fib_lookup(context.cast(), &raw mut params, size, SKIP_NEIGH) };
    if result != FIB_SUCCESS || params.family != AF_INET {
        return 0;
    }
    // SAFETY: the helper wrote an IPv4 next hop, as the family says.
    let next_hop = unsafe { params.__bindgen_anon_4.ipv4_dst };
    u64::from(params.ifindex) | u64::from(next_hop) << 32
}

/// What conntrack says, or -1 when it has no room for an entry.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn lab_track(context: *mut __sk_buff, tuple: *const Tuple, task: u32) -> i32 {
    // SAFETY: the verifier lets no caller pass anything but a tuple, or null.
    let Some(tuple) = (unsafe { tuple.as_ref() }) else {
        return -1;
    };
    let skb = Skb { skb: context };
    match conntrack::track(&skb, tuple, Task::from_word(task)) {
        Ok(tracked) => i32::from(tracked.bits()),
        Err(_) => -1,
    }
}

/// Makes sure of a flow's entry; 0, or -1 when there is no room for one. Without
/// the context, of which it needs nothing: LLVM would have nothing passed for it.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn lab_ensure(tuple: *const Tuple, task: u32) -> i32 {
    // SAFETY: the verifier lets no caller pass anything but a tuple, or null.
    let Some(tuple) = (unsafe { tuple.as_ref() }) else {
        return -1;
    };
    let no_packet = Skb {
        skb: core::ptr::null_mut(),
    };
    match conntrack::ensure(&no_packet, tuple, Task::from_word(task)) {
        Ok(()) => 0,
        Err(_) => -1,
    }
}

/// The backend of a packet to a service, in `chosen`.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn lab_choose(
    context: *mut __sk_buff,
    tuple: *const Tuple,
    asked: u32,
    chosen: *mut Chosen,
) -> i32 {
    // SAFETY: the verifier lets no caller pass anything but these, or null.
    let (Some(tuple), Some(chosen)) = (unsafe { (tuple.as_ref(), chosen.as_mut()) }) else {
        return i32::from(DropReason::CtCreateFailed.code());
    };
    let skb = Skb { skb: context };
    i32::from(packet::choose(&skb, tuple, Asked::from_word(asked), chosen))
}

/// The mapping of a flow, in `entry`; 0 when no port is free. `address` is in
/// network byte order, `ports` the first port and, above it, the last. Whether NAT keeps the
/// flow's conntrack entry stands in `entry` before.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn lab_mapping(
    context: *mut __sk_buff,
    forward: *const Tuple,
    address: u32,
    ports: u32,
    entry: *mut NatEntry,
) -> i32 {
    if forward.is_null() {
        return 0;
    }
    // SAFETY: the verifier lets no caller pass anything but these, or null.
    let (forward, Some(entry)) = (unsafe { (onto_stack(forward), entry.as_mut()) }) else {
        return 0;
    };
    let skb = Skb { skb: context };
    let target = Target {
        address: Address::from_be(address),
        from_endpoint: entry.needs_ct == 0,
    };
    let range = PortRange {
        min: ports as u16,
        max: (ports >> 16) as u16,
    };
    match mapping::find_or_create(&skb, &forward, target, range) {
        Ok(found) => {
            *entry = found;
            1
        }
        Err(_) => 0,
    }
}

/// What a packet that leaves the node has to do with services, 0 to 3, or the
/// code of a drop reason, which is above.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn lab_leaving(context: *mut __sk_buff) -> i32 {
    let mut skb = Skb { skb: context };
    match packet::leaving(&mut skb) {
        Ok(Leaving::NoService) => 0,
        Ok(Leaving::Undone) => 1,
        Ok(Leaving::ForOtherNode) => 2,
        Ok(Leaving::Error) => 3,
        Err(reason) => i32::from(reason.code()),
    }
}

/// A copy of a function's argument that can be a map's key: before Linux 6.2 the verifier takes no
/// memory of a caller for one (`ARG_PTR_TO_MAP_KEY`).
///
/// # Safety
/// As of `read_volatile`.
#[inline(always)]
unsafe fn onto_stack(tuple: *const Tuple) -> Tuple {
    // SAFETY: the caller's. Volatile, or else LLVM passes the pointer on.
    unsafe { tuple.read_volatile() }
}
