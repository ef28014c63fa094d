#![no_std]
#![no_main]
//! Answers of a DNS server before its socket: one thin program around
//! `lab_datapath_common::dns`.

mod runtime;
mod skb;

use aya_ebpf::btf_maps::{HashMap, PerCpuArray};
use aya_ebpf::helpers::generated::{
    bpf_ktime_get_coarse_ns, bpf_redirect, bpf_skb_change_tail, bpf_skb_load_bytes,
    bpf_skb_store_bytes,
};
use aya_ebpf::macros::{btf_map, classifier};
use aya_ebpf::programs::TcContext;
use lab_datapath_common::dns::{self, ANSWER, Answer, Answers, Datagram, QUERY, Question, Verdict};
use lab_datapath_common::kernel::{Packet as _, Refused};

use crate::skb::{CONTINUE, DROP, Skb};

/// Answers by the questions that they answer.
#[btf_map(name = "dns_answers")]
static DNS_ANSWERS: HashMap<Question, Answer, { dns::ANSWERS }> = HashMap::new();

/// How often each was given.
#[btf_map(name = "dns_hits")]
static DNS_HITS: PerCpuArray<u64, { dns::ANSWERS }> = PerCpuArray::new();

/// Ingress of the interface through which clients reach the server.
#[classifier]
fn cil_dns_cached(context: TcContext) -> i32 {
    let mut skb = Skb::new(context);
    match dns::answer(&mut skb, &Maps) {
        Verdict::Pass => CONTINUE,
        // SAFETY: the helper takes no pointers.
        Verdict::Reply => unsafe { bpf_redirect(skb.ifindex(), 0) as i32 },
        Verdict::Drop => DROP,
    }
}

/// The maps of this object.
struct Maps;

impl Answers for Maps {
    #[inline(always)]
    fn now_ns(&self) -> u64 {
        // SAFETY: the helper takes no arguments.
        unsafe { bpf_ktime_get_coarse_ns() }
    }

    #[inline(always)]
    fn find(&self, question: &Question) -> Option<&Answer> {
        // SAFETY: entries are never written in place, and the server leaves the memory of
        // those that it removed alone until no program has them any more.
        unsafe { DNS_ANSWERS.get(question) }
    }

    #[inline(always)]
    fn count(&self, slot: u32) {
        if let Some(hits) = DNS_HITS.get_ptr_mut(slot) {
            // SAFETY: the value is this CPU's own, and programs on one CPU do not
            // interrupt each other at the same hook.
            unsafe { *hits += 1 };
        }
    }
}

/// The length, if it is one of 1 to `MAX`, such that Linux 6.1 believes it. That does not conclude
/// from a comparison with 0 that it is none: the last byte is compared, and counted from, in a
/// number that LLVM must not know the origin of.
#[inline(always)]
fn provable<const MAX: usize>(length: u32) -> Option<u32> {
    let last = length.wrapping_sub(1);
    // SAFETY: a live local.
    let last = unsafe { (&raw const last).read_volatile() };
    (last < MAX as u32).then_some(last + 1)
}

impl Datagram for Skb {
    #[inline(always)]
    fn load_query(&self, offset: u32, length: u32, into: &mut [u8; QUERY]) -> bool {
        let Some(length) = provable::<QUERY>(length) else {
            return false;
        };
        // SAFETY: the helper writes that many bytes, which there is room for, or fails.
        let result = unsafe {
            bpf_skb_load_bytes(self.skb.cast(), offset, into.as_mut_ptr().cast(), length)
        };
        result == 0
    }

    #[inline(always)]
    fn resize(&mut self, length: u32) -> Result<(), Refused> {
        // SAFETY: the helper takes no pointers but the context.
        let result = unsafe { bpf_skb_change_tail(self.skb, length, 0) };
        if result == 0 { Ok(()) } else { Err(Refused) }
    }

    #[inline(always)]
    fn store_answer(
        &mut self,
        offset: u32,
        answer: &[u8; ANSWER],
        length: u32,
    ) -> Result<(), Refused> {
        let length = provable::<ANSWER>(length).ok_or(Refused)?;
        // SAFETY: the helper reads that many bytes of the map's value.
        let result =
            unsafe { bpf_skb_store_bytes(self.skb, offset, answer.as_ptr().cast(), length, 0) };
        if result == 0 { Ok(()) } else { Err(Refused) }
    }
}
