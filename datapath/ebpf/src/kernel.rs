//! [`Maps`] as the kernel has them.

use core::ffi::c_void;

use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::btf_maps::lpm_trie::Key;
use aya_ebpf::helpers::generated::{
    bpf_get_prandom_u32, bpf_ktime_get_coarse_ns, bpf_loop, bpf_skb_load_bytes,
};
use lab_datapath_common::arp::{L2Responder, L2ResponderKey};
use lab_datapath_common::conntrack::{CtEntry, Task, Tracked};
use lab_datapath_common::endpoint::{Endpoint, IpcacheEntry};
use lab_datapath_common::fragment::{FragmentKey, Ports};
use lab_datapath_common::ipv4::Ipv4;
use lab_datapath_common::kernel::{Maps, Packet as _, Refused, Route};
use lab_datapath_common::maps::SIGNAL_NAT_FILL_UP;
use lab_datapath_common::nat::NatEntry;
use lab_datapath_common::nat::decision::Target;
use lab_datapath_common::nat::mapping::PortRange;
use lab_datapath_common::service::SourceRangeKey;
use lab_datapath_common::service::packet::{Asked, Chosen, Leaving};
use lab_datapath_common::settings::{Device, Settings};
use lab_datapath_common::trace::{Event, HEAD};
use lab_datapath_common::transport::{Datagram, Transport};
use lab_datapath_common::{Address, DropReason, Tuple, protocol};

use crate::functions::{
    lab_choose, lab_ensure, lab_leaving, lab_mapping, lab_report, lab_route, lab_track,
    lab_transport,
};
use crate::services::{ANY, over_the_maps};
use crate::skb::Skb;
use crate::{events, maps};

const NOEXIST: u64 = BPF_NOEXIST as u64;

over_the_maps!(Skb);

impl Skb {
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
