//! [`Maps`] as the kernel has them, and the actions that programs end with.

use core::ffi::c_void;
use core::mem;

use aya_ebpf::bindings::{
    __sk_buff, BPF_ANY, BPF_F_INGRESS, BPF_NOEXIST, bpf_fib_lookup, bpf_redir_neigh,
    bpf_redir_neigh__bindgen_ty_1,
};
use aya_ebpf::btf_maps::lpm_trie::Key;
use aya_ebpf::helpers::generated::{
    bpf_fib_lookup as fib_lookup, bpf_get_prandom_u32, bpf_ktime_get_coarse_ns, bpf_loop,
    bpf_redirect, bpf_redirect_neigh, bpf_redirect_peer, bpf_skb_load_bytes,
};
use aya_ebpf::programs::TcContext;
use lab_datapath_common::arp::{L2Responder, L2ResponderKey};
use lab_datapath_common::conntrack::{self, CtEntry, Task, Tracked};
use lab_datapath_common::endpoint::{Endpoint, IpcacheEntry};
use lab_datapath_common::fragment::{FragmentKey, Ports};
use lab_datapath_common::hooks::Action;
use lab_datapath_common::ipv4::Ipv4;
use lab_datapath_common::kernel::{Maps, Packet as _, Refused, Route};
use lab_datapath_common::maps::{METRIC_EGRESS, MetricsKey, MetricsValue, SIGNAL_NAT_FILL_UP};
use lab_datapath_common::nat::NatEntry;
use lab_datapath_common::nat::decision::Target;
use lab_datapath_common::nat::mapping::{self, PortRange};
use lab_datapath_common::service::SourceRangeKey;
use lab_datapath_common::service::packet::{self, Asked, Chosen, Leaving};
use lab_datapath_common::settings::{Device, Settings};
use lab_datapath_common::trace::{self, Event, HEAD};
use lab_datapath_common::transport::{self, Datagram, Transport};
use lab_datapath_common::{Address, DropReason, Tuple, protocol};

use crate::events;
use crate::maps;
use crate::services::over_the_maps;
use crate::skb::{CONTINUE, DROP, Skb};

/// `AF_INET` of `linux/socket.h`.
const AF_INET: u8 = 2;
/// `BPF_FIB_LOOKUP_SKIP_NEIGH`: `bpf_redirect_neigh` resolves the neighbour
/// itself. Kernel 6.3; older ones refuse the flag, and the stack forwards.
const SKIP_NEIGH: u32 = 1 << 2;
/// `BPF_FIB_LKUP_RET_SUCCESS`.
const FIB_SUCCESS: i64 = 0;

const ANY: u64 = BPF_ANY as u64;
const NOEXIST: u64 = BPF_NOEXIST as u64;

over_the_maps!(Skb);

impl Skb {
    /// Turns the outcome of a hook into the program's return value, and counts
    /// drops under `direction`.
    #[inline(always)]
    pub(crate) fn finish(&self, outcome: Result<Action, DropReason>, direction: u8) -> i32 {
        match outcome {
            Ok(Action::Continue) => CONTINUE,
            // SAFETY: the helper takes no pointers.
            Ok(Action::ToPod { ifindex }) => unsafe { bpf_redirect_peer(ifindex, 0) as i32 },
            Ok(Action::ToNeighbour(route)) => redirect_to_neighbour(route),
            Ok(Action::ToTunnel { ifindex }) => redirect(ifindex, 0),
            Ok(Action::ToHost { ifindex }) => redirect(ifindex, u64::from(BPF_F_INGRESS)),
            Ok(Action::Reflect) => redirect(self.ifindex(), 0),
            Ok(Action::Call(stage)) => {
                // SAFETY: nothing here waits to be dropped.
                unsafe { maps::CALLS.tail_call(&TcContext::new(self.skb), stage as u32) };
                let missed = u32::from(DropReason::MissedTailCall.code());
                lab_drop(self.skb, missed, u32::from(direction))
            }
            Err(reason) => lab_drop(self.skb, u32::from(reason.code()), u32::from(direction)),
        }
    }

    /// Copies how the packet begins, and returns how many bytes that are.
    #[inline(always)]
    fn head(&self, into: &mut [u8; HEAD]) -> u16 {
        let length = self.length();
        let length = if length > HEAD as u32 {
            HEAD as u32
        } else {
            length
        };
        if length == 0 {
            return 0;
        }
        // Linux 6.1 does not conclude from the comparisons that it is none of 0: said once more in
        // a mask, of a number that LLVM must not know the bounds of.
        // SAFETY: a live local.
        let length = unsafe { (&raw const length).read_volatile() };
        let length = (length.wrapping_sub(1) & (HEAD as u32 - 1)) + 1;
        // SAFETY: the helper writes at most HEAD bytes there, or fails.
        let result =
            unsafe { bpf_skb_load_bytes(self.skb.cast(), 0, into.as_mut_ptr().cast(), length) };
        if result == 0 { length as u16 } else { 0 }
    }

    #[inline(always)]
    fn count_drop(&self, reason: u8, direction: u8) {
        let key = MetricsKey {
            reason,
            direction,
            padding: [0; 2],
        };
        let bytes = u64::from(self.length());
        match maps::METRICS.get_ptr_mut(key) {
            // SAFETY: the value is this CPU's own, and programs on one CPU do
            // not interrupt each other at the same hook.
            Some(value) => unsafe {
                (*value).count += 1;
                (*value).bytes += bytes;
            },
            // The count is best effort: the drop itself stands.
            None => {
                let _ = maps::METRICS.insert(key, MetricsValue { count: 1, bytes }, ANY);
            }
        }
    }
}

#[inline(always)]
fn redirect(ifindex: u32, flags: u64) -> i32 {
    // SAFETY: the helper takes no pointers.
    unsafe { bpf_redirect(ifindex, flags) as i32 }
}

#[inline(always)]
fn redirect_to_neighbour(route: Route) -> i32 {
    let mut neighbour = bpf_redir_neigh {
        nh_family: u32::from(AF_INET),
        __bindgen_anon_1: bpf_redir_neigh__bindgen_ty_1 { ipv6_nh: [0; 4] },
    };
    neighbour.__bindgen_anon_1.ipv4_nh = route.next_hop.to_be();
    let size = mem::size_of::<bpf_redir_neigh>() as i32;
    // SAFETY: the pointer and size describe a live local.
    unsafe { bpf_redirect_neigh(route.ifindex, &raw mut neighbour, size, 0) as i32 }
}

/// A global function, as BTF calls it: the verifier walks it once in each program, knowing
/// nothing of its arguments but their types. Addresses are in network byte order.
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

/// As [`lab_report`]: counts and reports a packet that is dropped, and drops it.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn lab_drop(context: *mut __sk_buff, reason: u32, direction: u32) -> i32 {
    let skb = Skb { skb: context };
    let (reason, direction) = (reason as u8, direction as u8);
    skb.count_drop(reason, direction);
    trace::dropped(&skb, reason, direction == METRIC_EGRESS);
    DROP
}

/// As [`lab_report`]: the transport header. It is read on the way of every packet, and with each
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

/// As [`lab_report`]: the index of the interface behind which the next hop is, and that hop's
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

/// As [`lab_report`]: what conntrack says, or -1 when it has no room for an entry.
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

/// As [`lab_report`]: makes sure of a flow's entry; 0, or -1 when there is no room for one. Without
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

/// As [`lab_report`]: the backend of a packet to a service, in `chosen`.
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

/// As [`lab_report`]: the mapping of a flow, in `entry`; 0 when no port is free. `address` is in
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

/// As [`lab_report`]: what a packet that leaves the node has to do with services, 0 to 3, or the
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

/// One turn of `bpf_loop`: 1 ends it.
extern "C" fn turn<F: FnMut() -> bool>(_: u32, attempt: *mut F) -> i64 {
    // SAFETY: `attempts` passes its own closure, which outlives the loop and is
    // reached through nothing else meanwhile.
    i64::from(unsafe { (*attempt)() })
}

impl Maps for Skb {
    #[inline(always)]
    fn now_ns(&self) -> u64 {
        // SAFETY: the helper takes no arguments.
        unsafe { bpf_ktime_get_coarse_ns() }
    }

    #[inline(always)]
    fn random(&self) -> u32 {
        // SAFETY: the helper takes no arguments.
        unsafe { bpf_get_prandom_u32() }
    }

    #[inline(always)]
    fn settings(&self) -> Settings {
        maps::RUNTIME_CONFIG.get(0).copied().unwrap_or_default()
    }

    #[inline(always)]
    fn device(&self, ifindex: u32) -> Option<Device> {
        // SAFETY: copied at once; the map is only written by the agent.
        unsafe { maps::DEVICES.get(ifindex) }.copied()
    }

    #[inline(always)]
    fn endpoint(&self, address: Address) -> Option<Endpoint> {
        // SAFETY: copied at once; the map is only written by the agent.
        unsafe { maps::LXC.get(address) }.copied()
    }

    #[inline(always)]
    fn ipcache(&self, address: Address) -> Option<IpcacheEntry> {
        maps::IPCACHE.get(&Key::new(32, address)).copied()
    }

    #[inline(always)]
    fn l2_responder(&self, key: &L2ResponderKey) -> Option<L2Responder> {
        // SAFETY: copied at once; the map is only written by the agent.
        unsafe { maps::L2_RESPONDER_V4.get(key) }.copied()
    }

    #[inline(always)]
    fn is_non_masquerade(&self, address: Address) -> bool {
        maps::IPMASQ_V4.get(&Key::new(32, address)).is_some()
    }

    #[inline(always)]
    fn is_in_source_range(&self, key: &SourceRangeKey) -> bool {
        const LENGTH: u32 = SourceRangeKey::FIXED_BITS + 32;
        maps::LB4_SOURCE_RANGE
            .get(&Key::new(LENGTH, *key))
            .is_some()
    }

    #[inline(always)]
    fn route(&self, ip: &Ipv4, length: u16) -> Option<Route> {
        let what = u64::from(ip.protocol) | u64::from(ip.tos) << 8 | u64::from(length) << 16;
        let found = lab_route(self.skb, ip.source.to_be(), ip.destination.to_be(), what);
        let ifindex = found as u32;
        (ifindex != 0).then(|| Route {
            ifindex,
            next_hop: Address::from_be((found >> 32) as u32),
        })
    }

    #[inline(always)]
    fn ct_update<R>(&self, key: &Tuple, change: impl FnOnce(&mut CtEntry) -> R) -> Option<R> {
        // One call of `change`: of two, LLVM makes a function with a frame of its own.
        let entry = if key.protocol == protocol::TCP {
            maps::CT4_GLOBAL.get_ptr_mut(key)
        } else {
            maps::CT_ANY4_GLOBAL.get_ptr_mut(key)
        };
        // SAFETY: map values stay valid while the program runs. Other CPUs may write
        // the same entry; every field is an aligned word, so none is ever seen torn.
        entry.map(|entry| change(unsafe { &mut *entry }))
    }

    #[inline(always)]
    fn ct_create(&self, key: &Tuple, entry: &CtEntry) -> Result<(), Refused> {
        if key.protocol == protocol::TCP {
            maps::CT4_GLOBAL.insert(key, entry, ANY)
        } else {
            maps::CT_ANY4_GLOBAL.insert(key, entry, ANY)
        }
        .map_err(|_| Refused)
    }

    #[inline(always)]
    fn transport(&self, datagram: &Datagram) -> Transport {
        let (source, destination) = datagram.ends();
        let (source, destination) = (source.to_be(), destination.to_be());
        let word = lab_transport(self.skb, source, destination, datagram.to_word());
        Transport::from_word(word)
    }

    #[inline(always)]
    fn track(&self, tuple: &Tuple, task: Task) -> Result<Tracked, DropReason> {
        match lab_track(self.skb, tuple, task.to_word()) {
            bits @ 0..=0xff => Ok(Tracked::from_bits(bits as u8)),
            _ => Err(DropReason::CtCreateFailed),
        }
    }

    #[inline(always)]
    fn ensure(&self, tuple: &Tuple, task: Task) -> Result<(), DropReason> {
        match lab_ensure(tuple, task.to_word()) {
            0 => Ok(()),
            _ => Err(DropReason::CtCreateFailed),
        }
    }

    #[inline(always)]
    fn choose(&self, tuple: &Tuple, asked: Asked, chosen: &mut Chosen) -> u8 {
        lab_choose(self.skb, tuple, asked.to_word(), chosen) as u8
    }

    #[inline(always)]
    fn mapping(
        &self,
        forward: &Tuple,
        target: Target,
        range: PortRange,
    ) -> Result<NatEntry, DropReason> {
        let mut entry = NatEntry {
            needs_ct: u16::from(!target.from_endpoint),
            ..NatEntry::default()
        };
        let ports = u32::from(range.min) | u32::from(range.max) << 16;
        match lab_mapping(self.skb, forward, target.address.to_be(), ports, &mut entry) {
            0 => Err(DropReason::NoNatMapping),
            _ => Ok(entry),
        }
    }

    #[inline(always)]
    fn leaving(&mut self) -> Result<Leaving, DropReason> {
        match lab_leaving(self.skb) {
            0 => Ok(Leaving::NoService),
            1 => Ok(Leaving::Undone),
            2 => Ok(Leaving::ForOtherNode),
            3 => Ok(Leaving::Error),
            code => Err(DropReason::from_code(code as u8).unwrap_or(DropReason::WriteError)),
        }
    }

    #[inline(always)]
    fn nat(&self, key: &Tuple) -> Option<NatEntry> {
        // SAFETY: copied at once, before this program writes the map again.
        unsafe { maps::SNAT_V4_EXTERNAL.get(key) }.copied()
    }

    #[inline(always)]
    fn nat_create(&self, key: &Tuple, entry: &NatEntry) -> Result<(), Refused> {
        maps::SNAT_V4_EXTERNAL
            .insert(key, entry, NOEXIST)
            .map_err(|_| Refused)
    }

    #[inline(always)]
    fn nat_replace(&self, key: &Tuple, entry: &NatEntry) -> Result<(), Refused> {
        maps::SNAT_V4_EXTERNAL
            .insert(key, entry, ANY)
            .map_err(|_| Refused)
    }

    #[inline(always)]
    fn nat_delete(&self, key: &Tuple) {
        let _ = maps::SNAT_V4_EXTERNAL.remove(key);
    }

    #[inline(always)]
    fn fragment_ports(&self, key: &FragmentKey) -> Option<Ports> {
        // SAFETY: copied at once.
        unsafe { maps::IPV4_FRAG_DATAGRAMS.get(key) }.copied()
    }

    #[inline(always)]
    fn remember_fragment(&self, key: &FragmentKey, ports: &Ports) {
        let _ = maps::IPV4_FRAG_DATAGRAMS.insert(key, ports, ANY);
    }

    /// `bpf_loop` is of kernel 5.17.
    #[inline(always)]
    fn attempts<F: FnMut() -> bool>(&self, times: u32, mut attempt: F) -> u32 {
        let turn: extern "C" fn(u32, *mut F) -> i64 = turn::<F>;
        // SAFETY: the callback takes what is passed for it.
        let made = unsafe { bpf_loop(times, turn as *mut c_void, (&raw mut attempt).cast(), 0) };
        made as u32
    }

    #[inline(always)]
    fn count_retries(&self, retries: u32) {
        if let Some(count) = maps::SNAT_V4_ALLOC_RETRIES.get_ptr_mut(retries) {
            // SAFETY: the value is this CPU's own.
            unsafe { *count += 1 };
        }
    }

    #[inline(always)]
    fn signal_nat_fill_up(&self) {
        // A full buffer means that the agent already has signals to read.
        let _ = maps::SIGNALS.output(SIGNAL_NAT_FILL_UP, 0);
    }

    #[inline(always)]
    fn report(&self, source: Address, destination: Address, what: u32, ifindex: u32) {
        lab_report(self.skb, source.to_be(), destination.to_be(), what, ifindex);
    }

    #[inline(always)]
    fn event(&self, fill: impl FnOnce(&mut Event)) {
        events::send(|event| {
            fill(event);
            event.length = self.length();
            event.captured = self.head(&mut event.head);
        });
    }
}
